//! The queue: what is done with the messages that wait to leave.

use crate::{
    acceptance::{Acceptance, Delivery},
    error::Pending,
    history::Event,
    item::{Destination, Item, ItemId, ItemState},
};
use posta_mail::Timestamp;

/// The messages that wait to leave, an item for each and each of its destinations.
pub trait Queue: Send + Sync + 'static {
    /// Takes items of the queue whose time has come, and leases them until `lease`: nobody else gets
    /// them before. At most `limit`, and at most `share` of one destination: each has its turn. Of
    /// one destination those of higher priority come first, then those that are due for longer.
    /// Leases need not outlive the process that holds them.
    fn claim(
        &self,
        now: Timestamp,
        lease: Timestamp,
        limit: usize,
        share: usize,
    ) -> Pending<'_, Vec<Item>>;

    /// Makes a lease longer, if it has not ended.
    fn renew(&self, item: ItemId, lease: Timestamp) -> Pending<'_, ()>;

    /// Until then nothing of a destination is claimed; a time that has passed ends that. Need not
    /// outlive the process.
    fn pause(&self, destination: &Destination, until: Timestamp) -> Pending<'_, ()>;

    /// Ends an attempt. An item that is gone, as when the operator removed it meanwhile, is passed
    /// over with all that belongs to it. Answers whether it was there.
    fn settle(&self, settlement: Settlement) -> Pending<'_, bool>;

    /// Sets when items are to be tried, and whether they are held. Those that are gone, or that
    /// somebody works on, are passed over. Returns the number of items changed.
    fn reschedule(&self, items: Vec<(ItemId, Timestamp)>, state: ItemState) -> Pending<'_, usize>;

    /// A time before which nothing can be claimed: exact after a claim that found nothing.
    fn next_due(&self) -> Pending<'_, Option<Timestamp>>;

    /// Some items of the queue, in the order of their names, those after `after`.
    fn items(&self, after: Option<ItemId>, limit: usize) -> Pending<'_, Vec<Item>>;
}

/// What became of an attempt: one transaction.
#[derive(Debug, Clone)]
pub struct Settlement {
    /// The item.
    pub item: ItemId,
    /// When it ended.
    pub time: Timestamp,
    /// What is left of it; none if nothing is.
    pub left: Option<Item>,
    /// Mailboxes that the message goes to now.
    pub deliveries: Vec<Delivery>,
    /// Reports about it.
    pub reports: Vec<Acceptance>,
    /// What there is to tell.
    pub events: Vec<Event>,
}
