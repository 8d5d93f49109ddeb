//! The DNS look-ups that the checks of a message's origin need, made with the server's resolver.

use posta_net::dns::{self, DnsAnswer, Resolver};
use posta_origin::dns::{Check, Family, Lookup, LookupError, Query};
use std::{future::Future, net::IpAddr, sync::Arc, time::Duration};
use tokio::time::timeout;

/// The time within which one look-up must end. All checks of a message together have 20 seconds (RFC
/// 7208 §4.6.4).
pub const PATIENCE: Duration = Duration::from_secs(8);

/// Passes look-ups on to the server's resolver.
#[derive(Clone)]
pub struct OriginDns(pub Arc<dyn Resolver>);

impl std::fmt::Debug for OriginDns {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("OriginDns")
    }
}

/// Returns the records found in time. The resolver limits the size of answers.
async fn found<T>(
    name: &str,
    look_up: impl Future<Output = Result<DnsAnswer<T>, dns::LookupError>>,
) -> Result<Vec<T>, LookupError> {
    if !can_be_asked(name) {
        return Err(LookupError::Nothing);
    }
    match timeout(PATIENCE, look_up).await {
        Ok(Ok(answer)) if answer.found.is_empty() => Err(LookupError::Nothing),
        Ok(Ok(answer)) => Ok(answer.found),
        Ok(Err(dns::LookupError::NoDomain(_))) => Err(LookupError::Nothing),
        Ok(Err(dns::LookupError::Failed(..))) | Err(_) => Err(LookupError::Temporary),
    }
}

/// Returns whether DNS can have a name (RFC 1035 §2.3.4) and the resolver can ask for it. Otherwise a
/// stranger could have an impossible name looked up again and again.
fn can_be_asked(name: &str) -> bool {
    let is_label = |label: &str| (1..=63).contains(&label.len());
    let is_plain = |octet: u8| octet.is_ascii_graphic() && octet != b'\\';
    name.len() <= 253 && name.bytes().all(is_plain) && name.split('.').all(is_label)
}

const fn family(family: Family) -> dns::Family {
    match family {
        Family::V4 => dns::Family::V4,
        Family::V6 => dns::Family::V6,
    }
}

impl Lookup for OriginDns {
    fn txt<'a>(&'a self, name: &'a str) -> Query<'a, String> {
        Box::pin(found(name, self.0.texts(name)))
    }

    fn addresses<'a>(&'a self, host: &'a str, of: Family) -> Query<'a, IpAddr> {
        Box::pin(found(host, self.0.addresses_of(host, family(of))))
    }

    fn mx<'a>(&'a self, domain: &'a str) -> Query<'a, (u16, String)> {
        Box::pin(found(domain, self.0.exchangers(domain)))
    }

    fn ptr(&self, address: IpAddr) -> Query<'_, String> {
        Box::pin(found("address", self.0.names(address)))
    }

    fn exists<'a>(&'a self, name: &'a str) -> Check<'a> {
        Box::pin(async move {
            if !can_be_asked(name) {
                return Ok(false);
            }
            match timeout(PATIENCE, self.0.addresses_of(name, dns::Family::V4)).await {
                Ok(Ok(_)) => Ok(true),
                Ok(Err(dns::LookupError::NoDomain(_))) => Ok(false),
                Ok(Err(dns::LookupError::Failed(..))) | Err(_) => Err(LookupError::Temporary),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use posta_net::dns::FixedZone;

    #[tokio::test]
    async fn answers_are_told_as_the_checks_want_them() {
        let mut zone = FixedZone::default();
        let four: IpAddr = "192.0.2.1".parse().unwrap();
        zone.addresses.insert("a.test".into(), vec![four, "2001:db8::1".parse().unwrap()]);
        zone.addresses.insert("four.test".into(), vec![four]);
        zone.texts.insert("a.test".into(), vec!["v=spf1 -all".into()]);
        zone.names.insert("192.0.2.1".into(), vec!["a.test".into()]);
        zone.failing.push("slow.test".into());
        let dns = OriginDns(Arc::new(zone));
        assert_eq!(dns.txt("a.test").await.unwrap(), ["v=spf1 -all"]);
        assert_eq!(dns.txt("slow.test").await, Err(LookupError::Temporary));
        assert_eq!(dns.addresses("a.test", Family::V4).await.unwrap(), [four]);
        assert_eq!(dns.addresses("four.test", Family::V6).await, Err(LookupError::Nothing));
        assert_eq!(dns.mx("four.test").await, Err(LookupError::Nothing));
        assert_eq!(dns.ptr(four).await.unwrap(), ["a.test"]);
        for (name, exists) in [("a.test", Ok(true)), ("b.test", Ok(false)), ("a b.test", Ok(false))]
        {
            assert_eq!(dns.exists(name).await, exists, "{name}");
        }
        assert_eq!(dns.exists("slow.test").await, Err(LookupError::Temporary));
        for name in ["a b.test", "a..test", "", "\\.test", &"a.".repeat(200)] {
            assert_eq!(dns.txt(name).await, Err(LookupError::Nothing), "{name}");
        }
    }
}
