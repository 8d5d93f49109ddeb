//! One attempt: an item, the servers of its destination one after the other, and what came of it.

use super::{
    LEASE, RENEW, Relay, Verdict,
    peer::{Peer, Trust},
    trouble::Trouble,
    trust::protection::Plan,
    visit::{self, Found, Visit},
};
use crate::{
    deliver::message_log,
    send::route::{self, Host, Route},
};
use posta_mail::{Reply, envelope::Late};
use posta_net::tls::failure::TlsFailure;
use posta_store::{Destination, Item, StoreError};
use std::sync::Arc;
use tokio::time::{interval, sleep};

/// Servers that are asked in one attempt at most, where each refuses for now: those that greylist
/// strangers would otherwise all be asked each time.
const ANSWERS: usize = 5;

impl Relay {
    /// Tries to hand an item on, and settles what came of it.
    pub(super) async fn attempt(self: &Arc<Self>, item: Item) -> Verdict {
        let id = item.id;
        let working = self.work(item);
        tokio::pin!(working);
        let mut renewing = interval(RENEW);
        renewing.tick().await;
        loop {
            tokio::select! {
                verdict = &mut working => return verdict,
                _ = renewing.tick() => {
                    // Gone, or the store fails: settling will find that out.
                    let _ = self.store.renew(id, self.clock.now() + LEASE).await;
                    tracing::debug!(%id, "an attempt takes its time");
                }
            }
        }
    }

    async fn work(self: &Arc<Self>, item: Item) -> Verdict {
        let item = Arc::new(item);
        let visits = match &item.destination {
            Destination::Local => None,
            Destination::Domain(_) if self.is_late(&item) => {
                let words = "The time within which it was to be delivered is over";
                Some(vec![Visit::nowhere(&item, Reply::new(550, (5, 4, 7), words))])
            }
            Destination::Domain(domain) => match self.transmit(&item, domain).await {
                // The program stops; the item is there after the next start.
                None => return Verdict::Other,
                visits => visits,
            },
        };
        for _ in 0..3 {
            let settlement = match &visits {
                None => self.deliver(&item).await,
                Some(visits) => self.conclude(&item, visits).await,
            };
            let settled = match settlement {
                Ok(settlement) => {
                    let attempt = message_log::Attempt::new(&settlement);
                    // What waits again, or is new, may be due before anything else.
                    let waits = settlement.left.is_some() || !settlement.reports.is_empty();
                    let settled = self.store.settle(settlement).await;
                    if waits {
                        self.wake.wake();
                    }
                    settled.map(|is_there| is_there.then_some(attempt))
                }
                Err(error) => Err(error),
            };
            match settled {
                Ok(attempt) => {
                    attempt.into_iter().for_each(message_log::Attempt::settled);
                    return visits.map_or(Verdict::Good, |visits| visit::verdict(&visits));
                }
                // An account went away in the meantime: look again.
                Err(StoreError::NoSuchAccount) => {}
                Err(error) => {
                    tracing::error!(%error, id = %item.id, "an attempt could not be settled");
                    break;
                }
            }
        }
        Verdict::Other
    }

    /// RFC 2852 §4: what is to fail when it is late is not delivered late.
    fn is_late(&self, item: &Item) -> bool {
        let deadline = item.envelope.deadline;
        deadline.is_some_and(|(at, late)| late == Late::Return && at <= self.clock.now())
    }

    /// Hands an item to the first server that takes it, and those recipients whom that one refuses for
    /// now to the next (RFC 5321 §5.1). Returns the visits that an answer came of, or one that tells why
    /// there was none; nothing if the program stops.
    async fn transmit(self: &Arc<Self>, item: &Arc<Item>, domain: &str) -> Option<Vec<Visit>> {
        let settings = self.settings.get();
        let rules = settings.rules(domain);
        if let Some(rate) = rules.rate {
            sleep(self.lanes.turn(&item.destination, rate)).await;
        }
        let route = match &rules.route {
            Some(smarthost) => {
                Ok(Route { hosts: vec![Host::Smarthost(smarthost.clone())], is_secure: true })
            }
            None => {
                let random = |below: usize| self.random(below);
                route::hosts(domain, self.hostname.as_str(), &*self.resolver, random).await
            }
        };
        let route = match route {
            Ok(route) => route,
            Err(reply) => return Some(vec![Visit::nowhere(item, reply)]),
        };
        let mut visits = Vec::new();
        let mut left: Vec<usize> = (0..item.recipients.len()).collect();
        let mut rest = item.clone();
        let mut last: Option<(String, Trouble)> = None;
        for host in &route.hosts {
            let offered = self.offer(&rest, host, &route, domain).await?;
            self.smarthosts.note(host, &offered, self.clock.now());
            match offered {
                Ok(found) => {
                    let elsewhere: Vec<_> = found.elsewhere.iter().map(|&at| left[at]).collect();
                    visits.push(Visit { recipients: left, found });
                    if elsewhere.is_empty() || visits.len() >= ANSWERS {
                        return Some(visits);
                    }
                    let recipients = elsewhere.iter().map(|&at| item.recipients[at].clone());
                    rest = Arc::new(Item { recipients: recipients.collect(), ..(**item).clone() });
                    left = elsewhere;
                }
                // That one does not exist weighs less than that another may be there again.
                Err(trouble) => {
                    let is_graver = trouble.decision.code().is_transient();
                    if is_graver || last.as_ref().is_none_or(|(_, last)| last.is_nobody) {
                        last = Some((host.to_string(), trouble));
                    }
                }
            }
        }
        // What one server is not fit for, one that is not there now may be.
        let unfit = visit::failed(&visits, &left);
        let is_transient =
            last.as_ref().is_some_and(|(_, trouble)| trouble.decision.code().is_transient());
        if visits.is_empty() {
            visits.push(Visit::in_vain(left, last, domain));
        } else if is_transient && !unfit.is_empty() {
            visits.push(Visit::in_vain(unfit, last, domain));
        }
        Some(visits)
    }

    /// Offers an item to a host, as its owner and the message ask for. None if the program stops.
    async fn offer(
        self: &Arc<Self>,
        item: &Arc<Item>,
        host: &Host,
        route: &Route,
        domain: &str,
    ) -> Option<Result<Found, Trouble>> {
        let Plan { peer, kind, is_test } = match self.plan(host, route, domain, item).await {
            Ok(plan) => plan,
            Err((trouble, kind)) => {
                if let Some(failure) = trouble.tls {
                    self.tls_reports.count(domain, kind, &host.to_string(), Err(failure));
                }
                return Some(Err(trouble));
            }
        };
        let sent = self.hosts.send(self, &peer, item.clone()).await?;
        let outcome = match &sent {
            Ok(found) if found.is_first && found.tls.is_some() => Some(Ok(())),
            Ok(found) if found.is_first => {
                Some(Err(found.tls_failed.unwrap_or(TlsFailure::StarttlsNotSupported)))
            }
            Ok(_) => None,
            Err(trouble) => trouble.tls.map(Err),
        };
        if let (Some(outcome), Host::Named(name)) = (outcome, host) {
            self.tls_reports.count(domain, kind, name, outcome);
        }
        match sent {
            // RFC 8461 §5: who only tests its policy gets its mail all the same.
            Err(trouble) if is_test && trouble.tls.is_some() => {
                let peer = Peer { trust: Trust::Opportunistic, ..peer };
                self.hosts.send(self, &peer, item.clone()).await
            }
            sent => Some(sent),
        }
    }

    fn random(&self, below: usize) -> usize {
        let mut octets = [0; 8];
        self.clock.random(&mut octets);
        (u64::from_be_bytes(octets) % below.max(1) as u64) as usize
    }
}
