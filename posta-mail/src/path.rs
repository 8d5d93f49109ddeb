//! Reverse-paths and forward-paths: an address in its envelope (RFC 5321 §4.1.2).

use crate::{Address, AddressError, limits};
use serde::{Deserialize, Serialize};
use std::fmt;

/// Where reports about a message go: the argument of MAIL.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(untagged)]
pub enum ReversePath {
    /// `<>`: a report itself, which must never be answered (RFC 5321 §4.5.5).
    Null,
    /// An address.
    Address(Address),
}

/// Where a message goes: the argument of RCPT.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ForwardPath {
    /// `<postmaster>` without a domain, which every server accepts (RFC 5321 §4.5.1).
    Postmaster,
    /// An address.
    Address(Address),
}

/// What is wrong with a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// The angle brackets are missing or do not match.
    #[error("a path stands in angle brackets: <local-part@domain>")]
    Brackets,
    /// It exceeds [`limits::PATH`].
    #[error("the path exceeds 800 octets")]
    TooLong,
    /// It is not UTF-8.
    #[error("the path is not UTF-8")]
    NotUtf8,
    /// The address between the brackets is not one.
    #[error("the address is not valid: {0}")]
    Address(#[from] AddressError),
}

impl ReversePath {
    /// Splits a command's argument into the path and what follows it (its parameters).
    ///
    /// # Errors
    /// When the argument does not begin with a reverse-path.
    pub fn parse(argument: &[u8]) -> Result<(Self, &[u8]), PathError> {
        let (inner, rest) = bracketed(argument)?;
        let path = match inner {
            "" => Self::Null,
            _ => Self::Address(without_source_route(inner).parse()?),
        };
        Ok((path, rest))
    }
}

impl ForwardPath {
    /// Splits a command's argument into the path and what follows it (its parameters).
    ///
    /// # Errors
    /// When the argument does not begin with a forward-path.
    pub fn parse(argument: &[u8]) -> Result<(Self, &[u8]), PathError> {
        let (inner, rest) = bracketed(argument)?;
        let path = if inner.eq_ignore_ascii_case("postmaster") {
            Self::Postmaster
        } else {
            Self::Address(without_source_route(inner).parse()?)
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

/// What stands between the brackets, and what follows them. A `>` inside a quoted local-part does
/// not end the path.
fn bracketed(argument: &[u8]) -> Result<(&str, &[u8]), PathError> {
    let inside = argument.strip_prefix(b"<").ok_or(PathError::Brackets)?;
    let mut quoted = false;
    let mut escaped = false;
    for (index, &octet) in inside.iter().enumerate() {
        match octet {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'>' if !quoted => {
                if index + 2 > limits::PATH {
                    return Err(PathError::TooLong);
                }
                let inner = str::from_utf8(&inside[..index]).map_err(|_| PathError::NotUtf8)?;
                return Ok((inner, &inside[index + 1..]));
            }
            _ => {}
        }
    }
    Err(PathError::Brackets)
}

/// Drops `@one,@two:` before an address. RFC 5321 §4.1.1.3 and appendix C: source routes are
/// accepted and ignored.
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
            (&b"ana@x.test"[..], PathError::Brackets),
            (b"<ana@x.test", PathError::Brackets),
            (b"<\"ana@x.test>", PathError::Brackets),
            (b"<an\xff@x.test>", PathError::NotUtf8),
            (b"<ana>", PathError::Address(AddressError::NoDomain)),
        ] {
            assert_eq!(ForwardPath::parse(given), Err(error), "{}", given.escape_ascii());
        }
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
