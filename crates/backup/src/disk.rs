//! Files and directories that only their owner may read.

use crate::BackupError;
use aws_lc_rs::digest::{SHA256, digest};
use rustix::fs::OFlags;
use std::{
    fmt::Write as _,
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::Path,
};

/// Makes a directory, unless it is there.
pub(crate) fn make_directory(path: &Path) -> Result<(), BackupError> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|error| BackupError::Io(path.to_owned(), error))
}

/// Makes a directory within a backup, unless it is there. A link in its place is refused: whoever can write to the backup
/// must not have files elsewhere written or removed.
pub(crate) fn make_inner_directory(path: &Path) -> Result<(), BackupError> {
    make_directory(path)?;
    check_directory(path)
}

/// Checks that a directory within a backup is one, and no link to one.
pub(crate) fn check_directory(path: &Path) -> Result<(), BackupError> {
    let refused = |words: &str| io::Error::new(io::ErrorKind::NotADirectory, words);
    let checked = fs::symlink_metadata(path).and_then(|found| match found.file_type().is_dir() {
        true => Ok(()),
        false => Err(refused("no directory, or a link to one, which is not followed")),
    });
    checked.map_err(|error| BackupError::Io(path.to_owned(), error))
}

/// Opens a file with these options, in no case through a link.
pub(crate) fn open(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    // Without O_NONBLOCK, opening a FIFO would wait for its other end.
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = options.mode(0o600).custom_flags(flags.bits() as i32).open(path)?;
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(io::Error::new(io::ErrorKind::InvalidInput, "no regular file")),
    }
}

/// Writes a file, whole or not at all, and makes it durable.
pub(crate) fn write(path: &Path, octets: &[u8]) -> Result<(), BackupError> {
    let partial = path.with_extension("partial");
    let write = || -> io::Result<()> {
        // What an interrupted run left, or a link.
        match fs::remove_file(&partial) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = open(&partial, File::options().write(true).create_new(true))?;
        file.write_all(octets)?;
        file.sync_all()?;
        fs::rename(&partial, path)?;
        sync_parent(path)
    };
    write().map_err(|error| BackupError::Io(path.to_owned(), error))
}

fn sync_parent(path: &Path) -> io::Result<()> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
}

/// Reads a file of at most `most` octets from the disk rather than from the system's memory, as far as the system lets us.
pub(crate) fn read_back(path: &Path, most: u64) -> Result<Vec<u8>, BackupError> {
    let read = || -> io::Result<Vec<u8>> {
        let file = open(path, File::options().read(true))?;
        // Only advice: a system that does not take it reads from memory.
        let _ = rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed);
        read_within(file, most)
    };
    read().map_err(|error| BackupError::Io(path.to_owned(), error))
}

/// Reads a whole file of at most `most` octets. An error names its path.
pub(crate) fn read(path: &Path, most: u64) -> Result<Vec<u8>, BackupError> {
    let file = open(path, File::options().read(true));
    let read = file.and_then(|file| read_within(file, most));
    read.map_err(|error| BackupError::Io(path.to_owned(), error))
}

fn read_within(file: File, most: u64) -> io::Result<Vec<u8>> {
    let mut octets = Vec::new();
    if file.take(most.saturating_add(1)).read_to_end(&mut octets)? as u64 > most {
        let words = format!("it has more than {most} octets, and is no file of a backup");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, words));
    }
    Ok(octets)
}

/// Removes a file, unless it is gone.
pub(crate) fn remove(path: &Path) -> Result<(), BackupError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(BackupError::Io(path.to_owned(), error))
        }
        _ => Ok(()),
    }
}

/// Returns the names of the files in a directory, in order.
pub(crate) fn names(path: &Path) -> Result<Vec<String>, BackupError> {
    let failed = |error| BackupError::Io(path.to_owned(), error);
    let mut names = Vec::new();
    for entry in fs::read_dir(path).map_err(failed)? {
        names.extend(entry.map_err(failed)?.file_name().into_string().ok());
    }
    names.sort();
    Ok(names)
}

/// Returns the SHA-256 of octets, in hexadecimal.
pub(crate) fn sha256(octets: &[u8]) -> String {
    hex(digest(&SHA256, octets).as_ref())
}

/// Returns octets in hexadecimal.
pub(crate) fn hex(octets: &[u8]) -> String {
    octets.iter().fold(String::new(), |mut text, octet| {
        let _ = write!(text, "{octet:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{CWD, FileType, Mode, mknodat};
    use std::os::unix::fs::symlink;

    /// Whoever can write to a backup's directory, such as a share, must not have root write elsewhere, or wait for ever.
    #[test]
    fn nothing_is_read_or_written_through_links() {
        let place = tempfile::tempdir().unwrap();
        let at = |name: &str| place.path().join(name);
        fs::write(at("elsewhere"), "untouched").unwrap();
        symlink(at("elsewhere"), at("a.json")).unwrap();
        symlink(at("elsewhere"), at("a.partial")).unwrap();
        mknodat(CWD, at("fifo"), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        for name in ["a.json", "fifo", "/dev/zero"] {
            assert!(read(&at(name), 100).is_err() && read_back(&at(name), 100).is_err(), "{name}");
        }
        assert!(read(&at("elsewhere"), 8).is_err(), "too large");
        assert_eq!(read(&at("elsewhere"), 9).unwrap(), b"untouched");
        write(&at("a.json"), b"ours").unwrap();
        assert_eq!(read(&at("a.json"), 9).unwrap(), b"ours");
        assert_eq!(fs::read(at("elsewhere")).unwrap(), b"untouched");
        fs::create_dir(at("directory")).unwrap();
        symlink(at("directory"), at("packs")).unwrap();
        assert!(make_inner_directory(&at("packs")).is_err());
        make_inner_directory(&at("directory")).unwrap();
        make_inner_directory(&at("new")).unwrap();
    }
}
