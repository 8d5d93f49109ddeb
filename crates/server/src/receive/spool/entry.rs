//! A message in the spool: a line of JSON with its envelope, then its content, whose lines end in CRLF.
//!
//! `posta sendmail` writes it, in the rights of any user; the server reads it, and believes none of it but the owner of
//! the file.

use super::directory::{NEW, SpoolDirectory};
use posta_mail::{
    MailId,
    envelope::{Notify, Return},
};
use rustix::{
    fs::{Mode, OFlags},
    io::Errno,
};
use serde::{Deserialize, Serialize};
use std::{
    fs::{self, File},
    io::{self, BufRead, BufReader, BufWriter, ErrorKind, Read, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

/// The most recipients of a message.
pub const RECIPIENTS: usize = 1_000;

/// The most octets of the line with the envelope.
const ENVELOPE: u64 = 1024 * 1024;

/// The mode of a file: its user and the server, whose group it has, can read it.
const READABLE: u32 = 0o640;

/// The octets of content that are read at a time.
const PIECE: usize = 64 * 1024;

/// The envelope of a message that a program hands over, as the program gave it. Addresses may lack their domain, as those
/// of the machine's users do.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct SpoolEnvelope {
    /// The sender; empty for the null reverse-path.
    pub from: String,
    /// The sender's name for people, for a From field that has to be added.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub full_name: Option<String>,
    /// The recipients: at least one, at most [`RECIPIENTS`].
    pub to: Vec<String>,
    /// The events about which the sender wants a report.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub notify: Option<Notify>,
    /// The part of the message that a report includes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ret: Option<Return>,
    /// The sender's name for the message, in xtext.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub envelope_id: Option<String>,
}

/// Writes a message into a spool.
pub struct SpoolWriter {
    file: BufWriter<File>,
    incomplete: PathBuf,
    complete: PathBuf,
    is_complete: bool,
}

impl SpoolWriter {
    /// Begins a message in a directory, under an id that no other has.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn begin(directory: &Path, id: MailId, envelope: &SpoolEnvelope) -> io::Result<Self> {
        let incomplete = directory.join(format!("{NEW}{id}"));
        let file = File::options().write(true).create_new(true).mode(0o600).open(&incomplete)?;
        let complete = directory.join(id.to_string());
        let file = BufWriter::new(file);
        let mut writer = Self { file, incomplete, complete, is_complete: false };
        // Whatever the umask is: the server has to read it.
        writer.file.get_ref().set_permissions(fs::Permissions::from_mode(READABLE))?;
        serde_json::to_writer(&mut writer.file, envelope)?;
        writer.file.write_all(b"\n")?;
        Ok(writer)
    }

    /// Completes the message. When this returns, no crash can lose it.
    ///
    /// # Errors
    /// When the system refuses; the message is then not in the spool.
    pub fn complete(mut self) -> io::Result<()> {
        self.file.flush()?;
        let file = self.file.get_ref();
        file.sync_all()?;
        fs::rename(&self.incomplete, &self.complete)?;
        // Only who may read a directory can sync it. Renaming changes the file as well, so that syncing the file once more
        // makes the journals of ext4, XFS and Btrfs keep its new name.
        let synced = file.sync_all();
        if synced.is_err() {
            // If it is gone, the server has taken it.
            let _ = fs::remove_file(&self.complete);
        }
        self.is_complete = true;
        synced
    }
}

impl Write for SpoolWriter {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        self.file.write(octets)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for SpoolWriter {
    fn drop(&mut self) {
        if !self.is_complete {
            // What stays is removed by the server after a day.
            let _ = fs::remove_file(&self.incomplete);
        }
    }
}

/// A file that cannot be taken.
pub(super) enum Unusable {
    /// It is not there any more.
    Gone,
    /// It is no message that `posta sendmail` wrote.
    Foreign(String),
    /// It could not be read now.
    Failed(io::Error),
}

impl From<io::Error> for Unusable {
    fn from(error: io::Error) -> Self {
        // What O_NOFOLLOW says of a symbolic link.
        if error.raw_os_error() == Some(Errno::LOOP.raw_os_error()) {
            return Self::Foreign("it is a symbolic link".to_owned());
        }
        match error.kind() {
            ErrorKind::NotFound => Self::Gone,
            ErrorKind::PermissionDenied => Self::Foreign("the server may not read it".to_owned()),
            _ => Self::Failed(error),
        }
    }
}

/// A message in the spool, whose envelope was read.
pub(super) struct SpoolFile {
    /// The user who wrote it.
    pub(super) uid: u32,
    /// What tells this file from another that had its name.
    pub(super) stamp: Vec<u8>,
    pub(super) envelope: SpoolEnvelope,
    /// The octets of its content, as far as the system knows.
    pub(super) octets: u64,
    content: io::Take<BufReader<File>>,
}

impl SpoolFile {
    /// Opens a message of at most `most` octets of content.
    pub(super) fn open(
        directory: &SpoolDirectory,
        name: MailId,
        most: u64,
    ) -> Result<Self, Unusable> {
        // Neither a link to somebody else's file nor a FIFO, on which to wait.
        let flags =
            OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let opened = rustix::fs::open(directory.message(name), flags, Mode::empty());
        let file = File::from(opened.map_err(io::Error::from)?);
        let found = file.metadata()?;
        let foreign = |why: &str| Err(Unusable::Foreign(why.to_owned()));
        if !found.is_file() {
            return foreign("it is no regular file");
        }
        // A link to a file of somebody else, who never meant to send it, has another group.
        if found.gid() != directory.gid || found.nlink() != 1 {
            return foreign("it was not made in this directory");
        }
        if found.mode() & 0o022 != 0 {
            return foreign("others than its user can change it");
        }
        let mut reader = BufReader::with_capacity(PIECE, file);
        let mut line = Vec::new();
        (&mut reader).take(ENVELOPE).read_until(b'\n', &mut line)?;
        let octets = found.len().saturating_sub(line.len() as u64);
        if octets > most {
            return foreign("it is larger than a message may be (limits.message-size)");
        }
        let Ok(envelope) = serde_json::from_slice::<SpoolEnvelope>(&line) else {
            return foreign("it does not begin with an envelope");
        };
        if envelope.to.is_empty() || envelope.to.len() > RECIPIENTS {
            return foreign("it has no recipient, or too many");
        }
        let stamp =
            format!("{} {} {}.{}", found.uid(), found.ino(), found.mtime(), found.mtime_nsec());
        let (uid, stamp) = (found.uid(), stamp.into_bytes());
        // A file that grows meanwhile does not become a larger message.
        Ok(Self { uid, stamp, envelope, octets, content: reader.take(octets) })
    }

    /// Returns the next piece of the content; an empty one at the end.
    pub(super) fn piece(&mut self) -> io::Result<Vec<u8>> {
        let mut piece = Vec::new();
        (&mut self.content).take(PIECE as u64).read_to_end(&mut piece)?;
        Ok(piece)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use posta_mail::Timestamp;
    use std::os::unix::fs::symlink;

    fn id(number: u64) -> MailId {
        MailId::new(Timestamp::UNIX_EPOCH, number)
    }

    fn write(directory: &Path, id: MailId, content: &[u8]) {
        let to = vec!["ana".to_owned()];
        let envelope =
            SpoolEnvelope { from: "bob@x.test".to_owned(), to, ..SpoolEnvelope::default() };
        let mut writer = SpoolWriter::begin(directory, id, &envelope).unwrap();
        writer.write_all(content).unwrap();
        writer.complete().unwrap();
    }

    fn why(opened: Result<SpoolFile, Unusable>) -> String {
        match opened {
            Ok(_) => "it is a message".to_owned(),
            Err(Unusable::Gone) => "it is gone".to_owned(),
            Err(Unusable::Foreign(why)) => why,
            Err(Unusable::Failed(error)) => format!("failed: {error}"),
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("spool");
        let spool = SpoolDirectory::open(&path).unwrap();
        let content = vec![b'x'; 100_000];
        write(&path, id(1), &content);
        assert_eq!(fs::metadata(path.join(id(1).to_string())).unwrap().mode() & 0o777, READABLE);
        let Ok(mut file) = SpoolFile::open(&spool, id(1), 100_000) else { panic!("no message") };
        assert_eq!(
            (file.envelope.from.as_str(), &file.envelope.to[..]),
            ("bob@x.test", &["ana".to_owned()][..])
        );
        assert_eq!((file.uid, file.octets), (rustix::process::geteuid().as_raw(), 100_000));
        let (first, second) = (file.piece().unwrap(), file.piece().unwrap());
        assert_eq!([first, second].concat(), content);
        assert!(file.piece().unwrap().is_empty());
        assert!(why(SpoolFile::open(&spool, id(1), 99_999)).contains("larger"));
        assert_eq!(why(SpoolFile::open(&spool, id(2), 9)), "it is gone");
        let envelope = SpoolEnvelope::default();
        drop(SpoolWriter::begin(&path, id(3), &envelope).unwrap());
        assert_eq!(
            fs::read_dir(&path).unwrap().count(),
            1,
            "nothing stays of what was not completed"
        );
    }

    /// The attacks: somebody else's file, by a link or by moving it here, and what is no file of `sendmail`.
    #[test]
    fn what_is_foreign_is_not_taken() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("spool");
        let spool = SpoolDirectory::open(&path).unwrap();
        let at = |number: u64| path.join(id(number).to_string());
        let victim = parent.path().join("victim");
        fs::write(&victim, "{\"to\":[\"ana\"]}\nsecret").unwrap();
        fs::set_permissions(&victim, fs::Permissions::from_mode(0o644)).unwrap();
        fs::hard_link(&victim, at(1)).unwrap();
        symlink(&victim, at(2)).unwrap();
        fs::create_dir(at(3)).unwrap();
        fs::write(at(4), "From: x\n\n").unwrap();
        fs::write(at(5), "{\"to\":[]}\n").unwrap();
        write(&path, id(6), b"x");
        fs::set_permissions(at(6), fs::Permissions::from_mode(0o660)).unwrap();
        let fifo = std::process::Command::new("mkfifo").arg(at(7)).status().unwrap();
        assert!(fifo.success());
        for (number, said) in [
            (1, "not made in this directory"),
            (2, "symbolic link"),
            (3, "no regular file"),
            (4, "does not begin with an envelope"),
            (5, "no recipient"),
            (6, "can change it"),
            (7, "no regular file"),
        ] {
            let told = why(SpoolFile::open(&spool, id(number), 99));
            assert!(told.contains(said), "{number}: {told}");
        }
        if !rustix::process::geteuid().is_root() {
            eprintln!("SKIPPED: only root can give a file another group");
            return;
        }
        write(&path, id(8), b"x");
        std::os::unix::fs::chown(at(8), None, Some(65_534)).unwrap();
        assert!(why(SpoolFile::open(&spool, id(8), 99)).contains("not made in this directory"));
    }
}
