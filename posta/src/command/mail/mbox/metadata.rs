//! The fields in which programs keep what they know of a message in an mbox: its flags, and its UID. They are not the
//! sender's, and are taken out.
//!
//! `posta export` writes them above the message, Status last. So a message that begins with one of them ends there
//! with what is not the sender's, even if the sender's own fields have such names.

use posta_mail::id::is_unique_id;
use posta_store::{KEYWORDS, Keyword};

/// The names of these fields, in lower case.
const FIELDS: [&str; 9] = [
    "status",
    "x-status",
    "x-keywords",
    "x-uid",
    "x-uidl",
    "x-imap",
    "x-imapbase",
    "content-length",
    "lines",
];

/// What programs know of a message.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Metadata {
    /// The flags and keywords.
    pub(crate) flags: Vec<String>,
    /// The unique-id that POP3 servers used: qpopper's X-UIDL.
    pub(crate) unique_id: Option<String>,
    /// The UID, and the UIDVALIDITY of the file, which its first message tells.
    pub(crate) uid: Option<u32>,
    pub(crate) uid_validity: Option<u32>,
    /// The number of keywords among the flags.
    keywords: usize,
    /// Whether it is no message, but the place where an IMAP server keeps its own data.
    pub(crate) is_internal: bool,
}

/// Returns what the header section tells, and the section without it.
pub(super) fn take_out(header: &[u8]) -> (Metadata, Vec<u8>) {
    let mut metadata = Metadata::default();
    let mut kept = Vec::with_capacity(header.len());
    let is_ours = fields(header).next().is_some_and(|field| metadata_name(field).is_some());
    let mut is_over = false;
    for field in fields(header) {
        match metadata_name(field).filter(|_| !is_over) {
            Some(name) => {
                metadata.read(name, field);
                is_over = is_ours && name == "status";
            }
            None => {
                is_over |= is_ours;
                kept.extend_from_slice(field);
            }
        }
    }
    let internal = b"DON'T DELETE THIS MESSAGE";
    metadata.is_internal =
        metadata.uid_validity.is_some() && memchr::memmem::find(header, internal).is_some();
    (metadata, kept)
}

impl Metadata {
    fn read(&mut self, name: &str, field: &[u8]) {
        let text = String::from_utf8_lossy(field);
        let value = text.split_once(':').map(|(_, value)| value.trim()).unwrap_or_default();
        let mut words = value.split_ascii_whitespace();
        let set = |flags: &mut Vec<String>, letter, flag: &str| {
            if value.contains(letter) {
                flags.push(flag.to_owned());
            }
        };
        match name {
            "status" => set(&mut self.flags, 'R', "seen"),
            "x-status" => {
                for (letter, flag) in
                    [('A', "answered"), ('F', "flagged"), ('T', "draft"), ('D', "deleted")]
                {
                    set(&mut self.flags, letter, flag);
                }
            }
            "x-keywords" => {
                let keywords = words.filter(|word| word.parse::<Keyword>().is_ok());
                // The field may be the sender's: more keywords than a message may have would stop the import.
                let room = KEYWORDS.saturating_sub(self.keywords);
                let before = self.flags.len();
                self.flags.extend(keywords.take(room).map(str::to_owned));
                self.keywords += self.flags.len() - before;
            }
            "x-uidl" => self.unique_id = Some(value.to_owned()).filter(|id| is_unique_id(id)),
            "x-uid" => self.uid = words.next().and_then(|word| word.parse().ok()),
            "x-imap" | "x-imapbase" => {
                self.uid_validity = words.next().and_then(|word| word.parse().ok());
            }
            _ => {}
        }
    }
}

/// Returns the name of a field if it is one of these.
fn metadata_name(field: &[u8]) -> Option<&'static str> {
    let end = memchr::memchr(b':', field)?;
    let name = str::from_utf8(&field[..end]).ok()?.trim_end();
    FIELDS.into_iter().find(|known| known.eq_ignore_ascii_case(name))
}

/// Returns the fields of a header section, each with its continuation lines and line ends; the last is the empty line.
fn fields(header: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = header;
    std::iter::from_fn(move || {
        let mut end = 0;
        loop {
            let line = memchr::memchr(b'\n', &rest[end..]).map_or(rest.len(), |at| end + at + 1);
            end = line;
            if !matches!(rest.get(end), Some(b' ' | b'\t')) {
                break;
            }
        }
        let (field, after) = rest.split_at(end);
        rest = after;
        (!field.is_empty()).then_some(field)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_is_not_the_senders() {
        let taken = |header: &str| {
            let (metadata, kept) = take_out(header.as_bytes());
            (metadata, String::from_utf8(kept).unwrap())
        };
        // As mail programs write it.
        let (metadata, kept) =
            taken("A: b\nStatus: RO\nX-Status: AF\nx-keywords: $w  ( b\n\tc\n\n");
        assert_eq!(metadata.flags, ["seen", "answered", "flagged", "$w", "b", "c"]);
        assert_eq!(kept, "A: b\n\n");
        // As `posta export` writes it: the sender's own fields stay.
        let ours = "X-UID: 7\nX-UIDL: 01ab\nStatus: O\nStatus: R\nLines: 4\nA: b\n\n";
        let (metadata, kept) = taken(ours);
        let expected =
            Metadata { unique_id: Some("01ab".to_owned()), uid: Some(7), ..Metadata::default() };
        assert_eq!((metadata, &*kept), (expected, "Status: R\nLines: 4\nA: b\n\n"));
        let (metadata, _) =
            taken("Subject: DON'T DELETE THIS MESSAGE -- FOLDER\nX-IMAP: 123 5\nStatus: RO\n\n");
        assert!(metadata.is_internal && metadata.uid_validity == Some(123));
        let many: String = (0..300).map(|at| format!("X-Keywords: a{at} b{at}\n")).collect();
        let (metadata, _) = taken(&format!("{many}Status: R\n\n"));
        assert_eq!(metadata.flags.len(), KEYWORDS + 1, "as many as a message may have");
        for odd in ["", "\n", ":\n", "Status\n", "Status:", " x\n"] {
            taken(odd);
        }
    }
}
