//! Reverse-paths and forward-paths: the addresses of an envelope (RFC 5321 §4.1.2).
//!
//! Paths are read more leniently than the grammar allows, as other servers have always done. The angle
//! brackets may be missing, there may be white space inside them and a dot after the domain, and the
//! dots of a local-part may be in places where a dot-string has none, as in addresses that Japanese
//! mobile carriers once assigned. Paths are always written as the grammar requires.

use crate::{Address, AddressError, limits};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;

/// The address to which reports about a message go: the argument of MAIL.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum ReversePath {
    /// `<>`: the message is itself a report, and must never be answered (RFC 5321 §4.5.5).
    Null,
    /// An address.
    Address(Address),
}

/// The address to which a message goes: the argument of RCPT.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ForwardPath {
    /// `<postmaster>` without a domain, accepted by every server (RFC 5321 §4.5.1).
    Postmaster,
    /// An address.
    Address(Address),
}

/// The reason why an argument is not a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// The path is missing, or its angle brackets do not match.
    #[error("a path stands in angle brackets: <local-part@domain>")]
    Brackets,
    /// The path exceeds [`limits::PATH`].
    #[error("the path exceeds 800 octets")]
    TooLong,
    /// The path is not UTF-8.
    #[error("the path is not UTF-8")]
    NotUtf8,
    /// The text between the brackets is not a valid address.
    #[error("the address is not valid: {0}")]
    Address(#[from] AddressError),
}

impl ReversePath {
    /// Splits a command's argument into the path and the parameters after it.
    ///
    /// # Errors
    /// When the argument does not begin with a valid reverse-path.
    pub fn parse(argument: &[u8]) -> Result<(Self, &[u8]), PathError> {
        let (inner, rest) = bracketed(argument)?;
        let path = match inner {
            "" => Self::Null,
            _ => Self::Address(address(inner)?),
        };
        Ok((path, rest))
    }
}

impl ForwardPath {
    /// Splits a command's argument into the path and the parameters after it.
    ///
    /// # Errors
    /// When the argument does not begin with a valid forward-path.
    pub fn parse(argument: &[u8]) -> Result<(Self, &[u8]), PathError> {
        let (inner, rest) = bracketed(argument)?;
        let path = if inner.eq_ignore_ascii_case("postmaster") {
            Self::Postmaster
        } else {
            Self::Address(address(inner)?)
        };
        Ok((path, rest))
    }
}

impl From<Address> for ReversePath {
    fn from(address: Address) -> Self {
        Self::Address(address)
    }
}

impl fmt::Display for ReversePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("<>"),
            Self::Address(address) => write!(f, "<{address}>"),
        }
    }
}

impl fmt::Display for ForwardPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Postmaster => f.write_str("<postmaster>"),
            Self::Address(address) => write!(f, "<{address}>"),
        }
    }
}

/// Returns the text between the brackets, and the text after them. A `>` inside a quoted local-part does
/// not end the path. Without brackets, the path ends at white space.
fn bracketed(argument: &[u8]) -> Result<(&str, &[u8]), PathError> {
    let inside = argument.strip_prefix(b"<");
    let (text, is_bare) = (inside.unwrap_or(argument), inside.is_none());
    let mut quoted = false;
    let mut escaped = false;
    let mut end = None;
    for (index, &octet) in text.iter().enumerate() {
        match octet {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'<' | b'>' if is_bare && !quoted => break,
            b'>' if !quoted => {
                end = Some((index, index + 1));
                break;
            }
            b' ' | b'\t' if is_bare && !quoted => {
                end = Some((index, index));
                break;
            }
            _ if is_bare && index + 1 == text.len() => end = Some((index + 1, index + 1)),
            _ => {}
        }
    }
    let is_path = |(end, _): &(usize, usize)| !(quoted || is_bare && *end == 0);
    let (end, next) = end.filter(is_path).ok_or(PathError::Brackets)?;
    if end + 2 > limits::PATH {
        return Err(PathError::TooLong);
    }
    let inner = str::from_utf8(&text[..end]).map_err(|_| PathError::NotUtf8)?;
    Ok((inner.trim_matches([' ', '\t']), &text[next..]))
}

/// Parses the text inside the brackets, forgiving misplaced dots.
fn address(inner: &str) -> Result<Address, AddressError> {
    let text = without_source_route(inner);
    let name = text.strip_suffix('.').filter(|name| !name.ends_with(['.', '@']));
    let text = name.unwrap_or(text);
    match text.parse() {
        Err(AddressError::LocalPart) => match text.rsplit_once('@') {
            // The only fault may be the position of the dots.
            Some((local, domain)) if !local.is_empty() && !local.contains(['"', '\\', ' ']) => {
                let atoms = local.replace('.', "x");
                format!("{atoms}@{domain}").parse::<Address>()?;
                format!("\"{local}\"@{domain}").parse()
            }
            _ => Err(AddressError::LocalPart),
        },
        parsed => parsed,
    }
}

/// Removes `@one,@two:` before an address. Source routes are accepted and ignored (RFC 5321 §4.1.1.3 and
/// appendix C).
fn without_source_route(inner: &str) -> &str {
    match inner.split_once(':') {
        Some((route, address)) if route.starts_with('@') => address,
        _ => inner,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn forward_paths() {
        for (given, path, rest) in [
            ("<ana@x.test>", "<ana@x.test>", ""),
            ("<ana@x.test> NOTIFY=NEVER", "<ana@x.test>", " NOTIFY=NEVER"),
            ("<@a.test,@b.test:ana@x.test>", "<ana@x.test>", ""),
            ("<\"a>b\"@x.test>", "<\"a>b\"@x.test>", ""),
            ("<\"a\\\">b\"@x.test>", "<\"a\\\">b\"@x.test>", ""),
            ("<PostMaster>", "<postmaster>", ""),
            ("POSTMASTER", "<postmaster>", ""),
            ("ana@x.test", "<ana@x.test>", ""),
            ("ana@x.test NOTIFY=NEVER", "<ana@x.test>", " NOTIFY=NEVER"),
            ("\"a> b\"@x.test X", "<\"a> b\"@x.test>", " X"),
            ("< ana@x.test\t> X", "<ana@x.test>", " X"),
            ("<ana@x.test.>", "<ana@x.test>", ""),
            ("<a..b.@x.test>", "<\"a..b.\"@x.test>", ""),
            ("<.@x.test>", "<\".\"@x.test>", ""),
            ("<ana@my_host.test>", "<ana@my_host.test>", ""),
            // Historic ways to relay: the domain is always the text after the last `@`.
            ("<ana%y.test@x.test>", "<ana%y.test@x.test>", ""),
            ("<y.test!ana@x.test>", "<y.test!ana@x.test>", ""),
        ] {
            let (parsed, after) = ForwardPath::parse(given.as_bytes()).unwrap();
            assert_eq!((parsed.to_string().as_str(), after), (path, rest.as_bytes()), "{given}");
        }
    }

    #[test]
    fn the_null_path_is_for_the_way_back_only() {
        assert_eq!(ReversePath::parse(b"<>"), Ok((ReversePath::Null, &b""[..])));
        assert_eq!(ForwardPath::parse(b"<>"), Err(PathError::Address(AddressError::NoDomain)));
    }

    #[test]
    fn bad_paths() {
        for (given, error) in [
            (&b""[..], PathError::Brackets),
            (b" ", PathError::Brackets),
            (b"<ana@x.test", PathError::Brackets),
            (b"ana@x.test>", PathError::Brackets),
            (b"ana<ana@x.test>", PathError::Brackets),
            (b"<\"ana@x.test>", PathError::Brackets),
            (b"\"ana@x.test", PathError::Brackets),
            (b"<ana@x.test..>", PathError::Address(AddressError::Domain)),
            (b"<ana@.>", PathError::Address(AddressError::Domain)),
            (b"<@x.test>", PathError::Address(AddressError::LocalPart)),
            (b"<a..(b@x.test>", PathError::Address(AddressError::LocalPart)),
            (b"<a..\"b@x.test>", PathError::Brackets),
            (b"<an\xff@x.test>", PathError::NotUtf8),
            (b"<ana>", PathError::Address(AddressError::NoDomain)),
        ] {
            assert_eq!(ForwardPath::parse(given), Err(error), "{}", given.escape_ascii());
        }
        let long = "a".repeat(limits::PATH);
        assert_eq!(ForwardPath::parse(long.as_bytes()), Err(PathError::TooLong));
        let long = format!("<@{}:ana@x.test>", "a".repeat(limits::PATH - 6));
        assert_eq!(ForwardPath::parse(long.as_bytes()), Err(PathError::TooLong));
    }

    proptest! {
        #[test]
        fn any_argument_is_parsed_or_refused(argument: Vec<u8>) {
            let _ = ForwardPath::parse(&argument);
            let _ = ReversePath::parse(&argument);
        }
    }
}
