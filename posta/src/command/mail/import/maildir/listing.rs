//! Listing a folder of a Maildir: which files are messages, and under which unique-ids mail programs know them.

use super::{
    folders,
    folders::WITH_MESSAGES,
    lists::{UniqueIds, split_flags},
};
use crate::command::mail::{
    import::source::{Listing, MessagePlace, SourceMessage, displayed, with_path},
    maildir_flags::Letters,
};
use posta_mail::{Timestamp, id::is_unique_id};
use posta_server::collect::{
    derived,
    plain_files::{FileFacts, OpenDirectory},
};
use std::{
    ffi::{OsStr, OsString},
    io,
    os::unix::ffi::OsStrExt,
    path::Path,
};

/// The second in which 1995 began. No Maildir is older: qmail was the first to have any.
const FIRST_MAILDIR: i64 = 788_918_400;

/// Lists the messages of a folder, or of the INBOX if its path is empty. Those marked as deleted are left out, unless
/// `takes_deleted`.
///
/// # Errors
/// When a directory cannot be read: the error begins with its name.
pub(super) fn list(
    maildir: &OpenDirectory,
    folder: &[OsString],
    unique_ids: &UniqueIds,
    takes_deleted: bool,
) -> io::Result<Listing> {
    let opened = folders::open(maildir, folder)?;
    let own_ids = match folder.is_empty() {
        true => None,
        false => Some(UniqueIds::of_folder(&opened)?),
    };
    let names = MeaningOfNames {
        is_inbox: folder.is_empty(),
        listed: own_ids.as_ref().unwrap_or(unique_ids),
        letters: Letters::read(&opened),
    };
    let mut listing = Listing::default();
    let mut found = Vec::new();
    for directory in WITH_MESSAGES {
        let about = |error| with_path(error, Path::new(directory));
        // A copied Maildir may lack directories that were empty.
        let inner = match opened.directory(directory) {
            Ok(inner) => inner,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(about(error)),
        };
        for name in inner.names().map_err(about)? {
            let shown = || format!("{directory}/{}", displayed(&name));
            if name.as_bytes().starts_with(b".") {
                listing.skipped.push(shown() + ": a message's name does not begin with a dot");
                continue;
            }
            let facts = match inner.facts(&name) {
                Ok(facts) => facts,
                // It was moved or removed meanwhile.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => {
                    listing.skipped.push(format!("{}: {error}", shown()));
                    continue;
                }
            };
            let (rank, message) = names.read(directory, name, facts);
            match takes_deleted || !message.flags.iter().any(|flag| flag == "deleted") {
                true => found.push((rank, message)),
                false => listing.deleted += 1,
            }
        }
    }
    // Those that are not in the list come last, in the order of their names, which begin with a time.
    found.sort_by(|(rank, one), (other_rank, other)| {
        (rank, file_name(one)).cmp(&(other_rank, file_name(other)))
    });
    listing.messages = found.into_iter().map(|(_, message)| message).collect();
    Ok(listing)
}

fn file_name(message: &SourceMessage) -> (&OsStr, &str) {
    match &message.place {
        MessagePlace::File { directory, name } => (name, directory),
        MessagePlace::Part { .. } => (OsStr::new(""), ""),
    }
}

/// What tells the meaning of the names of a folder's files.
struct MeaningOfNames<'l> {
    is_inbox: bool,
    listed: &'l UniqueIds,
    letters: Letters,
}

impl MeaningOfNames<'_> {
    /// Returns a message, and its rank in the list of unique-ids.
    fn read(
        &self,
        directory: &'static str,
        name: OsString,
        facts: FileFacts,
    ) -> (usize, SourceMessage) {
        let octets = name.as_bytes();
        let (base, letters) = split_flags(octets);
        let listed = self.listed.of(base);
        let rank = listed.map_or(usize::MAX, |listed| listed.rank);
        let unique_id = match listed {
            Some(listed) if self.is_inbox || listed.is_saved => Some(listed.unique_id.clone()),
            // qmail's and Courier's POP3 use the name.
            None if self.is_inbox => Some(String::from_utf8_lossy(base).into_owned()),
            _ => None,
        };
        let unique_id = unique_id.map(|id| if is_unique_id(&id) { id } else { derived(base) });
        // A file of a Maildir is never changed, so its name and size are what it is known by.
        let identity = format!("maildir {} {}", octets_in_hex(base), facts.octets);
        let flags = match directory {
            "cur" => self.letters.flags(letters.strip_prefix(b":2,").unwrap_or_default()),
            // What is in `new` was not seen by any program.
            _ => Vec::new(),
        };
        let date = arrived(octets, facts.modified);
        let place = MessagePlace::File { directory, name };
        let message =
            SourceMessage { identity, unique_id, date, flags, octets: facts.octets, place };
        (rank, message)
    }
}

/// Returns a file's name for an identity: itself if it is text.
fn octets_in_hex(base: &[u8]) -> String {
    match str::from_utf8(base) {
        Ok(text) => text.to_owned(),
        Err(_) => derived(base),
    }
}

/// Returns when a message arrived, as its file tells. The name begins with the second of the delivery. The file's
/// time is the internal date of what a mail program put there later (Dovecot), unless the Maildir was copied
/// without the times: so the earlier of the two counts. A name that only looks like a time is none.
fn arrived(name: &[u8], modified: Option<Timestamp>) -> Option<Timestamp> {
    let digits = name.split(|octet| !octet.is_ascii_digit()).next()?;
    let named = std::str::from_utf8(digits).ok().and_then(|digits| digits.parse().ok());
    let named = named.and_then(|second| Timestamp::from_second(second).ok());
    let times = [named, modified].into_iter().flatten();
    times.filter(|time| time.as_second() >= FIRST_MAILDIR).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(name: &OsStr, names: &MeaningOfNames<'_>) -> SourceMessage {
        names.read("cur", name.to_owned(), FileFacts { octets: 7, modified: None }).1
    }

    #[test]
    fn files_are_messages() {
        let none = UniqueIds::default();
        let letters = Letters::parse("0 $work\n");
        let mut names = MeaningOfNames { is_inbox: true, listed: &none, letters };
        let found = |name: &str| read(OsStr::new(name), &names).unique_id.unwrap();
        assert_eq!(found("1.a:2,S"), "1.a");
        assert_eq!(found("1.a"), "1.a");
        let message = read(OsStr::new("1.a:2,DFPRSTabx"), &names);
        let all = ["draft", "flagged", "$forwarded", "answered", "seen", "deleted", "$work"];
        assert_eq!(message.flags, all);
        let octets = |name: &[u8]| read(OsStr::from_bytes(name), &names);
        let mut derived: Vec<_> =
            [octets(b"1\xff"), octets(b"1\xfe")].map(|it| it.unique_id.unwrap()).to_vec();
        assert_ne!(octets(b"1\xff").identity, octets(b"1\xfe").identity);
        for name in ["1 a", "1\na", "1\n", "1\u{219}", "1\u{fffd}", &"x".repeat(71)] {
            let [before, after] = [name.to_owned(), format!("{name}:2,S")].map(|name| found(&name));
            assert_eq!(before, after, "flags change nothing: {name:?}");
            derived.push(before);
        }
        assert!(derived.iter().all(|unique_id| is_unique_id(unique_id)), "{derived:?}");
        derived.sort();
        derived.dedup();
        assert_eq!(derived.len(), 8, "each its own");
        names.is_inbox = false;
        assert_eq!(read(OsStr::new("1.a:2,S"), &names).unique_id, None);
    }

    /// What arrived elsewhere long ago has that time here, too (RFC 9051 §2.3.3).
    #[test]
    fn messages_keep_the_time_of_their_arrival() {
        // The second in the name, that of the file, and the earlier one of those that can be.
        for (name, modified, expected) in [
            ("1400000000.M1.x:2,S", 1_500_000_000, Some(1_400_000_000)),
            ("1600000000.M2.x:2,S", 1_500_000_001, Some(1_500_000_001)),
            ("3.M3.x", 1_500_000_002, Some(1_500_000_002)),
            ("x", 1_500_000_003, Some(1_500_000_003)),
            ("1500000004", 4, Some(1_500_000_004)),
            ("5", 4, None),
        ] {
            let modified = Timestamp::from_second(modified).ok();
            let time = arrived(name.as_bytes(), modified);
            assert_eq!(time.map(Timestamp::as_second), expected, "{name}");
        }
    }
}
