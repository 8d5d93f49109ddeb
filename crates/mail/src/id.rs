//! Names of messages: Posta's own ids, and the unique-ids of POP3.

use crate::{Timestamp, limits};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// The number of octets in a [`MailId`].
const OCTETS: usize = 12;

/// The number of characters in the text form: 96 bits in base 32, 5 bits a character.
const CHARACTERS: usize = 20;

/// Crockford's base 32 in lower case, without `i`, `l`, `o` and `u`, so that an id can be read aloud
/// safely.
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// The name of one accepted message, unique in the whole system. The id appears in the 250 reply that
/// acknowledges the message and in its Received field, and is the key of its content in the store.
///
/// An id consists of the time in milliseconds (48 bits) and 48 random bits. Ids therefore sort by age,
/// and contents of about the same age are stored near each other. The clock of `posta-server` makes
/// them.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(example = "01kc7hzv8r5k2mtnq4xw")]
pub struct MailId([u8; OCTETS]);

impl MailId {
    /// Makes an id from the time of acceptance and 48 random bits, the lower ones of `random`.
    #[must_use]
    pub fn new(time: Timestamp, random: u64) -> Self {
        let mut octets = [0; OCTETS];
        octets[..6].copy_from_slice(&time.as_millisecond().to_be_bytes()[2..]);
        octets[6..].copy_from_slice(&random.to_be_bytes()[2..]);
        Self(octets)
    }

    /// Returns the octets, which sort as the ids do.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; OCTETS] {
        self.0
    }

    /// Returns the id with these octets.
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

/// The text is not a valid [`MailId`].
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

/// Returns whether a text is a valid unique-id (RFC 1939 §7): 1 to 70 octets from 0x21 to 0x7E. An
/// invalid unique-id of another server must never be passed on by this one.
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
