//! What the server counts of its own work while it runs: messages, refusals, logins, sessions, attempts to send.
//!
//! `assembly` makes one [`Metrics`] and hands it to whoever counts. Counting is an atomic addition or two, without a
//! lock, except for destinations and the latest refusals. Nothing that a stranger sends becomes a label, so the number
//! of values is fixed. `admin/looking` exports them, and `posta top` shows them.
//!
//! The counters and the text format are our own. prometheus-client takes a lock and a hash for each labelled count, and
//! the recorder of metrics is global state; what is used of either is the two hundred lines of this folder.

pub mod definitions;
mod destinations;
mod text;

pub use destinations::DestinationFigures;
pub use text::MEDIA_TYPE;
pub(crate) use text::MetricsText;

use definitions as metric;
use destinations::Destinations;
use parking_lot::Mutex;
use posta_mail::{ClientAddress, Reply, Timestamp};
use posta_store::{Counter, Histogram, HistogramFigures, MICROSECONDS};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

/// The maximal number of refusals that are kept for `posta top`.
const RECENT: usize = 20;

/// The maximal number of characters of a refused command or a reply that are kept.
const WORDS: usize = 120;

/// The microseconds in a second.
const SECOND: f64 = 1e6;

/// The protocols whose sessions are counted.
pub(crate) const PROTOCOLS: [&str; 6] = ["smtp", "submission", "lmtp", "pop3", "https", "http"];

/// The protocols by which messages arrive.
const ARRIVING: [&str; 4] = ["smtp", "submission", "lmtp", "collected"];

/// The outcomes of a login.
const LOGINS: [&str; 3] = ["ok", "failed", "locked"];

/// The reasons for refusals: the subjects of status codes (RFC 3463 §3), from 1.
const REASONS: [&str; 8] =
    ["other", "address", "mailbox", "system", "network", "protocol", "content", "policy"];

/// The methods of checking an origin, and their results.
const METHODS: [&str; 4] = ["spf", "dkim", "dmarc", "arc"];
const RESULTS: [&str; 8] =
    ["pass", "fail", "softfail", "neutral", "policy", "none", "temperror", "permerror"];

/// The outcome of a login, for counting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LoginCount {
    /// The client logged in.
    Ok,
    /// The name, password or token was wrong.
    Failed,
    /// The client or the name was locked out.
    Locked,
}

/// The number of recipients by outcome.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Outcomes {
    /// Another server accepted the message.
    pub delivered: u64,
    /// The message is tried again later.
    pub deferred: u64,
    /// The message will not be tried again.
    pub failed: u64,
}

impl Outcomes {
    fn add(&mut self, other: Self) {
        self.delivered += other.delivered;
        self.deferred += other.deferred;
        self.failed += other.failed;
    }

    fn each(self) -> [(&'static str, u64); 3] {
        [("delivered", self.delivered), ("deferred", self.deferred), ("failed", self.failed)]
    }
}

/// A refusal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct RecentRefusal {
    /// The time.
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub time: Timestamp,
    /// The client's address.
    pub client: String,
    /// The command that was refused, or the message.
    pub about: String,
    /// The reply.
    pub reply: String,
}

/// A message that was accepted, as far as it is counted.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct AcceptedCount {
    /// The number of octets.
    pub(crate) octets: u64,
    /// The number of mailboxes that got it in their inbox, and in Junk.
    pub(crate) inbox: usize,
    pub(crate) junk: usize,
    /// The number of items that it put into the queue.
    pub(crate) queued: usize,
}

/// The counts.
#[derive(Debug)]
pub struct Metrics {
    sessions: [AtomicU64; PROTOCOLS.len()],
    sessions_begun: [Counter; PROTOCOLS.len()],
    sessions_turned_away: Counter,
    logins: [Counter; LOGINS.len()],
    accepted: [Counter; ARRIVING.len()],
    accepted_octets: [Counter; ARRIVING.len() - 1],
    delivered: [Counter; 2],
    queued: Counter,
    /// By reason; for now, and for good.
    refusals: [[Counter; 2]; REASONS.len()],
    checks: [[Counter; RESULTS.len()]; METHODS.len()],
    accept: Histogram,
    queue_wait: Histogram,
    attempt: Histogram,
    sent: [Counter; 3],
    destinations: Destinations,
    retrieved: Counter,
    removed: Counter,
    recent_refusals: Mutex<VecDeque<RecentRefusal>>,
}

/// Bounds, in microseconds, for times in the queue, from a tenth of a second to five days.
const WAITS: &[u64] = &[
    100_000,
    500_000,
    1_000_000,
    5_000_000,
    15_000_000,
    60_000_000,
    300_000_000,
    900_000_000,
    3_600_000_000,
    14_400_000_000,
    86_400_000_000,
    432_000_000_000,
];

impl Default for Metrics {
    fn default() -> Self {
        Self {
            sessions: Default::default(),
            sessions_begun: Default::default(),
            sessions_turned_away: Counter::default(),
            logins: Default::default(),
            accepted: Default::default(),
            accepted_octets: Default::default(),
            delivered: Default::default(),
            queued: Counter::default(),
            refusals: Default::default(),
            checks: Default::default(),
            accept: Histogram::new(MICROSECONDS),
            queue_wait: Histogram::new(WAITS),
            attempt: Histogram::new(MICROSECONDS),
            sent: Default::default(),
            destinations: Destinations::default(),
            retrieved: Counter::default(),
            removed: Counter::default(),
            recent_refusals: Mutex::default(),
        }
    }
}

/// A session that is counted as open until this value is dropped.
#[derive(Debug)]
pub(crate) struct OpenSession {
    metrics: Arc<Metrics>,
    protocol: usize,
}

impl Drop for OpenSession {
    fn drop(&mut self) {
        self.metrics.sessions[self.protocol].fetch_sub(1, Ordering::Relaxed);
    }
}

impl Metrics {
    /// Counts a session of one of [`PROTOCOLS`].
    pub(crate) fn session(self: &Arc<Self>, protocol: &str) -> OpenSession {
        let protocol = position(&PROTOCOLS, protocol);
        self.sessions[protocol].fetch_add(1, Ordering::Relaxed);
        self.sessions_begun[protocol].add(1);
        OpenSession { metrics: self.clone(), protocol }
    }

    /// Returns the number of open sessions.
    pub(crate) fn open_sessions(&self) -> u64 {
        self.sessions.iter().map(|open| open.load(Ordering::Relaxed)).sum()
    }

    /// Counts a connection that was turned away.
    pub(crate) fn turned_away(&self) {
        self.sessions_turned_away.add(1);
    }

    /// Counts an attempt to log in.
    pub(crate) fn login(&self, outcome: LoginCount) {
        self.logins[outcome as usize].add(1);
    }

    /// Counts a message that was accepted by SMTP, submission or LMTP, which took so long after the end of its data.
    pub(crate) fn accepted(&self, protocol: &str, message: AcceptedCount, took: Duration) {
        let protocol = position(&ARRIVING, protocol);
        self.accepted[protocol].add(1);
        if let Some(octets) = self.accepted_octets.get(protocol) {
            octets.add(message.octets);
        }
        self.delivered[0].add(message.inbox as u64);
        self.delivered[1].add(message.junk as u64);
        self.queued.add(message.queued as u64);
        self.accept.observe(micros(took));
    }

    /// Counts messages that were collected from elsewhere.
    pub(crate) fn collected(&self, messages: u64) {
        self.accepted[ARRIVING.len() - 1].add(messages);
        self.delivered[0].add(messages);
    }

    /// Counts a refusal by this server, and keeps it among the latest.
    pub(crate) fn refused(
        &self,
        time: Timestamp,
        client: ClientAddress,
        about: &str,
        reply: &Reply,
    ) {
        let subject = reply.status.map_or(0, |status| usize::from(status.subject));
        let reason = if subject < REASONS.len() { subject } else { 0 };
        self.refusals[reason][usize::from(reply.code.is_permanent())].add(1);
        let client = client.ip().map_or_else(|| client.to_string(), |ip| ip.to_string());
        let (about, reply) =
            (beginning(about).to_owned(), beginning(&reply.to_string()).to_owned());
        let mut recent = self.recent_refusals.lock();
        if recent.len() >= RECENT {
            recent.pop_front();
        }
        recent.push_back(RecentRefusal { time, client, about, reply });
    }

    /// Counts the result of checking an origin, by the words of RFC 8601.
    pub(crate) fn checked(&self, method: &str, result: &str) {
        self.checks[position(&METHODS, method)][position(&RESULTS, result)].add(1);
    }

    /// Counts an attempt to send to a domain; `waited` is the time since the message was accepted.
    pub(crate) fn attempted(
        &self,
        domain: &str,
        outcomes: Outcomes,
        took: Duration,
        waited: Duration,
    ) {
        self.attempt.observe(micros(took));
        for ((_, count), counter) in outcomes.each().into_iter().zip(&self.sent) {
            counter.add(count);
        }
        for _ in 0..outcomes.delivered {
            self.queue_wait.observe(micros(waited));
        }
        self.destinations.count(domain, outcomes, took);
    }

    /// Counts what a POP3 session did.
    pub(crate) fn maildrop(&self, retrieved: u64, removed: u64) {
        self.retrieved.add(retrieved);
        self.removed.add(removed);
    }

    /// Returns the counts at this moment.
    pub(crate) fn figures(&self) -> CountedFigures {
        let sessions = PROTOCOLS
            .iter()
            .zip(&self.sessions)
            .map(|(protocol, open)| ((*protocol).to_owned(), open.load(Ordering::Relaxed)));
        let refusals =
            REASONS.iter().zip(&self.refusals).map(|(reason, [temporary, permanent])| {
                ((*reason).to_owned(), temporary.get() + permanent.get())
            });
        let [ok, failed, locked] = self.logins.each_ref().map(Counter::get);
        let (mut destinations, others) = self.destinations.read();
        if others.attempts > 0 {
            destinations.push(("other".to_owned(), others));
        }
        let [delivered, deferred, failed_recipients] = self.sent.each_ref().map(Counter::get);
        CountedFigures {
            accepted: self.accepted.iter().map(Counter::get).sum(),
            accepted_octets: self.accepted_octets.iter().map(Counter::get).sum(),
            deliveries: self.delivered.iter().map(Counter::get).sum(),
            queued: self.queued.get(),
            sent: Outcomes { delivered, deferred, failed: failed_recipients },
            refusals: refusals.collect(),
            sessions: sessions.collect(),
            logins: LoginFigures { ok, failed, locked },
            retrieved: self.retrieved.get(),
            accept: self.accept.read(),
            destinations: destinations
                .into_iter()
                .map(|(destination, figures)| NamedDestination { destination, figures })
                .collect(),
            recent_refusals: self.recent_refusals.lock().iter().rev().cloned().collect(),
        }
    }

    /// Writes the counts of sessions, logins and messages.
    pub(crate) fn write(&self, text: &mut MetricsText) {
        for (protocol, open) in PROTOCOLS.iter().zip(&self.sessions) {
            text.value(&metric::SESSIONS, &[("protocol", protocol)], open.load(Ordering::Relaxed));
        }
        each(text, &metric::SESSIONS_BEGUN, "protocol", &PROTOCOLS, &self.sessions_begun);
        text.value(&metric::SESSIONS_CROWDED, &[], self.sessions_turned_away.get());
        each(text, &metric::LOGINS, "result", &LOGINS, &self.logins);
        each(text, &metric::ACCEPTED, "protocol", &ARRIVING, &self.accepted);
        each(text, &metric::ACCEPTED_BYTES, "protocol", &ARRIVING, &self.accepted_octets);
        each(text, &metric::DELIVERED, "folder", &["inbox", "junk"], &self.delivered);
        text.value(&metric::QUEUED, &[], self.queued.get());
        for (reason, counters) in REASONS.iter().zip(&self.refusals) {
            for (permanent, counter) in ["false", "true"].iter().zip(counters) {
                let labels = [("reason", *reason), ("permanent", *permanent)];
                text.value(&metric::REFUSALS, &labels, counter.get());
            }
        }
        for (method, counters) in METHODS.iter().zip(&self.checks) {
            for (result, counter) in RESULTS.iter().zip(counters) {
                let labels = [("method", *method), ("result", *result)];
                text.value(&metric::CHECKS, &labels, counter.get());
            }
        }
        text.histogram(&metric::ACCEPT_SECONDS, &self.accept.read(), SECOND);
        text.value(&metric::RETRIEVED, &[], self.retrieved.get());
        text.value(&metric::REMOVED, &[], self.removed.get());
        self.write_sent(text);
    }

    fn write_sent(&self, text: &mut MetricsText) {
        text.histogram(&metric::QUEUE_SECONDS, &self.queue_wait.read(), SECOND);
        text.histogram(&metric::ATTEMPT_SECONDS, &self.attempt.read(), SECOND);
        let outcomes = ["delivered", "deferred", "failed"];
        each(text, &metric::SENT, "outcome", &outcomes, &self.sent);
        let (mut destinations, others) = self.destinations.read();
        destinations.push(("other".to_owned(), others));
        for (destination, figures) in &destinations {
            for (outcome, count) in figures.outcomes.each() {
                let labels = [("destination", destination.as_str()), ("outcome", outcome)];
                text.value(&metric::DESTINATION_SENT, &labels, count);
            }
        }
        for (destination, DestinationFigures { attempts, micros, .. }) in &destinations {
            let observed = (*attempts, *micros as f64 / SECOND);
            text.summary(&metric::DESTINATION_SECONDS, &[("destination", destination)], observed);
        }
    }
}

/// The counts of a server at one moment, since its start.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct CountedFigures {
    /// The number of messages accepted.
    pub accepted: u64,
    /// Their octets.
    pub accepted_octets: u64,
    /// The number of copies put into mailboxes.
    pub deliveries: u64,
    /// The number of items that arriving messages put into the queue.
    pub queued: u64,
    /// The number of recipients elsewhere, by outcome of the attempts.
    pub sent: Outcomes,
    /// The number of refusals, by reason.
    pub refusals: Vec<(String, u64)>,
    /// The number of open sessions, by protocol.
    pub sessions: Vec<(String, u64)>,
    /// The number of logins.
    pub logins: LoginFigures,
    /// The number of messages that POP3 clients retrieved.
    pub retrieved: u64,
    /// The time from the end of the data to the acceptance, in microseconds.
    pub accept: HistogramFigures,
    /// The busiest destinations, the busiest first.
    pub destinations: Vec<NamedDestination>,
    /// The latest refusals, the latest first.
    pub recent_refusals: Vec<RecentRefusal>,
}

/// The number of logins, by outcome.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct LoginFigures {
    /// Logins that succeeded.
    pub ok: u64,
    /// Logins with a wrong name, password or token.
    pub failed: u64,
    /// Logins refused during a lock-out.
    pub locked: u64,
}

/// A destination and its counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NamedDestination {
    /// The domain, or `other`.
    pub destination: String,
    /// The counts.
    #[serde(flatten)]
    pub figures: DestinationFigures,
}

/// Writes the values of a metric with one label.
fn each(
    text: &mut MetricsText,
    metric: &definitions::Definition,
    label: &str,
    values: &[&str],
    counters: &[Counter],
) {
    for (value, counter) in values.iter().zip(counters) {
        text.value(metric, &[(label, value)], counter.get());
    }
}

/// Returns the place of a word that is one of `words`.
fn position(words: &[&str], word: &str) -> usize {
    let found = words.iter().position(|known| *known == word);
    debug_assert!(found.is_some(), "{word} is not counted");
    found.unwrap_or_default()
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

fn beginning(words: &str) -> &str {
    words.char_indices().nth(WORDS).map_or(words, |(end, _)| &words[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_counted_by_the_subject_of_their_code() {
        let metrics = Metrics::default();
        let client = "192.0.2.1".parse::<std::net::IpAddr>().unwrap().into();
        for (code, status) in [
            (550, (5, 1, 1)),
            (550, (5, 7, 1)),
            (450, (4, 7, 1)),
            (452, (4, 2, 2)),
            (550, (5, 9, 0)),
        ] {
            let long = "x".repeat(1_000);
            metrics.refused(Timestamp::UNIX_EPOCH, client, &long, &Reply::new(code, status, "No"));
        }
        let figures = metrics.figures();
        let counted: Vec<_> = figures.refusals.iter().map(|(_, count)| *count).collect();
        assert_eq!(counted, [1, 1, 1, 0, 0, 0, 0, 2]);
        assert_eq!(figures.recent_refusals.len(), 5);
        assert!(figures.recent_refusals.iter().all(|refusal| refusal.about.len() == WORDS));
        for _ in 0..RECENT {
            metrics.refused(Timestamp::UNIX_EPOCH, client, "", &Reply::new(550, (5, 1, 1), "No"));
        }
        assert_eq!(metrics.figures().recent_refusals.len(), RECENT);
    }

    #[test]
    fn sessions_are_open_until_they_end() {
        let metrics = Arc::new(Metrics::default());
        let open = |metrics: &Metrics| metrics.figures().sessions[3].1;
        let session = metrics.session("pop3");
        assert_eq!(open(&metrics), 1);
        drop(session);
        assert_eq!((open(&metrics), metrics.sessions_begun[3].get()), (0, 1));
    }
}
