//! The lists in which other servers keep the unique-ids of a Maildir's messages: `dovecot-uidlist` of
//! Dovecot, `courierpop3dsizelist` of Courier. File names in them are octets, which need not be text.

use super::with_path;
use crate::collect::plain_files::{self, OpenDirectory};
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

/// The entries of a list, by file name without flags.
#[derive(Debug, Default)]
pub(super) struct UniqueIds {
    /// The rank and the unique-id of each file.
    files: HashMap<Vec<u8>, (usize, String)>,
    /// The path of the list that was read.
    pub(super) path: PathBuf,
    /// The numbers of the lines that cannot be understood, from 1.
    pub(super) odd: Vec<usize>,
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
    ) -> io::Result<Self> {
        if let Some(list) = list {
            let file = plain_files::open(list).map_err(|error| with_path(error, list))?;
            return Self::read_file(file, list.to_owned());
        }
        for name in LISTS {
            match maildir.file(OsStr::new(name)) {
                Ok(file) => return Self::read_file(file, directory.join(name)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(with_path(error, &directory.join(name))),
            }
        }
        Ok(Self::default())
    }

    fn read_file(file: File, path: PathBuf) -> io::Result<Self> {
        let octets = plain_files::read(file, LIST).map_err(|error| with_path(error, &path))?;
        Ok(Self::parse(&octets, path))
    }

    fn parse(octets: &[u8], path: PathBuf) -> Self {
        let mut parsed = Self { path, ..Self::default() };
        let mut lines = octets.split(|&octet| octet == b'\n');
        let header = lines.next().unwrap_or_default();
        for (rank, line) in lines.enumerate().filter(|(_, line)| !line.is_empty()) {
            let entry =
                if header.starts_with(b"/") { courier(line) } else { dovecot(header, line) };
            match entry {
                Some((base, unique_id)) => {
                    parsed.files.insert(base.to_vec(), (rank, unique_id));
                }
                // The header is the first line.
                None => parsed.odd.push(rank + 2),
            }
        }
        parsed
    }

    /// Returns the rank and the unique-id of a file, given its name without flags.
    pub(super) fn of(&self, base: &[u8]) -> Option<(usize, String)> {
        self.files.get(base).cloned()
    }
}

/// Splits a file's name into the name without flags, and the flags.
pub(super) fn split_flags(name: &[u8]) -> (&[u8], &[u8]) {
    let at = name.windows(3).position(|window| window == b":2,");
    name.split_at(at.unwrap_or(name.len()))
}

/// Parses a line `UID [P<unique-id>] [other fields] :FILE`. Without a P, Dovecot's POP3 uses the UID and
/// the header's UIDVALIDITY, eight hexadecimal digits each.
fn dovecot<'l>(header: &[u8], line: &'l [u8]) -> Option<(&'l [u8], String)> {
    let at = line.windows(2).position(|window| window == b" :")?;
    let (base, _) = split_flags(&line[at + 2..]);
    let mut fields = words(&line[..at])?.split(' ');
    let uid: u32 = fields.next()?.parse().ok()?;
    let saved = fields.find_map(|field| field.strip_prefix('P'));
    if let Some(unique_id) = saved {
        return Some((base, unique_id.to_owned()));
    }
    let validity = words(header)?.split(' ').find_map(|field| field.strip_prefix('V'))?;
    let validity: u32 = validity.parse().ok()?;
    Some((base, format!("{uid:08x}{validity:08x}")))
}

/// Parses a line `FILE SIZE NUMBER:VALIDITY[:…]`. Courier's POP3 uses `UIDNUMBER-VALIDITY`, or the
/// file's name if the number is 0.
fn courier(line: &[u8]) -> Option<(&[u8], String)> {
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
    Some((base, unique_id))
}

fn words(octets: &[u8]) -> Option<&str> {
    str::from_utf8(octets).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The lists as both servers wrote them, with the unique-ids that their POP3 used. A line that
    /// cannot be understood affects only itself, and file names need not be text.
    #[test]
    fn lists_are_read() {
        let dovecot = b"3 V1795540755 N1 Gf243c53312c7056b4d0b000083ecc375\n\
                        1 G0.bench :1795540754.M868569P2893.vm,S=3976,W=4044\n\
                        x :y\n\
                        2 Pkept.id G1.bench :1795540754.M868570P2893.vm,S=3976,W=4044:2,S\n\
                        3 :17.caf\xe9.host\n\
                        4 :17.caf\xe8.host:2,\n\
                        5 P\xff :18.host\n";
        let list = UniqueIds::parse(dovecot, PathBuf::new());
        for (name, expected) in [
            (&b"1795540754.M868569P2893.vm,S=3976,W=4044"[..], (0, "000000016b05c713")),
            (b"1795540754.M868570P2893.vm,S=3976,W=4044", (2, "kept.id")),
            (b"17.caf\xe9.host", (3, "000000036b05c713")),
            (b"17.caf\xe8.host", (4, "000000046b05c713")),
        ] {
            assert_eq!(list.of(name), Some((expected.0, expected.1.to_owned())));
        }
        assert_eq!((list.files.len(), list.odd), (4, vec![3, 7]));
        let courier = b"/3 4 1795540764\n\
                        170001.M1P2.host,S=14:2, 17 1:1795540764:0\n\
                        170002.M1P2.host,S=14:2,S 17 0:0:0\n\
                        nothing\n\
                        170003.a name\xff 17 3:1795540764:0\n";
        let list = UniqueIds::parse(courier, PathBuf::new());
        assert_eq!(list.of(b"170001.M1P2.host,S=14").unwrap(), (0, "UID1-1795540764".into()));
        assert_eq!(list.of(b"170002.M1P2.host,S=14").unwrap(), (1, "170002.M1P2.host,S=14".into()));
        assert_eq!(list.of(b"170003.a name\xff").unwrap(), (3, "UID3-1795540764".into()));
        assert_eq!((list.files.len(), list.odd), (3, vec![4]));
        assert_eq!(UniqueIds::parse(b"", PathBuf::new()).files.len(), 0);
    }
}
