//! What an import reads: a mailbox in files, with its folders and their messages.

use posta_mail::Timestamp;
use posta_server::{admin::TransferSource, collect::derived};
use posta_store::FolderName;
use std::{
    collections::HashMap,
    ffi::{OsStr, OsString},
    io::{self, Read},
    path::Path,
};

/// A mailbox in files.
pub(super) trait MailSource: Send {
    /// Returns where the messages come from, for their history.
    fn origin(&self) -> TransferSource;

    /// Returns the folders, the inbox first. ImportNames what is skipped.
    fn folders(&self, skipped: &mut Vec<String>) -> io::Result<Vec<SourceFolder>>;

    /// Lists the messages of a folder, in their order.
    fn list(&self, folder: &SourceFolder) -> io::Result<Listing>;

    /// Opens a message, whose content is read with CRLF as line ends.
    fn open(&self, folder: &SourceFolder, message: &SourceMessage) -> io::Result<Box<dyn Read>>;
}

/// A folder of a mailbox in files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SourceFolder {
    /// The folder here; none for the inbox.
    pub(super) name: Option<FolderName>,
    /// The names on the way to its directory or file.
    pub(super) path: Vec<OsString>,
}

/// The messages of a folder.
#[derive(Debug, Default)]
pub(super) struct Listing {
    pub(super) messages: Vec<SourceMessage>,
    /// What is no message, and why.
    pub(super) skipped: Vec<String>,
    /// The number of messages that are marked as deleted, and left out.
    pub(super) deleted: usize,
}

/// A message in a mailbox in files.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct SourceMessage {
    /// What it is known by among the messages of all folders: equal for those that cannot be told apart.
    pub(super) identity: String,
    /// The unique-id by which POP3 clients know it, if they do.
    pub(super) unique_id: Option<String>,
    /// When it arrived.
    pub(super) date: Option<Timestamp>,
    /// The flags and keywords.
    pub(super) flags: Vec<String>,
    /// The octets in the files.
    pub(super) octets: u64,
    /// Its place in the folder.
    pub(super) place: MessagePlace,
}

/// The place of a message.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum MessagePlace {
    /// A file in a directory of a Maildir, `new` or `cur`.
    File { directory: &'static str, name: OsString },
    /// A part of an mbox.
    Part { from: u64, start: u64, end: u64, is_quoted: bool },
}

impl SourceMessage {
    /// Returns the message's place, for people.
    pub(super) fn place(&self) -> String {
        match &self.place {
            MessagePlace::File { directory, name } => format!("{directory}/{}", displayed(name)),
            MessagePlace::Part { from, .. } => format!("the message at octet {from}"),
        }
    }
}

impl SourceFolder {
    /// Returns the folder's path as displayed to people: empty for the inbox, or `.Sent/`.
    pub(super) fn shown(&self) -> String {
        self.path.iter().map(|name| displayed(name) + "/").collect()
    }
}

/// Returns a name as displayed to people. Its owner chose it, and it may contain a line end.
pub(super) fn displayed(name: &OsStr) -> String {
    name.to_string_lossy().escape_debug().to_string()
}

/// Returns the error with the path of the file in front.
pub(super) fn with_path(error: io::Error, path: &Path) -> io::Error {
    let cure = match error.kind() {
        io::ErrorKind::PermissionDenied => "; run this as root, or as the owner of the files",
        _ => "",
    };
    io::Error::new(error.kind(), format!("{}: {error}{cure}", path.display()))
}

/// Gives each message the name under which it is remembered. Those that cannot be told apart are counted, so that
/// each of them comes, once.
#[derive(Debug, Default)]
pub(super) struct ImportNames(HashMap<u64, u32>);

impl ImportNames {
    /// Returns the name of the next message with this identity.
    pub(super) fn name(&mut self, identity: &str) -> String {
        let count = self.0.entry(short(identity)).or_default();
        let number = *count;
        *count += 1;
        // Half of a digest is enough that no two messages have the same.
        let mut name = derived(format!("{identity} {number}").as_bytes());
        name.truncate(32);
        name
    }
}

/// Returns a number for a text by which it is told from others: 64 bits of a digest.
pub(super) fn short(text: &str) -> u64 {
    u64::from_str_radix(&derived(text.as_bytes())[..16], 16).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_of_one_identity_have_names_of_their_own() {
        let (mut names, mut again) = (ImportNames::default(), ImportNames::default());
        let all: Vec<_> = ["a", "b", "a", "a"].map(|identity| names.name(identity)).to_vec();
        let twice: Vec<_> = ["a", "a", "a", "b"].map(|identity| again.name(identity)).to_vec();
        assert_eq!(all.iter().collect::<std::collections::HashSet<_>>().len(), 4);
        assert_eq!(
            [&all[0], &all[2], &all[3], &all[1]],
            [&twice[0], &twice[1], &twice[2], &twice[3]]
        );
    }
}
