//! Keeps mail and passwords private: files that the program creates are for its user only, and a data directory
//! that others can enter is refused.
//!
//! A directory that others may enter, or that belongs to somebody else, exposes every message and every password
//! hash in it. It is therefore refused, with the command that mends it, not merely warned of. Inside a directory that
//! was always closed nothing was exposed: files in it that others could read (an older version created such files)
//! are closed silently.

use crate::fault::{demand, fault};
use anyhow::{Context, Result};
use rustix::{
    fs::{Mode, OFlags},
    process::{Resource, Rlimit, geteuid, getrlimit, setrlimit},
    thread::{Gid, Uid, set_thread_gid, set_thread_groups, set_thread_uid},
};
use std::{
    fs::{self, File, Metadata},
    io,
    os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt},
    path::Path,
};

/// The mode bits of users other than the owner.
const OTHERS: u32 = 0o077;

/// Sets a umask by which new files are for the program's user only, and has the system write no dump of the memory after a
/// crash, which would hold passwords, keys and mail. Returns the umask that the program was started with.
pub(crate) fn close_what_is_made() -> u32 {
    // A debugger may raise the limit again. A system that does not take it has no dumps.
    let dump = getrlimit(Resource::Core);
    let _ = setrlimit(Resource::Core, Rlimit { current: Some(0), ..dump });
    rustix::process::umask(Mode::from_raw_mode(OTHERS)).as_raw_mode()
}

/// The owner of a data directory, if it is not root.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Owner {
    uid: Uid,
    gid: Gid,
}

/// Returns the owner of a data directory if this process runs as root and the owner is another user: the server's,
/// who must be able to open whatever root creates in it. A directory that does not exist yet will belong to the owner
/// of its parent.
///
/// # Errors
/// Fails when the owner cannot be determined.
pub(crate) fn other_owner(data: &Path) -> Result<Option<Owner>> {
    if !geteuid().is_root() {
        return Ok(None);
    }
    let data = std::path::absolute(data)?;
    for path in data.ancestors() {
        match fs::metadata(path) {
            Ok(metadata) if metadata.uid() == 0 => return Ok(None),
            Ok(metadata) => {
                let (uid, gid) = (Uid::from_raw(metadata.uid()), Gid::from_raw(metadata.gid()));
                return Ok(Some(Owner { uid, gid }));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error).with_context(|| format!("{}", path.display())),
        }
    }
    Ok(None)
}

impl Owner {
    /// Returns the numbers of the user and of the group.
    pub(crate) const fn ids(self) -> (u32, u32) {
        (self.uid.as_raw(), self.gid.as_raw())
    }

    /// Makes this thread and those that it starts run as the owner. Changing the owner of files afterwards instead
    /// would let the owner make root write to, or give away, the target of any link in the directory.
    ///
    /// # Errors
    /// Fails when the system refuses.
    pub(crate) fn become_it(self) -> Result<()> {
        let words =
            || format!("this cannot go on as the data directory's owner, user {}", self.uid);
        set_thread_groups(&[]).with_context(words)?;
        set_thread_gid(self.gid).with_context(words)?;
        set_thread_uid(self.uid).with_context(words)
    }
}

/// Does something as the owner of a data directory, if that is another user, on a thread of its own: who a program is, is
/// a thread's own affair, and its threads' after it.
///
/// # Errors
/// Those of the work, or when the system refuses to let it be done as that user.
pub(crate) fn as_owner<T: Send + 'static>(
    owner: Option<Owner>,
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    let Some(owner) = owner else { return work() };
    let thread = std::thread::Builder::new().name("owner".to_owned());
    let thread = thread.spawn(move || owner.become_it().and_then(|()| work()))?;
    thread.join().unwrap_or_else(|_| {
        Err(fault("system-error", "the thread of the data directory's owner died"))
    })
}

/// Creates a data directory that nobody else may enter, or checks that an existing one is private.
///
/// # Errors
/// Fails, naming the cure, when others may enter it, or when it or something in it belongs to another user.
pub(crate) fn claim(data: &Path) -> Result<()> {
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(data);
    made.map_err(|error| match error.kind() {
        io::ErrorKind::PermissionDenied => fault("permission-denied", format!("the data directory {0} cannot be made by this user: as root, `install -d -m 700 -o {1} {0}` makes \
             it for them",
            data.display(),
            geteuid().as_raw())),
        _ => fault("data-directory", format!("the data directory {} cannot be made: {error}", data.display())),
    })?;
    let metadata = fs::metadata(data).with_context(|| format!("{}", data.display()))?;
    is_ours(data, &metadata, data)?;
    demand!(
        metadata.mode() & OTHERS == 0,
        "data-directory",
        "other users of this machine can look into the data directory {0} and read mail and password \
         hashes there: `chmod 700 {0}` keeps them out, then start again",
        data.display()
    );
    close_all(data, data)
}

/// Makes everything in a directory inaccessible to others.
fn close_all(directory: &Path, data: &Path) -> Result<()> {
    let unreadable = || format!("{} cannot be read", directory.display());
    for entry in fs::read_dir(directory).with_context(unreadable)? {
        let path = entry.with_context(unreadable)?.path();
        // What is gone meanwhile, as the control socket of a server that stops, needs no closing.
        let Ok(metadata) = fs::symlink_metadata(&path) else { continue };
        let kind = metadata.file_type();
        // A link's own mode means nothing, and a socket is closed by whoever opens it.
        if kind.is_symlink() || kind.is_socket() {
            continue;
        }
        is_ours(&path, &metadata, data)?;
        if metadata.mode() & OTHERS != 0 {
            close(&path, &metadata).with_context(|| {
                format!("{0} cannot be closed to other users: `chmod go= {0}`", path.display())
            })?;
        }
        if kind.is_dir() {
            close_all(&path, data)?;
        }
    }
    Ok(())
}

/// Removes all rights of others from a file, without following a link that an attacker may put in its place.
fn close(path: &Path, metadata: &Metadata) -> io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::open(path, flags, Mode::empty())?);
    file.set_permissions(fs::Permissions::from_mode(metadata.mode() & 0o7777 & !OTHERS))
}

/// Checks the owner of a file, who can read and change it whatever its mode.
fn is_ours(path: &Path, metadata: &Metadata, data: &Path) -> Result<()> {
    let us = geteuid().as_raw();
    demand!(
        metadata.uid() == us,
        "data-directory",
        "{} belongs to user {}, but this command runs as user {us}: run it as that user, or give \
         everything there to this user with `chown -R {us} {}`",
        path.display(),
        metadata.uid(),
        data.display()
    );
    Ok(())
}

/// Warns of a secret file that every user of the machine can read.
pub(crate) fn warn_if_open(option: &str, path: &Path) {
    // Certificates' keys are often a group's, so that several servers can use them.
    if fs::metadata(path).is_ok_and(|metadata| metadata.mode() & 0o007 != 0) {
        tracing::warn!(
            "every user of this machine can read {0}, which {option} names: `chmod o= {0}`",
            path.display()
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::symlink_metadata(path).unwrap().mode() & 0o777
    }

    #[test]
    fn what_others_can_enter_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let data = directory.path().join("data");
        claim(&data).unwrap();
        assert_eq!(mode(&data), 0o700);
        for open in [0o755, 0o750, 0o701, 0o710, 0o770] {
            fs::set_permissions(&data, fs::Permissions::from_mode(open)).unwrap();
            let words = claim(&data).unwrap_err().to_string();
            assert!(
                words.contains(&format!("`chmod 700 {}`", data.display())),
                "{open:o}: {words}"
            );
            assert_eq!(mode(&data), open, "nothing is mended behind the operator's back");
        }
    }

    #[test]
    fn what_is_within_is_closed() {
        let directory = tempfile::tempdir().unwrap();
        let data = directory.path().join("data");
        fs::create_dir_all(data.join("store/log")).unwrap();
        fs::write(data.join("store/log/1"), "").unwrap();
        fs::write(directory.path().join("elsewhere"), "").unwrap();
        std::os::unix::fs::symlink("../elsewhere", data.join("link")).unwrap();
        for (path, open) in [
            (data.clone(), 0o700),
            (data.join("store"), 0o755),
            (data.join("store/log"), 0o777),
            (data.join("store/log/1"), 0o664),
            (directory.path().join("elsewhere"), 0o644),
        ] {
            fs::set_permissions(path, fs::Permissions::from_mode(open)).unwrap();
        }
        claim(&data).unwrap();
        assert_eq!(mode(&data.join("store")), 0o700);
        assert_eq!(mode(&data.join("store/log")), 0o700);
        assert_eq!(mode(&data.join("store/log/1")), 0o600);
        assert_eq!(mode(&directory.path().join("elsewhere")), 0o644, "links are not followed");
    }

    #[test]
    fn what_belongs_to_others_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        if !geteuid().is_root() {
            // Only root may give files away; who cannot does not own others' files either.
            return;
        }
        for other in [".", "store"] {
            let data = directory.path().join(other.replace('.', "data"));
            fs::create_dir_all(data.join("store")).unwrap();
            fs::set_permissions(&data, fs::Permissions::from_mode(0o700)).unwrap();
            std::os::unix::fs::chown(data.join(other), Some(65_534), None).unwrap();
            let words = claim(&data).unwrap_err().to_string();
            assert!(words.contains("belongs to user 65534"), "{words}");
            assert!(words.contains("`chown -R 0 "), "{words}");
        }
    }
}
