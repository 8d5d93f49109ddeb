//! Protection against guessing passwords: each wrong one costs time, and too many of them lock the client out.
//!
//! Failures are counted for each client network and for each name that is tried, whether or not the name has an
//! account, so that nobody learns which names exist. A network is locked out soon. A name is locked only after more
//! failures than a single network can cause, and then only for networks that its owner has not used before
//! (`known_networks.rs`). So nobody can lock an owner out by guessing, neither before nor after a restart.
//!
//! This machine counts as a client too, but may have more failures, since all users of a webmail share its address.

mod history;
mod known_networks;

use crate::{
    limits::adjustable::Limit,
    login::{
        FailedLogin,
        login_log::{self, FailedLogins},
    },
};
use history::LockoutHistory;
use known_networks::KnownNetworks;
use parking_lot::Mutex;
use posta_mail::{ClientAddress, Timestamp};
use posta_net::{client_network::ClientNetwork, clock::Clock};
use posta_store::{AccountId, Store, StoreError, What};
use serde::{Deserialize, Serialize};
use std::{collections::HashMap, sync::Arc, time::Duration};
use tokio::time::sleep;

/// The time for which failures count and a lock-out lasts, from the last failure on.
const WINDOW: Duration = Duration::from_secs(15 * 60);

/// The maximal number of entries of each kind in memory; beyond it, all are dropped.
const REMEMBERED: usize = 100_000;

/// The factor by which this machine may have more failures than other networks.
const THIS_MACHINE: u32 = 10;

/// The factor by which a name needs more failures than a network: it takes that many networks to lock a name.
const NAME: u32 = 10;

/// Counts failed logins, and locks out clients and names with too many.
pub struct Lockouts {
    clock: Arc<dyn Clock>,
    store: Arc<dyn Store>,
    /// The number of failures that lock a network out.
    pub(crate) limit: Limit,
    /// The delay before the reply to a wrong password.
    delay: Duration,
    counts: Mutex<Counts>,
    failed_logins: FailedLogins,
    history: LockoutHistory,
    known_networks: KnownNetworks,
}

#[derive(Default)]
struct Counts {
    networks: HashMap<ClientNetwork, Failures>,
    names: HashMap<String, Failures>,
    /// The failures of one network on one name.
    of_both: HashMap<(ClientNetwork, String), Failures>,
}

#[derive(Debug, Clone, Copy)]
struct Failures {
    count: u32,
    last: Timestamp,
}

/// A lock-out in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Lockout {
    /// The client network or the name.
    pub who: String,
    /// Whether a network is locked out. A name is locked only for networks that its owner has not used.
    pub is_network: bool,
    /// The number of failed logins.
    pub failures: u32,
    /// The time when the lock-out ends, unless another login fails.
    pub until: Timestamp,
}

impl Lockouts {
    /// Locks a network out after `limit` failures in a quarter of an hour (0 for never), and delays each reply to a
    /// failure by `delay`.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, clock: Arc<dyn Clock>, limit: u32, delay: Duration) -> Self {
        let limit = Limit::new(limit);
        let failed_logins = FailedLogins::new(clock.clone());
        Self {
            known_networks: KnownNetworks::new(store.clone(), clock.clone()),
            clock,
            store,
            limit,
            delay,
            counts: Mutex::default(),
            failed_logins,
            history: LockoutHistory::default(),
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
    /// When the store fails.
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
            (Some(network), Some(account)) => {
                Ok(!self.known_networks.contains(network, account).await?)
            }
            // The mode of a Unix socket's file decides who may connect.
            (None, _) => Ok(false),
            _ => Ok(true),
        }
    }

    /// Counts a failure of a client that tried `name`, which may be empty, and waits for the delay.
    pub async fn failed(&self, client: ClientAddress, name: &str) {
        self.count_for(client, Some(name).filter(|name| !name.is_empty()));
        self.delay().await;
    }

    /// Waits for the same delay as after a wrong password.
    pub(crate) async fn delay(&self) {
        self.history.write(&*self.store).await;
        sleep(self.delay).await;
    }

    /// Counts a failure of a client that does not wait for the reply.
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
            self.history.note(what, &*self.clock);
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
            self.history.note(what, &*self.clock);
        }
    }

    /// Records a login to an account under `name`, and cancels one of the network's failures on the same name. A
    /// program with an old password, beside one with the new password, therefore locks nobody out. Failures on other
    /// names remain; otherwise the owner of an account could guess others between logins of his own.
    ///
    /// # Errors
    /// When the store fails.
    pub(crate) async fn succeeded(
        &self,
        client: ClientAddress,
        name: &str,
        account: AccountId,
    ) -> Result<(), StoreError> {
        let Some(network) = ClientNetwork::of_client(client) else { return Ok(()) };
        let now = self.clock.now();
        self.with(|counts| counts.forgive(network, name, now));
        match self.limit.get() {
            Some(_) => self.known_networks.record(network, account).await,
            None => Ok(()),
        }
    }

    /// Returns whether an account has been used from a client's network before. Clients at a Unix socket always count as
    /// known, since the mode of its file decides who may connect.
    ///
    /// # Errors
    /// When the store fails.
    pub(crate) async fn is_known(
        &self,
        client: ClientAddress,
        account: AccountId,
    ) -> Result<bool, StoreError> {
        match ClientNetwork::of_client(client) {
            Some(network) => self.known_networks.contains(network, account).await,
            None => Ok(true),
        }
    }

    /// Returns the lock-outs in force, networks first.
    #[must_use]
    pub fn active(&self) -> Vec<Lockout> {
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

    /// Ends the lock-out of `who`: a network, any address in a network, or a name. Returns whether there was one.
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

    /// Returns the log of failed logins.
    pub(crate) const fn failed_logins(&self) -> &FailedLogins {
        &self.failed_logins
    }

    fn with<T>(&self, act: impl FnOnce(&mut Counts) -> T) -> T {
        act(&mut self.counts.lock())
    }
}

impl Counts {
    /// Cancels one failure of a network on a name.
    fn forgive(&mut self, network: ClientNetwork, name: &str, now: Timestamp) {
        // Most clients never fail, and should not cost a copy of the name.
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

/// Returns the number of failures that lock a network out.
fn of_network(network: ClientNetwork, limit: u32) -> u32 {
    if network.is_loopback() { limit.saturating_mul(THIS_MACHINE) } else { limit }
}

/// Returns the number of failures that lock a name.
fn of_name(limit: u32) -> u32 {
    limit.saturating_mul(NAME)
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

    fn lockouts_with(limit: u32) -> (Arc<MemoryStore>, Arc<SimulatedClock>, Lockouts) {
        let (store, clock) =
            (Arc::new(MemoryStore::new()), Arc::new(SimulatedClock::new(Timestamp::UNIX_EPOCH, 1)));
        let lockouts = Lockouts::new(store.clone(), clock.clone(), limit, Duration::ZERO);
        (store, clock, lockouts)
    }

    #[tokio::test]
    async fn too_many_failures_lock_a_network_out_for_a_while() {
        let (_, clock, lockouts) = lockouts_with(3);
        for _ in 0..3 {
            assert!(!lockouts.locks(client(1)));
            lockouts.failed(client(1), "").await;
        }
        assert!(lockouts.locks(client(1)));
        assert!(!lockouts.locks(client(2)));
        clock.set(Timestamp::UNIX_EPOCH + WINDOW);
        assert!(!lockouts.locks(client(1)), "time ends it");
        lockouts.failed(client(1), "").await;
        assert!(!lockouts.locks(client(1)), "counting starts again");
        let here = IpAddr::from([127, 0, 0, 1]).into();
        for failure in 0..30 {
            assert!(!lockouts.locks(here), "this machine may have {failure} failures");
            lockouts.failed(here, "").await;
        }
        assert!(lockouts.locks(here), "but not all");
        let network: IpAddr = "2001:db8::1".parse().unwrap();
        for last in 2..6u16 {
            let other: IpAddr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, last).into();
            lockouts.failed(other.into(), "").await;
        }
        assert!(lockouts.locks(network.into()), "all addresses of a network are one client");
        for _ in 0..3 {
            lockouts.failed(ClientAddress::Unknown, "").await;
        }
        assert!(lockouts.locks(ClientAddress::Unknown), "all unknown addresses are one client");
        let listed: Vec<String> =
            lockouts.active().into_iter().map(|lockout| lockout.who).collect();
        assert_eq!(listed, ["127.0.0.1", "2001:db8::/64", "unknown addresses"]);
        assert!(lockouts.lift("2001:db8::77") && lockouts.lift("unknown addresses"));
        assert!(!lockouts.lift("192.0.2.77"));
        assert!(!lockouts.locks(network.into()) && !lockouts.locks(ClientAddress::Unknown));
    }

    #[tokio::test]
    async fn a_name_under_attack_stays_open_to_its_owner_after_a_restart_too() {
        let (store, clock, before) = lockouts_with(3);
        for last in 1..=40 {
            before.succeeded(client(last), "ana@x.test", ANA).await.unwrap();
        }
        for _ in 0..2 {
            let lockouts = Lockouts::new(store.clone(), clock.clone(), 3, Duration::ZERO);
            let locks = async |last, name, account| {
                lockouts.locks_name(client(last), name, account).await.unwrap()
            };
            for _ in 0..29 {
                lockouts.failed_for(client(200), "ana@x.test");
                lockouts.failed_for(client(200), "nobody@x.test");
            }
            assert!(!locks(99, "ana@x.test", Some(ANA)).await, "one network cannot cause it");
            lockouts.failed_for(client(200), "ana@x.test");
            lockouts.failed_for(client(200), "nobody@x.test");
            assert!(locks(99, "ana@x.test", Some(ANA)).await);
            assert!(locks(99, "nobody@x.test", None).await, "as one that exists");
            assert!(!locks(40, "ana@x.test", Some(ANA)).await);
            assert!(locks(1, "ana@x.test", Some(ANA)).await, "the last 32 are known");
            assert!(!locks(99, "bob@x.test", Some(AccountId(2))).await);
            assert!(lockouts.lift("Ana@x.test") && !locks(99, "ana@x.test", Some(ANA)).await);
        }
    }

    /// A login cancels a failure on its own name, one for one, and none on other names.
    #[tokio::test]
    async fn an_account_of_ones_own_buys_no_guesses() {
        let (_, _, lockouts) = lockouts_with(3);
        let fails = async |name| {
            lockouts.failed_for(client(1), name);
            lockouts.failed(client(1), name).await;
        };
        for _ in 0..3 {
            assert!(!lockouts.locks(client(1)));
            fails("bob@x.test").await;
            lockouts.succeeded(client(1), "ana@x.test", ANA).await.unwrap();
        }
        assert!(lockouts.locks(client(1)), "as if it had not logged in between");
        assert!(lockouts.lift("192.0.2.1"));
        for _ in 0..9 {
            fails("ana@x.test").await;
            lockouts.succeeded(client(1), "ana@x.test", ANA).await.unwrap();
            assert!(!lockouts.locks(client(1)), "an old password beside the new one");
        }
        for _ in 0..3 {
            fails("ana@x.test").await;
        }
        assert!(lockouts.locks(client(1)));
    }

    #[tokio::test]
    async fn without_a_limit_nothing_is_locked_and_nothing_kept() {
        let (store, _, any) = lockouts_with(0);
        for _ in 0..99 {
            any.failed(client(1), "").await;
            any.failed_for(client(1), "ana@x.test");
        }
        any.succeeded(client(1), "ana@x.test", ANA).await.unwrap();
        assert!(!any.locks(client(1)));
        assert!(!any.locks_name(client(1), "ana@x.test", Some(ANA)).await.unwrap());
        assert_eq!(store.kept(known_networks::KIND).await.unwrap(), []);
    }
}
