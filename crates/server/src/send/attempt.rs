//! One attempt to send an item: the item is offered to the servers of its destination one after the
//! other, and the result is settled. [`Relay::run`] starts an attempt for each item that it claims.

use super::{
    AttemptResult, LEASE, RENEW, Relay,
    host_failure::HostFailure,
    offer::{self, Offer, OfferOutcome},
    peer::{Peer, Protection},
    trust::protection::ProtectedPeer,
};
use crate::{
    deliver::message_log,
    send::route::{self, Host, Route},
};
use posta_mail::{Reply, envelope::Late};
use posta_net::tls::failure::TlsFailure;
use posta_store::{Claimed, Destination, Item, Settled, Settlement, StoreError, Token};
use std::sync::Arc;
use tokio::time::{interval, sleep};

/// The maximal number of servers that are asked in one attempt if each refuses for now. Without a limit,
/// all servers of a destination that uses greylisting would be asked each time.
const ANSWERS: usize = 5;

impl Relay {
    /// Tries to send an item and settles the result, renewing the lease meanwhile.
    pub(super) async fn attempt(self: &Arc<Self>, claimed: Claimed) -> AttemptResult {
        let Claimed { item, lease } = claimed;
        let (id, token) = (item.id, lease.token);
        let working = self.work(item, token);
        tokio::pin!(working);
        let mut renewing = interval(RENEW);
        renewing.tick().await;
        loop {
            tokio::select! {
                result = &mut working => return result,
                _ = renewing.tick() => {
                    // If the item no longer exists, another relay has claimed it, or the store fails,
                    // then settling will notice.
                    let _ = self.store.renew(id, token, self.clock.now() + LEASE).await;
                    tracing::debug!(%id, "an attempt takes its time");
                }
            }
        }
    }

    async fn work(self: &Arc<Self>, item: Item, token: Token) -> AttemptResult {
        let item = Arc::new(item);
        let offers = match &item.destination {
            Destination::Local => None,
            Destination::Domain(_) if self.is_late(&item) => {
                let words = "The time within which it was to be delivered has passed";
                Some(vec![Offer::not_made(&item, Reply::new(550, (5, 4, 7), words))])
            }
            Destination::Domain(domain) => match self.transmit(&item, domain).await {
                // The program stops; the next attempt follows after the next start.
                None => return AttemptResult::Other,
                offers => offers,
            },
        };
        for _ in 0..3 {
            let settlement = match &offers {
                None => self.deliver(&item).await,
                Some(offers) => self.settlement(&item, offers).await,
            };
            let settled = match settlement {
                Ok(settlement) => {
                    let settlement = Settlement { token: Some(token), ..settlement };
                    let attempt = message_log::Attempt::new(&settlement);
                    let settled = self.store.settle(settlement).await;
                    settled.map(|settled| is_own(&item, settled).then_some(attempt))
                }
                Err(error) => Err(error),
            };
            match settled {
                Ok(attempt) => {
                    attempt.into_iter().for_each(message_log::Attempt::settled);
                    return offers
                        .map_or(AttemptResult::Good, |offers| offer::attempt_result(&offers));
                }
                // An account was removed in the meantime, so the recipients have to be resolved again.
                Err(StoreError::NoSuchAccount) => {}
                Err(error) => {
                    tracing::error!(%error, id = %item.id, "an attempt could not be settled");
                    break;
                }
            }
        }
        AttemptResult::Other
    }

    /// Returns whether the item's deadline has passed and the sender asked for it to be returned in that
    /// case (RFC 2852 §4).
    fn is_late(&self, item: &Item) -> bool {
        let deadline = item.envelope.deadline;
        deadline.is_some_and(|(at, late)| late == Late::Return && at <= self.clock.now())
    }

    /// Offers an item to the first server that accepts it, and the recipients that are refused for now
    /// to the next one (RFC 5321 §5.1). Returns the offers that were answered, or one that says why none
    /// was; `None` if the program stops.
    async fn transmit(self: &Arc<Self>, item: &Arc<Item>, domain: &str) -> Option<Vec<Offer>> {
        let settings = self.settings.get();
        let rules = settings.rules(domain);
        if let Some(rate) = rules.rate {
            sleep(self.capacity.turn(&item.destination, rate)).await;
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
            Err(reply) => return Some(vec![Offer::not_made(item, reply)]),
        };
        let mut offers = Vec::new();
        let mut left: Vec<usize> = (0..item.recipients.len()).collect();
        let mut rest = item.clone();
        let mut last: Option<(String, HostFailure)> = None;
        for host in &route.hosts {
            let offered = self.offer(&rest, host, &route, domain).await?;
            self.smarthosts.note(host, &offered, self.clock.now());
            match offered {
                Ok(found) => {
                    let elsewhere: Vec<_> = found.elsewhere.iter().map(|&at| left[at]).collect();
                    offers.push(Offer { recipients: left, found });
                    if elsewhere.is_empty() || offers.len() >= ANSWERS {
                        return Some(offers);
                    }
                    let recipients = elsewhere.iter().map(|&at| item.recipients[at].clone());
                    rest = Arc::new(Item { recipients: recipients.collect(), ..(**item).clone() });
                    left = elsewhere;
                }
                // The failure of a server without an address matters less than that of one that may be
                // reachable later.
                Err(trouble) => {
                    let is_graver = trouble.decision.code().is_transient();
                    if is_graver || last.as_ref().is_none_or(|(_, last)| last.has_no_address) {
                        last = Some((host.to_string(), trouble));
                    }
                }
            }
        }
        // A message that these servers cannot accept (for lack of SMTPUTF8, say) may be accepted by one
        // that is down now.
        let unfit = offer::failed(&offers, &left);
        let is_transient =
            last.as_ref().is_some_and(|(_, trouble)| trouble.decision.code().is_transient());
        if offers.is_empty() {
            offers.push(Offer::unreachable(left, last, domain));
        } else if is_transient && !unfit.is_empty() {
            offers.push(Offer::unreachable(unfit, last, domain));
        }
        Some(offers)
    }

    /// Offers an item to a host, with the protection that the host's owner and the message require.
    /// Returns `None` if the program stops.
    async fn offer(
        self: &Arc<Self>,
        item: &Arc<Item>,
        host: &Host,
        route: &Route,
        domain: &str,
    ) -> Option<Result<OfferOutcome, HostFailure>> {
        let ProtectedPeer { peer, kind, is_test } =
            match self.protected_peer(host, route, domain, item).await {
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
            // RFC 8461 §5: in testing mode the mail is sent even if the policy is violated.
            Err(trouble) if is_test && trouble.tls.is_some() => {
                let peer = Peer { protection: Protection::Opportunistic, ..peer };
                self.hosts.send(self, &peer, item.clone()).await
            }
            sent => Some(sent),
        }
    }

    /// Returns a random number below `below`.
    fn random(&self, below: usize) -> usize {
        let mut octets = [0; 8];
        self.clock.random(&mut octets);
        (u64::from_be_bytes(octets) % below.max(1) as u64) as usize
    }
}

/// Returns whether an attempt counts, which requires that the item still belonged to this relay when it
/// was settled.
fn is_own(item: &Item, settled: Settled) -> bool {
    if settled == Settled::Fenced {
        tracing::warn!(
            id = %item.id,
            "an attempt took longer than its lease, and another was begun meanwhile: what it came to \
             does not count, and the message may arrive twice"
        );
    }
    settled == Settled::Done
}
