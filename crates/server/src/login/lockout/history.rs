//! The lock-outs that are recorded in the history. An attacker with many networks can cause many, so
//! they are recorded within the rate of [`AT_ONCE`] and [`EVERY`] only; `posta lockout list` prints all
//! of them.

use crate::limits::allowance::{Allowance, Rate};
use parking_lot::Mutex;
use posta_net::clock::Clock;
use posta_store::{Event, Store, What};

/// The maximal number of lock-outs that are recorded at once.
const AT_ONCE: u64 = 64;

/// The number of seconds after which another one may be recorded: 720 a day, some 200 KB.
const EVERY: u64 = 120;

/// The lock-outs that wait to be recorded.
#[derive(Default)]
pub(super) struct LockoutHistory {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The seconds that are used up: [`EVERY`] for each lock-out recorded.
    used: Allowance,
    waiting: Vec<Event>,
}

impl LockoutHistory {
    /// Adds a lock-out, unless there have been too many.
    pub(super) fn note(&self, what: What, clock: &dyn Clock) {
        let now = clock.now();
        let mut state = self.state.lock();
        let rate = Rate { at_once: AT_ONCE * EVERY, a_second: 1 };
        if state.used.take(EVERY, rate, now) {
            state.waiting.push(Event { id: clock.mail_id(), time: now, what });
        }
    }

    /// Writes the waiting lock-outs to the history.
    pub(super) async fn write(&self, store: &dyn Store) {
        let waiting = {
            let mut state = self.state.lock();
            std::mem::take(&mut state.waiting)
        };
        if waiting.is_empty() {
            return;
        }
        if let Err(error) = store.note(waiting).await {
            tracing::error!(%error, "the history could not be written");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use posta_mail::Timestamp;
    use posta_net::clock::SimulatedClock;
    use posta_store::{History as _, MemoryStore};
    use std::time::Duration;

    #[tokio::test]
    async fn lock_outs_are_recorded_within_a_rate() {
        let (store, clock) = (MemoryStore::new(), SimulatedClock::new(Timestamp::UNIX_EPOCH, 1));
        let history = LockoutHistory::default();
        for (passed, expected) in [(0, 64), (EVERY * 10, 74), (EVERY * 1_000, 138)] {
            clock.set(clock.now() + Duration::from_secs(passed));
            for _ in 0..1_000 {
                let (who, until) = ("192.0.2.1".to_owned(), clock.now());
                let what =
                    What::LockedOut { who, is_network: true, name: None, failures: 20, until };
                history.note(what, &clock);
            }
            history.write(&store).await;
            assert_eq!(store.events(None, 10_000).await.unwrap().len(), expected);
        }
    }
}
