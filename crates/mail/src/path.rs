//! Reverse-paths and forward-paths: an address in its envelope (RFC 5321 §4.1.2).
//!
//! They are read more leniently than the grammar has it, as other servers have always done: the angle
//! brackets may be missing, white space may stand within them and a dot behind the domain, and the dots
//! of a local-part may stand where no dot-string has them, as in addresses that Japanese carriers gave
//! out. What goes out is as the grammar has it.

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
    /// The path is missing, or its angle brackets do not match.
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
            _ => Self::Address(address(inner)?),
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

/// What stands between the brackets, and what follows them. A `>` inside a quoted local-part does
/// not end the path; where there are no brackets, white space ends it.
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

/// The address of a path, as the grammar has it.
fn address(inner: &str) -> Result<Address, AddressError> {
    let text = without_source_route(inner);
    let name = text.strip_suffix('.').filter(|name| !name.ends_with(['.', '@']));
    let text = name.unwrap_or(text);
    match text.parse() {
        Err(AddressError::LocalPart) => match text.rsplit_once('@') {
            // Only its dots may be what is wrong.
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
            ("POSTMASTER", "<postmaster>", ""),
            ("ana@x.test", "<ana@x.test>", ""),
            ("ana@x.test NOTIFY=NEVER", "<ana@x.test>", " NOTIFY=NEVER"),
            ("\"a> b\"@x.test X", "<\"a> b\"@x.test>", " X"),
            ("< ana@x.test\t> X", "<ana@x.test>", " X"),
            ("<ana@x.test.>", "<ana@x.test>", ""),
            ("<a..b.@x.test>", "<\"a..b.\"@x.test>", ""),
            ("<.@x.test>", "<\".\"@x.test>", ""),
            ("<ana@my_host.test>", "<ana@my_host.test>", ""),
            // Ways to relay, once: a domain is what stands behind the `@`.
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
