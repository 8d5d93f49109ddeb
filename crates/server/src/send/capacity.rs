//! How many items of the queue are worked on at once, in all and for each destination, so that no destination
//! can hold the others up. `send` asks before it claims items, and reports how each attempt went.

use parking_lot::Mutex;
use posta_store::Destination;
use std::{collections::HashMap, time::Duration};
use tokio::time::Instant;

/// The most items in hand at once.
const IN_HAND: usize = 5_000;

/// The most items in hand for a destination of which nothing is known: a server that does not answer ties up no
/// more than these.
const FIRST: usize = 8;

/// The most items of one destination in a claim, so that each gets its turn.
const SHARE: usize = 16;

/// From so many items in hand on, the rest is for destinations that take their mail; of each of the others one
/// item finds out whether it does. Otherwise a few hundred servers that hang could hold up all the others.
const PRESSED: usize = IN_HAND / 2;

/// The most items in hand for a destination that takes its mail.
const MOST: usize = 400;

/// The most items in hand for a destination with a limited rate: they would only wait for their turn.
const LIMITED: usize = 16;

/// The most items a second that are put off, over all destinations that cannot be reached. Each costs a
/// transaction, and a hundred thousand of them must not take the time of mail that can be sent.
const PUT_OFF: u32 = 100;

/// How an attempt went, as far as it matters to its destination's capacity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AttemptResult {
    /// A server took at least one recipient.
    Good,
    /// No server could be reached.
    Unreachable,
    /// A server was reached, and took nothing.
    Other,
}

/// When more items of a destination may be claimed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Advice {
    /// Not until further notice.
    Pause,
    /// After this time.
    Resume(Duration),
}

/// How many items of each destination are in hand, and how many may be.
#[derive(Debug, Default)]
pub(crate) struct Capacity(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    destinations: HashMap<Destination, DestinationLoad>,
    in_hand: usize,
    /// Advice that the store has not been given yet, in order: reversed, it could pause a destination that no
    /// attempt will ever resume.
    advice: Vec<(Destination, Advice)>,
    /// When the next items may be put off.
    put_off: Option<Instant>,
    /// When the next message may go to a destination whose rate is limited.
    turns: HashMap<Destination, Instant>,
}

#[derive(Debug)]
struct DestinationLoad {
    in_hand: usize,
    /// How many items may be in hand.
    window: usize,
    paused: bool,
    /// Attempts since the last pause that reached no server.
    unreachable: usize,
}

impl Capacity {
    /// Returns how many more items may be taken in hand, and how many of them may be for one destination.
    pub(super) fn room(&self) -> (usize, usize) {
        self.with(|state| {
            let share = if state.is_pressed() { 1 } else { SHARE };
            (IN_HAND.saturating_sub(state.in_hand), share)
        })
    }

    /// Takes the advice that the store has not been given yet, in order.
    pub(super) fn advice(&self) -> Vec<(Destination, Advice)> {
        self.with(|state| std::mem::take(&mut state.advice))
    }

    /// Notes that an item is in hand.
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

    /// Notes that an attempt has ended; `limited` says whether the destination's rate is. Returns whether more may
    /// be claimed than before.
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

    /// Takes the next turn of a destination with a limited rate, and returns how long to wait for it.
    pub(super) fn turn(&self, destination: &Destination, per_minute: u32) -> Duration {
        let step = Duration::from_secs(60) / per_minute.max(1);
        self.with(|state| {
            let now = Instant::now();
            // Clean up now and then, so that the table is no larger than what is going on.
            if state.turns.len().is_power_of_two() {
                state.turns.retain(|_, turn| *turn > now);
            }
            let turn = state.turns.get(destination).copied().unwrap_or(now).max(now);
            state.turns.insert(destination.clone(), turn + step);
            turn - now
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

    /// Returns how long a destination has to wait of which this many items were just put off.
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
        // Two of each, 100 a second, one destination after the other.
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

    /// However attempts end, the last word on a destination that nobody works on is that it goes on.
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
        let waits: Vec<_> = (0..3).map(|_| capacity.turn(&to("slow.test"), 60).as_secs()).collect();
        assert_eq!(waits, [0, 1, 2]);
        assert_eq!(capacity.turn(&to("other.test"), 60), Duration::ZERO);
    }
}
