//! The rules about a client's names: the one in its HELO or EHLO, and the one that DNS has for its address.
//!
//! Both are off by default: RFC 5321 §4.1.4 forbids to refuse mail because the name in HELO is not the client's, and
//! some servers of good senders have neither name. Only names that no mail server should have are refused.

use crate::settings::ReverseDns;
use posta_mail::{Domain, Reply};
use posta_origin::iprev::IprevResult;
use std::net::IpAddr;

/// Checks the name that a client gives itself.
///
/// # Errors
/// The refusal of a name that cannot be the client's own: this server's, that of another address, or none at all.
pub(super) fn check_hello(hello: &str, client: IpAddr, hostname: &Domain) -> Result<(), Reply> {
    let problem = match literal(hello) {
        Some(Some(address)) if address.to_canonical() == client.to_canonical() => return Ok(()),
        Some(Some(_)) => "that is not the address you come from",
        Some(None) => "that is no address",
        None if hello.eq_ignore_ascii_case(hostname.as_str()) => "that is the name of this server",
        None if is_full(hello) => return Ok(()),
        None => "say the full name of your host, such as mail.example.org",
    };
    let hello: String = hello.chars().filter(char::is_ascii_graphic).take(100).collect();
    Err(Reply::new(550, (5, 7, 1), format!("HELO {hello}: {problem}")))
}

/// Returns the address in an address literal (RFC 5321 §4.1.3); `None` if the name is none.
fn literal(hello: &str) -> Option<Option<IpAddr>> {
    let inner = hello.strip_prefix('[')?.trim_end_matches(']');
    let six = inner.get(..5).filter(|tag| tag.eq_ignore_ascii_case("IPv6:"));
    Some(match six {
        Some(tag) => inner[tag.len()..].parse().ok().map(IpAddr::V6),
        None => inner.parse().ok().map(IpAddr::V4),
    })
}

/// Returns whether a name is a full domain name (RFC 5321 §2.3.5): with a dot, and not an address.
fn is_full(hello: &str) -> bool {
    let name = hello.trim_end_matches('.');
    name.contains('.') && name.parse::<IpAddr>().is_err() && name.parse::<Domain>().is_ok()
}

/// Checks the name that DNS has for a client's address, by what was found.
///
/// # Errors
/// The refusal (RFC 7372 §3.3), which is transient where DNS did not answer.
pub(super) fn check_reverse(
    wanted: ReverseDns,
    client: IpAddr,
    found: Option<IprevResult>,
) -> Result<(), Reply> {
    let words = match (wanted, found) {
        (ReverseDns::Any, _) | (_, Some(IprevResult::Pass)) => return Ok(()),
        (ReverseDns::Named, Some(IprevResult::Fail)) => return Ok(()),
        (_, Some(IprevResult::PermError)) => "has no name in DNS (PTR)",
        (ReverseDns::Confirmed, Some(IprevResult::Fail)) => {
            "has a name in DNS (PTR) that does not lead back to it"
        }
        (_, Some(IprevResult::TempError) | None) => {
            let words = format!("DNS does not answer for the name of {client}: try again later");
            return Err(Reply::new(450, (4, 7, 25), words));
        }
    };
    let words = format!("{client} {words}; a mail server needs one: ask your provider");
    Err(Reply::new(550, (5, 7, 25), words))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_hello_are_full_and_not_ours() {
        let hostname: Domain = "mail.x.test".parse().unwrap();
        for (hello, client, is_taken) in [
            ("mail.a.test", "192.0.2.1", true),
            ("mail.a.test.", "192.0.2.1", true),
            ("[192.0.2.1]", "192.0.2.1", true),
            ("[192.0.2.1]", "::ffff:192.0.2.1", true),
            ("[IPv6:2001:db8::1]", "2001:db8::1", true),
            ("[192.0.2.2]", "192.0.2.1", false),
            ("[nonsense]", "192.0.2.1", false),
            ("192.0.2.1", "192.0.2.1", false),
            ("MAIL.x.test", "192.0.2.1", false),
            ("localhost", "192.0.2.1", false),
            ("a_b c", "192.0.2.1", false),
            ("..", "192.0.2.1", false),
            ("", "192.0.2.1", false),
        ] {
            let checked = check_hello(hello, client.parse().unwrap(), &hostname);
            assert_eq!(checked.is_ok(), is_taken, "{hello} {client}: {checked:?}");
        }
        let long = check_hello(&"é\r\n".repeat(10_000), "192.0.2.1".parse().unwrap(), &hostname);
        assert!(long.unwrap_err().text.len() < 200);
    }

    #[test]
    fn names_in_dns_are_wanted_as_far_as_it_says() {
        let client = "192.0.2.1".parse().unwrap();
        for (found, any, named, confirmed) in [
            (Some(IprevResult::Pass), 0, 0, 0),
            (Some(IprevResult::Fail), 0, 0, 550),
            (Some(IprevResult::PermError), 0, 550, 550),
            (Some(IprevResult::TempError), 0, 450, 450),
            (None, 0, 450, 450),
        ] {
            for (wanted, code) in [
                (ReverseDns::Any, any),
                (ReverseDns::Named, named),
                (ReverseDns::Confirmed, confirmed),
            ] {
                let checked = check_reverse(wanted, client, found);
                let refused = checked.err().map_or(0, |refusal| refusal.code.get());
                assert_eq!(refused, code, "{found:?} {wanted:?}");
            }
        }
    }
}
