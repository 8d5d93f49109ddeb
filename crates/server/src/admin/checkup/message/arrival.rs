//! How a message came, as far as the fields above it tell: the client's address and greeting, and the sender.

use posta_net::public_address;
use posta_origin::header::{Field, HeaderSection};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// How a message came. What is not known is `None`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", default, deny_unknown_fields)]
pub struct Arrival {
    /// The client's address.
    pub address: Option<IpAddr>,
    /// The name in the client's greeting.
    pub helo: Option<String>,
    /// The reverse-path, without angle brackets; empty for the null one.
    pub sender: Option<String>,
}

impl Arrival {
    /// Returns this with what another one knows and this one does not.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self {
            address: self.address.or(other.address),
            helo: self.helo.or(other.helo),
            sender: self.sender.or(other.sender),
        }
    }

    /// Reads the fields from the top: the first Received field that names a public address, else the first that names
    /// any; Return-Path; and what an Authentication-Results field says beside its results.
    pub(super) fn told_by(header: &HeaderSection) -> Self {
        let received: Vec<_> =
            header.named("Received").filter_map(|field| client(&field)).collect();
        let is_public = |(address, _): &&(IpAddr, _)| public_address::purpose(*address).is_none();
        let client = received.iter().find(is_public).or(received.first()).cloned();
        let results = header.named("Authentication-Results").next().map(|field| text(&field));
        let property = |name: &str| results.as_deref().and_then(|text| property(text, name));
        let return_path = header.named("Return-Path").next().map(|field| text(&field));
        let sender = return_path.as_deref().and_then(in_brackets);
        let (address, helo) = client.unzip();
        Self {
            address: address.or_else(|| property("policy.iprev")?.parse().ok()),
            helo: helo.or_else(|| property("smtp.helo")),
            sender: sender.or_else(|| property("smtp.mailfrom")),
        }
    }
}

/// Returns the value of a field in one line.
fn text(field: &Field<'_>) -> String {
    String::from_utf8_lossy(field.value).replace(['\r', '\n', '\t'], " ")
}

fn in_brackets(text: &str) -> Option<String> {
    let (_, rest) = text.split_once('<')?;
    Some(rest.split_once('>')?.0.trim().to_owned())
}

/// Returns the client's address and greeting of a Received field: `from GREETING (NAME [ADDRESS]) by …` (RFC 5321
/// §4.4).
fn client(field: &Field<'_>) -> Option<(IpAddr, String)> {
    let text = text(field);
    let text = text.trim_start();
    let from = text.get(..5).filter(|word| word.eq_ignore_ascii_case("from "))?;
    let clause = &text[from.len()..];
    let clause = clause.split(" by ").next().unwrap_or(clause);
    let greeting = clause.split_whitespace().next()?.to_owned();
    let literals = clause.split('[').skip(1).filter_map(|rest| Some(rest.split_once(']')?.0));
    let plain = |literal: &str| {
        let is_tagged = literal.get(..5).is_some_and(|tag| tag.eq_ignore_ascii_case("ipv6:"));
        if is_tagged { literal[5..].parse() } else { literal.parse() }
    };
    let address = literals.filter_map(|literal| plain(literal).ok()).last()?;
    Some((address, greeting))
}

/// Returns the value of a property in an Authentication-Results field.
fn property(text: &str, name: &str) -> Option<String> {
    let at = text.find(&format!("{name}="))? + name.len() + 1;
    let value = text[at..].split([' ', ';']).next()?.trim_matches('"');
    (!value.is_empty()).then(|| value.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::checkup::message::MessageReader;

    fn arrival(header: &str) -> (String, String, String) {
        let mut reader = MessageReader::default();
        reader.write(header.as_bytes());
        reader.write(b"\n\n");
        let Arrival { address, helo, sender } = reader.finish().arrival();
        let none = || "-".to_owned();
        (
            address.map_or_else(none, |address| address.to_string()),
            helo.unwrap_or_else(none),
            sender.unwrap_or_else(none),
        )
    }

    #[test]
    fn the_fields_tell_how_a_message_came() {
        for (header, address, helo, sender) in [
            (
                "Return-Path: <ana@x.test>\r\nReceived: from mx.x.test ([192.0.2.1])\r\n\tby mail.y.test (Posta)",
                "192.0.2.1",
                "mx.x.test",
                "ana@x.test",
            ),
            (
                "Received: from localhost (localhost [127.0.0.1])\n\tby y.test\nReceived: from a.test (b.test \
                 [198.41.0.4]) by y.test\nReceived: from c (c [198.41.0.5]) by a",
                "198.41.0.4",
                "a.test",
                "-",
            ),
            ("Received: FROM six ([IPv6:2001:500::53]) by y.test", "2001:500::53", "six", "-"),
            ("Received: by y.test id 7; Mon\nReturn-Path: <>", "-", "-", ""),
            (
                "Authentication-Results: y.test;\n\tiprev=pass policy.iprev=192.0.2.7;\n\tspf=pass \
                 smtp.mailfrom=\"bob@x.test\" smtp.helo=h.test",
                "192.0.2.7",
                "h.test",
                "bob@x.test",
            ),
            ("Received: from [ by \u{e9}", "-", "-", "-"),
            ("Received: from\nReturn-Path: x>", "-", "-", "-"),
            ("Subject: nothing", "-", "-", "-"),
        ] {
            let expected = (address.to_owned(), helo.to_owned(), sender.to_owned());
            assert_eq!(arrival(header), expected, "{header}");
        }
    }

    /// Fields of strangers, put together from what the reading looks for: whatever they hold, they are read.
    #[test]
    fn no_field_is_too_odd() {
        const PIECES: [&str; 16] = [
            "from ",
            "FROM",
            " by ",
            "[",
            "]",
            "IPv6:",
            "192.0.2.1",
            "::1",
            "(",
            ")",
            "<",
            ">",
            "\u{e9}",
            "smtp.mailfrom=",
            "policy.iprev=",
            "\r\n\t",
        ];
        let mut state = 7_u32;
        for _ in 0..10_000 {
            let mut text = String::from("Return-Path:");
            for name in ["\r\nReceived: ", "\r\nAuthentication-Results:", "\r\nX:"] {
                for _ in 0..6 {
                    state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    text.push_str(PIECES[(state >> 24) as usize % PIECES.len()]);
                }
                text.push_str(name);
            }
            let (address, ..) = arrival(&text);
            assert!(address == "-" || text.contains(&address), "{text}");
        }
    }
}
