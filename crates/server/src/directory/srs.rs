//! The Sender Rewriting Scheme (SRS): mail that is forwarded to another server gets a sender address in
//! a local domain, so that it passes SPF there (RFC 7208 §7.4 explains why it otherwise would not), and
//! bounces find their way back.
//!
//! `ana@x.test` becomes `SRS0=hash=day=x.test=ana@ours`. Mail to that address is passed on to
//! `ana@x.test`, but only if this server made the address, within the last three weeks. An address that
//! another forwarder made becomes `SRS1=hash=theirs==rest@ours`, however many forwarders came before.
//!
//! Only the hash keeps strangers from relaying through such addresses to anyone they like. It has 130
//! bits if the local-part has room for them. Beside a long address it has fewer, but at least 60:
//! guessing one takes 2^59 refused recipients on average, which `refusals.rs` makes slow. The length of
//! the hash follows from the rest of the address, so nobody can choose a short one. SRS1 also contains
//! another forwarder's hash, and 40 bits are enough: guessing them only reaches addresses that begin
//! with `SRS0=`, whose forwarders check their own hash. If there is no room even for that, mail keeps
//! its sender, since not every server accepts a local-part of more than 64 octets; a sender whose own
//! local-part is longer gets one that is longer still. `limits/sending_rate.rs` limits the mail to an
//! address that has become known.

use aws_lc_rs::{constant_time::verify_slices_are_equal, hmac};
use posta_mail::{Address, Domain, Timestamp, limits};
use posta_net::clock::Clock;
use posta_store::{Store, StoreError};

/// The kind of the store's record that holds the key.
const KIND: &str = "srs";

/// The name of the store's record that holds the key.
const NAME: &str = "key";

/// The number of octets in the key.
const KEY: usize = 32;

/// The number of characters in the hash, of 5 bits each. Case is ignored, since it may be lost on the
/// way.
const HASH: usize = 26;

/// The minimal number of characters in the hash, beside an address for which [`HASH`] leaves no room.
const SHORT_HASH: usize = 12;

/// The minimal number of characters in the hash of SRS1.
const SHORT_HASH_OF_SRS1: usize = 8;

/// The number of characters in a local-part apart from the hash and the text that it covers: `SRS0=` and
/// `=`.
const FRAME: usize = 6;

/// The beginning of an address made by the first forwarder.
const FORWARDED: &str = "SRS0=";

/// The number of days for which an address leads back.
const DAYS: i64 = 21;

/// The number of days after which the count starts again: as many as two characters can represent.
const CYCLE: i64 = 1_024;

/// The digits of base 32, in lower case.
const DIGITS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

/// Makes SRS addresses, and finds the sender behind them.
#[derive(Clone)]
pub struct Srs {
    key: hmac::Key,
    host: Domain,
}

impl Srs {
    /// Reads the key from the store, or makes one if there is none.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn open(
        store: &dyn Store,
        host: Domain,
        clock: &dyn Clock,
    ) -> Result<Self, StoreError> {
        let mut key = store.kept_one(KIND, NAME).await?;
        if key.is_none() {
            let mut new = vec![0; KEY];
            clock.random(&mut new);
            // If another process made a key at the same moment, the result is that one.
            key = store.keep_if(KIND, NAME, None, Some(new)).await?;
        }
        let key =
            key.ok_or_else(|| StoreError::Failed("the SRS key could not be stored".to_owned()))?;
        Ok(Self::new(&key, host))
    }

    fn new(key: &[u8], host: Domain) -> Self {
        Self { key: hmac::Key::new(hmac::HMAC_SHA256, key), host }
    }

    /// Returns the address that represents a sender in forwarded mail; `None` if it would be too long,
    /// in which case the mail keeps its sender.
    #[must_use]
    pub fn forward(&self, sender: &Address, now: Timestamp) -> Option<Address> {
        let (local, domain) = (sender.local_part(), sender.domain());
        let local = if let Some(rest) = strip(local, FORWARDED) {
            self.srs1(&format!("{domain}=={rest}"))?
        } else if let Some((_, rest)) = strip(local, "SRS1=").and_then(|rest| rest.split_once('='))
        {
            self.srs1(rest)?
        } else {
            let rest = format!("{}={domain}={local}", day(now));
            format!("{FORWARDED}{}={rest}", self.hash(&rest, local.len(), SHORT_HASH)?)
        };
        Address::new(&local, &self.host).ok()
    }

    /// Returns the sender behind such an address; `None` if this server did not make the address, or it
    /// is too old.
    #[must_use]
    pub fn back(&self, address: &Address, now: Timestamp) -> Option<Address> {
        if address.domain() != self.host.as_str() {
            return None;
        }
        let local = address.local_part();
        if let Some(rest) = strip(local, "SRS1=") {
            let (hash, rest) = rest.split_once('=')?;
            let (host, rest_of_theirs) = rest.split_once("==")?;
            let theirs = FORWARDED.len() + rest_of_theirs.len();
            let is_ours = self.is_hash(hash, rest, theirs, SHORT_HASH_OF_SRS1);
            return is_ours.then(|| {
                Address::new(&format!("{FORWARDED}{rest_of_theirs}"), &host.parse().ok()?).ok()
            })?;
        }
        let (hash, rest) = strip(local, FORWARDED)?.split_once('=')?;
        let (made, original) = rest.split_once('=')?;
        let (domain, local) = original.split_once('=')?;
        (self.is_hash(hash, rest, local.len(), SHORT_HASH) && is_recent(made, now))
            .then(|| Address::new(local, &domain.parse().ok()?).ok())?
    }

    /// Returns the local-part that represents another forwarder's address, given as `host==rest`.
    fn srs1(&self, theirs: &str) -> Option<String> {
        let rest = theirs.split_once("==").map_or(0, |(_, rest)| rest.len());
        let hash = self.hash(theirs, FORWARDED.len() + rest, SHORT_HASH_OF_SRS1)?;
        Some(format!("SRS1={hash}={theirs}"))
    }

    /// Returns whether an address looks like one made by this server. If it leads to nobody, it is
    /// forged or too old.
    #[must_use]
    pub fn is_like_ours(&self, address: &Address) -> bool {
        let local = address.local_part();
        let is_rewritten = strip(local, FORWARDED).or(strip(local, "SRS1=")).is_some();
        is_rewritten && address.domain() == self.host.as_str()
    }

    /// Returns the hash of an address's text, as long as there is room for; `None` if there is no room
    /// for `least` characters. `original` is the length of the local-part to which the address leads
    /// back. Case is ignored.
    fn hash(&self, text: &str, original: usize, least: usize) -> Option<String> {
        let limit = match original > limits::LOCAL_PART_EVERYWHERE {
            true => limits::LOCAL_PART,
            false => limits::LOCAL_PART_EVERYWHERE,
        };
        let room = limit.checked_sub(FRAME + text.len())?;
        let length = Some(room.min(HASH)).filter(|&length| length >= least)?;
        let tag = hmac::sign(&self.key, text.to_ascii_lowercase().as_bytes());
        Some(tag.as_ref().iter().take(length).map(|octet| digit(i64::from(*octet))).collect())
    }

    fn is_hash(&self, hash: &str, text: &str, original: usize, least: usize) -> bool {
        let theirs = hash.to_ascii_lowercase();
        self.hash(text, original, least)
            .is_some_and(|ours| verify_slices_are_equal(ours.as_bytes(), theirs.as_bytes()).is_ok())
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

/// Returns the day of a time, in two characters.
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
        let (one, two, three) = (srs("one.test"), srs("two.test"), srs("three.test"));
        let (ana, now) = ("ana@x.test".parse().unwrap(), day_of(20_000));
        let first = one.forward(&ana, now).unwrap();
        assert!(
            first.as_str().starts_with("SRS0=") && first.as_str().ends_with("=x.test=ana@one.test"),
            "{first}"
        );
        assert_eq!(one.back(&first, day_of(20_021)).as_ref(), Some(&ana));
        assert_eq!(one.back(&first, day_of(20_022)), None, "too old");
        let lower = first.as_str().to_ascii_lowercase().parse().unwrap();
        assert_eq!(one.back(&lower, now).as_ref(), Some(&ana), "case may be lost");
        assert_eq!(two.back(&first, now), None, "another's");
        let forged = first.as_str().replace("x.test", "y.test").parse().unwrap();
        assert_eq!(one.back(&forged, now), None);
        // The mail is forwarded twice more, and each address leads back to the first sender.
        let second = two.forward(&first, now).unwrap();
        assert_eq!(two.back(&second, now).as_ref(), Some(&first), "{second}");
        let third = three.forward(&second, now).unwrap();
        assert!(third.as_str().len() < second.as_str().len() + 4, "it grows no more: {third}");
        assert_eq!(three.back(&third, now).as_ref(), Some(&first));
        let odd = "a=b@x.test".parse().unwrap();
        let back = one.forward(&odd, now).and_then(|made| one.back(&made, now));
        assert_eq!(back, Some(odd));
        let long: Address = format!("{}@x.test", "a".repeat(60)).parse().unwrap();
        assert_eq!(one.forward(&long, now), None);
    }

    /// Anyone who guessed the hash could relay through this server.
    #[test]
    fn a_hash_is_as_long_as_there_is_room_for() {
        let (srs, now) = (srs("ours.test"), day_of(20_000));
        let forward = |length: usize| {
            srs.forward(&format!("{}@x.test", "a".repeat(length)).parse().unwrap(), now)
        };
        for (length, characters) in [(1, 26), (22, 26), (23, 25), (36, 12)] {
            let made = forward(length).unwrap();
            let hash = made.local_part().split('=').nth(1).unwrap();
            assert_eq!(hash.len(), characters, "{made}");
            assert!(made.local_part().len() <= limits::LOCAL_PART_EVERYWHERE);
            let upper = made.as_str().to_ascii_uppercase().replace("OURS.TEST", "ours.test");
            assert!(srs.back(&upper.parse().unwrap(), now).is_some(), "{upper}");
            for fewer in [0, 6, 11, 12, hash.len() - 1] {
                if fewer < hash.len() {
                    let short = made.as_str().replace(hash, &hash[..fewer]);
                    assert_eq!(srs.back(&short.parse().unwrap(), now), None, "{short}");
                }
            }
        }
        assert_eq!(forward(37), None);
        assert_eq!(forward(64), None);
        // A local-part that not every server accepts anyway may become longer.
        for length in [65, 128, 214] {
            let made = forward(length).unwrap();
            assert_eq!(made.local_part().split('=').nth(1).unwrap().len(), 26, "{made}");
            let back = srs.back(&made, now).unwrap();
            assert_eq!(back.local_part().len(), length);
            let again =
                srs.forward(&format!("{}@other.test", made.local_part()).parse().unwrap(), now);
            assert!(length == 214 || again.and_then(|again| srs.back(&again, now)).is_some());
        }
        assert_eq!(forward(256), None, "beyond what we take ourselves");
    }
}
