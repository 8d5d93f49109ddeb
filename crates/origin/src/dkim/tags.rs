//! Lists of tags, `name=value; …`, the syntax of signatures and key records (RFC 6376 §3.2).

/// The maximal number of tags in a list. DKIM defines fourteen.
pub(crate) const TAGS: usize = 64;

/// A list of tags, in which no tag is repeated.
#[derive(Debug)]
pub(crate) struct Tags<'a> {
    tags: Vec<(&'a str, &'a str)>,
}

/// The reason why octets are not a list of tags.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TagError {
    #[error("a tag is not of the form name=value")]
    Malformed,
    #[error("a tag appears twice")]
    Repeated,
    #[error("there are too many tags")]
    TooMany,
}

impl<'a> Tags<'a> {
    /// Parses a list. White space around names and values is not part of them; a semicolon may end the
    /// list.
    pub(crate) fn parse(list: &'a [u8]) -> Result<Self, TagError> {
        let list = str::from_utf8(list).map_err(|_| TagError::Malformed)?.trim_matches(WHITE_SPACE);
        Self::read(list.strip_suffix(';').unwrap_or(list).split(';'))
    }

    /// Parses a list in which tags may be empty, since people who write DNS records sometimes repeat
    /// semicolons.
    pub(crate) fn parse_record(list: &'a str) -> Result<Self, TagError> {
        Self::read(list.split(';').filter(|tag| !tag.trim_matches(WHITE_SPACE).is_empty()))
    }

    fn read(list: impl Iterator<Item = &'a str>) -> Result<Self, TagError> {
        let mut tags: Vec<(&str, &str)> = Vec::new();
        for tag in list {
            let (name, value) = tag.split_once('=').ok_or(TagError::Malformed)?;
            let (name, value) = (name.trim_matches(WHITE_SPACE), value.trim_matches(WHITE_SPACE));
            let is_name = name.starts_with(|first: char| first.is_ascii_alphabetic())
                && name.bytes().all(|octet| octet.is_ascii_alphanumeric() || octet == b'_');
            let is_value = !has_control(value);
            if !is_name || !is_value {
                return Err(TagError::Malformed);
            }
            // Names are case-sensitive: `V=1` is not a version (§3.2).
            if tags.iter().any(|(known, _)| *known == name) {
                return Err(TagError::Repeated);
            }
            if tags.len() == TAGS {
                return Err(TagError::TooMany);
            }
            tags.push((name, value));
        }
        Ok(Self { tags })
    }

    /// Returns the value of a tag.
    pub(crate) fn get(&self, name: &str) -> Option<&'a str> {
        self.tags.iter().find(|(known, _)| *known == name).map(|(_, value)| *value)
    }

    /// Returns the first tag.
    pub(crate) fn first(&self) -> Option<(&'a str, &'a str)> {
        self.tags.first().copied()
    }
}

/// Returns whether a value contains control characters other than [`WHITE_SPACE`]. Most values are ASCII, which is
/// looked at octet by octet.
fn has_control(value: &str) -> bool {
    let is_bad = |octet: u8| octet.is_ascii_control() && !b" \t\r\n".contains(&octet);
    value.bytes().any(is_bad)
        || (!value.is_ascii()
            && value.contains(|character: char| !character.is_ascii() && character.is_control()))
}

/// White space of folded fields (RFC 6376 §2.8).
pub(crate) const WHITE_SPACE: [char; 4] = [' ', '\t', '\r', '\n'];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_read() {
        let tags = Tags::parse(b" v=1;\r\n\ta = rsa-sha256 ; b=a b=\r\n c==; n=;").unwrap();
        assert_eq!(tags.first(), Some(("v", "1")));
        assert_eq!(tags.get("a"), Some("rsa-sha256"));
        assert_eq!(tags.get("b"), Some("a b=\r\n c=="));
        assert_eq!(tags.get("n"), Some(""));
        assert_eq!(tags.get("A"), None);
    }

    #[test]
    fn other_lists_are_refused() {
        for (list, error) in [
            (&b"v"[..], TagError::Malformed),
            (b"v=1; =2", TagError::Malformed),
            (b"v=1; a b=2", TagError::Malformed),
            (b"1v=1", TagError::Malformed),
            (b"v=1;; a=2", TagError::Malformed),
            (b"v=1;;", TagError::Malformed),
            (b"v=\xff", TagError::Malformed),
            (b"v=\0", TagError::Malformed),
            (b"v=1; v=1", TagError::Repeated),
        ] {
            assert_eq!(Tags::parse(list).err(), Some(error), "{}", list.escape_ascii());
        }
        assert_eq!(Tags::parse_record("v=1;; a=2; ;").unwrap().get("a"), Some("2"));
        let many = |count| (0..count).map(|number| format!("t{number}=;")).collect::<String>();
        assert!(Tags::parse(many(TAGS).as_bytes()).is_ok());
        assert_eq!(Tags::parse(many(TAGS + 1).as_bytes()).err(), Some(TagError::TooMany));
    }
}
