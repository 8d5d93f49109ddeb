//! The outcomes of sending for the busiest destinations, in bounded memory.
//!
//! Anybody who may send can name any number of domains, so only [`BUSIEST`] are counted by name. A new one takes the
//! place of the one with the fewest attempts, whose counts go to all others together: a flood of new domains only ever
//! changes that one place.

use super::Outcomes;
use parking_lot::Mutex;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{collections::HashMap, time::Duration};

/// The maximal number of destinations that are counted by name.
pub const BUSIEST: usize = 50;

/// The weight of the latest attempt in [`DestinationFigures::recent_micros`]: one in this many.
const RECENT: u64 = 8;

/// The counts of the busiest destinations.
#[derive(Debug, Default)]
pub(crate) struct Destinations(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    named: HashMap<String, DestinationFigures>,
    others: DestinationFigures,
}

/// What became of the mail for a destination.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct DestinationFigures {
    /// The number of attempts.
    pub attempts: u64,
    /// The number of recipients by outcome.
    pub outcomes: Outcomes,
    /// The total duration of the attempts, in microseconds.
    pub micros: u64,
    /// The duration of an attempt, in microseconds, averaged over the last few.
    pub recent_micros: u64,
}

impl DestinationFigures {
    fn count(&mut self, outcomes: Outcomes, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let weight = RECENT.min(self.attempts + 1);
        self.recent_micros = (self.recent_micros * (weight - 1)).saturating_add(micros) / weight;
        self.attempts += 1;
        self.micros = self.micros.saturating_add(micros);
        self.outcomes.add(outcomes);
    }

    fn add(&mut self, other: &Self) {
        self.attempts += other.attempts;
        self.micros = self.micros.saturating_add(other.micros);
        self.recent_micros = other.recent_micros;
        self.outcomes.add(other.outcomes);
    }
}

impl Destinations {
    /// Counts an attempt.
    pub(super) fn count(&self, domain: &str, outcomes: Outcomes, took: Duration) {
        let mut state = self.0.lock();
        if let Some(known) = state.named.get_mut(domain) {
            return known.count(outcomes, took);
        }
        if state.named.len() >= BUSIEST {
            let least = state.named.iter().min_by_key(|(_, figures)| figures.attempts);
            let least = least.map(|(name, _)| name.clone());
            if let Some(gone) = least.and_then(|name| state.named.remove(&name)) {
                state.others.add(&gone);
            }
        }
        state.named.entry(domain.to_owned()).or_default().count(outcomes, took);
    }

    /// Returns the counts of the busiest, the busiest first, and of all others together.
    pub(super) fn read(&self) -> (Vec<(String, DestinationFigures)>, DestinationFigures) {
        let state = self.0.lock();
        let named = state.named.iter().map(|(name, figures)| (name.clone(), figures.clone()));
        let (mut named, others) = (named.collect::<Vec<_>>(), state.others.clone());
        drop(state);
        named.sort_by(|(one, first), (other, second)| {
            second.attempts.cmp(&first.attempts).then_with(|| one.cmp(other))
        });
        (named, others)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_domains_leaves_the_busy_ones_in_place() {
        let destinations = Destinations::default();
        let delivered = Outcomes { delivered: 1, ..Outcomes::default() };
        let second = Duration::from_secs(1);
        for busy in 0..BUSIEST - 1 {
            destinations.count(&format!("busy{busy}.test"), delivered, second);
            destinations.count(&format!("busy{busy}.test"), delivered, second);
        }
        for number in 0..10_000 {
            destinations.count(&format!("new{number}.test"), delivered, second);
        }
        let (named, others) = destinations.read();
        assert_eq!(named.len(), BUSIEST);
        assert_eq!(named.iter().filter(|(name, _)| name.starts_with("busy")).count(), BUSIEST - 1);
        assert_eq!((named[0].1.attempts, named[0].1.recent_micros), (2, 1_000_000));
        assert_eq!(
            (others.attempts, others.outcomes.delivered, others.micros),
            (9_999, 9_999, 9_999_000_000)
        );
    }
}
