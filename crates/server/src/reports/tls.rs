//! TLS reports (RFC 8460). A domain that publishes where to send them gets a report once a day about
//! this server's TLS connections to its mail servers.
//!
//! `send` counts each session here. [`TlsReports::run`] saves the counts, and sends the reports when a
//! day is over.

use crate::{deliver::report, reports::Reporter};
use flate2::{Compression, write::GzEncoder};
use http_body_util::Full;
use hyper::{Request, Uri, body::Bytes};
use parking_lot::Mutex;
use posta_mail::{Address, Domain, Timestamp};
use posta_mime::tls_report::TlsReportMail;
use posta_net::{clock::Clock, https::HttpsClient, tls::failure::TlsFailure};
use posta_store::{Store, StoreError};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::{collections::BTreeMap, io::Write as _, mem, sync::Arc, time::Duration};
use tokio::{sync::watch, time::sleep};

/// The kind of the store's records that hold a day's counts.
const KIND: &str = "tls-report";

/// The kind of the records that say that a domain was sent its report of a day. Whoever goes on for a node that died begins
/// with the domains that have none.
const SENT: &str = "tls-report-sent";

/// Records of what was sent that are removed at once.
const PAGE: usize = 1_000;

/// The duty of sending the reports: of the nodes of a cluster, one sends them.
const DUTY: &str = "tls-reports";

/// The time after the end of a day by which all machines have saved its counts.
const LATE: Duration = Duration::from_secs(15 * 60);

/// How often counts are added to a record anew if other machines change it meanwhile.
const ROUNDS: usize = 16;

/// The interval at which the counts are saved and due reports are sent.
const EVERY: Duration = Duration::from_secs(5 * 60);

/// The maximal number of domains counted in a day.
const DOMAINS: usize = 20_000;

/// The maximal number of servers counted separately for one domain, which could name new ones every
/// minute.
const SERVERS: usize = 50;

/// The maximal number of destinations for one domain's report.
const PLACES: usize = 3;

/// The time within which an upload over HTTPS must succeed.
const PATIENCE: Duration = Duration::from_secs(60);

/// The maximal number of octets in the response to an upload, which is ignored.
const ANSWER: usize = 64 * 1024;

/// The kind of policy that a domain published.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PolicyKind {
    /// DANE.
    Tlsa,
    /// MTA-STS.
    Sts,
    /// None.
    NoPolicyFound,
}

/// The counts of one day's sessions under one policy.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Tally {
    successes: u64,
    /// The number of failures of each kind with each server; the name is empty if the policy itself
    /// failed.
    failures: Vec<(TlsFailure, String, u64)>,
    servers: Vec<String>,
}

/// A day's counts, by domain and policy.
type Day = BTreeMap<String, Vec<(PolicyKind, Tally)>>;

impl Tally {
    fn name_server(&mut self, server: &str) {
        if self.servers.len() < SERVERS && !self.servers.iter().any(|known| known == server) {
            self.servers.push(server.to_owned());
        }
    }

    fn fail(&mut self, failure: TlsFailure, server: &str, times: u64) {
        let known =
            |(why, whose, _): &&mut (TlsFailure, String, u64)| *why == failure && whose == server;
        let is_full = self.failures.len() >= SERVERS;
        match self.failures.iter_mut().find(known) {
            Some((_, _, count)) => *count += times,
            // The limit is reached, so new kinds of failures are not counted.
            None if is_full => {}
            None => self.failures.push((failure, server.to_owned(), times)),
        }
    }

    fn add(&mut self, other: &Self) {
        self.successes += other.successes;
        other.servers.iter().for_each(|server| self.name_server(server));
        for (failure, server, times) in &other.failures {
            self.fail(*failure, server, *times);
        }
    }
}

/// Returns the tally of a domain under a policy; none if there are too many domains.
fn tally<'d>(day: &'d mut Day, domain: &str, kind: PolicyKind) -> Option<&'d mut Tally> {
    if day.len() >= DOMAINS && !day.contains_key(domain) {
        return None;
    }
    let tallies = day.entry(domain.to_owned()).or_default();
    let at = tallies.iter().position(|(other, _)| *other == kind).unwrap_or_else(|| {
        tallies.push((kind, Tally::default()));
        tallies.len() - 1
    });
    tallies.get_mut(at).map(|(_, tally)| tally)
}

/// Adds counts to those of the same day.
fn add(sum: &mut Day, day: &Day) {
    for (domain, tallies) in day {
        for (kind, counted) in tallies {
            if let Some(tally) = tally(sum, domain, *kind) {
                tally.add(counted);
            }
        }
    }
}

/// What has been counted since the counts were last saved.
#[derive(Debug, Default)]
struct Counts {
    /// The date, in UTC. Empty before the first saving.
    date: String,
    day: Day,
}

/// Counts sessions, and sends the reports.
pub struct TlsReports {
    https: HttpsClient,
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    reporter: Reporter,
    hostname: Domain,
    counts: Mutex<Counts>,
}

impl TlsReports {
    pub(crate) fn new(https: HttpsClient, reporter: Reporter) -> Self {
        let (store, clock) = (reporter.store.clone(), reporter.clock.clone());
        let hostname = reporter.hostname.clone();
        Self { https, store, clock, reporter, hostname, counts: Mutex::default() }
    }

    /// Counts a session with a server of a domain: a success, or a failure of TLS.
    pub(crate) fn count(
        &self,
        domain: &str,
        kind: PolicyKind,
        server: &str,
        outcome: Result<(), TlsFailure>,
    ) {
        self.note(domain, kind, Some(server), outcome);
    }

    /// Counts a failure to obtain a domain's MTA-STS policy.
    pub(crate) fn count_policy(&self, domain: &str, failure: TlsFailure) {
        self.note(domain, PolicyKind::Sts, None, Err(failure));
    }

    fn note(
        &self,
        domain: &str,
        kind: PolicyKind,
        server: Option<&str>,
        outcome: Result<(), TlsFailure>,
    ) {
        let mut counts = self.counts.lock();
        let Some(tally) = tally(&mut counts.day, domain, kind) else { return };
        if let Some(server) = server {
            tally.name_server(server);
        }
        match outcome {
            Ok(()) => tally.successes += 1,
            Err(failure) => tally.fail(failure, server.unwrap_or_default(), 1),
        }
    }

    /// Saves the counts from time to time, and sends the reports of each day when it is over, until the
    /// server stops.
    pub async fn run(self: Arc<Self>, mut stopping: watch::Receiver<bool>) {
        loop {
            if let Err(error) = self.save_and_report().await {
                tracing::error!(%error, "the TLS reports cannot be made");
            }
            tokio::select! {
                () = sleep(EVERY) => {}
                _ = stopping.wait_for(|&stopping| stopping) => break,
            }
        }
        if let Err(error) = self.save_and_report().await {
            tracing::error!(%error, "the TLS reports cannot be made");
        }
    }

    /// Saves the counts, and sends the reports of the days that are over.
    async fn save_and_report(&self) -> Result<(), StoreError> {
        let now = self.clock.now();
        self.save(date(now)).await?;
        let being_counted = date(now - LATE);
        for (date, record) in self.store.kept(KIND).await? {
            if date >= being_counted || !self.store.take_duty(DUTY).await? {
                continue;
            }
            let day: Option<Day> = serde_json::from_slice(&record).ok();
            for (domain, tallies) in day.into_iter().flatten() {
                // Before each domain, since the day takes a while, and its reports must not go out twice.
                if !self.store.take_duty(DUTY).await? {
                    return Ok(());
                }
                let name = format!("{date}/{domain}");
                if self.store.kept_one(SENT, &name).await?.is_none()
                    && self.report(&date, &domain, &tallies).await?
                {
                    self.store.keep(SENT, &name, Some(Vec::new())).await?;
                }
            }
            // The counts go first: without them, nothing is sent again. Late ones are looked at in the next round.
            if self.store.keep_if(KIND, &date, Some(record), None).await?.is_none() {
                self.forget_sent(&date).await?;
            }
        }
        Ok(())
    }

    /// Removes what is remembered of the reports of a day.
    async fn forget_sent(&self, date: &str) -> Result<(), StoreError> {
        let prefix = format!("{date}/");
        loop {
            let page = self.store.kept_page(SENT, &prefix, None, PAGE).await?;
            for (name, _) in &page {
                self.store.keep(SENT, name, None).await?;
            }
            if page.len() < PAGE {
                return Ok(());
            }
        }
    }

    /// Adds what has been counted since the last call to the record of its day.
    async fn save(&self, today: String) -> Result<(), StoreError> {
        let (date, day) = {
            let mut counts = self.counts.lock();
            let before = mem::replace(&mut counts.date, today.clone());
            (if before.is_empty() { today } else { before }, mem::take(&mut counts.day))
        };
        let saved = add_to_record(&*self.store, &date, &day).await;
        if saved.is_err() {
            // It is counted on the day of the next try.
            add(&mut self.counts.lock().day, &day);
        }
        saved
    }

    /// Sends a domain the report of a day, if the domain wants one. Returns whether it does.
    async fn report(
        &self,
        date: &str,
        domain: &str,
        tallies: &[(PolicyKind, Tally)],
    ) -> Result<bool, StoreError> {
        let looked_up = self.https.resolver.texts(&format!("_smtp._tls.{domain}")).await;
        let Ok(answer) = looked_up else { return Ok(false) };
        let places = places(&answer.found);
        if places.is_empty() {
            return Ok(false);
        }
        let id = format!("{}@{}", self.clock.mail_id(), self.hostname);
        let contact = self.reporter.postmaster(self.hostname.as_str()).await?;
        let report = self.write(date, domain, tallies, &id, &contact);
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        // Writing to memory cannot fail.
        let _ = encoder.write_all(report.as_bytes());
        let packed = encoder.finish().unwrap_or_default();
        for place in places {
            match place {
                Place::Mail(address) => {
                    self.mail((date, domain), (&contact, &address), &packed, &id).await?
                }
                Place::Web(uri) => self.post(&uri, &packed).await,
            }
        }
        Ok(true)
    }

    /// Returns the report as JSON (RFC 8460 §4.4).
    fn write(
        &self,
        date: &str,
        domain: &str,
        tallies: &[(PolicyKind, Tally)],
        id: &str,
        contact: &str,
    ) -> String {
        let policies: Vec<_> = tallies
            .iter()
            .map(|(kind, tally)| {
                let failures: Vec<_> = tally
                    .failures
                    .iter()
                    .map(|(failure, server, count)| {
                        let (kind, code) = failure.names();
                        let mut details =
                            json!({ "result-type": kind, "failed-session-count": count });
                        if let Some(code) = code {
                            details["failure-reason-code"] = json!(code);
                        }
                        if !server.is_empty() {
                            details["receiving-mx-hostname"] = json!(server);
                        }
                        details
                    })
                    .collect();
                let failed: u64 = tally.failures.iter().map(|(.., count)| count).sum();
                json!({
                    "policy": {
                        "policy-type": kind,
                        "policy-domain": domain,
                        "mx-host": tally.servers,
                    },
                    "summary": {
                        "total-successful-session-count": tally.successes,
                        "total-failure-session-count": failed,
                    },
                    "failure-details": failures,
                })
            })
            .collect();
        json!({
            "organization-name": self.hostname.as_str(),
            "date-range": {
                "start-datetime": format!("{date}T00:00:00Z"),
                "end-datetime": format!("{date}T23:59:59Z"),
            },
            "contact-info": contact,
            "report-id": id,
            "policies": policies,
        })
        .to_string()
    }

    /// Queues a report as mail (RFC 8460 §5.3), with the null reverse-path, so that no bounce comes
    /// back.
    async fn mail(
        &self,
        (date, domain): (&str, &str),
        (from, to): (&str, &Address),
        packed: &[u8],
        id: &str,
    ) -> Result<(), StoreError> {
        let (now, hostname) = (self.clock.now(), &self.hostname);
        let resolved = self.reporter.directory.destination(to).await?;
        if resolved.is_nothing() {
            return Ok(());
        }
        let mail = TlsReportMail { hostname, domain, day: date, time: now, id, from, to, packed };
        let (id, content) = (self.clock.mail_id(), mail.write());
        // RFC 8460 §3: others believe reports that are signed.
        let head = self.reporter.sign(&content, &resolved, now).await;
        let report = report::Report { id, time: now, head, content, to, require_tls: false };
        let acceptance = report::report(report, &resolved);
        self.store.accept(acceptance).await?;
        Ok(())
    }

    /// Uploads a report over HTTPS (RFC 8460 §5.4). A failed upload is not repeated: there is a new
    /// report the next day.
    async fn post(&self, uri: &Uri, packed: &[u8]) {
        let Some(host) = uri.host() else { return };
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        let request = Request::post(path)
            .header("host", host)
            .header("content-type", "application/tlsrpt+gzip")
            .body(Full::new(Bytes::copy_from_slice(packed)));
        let Ok(request) = request else { return };
        match self.https.request(host, request, ANSWER, PATIENCE).await {
            Ok(answer) if answer.status.is_success() => {}
            Ok(answer) => {
                tracing::info!(host, status = %answer.status, "a TLS report was not accepted")
            }
            Err(error) => tracing::info!(host, %error, "a TLS report could not be uploaded"),
        }
    }
}

/// Adds counts to the record of a day, to which other machines may add theirs at the same moment.
async fn add_to_record(store: &dyn Store, date: &str, day: &Day) -> Result<(), StoreError> {
    if day.is_empty() {
        return Ok(());
    }
    let mut there = store.kept_one(KIND, date).await?;
    for _ in 0..ROUNDS {
        let sum = there.as_deref().and_then(|record| serde_json::from_slice(record).ok());
        let mut sum: Day = sum.unwrap_or_default();
        add(&mut sum, day);
        let ours = Some(serde_json::to_vec(&sum).unwrap_or_default());
        let now = store.keep_if(KIND, date, there, ours.clone()).await?;
        if now == ours {
            return Ok(());
        }
        there = now;
    }
    Err(StoreError::Failed("other machines change the counts of the TLS reports".to_owned()))
}

/// A destination of a domain's reports.
#[derive(Debug, PartialEq, Eq)]
enum Place {
    Mail(Address),
    Web(Uri),
}

/// Parses the destinations of a domain's reports (RFC 8460 §3); none unless there is exactly one record.
fn places(texts: &[String]) -> Vec<Place> {
    let mut records = texts.iter().filter(|text| text.starts_with("v=TLSRPTv1"));
    let (Some(record), None) = (records.next(), records.next()) else { return Vec::new() };
    let fields = record.split(';').filter_map(|field| field.trim().split_once('='));
    let Some((_, named)) = fields.into_iter().find(|(key, _)| key.trim() == "rua") else {
        return Vec::new();
    };
    let place = |text: &str| match text.trim().split_once(':')? {
        ("mailto", address) => address.parse().ok().map(Place::Mail),
        ("https", _) => text.trim().parse().ok().map(Place::Web),
        _ => None,
    };
    named.split(',').filter_map(place).take(PLACES).collect()
}

/// Returns the date in UTC, since a report covers a day in UTC (RFC 8460 §4.1).
fn date(now: Timestamp) -> String {
    now.to_string().chars().take("2026-01-01".len()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use posta_store::{MemoryStore, Records as _};

    /// Two machines with one store count the same day: neither overwrites what the other has counted.
    #[tokio::test]
    async fn machines_add_their_counts() {
        let store = MemoryStore::new();
        let counted = |server: &str| {
            let mut day = Day::new();
            let tally = tally(&mut day, "y.test", PolicyKind::Sts).unwrap();
            tally.successes = 2;
            tally.name_server(server);
            tally.fail(TlsFailure::CertificateExpired, "mx1.y.test", 1);
            day
        };
        let at = Timestamp::from_second(1_700_000_000).unwrap();
        let today = date(at);
        for server in ["mx1.y.test", "mx2.y.test"] {
            add_to_record(&store, &today, &counted(server)).await.unwrap();
        }
        let record = store.kept_one(KIND, &today).await.unwrap().unwrap();
        let day: Day = serde_json::from_slice(&record).unwrap();
        let sum = Tally {
            successes: 4,
            failures: vec![(TlsFailure::CertificateExpired, "mx1.y.test".to_owned(), 2)],
            servers: vec!["mx1.y.test".to_owned(), "mx2.y.test".to_owned()],
        };
        assert_eq!(day["y.test"], [(PolicyKind::Sts, sum)]);
    }

    #[test]
    fn failures_have_the_names_that_reports_know() {
        let named = |failure: TlsFailure| {
            let (kind, code) = failure.names();
            (serde_json::to_value(kind).unwrap(), code)
        };
        assert_eq!(named(TlsFailure::CertificateExpired), (json!("certificate-expired"), None));
        for (failure, code) in [
            (TlsFailure::CertificateNotTrusted, "unknown-authority"),
            (TlsFailure::CertificateSelfSigned, "self-signed"),
            (TlsFailure::CertificateOfAuthority, "ca-certificate-as-server"),
        ] {
            assert_eq!(named(failure), (json!("certificate-not-trusted"), Some(code)));
        }
    }

    #[test]
    fn places_are_read() {
        let one = |text: &str| places(&[text.to_owned()]);
        assert_eq!(
            one("v=TLSRPTv1; rua=mailto:tls@y.test,https://y.test/report"),
            [
                Place::Mail("tls@y.test".parse().unwrap()),
                Place::Web("https://y.test/report".parse().unwrap())
            ]
        );
        for nothing in ["v=TLSRPTv1", "v=TLSRPTv1; rua=ftp:x", "rua=mailto:a@b.test", ""] {
            assert_eq!(one(nothing), []);
        }
        let twice = vec!["v=TLSRPTv1; rua=mailto:a@b.test".to_owned(); 2];
        assert_eq!(places(&twice), []);
    }
}
