//! DNS lists of clients (RFC 5782): what is asked, and which answers count.
//!
//! A list that has been given up, or that refuses to answer these name servers, may answer as if every address stood in
//! it. So only answers in 127.0.0.0/8 count, codes by which lists refuse to answer do not, and [`judge`] says whether a
//! list can be believed at all. The receiving server asks about its clients, `posta check` about the server itself.

use super::{Family, LookupError, Resolver};
use std::{
    fmt::Write as _,
    net::{IpAddr, Ipv4Addr},
    time::Duration,
};
use tokio::time::timeout;

/// The maximal time for one question to a list.
const PATIENCE: Duration = Duration::from_secs(5);

/// The address that every list has (RFC 5782 §5), in both notations.
const LISTED: [&str; 2] = ["127.0.0.2", "::ffff:127.0.0.2"];

/// The address that no list has (RFC 5782 §5).
const UNLISTED: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// The maximal number of characters of a list's words.
const WORDS: usize = 200;

/// What a list says about an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListAnswer {
    /// It does not have the address.
    Absent,
    /// It has the address, with this code.
    Present(Ipv4Addr),
    /// It does not answer these name servers.
    Refused,
}

/// Whether a list can be believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Credibility {
    /// It has the address that every list has, and not the one that no list has.
    Credible,
    /// It has 127.0.0.1, and so probably every address.
    ListsEverybody,
    /// It does not have 127.0.0.2.
    ListsNobody,
    /// It does not answer these name servers.
    Refuses,
}

/// Asks the list under the domain `zone` about an address.
///
/// # Errors
/// When DNS does not answer within 5 seconds.
pub async fn ask(
    dns: &dyn Resolver,
    zone: &str,
    address: IpAddr,
) -> Result<ListAnswer, LookupError> {
    let name = query_name(address, zone);
    let answer = match timeout(PATIENCE, dns.addresses_of(&name, Family::V4)).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(LookupError::NoDomain(_))) => return Ok(ListAnswer::Absent),
        Ok(Err(failed)) => return Err(failed),
        Err(_) => return Err(LookupError::Failed(name, "no answer in time".to_owned())),
    };
    let mut found = ListAnswer::Absent;
    for code in answer.found {
        match code {
            // Spamhaus, and others after it, say so that the question was not answered.
            IpAddr::V4(code) if code.octets()[..3] == [127, 255, 255] => {
                return Ok(ListAnswer::Refused);
            }
            // RFC 5782 §2.1: anything else is an error, such as the page of a registrar.
            IpAddr::V4(code) if code.octets()[0] == 127 => found = ListAnswer::Present(code),
            IpAddr::V4(_) | IpAddr::V6(_) => {}
        }
    }
    Ok(found)
}

/// Returns the words of the list under the domain `zone` about an address that it has: printable ASCII, at most 200
/// characters, as far as they may stand in a reply. Empty if there are none.
pub async fn words(dns: &dyn Resolver, zone: &str, address: IpAddr) -> String {
    match timeout(PATIENCE, dns.texts(&query_name(address, zone))).await {
        Ok(Ok(answer)) => answer.found.first().map(|text| cleaned(text)).unwrap_or_default(),
        Ok(Err(_)) | Err(_) => String::new(),
    }
}

/// Finds out whether the list under the domain `zone` can be believed (RFC 5782 §5).
///
/// # Errors
/// When DNS does not answer within 5 seconds, for each of at most three questions.
pub async fn judge(dns: &dyn Resolver, zone: &str) -> Result<Credibility, LookupError> {
    match ask(dns, zone, UNLISTED).await? {
        ListAnswer::Present(_) => return Ok(Credibility::ListsEverybody),
        ListAnswer::Refused => return Ok(Credibility::Refuses),
        ListAnswer::Absent => {}
    }
    for address in LISTED.iter().filter_map(|address| address.parse().ok()) {
        match ask(dns, zone, address).await? {
            ListAnswer::Present(_) => return Ok(Credibility::Credible),
            ListAnswer::Refused => return Ok(Credibility::Refuses),
            ListAnswer::Absent => {}
        }
    }
    Ok(Credibility::ListsNobody)
}

/// Returns the name under which a list has an address: the octets of an IPv4 address (RFC 5782 §2.1) or the nibbles of
/// an IPv6 address (§2.4), the last first, in the list's zone.
fn query_name(address: IpAddr, zone: &str) -> String {
    let mut name = String::new();
    // Writing to a string cannot fail.
    match address {
        IpAddr::V4(address) => {
            for octet in address.octets().iter().rev() {
                let _ = write!(name, "{octet}.");
            }
        }
        IpAddr::V6(address) => {
            for octet in address.octets().iter().rev() {
                let _ = write!(name, "{:x}.{:x}.", octet & 15, octet >> 4);
            }
        }
    }
    name + zone
}

fn cleaned(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_graphic() || c == ' ';
    let plain: String = text.chars().filter(|&c| is_plain(c)).take(WORDS).collect();
    plain.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 5782 §2.1, §2.4.
    #[test]
    fn names_are_reversed() {
        for (address, name) in [
            ("192.0.2.99", "99.2.0.192.bl.test"),
            (
                "2001:db8:1:2:3:4:567:89ab",
                "b.a.9.8.7.6.5.0.4.0.0.0.3.0.0.0.2.0.0.0.1.0.0.0.8.b.d.0.1.0.0.2.bl.test",
            ),
        ] {
            assert_eq!(query_name(address.parse().unwrap(), "bl.test"), name);
        }
    }

    #[test]
    fn words_from_outside_are_plain_and_short() {
        assert_eq!(cleaned("see\r\n250 ok\u{202e}\0 http://a"), "see250 ok http://a");
        assert_eq!(cleaned(&"x".repeat(10_000)).len(), WORDS);
    }
}
