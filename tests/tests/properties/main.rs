//! Properties of netmon's pure parts, tried on many inputs at random, against plain models that
//! are written differently. `PROPTEST_CASES=100000` tries more.

mod merging;
mod names;
mod recovery;
mod screen;
mod sinks;
mod traffic;
mod world;

use proptest::test_runner::Config;

/// Nothing is written into the sources' folder: a failure prints the smallest input that fails,
/// which becomes a test of its own.
fn config() -> Config {
    Config { failure_persistence: None, ..Config::default() }
}
