//! The end of an attempt: makes the one transaction that settles it, from the servers' answers. It
//! decides which recipients are done, which wait and until when, and what the sender is informed about.

use super::{
    Relay,
    offer::{self, Offer, OfferOutcome, RecipientDecision},
};
use crate::{
    deliver::{
        held::{self, Released},
        outcome::{About, Outcome, Reports as _, failed_here},
    },
    send::schedule::NextAttempt,
};
use posta_mail::{Reply, Timestamp};
use posta_mime::dsn::Action;
use posta_smtp::client::Decision;
use posta_store::{
    Destination, Event, Fate, Item, ItemState, Settlement, StoreError, Waiting, What,
};
use std::collections::BTreeMap;

impl Relay {
    /// Delivers a message that was held until now (FUTURERELEASE) into local mailboxes.
    pub(super) async fn deliver(&self, item: &Item) -> Result<Settlement, StoreError> {
        let Released { replies, deliveries, mailboxes: reached, broken } =
            held::release(&self.directory, item).await?;
        let offers = [Offer::of_all(OfferOutcome::decided_here(
            replies.into_iter().map(Decision::ours).collect(),
        ))];
        let mut settlement = Settlement { deliveries, ..self.settlement(item, &offers).await? };
        if let Some(Event { what: What::Attempted { mailboxes, .. }, .. }) =
            settlement.events.first_mut()
        {
            *mailboxes = reached;
        }
        self.add_failed_copies(item, settlement, &broken).await
    }

    /// Adds the history and the report of copies that aliases led to nobody.
    async fn add_failed_copies(
        &self,
        item: &Item,
        mut settlement: Settlement,
        broken: &[Outcome],
    ) -> Result<Settlement, StoreError> {
        settlement.events.extend(failed_here(item.id.content, settlement.time, broken));
        if let Some((report, event)) = self.reporter.report(about(item), broken, None).await? {
            settlement.reports.push(report);
            settlement.events.push(event);
        }
        Ok(settlement)
    }

    /// Returns the settlement of an attempt: which recipients are done, which wait, and what is
    /// reported.
    pub(super) async fn settlement(
        &self,
        item: &Item,
        offers: &[Offer],
    ) -> Result<Settlement, StoreError> {
        let now = self.clock.now();
        let settings = self.settings.get();
        let rules = settings.for_destination(&item.destination);
        let schedule = &rules.schedule;
        let Item { accepted, attempts, envelope, .. } = item;
        let after = schedule.after(attempts + 1, *accepted, envelope.deadline, now);
        let is_late = !item.delay_told && schedule.is_delayed(*accepted, envelope.deadline, now);
        let (mut waiting, mut outcomes) = (Vec::new(), Vec::new());
        let decisive = offer::final_decisions(offers);
        for (recipient, decisive) in item.recipients.iter().zip(decisive.values()) {
            let RecipientDecision { found, decision, .. } = *decisive;
            let action = action(&decision.reply, found, item, after);
            if action == Action::Delayed {
                waiting.push(Waiting { reply: Some(decision.to_string()), ..recipient.clone() });
            }
            // A server that supports DSN reports on relayed mail itself; a delay is reported once.
            let is_reported = match action {
                Action::Delayed => is_late,
                Action::Relayed => !found.reports,
                _ => true,
            };
            if is_reported {
                outcomes.push(outcome(recipient, decision, action, found));
            }
        }
        let next = match after {
            NextAttempt::At(next) if !waiting.is_empty() => Some(next),
            _ => None,
        };
        let mut events: Vec<_> = (0..offers.len())
            .map(|number| {
                let next = next.filter(|_| number + 1 == offers.len());
                let what = attempted(item, (number, &offers[number]), &decisive, (after, next));
                Event { id: item.id.content, time: now, what }
            })
            .collect();
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
        Ok(Settlement { item: item.id, token: None, time: now, left, deliveries, reports, events })
    }
}

/// Returns the history's record of an offer. Recipients that a later offer decided count as delayed
/// here.
fn attempted(
    item: &Item,
    (number, offer): (usize, &Offer),
    decisive: &BTreeMap<usize, RecipientDecision<'_>>,
    (after, next): (NextAttempt, Option<Timestamp>),
) -> What {
    let Offer { recipients, found } = offer;
    let fate = |(at, decision): (&usize, &Decision)| Fate {
        recipient: item.recipients[*at].address.clone(),
        action: match decisive.get(at).is_some_and(|decisive| decisive.offer == number) {
            true => action(&decision.reply, found, item, after).name().to_owned(),
            false => Action::Delayed.name().to_owned(),
        },
        reply: decision.to_string(),
        ours: found.host.is_some() && !decision.is_answer,
    };
    What::Attempted {
        destination: match &item.destination {
            Destination::Local => "local".to_owned(),
            Destination::Domain(domain) => domain.clone(),
        },
        host: found.host.clone(),
        tls: found.tls.clone(),
        recipients: recipients.iter().zip(&found.decisions).map(fate).collect(),
        mailboxes: Vec::new(),
        next,
    }
}

fn action(reply: &Reply, found: &OfferOutcome, item: &Item, after: NextAttempt) -> Action {
    if reply.code.is_positive() {
        // The message is in a local mailbox, or another server has accepted it.
        let is_local = found.host.is_none() && item.destination == Destination::Local;
        if is_local { Action::Delivered } else { Action::Relayed }
    } else if reply.code.is_permanent() || after == NextAttempt::GiveUp {
        Action::Failed
    } else {
        Action::Delayed
    }
}

fn outcome(
    recipient: &Waiting,
    decision: &Decision,
    action: Action,
    found: &OfferOutcome,
) -> Outcome {
    Outcome {
        address: recipient.address.clone(),
        notify: recipient.notify,
        original: recipient.original.clone(),
        action,
        decision: Some(decision.clone()),
        host: found.host.clone(),
        is_given_up: action == Action::Failed && !decision.code().is_permanent(),
    }
}

fn about(item: &Item) -> About<'_> {
    About {
        id: item.id.content,
        envelope: &item.envelope,
        message_id: item.message_id.as_deref(),
        accepted: item.accepted,
        layout: item.layout(),
        head: None,
        beginning: None,
    }
}
