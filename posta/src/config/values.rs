//! Values with a unit.

use serde::{Deserialize, Deserializer, de::Error as _};
use std::{str::FromStr, time::Duration};

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
        let wrong =
            || format!("{text:?} is no span of time such as \"30s\", \"5m\", \"1h\", \"7d\"");
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
            unit => return Err(format!("unknown unit {unit:?}: use B, KiB, MiB or GiB")),
        };
        let number: Option<u64> = digits.parse().ok();
        let octets = number.and_then(|number| number.checked_mul(1 << shift));
        octets.map(Self).ok_or_else(|| format!("{text:?} is no size such as \"50MiB\""))
    }
}
