//! The runtime that a command's asynchronous work runs on.

use anyhow::{Context, Result};
use std::pin::Pin;

/// Runs an asynchronous command on a runtime of its own.
pub(crate) fn block_on<T>(future: impl Future<Output = Result<T>>) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("the runtime did not start")?;
    // In a box, so that the compiler makes the runtime's code once, and not for each command.
    let future: Pin<Box<dyn Future<Output = Result<T>> + '_>> = Box::pin(future);
    let done = runtime.block_on(future);
    // Whatever still runs has nothing to finish: what must be finished was waited for.
    runtime.shutdown_background();
    done
}
