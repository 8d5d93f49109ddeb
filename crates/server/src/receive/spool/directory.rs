//! The directory of a spool: its mode, the names in it, and what is done with files as a whole.

use posta_mail::{MailId, Timestamp};
use std::{
    fs::{self, DirBuilder, File, Metadata},
    io::{self, ErrorKind},
    os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
};

/// The mode of the directory: others may make files, which get the directory's group (setgid), but neither list nor
/// remove any (sticky).
pub const MODE: u32 = 0o3733;

/// The beginning of the name of a file that is being written.
pub(super) const NEW: &str = "new-";

/// The beginning of the name of a file that is no message.
const ASIDE: &str = "aside-";

/// The directory of a spool.
pub(super) struct SpoolDirectory {
    path: PathBuf,
    /// Its group, which every file has that was made in it.
    pub(super) gid: u32,
}

impl SpoolDirectory {
    /// Opens a directory, and makes it if it is not there.
    pub(super) fn open(path: &Path) -> Result<Self, String> {
        let shown = path.display();
        let us = rustix::process::geteuid().as_raw();
        let group = rustix::process::getegid().as_raw();
        let cure =
            format!("`install -d -m {MODE:o} -o {us} -g {group} {shown}`, as root, makes it");
        match fs::symlink_metadata(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                make(path).map_err(|error| {
                    format!("the spool {shown} cannot be made ({error}): {cure}")
                })?;
            }
            Err(error) => return Err(format!("the spool {shown} cannot be used: {error}")),
            Ok(found) if !found.is_dir() => {
                return Err(format!("the spool {shown} is no directory"));
            }
            Ok(_) => {}
        }
        let found = fs::symlink_metadata(path);
        let found = found.map_err(|error| format!("the spool {shown} cannot be used: {error}"))?;
        check(&found, us).map_err(|what| format!("the spool {shown} {what}: {cure}"))?;
        Ok(Self { path: path.to_owned(), gid: found.gid() })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the path of a message.
    pub(super) fn message(&self, name: MailId) -> PathBuf {
        self.path.join(name.to_string())
    }

    /// Calls `each` with the name of every message, until it returns false. Whatever else is there is set aside.
    pub(super) fn each_name(&self, mut each: impl FnMut(MailId) -> bool) -> io::Result<()> {
        for entry in fs::read_dir(&self.path)? {
            let file = entry?.file_name();
            let name = file.to_str().unwrap_or_default();
            if let Ok(name) = name.parse() {
                if !each(name) {
                    return Ok(());
                }
            } else if !name.starts_with(NEW) && !name.starts_with(ASIDE) {
                let aside = self.path.join(format!("{ASIDE}{}", file.to_string_lossy()));
                // What cannot be renamed has nobody's mail either.
                if fs::rename(self.path.join(&file), &aside).is_ok() {
                    tracing::warn!(
                        "a file in the spool is no message, and is now {}",
                        aside.display()
                    );
                }
            }
        }
        Ok(())
    }

    /// Gives a file that is no message a name under which nobody looks at it again.
    pub(super) fn set_aside(&self, name: MailId) -> io::Result<PathBuf> {
        let aside = self.path.join(format!("{ASIDE}{name}"));
        fs::rename(self.message(name), &aside)?;
        Ok(aside)
    }

    /// Removes a message.
    pub(super) fn remove(&self, name: MailId) -> io::Result<()> {
        match fs::remove_file(self.message(name)) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Returns whether there is a file of this name.
    pub(super) fn has(&self, name: MailId) -> bool {
        fs::symlink_metadata(self.message(name)).is_ok()
    }

    /// Makes removals last.
    pub(super) fn sync(&self) -> io::Result<()> {
        File::open(&self.path)?.sync_all()
    }

    /// Removes incomplete files that were last written before a time.
    pub(super) fn remove_incomplete(&self, before: Timestamp) -> io::Result<()> {
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            let is_new = entry.file_name().to_string_lossy().starts_with(NEW);
            if is_new && entry.metadata().is_ok_and(|it| it.mtime() < before.as_second()) {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }
}

fn make(path: &Path) -> io::Result<()> {
    DirBuilder::new().mode(0o700).create(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(MODE))
}

/// Checks that nobody can read or take what others put into a directory. The error says what is wrong with it.
fn check(found: &Metadata, us: u32) -> Result<(), String> {
    let mode = found.mode() & 0o7777;
    if found.uid() != us {
        return Err(format!("belongs to user {}, not to the server's user, {us}", found.uid()));
    }
    if mode & 0o022 != 0 && mode & 0o3000 != 0o3000 || mode & 0o044 != 0 {
        return Err(format!(
            "has the mode {mode:o}, by which users can see or remove each other's mail"
        ));
    }
    Ok(())
}

/// See [`super::look_into`].
pub(super) fn files(path: &Path, most: usize) -> io::Result<Vec<(PathBuf, u64, u32)>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(path)?.take(most) {
        let entry = entry?;
        if !entry.file_name().to_string_lossy().starts_with(NEW) {
            let found = entry.metadata()?;
            files.push((entry.path(), found.len(), found.uid()));
        }
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o7777
    }

    #[test]
    fn a_spool_lets_others_write_and_nothing_else() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("spool");
        SpoolDirectory::open(&path).unwrap();
        assert_eq!(mode(&path), 0o3733);
        for (given, is_right) in [
            (0o3733, true),
            (0o700, true),
            (0o1733, false),
            (0o2733, false),
            (0o3777, false),
            (0o733, false),
        ] {
            fs::set_permissions(&path, fs::Permissions::from_mode(given)).unwrap();
            let opened = SpoolDirectory::open(&path).err();
            assert_eq!(opened.is_none(), is_right, "{given:o}: {opened:?}");
            assert!(opened.is_none_or(|words| words.contains("`install -d -m 3733 ")), "{given:o}");
        }
        let file = parent.path().join("file");
        fs::write(&file, "").unwrap();
        assert!(SpoolDirectory::open(&file).is_err());
        assert!(SpoolDirectory::open(&parent.path().join("no/spool")).is_err());
    }

    #[test]
    fn whatever_else_is_there_is_set_aside() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("spool");
        let spool = SpoolDirectory::open(&path).unwrap();
        let name = MailId::new(Timestamp::UNIX_EPOCH, 7);
        let names = [name.to_string(), "new-x".to_owned(), "aside-x".to_owned(), "junk".to_owned()];
        names.iter().for_each(|name| fs::write(path.join(name), "").unwrap());
        fs::create_dir(path.join("folder")).unwrap();
        let mut found = Vec::new();
        spool
            .each_name(|name| {
                found.push(name);
                true
            })
            .unwrap();
        assert_eq!(found, [name]);
        let there = |name: &str| path.join(name).exists();
        assert!(there("new-x") && there("aside-x") && there("aside-junk") && there("aside-folder"));
        spool.remove_incomplete(Timestamp::UNIX_EPOCH).unwrap();
        assert!(there("new-x"), "it may still be written");
        spool.remove_incomplete(Timestamp::MAX).unwrap();
        assert!(!there("new-x") && spool.has(name));
    }
}
