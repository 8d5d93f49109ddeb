//! The figures of the last minute, from which rates are calculated.

use posta_server::admin::looking::ServerFigures;
use posta_store::HistogramFigures;
use std::collections::VecDeque;

/// The number of samples that are kept: a minute, and where it began.
const KEPT: usize = 61;

/// The figures of the last minute.
#[derive(Default)]
pub(super) struct Samples(VecDeque<ServerFigures>);

/// The rate of something, in times a second.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Rate {
    /// The rate between the last two samples.
    pub(super) now: f64,
    /// The rate over all samples.
    pub(super) minute: f64,
    /// The rates between each two samples, in order.
    pub(super) each: Vec<u64>,
    /// The number since the server's start.
    pub(super) total: u64,
}

impl Samples {
    /// Adds figures. Those of another run of the server begin a new minute.
    pub(super) fn add(&mut self, figures: ServerFigures) {
        if self.0.back().is_some_and(|last| last.started != figures.started) {
            self.0.clear();
        }
        if self.0.len() >= KEPT {
            self.0.pop_front();
        }
        self.0.push_back(figures);
    }

    /// Returns the newest figures.
    pub(super) fn last(&self) -> Option<&ServerFigures> {
        self.0.back()
    }

    /// Returns the rate of something that is counted.
    pub(super) fn rate(&self, of: impl Fn(&ServerFigures) -> u64) -> Rate {
        let between = |before: &ServerFigures, after: &ServerFigures| {
            let seconds = after.time.duration_since(before.time).as_secs_f64();
            let more = of(after).saturating_sub(of(before)) as f64;
            if seconds > 0.0 { more / seconds } else { 0.0 }
        };
        let pairs = self.0.iter().zip(self.0.iter().skip(1));
        let each: Vec<_> = pairs.map(|(before, after)| between(before, after)).collect();
        let minute = match (self.0.front(), self.0.back()) {
            (Some(first), Some(last)) => between(first, last),
            _ => 0.0,
        };
        Rate {
            now: each.last().copied().unwrap_or_default(),
            minute,
            each: each.iter().map(|rate| rate.ceil() as u64).collect(),
            total: self.0.back().map(of).unwrap_or_default(),
        }
    }

    /// Returns a distribution over the last minute; since the start, if nothing happened in that minute.
    pub(super) fn distribution(
        &self,
        of: impl Fn(&ServerFigures) -> &HistogramFigures,
    ) -> HistogramFigures {
        let (Some(first), Some(last)) = (self.0.front(), self.0.back()) else {
            return HistogramFigures::default();
        };
        let recent = of(last).since(of(first));
        if recent.count() > 0 { recent } else { of(last).clone() }
    }
}
