//! Values with a unit.

use ipnet::IpNet;
use serde::{Deserialize, Deserializer, de::Error as _};
use std::{
    net::{IpAddr, SocketAddr},
    str::FromStr,
    time::Duration,
};

/// The port of name servers.
const DNS: u16 = 53;

/// A span of time: `"30s"`, `"5m"`, `"1h"`, `"7d"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span(pub(crate) Duration);

/// A number of octets: `52428800` or `"50MiB"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Octets(pub(crate) u64);

impl<'de> Deserialize<'de> for Octets {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "a size is a number of octets, or text such as \"50MiB\"")]
        enum Size {
            Number(u64),
            Text(String),
        }
        match Size::deserialize(deserializer)? {
            Size::Number(octets) => Ok(Self(octets)),
            Size::Text(text) => text.parse().map_err(D::Error::custom),
        }
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        super::from_text(deserializer)
    }
}

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            let words = "a number and a unit, such as \"30s\", \"5m\", \"1h\" or \"7d\"";
            format!("{text:?} is no span of time: {words}")
        };
        let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
        let seconds = match &text[digits.len()..] {
            "s" => 1,
            "m" => 60,
            "h" => 60 * 60,
            "d" => 24 * 60 * 60,
            _ => return Err(wrong()),
        };
        let number: Option<u64> = digits.parse().ok();
        let span = number.and_then(|number| number.checked_mul(seconds));
        span.map(|seconds| Self(Duration::from_secs(seconds))).ok_or_else(wrong)
    }
}

impl FromStr for Octets {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
        let shift = match text[digits.len()..].trim() {
            "" | "B" => 0,
            "KiB" => 10,
            "MiB" => 20,
            "GiB" => 30,
            unit => {
                let near = match unit.to_ascii_lowercase().as_str() {
                    "k" | "kb" | "kib" => "KiB",
                    "m" | "mb" | "mib" => "MiB",
                    "g" | "gb" | "gib" => "GiB",
                    _ => {
                        return Err(format!(
                            "{text:?} is no size: a number and a unit, such as \"50MiB\""
                        ));
                    }
                };
                return Err(format!(
                    "{text:?}: the units are B, KiB, MiB and GiB: \"{digits}{near}\""
                ));
            }
        };
        let number: Option<u64> = digits.parse().ok();
        let octets = number.and_then(|number| number.checked_mul(1 << shift));
        octets
            .map(Self)
            .ok_or_else(|| format!("{text:?} is no size: a number and a unit, such as \"50MiB\""))
    }
}

/// A network, or one address: `192.0.2.0/24`, `192.0.2.1`.
pub(super) fn network(text: &str) -> Result<IpNet, String> {
    if let Ok(ip) = text.parse::<IpAddr>() {
        return Ok(ip.into());
    }
    text.parse().map_err(|_| {
        let words = "such as \"192.168.1.0/24\" or \"2001:db8::/32\", or an address, such as \"192.168.1.5\"";
        format!("{text:?} is no network, {words}")
    })
}

/// A name server: `192.0.2.53`, `192.0.2.53:5353`.
pub(super) fn name_server(text: &str) -> Result<SocketAddr, String> {
    let ip = text.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, DNS));
    ip.or_else(|_| text.parse()).map_err(|_| {
        let words =
            "an IP address, such as \"127.0.0.1\", or one with a port, such as \"127.0.0.1:5353\"";
        format!("{text:?} is no name server: {words}")
    })
}

pub(super) fn networks<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<IpNet>, D::Error> {
    each(from, network)
}

pub(super) fn name_servers<'de, D: Deserializer<'de>>(
    from: D,
) -> Result<Vec<SocketAddr>, D::Error> {
    each(from, name_server)
}

fn each<'de, D: Deserializer<'de>, T>(
    from: D,
    read: fn(&str) -> Result<T, String>,
) -> Result<Vec<T>, D::Error> {
    let texts = Vec::<String>::deserialize(from)?;
    texts.iter().map(|text| read(text).map_err(D::Error::custom)).collect()
}
