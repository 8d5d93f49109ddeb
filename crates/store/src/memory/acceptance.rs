//! What the reference store does with a message that is accepted.

use super::Inner;
use crate::{Acceptance, Collected, Delivery, Entry, Item, Uid};
use posta_mail::{MailId, Timestamp};

impl Inner {
    pub(super) fn can_accept(&self, acceptance: &Acceptance) -> bool {
        acceptance.deliveries.iter().all(|delivery| self.has_account(delivery.account))
            && acceptance.reports.iter().all(|report| self.can_accept(report))
    }

    pub(super) fn has_collected(&self, acceptance: &Acceptance) -> bool {
        acceptance.collected.as_ref().is_some_and(|Collected { source, unique_id }| {
            self.collected.contains_key(&(*source, unique_id.clone()))
        })
    }

    pub(super) fn accept(&mut self, acceptance: Acceptance) {
        let (octets, shown) = (acceptance.octets(), acceptance.shown());
        let Acceptance {
            id, time, rest, added, deliveries, items, events, reports, collected, ..
        } = acceptance;
        if let Some(Collected { source, unique_id }) = collected {
            self.collected.insert((source, unique_id), time);
        }
        self.content.entry(id).or_default().push(rest.into());
        self.shown.insert(id, shown);
        for delivery in deliveries {
            self.deliver(delivery, id, octets, added, time, shown > 1);
        }
        for item in items {
            self.queue.insert(item.id, Item { shared: shown > 1, ..item });
        }
        self.events.extend(events);
        for report in reports {
            self.accept(report);
        }
    }

    pub(super) fn deliver(
        &mut self,
        delivery: Delivery,
        content: MailId,
        octets: u64,
        added: u64,
        time: Timestamp,
        shared: bool,
    ) {
        let uid = Uid::after(Uid(self.last_uid), time);
        self.last_uid = uid.0;
        let octets = octets + added + delivery.prefix.len() as u64;
        let (flags, folder, prefix) = (0, 0, delivery.prefix);
        let entry = Entry { content, octets, added, time, flags, folder, shared, prefix };
        self.mailboxes.insert((delivery.account, uid), entry);
        if let Some(unique_id) = delivery.unique_id {
            self.imported.insert((delivery.account, uid), unique_id);
        }
    }
}
