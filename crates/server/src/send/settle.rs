//! What follows from an attempt: the one transaction that settles it.

use super::{
    Relay,
    visit::{self, Decisive, Found, Visit},
};
use crate::{
    deliver::{
        held::{self, Released},
        outcome::{About, Outcome, Reports as _, failed_here},
    },
    send::schedule::After,
};
use posta_mail::{Reply, Timestamp};
use posta_mime::dsn::Action;
use posta_smtp::client::Decision;
use posta_store::{
    Destination, Event, Fate, Item, ItemState, Settlement, StoreError, Waiting, What,
};
use std::collections::BTreeMap;

impl Relay {
    /// Puts a message that was kept back into its mailboxes.
    pub(super) async fn deliver(&self, item: &Item) -> Result<Settlement, StoreError> {
        let Released { replies, deliveries, mailboxes: reached, broken } =
            held::release(&self.directory, item).await?;
        let visits =
            [Visit::of_all(Found::here(replies.into_iter().map(Decision::ours).collect()))];
        let mut settlement = Settlement { deliveries, ..self.conclude(item, &visits).await? };
        if let Some(Event { what: What::Attempted { mailboxes, .. }, .. }) =
            settlement.events.first_mut()
        {
            *mailboxes = reached;
        }
        self.tell_of_broken(item, settlement, &broken).await
    }

    /// Adds what is told of the copies of aliases that lead to nobody.
    async fn tell_of_broken(
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

    /// What follows from an attempt: who is done with, who waits, and who hears of it.
    pub(super) async fn conclude(
        &self,
        item: &Item,
        visits: &[Visit],
    ) -> Result<Settlement, StoreError> {
        let now = self.clock.now();
        let settings = self.settings.get();
        let rules = settings.for_destination(&item.destination);
        let schedule = &rules.schedule;
        let Item { accepted, attempts, envelope, .. } = item;
        let after = schedule.after(attempts + 1, *accepted, envelope.deadline, now);
        let is_late = !item.delay_told && schedule.is_delayed(*accepted, envelope.deadline, now);
        let (mut waiting, mut outcomes) = (Vec::new(), Vec::new());
        let decisive = visit::decisive(visits);
        for (recipient, decisive) in item.recipients.iter().zip(decisive.values()) {
            let Decisive { found, decision, .. } = *decisive;
            let action = action(&decision.reply, found, item, after);
            if action == Action::Delayed {
                waiting.push(Waiting { reply: Some(decision.to_string()), ..recipient.clone() });
            }
            // A server that reports further will do so; and of delay is told once.
            let is_told = match action {
                Action::Delayed => is_late,
                Action::Relayed => !found.reports,
                _ => true,
            };
            if is_told {
                outcomes.push(outcome(recipient, decision, action, found));
            }
        }
        let next = match after {
            After::Again(next) if !waiting.is_empty() => Some(next),
            _ => None,
        };
        let mut events: Vec<_> = (0..visits.len())
            .map(|number| {
                let next = next.filter(|_| number + 1 == visits.len());
                let what = attempted(item, (number, &visits[number]), &decisive, (after, next));
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
        Ok(Settlement { item: item.id, time: now, left, deliveries, reports, events })
    }
}

/// What is told of a visit; those whom another one decided about went on.
fn attempted(
    item: &Item,
    (number, visit): (usize, &Visit),
    decisive: &BTreeMap<usize, Decisive<'_>>,
    (after, next): (After, Option<Timestamp>),
) -> What {
    let Visit { recipients, found } = visit;
    let fate = |(at, decision): (&usize, &Decision)| Fate {
        recipient: item.recipients[*at].address.clone(),
        action: match decisive.get(at).is_some_and(|decisive| decisive.visit == number) {
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

fn outcome(recipient: &Waiting, decision: &Decision, action: Action, found: &Found) -> Outcome {
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
        octets: item.octets,
        beginning: None,
    }
}
