//! The decision of a filter about a message.

use crate::changes::HeaderChanges;
use posta_mail::{Address, Reply};

/// The action for a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FilterAction {
    /// It goes on.
    Accept,
    /// It is refused with this reply, of class 4 or 5.
    Refuse(Reply),
    /// It goes to the recipients' Junk folders.
    Junk,
    /// It is kept from its recipients until the operator releases it; with the filter's reason.
    Quarantine(String),
}

/// A filter's answer about a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilterVerdict {
    /// The action for the message.
    pub action: FilterAction,
    /// The changes to its header section. Empty if the message is refused.
    pub changes: HeaderChanges,
    /// The recipients that the filter refused while it accepted others.
    pub refused: Vec<(Address, Reply)>,
    /// The answer in words, for the history.
    pub said: String,
    /// The requests of the filter that were not granted, in words.
    pub ignored: Vec<String>,
}

impl FilterVerdict {
    /// Returns a verdict without changes.
    #[must_use]
    pub fn new(action: FilterAction, said: impl Into<String>) -> Self {
        Self {
            action,
            changes: HeaderChanges::default(),
            refused: Vec::new(),
            said: said.into(),
            ignored: Vec::new(),
        }
    }
}

/// The maximal number of characters of a filter's words that are kept, for a reply and the history.
const WORDS: usize = 400;

/// Returns a filter's words as one line of visible characters, cut if they are too long.
#[must_use]
pub fn one_line(words: &str) -> String {
    let seen: String = words.chars().map(posta_mail::visible::or_space).collect();
    let mut line = seen.split_whitespace().collect::<Vec<_>>().join(" ");
    if let Some((end, _)) = line.char_indices().nth(WORDS) {
        line.truncate(end);
        line.push('…');
    }
    line
}

/// Returns a filter's words for a reply: as [`one_line`], in ASCII (RFC 5321 §4.2).
#[must_use]
pub fn reply_words(words: &str) -> String {
    let ascii = |character: char| if character.is_ascii() { character } else { '?' };
    one_line(words).chars().map(ascii).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_cannot_end_a_line_or_grow() {
        assert_eq!(one_line("a\r\n250 ok\u{202e}\0b"), "a 250 ok b");
        assert_eq!(reply_words("să"), "s?");
        let long = one_line(&"ă".repeat(2 * WORDS));
        assert_eq!(long.chars().count(), WORDS + 1);
    }
}
