//! Canonicalization of fields (RFC 6376 §3.4.1, §3.4.2).

use crate::header::Field;
use std::borrow::Cow;

/// Appends a field in relaxed form, without the CRLF at its end: with the name in lower case, and folds
/// and runs of white space reduced to a space.
pub(crate) fn add_relaxed(name: &[u8], value: &[u8], output: &mut Vec<u8>) {
    output.extend(name.iter().map(u8::to_ascii_lowercase));
    output.push(b':');
    let start = output.len();
    let mut at = 0;
    while at < value.len() {
        let next = value[at..].iter().position(|octet| matches!(octet, b' ' | b'\t' | b'\r'));
        let next = next.map_or(value.len(), |next| at + next);
        output.extend_from_slice(&value[at..next]);
        at = match &value[next..] {
            [] => next,
            [b'\r', b'\n', ..] => next + 2,
            [b'\r', ..] => {
                output.push(b'\r');
                next + 1
            }
            _ => {
                if output.len() > start && !output.ends_with(b" ") {
                    output.push(b' ');
                }
                next + 1
            }
        };
    }
    if output.len() > start && output.ends_with(b" ") {
        output.pop();
    }
}

/// Appends a field in simple form, without the CRLF at its end: unchanged.
pub(crate) fn add_simple(field: &Field<'_>, value: &[u8], output: &mut Vec<u8>) {
    output.extend_from_slice(&field.raw[..field.raw.len() - field.value.len() - b"\r\n".len()]);
    output.extend_from_slice(value);
}

/// Returns a signature's value without the content of its tag `b`, as the signer hashed it (RFC 6376
/// §3.7).
pub(crate) fn without_signature(value: &[u8]) -> Cow<'_, [u8]> {
    let mut start = 0;
    for tag in value.split(|octet| *octet == b';') {
        let end = start + tag.len();
        if let Some(equals) = memchr::memchr(b'=', tag)
            && tag[..equals].trim_ascii() == b"b"
        {
            return [&value[..=start + equals], &value[end..]].concat().into();
        }
        start = end + 1;
    }
    value.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relaxed_fields() {
        for (name, value, expected) in [
            ("A", " X", "a:X"),
            ("B", " Y\t\r\n\tZ  ", "b:Y Z"),
            ("SUBJECT", "", "subject:"),
            ("Subject", " \r\n \t ", "subject:"),
            ("Subject", "a\r\n\r\n b \r c\nd", "subject:a b \r c\nd"),
        ] {
            let mut output = b"before ".to_vec();
            add_relaxed(name.as_bytes(), value.as_bytes(), &mut output);
            assert_eq!(String::from_utf8(output).unwrap(), format!("before {expected}"));
        }
    }

    #[test]
    fn signatures_are_taken_out() {
        for (value, expected) in [
            (" v=1; b=abc=; bh=x", " v=1; b=; bh=x"),
            (" v=1; bh=b=; b = a\r\n\tc", " v=1; bh=b=; b ="),
            ("\r\n\tb=\r\n\tabc\r\n\t; v=1", "\r\n\tb=; v=1"),
            ("v=1", "v=1"),
        ] {
            let seen = without_signature(value.as_bytes()).into_owned();
            assert_eq!(String::from_utf8(seen).unwrap(), expected);
        }
    }
}
