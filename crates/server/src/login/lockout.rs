//! Protection against guessing passwords: each wrong one costs time, and too many of them lock the client out.
//!
//! Failures are counted for each client network and for each name that is tried, whether or not the name has an
//! account, so that nobody learns which names exist. A network is locked out soon. A name is locked only after more
//! failures than a single network can cause, and then only for networks that its owner has not used before
//! (`known_networks.rs`). So nobody can lock an owner out by guessing, neither before nor after a restart.
//!
//! All nodes of the store count together, so that guessing at several at once gains nothing, and a lock-out that is lifted
//! is lifted everywhere. What another node counted is known about a second later.
//!
//! This machine counts as a client too, but may have more failures, since all users of a webmail share its address.

mod history;
pub(super) mod known_networks;

use crate::{
    limits::adjustable::Limit,
    login::{
        FailedLogin,
        login_log::{self, FailedLogins},
    },
};
use history::LockoutHistory;
use known_networks::KnownNetworks;
use posta_mail::{ClientAddress, Timestamp};
use posta_net::{client_network::ClientNetwork, clock::Clock};
use posta_store::{AccountId, Count, Store, StoreError, Tally, What};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{net::IpAddr, sync::Arc, time::Duration};
use tokio::time::sleep;

/// The time for which failures count and a lock-out lasts, from the last failure on.
const WINDOW: Duration = Duration::from_secs(15 * 60);

/// The factor by which this machine may have more failures than other networks.
const THIS_MACHINE: u64 = 10;

/// The factor by which a name needs more failures than a network: it takes that many networks to lock a name.
const NAME: u64 = 10;

/// Counts failed logins, and locks out clients and names with too many.
pub struct Lockouts {
    clock: Arc<dyn Clock>,
    store: Arc<dyn Store>,
    /// The number of failures that lock a network out.
    pub(crate) limit: Limit,
    /// The delay before the reply to a wrong password.
    delay: Duration,
    /// The failures of client networks.
    networks: Tally,
    /// The failures on names.
    names: Tally,
    /// The failures of one network on one name.
    of_both: Tally,
    /// The lock-outs that are in the log and the history already, so that each is there once.
    noted: Tally,
    failed_logins: FailedLogins,
    history: LockoutHistory,
    known_networks: KnownNetworks,
}

/// A lock-out in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Lockout {
    /// The client network or the name.
    pub who: String,
    /// Whether a network is locked out. A name is locked only for networks that its owner has not used.
    pub is_network: bool,
    /// The number of failed logins.
    pub failures: u32,
    /// The time when the lock-out ends, unless another login fails.
    #[schemars(with = "String", extend("format" = "date-time"))]
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
            networks: store.tally("failures-of-networks"),
            names: store.tally("failures-on-names"),
            of_both: store.tally("failures-of-both"),
            noted: store.tally("lock-outs"),
            clock,
            store,
            limit,
            delay,
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
        // Most clients never fail, and should not cost a text.
        if self.networks.is_empty() {
            return false;
        }
        let (now, limit) = (self.clock.now(), of_network(network, limit));
        let network = network.to_string();
        let failures = self.networks.count(&network, now);
        let is_locked = failures.count >= limit;
        if is_locked {
            // Failures at several nodes may add up to a lock-out that none of these failures reached by itself.
            self.note_network(client, &network, None, failures);
        }
        is_locked
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
        let failures = self.names.count(name, self.clock.now());
        if failures.count < of_name(limit) {
            return Ok(false);
        }
        self.note_name(name, failures);
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
        let text = network.to_string();
        let count = self.networks.add(&text, 1, Some(now + WINDOW), now);
        if self.limit.get().is_some_and(|limit| count >= of_network(network, limit)) {
            self.note_network(client, &text, name, Count { count, until: Some(now + WINDOW) });
        }
    }

    /// Counts a failure of a client on a name.
    pub fn failed_for(&self, client: ClientAddress, name: &str) {
        let now = self.clock.now();
        if let Some(network) = ClientNetwork::of_client(client) {
            self.of_both.add(&of_both(&network.to_string(), name), 1, Some(now + WINDOW), now);
        }
        let count = self.names.add(name, 1, Some(now + WINDOW), now);
        if self.limit.get().is_some_and(|limit| count >= of_name(limit)) {
            self.note_name(name, Count { count, until: Some(now + WINDOW) });
        }
    }

    /// Tells the log and the history that a network is locked out, once for all nodes.
    fn note_network(
        &self,
        client: ClientAddress,
        network: &str,
        name: Option<&str>,
        Count { count, until }: Count,
    ) {
        let now = self.clock.now();
        if !self.noted.add_below(network, 1, until, now) {
            return;
        }
        let client = login_log::place(client);
        tracing::warn!(client, %network, failures = count, "locked out");
        let what = What::LockedOut {
            who: network.to_owned(),
            is_network: true,
            name: name.map(str::to_owned),
            failures: bounded(count),
            until: until.unwrap_or(now),
        };
        self.history.note(what, &*self.clock);
    }

    /// The same of a name.
    fn note_name(&self, name: &str, Count { count, until }: Count) {
        let now = self.clock.now();
        if !self.noted.add_below(name, 1, until, now) {
            return;
        }
        tracing::warn!(
            name,
            failures = count,
            "name locked for networks that it was not used from"
        );
        let what = What::LockedOut {
            who: FailedLogin::new(name, "").name,
            is_network: false,
            name: None,
            failures: bounded(count),
            until: until.unwrap_or(now),
        };
        self.history.note(what, &*self.clock);
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
        self.forgive(network, name);
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
        let lockout = |(who, failures): (String, Count), is_network| Lockout {
            who,
            is_network,
            failures: bounded(failures.count),
            until: failures.until.unwrap_or(now),
        };
        let networks = self.networks.all(limit.into(), now).into_iter();
        let networks = networks.filter(|(network, failures)| {
            address_of(network).is_none_or(|address| {
                failures.count >= of_network(ClientNetwork::of(address), limit)
            })
        });
        let names = self.names.all(of_name(limit), now).into_iter();
        let mut all: Vec<_> = networks.map(|it| lockout(it, true)).collect();
        all.extend(names.map(|it| lockout(it, false)));
        all.sort_by(|one, other| (!one.is_network, &one.who).cmp(&(!other.is_network, &other.who)));
        all
    }

    /// Ends the lock-out of `who`, on all nodes: a network, any address in a network, or a name. Returns whether anything
    /// was counted.
    pub fn lift(&self, who: &str) -> bool {
        let now = self.clock.now();
        let lift = |failures: &Tally, key: &str| {
            self.noted.clear(key, now);
            failures.clear(key, now)
        };
        let lifted = match address_of(who) {
            Some(address) => lift(&self.networks, &ClientNetwork::of(address).to_string()),
            // A node may know a name that this one has not heard of yet.
            None => lift(&self.names, &who.to_lowercase()) | lift(&self.networks, who),
        };
        if lifted {
            tracing::info!(who, "lock-out lifted");
        }
        lifted
    }

    /// Returns the log of failed logins.
    pub(crate) const fn failed_logins(&self) -> &FailedLogins {
        &self.failed_logins
    }

    /// Cancels one failure of a network on a name, whichever node counted it.
    fn forgive(&self, network: ClientNetwork, name: &str) {
        // Most clients never fail, and should not cost a copy of the name.
        if self.of_both.is_empty() {
            return;
        }
        let (now, network) = (self.clock.now(), network.to_string());
        let both = of_both(&network, name);
        let failures = self.of_both.count(&both, now);
        if failures.count == 0 {
            return;
        }
        self.of_both.add(&both, -1, failures.until, now);
        let all = self.networks.count(&network, now);
        if all.count > 0 {
            self.networks.add(&network, -1, all.until, now);
        }
    }
}

fn of_both(network: &str, name: &str) -> String {
    format!("{network} {name}")
}

/// Returns the address in the text of a network, or one that the operator wrote.
fn address_of(text: &str) -> Option<IpAddr> {
    text.split('/').next().unwrap_or(text).trim_matches(['[', ']']).parse().ok()
}

fn bounded(count: u64) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// Returns the number of failures that lock a network out.
fn of_network(network: ClientNetwork, limit: u32) -> u64 {
    u64::from(limit) * if network.is_loopback() { THIS_MACHINE } else { 1 }
}

/// Returns the number of failures that lock a name.
fn of_name(limit: u32) -> u64 {
    u64::from(limit) * NAME
}

#[cfg(test)]
mod tests {
    use super::*;
    use posta_net::clock::SimulatedClock;
    use posta_store::{History as _, MemoryStore, Records as _};
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

    /// Two servers of one store are one to guess at.
    #[tokio::test]
    async fn failures_at_several_servers_add_up() {
        let (store, clock, one) = lockouts_with(4);
        let other = Lockouts::new(store.clone(), clock.clone(), 4, Duration::ZERO);
        for _ in 0..2 {
            one.failed_for(client(1), "ana@x.test");
            one.failed(client(1), "ana@x.test").await;
            other.failed(client(1), "").await;
        }
        assert!(one.locks(client(1)) && other.locks(client(1)));
        assert_eq!(one.active(), other.active());
        one.delay().await;
        let events = store.events(None, 10).await.unwrap();
        assert_eq!(events.len(), 1, "told once: {events:?}");
        assert!(other.lift("192.0.2.1") && !one.locks(client(1)));
        // The password that one server took is right at the other, too.
        for _ in 0..3 {
            one.failed(client(1), "ana@x.test").await;
        }
        for _ in 0..2 {
            other.succeeded(client(1), "ana@x.test", ANA).await.unwrap();
        }
        other.failed(client(1), "").await;
        assert!(!one.locks(client(1)));
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
