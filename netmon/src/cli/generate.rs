//! Shell completions and man pages, from the same description as the command line itself.

use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use clap_complete::Shell;

use super::Failure;

pub(super) fn completions(shell: Shell) -> Result<ExitCode, Failure> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut super::command(), "netmon", &mut text);
    match std::io::Write::write_all(&mut std::io::stdout(), &text) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(Failure::other(error)),
        _ => Ok(ExitCode::SUCCESS),
    }
}

pub(super) fn man(dir: &Path) -> Result<ExitCode, Failure> {
    std::fs::create_dir_all(dir)
        .and_then(|()| clap_mangen::generate_to(super::command(), dir))
        .with_context(|| format!("cannot write the man pages into {}", dir.display()))
        .map_err(Failure::other)?;
    Ok(ExitCode::SUCCESS)
}
