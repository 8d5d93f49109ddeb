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
    limits::{metrics::Outcomes, share::Share, term::Term},
    send::route::{self, Host, Route},
};
use posta_mail::{Reply, envelope::Late};
use posta_net::tls::failure::TlsFailure;
use posta_store::{Claimed, Destination, Item, Settled, Settlement, StoreError, Token, What};
use std::{sync::Arc, time::Duration};
use tokio::time::{Instant, interval, sleep};

/// The maximal number of servers that are asked in one attempt if each refuses for now. Without a limit,
/// all servers of a destination that uses greylisting would be asked each time.
const ANSWERS: usize = 5;

/// The time for which the end of an attempt is kept while the store does not take it.
const UNSETTLED: Duration = Duration::from_secs(60 * 60);

/// The first and the longest pause before it is tried again.
const PAUSES: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(5));

impl Relay {
    /// Tries to send an item and settles the result, renewing the lease meanwhile.
    pub(super) async fn attempt(self: &Arc<Self>, claimed: Claimed, term: &Term) -> AttemptResult {
        let Claimed { item, lease } = claimed;
        let (id, token) = (item.id, lease.token);
        let working = self.work(item, token, term);
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

    async fn work(self: &Arc<Self>, item: Item, token: Token, term: &Term) -> AttemptResult {
        let (item, began) = (Arc::new(item), Instant::now());
        let offers = match &item.destination {
            Destination::Local => None,
            Destination::Domain(_) if self.is_late(&item) => {
                let words = "The time within which it was to be delivered has passed";
                Some(vec![Offer::not_made(&item, Reply::new(550, (5, 4, 7), words))])
            }
            Destination::Domain(domain) => {
                let offers = tokio::select! {
                    biased;
                    // The item may be another node's.
                    () = term.ended() => None,
                    offers = self.transmit_readable(&item, term, domain) => offers,
                };
                match offers {
                    // The program stops, or the term is over: another attempt follows later.
                    None => return AttemptResult::Other,
                    offers => offers,
                }
            }
        };
        match self.settle(&item, token, &offers).await {
            Ok(counted) => {
                if let Some((attempt, outcomes)) = counted {
                    attempt.settled();
                    self.count(&item, outcomes, began.elapsed());
                }
                offers.map_or(AttemptResult::Good, |offers| offer::attempt_result(&offers))
            }
            Err(error) => {
                tracing::error!(%error, id = %item.id, "an attempt could not be settled");
                AttemptResult::Other
            }
        }
    }

    /// Settles an attempt. What another server has accepted must not be sent to it again only because the store fails for a
    /// while, so the settlement is repeated until the store takes it. Returns nothing if the item belongs to another relay
    /// by then.
    async fn settle(
        &self,
        item: &Item,
        token: Token,
        offers: &Option<Vec<Offer>>,
    ) -> Result<Option<(message_log::Attempt, Outcomes)>, StoreError> {
        let (mut accounts, mut pause, began) = (0, PAUSES.0, Instant::now());
        loop {
            match self.settle_once(item, token, offers).await {
                // An account was removed in the meantime, so the recipients have to be resolved again.
                Err(StoreError::NoSuchAccount) if accounts < 2 => accounts += 1,
                Err(error @ (StoreError::Failed(_) | StoreError::Full))
                    if began.elapsed() < UNSETTLED =>
                {
                    tracing::warn!(%error, id = %item.id, "the end of an attempt waits for the store");
                    sleep(pause).await;
                    pause = (pause * 2).min(PAUSES.1);
                }
                settled => return settled,
            }
        }
    }

    async fn settle_once(
        &self,
        item: &Item,
        token: Token,
        offers: &Option<Vec<Offer>>,
    ) -> Result<Option<(message_log::Attempt, Outcomes)>, StoreError> {
        let settlement = match offers {
            None => self.deliver(item).await?,
            Some(offers) => self.settlement(item, offers).await?,
        };
        let settlement = Settlement { token: Some(token), ..settlement };
        let attempt = message_log::Attempt::new(&settlement);
        let outcomes = outcomes(&settlement);
        let settled = self.store.settle(settlement).await?;
        Ok(is_own(item, settled).then_some((attempt, outcomes)))
    }

    /// Counts an attempt to send to another server.
    fn count(&self, item: &Item, outcomes: Outcomes, took: Duration) {
        if let Destination::Domain(domain) = &item.destination {
            let waited = self.clock.now().duration_since(item.accepted);
            let waited = Duration::try_from(waited).unwrap_or_default();
            self.metrics.attempted(domain, outcomes, took, waited);
        }
    }

    /// Returns whether the item's deadline has passed and the sender asked for it to be returned in that
    /// case (RFC 2852 §4).
    fn is_late(&self, item: &Item) -> bool {
        let deadline = item.envelope.deadline;
        deadline.is_some_and(|(at, late)| late == Late::Return && at <= self.clock.now())
    }

    /// Offers an item to servers, unless the store is known not to have its content now. The connection on which that came to
    /// light would have to be broken off, and mail that can be read would wait.
    async fn transmit_readable(
        self: &Arc<Self>,
        item: &Arc<Item>,
        term: &Term,
        domain: &str,
    ) -> Option<Vec<Offer>> {
        if self.is_readable(item).await {
            return self.transmit(item, term, domain).await;
        }
        Some(vec![Offer::of_all(OfferOutcome::unreadable(item))])
    }

    /// Returns whether the content of an item can be read. That is tried only while the object store is away, and for the
    /// first pieces, of which a large message has one there.
    async fn is_readable(&self, item: &Item) -> bool {
        if self.store.figures().objects.is_none_or(|objects| objects.away.is_none()) {
            return true;
        }
        for piece in item.layout().pieces().take(2) {
            if let Err(error) = self.store.chunk(item.id.content, piece).await {
                tracing::debug!(%error, id = %item.id, "a message in the queue has to wait");
                return false;
            }
        }
        true
    }

    /// Offers an item to the first server that accepts it, and the recipients that are refused for now
    /// to the next one (RFC 5321 §5.1). Returns the offers that were answered, or one that says why none
    /// was; `None` if the program stops.
    async fn transmit(
        self: &Arc<Self>,
        item: &Arc<Item>,
        term: &Term,
        domain: &str,
    ) -> Option<Vec<Offer>> {
        let settings = self.settings.get();
        let rules = settings.rules(domain);
        if let Some(rate) = rules.rate {
            let share = Share::of(self.store.standing());
            let turn = self.capacity.turn(&item.destination, rate, (share, self.clock.now()));
            sleep(turn).await;
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
            let offered = self.offer((&rest, term), host, &route, domain).await?;
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
        (item, term): (&Arc<Item>, &Term),
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
        let sent = self.hosts.send(self, &peer, item.clone(), term).await?;
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
                self.hosts.send(self, &peer, item.clone(), term).await
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

/// Returns the number of recipients by what became of them in an attempt.
fn outcomes(settlement: &Settlement) -> Outcomes {
    let mut outcomes = Outcomes {
        deferred: settlement.left.as_ref().map_or(0, |left| left.recipients.len() as u64),
        ..Outcomes::default()
    };
    for event in &settlement.events {
        let What::Attempted { recipients, .. } = &event.what else { continue };
        for fate in recipients {
            match fate.action.as_str() {
                "failed" => outcomes.failed += 1,
                // Counted above; another offer of the same attempt may have decided.
                "delayed" => {}
                _ => outcomes.delivered += 1,
            }
        }
    }
    outcomes
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
