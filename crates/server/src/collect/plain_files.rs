//! Opening files in directories that belong to someone else: regular files only, without following
//! links.
//!
//! This server, and root, have more rights than the owner of a Maildir. A link in the Maildir could make
//! them read `/etc/passwd` as mail, or write mail over another file; a FIFO could make them wait for
//! ever; a device can have any effect. These functions open regular files only, and exactly at the place
//! that was named. The last component of a path is never followed elsewhere, names inside an
//! [`OpenDirectory`] are looked up in the open directory rather than by path, and the check is of the
//! opened file, not of a file that had the name a moment before. The directories above the named path
//! are trusted.
//!
//! A hard link counts as a regular file. The kernel prevents users from linking to files that they
//! cannot read (`fs.protected_hardlinks`), and Dovecot makes hard links when it copies a message.

use posta_mail::Timestamp;
use rustix::{
    fs::{
        AtFlags, CWD, Dir, FileType, Mode, OFlags, fstat, fsync, mkdirat, openat, renameat, statat,
    },
    io::Errno,
};
use std::{
    ffi::{OsStr, OsString},
    fs::{self, File},
    io::{self, Read as _},
    os::{
        fd::{AsFd, OwnedFd},
        unix::ffi::OsStringExt,
    },
    path::Path,
};

/// The mode of new files, since mail is private.
const FILE: Mode = Mode::RUSR.union(Mode::WUSR);
const DIRECTORY: Mode = Mode::RWXU;

/// Opens a file for reading.
///
/// # Errors
/// When the file is not a regular file, or cannot be read.
pub fn open(path: &Path) -> io::Result<File> {
    open_at(CWD, path.as_os_str(), OFlags::RDONLY)
}

/// Opens a file for appending, and creates it if it does not exist.
///
/// # Errors
/// When the file is not a regular file, or cannot be written.
pub fn append(path: &Path) -> io::Result<File> {
    open_at(CWD, path.as_os_str(), OFlags::WRONLY | OFlags::APPEND | OFlags::CREATE)
}

/// Opens a file and empties it for writing, or creates it if it does not exist.
///
/// # Errors
/// When the file is not a regular file, or cannot be written.
pub fn create(path: &Path) -> io::Result<File> {
    let file = open_at(CWD, path.as_os_str(), OFlags::WRONLY | OFlags::CREATE)?;
    // The file is emptied only after it is known to be a regular file.
    file.set_len(0)?;
    Ok(file)
}

/// Reads a file of at most `most` octets.
///
/// # Errors
/// When the file is larger, or cannot be read.
pub fn read(file: File, most: u64) -> io::Result<Vec<u8>> {
    let mut octets = Vec::new();
    if file.take(most + 1).read_to_end(&mut octets)? as u64 > most {
        let words = format!("it has more than {most} octets");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, words));
    }
    Ok(octets)
}

fn open_at(directory: impl AsFd, name: &OsStr, how: OFlags) -> io::Result<File> {
    // Without O_NONBLOCK, opening a FIFO would wait for its other end. Without O_NOCTTY, a terminal
    // could become this process's own.
    let flags = how | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let opened = openat(directory, name, flags, FILE).map_err(|error| match error {
        Errno::LOOP => refused(LINK),
        // A socket, a FIFO opened for writing, or a directory.
        Errno::NXIO | Errno::ISDIR => refused(NOT_REGULAR),
        error => error.into(),
    })?;
    match FileType::from_raw_mode(fstat(&opened)?.st_mode) {
        FileType::RegularFile => Ok(opened.into()),
        _ => Err(refused(NOT_REGULAR)),
    }
}

const LINK: &str = "a symbolic link, which is not followed";
const NOT_REGULAR: &str = "no regular file";

fn refused(words: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, words)
}

/// The kind of file that a name refers to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileKind {
    /// A directory.
    Directory,
    /// A symbolic link to a directory.
    LinkToDirectory,
    /// A file of any kind, or a link to one or to nothing.
    Other,
}

/// What the directory tells of a regular file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileFacts {
    /// Its octets.
    pub octets: u64,
    /// When it was last written.
    pub modified: Option<Timestamp>,
}

/// A directory, held open, so that nobody can put another in its place.
#[derive(Debug)]
pub struct OpenDirectory(OwnedFd);

impl OpenDirectory {
    /// Opens a directory.
    ///
    /// # Errors
    /// When there is no directory, or a link to one.
    pub fn open(path: &Path) -> io::Result<Self> {
        Self::open_at(CWD, path.as_os_str())
    }

    /// Opens a directory. Creates it and those above it if they do not exist.
    ///
    /// # Errors
    /// When there is a file or a link to a directory in its place, or it cannot be created.
    pub fn make(path: &Path) -> io::Result<Self> {
        fs::create_dir_all(path)?;
        Self::open(path)
    }

    /// Opens a directory inside this one.
    ///
    /// # Errors
    /// When there is no directory, or a link to one.
    pub fn directory(&self, name: impl AsRef<OsStr>) -> io::Result<Self> {
        Self::open_at(&self.0, name.as_ref())
    }

    /// Returns the kind of file that a name inside this directory refers to.
    ///
    /// # Errors
    /// When the name does not exist, or cannot be examined.
    pub fn kind(&self, name: &OsStr) -> io::Result<FileKind> {
        let kind =
            |flags| statat(&self.0, name, flags).map(|it| FileType::from_raw_mode(it.st_mode));
        Ok(match kind(AtFlags::SYMLINK_NOFOLLOW)? {
            FileType::Directory => FileKind::Directory,
            FileType::Symlink if kind(AtFlags::empty()) == Ok(FileType::Directory) => {
                FileKind::LinkToDirectory
            }
            _ => FileKind::Other,
        })
    }

    /// Returns the facts about a regular file inside this directory.
    ///
    /// # Errors
    /// When the name is not that of a regular file.
    pub fn facts(&self, name: &OsStr) -> io::Result<FileFacts> {
        let found = statat(&self.0, name, AtFlags::SYMLINK_NOFOLLOW)?;
        match FileType::from_raw_mode(found.st_mode) {
            FileType::RegularFile => Ok(FileFacts {
                octets: u64::try_from(found.st_size).unwrap_or_default(),
                modified: Timestamp::from_second(found.st_mtime).ok(),
            }),
            FileType::Symlink => Err(refused(LINK)),
            _ => Err(refused(NOT_REGULAR)),
        }
    }

    /// Opens a directory inside this one, and creates it if it does not exist.
    ///
    /// # Errors
    /// When there is a file or a link to a directory in its place, or it cannot be created.
    pub fn make_directory(&self, name: &str) -> io::Result<Self> {
        match mkdirat(&self.0, name, DIRECTORY) {
            Ok(()) | Err(Errno::EXIST) => self.directory(name),
            Err(error) => Err(error.into()),
        }
    }

    fn open_at(above: impl AsFd, name: &OsStr) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match openat(above, name, flags, Mode::empty()) {
            Ok(opened) => Ok(Self(opened)),
            Err(Errno::LOOP | Errno::NOTDIR) => Err(refused(
                "this is not a directory; if it is a link to one, name the directory itself",
            )),
            Err(error) => Err(error.into()),
        }
    }

    /// Returns the names inside this directory, in no particular order.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub fn names(&self) -> io::Result<Vec<OsString>> {
        let mut names = Vec::new();
        for entry in Dir::read_from(&self.0)? {
            let name = entry?.file_name().to_bytes().to_vec();
            if name != b"." && name != b".." {
                names.push(OsString::from_vec(name));
            }
        }
        Ok(names)
    }

    /// Opens a file inside this directory for reading.
    ///
    /// # Errors
    /// When the file is not a regular file, or cannot be read.
    pub fn file(&self, name: &OsStr) -> io::Result<File> {
        open_at(&self.0, name, OFlags::RDONLY)
    }

    /// Creates a file inside this directory.
    ///
    /// # Errors
    /// When the file exists, or cannot be created.
    pub fn create_new(&self, name: &str) -> io::Result<File> {
        open_at(&self.0, OsStr::new(name), OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL)
    }

    /// Moves a file into another directory of the same file system.
    ///
    /// # Errors
    /// When the file cannot be moved.
    pub fn move_file(&self, name: &str, to: &Self) -> io::Result<()> {
        Ok(renameat(&self.0, name, &to.0, name)?)
    }

    /// Moves a file into another directory of the same file system, under another name.
    ///
    /// # Errors
    /// When the file cannot be moved.
    pub fn rename_file(&self, name: &str, to: &Self, new: &str) -> io::Result<()> {
        Ok(renameat(&self.0, name, &to.0, new)?)
    }

    /// Makes all files of the file system durable: one call for many files.
    ///
    /// # Errors
    /// When the file system reports a failure.
    pub fn sync_file_system(&self) -> io::Result<()> {
        Ok(rustix::fs::syncfs(&self.0)?)
    }

    /// Removes a file.
    ///
    /// # Errors
    /// When the file cannot be removed.
    pub fn remove_file(&self, name: &str) -> io::Result<()> {
        Ok(rustix::fs::unlinkat(&self.0, name, AtFlags::empty())?)
    }

    /// Makes the directory's names durable, so that they survive a loss of power.
    ///
    /// # Errors
    /// When the file system reports a failure.
    pub fn sync(&self) -> io::Result<()> {
        Ok(fsync(&self.0)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::mknodat;
    use std::os::unix::{fs::symlink, net::UnixListener};

    /// Covers each kind of file and each way of opening one.
    #[test]
    fn only_regular_files_are_opened() {
        let place = tempfile::tempdir().unwrap();
        let at = |name: &str| place.path().join(name);
        fs::write(at("file"), "octets").unwrap();
        fs::create_dir(at("directory")).unwrap();
        symlink(at("file"), at("link")).unwrap();
        symlink(at("nothing"), at("dangling")).unwrap();
        symlink(at("directory"), at("way")).unwrap();
        mknodat(CWD, at("fifo"), FileType::Fifo, FILE, 0).unwrap();
        let _socket = UnixListener::bind(at("socket")).unwrap();
        let directory = OpenDirectory::open(place.path()).unwrap();
        for name in ["directory", "link", "dangling", "way", "fifo", "socket"] {
            let opened = [
                open(&at(name)),
                append(&at(name)),
                create(&at(name)),
                directory.file(OsStr::new(name)),
                directory.create_new(name),
            ];
            assert!(opened.iter().all(Result::is_err), "{name}: {opened:?}");
        }
        assert!(open(Path::new("/dev/null")).is_err());
        assert!(!at("nothing").exists());
        for name in ["directory", "link", "dangling", "way", "fifo", "socket", "no"] {
            assert!(directory.facts(OsStr::new(name)).is_err(), "{name}");
        }
        assert_eq!(directory.facts(OsStr::new("file")).unwrap().octets, 6);
        for name in ["file", "link", "way", "fifo", "socket", "nothing"] {
            assert!(directory.directory(name).is_err(), "{name}");
            assert_eq!(directory.make_directory(name).is_ok(), name == "nothing", "{name}");
        }
        assert_eq!(read(open(&at("file")).unwrap(), 6).unwrap(), b"octets");
        assert!(read(open(&at("file")).unwrap(), 5).is_err());
        create(&at("file")).unwrap();
        assert_eq!(read(directory.file(OsStr::new("file")).unwrap(), 6).unwrap(), b"");
        assert_eq!(directory.names().unwrap().len(), 8);
    }
}
