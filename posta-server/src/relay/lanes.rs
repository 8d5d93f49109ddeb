//! How much of the queue is in hand: in all, and for each destination, so that none of them can hold
//! the others up.

use posta_store::Destination;
use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};
use tokio::time::Instant;

/// Items in hand for a destination of which nothing is known: a server that does not answer keeps
/// no more of them waiting.
const FIRST: usize = 8;

/// Items in hand for a destination that takes them.
const MOST: usize = 400;

/// Items for one whose rate is limited: they only wait for their turn.
const LIMITED: usize = 16;

/// How many items a second are put off, over all destinations that cannot be reached. Each costs a
/// transaction; a hundred thousand of them must not take the time of those that can be sent.
const PUT_OFF: u32 = 200;

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
    /// As before.
    Nothing,
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
    /// Items in hand.
    pub(super) fn in_hand(&self) -> usize {
        self.with(|state| state.in_hand)
    }

    /// An item is taken in hand.
    pub(super) fn take(&self, destination: &Destination) -> Advice {
        self.with(|state| {
            state.in_hand += 1;
            let lane = state.lanes.entry(destination.clone()).or_insert(Lane {
                in_hand: 0,
                window: FIRST,
                paused: false,
                unreachable: 0,
            });
            lane.in_hand += 1;
            lane.pause_if(lane.in_hand >= lane.window)
        })
    }

    /// An item is not in hand any more.
    pub(super) fn give(
        &self,
        destination: &Destination,
        verdict: Verdict,
        limited: bool,
    ) -> Advice {
        self.with(|state| {
            state.in_hand -= 1;
            let Some(lane) = state.lanes.get_mut(destination) else { return Advice::Nothing };
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
                Advice::Resume(state.turn_to_put_off(put_off))
            } else {
                lane.pause_if(verdict == Verdict::Unreachable && !is_empty)
            };
            if is_empty {
                state.lanes.remove(destination);
            }
            advice
        })
    }

    /// How long a message to this destination has to wait for its turn.
    pub(super) fn turn(&self, destination: &Destination, per_minute: u32) -> Duration {
        let step = Duration::from_secs(60) / per_minute.max(1);
        self.with(|state| {
            let now = Instant::now();
            state.turns.retain(|_, turn| *turn > now);
            let turn = state.turns.get(destination).copied().unwrap_or(now);
            state.turns.insert(destination.clone(), turn + step);
            turn - now
        })
    }

    fn with<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl State {
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
    fn pause_if(&mut self, condition: bool) -> Advice {
        if condition && !self.paused {
            self.paused = true;
            return Advice::Pause;
        }
        Advice::Nothing
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn to(domain: &str) -> Destination {
        Destination::Domain(domain.to_owned())
    }

    #[tokio::test(start_paused = true)]
    async fn a_destination_has_more_in_hand_the_better_it_goes() {
        let lanes = Lanes::default();
        let destination = to("y.test");
        let taken: Vec<_> = (0..FIRST).map(|_| lanes.take(&destination)).collect();
        assert_eq!(taken.last(), Some(&Advice::Pause));
        assert!(taken[..FIRST - 1].iter().all(|advice| *advice == Advice::Nothing));
        let resumed = Advice::Resume(Duration::ZERO);
        assert_eq!(lanes.give(&destination, Verdict::Good, false), resumed, "7 of 16");
        assert_eq!(lanes.in_hand(), FIRST - 1);
        for _ in FIRST - 1..2 * FIRST - 1 {
            assert_eq!(lanes.take(&destination), Advice::Nothing);
        }
        assert_eq!(lanes.take(&destination), Advice::Pause);
    }

    #[tokio::test(start_paused = true)]
    async fn what_cannot_be_reached_takes_its_time() {
        let lanes = Lanes::default();
        let (dead, gone) = (to("dead.test"), to("gone.test"));
        for destination in [&dead, &gone] {
            (0..4).for_each(|_| assert_eq!(lanes.take(destination), Advice::Nothing));
        }
        assert_eq!(lanes.give(&dead, Verdict::Unreachable, false), Advice::Pause);
        assert_eq!(lanes.give(&gone, Verdict::Unreachable, false), Advice::Pause);
        let advice = lanes.give(&dead, Verdict::Unreachable, false);
        let Advice::Resume(wait) = advice else { panic!("{advice:?}") };
        assert_eq!(wait, Duration::from_millis(10), "two of them, 200 a second");
        assert_eq!(lanes.give(&gone, Verdict::Unreachable, false), Advice::Resume(wait * 2));
        assert_eq!(lanes.in_hand(), 4);
    }

    #[tokio::test(start_paused = true)]
    async fn a_rate_is_kept() {
        let lanes = Lanes::default();
        let waits: Vec<_> = (0..3).map(|_| lanes.turn(&to("slow.test"), 60).as_secs()).collect();
        assert_eq!(waits, [0, 1, 2]);
        assert_eq!(lanes.turn(&to("other.test"), 60), Duration::ZERO);
    }
}
