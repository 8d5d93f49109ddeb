//! Listing a folder of a Maildir: which files are messages, and under which unique-ids mail programs know them.

use super::{
    displayed, folders,
    folders::WITH_MESSAGES,
    lists::{UniqueIds, split_flags},
    with_path,
};
use crate::collect::{derived, plain_files::OpenDirectory};
use posta_mail::id::is_unique_id;
use std::{
    ffi::{OsStr, OsString},
    io,
    os::unix::ffi::OsStrExt,
    path::Path,
    sync::Arc,
};

/// A message in a Maildir.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct FoundMessage {
    /// The position in the list; messages that are not listed come last.
    pub(super) rank: usize,
    /// The file's name, which begins with a time.
    pub(super) name: OsString,
    /// The directory, as an index into [`WITH_MESSAGES`].
    pub(super) place: usize,
    pub(super) unique_id: String,
}

/// The meaning of a file's name.
#[derive(Debug, PartialEq, Eq)]
enum NameMeaning {
    Message {
        rank: usize,
        unique_id: String,
    },
    /// A message that its owner has thrown away.
    ThrownAway,
    /// A name that begins with a dot, which no message has.
    Hidden,
}

/// A folder's open directories and the possible messages in them, in the order of import.
#[derive(Debug, Default)]
pub(super) struct Listing {
    pub(super) directories: Arc<[Option<OpenDirectory>; 2]>,
    pub(super) found: Vec<FoundMessage>,
    pub(super) thrown_away: usize,
    pub(super) hidden: Vec<String>,
}

/// Opens the directories of a folder, or of the INBOX if its path is empty, and lists the possible
/// messages.
///
/// # Errors
/// When a directory cannot be read: the error begins with its name.
pub(super) fn list_folder(
    maildir: &OpenDirectory,
    folder: &[OsString],
    unique_ids: &UniqueIds,
) -> io::Result<Listing> {
    let opened = folders::open(maildir, folder)?;
    let mut directories = [None, None];
    let mut listing = Listing::default();
    for (place, directory) in directories.iter_mut().enumerate() {
        let about = |error| with_path(error, Path::new(WITH_MESSAGES[place]));
        // A copied Maildir may lack directories that were empty.
        let inner = match opened.directory(WITH_MESSAGES[place]) {
            Ok(inner) => inner,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(about(error)),
        };
        for name in inner.names().map_err(about)? {
            match read_name(&name, folder, unique_ids) {
                NameMeaning::Message { rank, unique_id } => {
                    listing.found.push(FoundMessage { rank, name, place, unique_id });
                }
                NameMeaning::ThrownAway => listing.thrown_away += 1,
                NameMeaning::Hidden => {
                    listing.hidden.push(format!("{}/{}", WITH_MESSAGES[place], displayed(&name)));
                }
            }
        }
        *directory = Some(inner);
    }
    listing.found.sort();
    listing.directories = Arc::new(directories);
    Ok(listing)
}

/// Returns the meaning of the name of a file in a folder.
fn read_name(name: &OsStr, folder: &[OsString], listed: &UniqueIds) -> NameMeaning {
    let octets = name.as_bytes();
    let (base, flags) = split_flags(octets);
    if octets.starts_with(b".") {
        return NameMeaning::Hidden;
    }
    if flags.contains(&b'T') {
        return NameMeaning::ThrownAway;
    }
    if !folder.is_empty() {
        // A slash cannot occur in a name.
        let parts: Vec<_> = folder.iter().map(|name| name.as_bytes()).chain([base]).collect();
        return NameMeaning::Message { rank: usize::MAX, unique_id: derived(&parts.join(&b'/')) };
    }
    let text = String::from_utf8_lossy(base);
    let (rank, unique_id) = listed.of(base).unwrap_or_else(|| (usize::MAX, text.into_owned()));
    let unique_id = if is_unique_id(&unique_id) { unique_id } else { derived(base) };
    NameMeaning::Message { rank, unique_id }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_messages() {
        let none = UniqueIds::default();
        let unique_id = |name: &OsStr, folder: &[&str]| {
            let folder: Vec<_> = folder.iter().map(OsString::from).collect();
            match read_name(name, &folder, &none) {
                NameMeaning::Message { unique_id, .. } => unique_id,
                other => panic!("{name:?}: {other:?}"),
            }
        };
        let found = |name: &str| unique_id(OsStr::new(name), &[]);
        assert_eq!(found("1.a:2,S"), "1.a");
        assert_eq!(found("1.a"), "1.a");
        let thrown_away = read_name(OsStr::new("1.a:2,ST"), &[], &none);
        assert_eq!(thrown_away, NameMeaning::ThrownAway);
        assert_eq!(read_name(OsStr::new(".hidden"), &[], &none), NameMeaning::Hidden);
        let mut derived = vec![
            unique_id(OsStr::from_bytes(b"1\xff"), &[]),
            unique_id(OsStr::from_bytes(b"1\xfe"), &[]),
            unique_id(OsStr::new("1.a"), &[".Sent"]),
            unique_id(OsStr::new("1.a"), &["Sent"]),
            unique_id(OsStr::new("1.a"), &["Sent", "2024"]),
            unique_id(OsStr::new("2024"), &["Sent"]),
        ];
        for name in ["1 a", "1\na", "1\n", "1\u{219}", "1\u{fffd}", &"x".repeat(71)] {
            let [before, after] = [name.to_owned(), format!("{name}:2,S")].map(|name| found(&name));
            assert_eq!(before, after, "flags change nothing: {name:?}");
            derived.push(before);
        }
        assert!(derived.iter().all(|unique_id| is_unique_id(unique_id)), "{derived:?}");
        derived.sort();
        derived.dedup();
        assert_eq!(derived.len(), 12, "each its own");
    }
}
