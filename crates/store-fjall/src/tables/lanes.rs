//! Lanes: the state of each destination's items that is kept in memory. It includes when to look for an item that is
//! due, which items are leased, and which destinations are paused.
//!
//! Claims only read the index on disk. They write nothing, and a crash ends every lease: the holder is gone, since
//! only one process has the store open. Each destination has a lane of its own, so that a hundred thousand items
//! that cannot be sent to one destination cost the others nothing. A claim never walks over items that were claimed
//! or settled before, which matters with an engine that keeps removed keys for a while.

use super::schema::{LaneKey, lane_key};
use posta_mail::Timestamp;
use posta_store::{Claimed, Item, ItemId, ItemState, Lease, Token};
use std::{
    collections::{BTreeSet, HashMap},
    time::Duration,
};

/// Priorities, from the lowest to the highest (RFC 6710 §3).
const PRIORITIES: std::ops::RangeInclusive<i8> = -9..=9;

/// How long an item is reserved for the settlement under way: longer than a commit takes.
const SETTLING: Duration = Duration::from_secs(60);

/// The number of lanes up to which tidying up does not pay.
const FEW: usize = 1_000;

/// The lanes of all destinations.
#[derive(Debug, Default)]
pub(crate) struct Lanes {
    lanes: HashMap<LaneKey, Lane>,
    /// The lanes that have items to be claimed, now or later, by the time of the next one.
    order: BTreeSet<(Timestamp, LaneKey)>,
    leased: HashMap<ItemId, Leased>,
    /// The items whose lease has ended and that were not claimed since: the lease's token is still valid.
    ended: HashMap<ItemId, Leased>,
    last_token: u64,
    leases: BTreeSet<(Timestamp, ItemId)>,
    /// The number of lanes after the last tidying up.
    tidied: usize,
}

#[derive(Debug, Default)]
struct Lane {
    /// The time before which no item that can be claimed is due; none if there is no such item.
    head: Option<Timestamp>,
    /// The time before which no item is claimed.
    paused: Option<Timestamp>,
    /// The time of the last claim, so that every lane has its turn.
    turn: Option<Timestamp>,
    /// The priorities that its items had, a bit each: the others need not be looked up on disk.
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

/// The effect of a change on the lanes, once the change is in the tables.
#[derive(Debug)]
pub(crate) enum Effect {
    /// An item with this priority waits and is due at this time.
    Waits(LaneKey, i8, Timestamp),
    /// An item's lease has ended.
    Released(ItemId),
}

impl Lane {
    /// Returns when to claim from the lane; none if it has no item to be claimed.
    fn at(&self) -> Option<Timestamp> {
        let Self { head, paused, turn, .. } = *self;
        head.map(|head| paused.into_iter().chain(turn).fold(head, Timestamp::max))
    }
}

impl Lanes {
    /// Applies the effects of changes that are in the tables.
    pub(crate) fn apply(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Waits(key, priority, due) => self.waits(key, priority, due),
                Effect::Released(id) => self.release(id),
            }
        }
    }

    /// Records that an item waits: its lane may have to be looked at sooner.
    pub(crate) fn waits(&mut self, key: LaneKey, priority: i8, due: Timestamp) {
        self.change(key, |lane| {
            lane.head = Some(lane.head.map_or(due, |head| head.min(due)));
            lane.priorities |= bit(priority);
        });
    }

    /// Pauses a lane: none of its items is claimed before a time.
    pub(crate) fn pause(&mut self, key: LaneKey, until: Timestamp) {
        self.change(key, |lane| lane.paused = Some(until));
    }

    /// Ends the leases that have expired: their items can be claimed again.
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

    /// Forgets empty lanes whose pause is over, once there are many.
    fn tidy_up(&mut self, now: Timestamp) {
        if self.lanes.len() > 2 * self.tidied + FEW {
            self.lanes.retain(|_, lane| {
                lane.head.is_some() || lane.paused.is_some_and(|until| until > now)
            });
            self.tidied = self.lanes.len();
        }
    }

    /// Returns the lane to claim from now, the time from which its items may be due, and their priorities, the
    /// highest first.
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

    /// Records a claim from a lane, whose other items are not due before `head`.
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

    /// Takes over the leases from the lanes of tables that were closed: their holders are still at work.
    pub(crate) fn take_leases(&mut self, others: &mut Self) {
        self.leased = std::mem::take(&mut others.leased);
        self.ended = std::mem::take(&mut others.ended);
        self.last_token = others.last_token;
        self.leases = std::mem::take(&mut others.leases);
    }

    /// Extends a lease until `until`, unless another claim was made for its item since. Returns whether it was
    /// extended.
    pub(crate) fn renew(&mut self, id: ItemId, token: Token, until: Timestamp) -> bool {
        let of_it = |leased: &&Leased| leased.token == token;
        let leased = self.leased.get(&id).or_else(|| self.ended.get(&id)).filter(of_it).cloned();
        let Some(leased) = leased else { return false };
        self.release(id);
        self.leases.insert((until, id));
        self.leased.insert(id, Leased { until, ..leased });
        true
    }

    /// Reserves an item for a settlement, so that it cannot be claimed before that is committed. Returns false if
    /// another claim was made for it.
    pub(crate) fn hold(&mut self, id: ItemId, token: Token, now: Timestamp) -> bool {
        let until = now + SETTLING;
        let later = self.leased.get(&id).map_or(until, |leased| leased.until.max(until));
        self.renew(id, token, later)
    }

    pub(crate) fn is_leased(&self, id: ItemId) -> bool {
        self.leased.contains_key(&id)
    }

    /// Sets the state of an item to leased if it is, for lists.
    pub(crate) fn show(&self, item: &mut Item) {
        if let Some(lease) = self.leased.get(&item.id) {
            (item.due, item.state) = (lease.until, ItemState::Leased);
        }
    }

    /// Returns the earliest time at which an item may be claimed.
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
