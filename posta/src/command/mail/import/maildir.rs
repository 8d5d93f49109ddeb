//! Reading a Maildir: the messages of another server, with the unique-ids under which mail programs know them, so that
//! no program collects any message twice.
//!
//! Dovecot and Courier keep lists of unique-ids (`lists.rs`). The unique-id of a message that is in no list is its file
//! name, as with qmail and Courier, or a digest of that name if it is not a valid unique-id (RFC 1939 §7). POP3 never
//! served the folders beside the INBOX, so their messages have none, unless Dovecot's list says so.

mod folders;
mod listing;
mod lists;
mod uidl_format;

pub(super) use uidl_format::UidlFormat;

use super::source::{Listing, MailSource, MessagePlace, SourceFolder, SourceMessage, with_path};
use crate::command::mail::{crlf_reader::CrlfReader, folder_names};
use lists::UniqueIds;
use posta_server::{
    admin::{TransferFormat, TransferSource},
    collect::plain_files::OpenDirectory,
};
use std::{
    io::{self, Read},
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

/// Reads octets as a list of unique-ids. Returns the names of the files in it, each with its unique-id.
pub(crate) fn listed(octets: &[u8]) -> Vec<(Vec<u8>, String)> {
    let format = UidlFormat::default();
    UniqueIds::parse(octets, PathBuf::new(), Some(&format)).files()
}

/// A Maildir.
pub(super) struct Maildir {
    path: PathBuf,
    directory: OpenDirectory,
    unique_ids: UniqueIds,
    /// Whether messages that are marked as deleted count.
    takes_deleted: bool,
}

impl Maildir {
    /// Opens a Maildir, and reads the list of unique-ids at `list`, or otherwise the one that it has. Where Dovecot's list
    /// has none itself, `format` makes them.
    ///
    /// # Errors
    /// When it is no Maildir, or a list cannot be read.
    pub(super) fn open(
        path: &Path,
        (list, format): (Option<&Path>, &UidlFormat),
        takes_deleted: bool,
    ) -> io::Result<Self> {
        let directory = OpenDirectory::open(path).map_err(|error| with_path(error, path))?;
        let unique_ids = UniqueIds::read(path, &directory, list, format)?;
        let maildir = Self { path: path.to_owned(), directory, unique_ids, takes_deleted };
        let has = |name: &str| match maildir.directory.directory(name) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(with_path(error, &path.join(name))),
        };
        if !(has("new")? | has("cur")?) {
            maildir.expect_own_folders(path)?;
        }
        Ok(maildir)
    }

    /// Refuses a directory without an inbox, unless it has folders as only a Maildir has them (`.Sent`): in the directory of
    /// all users, each folder would be another person's Maildir.
    fn expect_own_folders(&self, path: &Path) -> io::Result<()> {
        let folders = folders::walk(&self.directory).folders;
        if folders.iter().any(|folder| folder[0].as_bytes().starts_with(b".")) {
            return Ok(());
        }
        let words = match folders.first() {
            None => {
                "no Maildir: neither it nor what is in it has a directory `cur` or `new`".to_owned()
            }
            Some(folder) => format!(
                "no Maildir: it has no directory `cur` or `new` itself, and what is in it may be other people's; \
                 name one Maildir, such as {}",
                path.join(folders::name_of(folder)).display()
            ),
        };
        Err(with_path(io::Error::new(io::ErrorKind::NotFound, words), path))
    }
}

impl MailSource for Maildir {
    fn origin(&self) -> TransferSource {
        TransferSource { path: self.path.display().to_string(), format: TransferFormat::Maildir }
    }

    fn folders(&self, skipped: &mut Vec<String>) -> io::Result<Vec<SourceFolder>> {
        for line in &self.unique_ids.odd {
            let path = self.unique_ids.path.display();
            skipped.push(format!("{path}, line {line}: names no file and its unique-id"));
        }
        if self.unique_ids.more_odd > 0 {
            let (path, more) = (self.unique_ids.path.display(), self.unique_ids.more_odd);
            skipped.push(format!("{path}: {more} more lines name no file and its unique-id"));
        }
        let walk = folders::walk(&self.directory);
        skipped.extend(walk.skipped);
        let mut found = vec![SourceFolder { name: None, path: Vec::new() }];
        for path in walk.folders {
            match folder_names::folder(&path) {
                Ok(name) => found.push(SourceFolder { name: Some(name), path }),
                Err(why) => skipped.push(format!("{}: {why}", folders::name_of(&path))),
            }
        }
        Ok(found)
    }

    fn list(&self, folder: &SourceFolder) -> io::Result<Listing> {
        listing::list(&self.directory, &folder.path, &self.unique_ids, self.takes_deleted)
    }

    fn open(&self, folder: &SourceFolder, message: &SourceMessage) -> io::Result<Box<dyn Read>> {
        let MessagePlace::File { directory, name } = &message.place else {
            return Err(io::ErrorKind::NotFound.into());
        };
        let opened = folders::open(&self.directory, &folder.path)?.directory(directory)?;
        Ok(Box::new(CrlfReader::new(opened.file(name)?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    /// The directory of all users is no Maildir, though there are some in it.
    #[test]
    fn other_peoples_mail_is_not_taken() {
        let format = "%f".parse().unwrap();
        for (directory, is_taken) in [
            ("bob/Maildir/cur", false),
            ("bob/new", false),
            ("nothing", false),
            (".Sent/cur", true),
            ("cur", true),
        ] {
            let place = tempfile::tempdir().unwrap();
            fs::create_dir_all(place.path().join(directory)).unwrap();
            let opened = Maildir::open(place.path(), (None, &format), true);
            assert_eq!(opened.is_ok(), is_taken, "{directory}");
            if let Some(error) = opened.err().filter(|_| directory.starts_with("bob")) {
                assert!(error.to_string().contains("name one Maildir, such as"), "{error}");
            }
        }
    }

    /// A mail program uses the Maildir meanwhile: what it moved is found again under the same identity.
    #[test]
    fn what_is_moved_is_the_same_message() {
        let format = "%f".parse().unwrap();
        let place = tempfile::tempdir().unwrap();
        let at = |name: &str| place.path().join(name);
        for name in ["new", "cur", ".Sent/cur"] {
            fs::create_dir_all(at(name)).unwrap();
        }
        fs::write(at("new/1.M1"), "Subject: x\n\n").unwrap();
        fs::write(at("cur/2.M1:2,"), "Subject: y\n\n").unwrap();
        let maildir = Maildir::open(place.path(), (None, &format), true).unwrap();
        let folders = maildir.folders(&mut Vec::new()).unwrap();
        let before = maildir.list(&folders[0]).unwrap().messages;
        fs::rename(at("new/1.M1"), at("cur/1.M1:2,S")).unwrap();
        fs::rename(at("cur/2.M1:2,"), at(".Sent/cur/2.M1:2,T")).unwrap();
        let gone = maildir.open(&folders[0], &before[0]).err().unwrap();
        assert_eq!(gone.kind(), io::ErrorKind::NotFound);
        let inbox = maildir.list(&folders[0]).unwrap().messages;
        let sent = maildir.list(&folders[1]).unwrap().messages;
        assert_eq!(inbox[0].identity, before[0].identity);
        assert_eq!(sent[0].identity, before[1].identity);
        let mut read = String::new();
        maildir.open(&folders[1], &sent[0]).unwrap().read_to_string(&mut read).unwrap();
        assert_eq!(read, "Subject: y\r\n\r\n");
        let without = Maildir::open(place.path(), (None, &format), false).unwrap();
        let listing = without.list(&folders[1]).unwrap();
        assert_eq!((listing.messages.len(), listing.deleted), (0, 1));
    }
}
