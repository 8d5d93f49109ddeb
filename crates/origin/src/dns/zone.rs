//! A DNS that answers from memory, for tests of this crate and of the server.

use super::{ALIASES, ANSWER_OCTETS, ANSWER_RECORDS, Check, Family, Lookup, LookupError, Query};
use std::{
    collections::HashMap,
    fmt::Write as _,
    future::{Future, ready},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    pin::pin,
    sync::atomic::{AtomicUsize, Ordering},
    task::{Context, Poll, Waker},
};

/// One record of a [`Zone`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Record {
    /// An IPv4 address.
    A(Ipv4Addr),
    /// An IPv6 address.
    Aaaa(Ipv6Addr),
    /// A server that accepts mail, with its preference.
    Mx(u16, String),
    /// A text, its strings joined.
    Txt(String),
    /// A name of an address.
    Ptr(String),
    /// Another name for this one.
    Cname(String),
    /// No record: a look-up under this name fails if it has no other record of that type, as if its name
    /// servers had timed out.
    Failure,
}

/// Records by name, in place of DNS. Names are compared without case.
#[derive(Debug, Default)]
pub struct Zone {
    records: HashMap<String, Vec<Record>>,
    asked: AtomicUsize,
}

impl Zone {
    /// Adds a record to those of a name.
    #[must_use]
    pub fn with(mut self, name: &str, record: Record) -> Self {
        self.add(name, record);
        self
    }

    /// Adds a text to the records of a name.
    #[must_use]
    pub fn with_txt(self, name: &str, text: &str) -> Self {
        self.with(name, Record::Txt(text.to_owned()))
    }

    /// Adds an address to the records of a host.
    #[must_use]
    pub fn with_address(self, host: &str, address: IpAddr) -> Self {
        self.with(
            host,
            match address {
                IpAddr::V4(address) => Record::A(address),
                IpAddr::V6(address) => Record::Aaaa(address),
            },
        )
    }

    /// Adds a name to those of an address.
    #[must_use]
    pub fn with_ptr(self, address: IpAddr, name: &str) -> Self {
        self.with(&reverse_name(address), Record::Ptr(name.to_owned()))
    }

    /// Adds a record to those of a name, in place.
    pub fn add(&mut self, name: &str, record: Record) {
        self.records.entry(name.to_ascii_lowercase()).or_default().push(record);
    }

    /// Returns the number of look-ups so far.
    #[must_use]
    pub fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }

    fn look_up<T: Send + 'static>(
        &self,
        name: &str,
        read: impl Fn(&Record) -> Option<T>,
    ) -> Query<'static, T> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        Box::pin(ready(self.find(name, read)))
    }

    fn find<T>(
        &self,
        name: &str,
        read: impl Fn(&Record) -> Option<T>,
    ) -> Result<Vec<T>, LookupError> {
        let mut name = name.to_ascii_lowercase();
        for _ in 0..=ALIASES {
            let records = self.records.get(&name).ok_or(LookupError::Nothing)?;
            let alias = records.iter().find_map(|record| match record {
                Record::Cname(target) => Some(target),
                _ => None,
            });
            if let Some(target) = alias {
                name = target.to_ascii_lowercase();
                continue;
            }
            let octets: usize = records.iter().map(octets).sum();
            let found: Vec<_> = records.iter().filter_map(read).collect();
            return match found.len() {
                0 if records.contains(&Record::Failure) => Err(LookupError::Temporary),
                0 => Err(LookupError::Nothing),
                count if count > ANSWER_RECORDS || octets > ANSWER_OCTETS => {
                    Err(LookupError::Temporary)
                }
                _ => Ok(found),
            };
        }
        Err(LookupError::Temporary)
    }
}

fn octets(record: &Record) -> usize {
    match record {
        Record::Txt(text) => text.len(),
        _ => 0,
    }
}

impl Lookup for Zone {
    fn txt<'a>(&'a self, name: &'a str) -> Query<'a, String> {
        self.look_up(name, |record| match record {
            Record::Txt(text) => Some(text.clone()),
            _ => None,
        })
    }

    fn addresses<'a>(&'a self, host: &'a str, family: Family) -> Query<'a, IpAddr> {
        self.look_up(host, move |record| match (record, family) {
            (Record::A(address), Family::V4) => Some(IpAddr::V4(*address)),
            (Record::Aaaa(address), Family::V6) => Some(IpAddr::V6(*address)),
            _ => None,
        })
    }

    fn mx<'a>(&'a self, domain: &'a str) -> Query<'a, (u16, String)> {
        self.look_up(domain, |record| match record {
            Record::Mx(preference, host) => Some((*preference, host.clone())),
            _ => None,
        })
    }

    fn ptr(&self, address: IpAddr) -> Query<'_, String> {
        self.look_up(&reverse_name(address), |record| match record {
            Record::Ptr(name) => Some(name.clone()),
            _ => None,
        })
    }

    fn exists<'a>(&'a self, name: &'a str) -> Check<'a> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let name = name.to_ascii_lowercase();
        let is_there = |known: &String| {
            known.strip_suffix(&name).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
        };
        let fails =
            self.records.get(&name).is_some_and(|records| records.contains(&Record::Failure));
        let exists = self.records.keys().any(is_there);
        Box::pin(ready(if fails { Err(LookupError::Temporary) } else { Ok(exists) }))
    }
}

/// Returns the output of a future that waits for nothing but a [`Zone`], which answers at once; `None`
/// for any other future.
pub fn now_or_never<F: Future>(future: F) -> Option<F::Output> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    }
}

/// Returns the name under which the names of an address are published (RFC 1035 §3.5, RFC 3596 §2.5).
#[must_use]
pub fn reverse_name(address: IpAddr) -> String {
    let mut name = String::new();
    // Writing to a string cannot fail.
    match address {
        IpAddr::V4(address) => {
            for octet in address.octets().iter().rev() {
                let _ = write!(name, "{octet}.");
            }
            name + "in-addr.arpa"
        }
        IpAddr::V6(address) => {
            for octet in address.octets().iter().rev() {
                let _ = write!(name, "{:x}.{:x}.", octet & 15, octet >> 4);
            }
            name + "ip6.arpa"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_have_names() {
        assert_eq!(reverse_name("192.0.2.1".parse().unwrap()), "1.2.0.192.in-addr.arpa");
        let six = reverse_name("2001:db8::cb01".parse().unwrap());
        assert!(
            six.starts_with("1.0.b.c.0.") && six.ends_with(".8.b.d.0.1.0.0.2.ip6.arpa"),
            "{six}"
        );
    }

    #[test]
    fn aliases_lead_on_unless_they_form_a_loop() {
        let zone = Zone::default()
            .with("a.test", Record::Cname("B.test".into()))
            .with_txt("b.test", "text")
            .with("loop.test", Record::Cname("loop.test".into()));
        let text = |record: &Record| matches!(record, Record::Txt(_)).then_some(());
        assert_eq!(zone.find("A.test", text), Ok(vec![()]));
        assert_eq!(zone.find("loop.test", text), Err(LookupError::Temporary));
        assert_eq!(zone.find("c.test", text), Err(LookupError::Nothing));
    }

    #[test]
    fn large_answers_are_no_answers() {
        let zone = |octets| Zone::default().with_txt("a.test", &"x".repeat(octets));
        let text = |record: &Record| matches!(record, Record::Txt(_)).then_some(());
        assert_eq!(zone(ANSWER_OCTETS).find("a.test", text), Ok(vec![()]));
        assert_eq!(zone(ANSWER_OCTETS + 1).find("a.test", text), Err(LookupError::Temporary));
    }
}
