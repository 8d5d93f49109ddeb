//! What the received reports of some time say together, for the operator: who sends in a domain's name, and how
//! others reach its servers by TLS.

use super::kept::{self, DMARC, KeptSummary, TLS};
use posta_mail::Timestamp;
use posta_mime::received::{DmarcReport, DmarcSummaryRow, TlsReport};
use posta_store::{Store, StoreError};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, net::IpAddr};

/// The maximal number of sources that are told one by one: those with the most messages.
pub const SOURCES: usize = 100;

/// The maximal number of sources that are counted one by one.
const COUNTED: usize = 20_000;

/// The maximal number of reporters that are named for a source.
const REPORTERS: usize = 3;

/// The maximal number of kinds of TLS failures that are told.
const FAILURES: usize = 200;

/// What passed and failed on a day.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct DayCount {
    /// The date in UTC.
    pub date: String,
    /// The number of messages that passed DMARC, or of TLS sessions that succeeded.
    pub passed: u64,
    /// The number of messages or sessions that failed.
    pub failed: u64,
}

/// The reports that the figures come from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct ReportCount {
    /// The number of reports whose figures are counted.
    pub counted: u64,
    /// The number of reports that are not counted, since it is not shown who sent them.
    pub unverified: u64,
}

/// Messages in a domain's name that came from one address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct SourceCount {
    /// The address.
    pub source: IpAddr,
    /// The name of the address that leads back to it, once that is looked up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The number of messages.
    pub messages: u64,
    /// The number of those that passed DMARC.
    pub passed: u64,
    /// The number of those for which SPF passed and was aligned.
    pub spf: u64,
    /// The number of those with an aligned signature that passed.
    pub dkim: u64,
    /// The number of those that went to folders for junk.
    pub quarantined: u64,
    /// The number of those that were refused.
    pub rejected: u64,
    /// The servers that reported them, the first few.
    pub reporters: Vec<String>,
    /// The number of further reporters.
    pub other_reporters: usize,
}

/// What DMARC reports say.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct DmarcStatistics {
    /// The days that reports are about, in order.
    pub days: Vec<DayCount>,
    /// The sources with the most messages, at most [`SOURCES`].
    pub sources: Vec<SourceCount>,
    /// The number of messages from other sources that passed.
    pub other_passed: u64,
    /// The number of messages from other sources that failed.
    pub other_failed: u64,
    /// The reports.
    pub reports: ReportCount,
}

/// TLS sessions under one kind of policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct TlsPolicyCount {
    /// The domain.
    pub domain: String,
    /// The kind of policy: `tlsa`, `sts` or `no-policy-found`.
    pub kind: String,
    /// The number of sessions that succeeded.
    pub succeeded: u64,
    /// The number of sessions that failed.
    pub failed: u64,
}

/// TLS sessions that failed for one reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct TlsFailureLine {
    /// The domain.
    pub domain: String,
    /// The kind of policy.
    pub kind: String,
    /// The reason, as RFC 8460 §4.3 names it.
    pub reason: String,
    /// The server; empty if that is not told.
    pub server: String,
    /// The number of sessions.
    pub count: u64,
    /// A server that reported it.
    pub reporter: String,
}

/// What TLS reports say.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct TlsStatistics {
    /// The days that reports are about, in order.
    pub days: Vec<DayCount>,
    /// The sessions by domain and policy.
    pub policies: Vec<TlsPolicyCount>,
    /// The failures, the most frequent first.
    pub failures: Vec<TlsFailureLine>,
    /// The reports.
    pub reports: ReportCount,
}

#[derive(Default)]
struct Source {
    count: Option<SourceCount>,
    reporters: BTreeMap<String, ()>,
}

/// Adds up the DMARC reports about some domains since a day.
///
/// # Errors
/// When the store fails.
pub async fn dmarc(
    store: &dyn Store,
    domains: &[String],
    since: Timestamp,
) -> Result<DmarcStatistics, StoreError> {
    let mut statistics = DmarcStatistics::default();
    let (mut days, mut sources) = (Days::default(), BTreeMap::<IpAddr, Source>::new());
    for domain in domains {
        kept::each(store, (DMARC, domain), since, |day, summary: KeptSummary<DmarcReport>| {
            if summary.sender.is_none() {
                statistics.reports.unverified += 1;
                return;
            }
            statistics.reports.counted += 1;
            let report = summary.report;
            days.add(day, report.other_passed, report.other_failed);
            statistics.other_passed += report.other_passed;
            statistics.other_failed += report.other_failed;
            for row in &report.rows {
                let passed = row.dkim || row.spf;
                let (passed, failed) = if passed { (row.count, 0) } else { (0, row.count) };
                days.add(day, passed, failed);
                if sources.len() < COUNTED || sources.contains_key(&row.source) {
                    sources.entry(row.source).or_default().add(row, &report.reporter);
                } else {
                    statistics.other_passed += passed;
                    statistics.other_failed += failed;
                }
            }
        })
        .await?;
    }
    let mut sources: Vec<_> = sources.into_values().filter_map(Source::finish).collect();
    sources.sort_by_key(|source| std::cmp::Reverse(source.messages));
    for source in sources.drain(sources.len().min(SOURCES)..) {
        statistics.other_passed += source.passed;
        statistics.other_failed += source.messages - source.passed;
    }
    statistics.sources = sources;
    statistics.days = days.finish();
    Ok(statistics)
}

impl Source {
    fn add(&mut self, row: &DmarcSummaryRow, reporter: &str) {
        let count = self.count.get_or_insert_with(|| SourceCount {
            source: row.source,
            name: None,
            messages: 0,
            passed: 0,
            spf: 0,
            dkim: 0,
            quarantined: 0,
            rejected: 0,
            reporters: Vec::new(),
            other_reporters: 0,
        });
        let of = |is_so: bool| if is_so { row.count } else { 0 };
        count.messages += row.count;
        count.passed += of(row.dkim || row.spf);
        count.spf += of(row.spf);
        count.dkim += of(row.dkim);
        count.quarantined += of(row.disposition == "quarantine");
        count.rejected += of(row.disposition == "reject");
        if self.reporters.len() < 100 && !self.reporters.contains_key(reporter) {
            self.reporters.insert(reporter.to_owned(), ());
        }
    }

    fn finish(self) -> Option<SourceCount> {
        let mut count = self.count?;
        count.other_reporters = self.reporters.len().saturating_sub(REPORTERS);
        count.reporters = self.reporters.into_keys().take(REPORTERS).collect();
        Some(count)
    }
}

/// Adds up the TLS reports about some domains since a day.
///
/// # Errors
/// When the store fails.
pub async fn tls(
    store: &dyn Store,
    domains: &[String],
    since: Timestamp,
) -> Result<TlsStatistics, StoreError> {
    let mut statistics = TlsStatistics::default();
    let mut days = Days::default();
    let mut policies = BTreeMap::<(String, String), (u64, u64)>::new();
    let mut failures = BTreeMap::<(String, String, String, String), (u64, String)>::new();
    for domain in domains {
        kept::each(store, (TLS, domain), since, |day, summary: KeptSummary<TlsReport>| {
            if summary.sender.is_none() {
                statistics.reports.unverified += 1;
                return;
            }
            statistics.reports.counted += 1;
            let report = summary.report;
            for policy in report.policies {
                days.add(day, policy.succeeded, policy.failed);
                let key = (policy.domain.clone(), policy.kind.clone());
                if policies.len() < FAILURES || policies.contains_key(&key) {
                    let (succeeded, failed) = policies.entry(key).or_default();
                    *succeeded = succeeded.saturating_add(policy.succeeded);
                    *failed = failed.saturating_add(policy.failed);
                }
                for failure in policy.failures {
                    let (domain, kind) = (policy.domain.clone(), policy.kind.clone());
                    let key = (domain, kind, failure.reason, failure.server);
                    if failures.len() < FAILURES || failures.contains_key(&key) {
                        let known = failures.entry(key);
                        let known = known.or_insert_with(|| (0, report.reporter.clone()));
                        known.0 = known.0.saturating_add(failure.count);
                    }
                }
            }
        })
        .await?;
    }
    statistics.days = days.finish();
    let policies = policies.into_iter().map(|((domain, kind), (succeeded, failed))| {
        TlsPolicyCount { domain, kind, succeeded, failed }
    });
    statistics.policies = policies.collect();
    let failures = failures.into_iter();
    statistics.failures = failures
        .map(|((domain, kind, reason, server), (count, reporter))| TlsFailureLine {
            domain,
            kind,
            reason,
            server,
            count,
            reporter,
        })
        .collect();
    statistics.failures.sort_by_key(|failure| std::cmp::Reverse(failure.count));
    Ok(statistics)
}

/// What passed and failed, by date.
#[derive(Default)]
struct Days(BTreeMap<String, (u64, u64)>);

impl Days {
    fn add(&mut self, day: &str, passed: u64, failed: u64) {
        if !self.0.contains_key(day) {
            self.0.insert(day.to_owned(), (0, 0));
        }
        if let Some(count) = self.0.get_mut(day) {
            count.0 = count.0.saturating_add(passed);
            count.1 = count.1.saturating_add(failed);
        }
    }

    fn finish(self) -> Vec<DayCount> {
        let days = self.0.into_iter();
        days.map(|(date, (passed, failed))| DayCount { date, passed, failed }).collect()
    }
}
