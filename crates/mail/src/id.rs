//! The names of messages: ours, and what may be one in POP3.

use crate::{Timestamp, limits};
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// Octets in a [`MailId`].
const OCTETS: usize = 12;

/// Characters in its text: 96 bits in base 32, 5 bits a character.
const CHARACTERS: usize = 20;

/// Crockford's base 32 in lower case: no `i`, `l`, `o`, `u`, so that it survives being read aloud.
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// Names one accepted message in the whole system: in the 250 that acknowledges it, in its
/// Received field, as the key of its content.
///
/// 48 bits of time in milliseconds, then 48 random bits, so that ids sort by age and the content of
/// neighbours in time lies together. Minted by the clock; see `posta-server`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MailId([u8; OCTETS]);

impl MailId {
    /// An id from the time of acceptance and 48 random bits (the upper 16 bits of `random` are not
    /// used).
    #[must_use]
    pub fn new(time: Timestamp, random: u64) -> Self {
        let mut octets = [0; OCTETS];
        octets[..6].copy_from_slice(&time.as_millisecond().to_be_bytes()[2..]);
        octets[6..].copy_from_slice(&random.to_be_bytes()[2..]);
        Self(octets)
    }

    /// The octets, which sort as the ids do.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; OCTETS] {
        self.0
    }

    /// The id with these octets.
    #[must_use]
    pub const fn from_bytes(octets: [u8; OCTETS]) -> Self {
        Self(octets)
    }
}

impl fmt::Display for MailId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut wide = [0; 16];
        wide[4..].copy_from_slice(&self.0);
        let value = u128::from_be_bytes(wide);
        let mut text = [0u8; CHARACTERS];
        for (index, character) in text.iter_mut().rev().enumerate() {
            *character = ALPHABET[(value >> (5 * index)) as usize & 31];
        }
        f.pad(str::from_utf8(&text).unwrap_or_default())
    }
}

impl fmt::Debug for MailId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text is not a [`MailId`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a message's id is 20 characters of 0-9 and a-z without i, l, o, u")]
pub struct MailIdError;

impl FromStr for MailId {
    type Err = MailIdError;

    fn from_str(text: &str) -> Result<Self, MailIdError> {
        if text.len() != CHARACTERS {
            return Err(MailIdError);
        }
        let mut value = 0u128;
        for character in text.bytes() {
            let digit = ALPHABET.iter().position(|&known| known == character.to_ascii_lowercase());
            value = value << 5 | digit.ok_or(MailIdError)? as u128;
        }
        let wide = value.to_be_bytes();
        if wide[..4] != [0; 4] {
            return Err(MailIdError);
        }
        let mut octets = [0; OCTETS];
        octets.copy_from_slice(&wide[4..]);
        Ok(Self(octets))
    }
}

impl TryFrom<String> for MailId {
    type Error = MailIdError;

    fn try_from(text: String) -> Result<Self, MailIdError> {
        text.parse()
    }
}

impl From<MailId> for String {
    fn from(value: MailId) -> Self {
        value.to_string()
    }
}

/// Whether a text may be a unique-id (RFC 1939 §7): 1 to 70 octets of 0x21 to 0x7E. What another
/// server says is one must not come out of ours unless it is.
#[must_use]
pub fn is_unique_id(text: &str) -> bool {
    (1..=limits::UNIQUE_ID).contains(&text.len())
        && text.bytes().all(|octet| octet.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn text_is_reversible(octets: [u8; OCTETS]) {
            let id = MailId::from_bytes(octets);
            prop_assert_eq!(id.to_string().parse(), Ok(id));
            prop_assert_eq!(id.to_string().len(), CHARACTERS);
        }

        #[test]
        fn any_text_is_parsed_or_refused(text: String) {
            let _ = text.parse::<MailId>();
        }
    }

    #[test]
    fn ids_sort_by_time() {
        let at = |ms| Timestamp::from_millisecond(ms).unwrap();
        assert!(MailId::new(at(1_000), u64::MAX) < MailId::new(at(1_001), 0));
    }

    #[test]
    fn out_of_range_text_is_refused() {
        assert_eq!("zzzzzzzzzzzzzzzzzzzz".parse::<MailId>(), Err(MailIdError));
    }

    #[test]
    fn unique_ids_are_printable_and_short() {
        for good in ["!", "~", "UID1-1795540764", &"x".repeat(70)] {
            assert!(is_unique_id(good), "{good}");
        }
        for bad in ["", " ", "a b", "\u{7f}", "ș", &"x".repeat(71)] {
            assert!(!is_unique_id(bad), "{bad}");
        }
    }
}
