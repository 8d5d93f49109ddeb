//! The queue in a few numbers: how many items are in each state, and how old they are.
//!
//! Counting reads the whole queue, which may have a million items, in pages. A survey is therefore kept for a while, the
//! longer the more work it was: those who look every second cost a twentieth of one core at most.

use crate::admin::queue::PAGE;
use posta_mail::Timestamp;
use posta_net::clock::Clock;
use posta_store::{ItemState, Store, StoreError};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{sync::Arc, time::Duration};
use tokio::{sync::Mutex, time::Instant};

/// The time for which a survey is kept at least.
const KEPT: Duration = Duration::from_secs(10);

/// The time for which a survey is kept at least, as a multiple of the time that it took.
const KEPT_TIMES: u32 = 20;

/// The upper ends of the ranges of ages, with the values of their label.
pub(super) const AGES: [(Duration, &str); 4] = [
    (Duration::from_secs(5 * 60), "5m"),
    (Duration::from_secs(60 * 60), "1h"),
    (Duration::from_secs(24 * 60 * 60), "1d"),
    (Duration::MAX, "older"),
];

/// The state of the queue.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct QueueSurvey {
    /// The time when the items were counted.
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub time: Timestamp,
    /// The states, each of them.
    pub states: Vec<QueueStateLine>,
}

/// The items in one state.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct QueueStateLine {
    /// `waiting`, `leased` (being sent), `held` or `quarantined`.
    pub state: String,
    /// The number of items.
    pub items: u64,
    /// The number of items that are younger than five minutes, than an hour, than a day, and older.
    pub ages: [u64; 4],
    /// The time when the oldest of them was accepted.
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub oldest: Option<Timestamp>,
}

/// The states, with their names.
const STATES: [(ItemState, &str); 4] = [
    (ItemState::Waiting, "waiting"),
    (ItemState::Leased, "leased"),
    (ItemState::Held, "held"),
    (ItemState::Quarantined, "quarantined"),
];

/// The last survey. Of those who ask at the same moment, one counts.
#[derive(Debug, Clone, Default)]
pub(in crate::admin) struct Surveys(Arc<Mutex<Option<Kept>>>);

#[derive(Debug)]
struct Kept {
    survey: QueueSurvey,
    until: Instant,
}

impl Surveys {
    /// Returns the state of the queue, now or a short time ago.
    pub(super) async fn survey(
        &self,
        store: &dyn Store,
        clock: &dyn Clock,
    ) -> Result<QueueSurvey, StoreError> {
        let mut kept = self.0.lock().await;
        let began = Instant::now();
        if let Some(kept) = kept.as_ref().filter(|kept| began < kept.until) {
            return Ok(kept.survey.clone());
        }
        let survey = count(store, clock.now()).await?;
        let now = Instant::now();
        let until = now + KEPT.max((now - began) * KEPT_TIMES);
        *kept = Some(Kept { survey: survey.clone(), until });
        Ok(survey)
    }
}

async fn count(store: &dyn Store, now: Timestamp) -> Result<QueueSurvey, StoreError> {
    let line = |(_, name): &(ItemState, &str)| QueueStateLine {
        state: (*name).to_owned(),
        ..QueueStateLine::default()
    };
    let mut states: Vec<_> = STATES.iter().map(line).collect();
    let mut after = None;
    loop {
        let page = store.items(after, PAGE).await?;
        for item in &page {
            let lines = STATES.iter().zip(&mut states);
            for (_, line) in lines.filter(|((state, _), _)| *state == item.state) {
                let age = Duration::try_from(now.duration_since(item.accepted)).unwrap_or_default();
                let range = AGES.iter().position(|(end, _)| age < *end).unwrap_or(AGES.len() - 1);
                line.items += 1;
                line.ages[range] += 1;
                let oldest = line.oldest.map_or(item.accepted, |oldest| oldest.min(item.accepted));
                line.oldest = Some(oldest);
            }
        }
        after = page.last().map(|last| last.id);
        if page.len() < PAGE {
            return Ok(QueueSurvey { time: now, states });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use posta_net::clock::SimulatedClock;
    use posta_store::{
        Mailboxes as _, MemoryStore, Queue as _,
        conformance::{item, message},
    };
    use tokio::time::advance;

    /// Counting a large queue is work, so those who look again soon get what was counted.
    #[tokio::test(start_paused = true)]
    async fn a_survey_is_kept_for_a_while() {
        let store = MemoryStore::new();
        let accepted = item(1, 0, Timestamp::UNIX_EPOCH, 0).accepted;
        let clock = SimulatedClock::new(accepted + Duration::from_secs(2 * 60 * 60), 1);
        let surveys = Surveys::default();
        let queue = |number: u64| {
            let mut queued = message(number, accepted, b"x\r\n", &[]);
            queued.items = vec![item(number, 0, accepted, 0)];
            store.accept(queued)
        };
        let ages = async || {
            let survey = surveys.survey(&store, &clock).await.unwrap();
            survey.states.iter().map(|line| (line.items, line.ages)).collect::<Vec<_>>()
        };
        let none = (0, [0; 4]);
        queue(1).await.unwrap();
        assert_eq!(ages().await, [(1, [0, 0, 1, 0]), none, none, none]);
        queue(2).await.unwrap();
        assert_eq!(ages().await, [(1, [0, 0, 1, 0]), none, none, none], "kept");
        advance(KEPT).await;
        assert_eq!(ages().await, [(2, [0, 0, 2, 0]), none, none, none]);
        let held = vec![(item(2, 0, accepted, 0).id, accepted)];
        store.reschedule(held, ItemState::Held).await.unwrap();
        clock.set(accepted + Duration::from_secs(60));
        advance(KEPT).await;
        assert_eq!(ages().await, [(1, [1, 0, 0, 0]), none, (1, [1, 0, 0, 0]), none]);
        let survey = surveys.survey(&store, &clock).await.unwrap();
        assert_eq!(survey.states[2].oldest, Some(accepted));
    }
}
