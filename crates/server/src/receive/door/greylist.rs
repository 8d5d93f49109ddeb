//! Greylisting (RFC 6647): mail of a sender that is not known yet is deferred once. A server tries again; most programs
//! that send spam do not.
//!
//! Deferred mail is identified by its origin, its sender and its recipient. If SPF allows the client to send for the
//! sender's domain, the origin is that domain, since large providers try again from any of their servers; otherwise it
//! is the client's network, so that a neighbouring server may try again. An origin that has tried again once is known
//! from then on: all mail from it with the sender's domain passes at once.
//!
//! Both tables are in the store, so that a restart forgets nothing and every machine of a cluster sees the same. A
//! table has [`BUCKETS`] records of at most [`ENTRIES`] entries of [`ENTRY`] octets: 1.3 MB. Strangers cannot make
//! it larger, and cannot foresee which record an entry is in, since that depends on a secret. In a full record, a flood
//! from one network replaces its own entries first. Known senders have a table of their own, in which only others that
//! have tried again can take their place.

use super::sender_network::SenderNetwork;
use aws_lc_rs::hmac;
use posta_mail::{Address, ReversePath, Timestamp};
use posta_net::clock::Clock;
use posta_store::{Store, StoreError};
use std::{fmt, time::Duration};

/// The time after which deferred mail may be tried again. Programs that send spam, if they try again at all, do so at
/// once; servers wait longer, and each additional minute delays good mail by a minute.
pub(super) const DELAY: Duration = Duration::from_secs(60);

/// The mail that was deferred.
const WAITING: Table = Table { kind: "greylist", lifetime: 24 * 60 * 60 };

/// The senders that tried again. A monthly letter renews this in time.
const KNOWN: Table = Table { kind: "greylist-known", lifetime: 36 * 24 * 60 * 60 };

/// The kind and the name of the record with the secret.
const SECRET: (&str, &str) = ("greylist-secret", "key");

/// The age in seconds from which the use of a known sender's entry is recorded again.
const RENEWED_AFTER: u32 = 24 * 60 * 60;

/// The number of records of a table.
const BUCKETS: u64 = 1024;

/// The maximal number of entries in a record.
const ENTRIES: usize = 64;

/// The number of entries of one network in a full record from which a new one takes the place of its oldest.
const OF_ONE: usize = 4;

/// The number of attempts at a change that conflicts with those of other sessions.
const ATTEMPTS: u32 = 4;

/// The origin of mail, for greylisting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Provenance {
    /// A domain that allows the client to send for it (SPF).
    Domain(String),
    /// A network.
    Network(SenderNetwork),
}

/// The decision about mail for a recipient.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Greylisted {
    /// The mail is accepted.
    Passes,
    /// The mail is deferred, for this number of seconds.
    Waits(u32),
}

impl fmt::Display for Provenance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Domain(domain) => f.write_str(&domain.to_ascii_lowercase()),
            Self::Network(network) => network.fmt(f),
        }
    }
}

/// The secret that decides in which record an entry is. If it were known, 64 chosen names would put everybody else out of
/// a record.
#[derive(Debug, Clone)]
pub(super) struct Secret(hmac::Key);

impl Secret {
    /// Reads the secret from the store, or makes one if there is none.
    ///
    /// # Errors
    /// When the store fails.
    pub(super) async fn open(store: &dyn Store, clock: &dyn Clock) -> Result<Self, StoreError> {
        let mut kept = store.kept_one(SECRET.0, SECRET.1).await?;
        if kept.is_none() {
            let mut new = vec![0; 32];
            clock.random(&mut new);
            // If another process made a secret at the same moment, the result is that one.
            kept = store.keep_if(SECRET.0, SECRET.1, None, Some(new)).await?;
        }
        let failed = || StoreError::Failed("the secret of greylisting was not stored".to_owned());
        Ok(Self(hmac::Key::new(hmac::HMAC_SHA256, &kept.ok_or_else(failed)?)))
    }

    /// Returns a number for a name of several parts.
    fn hash(&self, parts: &[&str]) -> u64 {
        let hashed = hmac::sign(&self.0, parts.join("\0").as_bytes());
        let mut octets = [0; 8];
        octets.copy_from_slice(&hashed.as_ref()[..8]);
        u64::from_le_bytes(octets)
    }
}

/// Decides whether mail of an origin, from a client's network, is accepted now, and records the attempt.
///
/// # Errors
/// When the store fails.
pub(super) async fn admit(
    (store, secret): (&dyn Store, &Secret),
    (provenance, network): (&Provenance, SenderNetwork),
    (sender, recipient): (&ReversePath, &Address),
    now: Timestamp,
) -> Result<Greylisted, StoreError> {
    let now = u32::try_from(now.as_second()).unwrap_or_default();
    let provenance = provenance.to_string();
    let (sender, domain) = match sender {
        ReversePath::Address(sender) => (sender.folded().to_string(), sender.domain().to_owned()),
        ReversePath::Null => (String::new(), String::new()),
    };
    // Even where SPF passes: domains cost less than networks.
    let of = secret.hash(&[&network.to_string()]).to_le_bytes();
    let entry = |named: &[&str]| Entry { key: secret.hash(named), of, at: now };
    let known = entry(&[&provenance, &domain]);
    let is_known = KNOWN.change(store, known.key, now, |bucket| match bucket.find(known.key) {
        Some(found) => {
            if now.saturating_sub(found.at) >= RENEWED_AFTER {
                found.at = now;
            }
            true
        }
        None => false,
    });
    if is_known.await? {
        return Ok(Greylisted::Passes);
    }
    let new = entry(&[&provenance, &sender, recipient.folded().as_str()]);
    let delay = DELAY.as_secs() as u32;
    let decided = WAITING.change(store, new.key, now, |bucket| match bucket.find(new.key) {
        Some(found) if now.saturating_sub(found.at) >= delay => {
            bucket.remove(new.key);
            Greylisted::Passes
        }
        Some(found) => Greylisted::Waits(delay - now.saturating_sub(found.at)),
        None => {
            bucket.insert(new);
            Greylisted::Waits(delay)
        }
    });
    let decided = decided.await?;
    if decided == Greylisted::Passes {
        KNOWN.change(store, known.key, now, |bucket| bucket.insert(known)).await?;
    }
    Ok(decided)
}

/// A table in the store.
struct Table {
    /// The kind of its records.
    kind: &'static str,
    /// The number of seconds for which an entry is valid.
    lifetime: u32,
}

impl Table {
    /// Changes the record with a key. `act` may be called more than once, each time with the current record.
    async fn change<T>(
        &self,
        store: &dyn Store,
        key: u64,
        now: u32,
        act: impl Fn(&mut Bucket) -> T,
    ) -> Result<T, StoreError> {
        let name = format!("{:03x}", key % BUCKETS);
        let mut kept = store.kept_one(self.kind, &name).await?;
        let mut attempts = 0;
        loop {
            let before = Bucket::read(kept.as_deref().unwrap_or_default(), now, self.lifetime);
            let mut bucket = before.clone();
            let done = act(&mut bucket);
            attempts += 1;
            if bucket == before || attempts > ATTEMPTS {
                return Ok(done);
            }
            let record = Some(bucket.write());
            let there = store.keep_if(self.kind, &name, kept, record.clone()).await?;
            if there == record {
                return Ok(done);
            }
            kept = there;
        }
    }
}

/// The entries of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Bucket(Vec<Entry>);

/// A deferred message, or a known sender.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Entry {
    key: u64,
    /// Names the network that it came from.
    of: [u8; 8],
    /// The time, in seconds since 1970.
    at: u32,
}

/// The number of octets of an entry in a record.
const ENTRY: usize = 20;

impl Bucket {
    /// Reads a record, without the entries that have expired.
    fn read(record: &[u8], now: u32, lifetime: u32) -> Self {
        let (entries, _) = record.as_chunks::<ENTRY>();
        let entries = entries.iter().map(Entry::read);
        Self(entries.filter(|entry| now.saturating_sub(entry.at) < lifetime).collect())
    }

    fn write(&self) -> Vec<u8> {
        self.0.iter().flat_map(Entry::write).collect()
    }

    fn find(&mut self, key: u64) -> Option<&mut Entry> {
        self.0.iter_mut().find(|entry| entry.key == key)
    }

    fn remove(&mut self, key: u64) {
        self.0.retain(|entry| entry.key != key);
    }

    /// Adds an entry. A full bucket loses its oldest entry; one of the same network, if that has several.
    fn insert(&mut self, new: Entry) {
        self.remove(new.key);
        if self.0.len() >= ENTRIES {
            let is_like = |entry: &Entry| entry.of == new.of;
            let only_like = self.0.iter().filter(|entry| is_like(entry)).count() >= OF_ONE;
            let oldest = (self.0.iter().enumerate())
                .filter(|(_, entry)| !only_like || is_like(entry))
                .min_by_key(|(_, entry)| entry.at);
            if let Some((oldest, _)) = oldest {
                self.0.remove(oldest);
            }
        }
        self.0.push(new);
    }
}

impl Entry {
    fn read(octets: &[u8; ENTRY]) -> Self {
        let (mut key, mut of, mut at) = ([0; 8], [0; 8], [0; 4]);
        key.copy_from_slice(&octets[..8]);
        of.copy_from_slice(&octets[8..16]);
        at.copy_from_slice(&octets[16..]);
        Self { key: u64::from_le_bytes(key), of, at: u32::from_le_bytes(at) }
    }

    fn write(&self) -> [u8; ENTRY] {
        let mut octets = [0; ENTRY];
        octets[..8].copy_from_slice(&self.key.to_le_bytes());
        octets[8..16].copy_from_slice(&self.of);
        octets[16..].copy_from_slice(&self.at.to_le_bytes());
        octets
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use posta_mail::ClientAddress;
    use posta_store::{MemoryStore, Records};
    use std::net::IpAddr;

    const T0: i64 = 1_074_188_330;

    fn network(address: &str) -> Provenance {
        Provenance::Network(SenderNetwork::of(address.parse::<IpAddr>().unwrap().into()))
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(T0 + seconds).unwrap()
    }

    fn secret(octet: u8) -> Secret {
        Secret(hmac::Key::new(hmac::HMAC_SHA256, &[octet; 32]))
    }

    async fn come(store: &MemoryStore, from: &Provenance, named: [&str; 2], seconds: i64) -> bool {
        let sender = match named[0] {
            "" => ReversePath::Null,
            address => ReversePath::Address(address.parse().unwrap()),
        };
        let recipient = named[1].parse().unwrap();
        let (secret, network) = match from {
            Provenance::Network(network) => (&secret(1), *network),
            Provenance::Domain(_) => (&secret(1), SenderNetwork::of(ClientAddress::Unknown)),
        };
        let (store, from): (&dyn Store, _) = (store, (from, network));
        let decided = admit((store, secret), from, (&sender, &recipient), at(seconds)).await;
        let decided = decided.unwrap();
        decided == Greylisted::Passes
    }

    #[tokio::test]
    async fn who_tries_again_is_known_from_then_on() {
        let (store, one) = (MemoryStore::new(), network("192.0.2.1"));
        let day = 24 * 60 * 60;
        for (from, sender, recipient, seconds, passes) in [
            (&one, "s@a.test", "ana@x.test", 0, false),
            (&one, "s@a.test", "ana@x.test", 59, false),
            (&one, "t@a.test", "ana@x.test", 60, false),
            (&one, "s@a.test", "bob@x.test", 60, false),
            (&network("192.0.3.1"), "s@a.test", "ana@x.test", 60, false),
            // A server beside it, and in other letters.
            (&network("192.0.2.99"), "S@A.test", "Ana@x.test", 60, true),
            (&one, "t@a.test", "bob@x.test", 61, true),
            (&one, "t@b.test", "bob@x.test", 61, false),
            (&one, "", "bob@x.test", 61, false),
            (&network("192.0.3.1"), "t@a.test", "bob@x.test", 62, false),
            // What is used stays known, and what is not is forgotten.
            (&one, "u@a.test", "bob@x.test", 30 * day, true),
            (&one, "u@a.test", "bob@x.test", 60 * day, true),
            (&one, "u@a.test", "bob@x.test", 97 * day, false),
            (&one, "u@a.test", "bob@x.test", 98 * day + 1, false),
        ] {
            let passed = come(&store, from, [sender, recipient], seconds).await;
            assert_eq!(passed, passes, "{from} {sender} {recipient} {seconds}");
        }
        let domain = Provenance::Domain("A.test".to_owned());
        assert!(!come(&store, &domain, ["s@a.test", "ana@x.test"], 0).await);
        let domain = Provenance::Domain("a.test".to_owned());
        assert!(come(&store, &domain, ["s@a.test", "ana@x.test"], 60).await);
    }

    #[tokio::test]
    async fn many_domains_of_one_network_are_one_flood() {
        let (store, secret) = (MemoryStore::new(), secret(1));
        let network = SenderNetwork::of("192.0.2.1".parse::<IpAddr>().unwrap().into());
        let recipient = "ana@x.test".parse().unwrap();
        for n in 0..9 {
            let domain = Provenance::Domain(format!("d{n}.test"));
            let stores: (&dyn Store, _) = (&store, &secret);
            let named = (&ReversePath::Null, &recipient);
            admit(stores, (&domain, network), named, at(0)).await.unwrap();
        }
        let kept = store.kept("greylist").await.unwrap();
        let now = u32::try_from(T0).unwrap();
        let records = kept.iter().map(|(_, record)| Bucket::read(record, now, 9));
        let entries: Vec<_> = records.flat_map(|bucket| bucket.0).collect();
        assert_eq!(entries.len(), 9);
        assert!(entries.iter().all(|entry| entry.of == entries[0].of));
    }

    #[test]
    fn where_an_entry_is_depends_on_the_secret() {
        let names: Vec<_> = (0..20).map(|n| n.to_string()).collect();
        let places = |octet| -> Vec<_> {
            names.iter().map(|name| secret(octet).hash(&[name]) % BUCKETS).collect()
        };
        assert_eq!(places(1), places(1));
        assert_ne!(places(1), places(2));
    }

    /// A flood from one network takes a bounded room, and puts nobody out who waits.
    #[test]
    fn a_flood_puts_out_itself() {
        let mut bucket = Bucket(Vec::new());
        let entry = |key, of: u64, at| Entry { key, of: of.to_le_bytes(), at };
        (0..20).for_each(|n| bucket.insert(entry(n, n, 0)));
        (100..10_000).for_each(|n| bucket.insert(entry(n, 99, 1)));
        assert_eq!(bucket.0.len(), ENTRIES);
        assert!((0..20).all(|key| bucket.find(key).is_some()));
        (20_000..30_000).for_each(|n| bucket.insert(entry(n, n, 2)));
        assert_eq!(bucket.write().len(), ENTRIES * ENTRY);
        let read = Bucket::read(&bucket.write(), 2, 10);
        assert_eq!(read, bucket);
        assert_eq!(Bucket::read(&bucket.write(), 12, 10).0.len(), 0, "what is over");
        assert_eq!(Bucket::read(&[1; ENTRY - 1], 0, 10).0.len(), 0, "what is damaged");
    }
}
