//! DMARC aggregate reports (RFC 9990): a domain that asks for them learns once a day which servers sent mail in
//! its name to this one, and what became of it. Failure reports are not sent, since they would tell what is in
//! people's mail.
//!
//! `deliver` passes what was observed of each checked message to [`DmarcReports`]. `day` counts it, within
//! limits; `saved` keeps the counts in the store, so that a restart loses those of a few minutes at most; `xml`
//! writes a report, and `sending` mails it when the day is over.

mod day;
mod saved;
mod sending;
mod xml;

use crate::{
    deliver::feedback::{ArrivedReport, Feedback, Observation},
    limits::adjustable::Adjustable,
    reports::{Reporter, received::ReceivedReports},
};
use day::Day;
use parking_lot::Mutex;
use posta_mail::Timestamp;
use posta_origin::dns::Lookup;
use posta_store::StoreError;
use saved::Saved;
use std::{sync::Arc, time::Duration};
use tokio::{sync::watch, time::sleep};

/// The interval at which the counts are saved and due reports are sent.
const EVERY: Duration = Duration::from_secs(5 * 60);

/// The time after the end of a day by which all nodes of a cluster have saved its counts.
const LATE: Duration = Duration::from_secs(15 * 60);

/// The duty of sending the reports: of the nodes of a cluster, one sends them.
const DUTY: &str = "dmarc-reports";

/// The number of days after which a report is given up, if DNS does not say where it should go.
const DAYS: i64 = 3;

/// Counts what becomes of mail, and sends the reports.
pub struct DmarcReports {
    reporter: Reporter,
    dns: Arc<dyn Lookup>,
    is_enabled: Arc<Adjustable<bool>>,
    received: Arc<ReceivedReports>,
    saved: Saved,
    today: Mutex<Day>,
}

impl Feedback for DmarcReports {
    fn is_wanted(&self) -> bool {
        *self.is_enabled.get()
    }

    fn observed(&self, observation: Observation, octets: u64, is_kept: bool) {
        self.today.lock().count(observation, octets, is_kept);
    }

    fn arrived(&self, arrived: ArrivedReport) {
        self.received.arrived(arrived);
    }
}

impl DmarcReports {
    pub(crate) fn new(
        reporter: Reporter,
        dns: Arc<dyn Lookup>,
        received: Arc<ReceivedReports>,
        is_enabled: Arc<Adjustable<bool>>,
    ) -> Self {
        let saved = Saved::new(reporter.store.clone(), reporter.clock.clone());
        Self { reporter, dns, is_enabled, received, saved, today: Mutex::default() }
    }

    /// Saves the counts from time to time, and sends the reports of each day when it is over, until the
    /// server stops.
    pub async fn run(self: Arc<Self>, mut stopping: watch::Receiver<bool>) {
        let mut is_resumed = false;
        loop {
            let done = match is_resumed {
                true => self.save_and_report(&stopping).await,
                false => self.resume().await,
            };
            match done {
                Ok(()) if !is_resumed => {
                    is_resumed = true;
                    continue;
                }
                Ok(()) => {}
                Err(error) => tracing::error!(%error, "the DMARC reports cannot be made"),
            }
            tokio::select! {
                () = sleep(EVERY) => {}
                _ = stopping.wait_for(|&stopping| stopping) => break,
            }
        }
        if let Err(error) = self.save().await {
            tracing::error!(%error, "the counts for DMARC reports cannot be saved");
        }
    }

    /// Continues with the counts of the current day that an earlier run saved.
    async fn resume(&self) -> Result<(), StoreError> {
        let date = date(self.reporter.clock.now());
        let saved = self.saved.day(&date).await?;
        self.today.lock().resume(date, saved);
        Ok(())
    }

    /// Saves what was counted since the last time, and begins a new day if the date has changed. Returns the
    /// date of today.
    async fn save(&self) -> Result<String, StoreError> {
        let now = date(self.reporter.clock.now());
        let (of, pieces) = {
            let mut today = self.today.lock();
            let of = today.date().to_owned();
            let is_over = of != now;
            let pieces = today.unsaved(is_over);
            if is_over {
                *today = Day::new(now.clone());
            }
            (of, pieces)
        };
        self.saved.add(&of, pieces).await?;
        Ok(now)
    }

    /// Saves the counts, and sends the reports of the days that are over.
    async fn save_and_report(&self, stopping: &watch::Receiver<bool>) -> Result<(), StoreError> {
        let today = self.save().await?;
        let store = &self.reporter.store;
        if !store.take_duty(DUTY).await? {
            return Ok(());
        }
        let today = match store.standing().nodes {
            1 => today,
            // The others save theirs as often.
            _ => date(self.reporter.clock.now() - LATE),
        };
        let oldest = date(self.reporter.clock.now() - Duration::from_secs(DAYS as u64 * 86_400));
        for date in self.saved.dates().await? {
            if date >= today {
                continue;
            }
            let is_enabled = *self.is_enabled.get();
            let is_done = !is_enabled || self.report_day(&date, stopping).await?;
            if is_done || date < oldest {
                self.saved.forget(&date).await?;
            }
        }
        Ok(())
    }
}

/// Returns the date in UTC, since a report covers a day in UTC (RFC 9990 §3.1.1.4).
fn date(now: Timestamp) -> String {
    now.to_string().chars().take("2026-01-01".len()).collect()
}

#[cfg(test)]
mod tests;
