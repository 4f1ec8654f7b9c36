//! netmon as the tests run it: the agent's library under another name, so that cargo builds it
//! together with the tests.
use std::process::ExitCode;

fn main() -> ExitCode {
    netmon::cli::main()
}
