//! An embedded store that is being made, beside the place where it will be.

use super::{STORE, key_file};
use crate::{config::Config, data_directory, fault::demand, private};
use anyhow::{Context, Result};
use posta_store::{Restores, copies::Copies};
use posta_store_fjall::FjallStore;
use std::{fs, io::Write as _, os::unix::fs::OpenOptionsExt as _, path::PathBuf, sync::Arc};

/// A store that is made of a backup or of another store, beside the place where it will be.
pub(crate) struct NewStore {
    data: PathBuf,
    /// The name of its directory until it is complete.
    partial: &'static str,
    key_file: PathBuf,
    owner: Option<private::Owner>,
}

/// The name of a store that is being made of a backup, and of one that is being made of another store.
const PARTIAL: &str = "store.partial";
const COPYING: &str = "store.copying";

impl NewStore {
    /// Begins a store in a data directory that has none. What an earlier attempt left is removed.
    pub(crate) fn begin(config: &Config) -> Result<Self> {
        let data = config.data.clone();
        demand!(
            fs::symlink_metadata(data.join(STORE)).is_err(),
            "store-exists",
            "there is a store in the data directory {} already: name an empty one with --data DIR, or bring one account \
             back with --account ADDRESS",
            data.display()
        );
        let key_file = key_file(config);
        let owner = private::other_owner(&data)?;
        let new = Self { data, partial: PARTIAL, key_file, owner };
        let (data, partial) = (new.data.clone(), new.data.join(PARTIAL));
        private::as_owner(owner, move || {
            if partial.is_dir() {
                fs::remove_dir_all(&partial)?;
            }
            data_directory::check(&data)?;
            private::claim(&data)
        })?;
        Ok(new)
    }

    /// Begins a copy in a data directory that has no store, or goes on with one.
    pub(crate) fn go_on(config: &Config) -> Result<Self> {
        let data = config.data.clone();
        demand!(
            fs::symlink_metadata(data.join(STORE)).is_err(),
            "store-exists",
            "there is a store in the data directory {} already: name another directory, or move that store away",
            data.display()
        );
        let (key_file, owner) = (key_file(config), private::other_owner(&data)?);
        demand!(
            data.join(COPYING).exists() || !key_file.exists(),
            "key-file-exists",
            "there is a key file of another store in {}: move it away, or name another with --to-keys FILE",
            key_file.display()
        );
        private::as_owner(owner, {
            let data = data.clone();
            move || {
                data_directory::check(&data)?;
                private::claim(&data)
            }
        })?;
        Ok(Self { data, partial: COPYING, key_file, owner })
    }

    /// Opens a copy.
    pub(crate) fn open_copy(&self) -> Result<Arc<dyn Copies>> {
        let (partial, key_file) = (self.data.join(self.partial), self.key_file.clone());
        private::as_owner(self.owner, move || {
            Ok(Arc::new(FjallStore::open_with_keys(&partial, &key_file)?) as Arc<dyn Copies>)
        })
    }

    /// Removes a copy, which is closed, with the key file that was made for it.
    pub(crate) fn remove_copy(&self) -> Result<()> {
        let (partial, key_file) = (self.data.join(self.partial), self.key_file.clone());
        private::as_owner(self.owner, move || {
            if key_file.exists() {
                fs::remove_file(&key_file)?;
            }
            Ok(fs::remove_dir_all(&partial)?)
        })
    }

    /// Opens the store.
    pub(crate) fn open(&self) -> Result<Arc<dyn Restores>> {
        let (partial, key_file) = (self.data.join(PARTIAL), self.key_file.clone());
        private::as_owner(self.owner, move || {
            Ok(Arc::new(FjallStore::open_with_keys(&partial, &key_file)?) as Arc<dyn Restores>)
        })
    }

    /// Writes the key file. One that is there must be the same.
    pub(crate) fn put_keys(&self, octets: Vec<u8>) -> Result<()> {
        let key_file = self.key_file.clone();
        private::as_owner(self.owner, move || {
            let words = || format!("the key file {}", key_file.display());
            if key_file.exists() {
                let same = fs::read(&key_file).with_context(words)? == octets;
                demand!(
                    same,
                    "key-file-exists",
                    "there is another key file in {}: move it away, then restore again",
                    key_file.display()
                );
                return Ok(());
            }
            let mut file = fs::File::options();
            let file = file.write(true).create_new(true).mode(0o600).open(&key_file);
            let mut file = file.with_context(words)?;
            file.write_all(&octets).and_then(|()| file.sync_all()).with_context(words)
        })
    }

    /// Puts the store, which is closed, where it belongs.
    pub(crate) fn complete(self) -> Result<()> {
        let Self { data, partial, owner, .. } = self;
        private::as_owner(owner, move || {
            fs::rename(data.join(partial), data.join(STORE))?;
            Ok(fs::File::open(&data)?.sync_all()?)
        })
    }
}
