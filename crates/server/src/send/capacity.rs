//! How much of the queue is in hand: in all, and for each destination, so that none of them can hold
//! the others up.

use parking_lot::Mutex;
use posta_store::Destination;
use std::{collections::HashMap, time::Duration};
use tokio::time::Instant;

/// Items in hand at once.
const IN_HAND: usize = 5_000;

/// Items in hand for a destination of which nothing is known: a server that does not answer keeps
/// no more of them waiting.
const FIRST: usize = 8;

/// Items of one destination claimed at once at most: each has its turn.
const SHARE: usize = 16;

/// With so many in hand the rest is for destinations that take them: of each of the others one item
/// finds out which those are. A few hundred servers that hang would hold up all the others.
const PRESSED: usize = IN_HAND / 2;

/// Items in hand for a destination that takes them.
const MOST: usize = 400;

/// Items for one whose rate is limited: they only wait for their turn.
const LIMITED: usize = 16;

/// How many items a second are put off, over all destinations that cannot be reached. Each costs a
/// transaction; a hundred thousand of them must not take the time of those that can be sent.
const PUT_OFF: u32 = 100;

/// How an attempt went, for its destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// A server took something.
    Good,
    /// No server could be reached.
    Unreachable,
    /// Neither.
    Other,
}

/// When more of a destination may be claimed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Advice {
    /// Not until further notice.
    Pause,
    /// After so much time.
    Resume(Duration),
}

#[derive(Debug, Default)]
pub(crate) struct Lanes(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    lanes: HashMap<Destination, Lane>,
    in_hand: usize,
    /// What is to be done, in the order in which it was found out: the other way round a destination
    /// would be paused that nobody works on.
    advice: Vec<(Destination, Advice)>,
    /// When the next items may be put off.
    put_off: Option<Instant>,
    /// When the next message may go to a destination whose rate is limited.
    turns: HashMap<Destination, Instant>,
}

#[derive(Debug)]
struct Lane {
    in_hand: usize,
    window: usize,
    paused: bool,
    unreachable: usize,
}

impl Lanes {
    /// How many items more may be taken in hand, and how many of them may be for one destination.
    pub(super) fn room(&self) -> (usize, usize) {
        self.with(|state| {
            let share = if state.is_pressed() { 1 } else { SHARE };
            (IN_HAND.saturating_sub(state.in_hand), share)
        })
    }

    /// What is to be done now, in order.
    pub(super) fn advice(&self) -> Vec<(Destination, Advice)> {
        self.with(|state| std::mem::take(&mut state.advice))
    }

    /// An item is taken in hand.
    pub(super) fn take(&self, destination: &Destination) {
        self.with(|state| {
            state.in_hand += 1;
            let is_pressed = state.is_pressed();
            let lane = state.lanes.entry(destination.clone()).or_insert(Lane {
                in_hand: 0,
                window: FIRST,
                paused: false,
                unreachable: 0,
            });
            lane.in_hand += 1;
            let is_known = lane.window > FIRST;
            let window = if is_pressed && !is_known { 1 } else { lane.window };
            let advice = lane.pause_if(lane.in_hand >= window);
            state.advise(destination, advice);
        });
    }

    /// An item is not in hand any more. Answers whether more may be claimed than before.
    pub(super) fn give(&self, destination: &Destination, verdict: Verdict, limited: bool) -> bool {
        self.with(|state| {
            let was_full = state.in_hand >= IN_HAND;
            state.in_hand -= 1;
            let Some(lane) = state.lanes.get_mut(destination) else { return was_full };
            lane.in_hand -= 1;
            match verdict {
                Verdict::Good => {
                    lane.window = (lane.window * 2).min(if limited { LIMITED } else { MOST });
                    lane.unreachable = 0;
                }
                Verdict::Unreachable => {
                    lane.window = FIRST;
                    lane.unreachable += 1;
                }
                Verdict::Other => {}
            }
            let is_empty = lane.in_hand == 0;
            let advice = if lane.paused && (is_empty || lane.in_hand * 2 <= lane.window) {
                lane.paused = false;
                let put_off = std::mem::take(&mut lane.unreachable);
                Some(Advice::Resume(state.turn_to_put_off(put_off)))
            } else {
                lane.pause_if(verdict == Verdict::Unreachable && !is_empty)
            };
            if is_empty {
                state.lanes.remove(destination);
            }
            state.advise(destination, advice);
            was_full || matches!(advice, Some(Advice::Resume(_)))
        })
    }

    /// How long a message to this destination has to wait for its turn.
    pub(super) fn turn(&self, destination: &Destination, per_minute: u32) -> Duration {
        let step = Duration::from_secs(60) / per_minute.max(1);
        self.with(|state| {
            let now = Instant::now();
            // Now and then, so that the table stays as large as what is going on.
            if state.turns.len().is_power_of_two() {
                state.turns.retain(|_, turn| *turn > now);
            }
            let turn = state.turns.get(destination).copied().unwrap_or(now).max(now);
            state.turns.insert(destination.clone(), turn + step);
            turn - now
        })
    }

    fn with<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.0.lock())
    }
}

impl State {
    const fn is_pressed(&self) -> bool {
        self.in_hand > PRESSED
    }

    fn advise(&mut self, destination: &Destination, advice: Option<Advice>) {
        self.advice.extend(advice.map(|advice| (destination.clone(), advice)));
    }

    /// How long a destination has to wait that so many items were just put off of.
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

impl Lane {
    fn pause_if(&mut self, condition: bool) -> Option<Advice> {
        let begins = condition && !self.paused;
        self.paused |= condition;
        begins.then_some(Advice::Pause)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn to(domain: &str) -> Destination {
        Destination::Domain(domain.to_owned())
    }

    fn advice(lanes: &Lanes) -> Vec<Advice> {
        lanes.advice().into_iter().map(|(_, advice)| advice).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn a_destination_has_more_in_hand_the_better_it_goes() {
        let lanes = Lanes::default();
        let destination = to("y.test");
        (0..FIRST - 1).for_each(|_| lanes.take(&destination));
        assert_eq!(advice(&lanes), []);
        lanes.take(&destination);
        assert_eq!(advice(&lanes), [Advice::Pause]);
        assert!(lanes.give(&destination, Verdict::Good, false));
        assert_eq!(advice(&lanes), [Advice::Resume(Duration::ZERO)], "7 of 16");
        (FIRST - 1..2 * FIRST).for_each(|_| lanes.take(&destination));
        assert_eq!(advice(&lanes), [Advice::Pause]);
        assert_eq!(lanes.room(), (IN_HAND - 2 * FIRST, SHARE));
    }

    #[tokio::test(start_paused = true)]
    async fn what_cannot_be_reached_takes_its_time() {
        let lanes = Lanes::default();
        let (dead, gone) = (to("dead.test"), to("gone.test"));
        for destination in [&dead, &gone] {
            (0..4).for_each(|_| lanes.take(destination));
        }
        for destination in [&dead, &gone] {
            lanes.give(destination, Verdict::Unreachable, false);
            lanes.give(destination, Verdict::Unreachable, false);
        }
        // Two of each, 100 a second, one destination after the other.
        let resume = |millis| Advice::Resume(Duration::from_millis(millis));
        assert_eq!(advice(&lanes), [Advice::Pause, resume(20), Advice::Pause, resume(40)]);
    }

    #[tokio::test(start_paused = true)]
    async fn those_of_which_nothing_is_known_leave_room_for_the_others() {
        let lanes = Lanes::default();
        let good = to("good.test");
        lanes.take(&good);
        lanes.take(&good);
        lanes.give(&good, Verdict::Good, false);
        (0..PRESSED).for_each(|number| lanes.take(&to(&format!("{}.test", number / FIRST))));
        lanes.advice();
        assert_eq!(lanes.room().1, 1);
        lanes.take(&to("new.test"));
        assert_eq!(lanes.advice(), [(to("new.test"), Advice::Pause)], "one is enough to find out");
        lanes.take(&good);
        assert_eq!(lanes.advice(), []);
    }

    /// However attempts end, the last word on a destination that nobody works on is that it goes on.
    #[tokio::test(start_paused = true)]
    async fn nobody_is_left_paused() {
        let lanes = Lanes::default();
        let destination = to("y.test");
        let verdicts = [Verdict::Unreachable, Verdict::Good, Verdict::Other];
        for round in 1..40 {
            (0..round).for_each(|_| lanes.take(&destination));
            for number in 0..round {
                lanes.give(&destination, verdicts[(number * round + number) % 3], false);
            }
            let last = advice(&lanes).pop();
            assert!(last.is_none_or(|last| last != Advice::Pause), "round {round}");
            assert_eq!(lanes.room().0, IN_HAND);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_rate_is_kept() {
        let lanes = Lanes::default();
        let waits: Vec<_> = (0..3).map(|_| lanes.turn(&to("slow.test"), 60).as_secs()).collect();
        assert_eq!(waits, [0, 1, 2]);
        assert_eq!(lanes.turn(&to("other.test"), 60), Duration::ZERO);
    }
}
