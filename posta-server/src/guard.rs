//! What keeps passwords from being guessed: each wrong one costs a while, and too many of them lock
//! out whoever sends them.
//!
//! Failures are counted for each client's address, and for each account that is tried. An account
//! that is under attack stays open to the clients that logged in to it before, so that nobody can
//! lock its owner out.

use crate::{clock::Clock, network::ClientNetwork};
use posta_mail::{ClientAddress, Timestamp};
use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::time::sleep;

/// For how long failures are counted, and a lock lasts: from the last failure on.
const WINDOW: Duration = Duration::from_secs(15 * 60);

/// What is remembered at most, of each kind; beyond it the memory starts anew.
const REMEMBERED: usize = 100_000;

/// Counts failed logins.
pub struct Guard {
    clock: Arc<dyn Clock>,
    /// Failures of one client, or for one account, before it is locked; none for any number.
    limit: Option<u32>,
    /// How long a client waits for the answer to a wrong password.
    delay: Duration,
    counts: Mutex<Counts>,
}

#[derive(Default)]
struct Counts {
    clients: HashMap<ClientNetwork, Failures>,
    accounts: HashMap<String, Failures>,
    /// Who logged in to what.
    known: HashSet<(ClientNetwork, String)>,
}

#[derive(Debug, Clone, Copy)]
struct Failures {
    count: u32,
    last: Timestamp,
}

impl Guard {
    /// Allows so many failures in a quarter of an hour, 0 for any number; each costs a while.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>, limit: u32, delay: Duration) -> Self {
        let limit = Some(limit).filter(|&limit| limit > 0);
        Self { clock, limit, delay, counts: Mutex::default() }
    }

    /// Whether a client is locked out.
    #[must_use]
    pub fn locks(&self, client: ClientAddress) -> bool {
        let (Some(limit), Some(client)) = (self.limit, remote(client)) else {
            return false;
        };
        let now = self.clock.now();
        self.with(|counts| is_locked(counts.clients.get(&client), limit, now))
    }

    /// Whether an account is locked for a client.
    #[must_use]
    pub fn locks_account(&self, client: ClientAddress, account: &str) -> bool {
        let Some(limit) = self.limit else { return false };
        let now = self.clock.now();
        self.with(|counts| {
            let is_known = ClientNetwork::of_client(client)
                .is_some_and(|client| counts.known.contains(&(client, account.to_owned())));
            !is_known && is_locked(counts.accounts.get(account), limit, now)
        })
    }

    /// Counts a failure of a client, and makes it wait.
    pub async fn failed(&self, client: ClientAddress) {
        if let Some(client) = remote(client) {
            let now = self.clock.now();
            self.with(|counts| count(&mut counts.clients, client, now));
        }
        sleep(self.delay).await;
    }

    /// Counts a failure for an account.
    pub fn failed_for(&self, account: &str) {
        let now = self.clock.now();
        self.with(|counts| count(&mut counts.accounts, account.to_owned(), now));
    }

    /// Notes a login, and forgets the client's failures.
    pub fn succeeded(&self, client: ClientAddress, account: &str) {
        let Some(client) = ClientNetwork::of_client(client) else { return };
        self.with(|counts| {
            counts.clients.remove(&client);
            if counts.known.len() >= REMEMBERED {
                counts.known.clear();
            }
            let known = (client, account.to_owned());
            if !counts.known.contains(&known) {
                counts.known.insert(known);
            }
        });
    }

    fn with<T>(&self, act: impl FnOnce(&mut Counts) -> T) -> T {
        act(&mut self.counts.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn is_locked(failures: Option<&Failures>, limit: u32, now: Timestamp) -> bool {
    failures.is_some_and(|failures| failures.count >= limit && now < failures.last + WINDOW)
}

fn count<K: std::hash::Hash + Eq>(counts: &mut HashMap<K, Failures>, key: K, now: Timestamp) {
    if counts.len() >= REMEMBERED {
        counts.clear();
    }
    let failures = counts.entry(key).or_insert(Failures { count: 0, last: now });
    if now >= failures.last + WINDOW {
        failures.count = 0;
    }
    *failures = Failures { count: failures.count + 1, last: now };
}

/// The network under which a client is counted. This machine is not: behind it there may be a web
/// mail with all its users.
fn remote(client: ClientAddress) -> Option<ClientNetwork> {
    ClientNetwork::of_client(client).filter(|network| !network.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SimulatedClock;
    use std::net::{IpAddr, Ipv6Addr};

    fn client(last: u8) -> ClientAddress {
        IpAddr::from([192, 0, 2, last]).into()
    }

    #[tokio::test]
    async fn too_many_failures_lock_a_client_for_a_while() {
        let clock = Arc::new(SimulatedClock::new(Timestamp::UNIX_EPOCH, 1));
        let guard = Guard::new(clock.clone(), 3, Duration::ZERO);
        for _ in 0..3 {
            assert!(!guard.locks(client(1)));
            guard.failed(client(1)).await;
        }
        assert!(guard.locks(client(1)));
        assert!(!guard.locks(client(2)));
        clock.set(Timestamp::UNIX_EPOCH + WINDOW);
        assert!(!guard.locks(client(1)), "time ends it");
        guard.failed(client(1)).await;
        assert!(!guard.locks(client(1)), "and it counts anew");
        let here = IpAddr::from([127, 0, 0, 1]).into();
        for _ in 0..9 {
            guard.failed(here).await;
        }
        assert!(!guard.locks(here), "this machine is many");
        let network: IpAddr = "2001:db8::1".parse().unwrap();
        for last in 2..6u16 {
            let other: IpAddr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, last).into();
            guard.failed(other.into()).await;
        }
        assert!(guard.locks(network.into()), "a network is one");
        for _ in 0..3 {
            guard.failed(ClientAddress::Unknown).await;
        }
        assert!(guard.locks(ClientAddress::Unknown), "those that nobody knows are one");
    }

    #[tokio::test]
    async fn an_account_under_attack_stays_open_to_its_owner() {
        let clock = Arc::new(SimulatedClock::new(Timestamp::UNIX_EPOCH, 1));
        let guard = Guard::new(clock, 3, Duration::ZERO);
        guard.succeeded(client(1), "ana@x.test");
        for _ in 0..3 {
            guard.failed_for("ana@x.test");
        }
        assert!(guard.locks_account(client(20), "ana@x.test"));
        assert!(!guard.locks_account(client(1), "ana@x.test"));
        assert!(!guard.locks_account(client(20), "bob@x.test"));
        let clock = Arc::new(SimulatedClock::new(Timestamp::UNIX_EPOCH, 1));
        let any = Guard::new(clock, 0, Duration::ZERO);
        for _ in 0..99 {
            any.failed(client(1)).await;
            any.failed_for("ana@x.test");
        }
        assert!(!any.locks(client(1)) && !any.locks_account(client(1), "ana@x.test"));
    }
}
