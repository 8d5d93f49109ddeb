//! Leases: the exclusive right of a worker to some work, for a limited time.

use posta_mail::Timestamp;
use std::{collections::HashMap, hash::Hash};

/// The fencing token of a lease. Each claim of the same thing gets a greater one, so that the holder of
/// an earlier lease, who does not know that it has ended, cannot change anything any more.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Token(pub u64);

/// A lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease {
    /// The token that the holder presents when renewing the lease or settling the work.
    pub token: Token,
    /// The time when the lease ends, unless it is renewed.
    pub until: Timestamp,
}

/// Leases in memory, for a small number of things claimed at once. A lease that has expired stays valid
/// until the same thing is claimed again.
#[derive(Debug)]
pub struct Leases<K> {
    last: u64,
    held: HashMap<K, Lease>,
}

impl<K> Default for Leases<K> {
    fn default() -> Self {
        Self { last: 0, held: HashMap::new() }
    }
}

impl<K: Eq + Hash> Leases<K> {
    /// Claims a thing; none if another lease on it is in force.
    pub fn claim(&mut self, key: K, now: Timestamp, until: Timestamp) -> Option<Lease> {
        if self.is_held(&key, now) {
            return None;
        }
        self.last += 1;
        let lease = Lease { token: Token(self.last), until };
        self.held.insert(key, lease);
        Some(lease)
    }

    /// Returns whether a lease on a thing is in force.
    #[must_use]
    pub fn is_held(&self, key: &K, now: Timestamp) -> bool {
        self.held.get(key).is_some_and(|lease| lease.until > now)
    }

    /// Returns whether a token is that of the last claim.
    #[must_use]
    pub fn is_last(&self, key: &K, token: Token) -> bool {
        self.held.get(key).is_some_and(|lease| lease.token == token)
    }

    /// Extends a lease until `until`, if its token is that of the last claim. Returns whether it was
    /// extended.
    pub fn renew(&mut self, key: &K, token: Token, until: Timestamp) -> bool {
        match self.held.get_mut(key).filter(|lease| lease.token == token) {
            Some(lease) => {
                lease.until = until;
                true
            }
            None => false,
        }
    }

    /// Ends the lease on a thing.
    pub fn end(&mut self, key: &K) {
        self.held.remove(key);
    }
}
