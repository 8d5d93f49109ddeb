//! The report of a run of the generator.

use crate::fault::demand;
use crate::output::say;
use anyhow::Result;
use posta_mail::visible::escaped_json;
use serde::Serialize;
use std::{collections::BTreeMap, time::Duration};

/// The measurements of all sessions of a run.
#[derive(Debug, Default)]
pub(crate) struct Measured {
    /// The number of successful operations of each session.
    pub(crate) done: Vec<usize>,
    /// The duration of each operation.
    pub(crate) latencies: Vec<Duration>,
    /// Each error and how often it occurred.
    pub(crate) errors: BTreeMap<String, usize>,
    /// The time from the first operation to the last.
    pub(crate) elapsed: Duration,
}

/// The measurements of one session.
#[derive(Debug, Default)]
pub(crate) struct Session {
    pub(crate) latencies: Vec<Duration>,
    pub(crate) error: Option<String>,
}

#[derive(Serialize)]
struct Report<'a> {
    /// The name of the operations: messages, logins.
    unit: &'a str,
    count: usize,
    seconds: f64,
    per_second: f64,
    latency_ms: Latency,
    errors: &'a BTreeMap<String, usize>,
    /// The number of operations of each session. An SMTP session numbers its messages from 0.
    per_session: &'a [usize],
}

#[derive(Serialize)]
struct Latency {
    p50: f64,
    p99: f64,
    p999: f64,
    max: f64,
}

impl Measured {
    pub(crate) fn add(&mut self, session: Session) {
        self.done.push(session.latencies.len());
        self.latencies.extend(session.latencies);
        if let Some(error) = session.error {
            *self.errors.entry(error).or_default() += 1;
        }
    }

    /// Prints the figures. Returns an error if any operation failed.
    pub(crate) fn print(mut self, unit: &str, json: bool) -> Result<()> {
        self.latencies.sort_unstable();
        let seconds = self.elapsed.as_secs_f64();
        let report = Report {
            unit,
            count: self.latencies.len(),
            seconds,
            per_second: self.latencies.len() as f64 / seconds.max(f64::EPSILON),
            latency_ms: Latency {
                p50: self.percentile(0.5),
                p99: self.percentile(0.99),
                p999: self.percentile(0.999),
                max: self.percentile(1.0),
            },
            errors: &self.errors,
            per_session: &self.done,
        };
        if json {
            say!("{}", escaped_json(&serde_json::to_string(&report)?));
        } else {
            let Latency { p50, p99, p999, max } = report.latency_ms;
            say!("{:>10} {unit} in {seconds:.2} s", report.count);
            say!("{:>10.0} {unit} a second", report.per_second);
            say!("latency    p50 {p50:.2} ms, p99 {p99:.2} ms, p999 {p999:.2} ms, max {max:.2} ms");
            for (error, count) in &self.errors {
                say!("{count:>10} x {error}");
            }
        }
        let errors: usize = self.errors.values().sum();
        demand!(errors == 0, "sessions-failed", "{errors} sessions ended with an error");
        Ok(())
    }

    /// Returns a percentile of sorted latencies, in milliseconds.
    fn percentile(&self, fraction: f64) -> f64 {
        let rank = (self.latencies.len() as f64 * fraction).ceil() as usize;
        let latency = self.latencies.get(rank.saturating_sub(1));
        latency.map_or(0.0, |latency| latency.as_secs_f64() * 1_000.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_ranks() {
        let latencies = (1..=1_000).map(Duration::from_millis).collect();
        let measured = Measured { latencies, ..Measured::default() };
        for (fraction, milliseconds) in
            [(0.5, 500.0), (0.99, 990.0), (0.999, 999.0), (1.0, 1_000.0)]
        {
            assert!((measured.percentile(fraction) - milliseconds).abs() < 1e-6);
        }
        assert!(Measured::default().percentile(0.5) < f64::EPSILON);
    }
}
