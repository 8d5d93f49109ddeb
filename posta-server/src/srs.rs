//! The Sender Rewriting Scheme: mail that is forwarded to another server comes from us, so that its
//! SPF holds there (RFC 7208 §7.4 says why it would not), and what comes back finds its way.
//!
//! `ana@x.test` becomes `SRS0=hash=day=x.test=ana@ours`. Who sends to that address reaches
//! `ana@x.test` through us: only addresses that we made ourselves, for three weeks. An address that
//! another forwarder made becomes `SRS1=hash=theirs==rest@ours`, however many came before us.

use crate::clock::Clock;
use aws_lc_rs::hmac;
use posta_mail::{Address, Domain, Timestamp};
use posta_store::{Store, StoreError};

/// The kind and the name of the record that holds the key.
const KIND: &str = "srs";
const NAME: &str = "key";

/// Octets of the key.
const KEY: usize = 32;

/// Characters of the hash: 30 bits, each guess of which is a refused recipient.
const HASH: usize = 6;

/// For how many days an address leads back.
const DAYS: i64 = 21;

/// Days after which the count begins anew: two characters.
const CYCLE: i64 = 1_024;

const DIGITS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

/// Makes addresses, and undoes them.
#[derive(Clone)]
pub struct Srs {
    key: hmac::Key,
    host: Domain,
}

impl Srs {
    /// With the key of this store, which is made if there is none.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn open(
        store: &dyn Store,
        host: Domain,
        clock: &dyn Clock,
    ) -> Result<Self, StoreError> {
        let kept = store.kept(KIND).await?.into_iter().find(|(name, _)| name == NAME);
        let key = match kept {
            Some((_, key)) => key,
            None => {
                let mut key = vec![0; KEY];
                clock.random(&mut key);
                store.keep(KIND, NAME, Some(key.clone())).await?;
                key
            }
        };
        Ok(Self::new(&key, host))
    }

    fn new(key: &[u8], host: Domain) -> Self {
        Self { key: hmac::Key::new(hmac::HMAC_SHA256, key), host }
    }

    /// The address that stands for a sender in mail that is forwarded. None if it would be too long:
    /// then the sender's own has to do.
    #[must_use]
    pub fn forward(&self, sender: &Address, now: Timestamp) -> Option<Address> {
        let (local, domain) = (sender.local_part(), sender.domain());
        let local = if let Some(rest) = strip(local, "SRS0=") {
            let rest = format!("{domain}=={rest}");
            format!("SRS1={}={rest}", self.hash(&rest))
        } else if let Some((_, rest)) = strip(local, "SRS1=").and_then(|rest| rest.split_once('='))
        {
            format!("SRS1={}={rest}", self.hash(rest))
        } else {
            let rest = format!("{}={domain}={local}", day(now));
            format!("SRS0={}={rest}", self.hash(&rest))
        };
        Address::new(&local, &self.host).ok()
    }

    /// Whom such an address stands for; none if it is not one of ours, or too old.
    #[must_use]
    pub fn back(&self, address: &Address, now: Timestamp) -> Option<Address> {
        if address.domain() != self.host.as_str() {
            return None;
        }
        let local = address.local_part();
        if let Some(rest) = strip(local, "SRS1=") {
            let (hash, rest) = rest.split_once('=')?;
            let (host, rest_of_theirs) = rest.split_once("==")?;
            let is_ours = self.is_hash(hash, rest);
            return is_ours.then(|| {
                Address::new(&format!("SRS0={rest_of_theirs}"), &host.parse().ok()?).ok()
            })?;
        }
        let (hash, rest) = strip(local, "SRS0=")?.split_once('=')?;
        let (made, original) = rest.split_once('=')?;
        let (domain, local) = original.split_once('=')?;
        (self.is_hash(hash, rest) && is_recent(made, now))
            .then(|| Address::new(local, &domain.parse().ok()?).ok())?
    }

    /// Whether an address looks like one of ours. If it leads nobody back, it is forged or too old.
    #[must_use]
    pub fn is_like_ours(&self, address: &Address) -> bool {
        let local = address.local_part();
        let is_rewritten = strip(local, "SRS0=").or(strip(local, "SRS1=")).is_some();
        is_rewritten && address.domain() == self.host.as_str()
    }

    /// Case may be lost on the way.
    fn hash(&self, text: &str) -> String {
        let tag = hmac::sign(&self.key, text.to_ascii_lowercase().as_bytes());
        tag.as_ref().iter().take(HASH).map(|octet| digit(i64::from(*octet))).collect()
    }

    fn is_hash(&self, hash: &str, text: &str) -> bool {
        let (ours, theirs) = (self.hash(text), hash.to_ascii_lowercase());
        aws_lc_rs::constant_time::verify_slices_are_equal(ours.as_bytes(), theirs.as_bytes())
            .is_ok()
    }
}

fn strip<'t>(text: &'t str, prefix: &str) -> Option<&'t str> {
    let head = text.get(..prefix.len())?;
    head.eq_ignore_ascii_case(prefix).then(|| &text[prefix.len()..])
}

fn digit(value: i64) -> char {
    char::from(DIGITS[(value & 31) as usize])
}

fn days(now: Timestamp) -> i64 {
    now.as_second().div_euclid(24 * 60 * 60).rem_euclid(CYCLE)
}

/// The day, in two characters.
fn day(now: Timestamp) -> String {
    let days = days(now);
    [digit(days >> 5), digit(days)].into_iter().collect()
}

fn is_recent(text: &str, now: Timestamp) -> bool {
    let text = text.to_ascii_lowercase();
    let value = |octet: u8| DIGITS.iter().position(|&digit| digit == octet);
    let [high, low] = *text.as_bytes() else { return false };
    let (Some(high), Some(low)) = (value(high), value(low)) else { return false };
    let made = (high * 32 + low) as i64;
    (days(now) - made).rem_euclid(CYCLE) <= DAYS
}

#[cfg(test)]
mod tests {
    use super::*;

    fn srs(host: &str) -> Srs {
        Srs::new(host.as_bytes(), host.parse().unwrap())
    }

    fn day_of(day: i64) -> Timestamp {
        Timestamp::from_second(day * 24 * 60 * 60).unwrap()
    }

    #[test]
    fn there_and_back() {
        let (one, two, three) = (srs("mail.one.test"), srs("two.test"), srs("three.test"));
        let (ana, now) = ("ana=b@x.test".parse().unwrap(), day_of(20_000));
        let first = one.forward(&ana, now).unwrap();
        assert!(
            first.as_str().starts_with("SRS0=")
                && first.as_str().ends_with("=x.test=ana=b@mail.one.test"),
            "{first}"
        );
        assert_eq!(one.back(&first, day_of(20_021)).as_ref(), Some(&ana));
        assert_eq!(one.back(&first, day_of(20_022)), None, "too old");
        let lower = first.as_str().to_ascii_lowercase().parse().unwrap();
        assert_eq!(one.back(&lower, now).as_ref(), Some(&ana), "case may be lost");
        assert_eq!(two.back(&first, now), None, "another's");
        let forged = first.as_str().replace("x.test", "y.test").parse().unwrap();
        assert_eq!(one.back(&forged, now), None);
        // Forwarded again, and again: each leads back to the first.
        let second = two.forward(&first, now).unwrap();
        assert_eq!(two.back(&second, now).as_ref(), Some(&first), "{second}");
        let third = three.forward(&second, now).unwrap();
        assert!(third.as_str().len() < second.as_str().len() + 4, "it grows no more: {third}");
        assert_eq!(three.back(&third, now).as_ref(), Some(&first));
        let long: Address = format!("{}@x.test", "a".repeat(60)).parse().unwrap();
        assert_eq!(one.forward(&long, now), None);
    }
}
