//! Flags and keywords: the marks that readers attach to a message (RFC 9051 §2.3.2).

use std::{fmt, ops::BitOr, str::FromStr};

/// The maximal number of keywords of a message.
pub const KEYWORDS: usize = 64;

/// The maximal number of octets in a keyword.
pub const KEYWORD: usize = 100;

/// The flags of a message: those that RFC 9051 names, and one of the store's own.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Flags(pub u32);

impl Flags {
    /// No flag.
    pub const NONE: Self = Self(0);
    /// The store's own: the message was retrieved over POP3 since it arrived, or since it was restored.
    pub const RETRIEVED: Self = Self(1);
    /// `\Seen`: the message was read.
    pub const SEEN: Self = Self(1 << 1);
    /// `\Answered`.
    pub const ANSWERED: Self = Self(1 << 2);
    /// `\Flagged`: the message is marked for attention.
    pub const FLAGGED: Self = Self(1 << 3);
    /// `\Deleted`: the message is to be removed.
    pub const DELETED: Self = Self(1 << 4);
    /// `\Draft`: the message is not finished.
    pub const DRAFT: Self = Self(1 << 5);
    /// The flags that readers set.
    pub const OF_READERS: Self = Self(0b11_1110);

    /// The flags that readers set, and their names (RFC 9051 §2.3.2).
    pub const NAMES: [(Self, &str); 5] = [
        (Self::SEEN, "\\Seen"),
        (Self::ANSWERED, "\\Answered"),
        (Self::FLAGGED, "\\Flagged"),
        (Self::DELETED, "\\Deleted"),
        (Self::DRAFT, "\\Draft"),
    ];

    /// Returns whether all of `flags` are set.
    #[must_use]
    pub const fn has(self, flags: Self) -> bool {
        self.0 & flags.0 == flags.0
    }

    /// Returns these flags without `flags`.
    #[must_use]
    pub const fn without(self, flags: Self) -> Self {
        Self(self.0 & !flags.0)
    }

    /// Returns these flags as far as they are among `flags`.
    #[must_use]
    pub const fn among(self, flags: Self) -> Self {
        Self(self.0 & flags.0)
    }
}

impl BitOr for Flags {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// A keyword (RFC 9051 §2.3.2): a mark that clients have agreed on, such as `$forwarded`. Keywords are
/// compared without case, and stored in lower case (RFC 8621 §4.1.1).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Keyword(Box<str>);

impl Keyword {
    /// Returns the keyword.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Keyword {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// The text cannot be a [`Keyword`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a keyword has 1 to 100 ASCII characters, none of them a space or one of ( ) {{ ] % * \" \\"
)]
pub struct KeywordError;

impl FromStr for Keyword {
    type Err = KeywordError;

    /// RFC 9051 §9 `flag-keyword`: an atom.
    fn from_str(text: &str) -> Result<Self, KeywordError> {
        let is_atom = (1..=KEYWORD).contains(&text.len())
            && text
                .bytes()
                .all(|octet| octet.is_ascii_graphic() && !b"(){]%*\"\\".contains(&octet));
        is_atom.then(|| Self(text.to_ascii_lowercase().into())).ok_or(KeywordError)
    }
}

/// A change of the flags and keywords of messages.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FlagChange {
    /// Whether flags and keywords that are not added are removed.
    pub replaces: bool,
    /// Flags to set.
    pub add: Flags,
    /// Flags to clear.
    pub remove: Flags,
    /// Keywords to set.
    pub add_keywords: Vec<Keyword>,
    /// Keywords to clear.
    pub remove_keywords: Vec<Keyword>,
}

impl FlagChange {
    /// Applies the change. Returns whether anything is different; none, without any change, if there
    /// would be too many keywords.
    #[must_use]
    pub fn apply(&self, flags: &mut Flags, keywords: &mut Vec<Keyword>) -> Option<bool> {
        let kept = if self.replaces { flags.without(Flags::OF_READERS) } else { *flags };
        let after = (kept | self.add.among(Flags::OF_READERS))
            .without(self.remove.among(Flags::OF_READERS));
        let kept = if self.replaces { &[][..] } else { &keywords[..] };
        let mut words: Vec<_> = kept.iter().chain(&self.add_keywords).cloned().collect();
        words.retain(|word| !self.remove_keywords.contains(word));
        words.sort_unstable();
        words.dedup();
        if words.len() > KEYWORDS {
            return None;
        }
        let is_other = after != *flags || words != *keywords;
        (*flags, *keywords) = (after, words);
        Some(is_other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keywords_are_atoms() {
        assert_eq!("$Forwarded".parse::<Keyword>().unwrap().as_str(), "$forwarded");
        for wrong in ["", "\\Seen", "a b", "a(", "é", &"x".repeat(KEYWORD + 1)] {
            assert_eq!(wrong.parse::<Keyword>(), Err(KeywordError), "{wrong:?}");
        }
    }

    #[test]
    fn a_change_is_made_whole_or_not_at_all() {
        let word = |number: usize| format!("k{number}").parse::<Keyword>().unwrap();
        let (mut flags, mut keywords) = (Flags::RETRIEVED | Flags::DRAFT, vec![word(1)]);
        let change = FlagChange {
            add: Flags::SEEN | Flags::RETRIEVED,
            remove: Flags::DRAFT,
            add_keywords: vec![word(2), word(1)],
            ..FlagChange::default()
        };
        assert_eq!(change.apply(&mut flags, &mut keywords), Some(true));
        assert_eq!((flags, keywords.len()), (Flags::RETRIEVED | Flags::SEEN, 2));
        assert_eq!(change.apply(&mut flags, &mut keywords), Some(false));
        let many = FlagChange {
            add_keywords: (0..=KEYWORDS).map(word).collect(),
            ..FlagChange::default()
        };
        assert_eq!(many.apply(&mut flags, &mut keywords), None);
        assert_eq!(keywords.len(), 2);
        let nothing = FlagChange { replaces: true, ..FlagChange::default() };
        assert_eq!(nothing.apply(&mut flags, &mut keywords), Some(true));
        assert_eq!((flags, keywords.len()), (Flags::RETRIEVED, 0), "not the store's own");
    }
}
