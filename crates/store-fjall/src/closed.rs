//! Work on the files of a store that is closed.

use crate::error::io_failed;
use posta_store::StoreError;
use std::{fs::File, path::Path};

/// Keeps other programs out of a store that is closed, as the engine does while it is open.
///
/// # Errors
/// [`StoreError::InUse`] if another has it open.
pub(crate) fn lock(directory: &Path) -> Result<File, StoreError> {
    let file =
        File::options().write(true).create(true).truncate(false).open(directory.join("lock"));
    let file = file.map_err(io_failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(_) => Err(StoreError::InUse(directory.to_owned())),
    }
}
