//! The end of a day: its reports are written and queued as mail to the addresses that the domains publish.
//!
//! Reports are mailed to addresses elsewhere only. What was found about a domain of this server needs no mail: it goes
//! straight to the summaries of received reports.

use super::{
    DUTY, DmarcReports,
    day::OfDomain,
    xml::{ReportFacts, ReportWriter, ReportedRow},
};
use crate::deliver::{
    feedback::{FeedbackRow, PassedBy, PublishedPolicy},
    report,
};
use flate2::{Compression, write::GzEncoder};
use posta_mail::Timestamp;
use posta_mime::{
    dmarc_report::DmarcReportMail,
    received::{DmarcReport, DmarcSummaryRow},
};
use posta_origin::{
    dmarc::{self, Alignment, AlignmentChecker, ReportAddress},
    dns::LookupError,
};
use posta_store::StoreError;
use std::{io::Write as _, time::Duration};
use tokio::sync::watch;

/// The maximal number of addresses to which a domain's report goes (RFC 7489 §6.2: at least two).
const PLACES: usize = 4;

/// The duration of a day but for its last second.
const REST_OF_DAY: Duration = Duration::from_secs(24 * 60 * 60 - 1);

/// The addresses to which a report goes.
enum Destinations {
    /// These; none if nobody wants the report.
    Known(Vec<ReportAddress>),
    /// DNS does not say at the moment.
    Unknown,
}

impl DmarcReports {
    /// Sends the reports of a day. Returns whether all are done; others are tried again later.
    ///
    /// # Errors
    /// When the store fails.
    pub(super) async fn report_day(
        &self,
        date: &str,
        stopping: &watch::Receiver<bool>,
    ) -> Result<bool, StoreError> {
        let Ok(begin) = format!("{date}T00:00:00Z").parse() else { return Ok(true) };
        let mut is_done = true;
        for (domain, observed) in self.saved.day(date).await?.domains() {
            // Before each domain, since the day takes a while, and its reports must not go out twice.
            if *stopping.borrow() || !self.reporter.store.take_duty(DUTY).await? {
                return Ok(false);
            }
            let is_empty = observed.rows().next().is_none();
            if is_empty || self.saved.is_sent(date, domain).await? {
                continue;
            }
            let is_ours = self.reporter.store.is_local(domain).await?;
            match self.destinations(domain).await {
                Destinations::Unknown => is_done = false,
                Destinations::Known(to) => {
                    if !to.is_empty() || is_ours {
                        self.send((date, begin), observed, (is_ours, &to)).await?;
                    }
                    self.saved.set_sent(date, domain).await?;
                }
            }
        }
        Ok(is_done)
    }

    /// Returns the addresses at which a domain wants its report, as DNS has them now. Those elsewhere have to
    /// agree (RFC 9990 §4).
    async fn destinations(&self, domain: &str) -> Destinations {
        let record = match dmarc::published(&*self.dns, domain).await {
            Ok(Some(record)) => record,
            Ok(None) => return Destinations::Known(Vec::new()),
            Err(_) => return Destinations::Unknown,
        };
        let mut known: Vec<ReportAddress> = Vec::new();
        for named in record.reports.iter().take(PLACES) {
            let wanted = match dmarc::report_destinations(&*self.dns, domain, named).await {
                Ok(wanted) => wanted,
                Err(LookupError::Nothing) => continue,
                Err(LookupError::Temporary) => return Destinations::Unknown,
            };
            for wanted in wanted {
                if known.len() < PLACES && !known.iter().any(|it| it.address == wanted.address) {
                    known.push(wanted);
                }
            }
        }
        Destinations::Known(known)
    }

    /// Queues the report of a domain, with the null reverse-path, so that no bounce comes back.
    async fn send(
        &self,
        (date, begin): (&str, Timestamp),
        observed: &OfDomain,
        (is_ours, places): (bool, &[ReportAddress]),
    ) -> Result<(), StoreError> {
        let (reporter, domain) = (&self.reporter, observed.policy.domain.as_str());
        let hostname = &reporter.hostname;
        // The same each time, so that a report that is sent twice is recognised (RFC 9990 §3.5.1).
        let id = format!("{date}.{domain}@{hostname}");
        let contact = reporter.postmaster(hostname.as_str()).await?;
        let end = begin + REST_OF_DAY;
        let facts = ReportFacts {
            hostname: hostname.as_str(),
            contact: &contact,
            id: &id,
            begin,
            end,
            policy: &observed.policy,
            unlisted: observed.unlisted,
        };
        let rows = self.rows(observed).await;
        if is_ours {
            self.received.keep_own(summary(facts, &rows), &reporter.hostname).await?;
        }
        let packed = pack(facts, &rows);
        for ReportAddress { address: to, most } in places {
            let resolved = reporter.directory.destination(to).await?;
            if resolved.elsewhere.is_empty() {
                continue;
            }
            let time = reporter.clock.now();
            let mail = DmarcReportMail {
                hostname,
                domain,
                begin,
                end,
                time,
                id: &id,
                from: &contact,
                to,
                packed: &packed,
            };
            let content = mail.write();
            if most.is_some_and(|most| content.len() as u64 > most) {
                tracing::info!(%to, domain, "a DMARC report is larger than its recipient allows");
                continue;
            }
            // RFC 9990 §3.5.2: the mail itself has to pass DMARC.
            let head = reporter.sign(&content, &resolved, time).await;
            let id = reporter.clock.mail_id();
            let report = report::Report { id, time, head, content, to, require_tls: false };
            reporter.store.accept(report::report(report, &resolved)).await?;
        }
        Ok(())
    }

    /// Returns the rows of a domain's report.
    async fn rows<'o>(&self, observed: &'o OfDomain) -> Vec<ReportedRow<'o>> {
        let mut checker = AlignmentChecker::new(&*self.dns);
        let mut rows = Vec::new();
        for (row, count) in observed.rows() {
            let dkim = is_aligned(&mut checker, &observed.policy, row, PassedBy::Dkim).await;
            let spf = is_aligned(&mut checker, &observed.policy, row, PassedBy::Spf).await;
            rows.push(ReportedRow { row, count, dkim, spf });
        }
        rows
    }
}

/// Writes a report and compresses it.
fn pack(facts: ReportFacts<'_>, rows: &[ReportedRow<'_>]) -> Vec<u8> {
    let mut writer = ReportWriter::new(facts);
    rows.iter().for_each(|row| writer.row(*row));
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    // Writing to memory cannot fail.
    let _ = encoder.write_all(writer.finish().as_bytes());
    encoder.finish().unwrap_or_default()
}

/// Returns the summary of a report about a domain of this server.
fn summary(facts: ReportFacts<'_>, rows: &[ReportedRow<'_>]) -> DmarcReport {
    let mut report = DmarcReport {
        reporter: facts.hostname.to_owned(),
        id: facts.id.to_owned(),
        domain: facts.policy.domain.clone(),
        begin: facts.begin.as_second(),
        end: facts.end.as_second(),
        // What no row stands for is mostly forged.
        other_failed: facts.unlisted,
        ..DmarcReport::default()
    };
    for &ReportedRow { row, count, dkim, spf } in rows {
        report.add(DmarcSummaryRow {
            source: row.source,
            dkim,
            spf,
            disposition: row.disposition.as_str().to_owned(),
            count,
        });
    }
    report
}

/// Returns whether a domain that a mechanism authenticated is aligned with the author's. A check of a message ends
/// with the first that is; here each mechanism is told.
async fn is_aligned(
    checker: &mut AlignmentChecker<'_>,
    policy: &PublishedPolicy,
    row: &FeedbackRow,
    mechanism: PassedBy,
) -> bool {
    if row.passed_by == Some(mechanism) {
        return true;
    }
    let passed: Vec<&str> = match mechanism {
        PassedBy::Spf => {
            let spf = row.spf.iter().filter(|(_, result)| result == "pass");
            spf.map(|(domain, _)| domain.as_str()).collect()
        }
        PassedBy::Dkim => {
            let signatures = row.dkim.iter().filter(|(.., result)| result == "pass");
            signatures.map(|(domain, ..)| domain.as_str()).collect()
        }
    };
    let is_strict = match mechanism {
        PassedBy::Spf => policy.strict_spf,
        PassedBy::Dkim => policy.strict_dkim,
    };
    let alignment = if is_strict { Alignment::Strict } else { Alignment::Relaxed };
    for domain in passed {
        // Where DNS does not answer, the mechanism did not make the message pass.
        if let Ok(true) = checker.is_aligned(&row.author, domain, alignment).await {
            return true;
        }
    }
    false
}
