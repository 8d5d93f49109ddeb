//! Tags of addresses: `ana+shopping` is `ana` (RFC 5233).

use posta_mail::Address;
use std::{fmt, str::FromStr, sync::Arc};

/// The characters that may separate a user from a tag. Letters and digits are part of names.
const ALLOWED: &str = "+-_.=~#%!";

/// The characters that separate a user from a tag, in the order in which they are looked for: with `+-`,
/// `mary-ann+x` is `mary-ann`, and `mary-x` is `mary`. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TagSeparators(Arc<str>);

/// The error of a text that names no separators.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("some of {ALLOWED}, each once, or nothing for none")]
pub struct TagSeparatorsError;

/// Returns the separator that most servers use.
impl Default for TagSeparators {
    fn default() -> Self {
        Self("+".into())
    }
}

impl FromStr for TagSeparators {
    type Err = TagSeparatorsError;

    fn from_str(text: &str) -> Result<Self, TagSeparatorsError> {
        let is_right =
            |(at, separator)| ALLOWED.contains(separator) && !text[..at].contains(separator);
        text.char_indices().all(is_right).then(|| Self(text.into())).ok_or(TagSeparatorsError)
    }
}

impl fmt::Display for TagSeparators {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TagSeparators {
    /// Returns an address without its tag, if it has one.
    #[must_use]
    pub fn untagged(&self, address: &Address) -> Option<Address> {
        self.split(address).map(|(user, _)| user)
    }

    /// Returns an address without its tag, and the tag with its separator, if there is one.
    #[must_use]
    pub fn split<'a>(&self, address: &'a Address) -> Option<(Address, &'a str)> {
        let local_part = address.local_part();
        // The first place is part of a name, as in `-x`.
        let place = |separator| local_part.find(separator).filter(|&at| at > 0);
        let at = self.0.chars().find_map(place)?;
        let (user, tag) = local_part.split_at(at);
        let user = Address::new(user, &address.domain().parse().ok()?).ok()?;
        Some((user, tag))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn separators_are_looked_for_in_order() {
        for (separators, address, split) in [
            ("+", "ana+a+b@x.test", Some(("ana@x.test", "+a+b"))),
            ("+", "ana-a@x.test", None),
            ("+", "+a@x.test", None),
            ("+", "\"ana +a\"@x.test", None),
            ("+-", "mary-ann+x@x.test", Some(("mary-ann@x.test", "+x"))),
            ("+-", "mary-x@x.test", Some(("mary@x.test", "-x"))),
            ("-", "ana+a@x.test", None),
            (".", "ana.pop@x.test", Some(("ana@x.test", ".pop"))),
            ("", "ana+a@x.test", None),
        ] {
            let separators: TagSeparators = separators.parse().unwrap();
            let address = address.parse().unwrap();
            let found = separators.split(&address);
            let found = found.as_ref().map(|(user, tag)| (user.as_str(), *tag));
            assert_eq!(found, split, "{separators} {address}");
        }
        for wrong in ["a", "+ ", "++", "@", "+\u{219}", "\""] {
            assert_eq!(wrong.parse::<TagSeparators>(), Err(TagSeparatorsError), "{wrong}");
        }
        assert_eq!(TagSeparators::default().to_string(), "+");
    }
}
