//! `netmon doctor`.
use super::Failure;
use std::process::ExitCode;
pub(super) fn doctor() -> Result<ExitCode, Failure> {
    Ok(ExitCode::SUCCESS)
}
