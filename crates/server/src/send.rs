//! Sending: takes items from the queue when they are due, hands them to other servers, and settles each
//! attempt in one transaction. `assembly` starts the relay; the store wakes it when something new is
//! queued.
//!
//! An *attempt* works on one item: it finds the servers of the destination and offers the item to one
//! after the other (`attempt.rs`). Each server has a queue of such offers and a few connections that
//! serve it, one message after the other (`hosts.rs`, `connection.rs`, `conversation.rs`), so
//! destinations that share a server share its connections. The number of items of a destination in
//! progress grows with success and falls with failure (`capacity.rs`), so mail that cannot be sent does
//! not delay mail that can.
//!
//! Where several nodes share a store, an attempt ends with the term of its node (`Term`): it offers the item to nobody
//! any more, and leaves it to the node that has claimed it since.
//!
//! After a crash, the items that were claimed are claimed again. If the other server had accepted the
//! message before the attempt was settled, the message is sent a second time: the protocol itself leaves
//! this window open (RFC 5321 §4.5.4, RFC 1047).

mod attempt;
mod capacity;
mod connection;
mod connection_failure;
mod conversation;
mod host_failure;
mod host_queue;
mod hosts;
mod offer;
mod peer;
pub mod route;
pub mod schedule;
pub mod settings;
mod settle;
mod smarthosts;
pub mod trust;

pub use settings::{RelaySettings, Rules, Smarthost, SmarthostTls};

use crate::{
    directory::Directory,
    limits::{adjustable::Adjustable, metrics::Metrics, term::Term},
    reports::{Reporter, tls::TlsReports},
    send::trust::mta_sts::Policies,
};
use capacity::{Advice, AttemptResult, Capacity};
use hosts::Hosts;
use posta_mail::{Domain, Timestamp};
use posta_net::{
    clock::Clock, dial::Dialer, dns::Resolver, driver::Driver, tls::client::ClientTls,
};
use posta_store::{Claimed, Store, StoreError, Subject};
use smarthosts::Smarthosts;
use std::{collections::BTreeSet, sync::Arc, time::Duration};
use tokio::{
    sync::{Notify, watch},
    task::JoinSet,
    time::sleep,
};

/// The maximal number of items claimed at once.
const CLAIM: usize = 256;

/// The time for which a claimed item belongs to this relay, unless the lease is renewed.
const LEASE: Duration = Duration::from_secs(5 * 60);

/// The interval at which an attempt renews its lease.
const RENEW: Duration = Duration::from_secs(2 * 60);

/// The maximal pause before the queue is read again.
const REST: Duration = Duration::from_secs(60);

/// The maximal pause after a failure of the store: mail goes on soon after a database is there again.
const AFTER_FAILURE: Duration = Duration::from_secs(5);

/// Sends the mail in the queue.
pub struct Relay {
    /// The name of this server, used in EHLO.
    pub hostname: Domain,
    /// The store that holds the queue.
    pub store: Arc<dyn Store>,
    /// The source of time and randomness.
    pub clock: Arc<dyn Clock>,
    /// Opens connections to other servers.
    pub dialer: Dialer,
    /// Finds the addresses and servers of destinations in DNS.
    pub resolver: Arc<dyn Resolver>,
    /// Resolves local addresses, for messages that were held and are now delivered here.
    pub directory: Directory,
    /// Writes the reports to senders (DSNs).
    pub reporter: Reporter,
    /// The operator's settings for sending.
    pub settings: Arc<Adjustable<RelaySettings>>,
    /// Negotiates TLS with other servers.
    pub tls: ClientTls,
    /// The MTA-STS policies of destinations.
    pub policies: Policies,
    /// Counts the TLS sessions and failures, for the reports to the domains' owners.
    pub tls_reports: Arc<TlsReports>,
    /// Ends the relay's rest for reasons that the store does not know: capacity has become free, or the
    /// settings have changed.
    pub nudge: Arc<Notify>,
    /// Counts the attempts.
    pub metrics: Arc<Metrics>,
    pub(crate) driver: Driver,
    pub(crate) hosts: Hosts,
    pub(crate) capacity: Capacity,
    pub(crate) smarthosts: Smarthosts,
}

impl Relay {
    /// Sends mail until the server stops. Attempts in progress may then finish.
    pub async fn run(self: Arc<Self>, mut stopping: watch::Receiver<bool>) {
        self.policies.recall().await;
        let mut attempts = JoinSet::new();
        let mut watcher = self.store.watch(&[Subject::Queue, Subject::Rescheduled]);
        loop {
            // A change after this point may come too late for this claim, but ends the rest that
            // follows.
            self.hear(&watcher.take());
            self.steer().await;
            let term = Term::present(&self.store);
            let claimed = match self.claim().await {
                Ok(claimed) => claimed,
                Err(error) => {
                    tracing::error!(%error, "the queue cannot be read");
                    tokio::select! {
                        // A store that is there again takes everything for changed.
                        changed = watcher.changed() => self.hear(&changed),
                        () = sleep(AFTER_FAILURE) => {}
                        _ = stopping.wait_for(|&stopping| stopping) => break,
                    }
                    continue;
                }
            };
            let is_idle = claimed.is_empty();
            for claimed in claimed {
                self.begin(claimed, term.clone(), &mut attempts);
            }
            while attempts.try_join_next().is_some() {}
            if *stopping.borrow() {
                break;
            }
            if is_idle {
                tokio::select! {
                    changed = watcher.changed() => self.hear(&changed),
                    () = self.nudge.notified() => {}
                    () = self.rest() => {}
                    _ = stopping.wait_for(|&stopping| stopping) => break,
                }
            }
        }
        // Wait for the attempts in progress; the program limits the time for that.
        self.hosts.stop();
        while attempts.join_next().await.is_some() {}
    }

    /// Retries servers that could not be reached, if the operator has asked for a retry.
    fn hear(&self, changed: &BTreeSet<Subject>) {
        if changed.contains(&Subject::Rescheduled) {
            self.hosts.clear_failures();
        }
    }

    /// Claims due items, as many as there is capacity for.
    async fn claim(&self) -> Result<Vec<Claimed>, StoreError> {
        let (room, share) = self.capacity.room();
        if room == 0 {
            return Ok(Vec::new());
        }
        let now = self.clock.now();
        self.store.claim(now, now + LEASE, room.min(CLAIM), share).await
    }

    /// Starts an attempt for an item, on a task of its own.
    fn begin(self: &Arc<Self>, claimed: Claimed, term: Term, attempts: &mut JoinSet<()>) {
        let destination = claimed.item.destination.clone();
        self.capacity.begin(&destination);
        let relay = self.clone();
        attempts.spawn(async move {
            let result = relay.attempt(claimed, &term).await;
            let limited = relay.settings.get().for_destination(&destination).rate.is_some();
            if relay.capacity.end(&destination, result, limited) {
                relay.nudge.notify_one();
            }
        });
    }

    /// Informs the store about the destinations whose items must not be claimed for now, and those whose
    /// items may be claimed again.
    async fn steer(&self) {
        for (destination, advice) in self.capacity.advice() {
            let until = self.clock.now()
                + match advice {
                    // The attempts at this destination will resume it when they end.
                    Advice::Pause => LEASE,
                    Advice::Resume(wait) => wait,
                };
            if let Err(error) = self.store.pause(&destination, until).await {
                tracing::error!(%error, "a destination of the queue cannot be paused or resumed");
            }
        }
    }

    /// Sleeps until the next item is due or, without capacity, until some becomes free.
    async fn rest(&self) {
        if self.capacity.room().0 == 0 {
            return sleep(REST).await;
        }
        let due = self.store.next_due().await.ok().flatten();
        let until = due.map(|due| due.duration_since(self.clock.now()));
        let until = until.and_then(|until| Duration::try_from(until).ok());
        // An item that is already due would have been claimed; the minimum prevents a busy loop.
        let until = until.unwrap_or(REST).max(Duration::from_millis(10));
        sleep(until.min(REST)).await;
    }
}

/// Returns the seconds from `now` until `time`, negative if it has passed, for DELIVERBY (RFC 2852).
pub(crate) fn seconds_until(time: Timestamp, now: Timestamp) -> i64 {
    time.as_second().saturating_sub(now.as_second())
}
