//! Sending out: takes what is due from the queue, hands it to the servers that take it, and settles
//! each attempt in one transaction.
//!
//! What a crash leaves: an item that was claimed is claimed again when its lease ends. The message
//! may have been taken by the other side without our having settled it; then it is sent again, which
//! is the window that the protocol itself has (RFC 5321 §4.5.4, RFC 1047).

mod conversation;

use crate::{
    clock::Clock,
    directory::Directory,
    dispatch,
    drive::Driver,
    net::Net,
    outbound::ClientTls,
    reports::{About, Outcome, Reporter},
    resolve::Resolver,
    route::{self, Host},
    schedule::{After, Schedule},
};
use conversation::{Conversation, Trouble};
use posta_mail::{Domain, Reply, Timestamp, dsn::Action, envelope::Late};
use posta_store::{
    Destination, Event, Fate, Item, ItemState, Settlement, Store, StoreError, Waiting, What,
};
use std::{sync::Arc, time::Duration};
use tokio::{
    sync::{Notify, OwnedSemaphorePermit, Semaphore, watch},
    task::JoinSet,
    time::{interval, sleep},
};

/// Attempts at once.
const ATTEMPTS: usize = 200;

/// Items claimed at once at most.
const CLAIM: usize = 64;

/// How long an item is ours without our saying so again.
const LEASE: Duration = Duration::from_secs(5 * 60);

/// How often we say so.
const RENEW: Duration = Duration::from_secs(2 * 60);

/// How long to rest at most before looking for due items, and after the store failed.
const REST: Duration = Duration::from_secs(60);

/// Where mail for other servers is delivered (RFC 5321 §4.5.4.2).
const PORT: u16 = 25;

/// How mail goes out.
#[derive(Debug, Clone)]
pub struct RelaySettings {
    /// When it is tried.
    pub schedule: Schedule,
    /// `host:port` that takes all of it, in place of each destination's own servers.
    pub smarthost: Option<String>,
    /// How long any wait for another server may last.
    pub patience: Duration,
}

impl Default for RelaySettings {
    fn default() -> Self {
        let patience = Duration::from_secs(10 * 60);
        Self { schedule: Schedule::default(), smarthost: None, patience }
    }
}

/// Sends out.
pub struct Relay {
    /// The server's name for itself.
    pub hostname: Domain,
    /// The queue.
    pub store: Arc<dyn Store>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Connections.
    pub net: Arc<dyn Net>,
    /// Where other servers are.
    pub resolver: Arc<dyn Resolver>,
    /// Whose mailbox an address means.
    pub directory: Directory,
    /// For senders who want to hear.
    pub reporter: Reporter,
    /// How.
    pub settings: RelaySettings,
    /// TLS to other servers.
    pub tls: ClientTls,
    /// Said when the queue has something new.
    pub wake: Arc<Notify>,
}

/// What an attempt found.
pub(crate) struct Found {
    /// The decisive reply for each recipient of the item.
    pub(crate) replies: Vec<Reply>,
    /// The server that was talked to, if it came to that.
    pub(crate) host: Option<String>,
    pub(crate) tls: Option<String>,
    /// Whether that server reports further.
    pub(crate) reports: bool,
}

impl Relay {
    /// Works until the server stops; attempts under way may end.
    pub async fn run(self: Arc<Self>, mut stopping: watch::Receiver<bool>) {
        let attempts = Arc::new(Semaphore::new(ATTEMPTS));
        let mut running = JoinSet::new();
        loop {
            let claimed = self.claim(&attempts).await;
            if claimed.is_empty() {
                tokio::select! {
                    () = self.wake.notified() => {}
                    () = self.rest() => {}
                    _ = stopping.wait_for(|&stopping| stopping) => break,
                }
            } else if *stopping.borrow() {
                break;
            }
            for (item, permit) in claimed {
                let relay = self.clone();
                running.spawn(async move {
                    relay.attempt(item).await;
                    drop(permit);
                });
            }
            while running.try_join_next().is_some() {}
        }
        // What is under way ends, or the program does, and the leases lapse.
        while running.join_next().await.is_some() {}
    }

    /// Items that are due, as many as may be worked on.
    async fn claim(&self, attempts: &Arc<Semaphore>) -> Vec<(Item, OwnedSemaphorePermit)> {
        let mut permits = Vec::new();
        // The first may have to be waited for.
        permits.extend(attempts.clone().acquire_owned().await.ok());
        while permits.len() < CLAIM {
            match attempts.clone().try_acquire_owned() {
                Ok(permit) => permits.push(permit),
                Err(_) => break,
            }
        }
        let now = self.clock.now();
        match self.store.claim(now, now + LEASE, permits.len()).await {
            Ok(items) => items.into_iter().zip(permits).collect(),
            Err(error) => {
                tracing::error!(%error, "the queue cannot be read");
                sleep(REST).await;
                Vec::new()
            }
        }
    }

    /// Until the next item is due.
    async fn rest(&self) {
        let due = self.store.next_due().await.ok().flatten();
        let until = due.map(|due| due.duration_since(self.clock.now()));
        let until = until.and_then(|until| Duration::try_from(until).ok());
        // What is due already would have been claimed.
        let until = until.unwrap_or(REST).max(Duration::from_millis(10));
        sleep(until.min(REST)).await;
    }

    async fn attempt(&self, item: Item) {
        let id = item.id;
        let working = self.work(item);
        tokio::pin!(working);
        let mut renewing = interval(RENEW);
        renewing.tick().await;
        loop {
            tokio::select! {
                () = &mut working => return,
                _ = renewing.tick() => {
                    let until = self.clock.now() + LEASE;
                    let renewed = self.store.reschedule(id, until, ItemState::Leased).await;
                    // Gone, or the store fails: settling will find that out.
                    tracing::debug!(%id, ?renewed, "an attempt takes its time");
                }
            }
        }
    }

    async fn work(&self, item: Item) {
        let found = match &item.destination {
            Destination::Local => None,
            Destination::Domain(_) if self.is_late(&item) => {
                let words = "The time within which it was to be delivered is over";
                Some(Found::nowhere(&item, Reply::new(550, (5, 4, 7), words)))
            }
            Destination::Domain(domain) => Some(self.transmit(&item, domain).await),
        };
        for _ in 0..3 {
            let settlement = match &found {
                None => self.deliver(&item).await,
                Some(found) => self.conclude(&item, found).await,
            };
            let settled = match settlement {
                Ok(settlement) => self.store.settle(settlement).await,
                Err(error) => Err(error),
            };
            match settled {
                Ok(_) => return self.wake.notify_one(),
                // An account went away in the meantime: look again.
                Err(StoreError::NoSuchAccount) => {}
                Err(error) => {
                    tracing::error!(%error, id = %item.id, "an attempt could not be settled");
                    return;
                }
            }
        }
    }

    /// RFC 2852 §4: what is to fail when it is late is not delivered late.
    fn is_late(&self, item: &Item) -> bool {
        let deadline = item.envelope.deadline;
        deadline.is_some_and(|(at, late)| late == Late::Return && at <= self.clock.now())
    }

    /// Hands an item to the first server that takes it.
    async fn transmit(&self, item: &Item, domain: &str) -> Found {
        let hosts = match &self.settings.smarthost {
            Some(smarthost) => Ok(vec![Host::Smarthost(smarthost.clone())]),
            None => {
                let random = |below: usize| self.random(below);
                route::hosts(domain, self.hostname.as_str(), &*self.resolver, random).await
            }
        };
        let hosts = match hosts {
            Ok(hosts) => hosts,
            Err(reply) => return Found::nowhere(item, reply),
        };
        let mut last = Reply::new(550, (5, 4, 4), format!("No server of {domain} has an address"));
        for host in hosts {
            let (name, addresses) = match self.addresses(&host).await {
                Ok(found) => found,
                Err(reply) => {
                    // That one does not exist weighs less than that another may.
                    if reply.code.is_transient() {
                        last = reply;
                    }
                    continue;
                }
            };
            for address in addresses {
                match self.converse(item, &name, &address).await {
                    Ok(found) => return found,
                    Err(reply) => last = reply,
                }
            }
        }
        Found::nowhere(item, last)
    }

    /// A host's name and where it may be connected to.
    async fn addresses(&self, host: &Host) -> Result<(String, Vec<String>), Reply> {
        match host {
            Host::Smarthost(place) => {
                let name = place.rsplit_once(':').map_or(place.as_str(), |(name, _)| name);
                Ok((name.to_owned(), vec![place.clone()]))
            }
            Host::Literal(address) => {
                Ok((format!("[{address}]"), vec![place(&(*address, PORT).into())]))
            }
            Host::Named(name) => {
                let found = self.resolver.addresses(name).await;
                let found = found.map_err(|error| route::lookup_failed(&error))?;
                let places = found.into_iter().map(|address| place(&(address, PORT).into()));
                Ok((name.clone(), places.collect()))
            }
        }
    }

    /// One connection: in TLS where the other side offers it, and once more without where that
    /// fails, unless the message requires it (RFC 7435 §3: better than nothing).
    async fn converse(&self, item: &Item, name: &str, address: &str) -> Result<Found, Reply> {
        let mut plaintext = false;
        loop {
            let driver = Driver::unstoppable();
            let conversation = Conversation::new(self, item, name, plaintext);
            match conversation.hold(address, &driver).await {
                Ok(found) => return Ok(found),
                Err(Trouble::Tls(_)) if !plaintext && !item.envelope.require_tls => {
                    plaintext = true;
                }
                Err(Trouble::Tls(why) | Trouble::Connection(why)) => {
                    let words = format!("{name} ({address}): {why}");
                    return Err(Reply::new(451, (4, 4, 1), words));
                }
                Err(Trouble::Refused(reply)) => {
                    // RFC 5321 §3.1: another of its servers may do better, or this one later.
                    let words = format!("{name} ({address}) refuses to talk: {reply}");
                    return Err(Reply::new(451, (4, 4, 1), words));
                }
            }
        }
    }

    fn random(&self, below: usize) -> usize {
        let mut octets = [0; 8];
        self.clock.random(&mut octets);
        (u64::from_be_bytes(octets) % below.max(1) as u64) as usize
    }

    /// Puts a message that was kept back into its mailboxes.
    async fn deliver(&self, item: &Item) -> Result<Settlement, StoreError> {
        let mut resolved = Vec::new();
        for recipient in &item.recipients {
            resolved.push(self.directory.accounts(&recipient.address).await?);
        }
        let reply = |is_there: bool| match is_there {
            true => Reply::new(250, (2, 1, 5), "It is in the mailbox"),
            false => Reply::new(550, (5, 1, 1), "No such user here"),
        };
        let replies = resolved.iter().map(|accounts| reply(!accounts.is_empty())).collect();
        let found = Found { replies, host: None, tls: None, reports: false };
        let accounts: Vec<Vec<_>> = resolved
            .iter()
            .map(|accounts| accounts.iter().map(|account| account.id).collect())
            .collect();
        let addresses = item.recipients.iter().map(|recipient| &recipient.address);
        let deliveries = dispatch::deliveries(
            &item.envelope.reverse_path,
            addresses.zip(accounts.iter().map(Vec::as_slice)),
        );
        Ok(Settlement { deliveries, ..self.conclude(item, &found).await? })
    }

    /// What follows from an attempt: who is done with, who waits, and who hears of it.
    async fn conclude(&self, item: &Item, found: &Found) -> Result<Settlement, StoreError> {
        let now = self.clock.now();
        let schedule = &self.settings.schedule;
        let Item { accepted, attempts, envelope, .. } = item;
        let after = schedule.after(attempts + 1, *accepted, envelope.deadline, now);
        let is_late = !item.delay_told && schedule.is_delayed(*accepted, envelope.deadline, now);
        let (mut waiting, mut outcomes, mut fates) = (Vec::new(), Vec::new(), Vec::new());
        for (recipient, reply) in item.recipients.iter().zip(&found.replies) {
            let action = action(reply, found, item, after);
            fates.push(Fate {
                recipient: recipient.address.clone(),
                action: action.name().to_owned(),
                reply: reply.to_string(),
            });
            if action == Action::Delayed {
                waiting.push(Waiting { reply: Some(reply.to_string()), ..recipient.clone() });
            }
            // A server that reports further will do so; and of delay is told once.
            let is_told = match action {
                Action::Delayed => is_late,
                Action::Relayed => !found.reports,
                _ => true,
            };
            if is_told {
                outcomes.push(outcome(recipient, reply, action, found));
            }
        }
        let next = match after {
            After::Again(next) if !waiting.is_empty() => Some(next),
            _ => None,
        };
        let what = What::Attempted {
            destination: match &item.destination {
                Destination::Local => "local".to_owned(),
                Destination::Domain(domain) => domain.clone(),
            },
            host: found.host.clone(),
            tls: found.tls.clone(),
            recipients: fates,
            next,
        };
        let mut events = vec![Event { id: item.id.content, time: now, what }];
        let until = schedule.until(*accepted, envelope.deadline);
        let report = self.reporter.report(about(item), &outcomes, Some(until)).await?;
        let reports = report.into_iter().map(|(report, event)| {
            events.push(event);
            report
        });
        let reports = reports.collect();
        let left = next.map(|due| Item {
            recipients: waiting,
            due,
            state: ItemState::Waiting,
            attempts: attempts + 1,
            delay_told: item.delay_told || is_late,
            ..item.clone()
        });
        let deliveries = Vec::new();
        Ok(Settlement { item: item.id, time: now, left, deliveries, reports, events })
    }
}

impl Found {
    /// No server was talked to.
    fn nowhere(item: &Item, reply: Reply) -> Self {
        let replies = vec![reply; item.recipients.len()];
        Self { replies, host: None, tls: None, reports: false }
    }
}

fn place(address: &std::net::SocketAddr) -> String {
    address.to_string()
}

fn action(reply: &Reply, found: &Found, item: &Item, after: After) -> Action {
    if reply.code.is_positive() {
        // In our own mailbox, or in another server's hands.
        let is_local = found.host.is_none() && item.destination == Destination::Local;
        if is_local { Action::Delivered } else { Action::Relayed }
    } else if reply.code.is_permanent() || after == After::GiveUp {
        Action::Failed
    } else {
        Action::Delayed
    }
}

fn outcome(recipient: &Waiting, reply: &Reply, action: Action, found: &Found) -> Outcome {
    Outcome {
        address: recipient.address.clone(),
        notify: recipient.notify,
        original: recipient.original.clone(),
        action,
        reply: Some(reply.clone()),
        host: found.host.clone(),
    }
}

fn about(item: &Item) -> About<'_> {
    About {
        id: item.id.content,
        envelope: &item.envelope,
        message_id: item.message_id.as_deref(),
        accepted: item.accepted,
        octets: item.octets,
        beginning: None,
    }
}

/// Seconds that are left until a time, for DELIVERBY.
pub(crate) fn seconds_until(time: Timestamp, now: Timestamp) -> i64 {
    time.as_second().saturating_sub(now.as_second())
}
