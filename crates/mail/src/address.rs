//! Addresses: the strings that identify where mail goes, as opposed to the mailboxes that store mail
//! (RFC 5321 §2.3.11).
//!
//! Every protocol crate, the configuration and the store use these types. Text becomes an [`Address`] or
//! a [`Domain`] once, where it enters the program; an existing value is always valid.

use crate::{limits, visible::is_visible};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{borrow::Borrow, fmt, net::IpAddr, str::FromStr};
use unicode_normalization::UnicodeNormalization;

/// A domain name or an address literal, in lower case, since domains compare without case (RFC 5321
/// §2.3.5, §4.1.2). An internationalised name is held in its ASCII form, as used in DNS (RFC 5891).
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Domain(Box<str>);

/// An e-mail address: `local-part@domain` (RFC 5321 §4.1.2).
///
/// An address is printed in its shortest valid form: a local-part that was quoted needlessly is printed
/// without quotes. The domain is in lower case. The local-part keeps its case, and may contain any
/// Unicode letters (RFC 6531 §3.3).
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
pub struct Address {
    text: Box<str>,
    /// The position of the `@` before the domain, at most [`limits::LOCAL_PART`] plus quoting.
    at: u16,
}

/// The reason why a text is not an address or not a domain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// The text contains no `@`.
    #[error("it needs the form local-part@domain")]
    NoDomain,
    /// The local-part is neither a dot-string nor a quoted-string.
    #[error("its local-part holds a character that needs quoting, or a misplaced dot")]
    LocalPart,
    /// The domain is neither a name nor an address literal.
    #[error("its domain is not a valid name or address literal")]
    Domain,
    /// The text contains an invisible character (RFC 8264 §4.2.3). Such characters make two different
    /// addresses look the same, or display an address from right to left.
    #[error("it holds U+{0:04X}, which cannot be seen")]
    Invisible(u32),
    /// The local-part exceeds [`limits::LOCAL_PART`], the domain [`limits::DOMAIN`], or the whole
    /// address [`limits::PATH`].
    #[error("it is too long (local-part 256 octets, domain 255)")]
    TooLong,
}

impl Domain {
    /// Returns the domain as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns whether the domain is an address literal such as `[192.0.2.1]`.
    #[must_use]
    pub fn is_literal(&self) -> bool {
        self.0.starts_with('[')
    }
}

impl FromStr for Domain {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        if text.len() > limits::DOMAIN {
            return Err(AddressError::TooLong);
        }
        if text.is_ascii() {
            return if is_domain_name(text) || is_address_literal(text) {
                Ok(Self(text.to_ascii_lowercase().into()))
            } else {
                Err(AddressError::Domain)
            };
        }
        // The check comes first, because IDNA silently removes some invisible characters: the result
        // would be a different name than the one written.
        all_visible(text)?;
        match idna::domain_to_ascii(text) {
            Ok(name) if name.len() > limits::DOMAIN => Err(AddressError::TooLong),
            Ok(name) if is_domain_name(&name) => Ok(Self(name.into())),
            _ => Err(AddressError::Domain),
        }
    }
}

impl Address {
    /// Makes an address from a local-part, bare or quoted, and a domain.
    ///
    /// # Errors
    /// When `local_part` is not a valid local-part, or the address is too long.
    pub fn new(local_part: &str, domain: &Domain) -> Result<Self, AddressError> {
        let content = unquote(local_part)?;
        if content.len() > limits::LOCAL_PART {
            return Err(AddressError::TooLong);
        }
        // The limit applies to the printed form, with an internationalised domain in A-labels, which can
        // be longer than the same domain in UTF-8.
        let mut text = String::with_capacity(content.len() + 1 + domain.0.len());
        if is_dot_string(&content) {
            text.push_str(&content);
        } else {
            push_quoted(&content, &mut text);
        }
        let at = text.len() as u16; // at most 2 × 256 + 2
        text.push('@');
        text.push_str(&domain.0);
        if text.len() + "<>".len() > limits::PATH {
            return Err(AddressError::TooLong);
        }
        Ok(Self { text: text.into(), at })
    }

    /// Returns the local-part as printed, including any quotes.
    #[must_use]
    pub fn local_part(&self) -> &str {
        &self.text[..usize::from(self.at)]
    }

    /// Returns the domain, in lower case.
    #[must_use]
    pub fn domain(&self) -> &str {
        &self.text[usize::from(self.at) + 1..]
    }

    /// Returns the whole address as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Returns whether the address can be used without SMTPUTF8.
    #[must_use]
    pub fn is_ascii(&self) -> bool {
        self.text.is_ascii()
    }

    /// Returns the form in which local mailboxes are looked up: in lower case, with accents composed
    /// (RFC 6532 §3.1). RFC 5321 §2.4 leaves the case of a local-part to the receiving host; in Posta,
    /// `Ana@` and `ana@` are the same mailbox.
    #[must_use]
    pub fn folded(&self) -> Self {
        if self.is_ascii() {
            return Self { text: self.text.to_ascii_lowercase().into(), at: self.at };
        }
        let local_part: String = self.local_part().nfc().flat_map(char::to_lowercase).collect();
        // Lower-casing a composed letter can yield a decomposed one.
        let local_part: String = local_part.nfc().collect();
        let at = u16::try_from(local_part.len()).unwrap_or(u16::MAX);
        Self { text: format!("{local_part}@{}", self.domain()).into(), at }
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        all_visible(text)?;
        Self::parse_stored(text)
    }
}

impl Address {
    /// Parses an address without refusing invisible characters, which earlier versions accepted.
    fn parse_stored(text: &str) -> Result<Self, AddressError> {
        // The split is at the last `@`: a quoted local-part can contain others, a domain cannot.
        let (local_part, domain) = text.rsplit_once('@').ok_or(AddressError::NoDomain)?;
        Self::new(local_part, &domain.parse()?)
    }
}

/// Reads an address back from storage. Anything that an earlier version accepted is accepted here.
impl TryFrom<String> for Address {
    type Error = AddressError;

    fn try_from(text: String) -> Result<Self, AddressError> {
        Self::parse_stored(&text)
    }
}

impl From<Address> for String {
    fn from(value: Address) -> Self {
        value.to_string()
    }
}

impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Borrow<str> for Domain {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text)
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<{}>", self.text)
    }
}

fn all_visible(text: &str) -> Result<(), AddressError> {
    // Whitespace outside ASCII looks like an ordinary space, or like nothing.
    let is_seen = |&character: &char| {
        is_visible(character) && (character == ' ' || !character.is_whitespace())
    };
    match text.chars().find(|character| !character.is_ascii() && !is_seen(character)) {
        Some(hidden) => Err(AddressError::Invisible(hidden.into())),
        None => Ok(()),
    }
}

/// Returns whether a character is `atext` (RFC 5322 §3.2.3), as extended by RFC 6531 §3.3.
fn is_atext(character: char) -> bool {
    character.is_ascii_alphanumeric()
        || "!#$%&'*+-/=?^_`{|}~".contains(character)
        || is_beyond_ascii(character)
}

fn is_beyond_ascii(character: char) -> bool {
    !character.is_ascii() && !character.is_control()
}

/// Returns whether a character may appear in a quoted string; `\` and `"` need a `\` before them.
fn is_quotable(character: char) -> bool {
    matches!(character, ' '..='~') || is_beyond_ascii(character)
}

/// Returns whether a text is a `Dot-string` (RFC 5321 §4.1.2).
fn is_dot_string(text: &str) -> bool {
    text.split('.').all(|atom| !atom.is_empty() && atom.chars().all(is_atext))
}

/// Returns the content of a local-part, with quotes and escapes removed (RFC 5321 §4.1.2,
/// `Quoted-string`: printable ASCII and spaces, any of them preceded by `\`).
fn unquote(local_part: &str) -> Result<String, AddressError> {
    let Some(quoted) = local_part.strip_prefix('"') else {
        return if is_dot_string(local_part) {
            Ok(local_part.to_owned())
        } else {
            Err(AddressError::LocalPart)
        };
    };
    let mut content = String::with_capacity(quoted.len());
    let mut characters = quoted.chars();
    loop {
        match characters.next() {
            Some('"') if characters.as_str().is_empty() => return Ok(content),
            Some('\\') => match characters.next() {
                Some(escaped) if is_quotable(escaped) => content.push(escaped),
                _ => return Err(AddressError::LocalPart),
            },
            Some(plain) if plain != '"' && is_quotable(plain) => content.push(plain),
            _ => return Err(AddressError::LocalPart),
        }
    }
}

fn push_quoted(content: &str, text: &mut String) {
    text.push('"');
    for character in content.chars() {
        if matches!(character, '"' | '\\') {
            text.push('\\');
        }
        text.push(character);
    }
    text.push('"');
}

/// Returns whether a text is a `Domain` (RFC 5321 §4.1.2): labels of letters, digits and inner hyphens.
/// Underscores are accepted too, because hosts with such names do send and receive mail.
fn is_domain_name(text: &str) -> bool {
    text.split('.').all(|label| {
        !label.is_empty()
            && label.len() <= limits::DOMAIN_LABEL
            && label.bytes().all(|octet| octet.is_ascii_alphanumeric() || b"-_".contains(&octet))
            && !label.starts_with('-')
            && !label.ends_with('-')
    })
}

/// Returns whether a text is an `address-literal` (RFC 5321 §4.1.3) of one of the two kinds in use.
fn is_address_literal(text: &str) -> bool {
    let Some(inner) = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) else {
        return false;
    };
    match inner.get(..5) {
        Some(tag) if tag.eq_ignore_ascii_case("IPv6:") => {
            matches!(inner[5..].parse(), Ok(IpAddr::V6(_)))
        }
        _ => matches!(inner.parse(), Ok(IpAddr::V4(_))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn printed(text: &str) -> Result<String, AddressError> {
        text.parse::<Address>().map(|address| address.to_string())
    }

    #[test]
    fn valid_addresses_print_in_their_shortest_form() {
        for (given, shortest) in [
            ("ana@example.test", "ana@example.test"),
            ("Ana.Pop@EXAMPLE.Test", "Ana.Pop@example.test"),
            ("\"ana\"@example.test", "ana@example.test"),
            ("\"an\\a\"@example.test", "ana@example.test"),
            ("\"ana pop\"@example.test", "\"ana pop\"@example.test"),
            ("\"a@b\"@example.test", "\"a@b\"@example.test"),
            ("\"a\\\"b\"@example.test", "\"a\\\"b\"@example.test"),
            ("\"\"@example.test", "\"\"@example.test"),
            ("ana@[192.0.2.1]", "ana@[192.0.2.1]"),
            ("ana@[IPv6:2001:DB8::1]", "ana@[ipv6:2001:db8::1]"),
            ("user+tag@localhost", "user+tag@localhost"),
            ("ana@_my_host.example.test", "ana@_my_host.example.test"),
            ("ană@example.test", "ană@example.test"),
            ("ana@poștă.test", "ana@xn--pot-cpa20l.test"),
        ] {
            assert_eq!(printed(given).as_deref(), Ok(shortest), "{given}");
        }
    }

    #[test]
    fn invalid_addresses_are_refused() {
        use AddressError::{Domain, Invisible, LocalPart, NoDomain};
        for (given, error) in [
            ("ana", NoDomain),
            ("@example.test", LocalPart),
            (".ana@example.test", LocalPart),
            ("ana.@example.test", LocalPart),
            ("a..b@example.test", LocalPart),
            ("a b@example.test", LocalPart),
            ("a@b@example.test", LocalPart),
            ("\"ana@example.test", LocalPart),
            ("\"a\"b\"@example.test", LocalPart),
            ("\"ana\\\"@example.test", LocalPart),
            ("\"a\nb\"@example.test", LocalPart),
            ("an\u{85}a@example.test", Invisible(0x85)),
            ("ana\u{202e}@example.test", Invisible(0x202e)),
            ("\"ana\u{2066}\"@example.test", Invisible(0x2066)),
            ("an\u{200b}a@example.test", Invisible(0x200b)),
            ("ana\u{feff}@example.test", Invisible(0xfeff)),
            ("ana\u{a0}@example.test", Invisible(0xa0)),
            ("ana\u{e0041}@example.test", Invisible(0xe0041)),
            ("ana@exa\u{200b}mple.test", Invisible(0x200b)),
            ("ana@\u{202e}example.test", Invisible(0x202e)),
            ("ana@po ștă.test", Domain),
            ("ana@", Domain),
            ("ana@-example.test", Domain),
            ("ana@example-.test", Domain),
            ("ana@example..test", Domain),
            ("ana@exam ple.test", Domain),
            ("ana@[192.0.2]", Domain),
            ("ana@[2001:db8::1]", Domain),
            ("ana@[IPv6:192.0.2.1]", Domain),
            ("ana@[192.0.2.1", Domain),
        ] {
            assert_eq!(printed(given), Err(error), "{given}");
        }
    }

    /// Queue items that an earlier version wrote can still be read.
    #[test]
    fn what_was_taken_once_is_read_back() {
        let kept = Address::try_from("an\u{200b}a@example.test".to_owned()).unwrap();
        assert_eq!(kept.as_str().parse::<Address>(), Err(AddressError::Invisible(0x200b)));
    }

    #[test]
    fn lengths_are_bounded() {
        for length in [65, 128, 200] {
            let address = format!("{}@example.test", "a".repeat(length));
            assert_eq!(printed(&address).as_deref(), Ok(&address[..]));
        }
        let local = "a".repeat(256);
        assert!(format!("{local}@example.test").parse::<Address>().is_ok());
        assert_eq!(printed(&format!("{local}a@example.test")), Err(AddressError::TooLong));
        let label = "a".repeat(63);
        let domain = [&label[..], &label, &label, &label].join(".");
        assert!(domain.parse::<Domain>().is_ok());
        assert_eq!(printed(&format!("a@{domain}.a")), Err(AddressError::TooLong));
        // The domain is short as written, but longer than a path once its labels are in ASCII.
        let names = format!("{}test", "ab\u{103}.".repeat(25));
        assert_eq!(names.parse::<Domain>(), Err(AddressError::TooLong));
        // Every character of the longest local-part may need escaping.
        let escaped = format!("\"{}\"@{domain}", "\\\"".repeat(256));
        assert_eq!(printed(&escaped).as_deref(), Ok(&escaped[..]));
        assert_eq!(printed(&format!("a@{label}a.test")), Err(AddressError::Domain));
    }

    #[test]
    fn parts_are_reachable() {
        let address: Address = "\"a@b\"@Example.TEST".parse().unwrap();
        assert_eq!((address.local_part(), address.domain()), ("\"a@b\"", "example.test"));
        let folded = |text: &str| text.parse::<Address>().unwrap().folded();
        assert_eq!(folded("ANA@x.test").as_str(), "ana@x.test");
        assert_eq!(folded("POȘTA\u{306}@x.test"), folded("poștă@x.test"));
        assert_eq!(folded("POȘTĂ@x.test").local_part(), "poștă");
    }

    proptest! {
        #[test]
        fn what_is_printed_parses_to_the_same(text in "(\"[ -~]{0,12}\"|[!-~]{1,12})@[a-zA-Z0-9.-]{1,20}") {
            if let Ok(address) = text.parse::<Address>() {
                prop_assert_eq!(address.to_string().parse(), Ok(address));
            }
        }

        #[test]
        fn any_text_is_parsed_or_refused(text: String) {
            let _ = text.parse::<Address>();
            let _ = text.parse::<Domain>();
        }
    }
}
