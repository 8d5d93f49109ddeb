//! What is known in memory of each destination's items: when to look for one that is due, which are
//! leased, which destinations are paused.
//!
//! The index on disk is only read. A claim writes nothing, and a crash ends every lease: whoever held
//! it is gone, for only one process has the store open. Each destination has a lane of its own, so
//! that one with a hundred thousand items that cannot be sent costs the others nothing; and what was
//! claimed or settled is never passed over again, which matters to an engine that keeps the traces of
//! removed keys for a while.

use super::schema::{LaneKey, lane_key};
use posta_mail::Timestamp;
use posta_store::{Claimed, Item, ItemId, ItemState, Lease, Token};
use std::{
    collections::{BTreeSet, HashMap},
    time::Duration,
};

/// Priorities, from the lowest to the highest (RFC 6710 §3).
const PRIORITIES: std::ops::RangeInclusive<i8> = -9..=9;

/// For how long an item is kept for whoever settles it: longer than a commit takes.
const SETTLING: Duration = Duration::from_secs(60);

/// So few lanes that tidying up is not worth it.
const FEW: usize = 1_000;

/// The lanes.
#[derive(Debug, Default)]
pub(crate) struct Lanes {
    lanes: HashMap<LaneKey, Lane>,
    /// The lanes that have something to be claimed, now or later, by when.
    order: BTreeSet<(Timestamp, LaneKey)>,
    leased: HashMap<ItemId, Leased>,
    /// Items whose last lease has ended and that nobody has claimed since: its token is still good.
    ended: HashMap<ItemId, Leased>,
    last_token: u64,
    leases: BTreeSet<(Timestamp, ItemId)>,
    /// Lanes that were left when it was tidied up last.
    tidied: usize,
}

#[derive(Debug, Default)]
struct Lane {
    /// No item that could be claimed is due before; none if there is none.
    head: Option<Timestamp>,
    /// Nothing is claimed before.
    paused: Option<Timestamp>,
    /// When it was claimed from last, so that every lane has its turn.
    turn: Option<Timestamp>,
    /// Which priorities its items had, a bit each: the others need not be looked for on disk.
    priorities: u32,
}

#[derive(Debug, Clone)]
struct Leased {
    token: Token,
    until: Timestamp,
    lane: LaneKey,
    priority: i8,
    due: Timestamp,
}

/// What a change means for the lanes, once it is in the tables.
#[derive(Debug)]
pub(crate) enum Effect {
    /// An item of this priority waits, from this time on.
    Waits(LaneKey, i8, Timestamp),
    /// Nobody works on an item any more.
    Released(ItemId),
}

impl Lane {
    /// When to look at it; none if there is nothing to be claimed.
    fn at(&self) -> Option<Timestamp> {
        let Self { head, paused, turn, .. } = *self;
        head.map(|head| paused.into_iter().chain(turn).fold(head, Timestamp::max))
    }
}

impl Lanes {
    /// Takes note of changes that are in the tables.
    pub(crate) fn apply(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Waits(key, priority, due) => self.waits(key, priority, due),
                Effect::Released(id) => self.release(id),
            }
        }
    }

    /// An item waits: the lane may have to be looked at sooner.
    pub(crate) fn waits(&mut self, key: LaneKey, priority: i8, due: Timestamp) {
        self.change(key, |lane| {
            lane.head = Some(lane.head.map_or(due, |head| head.min(due)));
            lane.priorities |= bit(priority);
        });
    }

    /// Nothing of a lane is claimed before a time.
    pub(crate) fn pause(&mut self, key: LaneKey, until: Timestamp) {
        self.change(key, |lane| lane.paused = Some(until));
    }

    /// Ends the leases whose time is over: their items can be claimed again.
    pub(crate) fn lapse(&mut self, now: Timestamp) {
        while let Some(&(until, id)) = self.leases.first().filter(|(until, _)| *until <= now) {
            self.leases.remove(&(until, id));
            if let Some(leased) = self.leased.remove(&id) {
                self.waits(leased.lane, leased.priority, leased.due);
                self.ended.insert(id, leased);
            }
        }
        self.tidy_up(now);
    }

    /// Forgets lanes that were paused once and have nothing any more, when they have become many.
    fn tidy_up(&mut self, now: Timestamp) {
        if self.lanes.len() > 2 * self.tidied + FEW {
            self.lanes.retain(|_, lane| {
                lane.head.is_some() || lane.paused.is_some_and(|until| until > now)
            });
            self.tidied = self.lanes.len();
        }
    }

    /// The lane to claim from now, from when on its items may be due, and their priorities, the highest
    /// first.
    pub(crate) fn next(
        &mut self,
        now: Timestamp,
        passed: &[LaneKey],
    ) -> Option<(LaneKey, Timestamp, impl Iterator<Item = i8> + use<>)> {
        let ready = self.order.range(..=(now, LaneKey::MAX));
        let mut ready = ready.map(|(_, key)| *key).filter(|key| !passed.contains(key));
        let key = ready.next()?;
        let Lane { head, priorities, .. } = *self.lanes.get(&key)?;
        let priorities = PRIORITIES.rev().filter(move |&priority| priorities & bit(priority) != 0);
        head.map(|head| (key, head, priorities))
    }

    /// A lane was claimed from; what is left of it is not due before `head`.
    pub(crate) fn claimed(&mut self, key: LaneKey, head: Option<Timestamp>, now: Timestamp) {
        self.change(key, |lane| (lane.head, lane.turn) = (head, Some(now)));
    }

    /// Leases an item that is due. Its record does not change.
    pub(crate) fn lease(&mut self, mut item: Item, until: Timestamp) -> Claimed {
        self.release(item.id);
        let lane = lane_key(&item.destination);
        let priority = item.envelope.priority;
        self.last_token += 1;
        let token = Token(self.last_token);
        self.leased.insert(item.id, Leased { token, until, lane, priority, due: item.due });
        self.leases.insert((until, item.id));
        (item.due, item.state) = (until, ItemState::Leased);
        Claimed { item, lease: Lease { token, until } }
    }

    /// Takes over the leases of others: those who hold them are still at work.
    pub(crate) fn take_leases(&mut self, others: &mut Self) {
        self.leased = std::mem::take(&mut others.leased);
        self.ended = std::mem::take(&mut others.ended);
        self.last_token = others.last_token;
        self.leases = std::mem::take(&mut others.leases);
    }

    /// Has a lease last until `until`, if nobody else has claimed its item since. Returns whether that is so.
    pub(crate) fn renew(&mut self, id: ItemId, token: Token, until: Timestamp) -> bool {
        let of_it = |leased: &&Leased| leased.token == token;
        let leased = self.leased.get(&id).or_else(|| self.ended.get(&id)).filter(of_it).cloned();
        let Some(leased) = leased else { return false };
        self.release(id);
        self.leases.insert((until, id));
        self.leased.insert(id, Leased { until, ..leased });
        true
    }

    /// Keeps an item for whoever settles it, until that is done: nobody can claim it before. Returns false
    /// if another has claimed it already.
    pub(crate) fn hold(&mut self, id: ItemId, token: Token, now: Timestamp) -> bool {
        let until = now + SETTLING;
        let later = self.leased.get(&id).map_or(until, |leased| leased.until.max(until));
        self.renew(id, token, later)
    }

    pub(crate) fn is_leased(&self, id: ItemId) -> bool {
        self.leased.contains_key(&id)
    }

    /// An item as it is shown: one that is leased says so.
    pub(crate) fn show(&self, item: &mut Item) {
        if let Some(lease) = self.leased.get(&item.id) {
            (item.due, item.state) = (lease.until, ItemState::Leased);
        }
    }

    /// When something may be claimed next.
    pub(crate) fn next_due(&self) -> Option<Timestamp> {
        let (lane, lease) = (self.order.first(), self.leases.first());
        lane.map(|(at, _)| *at).into_iter().chain(lease.map(|(until, _)| *until)).min()
    }

    fn release(&mut self, id: ItemId) {
        self.ended.remove(&id);
        if let Some(leased) = self.leased.remove(&id) {
            self.leases.remove(&(leased.until, id));
        }
    }

    fn change(&mut self, key: LaneKey, change: impl FnOnce(&mut Lane)) {
        let lane = self.lanes.entry(key).or_default();
        let before = lane.at();
        change(lane);
        let after = lane.at();
        if after.is_none() && lane.paused.is_none() {
            self.lanes.remove(&key);
        }
        if before != after {
            before.map(|at| self.order.remove(&(at, key)));
            after.map(|at| self.order.insert((at, key)));
        }
    }
}

fn bit(priority: i8) -> u32 {
    1 << (i32::from(priority.clamp(*PRIORITIES.start(), *PRIORITIES.end())) + 9)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn only_the_priorities_that_are_there_are_looked_for() {
        let mut lanes = Lanes::default();
        for priority in [0, -9, 9, 0] {
            lanes.waits(1, priority, at(5));
        }
        lanes.waits(2, 3, at(1));
        let next = |lanes: &mut Lanes, passed: &[LaneKey]| {
            let (key, head, priorities) = lanes.next(at(10), passed).unwrap();
            (key, head, priorities.collect::<Vec<_>>())
        };
        assert_eq!(next(&mut lanes, &[]), (2, at(1), vec![3]));
        assert_eq!(next(&mut lanes, &[2]), (1, at(5), vec![9, 0, -9]));
    }

    /// A server that has once talked to many destinations does not remember each of them.
    #[test]
    fn lanes_that_were_paused_are_forgotten() {
        let mut lanes = Lanes::default();
        for key in 0..10_000 {
            lanes.pause(key, at(5));
            lanes.lapse(at(10));
        }
        assert!(lanes.lanes.len() <= 2 * FEW, "{}", lanes.lanes.len());
    }
}
