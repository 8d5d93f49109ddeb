//! Taking over a Maildir: the messages of another server, with the unique-ids under which mail programs
//! know them, so that none collects anything twice.
//!
//! Dovecot keeps its list in `dovecot-uidlist`, Courier in `courierpop3dsizelist`. A message that is
//! in no list has the name of its file as its unique-id, as qmail and Courier do it.

use crate::collect::{Destination, StoreDestination};
use posta_mail::id::is_unique_id;
use std::{
    collections::HashMap,
    io,
    path::{Path, PathBuf},
};
use tokio::{
    fs::{self, File},
    io::AsyncReadExt,
};

/// The lists' names in a Maildir.
const LISTS: [&str; 2] = ["dovecot-uidlist", "courierpop3dsizelist"];

/// Octets read at a time.
const PIECE: usize = 64 * 1024;

/// A message in a Maildir.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Found {
    /// Where it stands in the list; what is not listed comes last.
    rank: usize,
    /// The file's name without its flags: a time, before all.
    base: String,
    path: PathBuf,
    unique_id: Option<String>,
}

/// Takes a Maildir's messages over. `list` is the list of unique-ids, where it is not in the Maildir.
/// Answers how many were new: those whose unique-id is there already are passed over.
///
/// # Errors
/// When something cannot be read or kept; what came before is there.
pub async fn maildir(
    directory: &Path,
    list: Option<&Path>,
    destination: &mut StoreDestination,
) -> io::Result<usize> {
    let unique_ids = read_list(directory, list).await?;
    let mut found = Vec::new();
    for folder in ["new", "cur"] {
        let about = |error| named(error, &directory.join(folder));
        let mut entries = fs::read_dir(directory.join(folder)).await.map_err(about)?;
        while let Some(entry) = entries.next_entry().await? {
            found.extend(entry.file_name().to_str().and_then(|name| {
                let path = entry.path();
                message(name, path, &unique_ids)
            }));
        }
    }
    found.sort();
    let known = destination.known().await?;
    let mut taken = 0;
    for Found { path, unique_id, .. } in found {
        if unique_id.as_ref().is_some_and(|id| known.contains_key(id)) {
            continue;
        }
        take(&path, unique_id.as_deref(), destination)
            .await
            .map_err(|error| named(error, &path))?;
        taken += 1;
    }
    Ok(taken)
}

/// The message of a file, unless its owner has thrown it away.
fn message(name: &str, path: PathBuf, listed: &HashMap<String, (usize, String)>) -> Option<Found> {
    let (base, flags) = name.split_once(":2,").unwrap_or((name, ""));
    if name.starts_with('.') || flags.contains('T') {
        return None;
    }
    let of_list = listed.get(base).cloned();
    let (rank, unique_id) = of_list.unwrap_or_else(|| (usize::MAX, base.to_owned()));
    let unique_id = Some(unique_id).filter(|unique_id| is_unique_id(unique_id));
    Some(Found { rank, base: base.to_owned(), path, unique_id })
}

async fn take(
    path: &Path,
    unique_id: Option<&str>,
    destination: &mut StoreDestination,
) -> io::Result<()> {
    let mut file = File::open(path).await?;
    let mut piece = vec![0; PIECE];
    let mut lines = LineEnds::default();
    destination.begin(unique_id).await?;
    loop {
        let octets = file.read(&mut piece).await?;
        if octets == 0 {
            return destination.end().await;
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
async fn read_list(
    directory: &Path,
    list: Option<&Path>,
) -> io::Result<HashMap<String, (usize, String)>> {
    if let Some(list) = list {
        let text = fs::read_to_string(list).await.map_err(|error| named(error, list))?;
        return Ok(parse_list(&text));
    }
    for name in LISTS {
        match fs::read_to_string(directory.join(name)).await {
            Ok(text) => return Ok(parse_list(&text)),
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
        let found = |name| message(name, name.into(), &none).map(|found| found.unique_id);
        assert_eq!(found("1.a:2,S"), Some(Some("1.a".to_owned())));
        assert_eq!(found("1.a"), Some(Some("1.a".to_owned())));
        assert_eq!(found("1.a:2,ST"), None, "thrown away");
        assert_eq!(found(".hidden"), None);
        assert_eq!(found("1 a"), Some(None), "no unique-id has spaces");
        assert_eq!(found(&"x".repeat(71)), Some(None));
    }

    #[test]
    fn line_ends_become_crlf_once() {
        let mut lines = LineEnds::default();
        let pieces = [&b"a\nb\r"[..], b"\nc\r\n\n", b"\rd"];
        let converted = pieces.map(|piece| lines.convert(piece)).concat();
        assert_eq!(converted, b"a\r\nb\r\nc\r\n\r\n\rd");
    }
}
