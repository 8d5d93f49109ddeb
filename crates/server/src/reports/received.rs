//! Reports of other servers about the domains of this one: about mail in their name (DMARC, RFC 9990) and about TLS to
//! their servers (RFC 8460).
//!
//! `deliver` passes on messages that look like reports, at whatever address of this server they arrive; they are
//! delivered as usual. [`ReceivedReports`] reads them afterwards, one at a time, and keeps a short summary of each in
//! the store; [`statistics`] adds the summaries up for the operator. A report is believed only if it is shown which
//! domain sent it; others are kept apart, fewer of them, and only counted.

mod kept;
pub mod statistics;

use crate::deliver::feedback::ArrivedReport;
use kept::Kept;
use parking_lot::Mutex;
use posta_mail::{Domain, MailId, Timestamp};
use posta_mime::received::{self, DmarcReport, MESSAGE, ReceivedReport, ReportError};
use posta_net::clock::Clock;
use posta_store::{Store, StoreError};
use std::{sync::Arc, time::Duration};
use tokio::{
    sync::{mpsc, watch},
    task::spawn_blocking,
    time::{Instant, sleep_until},
};

/// The maximal number of messages that wait to be read. They come in the early morning, a few from each reporter.
const WAITING: usize = 1_000;

/// The duty of removing old summaries: of the nodes of a cluster, one does.
const DUTY: &str = "received-reports";

/// The interval at which old summaries are removed.
const PURGE_EVERY: Duration = Duration::from_secs(6 * 60 * 60);

/// The time before now that a report may be about. Reporters that were down send late.
const LATE: Duration = Duration::from_secs(40 * 24 * 60 * 60);

/// The time after now until which a report may claim to reach: clocks differ, and so do time zones.
const EARLY: Duration = Duration::from_secs(24 * 60 * 60);

/// Reads reports, and keeps their summaries.
pub struct ReceivedReports {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    kept: Kept,
    arrived: mpsc::Sender<ArrivedReport>,
    waiting: Mutex<Option<mpsc::Receiver<ArrivedReport>>>,
}

impl ReceivedReports {
    pub(crate) fn new(store: Arc<dyn Store>, clock: Arc<dyn Clock>) -> Self {
        let (arrived, waiting) = mpsc::channel(WAITING);
        let kept = Kept::new(store.clone());
        Self { store, clock, kept, arrived, waiting: Mutex::new(Some(waiting)) }
    }

    /// Has a message read later. Where too many wait, it is not read; it is in its mailbox all the same.
    pub(crate) fn arrived(&self, arrived: ArrivedReport) {
        if let Err(error) = self.arrived.try_send(arrived) {
            tracing::warn!(%error, "too many reports arrive at once: one is not summarised");
        }
    }

    /// Reads the messages that arrive, until the server stops.
    pub(crate) async fn run(self: Arc<Self>, mut stopping: watch::Receiver<bool>) {
        let Some(mut waiting) = self.waiting.lock().take() else { return };
        let mut purge = Instant::now();
        loop {
            let arrived = tokio::select! {
                arrived = waiting.recv() => arrived,
                () = sleep_until(purge) => None,
                _ = stopping.wait_for(|&stopping| stopping) => return,
            };
            if let Some(arrived) = arrived {
                self.take_in(arrived).await;
                continue;
            }
            if let Err(error) = self.purge().await {
                tracing::error!(%error, "old reports could not be removed");
            }
            purge = Instant::now() + PURGE_EVERY;
        }
    }

    /// Removes old reports, if no other node of the cluster does.
    async fn purge(&self) -> Result<(), StoreError> {
        match self.store.take_duty(DUTY).await? {
            true => self.kept.purge(self.clock.now()).await,
            false => Ok(()),
        }
    }

    async fn take_in(&self, arrived: ArrivedReport) {
        let ArrivedReport { id, octets, sender } = arrived;
        let from = sender.as_deref().unwrap_or("an unknown sender").to_owned();
        let read = match octets > MESSAGE as u64 {
            true => Ok(Err(ReportError::MessageTooLarge)),
            false => self.read(id).await,
        };
        let done = match read {
            Ok(Ok(report)) => self.keep(report, sender.as_deref()).await,
            Ok(Err(error)) => {
                tracing::info!(%id, from, %error, "a report was not read");
                return;
            }
            Err(error) => Err(error),
        };
        match done {
            Ok(None) => tracing::info!(%id, from, "a report was read"),
            Ok(Some(why)) => tracing::info!(%id, from, why, "a report was not kept"),
            Err(error) => tracing::error!(%id, %error, "a report could not be kept"),
        }
    }

    /// Reads a message from the store and the report in it.
    async fn read(&self, id: MailId) -> Result<Result<ReceivedReport, ReportError>, StoreError> {
        let mut message = Vec::new();
        for index in 0.. {
            let Some(chunk) = self.store.chunk(id, index).await? else { break };
            if message.len() + chunk.len() > MESSAGE {
                return Ok(Err(ReportError::MessageTooLarge));
            }
            message.extend_from_slice(&chunk);
        }
        // Unpacking may take some hundred milliseconds.
        let read = spawn_blocking(move || received::read(&message)).await;
        Ok(read.unwrap_or(Err(ReportError::Malformed("reading it failed"))))
    }

    /// Keeps a report. Returns why not, if it is not kept.
    async fn keep(
        &self,
        report: ReceivedReport,
        sender: Option<&str>,
    ) -> Result<Option<&'static str>, StoreError> {
        let now = self.clock.now();
        match report {
            ReceivedReport::Dmarc(report) => {
                let begin = Timestamp::from_second(report.begin).unwrap_or(Timestamp::MIN);
                let end = Timestamp::from_second(report.end).unwrap_or(Timestamp::MAX);
                if let Some(why) = self.is_strange(&report.domain, (begin, end), now).await? {
                    return Ok(Some(why));
                }
                self.kept.keep_dmarc(report, begin, sender).await
            }
            ReceivedReport::Tls(mut report) => {
                let (mut ours, mut why) = (Vec::new(), Some("it is about no domain at all"));
                for policy in std::mem::take(&mut report.policies) {
                    match self.is_strange(&policy.domain, (report.begin, report.end), now).await? {
                        None => ours.push(policy),
                        strange => why = strange,
                    }
                }
                let Some(first) = ours.first() else { return Ok(why) };
                let domain = first.domain.clone();
                report.policies = ours;
                self.kept.keep_tls(report, &domain, sender).await
            }
        }
    }

    /// Returns why a report about a domain and a period cannot be meant for this server, if so.
    async fn is_strange(
        &self,
        domain: &str,
        (begin, end): (Timestamp, Timestamp),
        now: Timestamp,
    ) -> Result<Option<&'static str>, StoreError> {
        if domain.contains('/') || !self.store.is_local(domain).await? {
            return Ok(Some("it is about a domain that is not local"));
        }
        let is_in_time = begin <= end && begin >= now - LATE && end <= now + EARLY;
        Ok((!is_in_time).then_some("its period is not of these days"))
    }

    /// Keeps this server's own report about a domain of this server.
    ///
    /// # Errors
    /// When the store fails.
    pub(crate) async fn keep_own(
        &self,
        report: DmarcReport,
        hostname: &Domain,
    ) -> Result<(), StoreError> {
        let begin = Timestamp::from_second(report.begin).unwrap_or(Timestamp::MIN);
        self.kept.keep_dmarc(report, begin, Some(hostname.as_str())).await?;
        Ok(())
    }
}
