//! Sending out: takes what is due from the queue, hands it to the servers that take it, and settles
//! each attempt in one transaction.
//!
//! An *attempt* has one item in hand: it finds the servers of its destination and offers the item to
//! one after the other (`attempt.rs`). Each server has a queue of such offers and a few connections
//! that serve it, one message after the other (`hosts.rs`, `connection.rs`, `conversation.rs`), so destinations that
//! share a server share its connections. How many items of a destination are in hand grows with
//! success and falls with failure (`lanes.rs`): what cannot be sent does not hold up what can.
//!
//! What a crash leaves: an item that was claimed is claimed again after the restart. The message may
//! have been taken by the other side without our having settled it; then it is sent again, which is
//! the window that the protocol itself has (RFC 5321 §4.5.4, RFC 1047).

mod attempt;
mod broken;
mod capacity;
mod connection;
mod conversation;
mod host_queue;
mod hosts;
mod peer;
pub mod route;
pub mod schedule;
pub mod settings;
mod settle;
mod smarthosts;
mod trouble;
pub mod trust;
mod visit;

pub use settings::{RelaySettings, Rules, Smarthost, SmarthostTls};

use crate::{
    deliver::wake::Wake,
    directory::Directory,
    limits::adjustable::Adjustable,
    reports::{Reporter, tls::TlsReports},
    send::trust::mta_sts::Policies,
};
use capacity::{Advice, Lanes, Verdict};
use hosts::Hosts;
use posta_mail::{Domain, Timestamp};
use posta_net::{
    clock::Clock, dial::Dialer, dns::Resolver, driver::Driver, tls::client::ClientTls,
};
use posta_store::{Item, Store};
use smarthosts::Smarthosts;
use std::{sync::Arc, time::Duration};
use tokio::{sync::watch, task::JoinSet, time::sleep};

/// Items claimed at once at most.
const CLAIM: usize = 256;

/// How long an item is ours without our saying so again.
const LEASE: Duration = Duration::from_secs(5 * 60);

/// How often we say so.
const RENEW: Duration = Duration::from_secs(2 * 60);

/// How long to rest at most before looking for due items, and after the store failed.
const REST: Duration = Duration::from_secs(60);

/// Sends out.
pub struct Relay {
    /// The server's name for itself.
    pub hostname: Domain,
    /// The queue.
    pub store: Arc<dyn Store>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Connections to other servers.
    pub dialer: Dialer,
    /// Where other servers are.
    pub resolver: Arc<dyn Resolver>,
    /// Whose mailbox an address means.
    pub directory: Directory,
    /// For senders who want to hear.
    pub reporter: Reporter,
    /// How.
    pub settings: Arc<Adjustable<RelaySettings>>,
    /// TLS to other servers.
    pub tls: ClientTls,
    /// What domains ask for on the web.
    pub policies: Policies,
    /// Who hears how TLS went.
    pub tls_reports: Arc<TlsReports>,
    /// Said when the queue has something new.
    pub wake: Arc<Wake>,
    pub(crate) driver: Driver,
    pub(crate) hosts: Hosts,
    pub(crate) lanes: Lanes,
    pub(crate) smarthosts: Smarthosts,
}

impl Relay {
    /// Works until the server stops; what is under way may end.
    pub async fn run(self: Arc<Self>, mut stopping: watch::Receiver<bool>) {
        self.policies.recall().await;
        let mut attempts = JoinSet::new();
        loop {
            self.steer().await;
            let claimed = self.claim().await;
            let is_idle = claimed.is_empty();
            for item in claimed {
                self.begin(item, &mut attempts);
            }
            while attempts.try_join_next().is_some() {}
            if *stopping.borrow() {
                break;
            }
            if is_idle {
                tokio::select! {
                    () = self.wake.woken() => {}
                    () = self.rest() => {}
                    _ = stopping.wait_for(|&stopping| stopping) => break,
                }
            }
            if self.wake.take_retry() {
                self.hosts.forgive();
            }
        }
        // What is under way ends, or the program does.
        self.hosts.stop();
        while attempts.join_next().await.is_some() {}
    }

    /// Items that are due, as many as may be worked on.
    async fn claim(&self) -> Vec<Item> {
        let (room, share) = self.lanes.room();
        if room == 0 {
            return Vec::new();
        }
        let now = self.clock.now();
        match self.store.claim(now, now + LEASE, room.min(CLAIM), share).await {
            Ok(items) => items,
            Err(error) => {
                tracing::error!(%error, "the queue cannot be read");
                sleep(REST).await;
                Vec::new()
            }
        }
    }

    /// Takes an item in hand.
    fn begin(self: &Arc<Self>, item: Item, attempts: &mut JoinSet<()>) {
        let destination = item.destination.clone();
        self.lanes.take(&destination);
        let relay = self.clone();
        attempts.spawn(async move {
            let verdict = relay.attempt(item).await;
            let limited = relay.settings.get().for_destination(&destination).rate.is_some();
            if relay.lanes.give(&destination, verdict, limited) {
                relay.wake.wake();
            }
        });
    }

    /// Has more or less claimed of destinations.
    async fn steer(&self) {
        for (destination, advice) in self.lanes.advice() {
            let until = self.clock.now()
                + match advice {
                    // Whoever works on it says when it is over.
                    Advice::Pause => LEASE,
                    Advice::Resume(wait) => wait,
                };
            if let Err(error) = self.store.pause(&destination, until).await {
                tracing::error!(%error, "the queue cannot be steered");
            }
        }
    }

    /// Until the next item is due; while there is no room for it, until somebody wakes us.
    async fn rest(&self) {
        if self.lanes.room().0 == 0 {
            return sleep(REST).await;
        }
        let due = self.store.next_due().await.ok().flatten();
        let until = due.map(|due| due.duration_since(self.clock.now()));
        let until = until.and_then(|until| Duration::try_from(until).ok());
        // What is due already would have been claimed.
        let until = until.unwrap_or(REST).max(Duration::from_millis(10));
        sleep(until.min(REST)).await;
    }
}

/// Seconds that are left until a time, for DELIVERBY.
pub(crate) fn seconds_until(time: Timestamp, now: Timestamp) -> i64 {
    time.as_second().saturating_sub(now.as_second())
}
