//! The queue: the messages that wait to be sent.

use crate::{
    error::Pending,
    history::Event,
    item::lease::{Lease, Token},
    item::{Destination, Item, ItemId, ItemState},
    mailboxes::{Acceptance, Delivery},
};
use posta_mail::Timestamp;

/// The messages that wait to be sent, with an item for each destination of each message.
pub trait Queue: Send + Sync + 'static {
    /// Takes items of the queue whose time has come, and leases them until `lease`: nobody else gets
    /// them before. At most `limit`, and at most `share` of one destination: each has its turn. Of
    /// one destination those of higher priority come first, then those that are due for longer.
    /// Leases need not outlive the process that holds them.
    ///
    /// The lease of each is shown again when it is renewed and when the attempt is settled.
    fn claim(
        &self,
        now: Timestamp,
        lease: Timestamp,
        limit: usize,
        share: usize,
    ) -> Pending<'_, Vec<Claimed>>;

    /// Makes the lease of an item last until `until`, if `token` is that of its last claim. Returns whether it
    /// is: else somebody else works on the item, or it is gone.
    fn renew(&self, item: ItemId, token: Token, until: Timestamp) -> Pending<'_, bool>;

    /// Pauses a destination: nothing of it is claimed until `until`. A time that has passed ends the pause. A pause
    /// need not outlive the process.
    fn pause(&self, destination: &Destination, until: Timestamp) -> Pending<'_, ()>;

    /// Ends an attempt, in one transaction. Nothing at all changes where the item is gone, as when the
    /// operator removed it meanwhile, or where another has claimed it since.
    fn settle(&self, settlement: Settlement) -> Pending<'_, Settled>;

    /// Sets the time of the next attempt, and whether items are held. Items that no longer exist, or
    /// that are being worked on, are skipped. Returns the number of items changed.
    fn reschedule(&self, items: Vec<(ItemId, Timestamp)>, state: ItemState) -> Pending<'_, usize>;

    /// Returns a time before which nothing can be claimed. After a claim that found nothing, that is later than the
    /// claim, so a relay that waits until then is neither late nor busy.
    fn next_due(&self) -> Pending<'_, Option<Timestamp>>;

    /// Returns at most `limit` items of the queue, in the order of their names, those after `after`.
    fn items(&self, after: Option<ItemId>, limit: usize) -> Pending<'_, Vec<Item>>;
}

/// The result of an attempt, for one transaction.
#[derive(Debug, Clone)]
pub struct Settlement {
    /// The item.
    pub item: ItemId,
    /// The token of the lease under which the attempt was made; `None` for the operator, who needs no lease.
    pub token: Option<Token>,
    /// The time when the attempt ended.
    pub time: Timestamp,
    /// The rest of the item; `None` if nothing is left to do.
    pub left: Option<Item>,
    /// The mailboxes to which the message goes now.
    pub deliveries: Vec<Delivery>,
    /// The reports about the attempt.
    pub reports: Vec<Acceptance>,
    /// The events for the message's history.
    pub events: Vec<Event>,
}

/// An item that was claimed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claimed {
    /// The item.
    pub item: Item,
    /// The lease on it.
    pub lease: Lease,
}

/// The result of a settlement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settled {
    /// The item was settled as requested.
    Done,
    /// The item no longer exists. Nothing was changed.
    Gone,
    /// Another relay has claimed the item since. Nothing was changed.
    Fenced,
}
