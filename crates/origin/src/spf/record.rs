//! SPF records, parsed into types (RFC 7208 §4.5, §5, §6).

use super::SpfResult;
use super::macros::{MacroPlace, MacroString};
use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

/// The maximal number of terms in a record. RFC 7208 §3.4 requires records to fit into a datagram, which
/// has room for 120. Each term takes about fifty times as much memory as in the record.
pub const TERMS: usize = 512;

/// An SPF record without a syntax error.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SpfRecord {
    /// The mechanisms, in order.
    pub directives: Vec<Directive>,
    /// The domain whose record is evaluated if no mechanism matches.
    pub redirect: Option<MacroString>,
    /// The domain with the explanation of a fail.
    pub explanation: Option<MacroString>,
}

/// A mechanism and the result if it matches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Directive {
    /// [`SpfResult::Pass`], [`SpfResult::Fail`], [`SpfResult::SoftFail`] or [`SpfResult::Neutral`].
    pub result: SpfResult,
    /// The condition under which the directive matches.
    pub mechanism: Mechanism,
    /// The term as it was written.
    pub text: Box<str>,
}

/// A condition that a client may satisfy (RFC 7208 §5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mechanism {
    /// Every client.
    All,
    /// The clients that another domain's record lets pass.
    Include(MacroString),
    /// The addresses of a host.
    A(Hosts),
    /// The addresses of a domain's mail servers.
    Mx(Hosts),
    /// Clients whose validated name is within a domain; by default, within the domain of the record.
    Ptr(Option<MacroString>),
    /// A network.
    Network(Network),
    /// Any client, if this name has an IPv4 address.
    Exists(MacroString),
}

/// A name, and the number of significant bits of its addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hosts {
    /// The name; by default, the domain of the record.
    pub domain: Option<MacroString>,
    /// The number of significant bits of an IPv4 address.
    pub v4: u8,
    /// The number of significant bits of an IPv6 address.
    pub v6: u8,
}

/// Addresses that begin with the same bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    /// One of the addresses.
    pub address: IpAddr,
    /// The number of common bits.
    pub bits: u8,
}

impl Network {
    /// Returns whether an address belongs to the network.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address) {
            (IpAddr::V4(one), IpAddr::V4(other)) => {
                let differing = u32::from(one) ^ u32::from(other);
                differing.leading_zeros() >= self.bits.into()
            }
            (IpAddr::V6(one), IpAddr::V6(other)) => {
                let differing = u128::from(one) ^ u128::from(other);
                differing.leading_zeros() >= self.bits.into()
            }
            _ => false,
        }
    }
}

/// The fault of a record.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SpfSyntaxError {
    /// A term is neither a mechanism nor a modifier, or its argument cannot be parsed.
    #[error("the term \"{0}\" cannot be read")]
    Term(String),
    /// A modifier that may occur once occurs twice (RFC 7208 §6).
    #[error("{0}= appears twice")]
    Repeated(&'static str),
    /// The record has more than [`TERMS`] terms.
    #[error("it has more than {TERMS} terms")]
    TooManyTerms,
}

/// The maximal number of octets of a term in an error message.
const SHOWN: usize = 60;

/// Returns whether a text is an SPF record, readable or not (RFC 7208 §4.5).
pub(super) fn is_spf(text: &str) -> bool {
    after_version(text).is_some()
}

fn after_version(text: &str) -> Option<&str> {
    let (version, rest) = text.split_at_checked(6)?;
    let is_version = version.eq_ignore_ascii_case("v=spf1");
    (is_version && (rest.is_empty() || rest.starts_with(' '))).then_some(rest)
}

impl SpfRecord {
    /// Parses a record that [`is_spf`], completely: an error anywhere takes precedence over all terms
    /// (RFC 7208 §4.6).
    pub(super) fn parse(text: &str) -> Result<Self, SpfSyntaxError> {
        let terms = after_version(text).unwrap_or_default();
        let mut record = Self::default();
        for (count, term) in terms.split(' ').filter(|term| !term.is_empty()).enumerate() {
            if count == TERMS {
                return Err(SpfSyntaxError::TooManyTerms);
            }
            if !record.read_modifier(term)? {
                let directive = Directive::parse(term).ok_or_else(|| unreadable(term))?;
                record.directives.push(directive);
            }
        }
        Ok(record)
    }

    /// Returns whether a term is a modifier, and stores it.
    fn read_modifier(&mut self, term: &str) -> Result<bool, SpfSyntaxError> {
        let Some((name, value)) = term.split_once('=').filter(|(name, _)| is_modifier_name(name))
        else {
            return Ok(false);
        };
        let (place, name) = match name.to_ascii_lowercase().as_str() {
            "redirect" => (&mut self.redirect, "redirect"),
            "exp" => (&mut self.explanation, "exp"),
            // RFC 7208 §6: unknown modifiers are ignored, if they are macro strings.
            _ => {
                let read = MacroString::parse(value, MacroPlace::Record);
                return read.map(|_| true).ok_or_else(|| unreadable(term));
            }
        };
        if place.is_some() {
            return Err(SpfSyntaxError::Repeated(name));
        }
        *place = Some(MacroString::parse_domain(value).ok_or_else(|| unreadable(term))?);
        Ok(true)
    }

    /// Returns whether the record permits no sender at all: `v=spf1 -all`, the record of a domain that
    /// sends no mail (RFC 7208 §10.1.2).
    #[must_use]
    pub fn sends_nothing(&self) -> bool {
        let all = |directive: &Directive| {
            directive.mechanism == Mechanism::All && directive.result == SpfResult::Fail
        };
        self.directives.first().is_some_and(all)
    }
}

fn unreadable(term: &str) -> SpfSyntaxError {
    let printable = |c: char| if matches!(c, ' '..='~') { c } else { '?' };
    SpfSyntaxError::Term(term.chars().take(SHOWN).map(printable).collect())
}

/// `name = ALPHA *( ALPHA / DIGIT / "-" / "_" / "." )`
fn is_modifier_name(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_alphabetic())
        && name.bytes().all(|octet| octet.is_ascii_alphanumeric() || b"-_.".contains(&octet))
}

impl Directive {
    fn parse(text: &str) -> Option<Self> {
        let (result, term) = match text.as_bytes().first()? {
            b'+' => (SpfResult::Pass, &text[1..]),
            b'-' => (SpfResult::Fail, &text[1..]),
            b'~' => (SpfResult::SoftFail, &text[1..]),
            b'?' => (SpfResult::Neutral, &text[1..]),
            _ => (SpfResult::Pass, text),
        };
        let mechanism = Mechanism::parse(term)?;
        Some(Self { result, mechanism, text: text.into() })
    }
}

impl Mechanism {
    fn parse(term: &str) -> Option<Self> {
        let name_length = term.find([':', '/']).unwrap_or(term.len());
        let (name, argument) = term.split_at(name_length);
        let after_colon = argument.strip_prefix(':');
        Some(match name.to_ascii_lowercase().as_str() {
            "all" if argument.is_empty() => Self::All,
            "include" => Self::Include(MacroString::parse_domain(after_colon?)?),
            "exists" => Self::Exists(MacroString::parse_domain(after_colon?)?),
            "a" => Self::A(Hosts::parse(argument)?),
            "mx" => Self::Mx(Hosts::parse(argument)?),
            "ptr" if argument.is_empty() => Self::Ptr(None),
            "ptr" => Self::Ptr(Some(MacroString::parse_domain(after_colon?)?)),
            "ip4" => Self::Network(Network::parse::<Ipv4Addr>(after_colon?, 32)?),
            "ip6" => Self::Network(Network::parse::<Ipv6Addr>(after_colon?, 128)?),
            _ => return None,
        })
    }
}

impl Network {
    fn parse<A: FromStr + Into<IpAddr>>(text: &str, longest: u8) -> Option<Self> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, prefix_length(bits, longest)?),
            None => (text, longest),
        };
        Some(Self { address: address.parse::<A>().ok()?.into(), bits })
    }
}

impl Hosts {
    /// Reads `[":" domain-spec] ["/" bits] ["//" bits]`.
    fn parse(argument: &str) -> Option<Self> {
        let (rest, v6) = without_length(argument, "//", 128)?;
        let (rest, v4) = without_length(rest, "/", 32)?;
        let domain = match rest.strip_prefix(':') {
            Some(domain) => Some(MacroString::parse_domain(domain)?),
            None if rest.is_empty() => None,
            None => return None,
        };
        Some(Self { domain, v4, v6 })
    }
}

/// Removes a prefix length from the end of a text, if there is one. Returns `None` if it is too long.
fn without_length<'t>(text: &'t str, slashes: &str, longest: u8) -> Option<(&'t str, u8)> {
    let digits = text.len() - text.trim_end_matches(|c: char| c.is_ascii_digit()).len();
    let (before, length) = text.split_at(text.len() - digits);
    match before.strip_suffix(slashes) {
        Some(rest) if digits > 0 => Some((rest, prefix_length(length, longest)?)),
        _ => Some((text, longest)),
    }
}

/// Parses `"0" / %x31-39 *DIGIT`, up to the longest prefix possible.
fn prefix_length(text: &str, longest: u8) -> Option<u8> {
    let is_plain =
        text.bytes().all(|octet| octet.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    text.parse().ok().filter(|length| is_plain && *length <= longest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_told_from_other_texts() {
        for text in ["v=spf1", "V=SPF1 -all", "v=spf1  "] {
            assert!(is_spf(text), "{text}");
        }
        for text in
            ["", "v=spf10", "v=spf1-all", " v=spf1", "v=spf1\t-all", "v=spf2.0/pra", "v=spé"]
        {
            assert!(!is_spf(text), "{text}");
        }
    }

    #[test]
    fn terms_are_read() {
        let record = SpfRecord::parse(
            "v=spf1 +a/24//64 mx:%{d}//48 ?ip4:192.0.2.0/24 ~ip6:2001:db8::/32 ptr \
             exists:%{ir}.x.test redirect=_spf.x.test x-y=%{d}/ -ALL",
        );
        let record = record.unwrap();
        let texts: Vec<_> = record.directives.iter().map(|directive| &*directive.text).collect();
        assert_eq!(texts.len(), 7);
        assert!(record.redirect.is_some() && record.explanation.is_none());
        assert_eq!(
            record.directives[0].mechanism,
            Mechanism::A(Hosts { domain: None, v4: 24, v6: 64 })
        );
        assert!(matches!(
            record.directives[1].mechanism,
            Mechanism::Mx(Hosts { domain: Some(_), v4: 32, v6: 48 })
        ));
        assert_eq!(record.directives[6].result, SpfResult::Fail);
    }

    #[test]
    fn terms_that_cannot_be_read() {
        for term in [
            "all:x.test",
            "all/8",
            "-",
            "--all",
            "foo",
            "include",
            "include:",
            "include:x",
            "a:",
            "a/33",
            "a//129",
            "a/08",
            "a/",
            "a//",
            "a:x.test/24/64",
            "ip4",
            "ip4:",
            "ip4:192.0.2",
            "ip4:192.0.2.1/33",
            "ip4:192.0.2.1:25",
            "ip4:2001:db8::1",
            "ip6:192.0.2.1",
            "ip6:::1//64",
            "ptr:",
            "ptr/24",
            "exists",
            "exists:x.test/24",
            "-redirect=x.test",
            "redirect=",
            "exp=x",
            "1x=y",
            "x=%",
            "mx:x.test:25",
            "é",
        ] {
            let text = format!("v=spf1 {term}");
            assert!(matches!(SpfRecord::parse(&text), Err(SpfSyntaxError::Term(_))), "{term}");
        }
        let twice = SpfRecord::parse("v=spf1 exp=a.test EXP=b.test");
        assert_eq!(twice, Err(SpfSyntaxError::Repeated("exp")));
    }

    #[test]
    fn terms_are_counted() {
        let with = |count| SpfRecord::parse(&format!("v=spf1 {}", "a ".repeat(count)));
        assert_eq!(with(TERMS).unwrap().directives.len(), TERMS);
        assert_eq!(with(TERMS + 1), Err(SpfSyntaxError::TooManyTerms));
    }

    #[test]
    fn networks_contain_addresses() {
        let network = |text| Network::parse::<Ipv4Addr>(text, 32).unwrap();
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        assert!(network("192.0.2.0/24").contains(address("192.0.2.255")));
        assert!(!network("192.0.2.0/24").contains(address("192.0.3.0")));
        assert!(network("192.0.2.0/0").contains(address("8.8.8.8")));
        assert!(network("192.0.2.1").contains(address("192.0.2.1")));
        assert!(!network("192.0.2.1").contains(address("192.0.2.0")));
        assert!(!network("0.0.0.0/0").contains(address("::1")));
    }

    #[test]
    fn a_domain_that_sends_no_mail_says_so() {
        assert!(SpfRecord::parse("v=spf1 -all").unwrap().sends_nothing());
        for other in ["v=spf1", "v=spf1 ~all", "v=spf1 a -all", "v=spf1 redirect=x.test"] {
            assert!(!SpfRecord::parse(other).unwrap().sends_nothing(), "{other}");
        }
    }
}
