//! Route netlink inside a namespace: the crate rtnetlink, one connection for each piece of work.

use anyhow::{Context, Result};
use rtnetlink::Handle;

use crate::netns::Namespace;

impl Namespace {
    /// Runs `work` on the namespace's thread with a netlink connection of that namespace.
    pub(crate) fn netlink<T, W>(&self, work: W) -> Result<T>
    where
        T: Send + 'static,
        W: AsyncFnOnce(Handle) -> Result<T> + Send + 'static,
    {
        self.run(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
            runtime.block_on(async move {
                let (connection, handle, _) =
                    rtnetlink::new_connection().context("opening a netlink socket")?;
                let connection = tokio::spawn(connection);
                let result = work(handle).await;
                connection.abort();
                result
            })
        })
    }
}
