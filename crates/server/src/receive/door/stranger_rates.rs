//! Limits on the number of recipients that strangers write to in an hour, by network and by sender.
//!
//! A sender is counted separately for each network: its address proves nothing, and otherwise anybody could use up the
//! limit of somebody else. If a table is full, further networks or senders are not counted: these limits spread load,
//! and must not become a means to block the mail of others.

use super::sender_network::SenderNetwork;
use crate::settings::DoorSettings;
use parking_lot::Mutex;
use posta_mail::{Reply, ReversePath, Timestamp};
use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
};

/// The seconds in the period of counting.
const HOUR: i64 = 60 * 60;

/// The maximal number of networks, and of senders, that are counted in an hour: 2 MiB of memory.
const KEYS: usize = 64 * 1024;

/// Counts the recipients that strangers named in the current hour.
#[derive(Debug, Default)]
pub(super) struct StrangerRates {
    counts: Mutex<Counts>,
    /// Turns a network and a sender into a key, in a way that strangers cannot foresee.
    hasher: RandomState,
}

#[derive(Debug, Default)]
struct Counts {
    hour: i64,
    networks: HashMap<SenderNetwork, u32>,
    senders: HashMap<u64, u32>,
}

impl StrangerRates {
    /// Counts a recipient.
    ///
    /// # Errors
    /// The refusal, if the network or the sender has reached its limit.
    pub(super) fn take(
        &self,
        settings: &DoorSettings,
        network: SenderNetwork,
        sender: &ReversePath,
        now: Timestamp,
    ) -> Result<(), Reply> {
        let (hour, mut counts) = (now.as_second() / HOUR, self.counts.lock());
        if counts.hour != hour {
            *counts = Counts { hour, ..Counts::default() };
        }
        if !take(&mut counts.networks, network, settings.network_recipients) {
            let limit = settings.network_recipients;
            return Err(too_many(&format!("From {network} come {limit} recipients an hour")));
        }
        // Reports of all the world have the same sender, which is nobody.
        let ReversePath::Address(address) = sender else { return Ok(()) };
        let key = self.hasher.hash_one((network, address.folded().as_str()));
        if !take(&mut counts.senders, key, settings.sender_recipients) {
            let limit = settings.sender_recipients;
            return Err(too_many(&format!("One sender has {limit} recipients an hour")));
        }
        Ok(())
    }
}

/// Counts one more, unless the limit is reached; 0 means no limit.
fn take<K: std::hash::Hash + Eq>(counts: &mut HashMap<K, u32>, key: K, limit: u32) -> bool {
    if limit == 0 || counts.len() >= KEYS && !counts.contains_key(&key) {
        return true;
    }
    let count = counts.entry(key).or_default();
    let is_allowed = *count < limit;
    *count += u32::from(is_allowed);
    is_allowed
}

fn too_many(words: &str) -> Reply {
    Reply::new(450, (4, 7, 1), format!("{words} at most: send to the others later"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::IpAddr;

    fn network(last: u8) -> SenderNetwork {
        SenderNetwork::of(IpAddr::from([192, 0, last, 7]).into())
    }

    fn from(address: &str) -> ReversePath {
        ReversePath::Address(address.parse().unwrap())
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn networks_and_senders_have_limits_of_their_own() {
        let rates = StrangerRates::default();
        let settings =
            DoorSettings { network_recipients: 5, sender_recipients: 2, ..DoorSettings::open() };
        let take = |last, sender: &str, second| {
            rates.take(&settings, network(last), &from(sender), at(second)).is_ok()
        };
        assert!(take(1, "a@x.test", 0) && take(1, "A@X.test", 0) && !take(1, "a@x.test", 0));
        assert!(take(2, "a@x.test", 0), "a forger elsewhere uses up nothing of it");
        assert!(take(1, "b@x.test", 0) && take(1, "c@x.test", 0));
        assert!(!take(1, "d@x.test", 0), "the network");
        assert!(take(1, "a@x.test", HOUR), "the next hour");
        let null = || rates.take(&settings, network(3), &ReversePath::Null, at(HOUR)).is_ok();
        assert_eq!((0..9).filter(|_| null()).count(), 5, "reports have no sender");
    }

    #[test]
    fn what_is_counted_is_bounded_and_nobody_is_kept_out() {
        let mut counts = HashMap::new();
        assert!((0..KEYS).all(|key| take(&mut counts, key, 1)));
        assert!(take(&mut counts, KEYS, 1) && take(&mut counts, KEYS, 1));
        assert!(!take(&mut counts, 0, 1));
        assert_eq!(counts.len(), KEYS);
    }
}
