//! The queue of the reference store.

use super::{Content, Inner, MemoryStore, watch::of_settlement};
use crate::{
    error::{Pending, StoreError},
    item::lease::{Lease, Token},
    item::{Destination, Item, ItemId, ItemState},
    queue::{Claimed, Queue, Settled, Settlement},
    watch::Subject,
};
use posta_mail::Timestamp;
use std::{collections::HashMap, ops::Bound};

impl Queue for MemoryStore {
    fn claim(
        &self,
        now: Timestamp,
        lease: Timestamp,
        limit: usize,
        share: usize,
    ) -> Pending<'_, Vec<Claimed>> {
        self.with(|inner| Ok(inner.claim(now, lease, limit, share)))
    }

    fn renew(&self, item: ItemId, token: Token, until: Timestamp) -> Pending<'_, bool> {
        self.with(|inner| {
            let is_held =
                inner.queue.contains_key(&item) && inner.tokens.get(&item) == Some(&token);
            if is_held {
                inner.leased.insert(item, until);
            }
            Ok(is_held)
        })
    }

    fn pause(&self, destination: &Destination, until: Timestamp) -> Pending<'_, ()> {
        self.with(|inner| {
            inner.paused.insert(destination.clone(), until);
            Ok(())
        })
    }

    fn settle(&self, settlement: Settlement) -> Pending<'_, Settled> {
        self.changing(of_settlement(&settlement), |inner| inner.settle(settlement))
    }

    fn reschedule(&self, items: Vec<(ItemId, Timestamp)>, state: ItemState) -> Pending<'_, usize> {
        let subjects = [Subject::Queue, Subject::Rescheduled];
        self.changing(subjects, |inner| Ok(inner.reschedule(&items, state)))
    }

    fn next_due(&self) -> Pending<'_, Option<Timestamp>> {
        self.with(|inner| Ok(inner.queue.values().filter_map(|item| inner.claimable(item)).min()))
    }

    fn items(&self, after: Option<ItemId>, limit: usize) -> Pending<'_, Vec<Item>> {
        self.with(|inner| {
            let from = after.map_or(Bound::Unbounded, Bound::Excluded);
            let some = inner.queue.range((from, Bound::Unbounded)).take(limit);
            let mut items: Vec<_> = some.map(|(_, item)| item.clone()).collect();
            items.iter_mut().for_each(|item| inner.show(item));
            Ok(items)
        })
    }
}

impl Inner {
    pub(super) fn settle(&mut self, settlement: Settlement) -> Result<Settled, StoreError> {
        let Settlement { item, token, time, left, deliveries, reports, events } = settlement;
        let Some(old) = self.queue.get(&item).cloned() else { return Ok(Settled::Gone) };
        if token.is_some_and(|token| self.tokens.get(&item) != Some(&token)) {
            return Ok(Settled::Fenced);
        }
        if !deliveries.iter().all(|delivery| self.has_account(delivery.account))
            || !reports.iter().all(|report| self.can_accept(report))
        {
            return Err(StoreError::NoSuchAccount);
        }
        self.leased.remove(&item);
        self.tokens.remove(&item);
        if let Some(shown) = self.shown.get_mut(&item.content) {
            *shown += deliveries.len();
        }
        let shared = self.shown.get(&item.content).is_some_and(|&shown| shown > 1);
        for delivery in deliveries {
            let content = Content {
                id: item.content,
                layout: old.layout(),
                added: old.added,
                thread: old.thread(),
                shared,
            };
            self.deliver(delivery, content, time);
        }
        match left {
            Some(left) => {
                self.queue.insert(item, Item { shared, ..left });
            }
            None => {
                self.queue.remove(&item);
                self.unshow(item.content);
            }
        }
        self.events.extend(events);
        for report in reports {
            self.accept(report);
        }
        Ok(Settled::Done)
    }

    pub(super) fn reschedule(&mut self, items: &[(ItemId, Timestamp)], state: ItemState) -> usize {
        let mut count = 0;
        for (id, due) in items.iter().filter(|(id, _)| !self.leased.contains_key(id)) {
            if let Some(item) = self.queue.get_mut(id) {
                (item.due, item.state) = (*due, state);
                count += 1;
            }
        }
        count
    }

    /// Returns the time when an item can be claimed; none while it is held or in quarantine.
    pub(super) fn claimable(&self, item: &Item) -> Option<Timestamp> {
        let paused = self.paused.get(&item.destination).copied();
        let at = self.leased.get(&item.id).copied().unwrap_or(item.due);
        (!item.state.is_kept_back()).then(|| paused.map_or(at, |paused| paused.max(at)))
    }

    pub(super) fn claim(
        &mut self,
        now: Timestamp,
        lease: Timestamp,
        limit: usize,
        share: usize,
    ) -> Vec<Claimed> {
        self.leased.retain(|_, until| *until > now);
        let due = |item: &&Item| self.claimable(item).is_some_and(|at| at <= now);
        let mut claimed: Vec<_> = self.queue.values().filter(due).cloned().collect();
        claimed.sort_by_key(|item| (-item.envelope.priority, item.due, item.id));
        let mut shares = HashMap::new();
        claimed.retain(|item| {
            let taken = shares.entry(item.destination.clone()).or_insert(0);
            *taken += 1;
            *taken <= share
        });
        claimed.truncate(limit);
        let take = |mut item: Item| {
            self.last_token += 1;
            let token = Token(self.last_token);
            self.tokens.insert(item.id, token);
            self.leased.insert(item.id, lease);
            self.show(&mut item);
            Claimed { item, lease: Lease { token, until: lease } }
        };
        claimed.into_iter().map(take).collect()
    }

    /// Shows whether an item is leased, in its state.
    pub(super) fn show(&self, item: &mut Item) {
        if let Some(&until) = self.leased.get(&item.id) {
            (item.due, item.state) = (until, ItemState::Leased);
        }
    }
}
