//! Taking over a Maildir: the messages of another server, with the unique-ids under which mail programs
//! know them, so that none collects anything twice.
//!
//! Dovecot keeps its list in `dovecot-uidlist`, Courier in `courierpop3dsizelist`. A message that is
//! in no list has the name of its file as its unique-id, as qmail and Courier do it.

use crate::{
    collect::{Destination, StoreDestination, derived},
    plain_files::{self, Directory},
};
use posta_mail::id::is_unique_id;
use serde::{Deserialize, Serialize};
use std::{
    collections::HashMap,
    ffi::{OsStr, OsString},
    fs::File,
    io,
    os::unix::ffi::OsStrExt,
    path::Path,
    sync::Arc,
};
use tokio::{io::AsyncReadExt, task::spawn_blocking};

/// The lists' names in a Maildir.
const LISTS: [&str; 2] = ["dovecot-uidlist", "courierpop3dsizelist"];

/// The folders of a Maildir that hold messages.
const FOLDERS: [&str; 2] = ["new", "cur"];

/// Octets read at a time.
const PIECE: usize = 64 * 1024;

/// Octets of a list of unique-ids at most: room for a million messages.
const LIST: u64 = 128 << 20;

/// Names that are told of what was passed over: who reads them cannot read more.
const TOLD: usize = 20;

/// What an import came to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Imported {
    /// Messages that were new.
    pub messages: usize,
    /// Names that are no regular files, or could not be opened.
    pub passed_over: usize,
    /// The first of those names, and why.
    pub told: Vec<String>,
}

/// A message in a Maildir.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Found {
    /// Where it stands in the list; what is not listed comes last.
    rank: usize,
    /// The file's name: a time, before all.
    name: OsString,
    /// Where it is: a place in [`FOLDERS`].
    folder: usize,
    unique_id: String,
}

/// Takes a Maildir's messages over. `list` is the list of unique-ids, where it is not in the Maildir.
/// Messages whose unique-id is there already are not new. Only regular files are messages: what else
/// the Maildir's owner has put there is passed over, and told of.
///
/// # Errors
/// When something cannot be read or kept; what came before is there.
pub async fn maildir(
    directory: &Path,
    list: Option<&Path>,
    destination: &mut StoreDestination,
) -> io::Result<Imported> {
    let (directory, list) = (directory.to_owned(), list.map(Path::to_owned));
    let listing = off_thread(move || look(&directory, list.as_deref()));
    let (folders, found) = listing.await?;
    let known = destination.known().await?;
    let mut imported = Imported::default();
    for Found { name, folder, unique_id, .. } in found {
        if known.contains_key(&unique_id) {
            continue;
        }
        // Its owner chose it: it may hold a line end.
        let about = format!("{}/{}", FOLDERS[folder], name.to_string_lossy().escape_debug());
        let folders = folders.clone();
        match off_thread(move || folders[folder].file(&name)).await {
            Ok(file) => {
                let taken = take(file, &unique_id, destination).await;
                taken.map_err(|error| named(error, Path::new(&about)))?;
                imported.messages += 1;
            }
            Err(why) => {
                imported.passed_over += 1;
                if imported.told.len() < TOLD {
                    imported.told.push(format!("{about}: {why}"));
                }
            }
        }
    }
    Ok(imported)
}

/// Files may be far away, on a disk that does not answer: nobody else waits for them.
async fn off_thread<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    spawn_blocking(work).await.unwrap_or_else(|error| Err(io::Error::other(error)))
}

/// Opens a Maildir's folders, and lists what may be messages in the order in which they come.
fn look(directory: &Path, list: Option<&Path>) -> io::Result<(Arc<[Directory; 2]>, Vec<Found>)> {
    let maildir = Directory::open(directory).map_err(|error| named(error, directory))?;
    let folder =
        |name: &str| maildir.directory(name).map_err(|error| named(error, &directory.join(name)));
    let folders = [folder(FOLDERS[0])?, folder(FOLDERS[1])?];
    let unique_ids = read_list(directory, &maildir, list)?;
    let mut found = Vec::new();
    for (at, folder) in folders.iter().enumerate() {
        let names = folder.names().map_err(|error| named(error, &directory.join(FOLDERS[at])))?;
        found.extend(names.into_iter().filter_map(|name| message(name, at, &unique_ids)));
    }
    found.sort();
    Ok((Arc::new(folders), found))
}

/// The message of a file, unless its owner has thrown it away.
fn message(
    name: OsString,
    folder: usize,
    listed: &HashMap<String, (usize, String)>,
) -> Option<Found> {
    let octets = name.as_bytes();
    let flags_at = octets.windows(3).position(|window| window == b":2,");
    let (base, flags) = octets.split_at(flags_at.unwrap_or(octets.len()));
    if octets.starts_with(b".") || flags.contains(&b'T') {
        return None;
    }
    let text = OsStr::from_bytes(base).to_string_lossy();
    let of_list = listed.get(&*text).cloned();
    let (rank, unique_id) = of_list.unwrap_or_else(|| (usize::MAX, text.into_owned()));
    let unique_id = if is_unique_id(&unique_id) { unique_id } else { derived(base) };
    Some(Found { rank, name, folder, unique_id })
}

async fn take(file: File, unique_id: &str, destination: &mut StoreDestination) -> io::Result<()> {
    let mut file = tokio::fs::File::from_std(file);
    let mut piece = vec![0; PIECE];
    let mut lines = LineEnds::default();
    destination.begin(Some(unique_id)).await?;
    loop {
        let octets = file.read(&mut piece).await?;
        if octets == 0 {
            return destination.end().await.map(|_| ());
        }
        destination.write(&lines.convert(&piece[..octets])).await?;
    }
}

/// Local line ends become CRLF, over the seams of pieces too.
#[derive(Debug, Default)]
struct LineEnds {
    last: u8,
}

impl LineEnds {
    fn convert(&mut self, piece: &[u8]) -> Vec<u8> {
        let mut converted = Vec::with_capacity(piece.len() + piece.len() / 16);
        for &octet in piece {
            if octet == b'\n' && self.last != b'\r' {
                converted.push(b'\r');
            }
            converted.push(octet);
            self.last = octet;
        }
        converted
    }
}

/// The rank and the unique-id of each file, by its name without flags.
fn read_list(
    directory: &Path,
    maildir: &Directory,
    list: Option<&Path>,
) -> io::Result<HashMap<String, (usize, String)>> {
    let read = |file: File, path: &Path| {
        let octets = plain_files::read(file, LIST).map_err(|error| named(error, path))?;
        // A name that is not UTF-8 is looked up as it reads here.
        Ok(parse_list(&String::from_utf8_lossy(&octets)))
    };
    if let Some(list) = list {
        return read(plain_files::open(list).map_err(|error| named(error, list))?, list);
    }
    for name in LISTS {
        match maildir.file(OsStr::new(name)) {
            Ok(file) => return read(file, &directory.join(name)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(named(error, &directory.join(name))),
        }
    }
    Ok(HashMap::new())
}

fn parse_list(text: &str) -> HashMap<String, (usize, String)> {
    let mut lines = text.lines();
    let header = lines.next().unwrap_or_default();
    let ranked = |(rank, line)| {
        let (base, unique_id) =
            if header.starts_with('/') { courier(line) } else { dovecot(header, line) }?;
        Some((base.to_owned(), (rank, unique_id)))
    };
    lines.enumerate().filter_map(ranked).collect()
}

/// `UID [P<unique-id>] [other fields] :FILE`; without a P, Dovecot's POP3 says UID and the header's
/// UIDVALIDITY, eight hexadecimal digits each.
fn dovecot<'l>(header: &str, line: &'l str) -> Option<(&'l str, String)> {
    let (fields, file) = line.split_once(" :")?;
    let base = file.split_once(":2,").map_or(file, |(base, _)| base);
    let mut fields = fields.split(' ');
    let uid: u32 = fields.next()?.parse().ok()?;
    let saved = fields.find_map(|field| field.strip_prefix('P'));
    if let Some(unique_id) = saved {
        return Some((base, unique_id.to_owned()));
    }
    let validity = header.split(' ').find_map(|field| field.strip_prefix('V'))?;
    let validity: u32 = validity.parse().ok()?;
    Some((base, format!("{uid:08x}{validity:08x}")))
}

/// `FILE SIZE NUMBER:VALIDITY[:…]`; Courier's POP3 says `UIDNUMBER-VALIDITY`, or the file's name where
/// the number is 0.
fn courier(line: &str) -> Option<(&str, String)> {
    let mut words = line.rsplitn(3, ' ');
    let (ids, _size, file) = (words.next()?, words.next()?, words.next()?);
    let base = file.split_once(":2,").map_or(file, |(base, _)| base);
    let mut ids = ids.split(':');
    let (number, validity) = (ids.next()?, ids.next()?);
    let unique_id = if number == "0" { base.to_owned() } else { format!("UID{number}-{validity}") };
    Some((base, unique_id))
}

/// An error that says which file it is about.
fn named(error: io::Error, path: &Path) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The lists as both servers wrote them, and what their POP3 said.
    #[test]
    fn lists_are_read() {
        let dovecot = "3 V1795540755 N1 Gf243c53312c7056b4d0b000083ecc375\n\
                       1 G0.bench :1795540754.M868569P2893.vm,S=3976,W=4044\n\
                       2 Pkept.id G1.bench :1795540754.M868570P2893.vm,S=3976,W=4044:2,S\n\
                       x :y\n";
        let list = parse_list(dovecot);
        let (first, second) = (
            "1795540754.M868569P2893.vm,S=3976,W=4044",
            "1795540754.M868570P2893.vm,S=3976,W=4044",
        );
        assert_eq!(list[first], (0, "000000016b05c713".to_owned()));
        assert_eq!(list[second], (1, "kept.id".to_owned()));
        assert_eq!(list.len(), 2);
        let courier = "/3 4 1795540764\n\
                       170001.M1P2.host,S=14:2, 17 1:1795540764:0\n\
                       170002.M1P2.host,S=14:2,S 17 0:0:0\n";
        let list = parse_list(courier);
        assert_eq!(list["170001.M1P2.host,S=14"], (0, "UID1-1795540764".to_owned()));
        assert_eq!(list["170002.M1P2.host,S=14"], (1, "170002.M1P2.host,S=14".to_owned()));
        assert_eq!(parse_list("").len(), 0);
    }

    #[test]
    fn files_are_messages() {
        let none = HashMap::new();
        let found = |name: &str| message(name.into(), 0, &none).map(|found| found.unique_id);
        assert_eq!(found("1.a:2,S").as_deref(), Some("1.a"));
        assert_eq!(found("1.a").as_deref(), Some("1.a"));
        assert_eq!(found("1.a:2,ST"), None, "thrown away");
        assert_eq!(found(".hidden"), None);
        let octets = OsStr::from_bytes(b"1\xff").to_owned();
        let octets = message(octets, 0, &none).map(|found| found.unique_id);
        let mut derived = vec![octets];
        for name in ["1 a", "1\na", "1\n", "1\u{219}", &"x".repeat(71)] {
            let [before, after] = [name.to_owned(), format!("{name}:2,S")].map(|name| found(&name));
            assert_eq!(before, after, "flags change nothing: {name:?}");
            derived.push(before);
        }
        assert!(derived.iter().flatten().all(|unique_id| is_unique_id(unique_id)), "{derived:?}");
        derived.sort();
        derived.dedup();
        assert_eq!(derived.iter().flatten().count(), 6, "each its own");
    }

    #[test]
    fn line_ends_become_crlf_once() {
        let mut lines = LineEnds::default();
        let pieces = [&b"a\nb\r"[..], b"\nc\r\n\n", b"\rd"];
        let converted = pieces.map(|piece| lines.convert(piece)).concat();
        assert_eq!(converted, b"a\r\nb\r\nc\r\n\r\n\rd");
    }
}
