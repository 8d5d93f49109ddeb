//! The types of option values and their notations.

pub(super) use super::{
    log::Level,
    networks::{MetricsNetwork, ProxyNetwork, SenderNetwork},
    routes::{DomainPattern, DomainRoute, HostPort, PolicyHost},
};
use super::{
    mistakes::{Read, mistake},
    read::{Slot, Value, Written},
    text::{Text, read_text},
};
use bytesize::ByteSize;
use hyper::Uri;
use jiff::SpanRelativeTo;
use posta_mail::Address;
pub(super) use posta_mail::Domain;
pub(super) use posta_net::{dial::PrivateAddresses, transport::Endpoint};
pub(super) use posta_server::{
    filter::{FilterKind, FilteredMail, OnFailure},
    send::trust::mta_sts::Mode,
    settings::{LoopbackTrust, ReverseDns},
};
pub(super) use posta_store::TagSeparators;
use posta_store::TagSeparatorsError;
pub(super) use std::{net::IpAddr, path::PathBuf};
use std::{net::SocketAddr, ops::Range, str::FromStr, time::Duration};
use toml::de::DeValue;

/// The port of name servers (RFC 1035 §4.2).
const DNS: u16 = 53;

/// The size in octets below which a number without a unit is taken for one whose unit was forgotten. Every server
/// accepts messages of 64 KiB (RFC 5321 §4.5.3.1.7).
const PLAUSIBLE: u64 = 64 * 1024;

/// Names that people use for options of another name.
const OTHER_WORDS: [(&str, &str); 8] = [
    ("imap", "there is no IMAP server in Posta; mail programs collect by POP3"),
    ("imaps", "there is no IMAP server in Posta; mail programs collect by POP3"),
    ("pop3s", "that is protocol = \"pop3\" with tls = \"implicit\""),
    ("pop", "that is protocol = \"pop3\""),
    ("smtps", "that is protocol = \"submission\" with tls = \"implicit\""),
    ("submissions", "that is protocol = \"submission\" with tls = \"implicit\""),
    ("ssl", "that is tls = \"implicit\""),
    ("stls", "that is tls = \"starttls\""),
];

/// A span of time: `"30s"`, `"5m"`, `"1h"`, `"7d"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span(pub(crate) Duration);

/// The address at which an identity server is asked about a token: `https://…`, or `http://…` on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TokenEndpoint(pub(crate) Uri);

/// An address of a web page in TLS: `https://…`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HttpsAddress(pub(crate) String);

/// The address of an object store: `https://host`, `http://host:port`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ObjectEndpoint(pub(crate) String);

/// An e-mail address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct EmailAddress(pub(crate) Address);

/// A number of octets: `52428800` or `"50MiB"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Octets(pub(crate) u64);

/// The wait after each attempt; the last repeats. At least one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Retry(Vec<Span>);

/// A name server: `192.0.2.53`, `192.0.2.53:5353`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NameServer(pub(crate) SocketAddr);

/// A DNS list, by the name of its zone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DnsList(pub(crate) Domain);

impl Text for String {
    fn parse(text: &str) -> Result<Self, String> {
        Ok(text.to_owned())
    }
}

impl Text for PathBuf {
    fn parse(text: &str) -> Result<Self, String> {
        Ok(text.into())
    }
}

impl Text for Domain {
    fn parse(text: &str) -> Result<Self, String> {
        let wrong = |_| format!("{text:?} is no host name, such as \"mail.example.org\"");
        text.parse().map_err(wrong)
    }
}

impl Text for DnsList {
    fn parse(text: &str) -> Result<Self, String> {
        let zone = text.parse::<Domain>().ok().filter(|zone| !zone.is_literal());
        zone.map(Self).ok_or_else(|| {
            format!("{text:?} is no DNS list: the name of its zone, such as \"zen.spamhaus.org\"")
        })
    }
}

impl Text for IpAddr {
    fn parse(text: &str) -> Result<Self, String> {
        let wrong =
            |_| format!("{text:?} is no IP address, such as \"192.0.2.1\" or \"2001:db8::1\"");
        text.parse().map_err(wrong)
    }
}

impl Text for NameServer {
    fn parse(text: &str) -> Result<Self, String> {
        let ip = text.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, DNS));
        ip.or_else(|_| text.parse()).map(Self).map_err(|_| {
            let words = "an IP address, such as \"127.0.0.1\", or one with a port, such as \"127.0.0.1:5353\"";
            format!("{text:?} is no name server: {words}")
        })
    }
}

/// Where a filter listens: `host:port`, `unix:/path`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FilterAddress(pub(crate) String);

impl Text for FilterAddress {
    fn parse(text: &str) -> Result<Self, String> {
        let is_socket = text.strip_prefix("unix:").is_some_and(|path| path.starts_with('/'));
        let is_host = text.rsplit_once(':').is_some_and(|(host, port)| {
            !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0)
        });
        if is_socket || (is_host && !text.starts_with("unix:") && !text.contains('/')) {
            return Ok(Self(text.to_owned()));
        }
        let words = "a host and a port, such as \"127.0.0.1:11333\", or \"unix:/path\"";
        Err(format!("{text:?} is no place of a filter: {words}"))
    }
}

impl Text for TokenEndpoint {
    fn parse(text: &str) -> Result<Self, String> {
        let uri: Uri = text.parse().map_err(|_| format!("{text:?} is no address of a web page"))?;
        let is_near = matches!(uri.host(), Some("127.0.0.1" | "localhost" | "[::1]"));
        match uri.scheme_str() {
            Some("https") => Ok(Self(uri)),
            Some("http") if is_near => Ok(Self(uri)),
            _ => Err("tokens are secrets, so it begins with https://".to_owned()),
        }
    }
}

impl Text for HttpsAddress {
    fn parse(text: &str) -> Result<Self, String> {
        let uri: Result<Uri, _> = text.parse();
        let is_one = uri.is_ok_and(|uri| uri.scheme_str() == Some("https") && uri.host().is_some());
        match is_one {
            true => Ok(Self(text.to_owned())),
            false => Err(format!("{text:?} is no address that begins with https://")),
        }
    }
}

impl Text for ObjectEndpoint {
    fn parse(text: &str) -> Result<Self, String> {
        let uri: Result<Uri, _> = text.parse();
        let is_web = |uri: &Uri| matches!(uri.scheme_str(), Some("https" | "http"));
        match uri {
            Ok(uri) if is_web(&uri) && uri.host().is_some() && uri.query().is_none() => {
                Ok(Self(text.to_owned()))
            }
            _ => Err(format!("{text:?} is no address that begins with https:// or http://")),
        }
    }
}

impl Text for EmailAddress {
    fn parse(text: &str) -> Result<Self, String> {
        text.parse().map(Self).map_err(|error| format!("{text:?} is no e-mail address: {error}"))
    }
}

impl Text for Endpoint {
    fn parse(text: &str) -> Result<Self, String> {
        text.parse().map_err(|_| no_endpoint(text))
    }
}

/// Returns the error for an incomplete address to listen on.
fn no_endpoint(text: &str) -> String {
    let port = text.strip_prefix(':').unwrap_or(text).strip_prefix("*:").unwrap_or(text);
    let port = port.trim_start_matches([':', '*']);
    if port.parse::<u16>().is_ok() {
        return format!(
            "{text:?} has no address: \"0.0.0.0:{port}\" listens on all of IPv4, \"[::]:{port}\" on all \
             of IPv6, \"127.0.0.1:{port}\" for this machine alone"
        );
    }
    match (text.parse::<IpAddr>(), text.rsplit_once(':')) {
        (Ok(IpAddr::V4(ip)), _) => format!("{text:?} has no port: \"{ip}:25\""),
        (Ok(IpAddr::V6(ip)), _) => format!("{text:?} has no port: \"[{ip}]:25\""),
        (_, Some((_, port))) if !port.is_empty() && port.parse::<u16>().is_err() => {
            format!("{text:?}: {port:?} is no port: a number from 1 to 65535")
        }
        _ => format!(
            "{text:?} is no address to listen on: an IP address and a port, such as \"0.0.0.0:25\" or \
             \"[::]:25\", or \"unix:/path\" for lmtp"
        ),
    }
}

impl Value for Span {
    fn read(value: &Written<'_>, slot: &Slot) -> Read<Self> {
        let at = value.span();
        match value.get_ref() {
            DeValue::String(text) => read_text(text, &at, slot, str::parse),
            _ => slot.wanted(&at, "a span of time with its unit"),
        }
    }

    fn rank(&self) -> Option<u64> {
        Some(self.0.as_secs())
    }
}

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = |()| {
            let words = "a number and a unit, such as \"30s\", \"5m\", \"1h\" or \"7d\"";
            format!("{text:?} is no span of time: {words}")
        };
        whole_seconds(text)
            .map(|seconds| Self(Duration::from_secs(seconds)))
            .ok_or(())
            .map_err(wrong)
    }
}

/// Returns the whole seconds of a span, if it does not depend on the calendar.
fn whole_seconds(text: &str) -> Option<u64> {
    let span: jiff::Span = text.parse().ok()?;
    let duration = span.to_duration(SpanRelativeTo::days_are_24_hours()).ok()?;
    u64::try_from(duration.as_secs()).ok().filter(|_| duration.subsec_nanos() == 0)
}

impl Value for Retry {
    fn read(value: &Written<'_>, slot: &Slot) -> Read<Self> {
        let waits = Vec::read(value, slot)?;
        if waits.is_empty() {
            let words = "at least one time to wait is needed, such as [\"5m\"]";
            return slot.wrong(&value.span(), words);
        }
        Ok(Self(waits))
    }

    /// The seconds of the shortest wait.
    fn rank(&self) -> Option<u64> {
        self.0.rank()
    }
}

impl Retry {
    /// Returns the waits, in their order.
    pub(crate) fn waits(&self) -> Vec<Duration> {
        self.0.iter().map(|wait| wait.0).collect()
    }
}

impl Value for Octets {
    fn read(value: &Written<'_>, slot: &Slot) -> Read<Self> {
        let at = value.span();
        match value.get_ref() {
            DeValue::Integer(number) if number.as_str().parse::<u64>().is_ok() => {
                Self::plausible(number.as_str())
            }
            DeValue::String(text) => Self::plausible(text),
            _ => return slot.wanted(&at, "a size with its unit"),
        }
        .or_else(|words| slot.wrong(&at, &words))
    }

    fn rank(&self) -> Option<u64> {
        Some(self.0)
    }
}

impl Octets {
    /// Parses the size of a message. A small number without a unit is refused: its unit was forgotten.
    pub(crate) fn plausible(text: &str) -> Result<Self, String> {
        let size: Self = text.parse()?;
        let has_unit = text.ends_with(|last: char| !last.is_ascii_digit());
        let number = size.0;
        if has_unit || !(1..PLAUSIBLE).contains(&number) {
            return Ok(size);
        }
        let octets = if number == 1 { "octet" } else { "octets" };
        Err(format!(
            "{number} without a unit would be {number} {octets}: write the unit that is meant, such as \
             \"{number}MiB\""
        ))
    }
}

impl FromStr for Octets {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
        let unit = text[digits.len()..].trim();
        let wrong = || format!("{text:?} is no size: a number and a unit, such as \"50MiB\"");
        // Half of the world means 1,000 by K, and half 1,024.
        let binary = match unit.to_ascii_lowercase().as_str() {
            "" => "",
            "b" => "B",
            "k" | "kb" | "kib" => "KiB",
            "m" | "mb" | "mib" => "MiB",
            "g" | "gb" | "gib" => "GiB",
            "t" | "tb" | "tib" => "TiB",
            _ => return Err(wrong()),
        };
        if unit != binary {
            return Err(format!(
                "{text:?}: the units are B, KiB, MiB and GiB: \"{digits}{binary}\""
            ));
        }
        match text.parse::<ByteSize>() {
            Ok(ByteSize(octets)) if octets < u64::MAX => Ok(Self(octets)),
            _ => Err(wrong()),
        }
    }
}

impl Value for TagSeparators {
    fn read(value: &Written<'_>, slot: &Slot) -> Read<Self> {
        let at = value.span();
        match value.get_ref() {
            // An empty text is a choice as well: no tags.
            DeValue::String(text) => text.parse().or_else(|error: TagSeparatorsError| {
                slot.wrong(&at, &format!("{text:?} names no separators: {error}"))
            }),
            _ => slot.wanted(&at, "text in quotation marks"),
        }
    }
}

impl Value for bool {
    fn read(value: &Written<'_>, slot: &Slot) -> Read<Self> {
        match value.get_ref() {
            DeValue::Boolean(flag) => Ok(*flag),
            _ => {
                let words = "is true or false, without quotation marks";
                mistake(&value.span(), format!("{} {words}", slot.path()))
            }
        }
    }
}

impl Value for u32 {
    fn read(value: &Written<'_>, slot: &Slot) -> Read<Self> {
        let (at, of) = (value.span(), slot.definition.of);
        match value.get_ref() {
            DeValue::Integer(number) => match number.as_str().parse() {
                Ok(number) => Ok(number),
                Err(_) => slot.wanted(&at, &format!("a number of {of}, at most {}", u32::MAX)),
            },
            _ => slot.wanted(&at, &format!("a number of {of}, without unit or quotation marks")),
        }
    }

    fn rank(&self) -> Option<u64> {
        Some((*self).into())
    }
}

impl Value for usize {
    fn read(value: &Written<'_>, slot: &Slot) -> Read<Self> {
        u32::read(value, slot).map(|number| Self::try_from(number).unwrap_or(Self::MAX))
    }

    fn rank(&self) -> Option<u64> {
        u64::try_from(*self).ok()
    }
}

/// A type whose values are true, false or one of several words.
pub(super) trait Flag: Sized {
    /// Returns the value of `true` and `false`.
    fn of(flag: bool) -> Self;
}

impl Flag for LoopbackTrust {
    fn of(flag: bool) -> Self {
        if flag { Self::Anywhere } else { Self::Nothing }
    }
}

/// Returns the error for a value that is neither a boolean nor one of the words.
pub(super) fn no_flag<T>(at: &Range<usize>, slot: &Slot, words: &[(&str, &str)]) -> Read<T> {
    let flag = "is true or false, without quotation marks";
    mistake(at, format!("{} {flag}, or {}", slot.path(), explained(words)))
}

/// Returns the text of a value, which may be one of the words.
pub(super) fn read_word<'v>(
    value: &'v Written<'_>,
    slot: &Slot,
    words: &[(&str, &str)],
) -> Read<&'v str> {
    match value.get_ref() {
        DeValue::String(text) => Ok(text),
        _ => mistake(&value.span(), one_of(&slot.path(), words)),
    }
}

/// Returns the error for an unknown word, with a suggestion.
pub(super) fn unknown_word<T>(
    text: &str,
    at: &Range<usize>,
    slot: &Slot,
    words: &[(&str, &str)],
) -> Read<T> {
    let path = slot.path();
    let lower = text.to_ascii_lowercase();
    let other = OTHER_WORDS.iter().find(|(other, _)| *other == lower);
    let other = match other {
        Some((_, meant)) if meant.starts_with("that is") => {
            return mistake(at, format!("{path} = {text:?}: {meant}"));
        }
        Some((_, meant)) => format!("{meant}; "),
        None => String::new(),
    };
    mistake(at, format!("{path} = {text:?}: {other}{}", one_of(&path, words)))
}

fn one_of(path: &str, words: &[(&str, &str)]) -> String {
    format!("{path} is one of {}", explained(words))
}

fn explained(words: &[(&str, &str)]) -> String {
    let words: Vec<_> = words.iter().map(|(word, means)| format!("{word:?} ({means})")).collect();
    words.join(", ")
}
