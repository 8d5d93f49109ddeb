//! The number of queue items that are worked on at once, in total and for each destination, so that no
//! destination can delay the others. `send` asks before it claims items, and reports the result of each
//! attempt.

use crate::limits::share::Share;
use parking_lot::Mutex;
use posta_mail::Timestamp;
use posta_store::Destination;
use std::{collections::HashMap, time::Duration};
use tokio::time::Instant;

/// The maximal number of items in hand at once.
const IN_HAND: usize = 5_000;

/// The maximal number of items in hand for an unknown destination. A server that does not answer ties up
/// no more than these.
const FIRST: usize = 8;

/// The maximal number of items of one destination in a claim, so that each destination gets its turn.
const SHARE: usize = 16;

/// The number of items in hand above which the rest is reserved for destinations that accept their mail.
/// Each other destination then gets one item, which finds out whether mail is accepted. Otherwise a few
/// hundred servers that hang could delay all others.
const PRESSED: usize = IN_HAND / 2;

/// The maximal number of items in hand for a destination that accepts its mail.
const MOST: usize = 400;

/// The maximal number of items in hand for a destination with a limited rate, since further ones would
/// only wait.
const LIMITED: usize = 16;

/// The maximal number of items per second that are deferred, over all unreachable destinations together.
/// Each costs a transaction, and a hundred thousand of them must not take time from mail that can be
/// sent.
const PUT_OFF: u32 = 100;

/// The result of an attempt, as far as it matters to the destination's capacity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AttemptResult {
    /// A server accepted at least one recipient.
    Good,
    /// No server could be reached.
    Unreachable,
    /// A server was reached, and accepted nothing.
    Other,
}

/// The time when more items of a destination may be claimed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Advice {
    /// Not until further notice.
    Pause,
    /// After this time.
    Resume(Duration),
}

/// The number of items of each destination in hand, and the number allowed.
#[derive(Debug, Default)]
pub(crate) struct Capacity(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    destinations: HashMap<Destination, DestinationLoad>,
    in_hand: usize,
    /// Advice that the store has not received yet, in order. In reverse order, it could pause a
    /// destination that no attempt will ever resume.
    advice: Vec<(Destination, Advice)>,
    /// The time when the next items may be deferred.
    put_off: Option<Instant>,
    /// The time when the next message may be sent to a destination with a limited rate.
    turns: HashMap<Destination, Instant>,
}

#[derive(Debug)]
struct DestinationLoad {
    in_hand: usize,
    /// The number of items that may be in hand.
    window: usize,
    paused: bool,
    /// The number of attempts since the last pause that reached no server.
    unreachable: usize,
}

impl Capacity {
    /// Returns the number of items that may be added, and the number of these that may be for one
    /// destination.
    pub(super) fn room(&self) -> (usize, usize) {
        self.with(|state| {
            let share = if state.is_pressed() { 1 } else { SHARE };
            (IN_HAND.saturating_sub(state.in_hand), share)
        })
    }

    /// Takes the advice that the store has not received yet, in order.
    pub(super) fn advice(&self) -> Vec<(Destination, Advice)> {
        self.with(|state| std::mem::take(&mut state.advice))
    }

    /// Records that an item is in hand.
    pub(super) fn begin(&self, destination: &Destination) {
        self.with(|state| {
            state.in_hand += 1;
            let is_pressed = state.is_pressed();
            let load = state.destinations.entry(destination.clone()).or_insert(DestinationLoad {
                in_hand: 0,
                window: FIRST,
                paused: false,
                unreachable: 0,
            });
            load.in_hand += 1;
            let is_known = load.window > FIRST;
            let window = if is_pressed && !is_known { 1 } else { load.window };
            let advice = load.pause_if(load.in_hand >= window);
            state.advise(destination, advice);
        });
    }

    /// Records that an attempt has ended; `limited` says whether the destination's rate is limited.
    /// Returns whether more items may be claimed than before.
    pub(super) fn end(
        &self,
        destination: &Destination,
        result: AttemptResult,
        limited: bool,
    ) -> bool {
        self.with(|state| {
            let was_full = state.in_hand >= IN_HAND;
            state.in_hand -= 1;
            let Some(load) = state.destinations.get_mut(destination) else { return was_full };
            load.in_hand -= 1;
            match result {
                AttemptResult::Good => {
                    load.window = (load.window * 2).min(if limited { LIMITED } else { MOST });
                    load.unreachable = 0;
                }
                AttemptResult::Unreachable => {
                    load.window = FIRST;
                    load.unreachable += 1;
                }
                AttemptResult::Other => {}
            }
            let is_empty = load.in_hand == 0;
            let advice = if load.paused && (is_empty || load.in_hand * 2 <= load.window) {
                load.paused = false;
                let put_off = std::mem::take(&mut load.unreachable);
                Some(Advice::Resume(state.turn_to_put_off(put_off)))
            } else {
                load.pause_if(result == AttemptResult::Unreachable && !is_empty)
            };
            if is_empty {
                state.destinations.remove(destination);
            }
            state.advise(destination, advice);
            was_full || matches!(advice, Some(Advice::Resume(_)))
        })
    }

    /// Takes the next turn of a destination with a limited rate, of those that belong to this node. Returns the time to
    /// wait for it.
    pub(super) fn turn(
        &self,
        destination: &Destination,
        per_minute: u32,
        (share, time): (Share, Timestamp),
    ) -> Duration {
        let name = match destination {
            Destination::Local => "",
            Destination::Domain(domain) => domain,
        };
        let step = Duration::from_secs(60) / per_minute.max(1);
        self.with(|state| {
            let now = Instant::now();
            // The table is cleaned up from time to time, so that it is no larger than the work in
            // progress.
            if state.turns.len().is_power_of_two() {
                state.turns.retain(|_, turn| *turn > now);
            }
            let free = state.turns.get(destination).copied().unwrap_or(now).max(now);
            let wait = share.turn(name, step, free - now, time);
            state.turns.insert(destination.clone(), now + wait + step);
            wait
        })
    }

    fn with<T>(&self, action: impl FnOnce(&mut State) -> T) -> T {
        action(&mut self.0.lock())
    }
}

impl State {
    const fn is_pressed(&self) -> bool {
        self.in_hand > PRESSED
    }

    fn advise(&mut self, destination: &Destination, advice: Option<Advice>) {
        self.advice.extend(advice.map(|advice| (destination.clone(), advice)));
    }

    /// Returns the time for which a destination must wait after this many of its items were deferred.
    fn turn_to_put_off(&mut self, items: usize) -> Duration {
        let items = u32::try_from(items).unwrap_or(u32::MAX);
        if items == 0 {
            return Duration::ZERO;
        }
        let now = Instant::now();
        let turn = self.put_off.filter(|turn| *turn > now).unwrap_or(now);
        let turn = turn + Duration::from_secs(1) * items / PUT_OFF;
        self.put_off = Some(turn);
        turn - now
    }
}

impl DestinationLoad {
    fn pause_if(&mut self, condition: bool) -> Option<Advice> {
        let begins = condition && !self.paused;
        self.paused |= condition;
        begins.then_some(Advice::Pause)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use posta_store::NodeStanding;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn to(domain: &str) -> Destination {
        Destination::Domain(domain.to_owned())
    }

    fn advice(capacity: &Capacity) -> Vec<Advice> {
        capacity.advice().into_iter().map(|(_, advice)| advice).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn a_destination_has_more_in_hand_the_better_it_goes() {
        let capacity = Capacity::default();
        let destination = to("y.test");
        (0..FIRST - 1).for_each(|_| capacity.begin(&destination));
        assert_eq!(advice(&capacity), []);
        capacity.begin(&destination);
        assert_eq!(advice(&capacity), [Advice::Pause]);
        assert!(capacity.end(&destination, AttemptResult::Good, false));
        assert_eq!(advice(&capacity), [Advice::Resume(Duration::ZERO)], "7 of 16");
        (FIRST - 1..2 * FIRST).for_each(|_| capacity.begin(&destination));
        assert_eq!(advice(&capacity), [Advice::Pause]);
        assert_eq!(capacity.room(), (IN_HAND - 2 * FIRST, SHARE));
    }

    #[tokio::test(start_paused = true)]
    async fn what_cannot_be_reached_takes_its_time() {
        let capacity = Capacity::default();
        let (dead, gone) = (to("dead.test"), to("gone.test"));
        for destination in [&dead, &gone] {
            (0..4).for_each(|_| capacity.begin(destination));
        }
        for destination in [&dead, &gone] {
            capacity.end(destination, AttemptResult::Unreachable, false);
            capacity.end(destination, AttemptResult::Unreachable, false);
        }
        // Two items of each destination, at 100 a second, one destination after the other.
        let resume = |millis| Advice::Resume(Duration::from_millis(millis));
        assert_eq!(advice(&capacity), [Advice::Pause, resume(20), Advice::Pause, resume(40)]);
    }

    #[tokio::test(start_paused = true)]
    async fn those_of_which_nothing_is_known_leave_room_for_the_others() {
        let capacity = Capacity::default();
        let good = to("good.test");
        capacity.begin(&good);
        capacity.begin(&good);
        capacity.end(&good, AttemptResult::Good, false);
        (0..PRESSED).for_each(|number| capacity.begin(&to(&format!("{}.test", number / FIRST))));
        capacity.advice();
        assert_eq!(capacity.room().1, 1);
        capacity.begin(&to("new.test"));
        assert_eq!(
            capacity.advice(),
            [(to("new.test"), Advice::Pause)],
            "one is enough to find out"
        );
        capacity.begin(&good);
        assert_eq!(capacity.advice(), []);
    }

    /// However attempts end, the last advice on a destination without items in hand is to resume it.
    #[tokio::test(start_paused = true)]
    async fn nobody_is_left_paused() {
        let capacity = Capacity::default();
        let destination = to("y.test");
        let results = [AttemptResult::Unreachable, AttemptResult::Good, AttemptResult::Other];
        for round in 1..40 {
            (0..round).for_each(|_| capacity.begin(&destination));
            for number in 0..round {
                capacity.end(&destination, results[(number * round + number) % 3], false);
            }
            let last = advice(&capacity).pop();
            assert!(last.is_none_or(|last| last != Advice::Pause), "round {round}");
            assert_eq!(capacity.room().0, IN_HAND);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_rate_is_kept() {
        let capacity = Capacity::default();
        let alone = (Share::of(NodeStanding::ALONE), Timestamp::UNIX_EPOCH);
        let turn = |name| capacity.turn(&to(name), 60, alone);
        let waits: Vec<_> = (0..3).map(|_| turn("slow.test").as_secs()).collect();
        assert_eq!(waits, [0, 1, 2]);
        assert_eq!(turn("other.test"), Duration::ZERO);
        // Two nodes take turns, and each keeps its own.
        let waits = [0, 1].map(|rank| {
            let share = Share::of(NodeStanding { nodes: 2, rank, ..NodeStanding::ALONE });
            let capacity = Capacity::default();
            [(); 3].map(|()| capacity.turn(&to("slow.test"), 60, (share, at(1))).as_secs())
        });
        let mut all = waits.concat();
        all.sort_unstable();
        assert_eq!(all, [0, 1, 2, 3, 4, 5], "{waits:?}");
    }
}
