//! How Dovecot makes unique-ids of UIDs: its setting `pop3_uidl_format`.

use std::{fmt::Write as _, str::FromStr};

/// The form of the unique-ids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct UidlFormat(Vec<FormatPart>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum FormatPart {
    Text(char),
    /// The UID, or the UIDVALIDITY.
    Number {
        is_validity: bool,
        is_hex: bool,
        width: usize,
    },
    /// The file's name without flags, which is also its GUID.
    File,
}

impl Default for UidlFormat {
    /// Dovecot's own default, `%08Xu%08Xv`.
    fn default() -> Self {
        let number = |is_validity| FormatPart::Number { is_validity, is_hex: true, width: 8 };
        Self(vec![number(false), number(true)])
    }
}

impl FromStr for UidlFormat {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (mut parts, mut rest) = (Vec::new(), text);
        while let Some(first) = rest.chars().next() {
            rest = &rest[first.len_utf8()..];
            if first != '%' {
                parts.push(FormatPart::Text(first));
                continue;
            }
            let digits = rest.len() - rest.trim_start_matches(|it: char| it.is_ascii_digit()).len();
            let width = rest[..digits].parse().unwrap_or(0).min(70);
            let inner = &rest[digits..];
            let is_hex = inner.starts_with('X');
            let mut letters = inner.trim_start_matches('X').chars();
            parts.push(match letters.next() {
                Some('u') => FormatPart::Number { is_validity: false, is_hex, width },
                Some('v') => FormatPart::Number { is_validity: true, is_hex, width },
                Some('f' | 'g') => FormatPart::File,
                Some('%') => FormatPart::Text('%'),
                _ => {
                    return Err(format!(
                        "{text:?}: only %u, %v, %f and %g are known here, such as %08Xu%08Xv"
                    ));
                }
            });
            rest = letters.as_str();
        }
        let tells = |part: &FormatPart| {
            matches!(part, FormatPart::File | FormatPart::Number { is_validity: false, .. })
        };
        match parts.iter().any(tells) {
            true => Ok(Self(parts)),
            false => Err(format!("{text:?} is the same for all messages: it needs %u, %f or %g")),
        }
    }
}

impl UidlFormat {
    /// Returns the unique-id of a message.
    pub(super) fn unique_id(&self, uid: u32, validity: u32, file: &[u8]) -> String {
        let mut id = String::new();
        for part in &self.0 {
            // Writing to a string cannot fail.
            let _ = match *part {
                FormatPart::Text(character) => write!(id, "{character}"),
                FormatPart::File => write!(id, "{}", String::from_utf8_lossy(file)),
                FormatPart::Number { is_validity, is_hex, width } => {
                    let number = if is_validity { validity } else { uid };
                    match is_hex {
                        true => write!(id, "{number:0width$x}"),
                        false => write!(id, "{number:0width$}"),
                    }
                }
            };
        }
        id
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unique_ids_are_those_of_dovecot() {
        for (format, expected) in [
            ("%08Xu%08Xv", "0000001a6b05c713"),
            ("%v-%u", "1795540755-26"),
            ("UID%u-%v", "UID26-1795540755"),
            ("%v.%u", "1795540755.26"),
            ("%f", "1.M1.host"),
            ("%g%%", "1.M1.host%"),
            ("%5u", "00026"),
        ] {
            let parsed: UidlFormat = format.parse().unwrap();
            assert_eq!(parsed.unique_id(26, 1_795_540_755, b"1.M1.host"), expected, "{format}");
        }
        assert_eq!("%08Xu%08Xv".parse(), Ok(UidlFormat::default()));
        for wrong in ["", "%v", "x", "%m", "%", "%08X"] {
            assert!(wrong.parse::<UidlFormat>().is_err(), "{wrong:?}");
        }
    }
}
