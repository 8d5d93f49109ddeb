//! Counters and histograms, which many threads count in without a lock, and what a store counts of its own work.
//!
//! A count is one atomic addition; an observation is a search among a dozen bounds and two additions. Nothing is
//! allocated after the start.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::sync::atomic::{AtomicU64, Ordering};

/// Bounds, in microseconds, for times from a tenth of a millisecond to a minute.
pub const MICROSECONDS: &[u64] = &[
    100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000,
    1_000_000, 2_500_000, 10_000_000, 60_000_000,
];

/// Bounds for the number of requests that share a sync.
pub const REQUESTS: &[u64] = &[1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1_024];

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Counts `more`.
    pub fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    /// Returns the number so far.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The number of observed values in each of some ranges, and their sum.
#[derive(Debug)]
pub struct Histogram {
    bounds: &'static [u64],
    /// One for each bound, and one for values above all bounds.
    counts: Box<[AtomicU64]>,
    sum: AtomicU64,
}

impl Histogram {
    /// Returns a histogram of ranges that end at these bounds, which ascend.
    #[must_use]
    pub fn new(bounds: &'static [u64]) -> Self {
        let counts = (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect();
        Self { bounds, counts, sum: AtomicU64::new(0) }
    }

    /// Counts a value. A value equal to a bound is in the range that ends there.
    pub fn observe(&self, value: u64) {
        let range = self.bounds.partition_point(|bound| *bound < value);
        self.counts[range].fetch_add(1, Ordering::Relaxed);
        self.sum.fetch_add(value, Ordering::Relaxed);
    }

    /// Returns the counts so far.
    #[must_use]
    pub fn read(&self) -> HistogramFigures {
        HistogramFigures {
            bounds: self.bounds.to_vec(),
            counts: self.counts.iter().map(|count| count.load(Ordering::Relaxed)).collect(),
            sum: self.sum.load(Ordering::Relaxed),
        }
    }
}

/// The counts of a [`Histogram`] at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HistogramFigures {
    /// The upper ends of the ranges.
    pub bounds: Vec<u64>,
    /// The number of values in each range; the last is of values above all bounds.
    pub counts: Vec<u64>,
    /// The sum of all values.
    pub sum: u64,
}

impl HistogramFigures {
    /// Returns counts of nothing, for ranges that end at these bounds, which ascend.
    #[must_use]
    pub fn new(bounds: Vec<u64>) -> Self {
        Self { counts: vec![0; bounds.len() + 1], bounds, sum: 0 }
    }

    /// Counts a value.
    pub fn observe(&mut self, value: u64) {
        let range = self.bounds.partition_point(|bound| *bound < value);
        self.counts[range] += 1;
        self.sum = self.sum.saturating_add(value);
    }

    /// Returns the number of values.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Returns the upper end of the range in which the given share of the values, from 0 to 1, is reached: no more than
    /// that share is above it. Returns the last bound for values above all bounds, and none if there are no values.
    #[must_use]
    pub fn quantile(&self, share: f64) -> Option<u64> {
        let count = self.count();
        let wanted = (share * count as f64).ceil().max(1.0) as u64;
        let mut below = 0;
        let range = self.counts.iter().position(|in_range| {
            below += in_range;
            below >= wanted
        })?;
        self.bounds.get(range).or(self.bounds.last()).copied().filter(|_| count > 0)
    }

    /// Returns the counts since an earlier moment.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let before = earlier.counts.iter().copied().chain(std::iter::repeat(0));
        let counts = self.counts.iter().zip(before).map(|(now, before)| now.saturating_sub(before));
        Self {
            bounds: self.bounds.clone(),
            counts: counts.collect(),
            sum: self.sum.saturating_sub(earlier.sum),
        }
    }
}

/// What a store counted of its own work since it was opened.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StoreFigures {
    /// The time that each sync took, in microseconds.
    pub syncs: HistogramFigures,
    /// The number of requests that were committed together, for each group of them.
    pub groups: HistogramFigures,
    /// What was counted of an object store, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub objects: Option<ObjectFigures>,
}

/// What a node counted of the requests that it made to an object store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ObjectFigures {
    /// The objects that were put.
    pub put: u64,
    /// The objects that were read.
    pub got: u64,
    /// The objects that were removed.
    pub removed: u64,
    /// The lists that were read.
    pub listed: u64,
    /// The attempts at requests that failed, because the store was away or overloaded.
    pub failed: u64,
    /// The objects that messages need and the last pass over the bucket did not find.
    pub missing: u64,
    /// Why the object store cannot be used now, in words; none if it can.
    pub away: Option<String>,
    /// The time that each answer took, in microseconds.
    pub times: HistogramFigures,
}

impl Default for ObjectFigures {
    fn default() -> Self {
        Self {
            put: 0,
            got: 0,
            removed: 0,
            listed: 0,
            failed: 0,
            missing: 0,
            away: None,
            times: HistogramFigures::new(MICROSECONDS.to_vec()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_counted_in_their_ranges() {
        let histogram = Histogram::new(&[10, 20, 50]);
        let before = histogram.read();
        assert_eq!((before.count(), before.quantile(0.5)), (0, None));
        for value in [0, 10, 11, 20, 21, 51, 1_000] {
            histogram.observe(value);
        }
        let now = histogram.read();
        assert_eq!((now.counts.clone(), now.sum), (vec![2, 2, 1, 2], 1_113));
        assert_eq!(now.quantile(0.0), Some(10));
        assert_eq!(now.quantile(0.5), Some(20));
        assert_eq!(now.quantile(0.7), Some(50));
        assert_eq!(now.quantile(0.99), Some(50), "above all bounds");
        histogram.observe(15);
        let since = histogram.read().since(&now);
        assert_eq!((since.counts, since.sum), (vec![0, 1, 0, 0], 15));
    }
}
