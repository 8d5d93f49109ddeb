//! iprev (RFC 8601 §3): whether the client's address has a name that leads back to the address.

use crate::dns::{Family, Lookup, LookupError};
use std::{fmt, net::IpAddr};

/// The maximal number of an address's names that are examined. RFC 8601 §3 requires a limit; this is
/// that of RFC 7208 §4.6.4.
pub const NAMES: usize = 10;

/// The result of a check (RFC 8601 §2.7.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum IprevResult {
    /// A name of the client's address leads back to it.
    Pass,
    /// None of the names leads back to the address.
    Fail,
    /// DNS did not answer; a later check may have another result.
    TempError,
    /// The address has no name.
    PermError,
}

impl fmt::Display for IprevResult {
    /// Writes the result as in an Authentication-Results field.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pass => "pass",
            Self::Fail => "fail",
            Self::TempError => "temperror",
            Self::PermError => "permerror",
        })
    }
}

/// The outcome of a check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IprevOutcome {
    /// The result.
    pub result: IprevResult,
    /// The first name that leads back to the address.
    pub name: Option<String>,
}

/// Checks a client's address.
pub async fn check(dns: &dyn Lookup, address: IpAddr) -> IprevOutcome {
    let address = address.to_canonical();
    let without_name = |result| IprevOutcome { result, name: None };
    let names = match dns.ptr(address).await {
        Ok(names) => names,
        Err(LookupError::Nothing) => return without_name(IprevResult::PermError),
        Err(LookupError::Temporary) => return without_name(IprevResult::TempError),
    };
    let mut result = IprevResult::Fail;
    for name in names.into_iter().take(NAMES) {
        match dns.addresses(&name, Family::of(&address)).await {
            Ok(addresses) if addresses.contains(&address) => {
                return IprevOutcome { result: IprevResult::Pass, name: Some(name) };
            }
            Ok(_) | Err(LookupError::Nothing) => {}
            Err(LookupError::Temporary) => result = IprevResult::TempError,
        }
    }
    without_name(result)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::{Record, Zone, now_or_never};

    #[test]
    fn names_lead_back_or_not() {
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        let zone = Zone::default()
            .with_ptr(address("192.0.2.1"), "other.test")
            .with_ptr(address("192.0.2.1"), "mail.test")
            .with_address("mail.test", address("192.0.2.1"))
            .with_ptr(address("192.0.2.2"), "mail.test")
            .with_ptr(address("192.0.2.3"), "slow.test")
            .with("slow.test", Record::Failure)
            .with("5.2.0.192.in-addr.arpa", Record::Failure)
            .with_ptr(address("2001:db8::1"), "six.test")
            .with_address("six.test", address("2001:db8::1"));
        for (client, result, name) in [
            ("192.0.2.1", IprevResult::Pass, Some("mail.test")),
            ("::ffff:192.0.2.1", IprevResult::Pass, Some("mail.test")),
            ("2001:db8::1", IprevResult::Pass, Some("six.test")),
            ("192.0.2.2", IprevResult::Fail, None),
            ("192.0.2.3", IprevResult::TempError, None),
            ("192.0.2.4", IprevResult::PermError, None),
            ("192.0.2.5", IprevResult::TempError, None),
        ] {
            let outcome = now_or_never(check(&zone, address(client))).unwrap();
            assert_eq!((outcome.result, outcome.name.as_deref()), (result, name), "{client}");
        }
    }

    #[test]
    fn few_names_are_looked_at() {
        let mut zone = Zone::default();
        for n in 0..100 {
            zone.add("1.2.0.192.in-addr.arpa", Record::Ptr(format!("n{n}.test")));
        }
        let outcome = now_or_never(check(&zone, "192.0.2.1".parse().unwrap())).unwrap();
        assert_eq!((outcome.result, zone.asked()), (IprevResult::Fail, 1 + NAMES));
    }
}
