//! Protection against guessing passwords: each wrong one costs time, and too many of them lock the client out.
//!
//! Failures are counted for each client network, and for each name that is tried, whether it has an account or not,
//! so that nobody learns which names exist. A network is locked out soon. A name is locked only after more failures
//! than a single network can cause, and then only for networks that its owner has not used before. Those are kept in
//! the store, so nobody can lock an owner out by guessing, neither before nor after a restart.
//!
//! This machine is a client too, and may have more failures: a webmail has all its users behind one address.

mod told;

use crate::{
    limits::adjustable::Limit,
    login::{
        FailedLogin,
        login_log::{self, FailedLogins},
    },
};
use parking_lot::Mutex;
use posta_mail::{ClientAddress, Timestamp};
use posta_net::{client_network::ClientNetwork, clock::Clock};
use posta_store::{AccountId, Store, StoreError, What};
use serde::{Deserialize, Serialize};
use std::{collections::HashMap, sync::Arc, time::Duration};
use tokio::time::sleep;
use told::LockoutsTold;

/// How long failures count and a lock-out lasts, from the last failure on.
const WINDOW: Duration = Duration::from_secs(15 * 60);

/// The most entries remembered of each kind; beyond it all are forgotten.
const REMEMBERED: usize = 100_000;

/// By what factor more failures this machine may have than other networks.
const THIS_MACHINE: u32 = 10;

/// By what factor more failures lock a name than lock a network out: it takes that many networks to lock a name.
const NAME: u32 = 10;

/// The most networks remembered as used by an account: the most recent ones.
const KNOWN: usize = 32;

/// Days after which the use of a network is noted again.
const NOTED_EVERY: i64 = 7;

/// The kind of the store's records that hold known networks, by the account's id.
const KIND: &str = "known-networks";

/// Counts failed logins, and tells who is locked out.
pub struct Guard {
    clock: Arc<dyn Clock>,
    store: Arc<dyn Store>,
    /// How many failures of a network lock it out.
    pub(crate) limit: Limit,
    /// How long the answer to a wrong password is delayed.
    delay: Duration,
    counts: Mutex<Counts>,
    told: FailedLogins,
    lockouts_told: LockoutsTold,
}

#[derive(Default)]
struct Counts {
    networks: HashMap<ClientNetwork, Failures>,
    names: HashMap<String, Failures>,
    /// Failures of one network for one name.
    of_both: HashMap<(ClientNetwork, String), Failures>,
    /// From which network each account was used, and the day since 1970 on which that was noted.
    known: HashMap<(ClientNetwork, AccountId), i64>,
}

#[derive(Debug, Clone, Copy)]
struct Failures {
    count: u32,
    last: Timestamp,
}

/// A network from which an account was used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Known {
    network: String,
    /// The day on which that was noted, counted from 1970.
    day: i64,
}

/// A lock-out in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Lockout {
    /// The client network, or the name that was tried.
    pub who: String,
    /// Whether it is a network; a name is locked only for networks that its owner has not used.
    pub is_network: bool,
    /// How many logins failed.
    pub failures: u32,
    /// When it ends, unless another login fails.
    pub until: Timestamp,
}

impl Guard {
    /// Locks a network out after `limit` failures in a quarter of an hour, 0 for never, and delays the answer to each.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, clock: Arc<dyn Clock>, limit: u32, delay: Duration) -> Self {
        let limit = Limit::new(limit);
        let told = FailedLogins::new(clock.clone());
        Self {
            clock,
            store,
            limit,
            delay,
            counts: Mutex::default(),
            told,
            lockouts_told: LockoutsTold::default(),
        }
    }

    /// Returns whether a client is locked out.
    #[must_use]
    pub fn locks(&self, client: ClientAddress) -> bool {
        let Some((limit, network)) = self.limit.get().zip(ClientNetwork::of_client(client)) else {
            return false;
        };
        let now = self.clock.now();
        self.with(|counts| {
            is_locked(counts.networks.get(&network), of_network(network, limit), now)
        })
    }

    /// Returns whether a name is locked for a client. `account` is the account of that name, if there is one.
    ///
    /// # Errors
    /// Fails when the store does.
    pub(crate) async fn locks_name(
        &self,
        client: ClientAddress,
        name: &str,
        account: Option<AccountId>,
    ) -> Result<bool, StoreError> {
        let Some(limit) = self.limit.get() else { return Ok(false) };
        let now = self.clock.now();
        if !self.with(|counts| is_locked(counts.names.get(name), of_name(limit), now)) {
            return Ok(false);
        }
        match (ClientNetwork::of_client(client), account) {
            (Some(network), Some(account)) => Ok(!self.knows(network, account).await?),
            // Unix sockets are guarded by their file's mode.
            (None, _) => Ok(false),
            _ => Ok(true),
        }
    }

    /// Counts a failure of a client that tried `name`, which may be empty, and makes it wait.
    pub async fn failed(&self, client: ClientAddress, name: &str) {
        self.count_for(client, Some(name).filter(|name| !name.is_empty()));
        self.delay().await;
    }

    /// Makes a client wait as long as after a wrong password.
    pub(crate) async fn delay(&self) {
        self.lockouts_told.tell(&*self.store).await;
        sleep(self.delay).await;
    }

    /// Counts a failure of a client that does not wait for the answer.
    pub fn count(&self, client: ClientAddress) {
        self.count_for(client, None);
    }

    fn count_for(&self, client: ClientAddress, name: Option<&str>) {
        let Some(network) = ClientNetwork::of_client(client) else { return };
        let now = self.clock.now();
        let count = self.with(|counts| count(&mut counts.networks, network, now));
        if self.limit.get().is_some_and(|limit| count == of_network(network, limit)) {
            let client = login_log::place(client);
            tracing::warn!(client, %network, failures = count, "locked out");
            let what = What::LockedOut {
                who: network.to_string(),
                is_network: true,
                name: name.map(str::to_owned),
                failures: count,
                until: now + WINDOW,
            };
            self.lockouts_told.note(what, &*self.clock);
        }
    }

    /// Counts a failure of a client on a name.
    pub fn failed_for(&self, client: ClientAddress, name: &str) {
        let now = self.clock.now();
        let count = self.with(|counts| {
            if let Some(network) = ClientNetwork::of_client(client) {
                count(&mut counts.of_both, (network, name.to_owned()), now);
            }
            count(&mut counts.names, name.to_owned(), now)
        });
        if self.limit.get().is_some_and(|limit| count == of_name(limit)) {
            tracing::warn!(
                name,
                failures = count,
                "name locked for networks that it was not used from"
            );
            let what = What::LockedOut {
                who: FailedLogin::new(name, "").name,
                is_network: false,
                name: None,
                failures: count,
                until: now + WINDOW,
            };
            self.lockouts_told.note(what, &*self.clock);
        }
    }

    /// Notes a login to an account under `name`, and takes back one of the network's failures for the same name: so a
    /// program that still has an old password, beside one with the new one, locks nobody out. Failures on other names
    /// stay, or the owner of an account could go on guessing others between two logins of his own.
    ///
    /// # Errors
    /// Fails when the store does.
    pub(crate) async fn succeeded(
        &self,
        client: ClientAddress,
        name: &str,
        account: AccountId,
    ) -> Result<(), StoreError> {
        let Some(network) = ClientNetwork::of_client(client) else { return Ok(()) };
        let now = self.clock.now();
        let today = day(now);
        let is_noted = self.with(|counts| {
            counts.forgive(network, name, now);
            let noted = counts.known.get(&(network, account));
            noted.is_some_and(|noted| today < noted + NOTED_EVERY)
        });
        if is_noted || self.limit.get().is_none() {
            return Ok(());
        }
        let mut known = self.known(account).await?;
        let name = network.to_string();
        let noted = known.iter().find(|known| known.network == name).map(|known| known.day);
        let noted = noted.filter(|noted| today < noted + NOTED_EVERY);
        if noted.is_none() {
            known.retain(|known| known.network != name);
            known.insert(0, Known { network: name, day: today });
            known.truncate(KNOWN);
            let record = serde_json::to_vec(&known).unwrap_or_default();
            self.store.keep(KIND, &account.0.to_string(), Some(record)).await?;
        }
        self.remember(network, account, noted.unwrap_or(today));
        Ok(())
    }

    /// Returns whether an account was used from a client's network before. A Unix socket is guarded by its file's mode.
    ///
    /// # Errors
    /// Fails when the store does.
    pub(crate) async fn is_known(
        &self,
        client: ClientAddress,
        account: AccountId,
    ) -> Result<bool, StoreError> {
        match ClientNetwork::of_client(client) {
            Some(network) => self.knows(network, account).await,
            None => Ok(true),
        }
    }

    /// Returns whether an account was used from a network before.
    async fn knows(&self, network: ClientNetwork, account: AccountId) -> Result<bool, StoreError> {
        if self.with(|counts| counts.known.contains_key(&(network, account))) {
            return Ok(true);
        }
        let name = network.to_string();
        Ok(self.known(account).await?.iter().any(|known| known.network == name))
    }

    /// Reads the networks from which an account was used, the most recent first.
    async fn known(&self, account: AccountId) -> Result<Vec<Known>, StoreError> {
        let record = self.store.kept_one(KIND, &account.0.to_string()).await?;
        // A record that cannot be read only costs the owner this exception.
        Ok(record.and_then(|record| serde_json::from_slice(&record).ok()).unwrap_or_default())
    }

    fn remember(&self, network: ClientNetwork, account: AccountId, day: i64) {
        self.with(|counts| {
            if counts.known.len() >= REMEMBERED {
                counts.known.clear();
            }
            counts.known.insert((network, account), day);
        });
    }

    /// Returns the lock-outs in force, networks first.
    #[must_use]
    pub fn lockouts(&self) -> Vec<Lockout> {
        let Some(limit) = self.limit.get() else { return Vec::new() };
        let now = self.clock.now();
        let lockout = |who: String, is_network, failures: &Failures| Lockout {
            who,
            is_network,
            failures: failures.count,
            until: failures.last + WINDOW,
        };
        self.with(|counts| {
            let networks = counts.networks.iter();
            let networks = networks
                .filter(|(network, failures)| {
                    is_locked(Some(failures), of_network(**network, limit), now)
                })
                .map(|(network, failures)| lockout(network.to_string(), true, failures));
            let names = counts.names.iter();
            let names = names
                .filter(|(_, failures)| is_locked(Some(failures), of_name(limit), now))
                .map(|(name, failures)| lockout(name.clone(), false, failures));
            let mut all: Vec<_> = networks.chain(names).collect();
            all.sort_by(|one, other| {
                (!one.is_network, &one.who).cmp(&(!other.is_network, &other.who))
            });
            all
        })
    }

    /// Ends the lock-out of a network, named by itself or any of its addresses, or of a name. Returns whether there
    /// was one.
    pub fn lift(&self, who: &str) -> bool {
        let address = who.split('/').next().unwrap_or(who).trim_matches(['[', ']']);
        let lifted = self.with(|counts| match address.parse() {
            Ok(address) => counts.networks.remove(&ClientNetwork::of(address)).is_some(),
            Err(_) => {
                counts.names.remove(&who.to_lowercase()).is_some()
                    || counts.networks.extract_if(|network, _| network.to_string() == who).count()
                        > 0
            }
        });
        if lifted {
            tracing::info!(who, "lock-out lifted");
        }
        lifted
    }

    /// Returns what logs failed logins.
    pub(crate) const fn failed_logins(&self) -> &FailedLogins {
        &self.told
    }

    fn with<T>(&self, act: impl FnOnce(&mut Counts) -> T) -> T {
        act(&mut self.counts.lock())
    }
}

impl Counts {
    /// Takes back one failure of a network for a name.
    fn forgive(&mut self, network: ClientNetwork, name: &str, now: Timestamp) {
        // Clients that never fail are the rule, and cost no copy of the name.
        if self.of_both.is_empty() || !self.networks.contains_key(&network) {
            return;
        }
        let Some(failures) = self.of_both.get_mut(&(network, name.to_owned())) else { return };
        let lasts = now < failures.last + WINDOW;
        failures.count = failures.count.saturating_sub(1);
        if failures.count == 0 {
            self.of_both.remove(&(network, name.to_owned()));
        }
        if let Some(all) = self.networks.get_mut(&network).filter(|_| lasts) {
            all.count = all.count.saturating_sub(1);
        }
    }
}

/// Returns how many failures lock a network out.
fn of_network(network: ClientNetwork, limit: u32) -> u32 {
    if network.is_loopback() { limit.saturating_mul(THIS_MACHINE) } else { limit }
}

/// Returns how many failures lock a name.
fn of_name(limit: u32) -> u32 {
    limit.saturating_mul(NAME)
}

fn day(time: Timestamp) -> i64 {
    time.as_second().div_euclid(24 * 60 * 60)
}

fn is_locked(failures: Option<&Failures>, limit: u32, now: Timestamp) -> bool {
    failures.is_some_and(|failures| failures.count >= limit && now < failures.last + WINDOW)
}

fn count<K: std::hash::Hash + Eq>(
    counts: &mut HashMap<K, Failures>,
    key: K,
    now: Timestamp,
) -> u32 {
    if counts.len() >= REMEMBERED {
        counts.clear();
    }
    let failures = counts.entry(key).or_insert(Failures { count: 0, last: now });
    if now >= failures.last + WINDOW {
        failures.count = 0;
    }
    *failures = Failures { count: failures.count.saturating_add(1), last: now };
    failures.count
}

#[cfg(test)]
mod tests {
    use super::*;
    use posta_net::clock::SimulatedClock;
    use posta_store::{MemoryStore, Records as _};
    use std::net::{IpAddr, Ipv6Addr};

    const ANA: AccountId = AccountId(1);

    fn client(last: u8) -> ClientAddress {
        IpAddr::from([192, 0, 2, last]).into()
    }

    fn guard(limit: u32) -> (Arc<MemoryStore>, Arc<SimulatedClock>, Guard) {
        let (store, clock) =
            (Arc::new(MemoryStore::new()), Arc::new(SimulatedClock::new(Timestamp::UNIX_EPOCH, 1)));
        let guard = Guard::new(store.clone(), clock.clone(), limit, Duration::ZERO);
        (store, clock, guard)
    }

    #[tokio::test]
    async fn too_many_failures_lock_a_network_out_for_a_while() {
        let (_, clock, guard) = guard(3);
        for _ in 0..3 {
            assert!(!guard.locks(client(1)));
            guard.failed(client(1), "").await;
        }
        assert!(guard.locks(client(1)));
        assert!(!guard.locks(client(2)));
        clock.set(Timestamp::UNIX_EPOCH + WINDOW);
        assert!(!guard.locks(client(1)), "time ends it");
        guard.failed(client(1), "").await;
        assert!(!guard.locks(client(1)), "and it counts anew");
        let here = IpAddr::from([127, 0, 0, 1]).into();
        for failure in 0..30 {
            assert!(!guard.locks(here), "of this machine {failure} are borne");
            guard.failed(here, "").await;
        }
        assert!(guard.locks(here), "but not all");
        let network: IpAddr = "2001:db8::1".parse().unwrap();
        for last in 2..6u16 {
            let other: IpAddr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, last).into();
            guard.failed(other.into(), "").await;
        }
        assert!(guard.locks(network.into()), "a network is one");
        for _ in 0..3 {
            guard.failed(ClientAddress::Unknown, "").await;
        }
        assert!(guard.locks(ClientAddress::Unknown), "those that nobody knows are one");
        let listed: Vec<String> = guard.lockouts().into_iter().map(|lockout| lockout.who).collect();
        assert_eq!(listed, ["127.0.0.1", "2001:db8::/64", "unknown addresses"]);
        assert!(guard.lift("2001:db8::77") && guard.lift("unknown addresses"));
        assert!(!guard.lift("192.0.2.77"));
        assert!(!guard.locks(network.into()) && !guard.locks(ClientAddress::Unknown));
    }

    #[tokio::test]
    async fn a_name_under_attack_stays_open_to_its_owner_after_a_restart_too() {
        let (store, clock, before) = guard(3);
        for last in 1..=40 {
            before.succeeded(client(last), "ana@x.test", ANA).await.unwrap();
        }
        for _ in 0..2 {
            let guard = Guard::new(store.clone(), clock.clone(), 3, Duration::ZERO);
            let locks = async |last, name, account| {
                guard.locks_name(client(last), name, account).await.unwrap()
            };
            for _ in 0..29 {
                guard.failed_for(client(200), "ana@x.test");
                guard.failed_for(client(200), "nobody@x.test");
            }
            assert!(!locks(99, "ana@x.test", Some(ANA)).await, "one network cannot cause it");
            guard.failed_for(client(200), "ana@x.test");
            guard.failed_for(client(200), "nobody@x.test");
            assert!(locks(99, "ana@x.test", Some(ANA)).await);
            assert!(locks(99, "nobody@x.test", None).await, "as one that exists");
            assert!(!locks(40, "ana@x.test", Some(ANA)).await);
            assert!(locks(1, "ana@x.test", Some(ANA)).await, "the last 32 are known");
            assert!(!locks(99, "bob@x.test", Some(AccountId(2))).await);
            assert!(guard.lift("Ana@x.test") && !locks(99, "ana@x.test", Some(ANA)).await);
        }
    }

    /// A login forgives what its own name failed, one for one, and nothing that was tried on others.
    #[tokio::test]
    async fn an_account_of_ones_own_buys_no_guesses() {
        let (_, _, guard) = guard(3);
        let fails = async |name| {
            guard.failed_for(client(1), name);
            guard.failed(client(1), name).await;
        };
        for _ in 0..3 {
            assert!(!guard.locks(client(1)));
            fails("bob@x.test").await;
            guard.succeeded(client(1), "ana@x.test", ANA).await.unwrap();
        }
        assert!(guard.locks(client(1)), "as if it had not logged in between");
        assert!(guard.lift("192.0.2.1"));
        for _ in 0..9 {
            fails("ana@x.test").await;
            guard.succeeded(client(1), "ana@x.test", ANA).await.unwrap();
            assert!(!guard.locks(client(1)), "an old password beside the new one");
        }
        for _ in 0..3 {
            fails("ana@x.test").await;
        }
        assert!(guard.locks(client(1)));
    }

    #[tokio::test]
    async fn without_a_limit_nothing_is_locked_and_nothing_kept() {
        let (store, _, any) = guard(0);
        for _ in 0..99 {
            any.failed(client(1), "").await;
            any.failed_for(client(1), "ana@x.test");
        }
        any.succeeded(client(1), "ana@x.test", ANA).await.unwrap();
        assert!(!any.locks(client(1)));
        assert!(!any.locks_name(client(1), "ana@x.test", Some(ANA)).await.unwrap());
        assert_eq!(store.kept(KIND).await.unwrap(), []);
    }
}
