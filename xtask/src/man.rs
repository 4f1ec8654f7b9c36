//! `cargo xtask man`: the man pages and shell completions, written by netmon itself.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result};

use crate::process;
use crate::workspace::Workspace;

/// The shells of `netmon completions`, each with the file name that the shell looks for.
const COMPLETIONS: [(&str, &str); 3] =
    [("bash", "netmon"), ("zsh", "_netmon"), ("fish", "netmon.fish")];

/// Write the man pages and the shell completions.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Folder for `man/` and `completions/` [default: cargo's target folder].
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

pub(crate) fn main(workspace: &Workspace, args: &Args) -> Result<ExitCode> {
    let mut build = workspace.cargo();
    build.args(["build", "--package", "netmon", "--bin", "netmon"]);
    let netmon = process::built_executable(&mut build)?;

    let out = args.out.as_deref().unwrap_or(workspace.target());
    let (man, completions) = (out.join("man"), out.join("completions"));
    for dir in [&man, &completions] {
        fs::create_dir_all(dir).with_context(|| format!("{} cannot be made", dir.display()))?;
    }
    process::run(Command::new(&netmon).arg("generate-man").arg(&man))?;
    for (shell, file) in COMPLETIONS {
        let text = process::output(Command::new(&netmon).args(["completions", shell]))?;
        let path = completions.join(file);
        fs::write(&path, text).with_context(|| format!("{} cannot be written", path.display()))?;
    }
    println!("{}", workspace.display(&man));
    println!("{}", workspace.display(&completions));
    Ok(ExitCode::SUCCESS)
}
