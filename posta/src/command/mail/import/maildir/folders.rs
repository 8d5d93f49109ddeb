//! The folders beside a Maildir's INBOX: `.Sent` and `.Archive.2024` (Maildir++, as named by Courier and
//! Dovecot), `Archive/2024` (Dovecot's `LAYOUT=fs`, mutt's directories), `.inbox.directory/old` (KMail).
//! All are directories below the Maildir that contain `cur` or `new`.

use crate::command::mail::import::source::displayed;
use posta_server::collect::plain_files::{FileKind, OpenDirectory};
use std::{
    ffi::{OsStr, OsString},
    io,
};

/// The maximal depth of directories.
const DEPTH: usize = 16;

/// The maximal number of directories that are examined.
const DIRECTORIES: usize = 10_000;

/// The directories of a Maildir that hold its messages.
pub(super) const WITH_MESSAGES: [&str; 2] = ["new", "cur"];

/// Returns a folder's path as displayed to people: `.Sent`, `Archive/2024`.
pub(super) fn name_of(path: &[OsString]) -> String {
    path.iter().map(|name| displayed(name)).collect::<Vec<_>>().join("/")
}

/// The result of a walk through a Maildir's directories.
#[derive(Debug, Default)]
pub(super) struct Walk {
    /// The paths of the folders, each as a list of names; in order.
    pub(super) folders: Vec<Vec<OsString>>,
    /// The names that were skipped, with the reasons.
    pub(super) skipped: Vec<String>,
    looked_at: usize,
}

/// Finds the folders below a Maildir.
pub(super) fn walk(maildir: &OpenDirectory) -> Walk {
    let mut walk = Walk::default();
    let mut waiting = vec![Vec::new()];
    while let Some(path) = waiting.pop() {
        if walk.looked_at == DIRECTORIES {
            let words = format!("{}: more than {DIRECTORIES} directories", name_of(&path));
            walk.skipped.push(words);
            break;
        }
        walk.looked_at += 1;
        match walk.list(maildir, &path) {
            Ok(below) => waiting.extend(below),
            Err(error) => walk.skipped.push(format!("{}: {error}", name_of(&path))),
        }
    }
    walk.folders.sort();
    walk
}

impl Walk {
    /// Examines one directory. Returns the directories in it.
    fn list(
        &mut self,
        maildir: &OpenDirectory,
        path: &[OsString],
    ) -> io::Result<Vec<Vec<OsString>>> {
        let directory = open(maildir, path)?;
        let mut below = Vec::new();
        let mut has_messages = false;
        for name in directory.names()? {
            if name == "tmp" {
                continue;
            }
            let is_message_directory = WITH_MESSAGES.iter().any(|known| name == *known);
            let inner: Vec<_> = path.iter().cloned().chain([name]).collect();
            let name = inner.last().map_or(OsStr::new(""), OsString::as_os_str);
            match directory.kind(name) {
                _ if is_message_directory => has_messages = true,
                Ok(FileKind::Directory) if inner.len() > DEPTH => {
                    let words = format!("{}: more than {DEPTH} directories deep", name_of(&inner));
                    self.skipped.push(words);
                }
                Ok(FileKind::Directory) => below.push(inner),
                Ok(FileKind::LinkToDirectory) => self.skipped.push(format!(
                    "{}: a symbolic link, which is not followed; import what it leads to by itself",
                    name_of(&inner)
                )),
                Ok(FileKind::Other) => {}
                Err(error) => self.skipped.push(format!("{}: {error}", name_of(&inner))),
            }
        }
        if has_messages && !path.is_empty() {
            self.folders.push(path.to_vec());
        }
        Ok(below)
    }
}

/// Opens the directory of a path below a Maildir, without following a link.
pub(super) fn open(maildir: &OpenDirectory, path: &[OsString]) -> io::Result<OpenDirectory> {
    let mut directory = maildir.directory(OsStr::new("."))?;
    for name in path {
        directory = directory.directory(name)?;
    }
    Ok(directory)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs, os::unix::fs::symlink};

    #[test]
    fn folders_of_each_layout_are_found() {
        let place = tempfile::tempdir().unwrap();
        let at = |name: &str| place.path().join(name);
        for directory in [
            "cur",
            "new/.Not.in.new/cur",
            "tmp/no/cur",
            ".Sent/cur",
            ".Archive.2024/new",
            "Archive/2025/cur",
            ".inbox.directory/old/cur",
            "sieve/tmp",
        ] {
            fs::create_dir_all(at(directory)).unwrap();
        }
        let deep = "d/".repeat(17);
        fs::create_dir_all(at(&deep)).unwrap();
        fs::write(at("subscriptions"), "Sent\n").unwrap();
        symlink("/", at(".Root")).unwrap();
        symlink(at("subscriptions"), at("list")).unwrap();
        let walk = walk(&OpenDirectory::open(place.path()).unwrap());
        let found: Vec<_> = walk.folders.iter().map(|path| name_of(path)).collect();
        assert_eq!(found, [".Archive.2024", ".Sent", ".inbox.directory/old", "Archive/2025"]);
        let mut skipped = walk.skipped;
        skipped.sort();
        assert_eq!(skipped.len(), 2, "{skipped:?}");
        assert!(skipped[0].starts_with(".Root: a symbolic link"), "{skipped:?}");
        assert!(skipped[1].ends_with("more than 16 directories deep"), "{skipped:?}");
    }
}
