//! Macro strings: domain names and explanations with parts that represent the sender (RFC 7208 §7).

use super::SpfRequest;
use std::net::IpAddr;

/// A parsed macro string (RFC 7208 §7.1).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MacroString(Vec<Part>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Literal(String),
    Expand(Expansion),
}

/// A `macro-expand` in braces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Expansion {
    letter: Letter,
    /// Whether the letter is a capital, which requests URL escaping.
    is_escaped: bool,
    /// The number of parts to keep, counted from the right; `None` keeps all.
    keep: Option<u8>,
    is_reversed: bool,
    /// The delimiters, one bit for each of [`DELIMITERS`].
    delimiters: u8,
}

/// The macro letters (RFC 7208 §7.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Letter {
    Sender,
    LocalPart,
    SenderDomain,
    Domain,
    Address,
    ValidatedName,
    Version,
    Hello,
    ReadableAddress,
    Receiver,
    Time,
}

const DELIMITERS: &[u8; 7] = b".-+,/_=";

/// The maximal number of octets in a domain name (RFC 1035 §2.3.4), in dotted form.
pub(super) const NAME: usize = 253;

/// The maximal number of octets in an explanation. RFC 7208 §6.2 sets no limit; an SMTP reply line has
/// 512 (RFC 5321 §4.5.3.1.5).
pub const EXPLANATION: usize = 400;

/// The place of a macro string.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum MacroPlace {
    /// A record, in which neither spaces nor the letters `c`, `r` and `t` are allowed.
    Record,
    /// The text that `exp` leads to.
    Explanation,
}

/// The values of the macros during one evaluation.
#[derive(Debug, Clone, Copy)]
pub(super) struct Values<'a> {
    pub(super) request: &'a SpfRequest<'a>,
    /// The domain whose record is being evaluated.
    pub(super) domain: &'a str,
    /// The validated name of the client, or `unknown`.
    pub(super) validated_name: &'a str,
}

impl MacroString {
    /// Parses a macro string. Returns `None` if the text is not one.
    pub(super) fn parse(text: &str, place: MacroPlace) -> Option<Self> {
        let mut parts = Vec::new();
        let mut literal = String::new();
        let mut rest = text;
        while let Some(character) = rest.chars().next() {
            rest = &rest[character.len_utf8()..];
            match character {
                '%' => {
                    let next = rest.chars().next()?;
                    rest = &rest[next.len_utf8()..];
                    match next {
                        '%' => literal.push('%'),
                        '_' => literal.push(' '),
                        '-' => literal.push_str("%20"),
                        '{' => {
                            let (inside, after) = rest.split_once('}')?;
                            rest = after;
                            if !literal.is_empty() {
                                parts.push(Part::Literal(std::mem::take(&mut literal)));
                            }
                            parts.push(Part::Expand(Expansion::parse(inside, place)?));
                        }
                        _ => return None,
                    }
                }
                ' ' if place == MacroPlace::Explanation => literal.push(' '),
                '!'..='~' => literal.push(character),
                _ => return None,
            }
        }
        if !literal.is_empty() {
            parts.push(Part::Literal(literal));
        }
        Some(Self(parts))
    }

    /// Parses a `domain-spec`: a macro string that ends in a macro, or in a dot and a top label.
    pub(super) fn parse_domain(text: &str) -> Option<Self> {
        let read = Self::parse(text, MacroPlace::Record)?;
        let ends_well = match read.0.last()? {
            // `%%`, `%_` and `%-` are macros, too.
            Part::Literal(_) if text.ends_with(['_', '-', '%']) && ends_in_escape(text) => true,
            Part::Literal(literal) => {
                let name = literal.strip_suffix('.').unwrap_or(literal);
                name.rsplit_once('.').is_some_and(|(_, label)| is_top_label(label))
            }
            Part::Expand(_) => true,
        };
        ends_well.then_some(read)
    }

    /// Returns whether the string contains the macro `p`, which costs look-ups.
    pub(super) fn needs_validated_name(&self) -> bool {
        self.0.iter().any(|part| {
            matches!(part, Part::Expand(Expansion { letter: Letter::ValidatedName, .. }))
        })
    }

    /// Returns the resulting domain name. If it is longer than 253 octets, labels are removed from its
    /// beginning (RFC 7208 §7.3).
    pub(super) fn expand_domain(&self, values: &Values<'_>) -> String {
        // The name is built from its end until it is long enough: a record can repeat the sender a
        // thousand times.
        let mut pieces = Vec::new();
        let mut octets = 0;
        for part in self.0.iter().rev() {
            if octets > NAME + 1 {
                break;
            }
            let piece = part.expand(values);
            octets += piece.len();
            pieces.push(piece);
        }
        pieces.reverse();
        let name = pieces.concat();
        let mut name = name.strip_suffix('.').unwrap_or(&name);
        while name.len() > NAME {
            let Some((_, rest)) = name.split_once('.') else { break };
            name = rest;
        }
        name.to_owned()
    }

    /// Returns the resulting explanation, truncated to [`EXPLANATION`] octets.
    pub(super) fn expand_explanation(&self, values: &Values<'_>) -> String {
        let mut text = String::new();
        for part in &self.0 {
            if text.len() >= EXPLANATION {
                break;
            }
            text.push_str(&part.expand(values));
        }
        // Values that come from the sender can contain more than ASCII.
        let text: String =
            text.chars().map(|c| if matches!(c, ' '..='~') { c } else { '?' }).collect();
        text[..text.len().min(EXPLANATION)].to_owned()
    }
}

/// Returns whether a text ends in `%%`, `%_` or `%-`, rather than in a literal after `%%`.
fn ends_in_escape(text: &str) -> bool {
    let before = &text[..text.len() - 1];
    let percents = before.len() - before.trim_end_matches('%').len();
    percents % 2 == 1
}

/// Returns whether a label may be the last of a `domain-spec`: not only digits, and no hyphen at either
/// end.
fn is_top_label(label: &str) -> bool {
    label.bytes().all(|octet| octet.is_ascii_alphanumeric() || octet == b'-')
        && !label.starts_with('-')
        && !label.ends_with('-')
        && !label.bytes().all(|octet| octet.is_ascii_digit())
}

impl Expansion {
    /// Parses the text between the braces.
    fn parse(inside: &str, place: MacroPlace) -> Option<Self> {
        let letter = inside.chars().next()?;
        let rest = inside.get(1..)?;
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (digits, rest) = rest.split_at(digits);
        let keep = match digits.trim_start_matches('0') {
            "" if digits.is_empty() => None,
            "" => return None,
            // No name has more labels than that.
            digits => Some(digits.parse().unwrap_or(u8::MAX)),
        };
        let (is_reversed, rest) = match rest.strip_prefix(['r', 'R']) {
            Some(rest) => (true, rest),
            None => (false, rest),
        };
        let mut delimiters = 0;
        for octet in rest.bytes() {
            delimiters |= 1 << DELIMITERS.iter().position(|known| *known == octet)?;
        }
        let letter_read = Letter::parse(letter.to_ascii_lowercase(), place)?;
        Some(Self {
            letter: letter_read,
            is_escaped: letter.is_ascii_uppercase(),
            keep,
            is_reversed,
            delimiters: if delimiters == 0 { 1 } else { delimiters },
        })
    }
}

impl Letter {
    fn parse(letter: char, place: MacroPlace) -> Option<Self> {
        Some(match letter {
            's' => Self::Sender,
            'l' => Self::LocalPart,
            'o' => Self::SenderDomain,
            'd' => Self::Domain,
            'i' => Self::Address,
            'p' => Self::ValidatedName,
            'v' => Self::Version,
            'h' => Self::Hello,
            'c' if place == MacroPlace::Explanation => Self::ReadableAddress,
            'r' if place == MacroPlace::Explanation => Self::Receiver,
            't' if place == MacroPlace::Explanation => Self::Time,
            _ => return None,
        })
    }

    fn value(self, values: &Values<'_>) -> String {
        let request = values.request;
        match self {
            Self::Sender => format!("{}@{}", request.local_part, request.domain),
            Self::LocalPart => request.local_part.to_owned(),
            Self::SenderDomain => request.domain.to_owned(),
            Self::Domain => values.domain.to_owned(),
            Self::Address => dotted(request.address()),
            Self::ValidatedName => values.validated_name.to_owned(),
            Self::Version => match request.address() {
                IpAddr::V4(_) => "in-addr".to_owned(),
                IpAddr::V6(_) => "ip6".to_owned(),
            },
            Self::Hello => request.helo.to_owned(),
            Self::ReadableAddress => request.address().to_string(),
            Self::Receiver => request.receiver.to_owned(),
            Self::Time => request.time.to_string(),
        }
    }
}

/// Returns an address in the form of the macro `i`: an IPv6 address is a row of nibbles, in capitals as
/// in the published test suite.
fn dotted(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => {
            let nibbles =
                address.octets().map(|octet| format!("{:X}.{:X}", octet >> 4, octet & 15));
            nibbles.join(".")
        }
    }
}

impl Part {
    fn expand(&self, values: &Values<'_>) -> String {
        let expansion = match self {
            Self::Literal(literal) => return literal.clone(),
            Self::Expand(expansion) => expansion,
        };
        let value = expansion.letter.value(values);
        let is_delimiter = |octet: char| {
            let position = DELIMITERS.iter().position(|known| char::from(*known) == octet);
            position.is_some_and(|position| expansion.delimiters & (1 << position) != 0)
        };
        let mut parts: Vec<_> = value.split(is_delimiter).collect();
        if expansion.is_reversed {
            parts.reverse();
        }
        let left_out = expansion.keep.map_or(0, |keep| parts.len().saturating_sub(keep.into()));
        let text = parts[left_out..].join(".");
        if expansion.is_escaped { url_escaped(&text) } else { text }
    }
}

/// Escapes all but the unreserved characters (RFC 3986 §2.3).
fn url_escaped(text: &str) -> String {
    use std::fmt::Write as _;
    let mut escaped = String::new();
    for octet in text.bytes() {
        if octet.is_ascii_alphanumeric() || b"-._~".contains(&octet) {
            escaped.push(octet.into());
        } else {
            // Writing to a string cannot fail.
            let _ = write!(escaped, "%{octet:02X}");
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    const FOUR: SpfRequest<'_> = SpfRequest {
        address: IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 3)),
        helo: "mail.example.com",
        local_part: "strong-bad",
        domain: "email.example.com",
        receiver: "mx.example.org",
        time: 1_000_000_000,
    };

    fn expand(text: &str, request: &SpfRequest<'_>) -> String {
        let read = MacroString::parse(text, MacroPlace::Explanation).unwrap();
        let values = Values { request, domain: "email.example.com", validated_name: "unknown" };
        assert_eq!(read.expand_explanation(&values), read.expand_domain(&values), "{text}");
        read.expand_explanation(&values)
    }

    /// The examples of RFC 7208 §7.4.
    #[test]
    fn macros_expand() {
        for (text, expected) in [
            ("%{s}", "strong-bad@email.example.com"),
            ("%{o}", "email.example.com"),
            ("%{d}", "email.example.com"),
            ("%{d4}", "email.example.com"),
            ("%{d3}", "email.example.com"),
            ("%{d2}", "example.com"),
            ("%{d1}", "com"),
            ("%{dr}", "com.example.email"),
            ("%{d2r}", "example.email"),
            ("%{l}", "strong-bad"),
            ("%{l-}", "strong.bad"),
            ("%{lr}", "strong-bad"),
            ("%{lr-}", "bad.strong"),
            ("%{l1r-}", "strong"),
            ("%{ir}.%{v}._spf.%{d2}", "3.2.0.192.in-addr._spf.example.com"),
            ("%{lr-}.lp._spf.%{d2}", "bad.strong.lp._spf.example.com"),
            ("%{lr-}.lp.%{ir}.%{v}._spf.%{d2}", "bad.strong.lp.3.2.0.192.in-addr._spf.example.com"),
            ("%{ir}.%{v}.%{l1r-}.lp._spf.%{d2}", "3.2.0.192.in-addr.strong.lp._spf.example.com"),
            ("%{d2}.trusted-domains.example.net", "example.com.trusted-domains.example.net"),
            ("%%%_%-|%{c} %{r} %{t}", "% %20|192.0.2.3 mx.example.org 1000000000"),
            ("%{S}", "strong-bad%40email.example.com"),
            ("%{p} %{h}", "unknown mail.example.com"),
        ] {
            assert_eq!(expand(text, &FOUR), expected, "{text}");
        }
        let six = SpfRequest { address: "2001:db8::cb01".parse().unwrap(), ..FOUR };
        assert_eq!(
            expand("%{ir}.%{v}._spf.%{d2}", &six).to_ascii_lowercase(),
            "1.0.b.c.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6._spf.example.com"
        );
    }

    #[test]
    fn what_is_no_macro_string_is_refused() {
        for text in ["%", "%a", "%{", "%{d", "%{x}", "%{d0}", "%{d2x}", "%{}", "%{é}", "ä", "a\tb"]
        {
            assert_eq!(MacroString::parse(text, MacroPlace::Explanation), None, "{text}");
        }
        for text in ["%{c}", "%{r}", "%{t}", "a b"] {
            assert_eq!(MacroString::parse(text, MacroPlace::Record), None, "{text}");
        }
    }

    #[test]
    fn domains_end_in_a_macro_or_a_top_label() {
        for text in ["a.b", "a.b.", "%{d}", "a.%{d}", "a%_", "a%%", "a.b%-", "a.x-y"] {
            assert!(MacroString::parse_domain(text).is_some(), "{text}");
        }
        for text in ["", "a", "a.1", "a.-b", "a.b-", "a.b..", "%{d}x", "a.b:80", "%%_", "a.b/"] {
            assert!(MacroString::parse_domain(text).is_none(), "{text}");
        }
    }

    /// A record of 16 KiB can contain four thousand macros, each of which expands to up to 300 octets.
    #[test]
    fn what_macros_stand_for_is_bounded() {
        let read = MacroString::parse_domain(&"%{s}".repeat(4_000)).unwrap();
        let values =
            Values { request: &FOUR, domain: "email.example.com", validated_name: "unknown" };
        let name = read.expand_domain(&values);
        assert!(name.len() <= NAME && name.ends_with("bad@email.example.com"), "{name}");
        assert_eq!(read.expand_explanation(&values).len(), EXPLANATION);
    }
}
