//! The user as whom the server runs. Root is needed to open ports below 1024 and for nothing else, so a server that
//! root started becomes another user for good before it opens the store.

use crate::{
    config::Config,
    fault::{demand, fail},
    private,
};
use anyhow::{Context, Result};
use nix::unistd::{self, Gid, Uid, User};
use std::{
    ffi::CString,
    fs::{self, DirBuilder},
    io,
    os::unix::fs::{DirBuilderExt, MetadataExt, lchown},
    path::Path,
};

/// The user that root becomes.
#[derive(Debug)]
pub(super) struct Identity {
    /// The name, unless the user has none.
    name: Option<String>,
    uid: Uid,
    gid: Gid,
}

/// Returns the user that this process has to become: the one that the configuration names, else the owner of the data
/// directory. Returns none if it stays who it is.
///
/// # Errors
/// Fails when there is no such user, or this process cannot become it.
pub(super) fn to_become(config: &Config) -> Result<Option<Identity>> {
    let ours = Uid::effective();
    let Some(name) = &config.user else { return owner_of(&config.data, ours) };
    let Some(user) = User::from_name(name).context("the users of this machine cannot be read")?
    else {
        fail!(
            "no-such-user",
            "there is no user {name:?} (the option `user`) on this machine: `useradd --system --home-dir {} --shell \
             /usr/sbin/nologin {name}` makes it",
            config.data.display()
        )
    };
    demand!(
        !user.uid.is_root(),
        "user-is-root",
        "the option `user` names root, as whom the server must not run: name a user of its own"
    );
    if user.uid == ours {
        return Ok(None);
    }
    demand!(
        ours.is_root(),
        "permission-denied",
        "only root can become {name:?} (the option `user`), and this command runs as user {ours}: start it as root, as \
         {name}, or without that option"
    );
    Ok(Some(Identity { name: Some(user.name), uid: user.uid, gid: user.gid }))
}

fn owner_of(data: &Path, ours: Uid) -> Result<Option<Identity>> {
    if !ours.is_root() {
        return Ok(None);
    }
    let Some(owner) = private::other_owner(data)? else { return Ok(None) };
    let (uid, gid) = owner.ids();
    let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
    let user = User::from_uid(uid).context("the users of this machine cannot be read")?;
    Ok(Some(Identity { name: user.map(|user| user.name), uid, gid }))
}

/// Warns of a server that runs as root, once it runs.
pub(super) fn warn_of_root(data: &Path) {
    if Uid::effective().is_root() {
        tracing::warn!(
            "the server runs as root: make a user for it (`useradd --system posta`), give it the data (`chown -R posta: \
             {}`) and set user = \"posta\"",
            data.display()
        );
    }
}

impl Identity {
    /// Makes the whole process run as this user, with no way back. A data directory that is missing is made for it.
    ///
    /// # Errors
    /// Fails when the system refuses.
    pub(super) fn become_for_good(&self, data: &Path) -> Result<()> {
        self.make(data)?;
        let words = || format!("the server cannot become user {}", self.uid);
        // In this order: without root's rights the groups cannot be changed any more. All threads change with this one.
        match &self.name {
            Some(name) => unistd::initgroups(&CString::new(name.as_str())?, self.gid),
            None => unistd::setgroups(&[self.gid]),
        }
        .with_context(words)?;
        unistd::setgid(self.gid).with_context(words)?;
        unistd::setuid(self.uid).with_context(words)?;
        demand!(
            unistd::setuid(Uid::from_raw(0)).is_err(),
            "permission-denied",
            "the system lets the server become root again: start it as user {} instead",
            self.uid
        );
        Ok(())
    }

    /// Makes the data directory in a directory of root's. In one of the user's, the user makes it.
    fn make(&self, data: &Path) -> Result<()> {
        let data = std::path::absolute(data)?;
        let Some(parent) = data.parent().and_then(|parent| fs::metadata(parent).ok()) else {
            return Ok(());
        };
        if parent.uid() != 0 {
            return Ok(());
        }
        let words = || format!("the data directory {} cannot be made", data.display());
        match DirBuilder::new().mode(0o700).create(&data) {
            Ok(()) => {
                lchown(&data, Some(self.uid.as_raw()), Some(self.gid.as_raw())).with_context(words)
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            Err(error) => Err(error).with_context(words),
        }
    }
}
