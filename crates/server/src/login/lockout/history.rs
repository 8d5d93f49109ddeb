//! Lock-outs in the history. An attacker with many networks can cause many, so they are recorded only within the
//! rate of [`AT_ONCE`] and [`EVERY`]; `posta lockout list` shows all of them.

use crate::limits::allowance::{Allowance, Rate};
use parking_lot::Mutex;
use posta_net::clock::Clock;
use posta_store::{Event, Store, What};

/// The most lock-outs that are recorded at once.
const AT_ONCE: u64 = 64;

/// Seconds after which another one may be recorded: 720 a day, some 200 KB.
const EVERY: u64 = 120;

/// Lock-outs that wait to be recorded.
#[derive(Default)]
pub(super) struct LockoutsTold {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Seconds that are used up: [`EVERY`] for each lock-out recorded.
    told: Allowance,
    waiting: Vec<Event>,
}

impl LockoutsTold {
    /// Notes a lock-out, unless there are too many.
    pub(super) fn note(&self, what: What, clock: &dyn Clock) {
        let now = clock.now();
        let mut state = self.state.lock();
        let rate = Rate { at_once: AT_ONCE * EVERY, a_second: 1 };
        if state.told.take(EVERY, rate, now) {
            state.waiting.push(Event { id: clock.mail_id(), time: now, what });
        }
    }

    /// Writes to the history what was noted.
    pub(super) async fn tell(&self, store: &dyn Store) {
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
    async fn lock_outs_are_told_within_a_rate() {
        let (store, clock) = (MemoryStore::new(), SimulatedClock::new(Timestamp::UNIX_EPOCH, 1));
        let told = LockoutsTold::default();
        for (passed, expected) in [(0, 64), (EVERY * 10, 74), (EVERY * 1_000, 138)] {
            clock.set(clock.now() + Duration::from_secs(passed));
            for _ in 0..1_000 {
                let (who, until) = ("192.0.2.1".to_owned(), clock.now());
                let what =
                    What::LockedOut { who, is_network: true, name: None, failures: 20, until };
                told.note(what, &clock);
            }
            told.tell(&store).await;
            assert_eq!(store.events(None, 10_000).await.unwrap().len(), expected);
        }
    }
}
