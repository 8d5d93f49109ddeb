//! The lists in which other servers keep the unique-ids of a Maildir's messages: `dovecot-uidlist` of
//! Dovecot, `courierpop3dsizelist` of Courier. File names in them are octets, which need not be text.

use super::uidl_format::UidlFormat;
use crate::command::mail::import::source::with_path;
use posta_server::collect::plain_files::{self, OpenDirectory};
use std::{
    collections::HashMap,
    ffi::OsStr,
    fs::File,
    io,
    path::{Path, PathBuf},
};

/// The names of the lists in a Maildir.
const LISTS: [&str; 2] = ["dovecot-uidlist", "courierpop3dsizelist"];

/// The maximal number of octets in a list, enough for a million messages.
const LIST: u64 = 128 << 20;

/// The maximal number of lines in a list. The shortest take much less room in the file than in memory.
const LINES: usize = 2_000_000;

/// The maximal number of lines that are named since they cannot be understood.
const NAMED: usize = 100;

/// The entries of a list, by file name without flags.
#[derive(Debug, Default)]
pub(super) struct UniqueIds {
    /// The rank and the unique-id of each file.
    files: HashMap<Vec<u8>, Listed>,
    /// The path of the list that was read.
    pub(super) path: PathBuf,
    /// The numbers of the first lines that cannot be understood, from 1.
    pub(super) odd: Vec<usize>,
    /// The number of further such lines.
    pub(super) more_odd: usize,
}

/// A file in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Listed {
    /// Its place in the list.
    pub(super) rank: usize,
    /// Its unique-id, if it were in the INBOX.
    pub(super) unique_id: String,
    /// Whether the list has the unique-id itself, so that it holds in every folder.
    pub(super) is_saved: bool,
}

impl UniqueIds {
    /// Reads the list at `list`, or otherwise the one in the Maildir, if there is one.
    ///
    /// # Errors
    /// When a list is not a regular file, cannot be read or is too large.
    pub(super) fn read(
        directory: &Path,
        maildir: &OpenDirectory,
        list: Option<&Path>,
        format: &UidlFormat,
    ) -> io::Result<Self> {
        if let Some(list) = list {
            let file = plain_files::open(list).map_err(|error| with_path(error, list))?;
            return Self::read_file(file, list.to_owned(), Some(format));
        }
        for name in LISTS {
            match maildir.file(OsStr::new(name)) {
                Ok(file) => return Self::read_file(file, directory.join(name), Some(format)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(with_path(error, &directory.join(name))),
            }
        }
        Ok(Self::default())
    }

    /// Reads the list of a folder beside the INBOX, if it has one.
    ///
    /// # Errors
    /// When a list is not a regular file, cannot be read or is too large.
    pub(super) fn of_folder(folder: &OpenDirectory) -> io::Result<Self> {
        match folder.file(OsStr::new(LISTS[0])) {
            Ok(file) => Self::read_file(file, PathBuf::from(LISTS[0]), None),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(with_path(error, Path::new(LISTS[0]))),
        }
    }

    fn read_file(file: File, path: PathBuf, format: Option<&UidlFormat>) -> io::Result<Self> {
        let octets = plain_files::read(file, LIST).map_err(|error| with_path(error, &path))?;
        if memchr::memchr_iter(b'\n', &octets).count() > LINES {
            let words = format!("it has more than {LINES} lines");
            return Err(with_path(io::Error::new(io::ErrorKind::FileTooLarge, words), &path));
        }
        Ok(Self::parse(&octets, path, format))
    }

    /// Reads a list. Without a form of unique-ids, only those count that the list has itself.
    pub(super) fn parse(octets: &[u8], path: PathBuf, format: Option<&UidlFormat>) -> Self {
        let mut parsed = Self { path, ..Self::default() };
        let mut lines = octets.split(|&octet| octet == b'\n');
        let header = lines.next().unwrap_or_default();
        for (rank, line) in lines.enumerate().filter(|(_, line)| !line.is_empty()) {
            let entry = if header.starts_with(b"/") {
                courier(line)
            } else {
                dovecot(header, line, format)
            };
            match entry {
                Some((base, unique_id, is_saved)) => {
                    parsed.files.insert(base.to_vec(), Listed { rank, unique_id, is_saved });
                }
                // The header is the first line.
                None if parsed.odd.len() < NAMED => parsed.odd.push(rank + 2),
                None => parsed.more_odd += 1,
            }
        }
        parsed
    }

    /// Returns the files in the list, each with its unique-id.
    pub(super) fn files(self) -> Vec<(Vec<u8>, String)> {
        self.files.into_iter().map(|(file, listed)| (file, listed.unique_id)).collect()
    }

    /// Returns the rank and the unique-id of a file, given its name without flags.
    pub(super) fn of(&self, base: &[u8]) -> Option<&Listed> {
        self.files.get(base)
    }
}

/// Splits a file's name into the name without flags, and the flags.
pub(super) fn split_flags(name: &[u8]) -> (&[u8], &[u8]) {
    let at = name.windows(3).position(|window| window == b":2,");
    name.split_at(at.unwrap_or(name.len()))
}

/// Parses a line `UID [P<unique-id>] [other fields] :FILE`. Without a P, Dovecot's POP3 makes the unique-id of the UID
/// and the header's UIDVALIDITY.
fn dovecot<'l>(
    header: &[u8],
    line: &'l [u8],
    format: Option<&UidlFormat>,
) -> Option<(&'l [u8], String, bool)> {
    let at = line.windows(2).position(|window| window == b" :")?;
    let (base, _) = split_flags(&line[at + 2..]);
    let mut fields = words(&line[..at])?.split(' ');
    let uid: u32 = fields.next()?.parse().ok()?;
    let saved = fields.find_map(|field| field.strip_prefix('P'));
    if let Some(unique_id) = saved {
        return Some((base, unique_id.to_owned(), true));
    }
    let validity = words(header)?.split(' ').find_map(|field| field.strip_prefix('V'))?;
    let validity: u32 = validity.parse().ok()?;
    let unique_id = format.map(|format| format.unique_id(uid, validity, base));
    Some((base, unique_id.unwrap_or_default(), false))
}

/// Parses a line `FILE SIZE NUMBER:VALIDITY[:…]`. Courier's POP3 uses `UIDNUMBER-VALIDITY`, or the
/// file's name if the number is 0.
fn courier(line: &[u8]) -> Option<(&[u8], String, bool)> {
    let mut fields = line.rsplitn(3, |&octet| octet == b' ');
    let (ids, _size, file) = (words(fields.next()?)?, fields.next()?, fields.next()?);
    let (base, _) = split_flags(file);
    let mut ids = ids.split(':');
    let (number, validity) = (ids.next()?, ids.next()?);
    let unique_id = if number == "0" {
        // A name that is not UTF-8 cannot be a unique-id, whatever the replacement characters say.
        String::from_utf8_lossy(base).into_owned()
    } else {
        format!("UID{number}-{validity}")
    };
    Some((base, unique_id, false))
}

fn words(octets: &[u8]) -> Option<&str> {
    str::from_utf8(octets).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A Maildir's owner, for whom root imports it, must not make that take all memory.
    #[test]
    fn a_list_has_a_limit() {
        let mut file = tempfile::tempfile().unwrap();
        std::io::Write::write_all(&mut file, &b"/\n".repeat(LINES + 1)).unwrap();
        std::io::Seek::rewind(&mut file).unwrap();
        let refused = UniqueIds::read_file(file, PathBuf::new(), None).unwrap_err();
        assert!(refused.to_string().contains("more than 2000000 lines"), "{refused}");
    }

    /// The lists as both servers wrote them, with the unique-ids that their POP3 used. A line that
    /// cannot be understood affects only itself, and file names need not be text.
    #[test]
    fn lists_are_read() {
        let format = "%08Xu%08Xv".parse().unwrap();
        let dovecot = b"3 V1795540755 N1 Gf243c53312c7056b4d0b000083ecc375\n\
                        1 G0.bench :1795540754.M868569P2893.vm,S=3976,W=4044\n\
                        x :y\n\
                        2 Pkept.id G1.bench :1795540754.M868570P2893.vm,S=3976,W=4044:2,S\n\
                        3 :17.caf\xe9.host\n\
                        4 :17.caf\xe8.host:2,\n\
                        5 P\xff :18.host\n";
        let list = UniqueIds::parse(dovecot, PathBuf::new(), Some(&format));
        for (name, expected) in [
            (&b"1795540754.M868569P2893.vm,S=3976,W=4044"[..], (0, "000000016b05c713")),
            (b"1795540754.M868570P2893.vm,S=3976,W=4044", (2, "kept.id")),
            (b"17.caf\xe9.host", (3, "000000036b05c713")),
            (b"17.caf\xe8.host", (4, "000000046b05c713")),
        ] {
            let (rank, unique_id) = (expected.0, expected.1.to_owned());
            let is_saved = unique_id == "kept.id";
            assert_eq!(list.of(name), Some(&Listed { rank, unique_id, is_saved }));
        }
        assert_eq!((list.files.len(), list.odd), (4, vec![3, 7]));
        let courier = b"/3 4 1795540764\n\
                        170001.M1P2.host,S=14:2, 17 1:1795540764:0\n\
                        170002.M1P2.host,S=14:2,S 17 0:0:0\n\
                        nothing\n\
                        170003.a name\xff 17 3:1795540764:0\n";
        let list = UniqueIds::parse(courier, PathBuf::new(), Some(&format));
        let listed = |name: &[u8]| list.of(name).map(|it| (it.rank, it.unique_id.clone())).unwrap();
        assert_eq!(listed(b"170001.M1P2.host,S=14"), (0, "UID1-1795540764".to_owned()));
        assert_eq!(listed(b"170002.M1P2.host,S=14"), (1, "170002.M1P2.host,S=14".to_owned()));
        assert_eq!(listed(b"170003.a name\xff"), (3, "UID3-1795540764".to_owned()));
        assert_eq!((list.files.len(), list.odd), (3, vec![4]));
        assert_eq!(UniqueIds::parse(b"", PathBuf::new(), Some(&format)).files.len(), 0);
        let nonsense = "x\n".repeat(1_001);
        let list = UniqueIds::parse(nonsense.as_bytes(), PathBuf::new(), Some(&format));
        assert_eq!((list.odd.len(), list.more_odd), (100, 900));
    }
}
