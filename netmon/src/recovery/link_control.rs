//! Sets a link up through the crate rtnetlink (`RTM_NEWLINK` with `IFF_UP`). Needs CAP_NET_ADMIN.

use rtnetlink::{Error, Handle, LinkUnspec};

use crate::model::link::IfIndex;

/// Why a link could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum SetUpError {
    /// CAP_NET_ADMIN is missing; trying again does not help.
    #[error("setting a link up needs CAP_NET_ADMIN")]
    Denied,
    /// The kernel or the driver says no.
    #[error("{0}")]
    Refused(String),
}

/// Sets the link up and waits for the kernel's answer.
///
/// # Errors
/// See [`SetUpError`].
pub async fn set_up(handle: Handle, ifindex: IfIndex) -> Result<(), SetUpError> {
    let message = LinkUnspec::new_with_index(ifindex.0).up().build();
    match handle.link().set(message).execute().await {
        Ok(()) => Ok(()),
        Err(Error::NetlinkError(answer)) if answer.raw_code() == -libc::EPERM => {
            Err(SetUpError::Denied)
        }
        Err(Error::NetlinkError(answer)) => Err(SetUpError::Refused(answer.to_io().to_string())),
        Err(error) => Err(SetUpError::Refused(error.to_string())),
    }
}
