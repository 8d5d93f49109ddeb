//! The Authentication-Results field (RFC 8601): writing this host's, and recognising those that claim to
//! be this host's.
//!
//! Readers of mail trust the field with this host's authserv-id. A stranger's field with that id, in
//! whatever disguise, is a forgery and must be removed (RFC 8601 §5).

mod reading;
mod removal;

pub use reading::{PROPERTIES, RESULTS, ReportedResult, read_results};
pub use removal::{HELD_FIELD, ResultsRemover};

use posta_mail::{Domain, visible};
use std::{borrow::Cow, fmt::Write as _};

/// The maximal number of columns of a line, unless a single value is longer (RFC 5322 §2.1.1).
const COLUMNS: usize = 78;

/// The maximal number of octets of a value. Domains and most addresses are shorter; longer values are cut
/// off.
pub const VALUE: usize = 320;

/// The maximal depth of comments inside comments that is followed.
const COMMENT_DEPTH: usize = 16;

/// An Authentication-Results field that is being written.
#[derive(Debug, Clone)]
pub struct AuthenticationResults {
    text: String,
    column: usize,
    is_empty: bool,
}

impl AuthenticationResults {
    /// Begins the field of a host.
    #[must_use]
    pub fn new(authserv_id: &str) -> Self {
        let mut text = String::with_capacity(512);
        text.extend(["Authentication-Results: ", &value(authserv_id)]);
        let column = text.len();
        Self { text, column, is_empty: true }
    }

    /// Adds the result of a method, such as `spf` and `pass`. Both are keywords of RFC 8601 §2.7.
    pub fn result(&mut self, method: &str, result: &str) -> &mut Self {
        self.is_empty = false;
        self.text.push_str(";\r\n\t");
        let start = self.text.len();
        self.text.extend([method, "=", result]);
        self.column = 8 + self.text.len() - start;
        self
    }

    /// Adds the reason for the last result, in words.
    pub fn reason(&mut self, reason: &str) -> &mut Self {
        self.push("reason", &quoted(reason))
    }

    /// Adds a property of the last result, such as `smtp.mailfrom` and an address.
    pub fn property(&mut self, name: &str, text: &str) -> &mut Self {
        self.push(name, &value(text))
    }

    fn push(&mut self, name: &str, value: &str) -> &mut Self {
        let octets = name.len() + "=".len() + value.len();
        if self.column + 1 + octets > COLUMNS {
            self.text.push_str("\r\n\t");
            self.column = 8;
        } else {
            self.text.push(' ');
            self.column += 1;
        }
        self.text.extend([name, "=", value]);
        self.column += octets;
        self
    }

    /// Returns the field with its CRLF. A field without results says `none`.
    #[must_use]
    pub fn finish(mut self) -> String {
        if self.is_empty {
            self.text.push_str("; none");
        }
        self.text.push_str("\r\n");
        self.text
    }
}

/// Returns a value as written in the field: a token or an address as it is, anything else in quotes (RFC
/// 8601 §2.2).
fn value(text: &str) -> Cow<'_, str> {
    let is_plain = |text: &str| !text.is_empty() && text.chars().all(is_token);
    let is_address = || {
        text.rsplit_once('@').is_some_and(|(local_part, domain)| {
            (local_part.is_empty() || is_plain(local_part)) && is_plain(domain)
        })
    };
    if text.len() <= VALUE && (is_plain(text) || is_address()) {
        return text.into();
    }
    quoted(text).into()
}

/// Returns whether a token may contain a character (RFC 2045 §5.1).
fn is_token(character: char) -> bool {
    let is_special = matches!(
        character,
        '(' | ')' | '<' | '>' | '@' | ',' | ';' | ':' | '\\' | '"' | '/' | '[' | ']' | '?' | '='
    );
    character.is_ascii_graphic() && !is_special
}

fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for character in text.chars() {
        if quoted.len() + character.len_utf8() > VALUE {
            break;
        }
        if matches!(character, '"' | '\\') {
            quoted.push('\\');
        }
        // Writing to a string cannot fail.
        let _ = quoted.write_char(visible::or_space(character));
    }
    quoted + "\""
}

/// Returns whether a reader could take an Authentication-Results field for this host's. `body` is the text
/// after the colon.
///
/// The authserv-id is recognised in any case, folding and quoting, with a version, and with comments
/// wherever they are allowed. A field that cannot be parsed counts if it contains the authserv-id anywhere.
#[must_use]
pub fn claims(body: &[u8], authserv_id: &str) -> bool {
    let text = String::from_utf8_lossy(body);
    match begins_with(&text, authserv_id) {
        Some(is_claimed) => is_claimed,
        None => {
            let plain = text.replace(['\r', '\n', '\t', ' ', '"', '\\'], "").to_lowercase();
            plain.contains(&authserv_id.to_lowercase())
        }
    }
}

fn is_same(word: &str, authserv_id: &str) -> bool {
    let plain = |name: &str| name.trim_matches([' ', '.']).to_lowercase();
    let (word, authserv_id) = (plain(word), plain(authserv_id));
    if word == authserv_id {
        return true;
    }
    match (word.parse::<Domain>(), authserv_id.parse::<Domain>()) {
        (Ok(one), Ok(other)) => one == other,
        _ => false,
    }
}

/// The maximal number of octets of a name that can be a host's, with each character of four octets.
const NAME: usize = 4 * 255;

/// Returns whether the first word of a text names a host. A word is made of tokens and quoted strings next
/// to each other, or around a dot. `None` if a comment or a quoted string does not end.
///
/// A space beside a dot may also end the word: in `mx.test. 1`, a reader may find a name and a version.
fn begins_with(text: &str, host: &str) -> Option<bool> {
    let mut word = String::new();
    let mut rest = text;
    // The octets of the word when it was last compared, without dots at its end.
    let mut compared = 0;
    loop {
        let before = rest;
        rest = without_cfws(rest)?;
        let is_apart = before.len() != rest.len();
        let Some(next) = rest.chars().next() else { return Some(is_same(&word, host)) };
        if is_apart && (1..=NAME).contains(&word.len()) {
            let plain = word.trim_end_matches('.');
            // Only words with as many labels are compared, which is a few times at most.
            if plain.len() > compared && plain.matches('.').count() == host.matches('.').count() {
                compared = plain.len();
                if is_same(plain, host) {
                    return Some(true);
                }
            }
            if !word.ends_with('.') && next != '.' {
                return Some(is_same(&word, host));
            }
        }
        if let Some(after) = rest.strip_prefix('"') {
            rest = quoted_string(after, &mut word)?;
        } else if is_token(next) || !next.is_ascii() {
            word.push(next);
            rest = &rest[next.len_utf8()..];
        } else if word.is_empty() {
            // No name can begin with this character. A lenient reader may skip it.
            rest = &rest[next.len_utf8()..];
        } else {
            return Some(is_same(&word, host));
        }
    }
}

/// Adds the content of a quoted string to a word. `text` begins after the opening quote; returns the text
/// after the closing one.
fn quoted_string<'t>(text: &'t str, word: &mut String) -> Option<&'t str> {
    let mut characters = text.chars();
    loop {
        match characters.next()? {
            '"' => return Some(characters.as_str()),
            '\\' => word.push(characters.next()?),
            '\r' | '\n' => {}
            other => word.push(other),
        }
    }
}

/// Returns a text without the white space and comments at its beginning; none if a comment does not end.
fn without_cfws(text: &str) -> Option<&str> {
    let mut characters = text.chars();
    let mut depth = 0_usize;
    loop {
        let rest = characters.as_str();
        match characters.next() {
            Some('(') => depth += 1,
            Some(')') if depth > 0 => depth -= 1,
            Some('\\') if depth > 0 => {
                characters.next()?;
            }
            Some(_) if depth > 0 => {}
            Some(other) if !visible::is_visible(other) || other.is_whitespace() => {}
            Some(_) => return Some(rest),
            None if depth > 0 => return None,
            None => return Some(rest),
        }
        if depth > COMMENT_DEPTH {
            return None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_field_is_written_in_lines() {
        let mut field = AuthenticationResults::new("mx.example.org");
        field.result("iprev", "pass").property("policy.iprev", "192.0.2.1");
        field
            .result("spf", "fail")
            .reason("it said \"no\"")
            .property("smtp.mailfrom", "ana@a.test");
        field
            .result("dkim", "pass")
            .property("header.d", "a.test")
            .property("header.s", "a-selector-of-some-length")
            .property("header.b", "ab/c+d==")
            .property("header.a", "ed25519-sha256");
        assert_eq!(
            field.finish(),
            "Authentication-Results: mx.example.org;\r\n\
             \tiprev=pass policy.iprev=192.0.2.1;\r\n\
             \tspf=fail reason=\"it said \\\"no\\\"\" smtp.mailfrom=ana@a.test;\r\n\
             \tdkim=pass header.d=a.test header.s=a-selector-of-some-length\r\n\
             \theader.b=\"ab/c+d==\" header.a=ed25519-sha256\r\n"
        );
        let none = AuthenticationResults::new("mx.example.org").finish();
        assert_eq!(none, "Authentication-Results: mx.example.org; none\r\n");
    }

    #[test]
    fn what_strangers_wrote_stays_a_value() {
        for (text, expected) in [
            ("a.test", "a.test"),
            ("@a.test", "@a.test"),
            ("", "\"\""),
            ("a b", "\"a b\""),
            ("a\r\nSubject: b", "\"a  Subject: b\""),
            ("\"; dkim=pass", "\"\\\"; dkim=pass\""),
            ("\\", "\"\\\\\""),
            ("ană@a.test", "\"ană@a.test\""),
            ("\u{202e}", "\" \""),
        ] {
            assert_eq!(value(text), expected, "{text:?}");
        }
        assert!(value(&"\"".repeat(10_000)).len() <= VALUE + 2);
    }

    /// Everything that a reader could take for `mx.example.org`.
    #[test]
    fn forged_fields_are_recognised() {
        for body in [
            " mx.example.org; spf=pass",
            "mx.example.org;spf=pass",
            " MX.Example.ORG; spf=pass",
            "\r\n\tmx.example.org\r\n\t; spf=pass",
            " mx.example.org 1; spf=pass",
            " mx.example.org(c); spf=pass",
            " mx.example.org/1; spf=pass",
            " mx.example.org.; spf=pass",
            " mx.example.org. 1; spf=pass",
            " mx.example.org.\r\n\t1\r\n ; spf=pass",
            " mx.example.org .. (c) 1; spf=pass",
            " \"mx\" .example.org. evil.test; spf=pass",
            " (a (b) \\) c)\r\n (d) mx.example.org; spf=pass",
            " \"mx.example.org\"; spf=pass",
            " \"mx\\.example.org\" 1; spf=pass",
            " \"mx.\"example.org; spf=pass",
            " mx . example (c) .\r\n org; spf=pass",
            " \u{a0}mx.example.org; spf=pass",
            " ; mx.example.org; spf=pass",
            " mx.example.org",
            " (unclosed mx.example.org; spf=pass",
            " \"mx.example.org; spf=pass",
            " \0mx.example.org; spf=pass",
        ] {
            assert!(claims(body.as_bytes(), "mx.example.org"), "{body:?}");
        }
        assert!(claims("poștă.test; spf=pass".as_bytes(), "xn--pot-cpa20l.test"));
        for body in [
            "",
            " example.org; spf=pass",
            " mx.example.org.evil.test; spf=pass",
            " amx.example.org; spf=pass",
            " mx. example.org.evil.test; spf=pass",
            " evil.test (mx.example.org); spf=pass",
            " evil.test; spf=pass smtp.helo=mx.example.org",
        ] {
            assert!(!claims(body.as_bytes(), "mx.example.org"), "{body:?}");
        }
        assert!(!claims("(".repeat(100_000).as_bytes(), "mx.example.org"));
    }

    proptest! {
        /// What we write is recognised, and is one field.
        #[test]
        fn our_own_field_is_recognised(id in "[a-z]{1,9}(\\.[a-z]{1,9}){0,3}", text in "\\PC{0,99}|.{0,99}") {
            let mut field = AuthenticationResults::new(&id);
            field.result("spf", "pass").reason(&text).property("smtp.mailfrom", &text);
            let field = field.finish();
            let (_, body) = field.split_once(':').unwrap();
            prop_assert!(claims(body.as_bytes(), &id));
            for line in field.trim_end_matches("\r\n").split("\r\n").skip(1) {
                prop_assert!(line.starts_with('\t') && !line.contains(['\r', '\n']), "{line:?}");
            }
        }
    }
}
