//! Messages as programs of this machine hand them to `sendmail`: with local line ends ([`LocalLines`]), with their
//! recipients in the header section, and with users' names in place of addresses, as cron's `From: root (Cron Daemon)`.
//!
//! The readers here are for programs that nobody can ask what they meant. A field that cannot be read with certainty
//! is an error where its addresses decide who gets the message, and stays as it is elsewhere.

mod lines;
mod mailboxes;

pub use lines::LocalLines;
pub use mailboxes::mailboxes;

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use std::ops::Range;

/// The fields that name recipients (RFC 5322 §3.6.3).
const RECIPIENTS: [&str; 3] = ["To", "Cc", "Bcc"];

/// The fields that name the recipients of a message that was sent again (RFC 5322 §3.6.6).
const RESENT: [&str; 3] = ["Resent-To", "Resent-Cc", "Resent-Bcc"];

/// The other fields with addresses.
const OTHERS: [&str; 6] =
    ["From", "Sender", "Reply-To", "Resent-From", "Resent-Sender", "Resent-Reply-To"];

/// The most characters of an author's name.
const NAME: usize = 64;

/// The characters of an encoded word, which has at most 75 (RFC 2047 §2) even if each stands for three octets.
const WORD: usize = 15;

/// The error of a field whose recipients cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the field {0} cannot be read: write Name <address>, with a comma between several")]
pub struct UnreadableField(pub String);

/// Returns the octets of a message's header section, which begins the message: up to and without the empty line, or the
/// first line that is no field. Returns none while the end has not been read.
#[must_use]
pub fn header_end(message: &[u8]) -> Option<usize> {
    let mut at = 0;
    while let Some(length) = memchr::memmem::find(&message[at..], b"\r\n") {
        let line = &message[at..at + length];
        let is_folded = at > 0 && matches!(line.first(), Some(b' ' | b'\t'));
        if !is_folded && field_name(line).is_none() {
            return Some(at);
        }
        at += length + 2;
    }
    None
}

/// Returns the recipients that a header section names: those of the Resent fields if there are any, and otherwise those of
/// To, Cc and Bcc (RFC 5322 §3.6.6). Each is an address or a user's name.
///
/// # Errors
/// When a field cannot be read.
pub fn recipients(header: &[u8]) -> Result<Vec<String>, UnreadableField> {
    let has = |names: &[&str]| fields(header).any(|field| field.is_one_of(names));
    let names = if has(&RESENT) { RESENT } else { RECIPIENTS };
    let mut found = Vec::new();
    for field in fields(header).filter(|field| field.is_one_of(&names)) {
        let body = &header[field.body.clone()];
        let unreadable = || UnreadableField(String::from_utf8_lossy(field.name).into_owned());
        for place in mailboxes(body).ok_or_else(unreadable)? {
            let text = str::from_utf8(&body[place]).map_err(|_| unreadable())?;
            found.push(text.to_owned());
        }
    }
    Ok(found)
}

/// Returns the names without a domain in the address fields of a header section, each once.
#[must_use]
pub fn bare_names(header: &[u8]) -> Vec<String> {
    let mut names = Vec::new();
    for place in bare_places(header) {
        if let Ok(name) = str::from_utf8(&header[place])
            && !names.iter().any(|known| known == name)
        {
            names.push(name.to_owned());
        }
    }
    names
}

/// Returns a header section in which names without a domain are replaced by their addresses. Other servers refuse or
/// misread a bare name (RFC 5322 §3.4.1). A name for which `address_of` returns none stays.
#[must_use]
pub fn qualified(header: &[u8], address_of: impl Fn(&str) -> Option<String>) -> Vec<u8> {
    let mut written = Vec::with_capacity(header.len() + 64);
    let mut from = 0;
    for place in bare_places(header) {
        let address = str::from_utf8(&header[place.clone()]).ok().and_then(&address_of);
        if let Some(address) = address {
            written.extend_from_slice(&header[from..place.start]);
            written.extend_from_slice(address.as_bytes());
            from = place.end;
        }
    }
    written.extend_from_slice(&header[from..]);
    written
}

/// Returns the field `From: …` of an author, with its CRLF. A name that is more than words stands in quotation marks (RFC
/// 5322 §3.2.4), one beyond ASCII in an encoded word (RFC 2047 §2); of a longer name only the beginning is used.
#[must_use]
pub fn from_field(name: &str, address: &str) -> String {
    let name: String =
        name.chars().filter(|character| !character.is_control()).take(NAME).collect();
    let is_plain =
        |character: char| character.is_ascii_alphanumeric() || "-_' ".contains(character);
    match name.trim() {
        "" => format!("From: {address}\r\n"),
        plain if plain.chars().all(is_plain) => format!("From: {plain} <{address}>\r\n"),
        ascii if ascii.is_ascii() => {
            let quoted = ascii.replace('\\', "\\\\").replace('"', "\\\"");
            format!("From: \"{quoted}\" <{address}>\r\n")
        }
        other => {
            let characters: Vec<_> = other.chars().collect();
            let word = |piece: &[char]| BASE64.encode(piece.iter().collect::<String>());
            let words = characters.chunks(WORD).map(|piece| format!("=?utf-8?B?{}?=", word(piece)));
            format!("From: {} <{address}>\r\n", words.collect::<Vec<_>>().join("\r\n "))
        }
    }
}

/// Returns the places of the names without a domain, in order.
fn bare_places(header: &[u8]) -> Vec<Range<usize>> {
    let mut places = Vec::new();
    for field in fields(header) {
        if ![&RECIPIENTS[..], &RESENT, &OTHERS].iter().any(|names| field.is_one_of(names)) {
            continue;
        }
        let body = &header[field.body.clone()];
        let start = field.body.start;
        let found = mailboxes(body).unwrap_or_default().into_iter();
        let bare =
            found.filter(|place| memchr::memchr2(b'@', b'"', &body[place.clone()]).is_none());
        places.extend(bare.map(|place| place.start + start..place.end + start));
    }
    places
}

/// A field of a header section.
struct Field<'h> {
    name: &'h [u8],
    /// The text after the colon, with its folded lines.
    body: Range<usize>,
}

impl Field<'_> {
    fn is_one_of(&self, names: &[&str]) -> bool {
        names.iter().any(|name| self.name.eq_ignore_ascii_case(name.as_bytes()))
    }
}

/// Returns the fields of a header section whose lines end in CRLF.
fn fields(header: &[u8]) -> impl Iterator<Item = Field<'_>> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let name = field_name(&header[at..])?;
        let body = at + name.len() + memchr::memchr(b':', &header[at + name.len()..])? + 1;
        let mut end = body;
        loop {
            let Some(length) = memchr::memmem::find(&header[end..], b"\r\n") else {
                end = header.len();
                break;
            };
            end += length + 2;
            if !matches!(header.get(end), Some(b' ' | b'\t')) {
                break;
            }
        }
        at = end;
        Some(Field { name, body: body..end })
    })
}

/// Returns the name of the field that a line begins (RFC 5322 §3.6.8, and spaces before the colon as in §4.5.3).
fn field_name(line: &[u8]) -> Option<&[u8]> {
    let end = line.iter().position(|octet| !matches!(octet, b'!'..=b'9' | b';'..=b'~'))?;
    let rest = line[end..].trim_ascii_start();
    let is_on_this_line = !line[end..line.len() - rest.len()].contains(&b'\n');
    (end > 0 && rest.first() == Some(&b':') && is_on_this_line).then(|| &line[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_section_ends_where_no_field_is() {
        for (message, end) in [
            ("To: a\r\n b\r\nX-Y : z\r\n\r\nbody", Some(20)),
            ("\r\nbody", Some(0)),
            ("just words\r\n", Some(0)),
            ("To: a\r\njust words\r\n", Some(7)),
            (" folded: x\r\n", Some(0)),
            ("To: a\r\n b", None),
            ("To: a", None),
            ("", None),
        ] {
            assert_eq!(header_end(message.as_bytes()), end, "{message:?}");
        }
    }

    #[test]
    fn recipients_stand_in_the_fields() {
        let header =
            b"From: x@x.test\r\nTo: Ana <ana@x.test>,\r\n \"B, c\" <bob@y.test>\r\ncc: root\r\n\
            Bcc: eva@z.test (hidden)\r\nSubject: To: nobody@x.test\r\n";
        assert_eq!(recipients(header).unwrap(), ["ana@x.test", "bob@y.test", "root", "eva@z.test"]);
        let resent = [&header[..], b"Resent-To: tom@x.test\r\n"].concat();
        assert_eq!(recipients(&resent).unwrap(), ["tom@x.test"]);
        let wrong = recipients(b"To: ana@x.test bob@x.test\r\n").unwrap_err();
        assert_eq!(wrong, UnreadableField("To".to_owned()));
        assert_eq!(recipients(b"Subject: x\r\n").unwrap(), Vec::<String>::new());
    }

    #[test]
    fn authors_have_names() {
        let long = "Ștefănescu-Brâncoveanu Ioana";
        for (name, field) in [
            ("", "From: a@x.test\r\n"),
            ("Ana Pop", "From: Ana Pop <a@x.test>\r\n"),
            ("Pop, \"Ana\"\r\nBcc: x", "From: \"Pop, \\\"Ana\\\"Bcc: x\" <a@x.test>\r\n"),
            ("Ană", "From: =?utf-8?B?QW7Egw==?= <a@x.test>\r\n"),
        ] {
            assert_eq!(from_field(name, "a@x.test"), field, "{name:?}");
        }
        let field = from_field(long, "a@x.test");
        assert!(field.is_ascii() && field.matches("=?utf-8?B?").count() == 2, "{field}");
        let read = mail_parser::MessageParser::new().parse(field.as_bytes()).unwrap();
        let from = read.from().unwrap().first().unwrap();
        assert_eq!((from.name(), from.address()), (Some(long), Some("a@x.test")));
    }

    #[test]
    fn names_become_addresses() {
        let header =
            b"From: root (Cron Daemon)\r\nTo: Ana <ana>,\r\n\tbob@y.test, root, ana (a, b)\r\n\
            Subject: root\r\nReply-To: two words\r\nCc: \"root\"\r\nSender: all: eva, tom;\r\n";
        assert_eq!(bare_names(header), ["root", "ana", "eva", "tom"]);
        let written = qualified(header, |name| (name != "tom").then(|| format!("{name}@x.test")));
        assert_eq!(
            String::from_utf8(written).unwrap(),
            "From: root@x.test (Cron Daemon)\r\nTo: Ana <ana@x.test>,\r\n\tbob@y.test, root@x.test, ana@x.test (a, b)\r\n\
             Subject: root\r\nReply-To: two words\r\nCc: \"root\"\r\nSender: all: eva@x.test, tom;\r\n"
        );
    }
}
