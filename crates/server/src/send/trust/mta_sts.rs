//! MTA-STS: a domain says on the web, where a certificate vouches for it, which servers take its mail
//! and that they do so in TLS (RFC 8461). For domains without DNSSEC; DANE comes before it.

use crate::reports::tls::TlsReports;
use http_body_util::Full;
use hyper::{Request, StatusCode};
use parking_lot::Mutex;
use posta_mail::Timestamp;
use posta_net::{
    clock::Clock,
    https::{HttpsClient, HttpsError},
    tls::failure::TlsFailure,
};
use posta_store::Store;
use serde::{Deserialize, Serialize};
use std::{collections::HashMap, sync::Arc, time::Duration};
use tokio::sync::watch;

/// How long fetching a policy may take (RFC 8461 §3.3: a minute).
const PATIENCE: Duration = Duration::from_secs(60);

/// Octets of a policy at most (RFC 8461 §3.3: 64 KiB).
const POLICY: usize = 64 * 1024;

/// Seconds that a policy may hold at most (RFC 8461 §3.2: about a year).
const LONGEST: u64 = 31_557_600;

/// How long a policy that cannot be fetched is not asked for again.
const RESPITE: Duration = Duration::from_secs(10 * 60);

/// Domains whose policies are remembered, and servers that a policy may name: what strangers publish
/// has to fit into memory.
const REMEMBERED: usize = 10_000;
const SERVERS: usize = 100;

/// The kind of the store's records that hold policies.
const KIND: &str = "mta-sts";

/// What becomes of mail when no server fits the policy (RFC 8461 §5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// It is not sent there.
    Enforce,
    /// It is sent, and the owner hears of it (RFC 8460).
    Testing,
    /// There is no policy any more.
    None,
}

/// A domain's policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// What it asks for.
    pub mode: Mode,
    /// The servers' names; `*.x.test` is any name with one more label.
    pub mx: Vec<String>,
    /// For how many seconds it holds.
    pub max_age: u64,
}

impl Policy {
    /// Reads a policy (RFC 8461 §3.2): none if it is not one.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (mut version, mut mode, mut max_age, mut mx) = (false, None, None, Vec::new());
        for line in text.lines() {
            let Some((key, value)) = line.split_once(':') else { continue };
            match (key.trim(), value.trim()) {
                ("version", value) => version = value == "STSv1",
                ("mode", "enforce") => mode = Some(Mode::Enforce),
                ("mode", "testing") => mode = Some(Mode::Testing),
                ("mode", "none") => mode = Some(Mode::None),
                ("max_age", value) => max_age = value.parse().ok(),
                ("mx", value) => mx.push(value.to_ascii_lowercase()),
                // RFC 8461 §3.2: what is not known is passed over.
                _ => {}
            }
        }
        let (mode, max_age) = (mode?, max_age.filter(|&age| age <= LONGEST)?);
        let is_whole = version && (mode == Mode::None || !mx.is_empty()) && mx.len() <= SERVERS;
        is_whole.then_some(Self { mode, mx, max_age })
    }

    /// The text that is served.
    #[must_use]
    pub fn text(&self) -> String {
        let mode = match self.mode {
            Mode::Enforce => "enforce",
            Mode::Testing => "testing",
            Mode::None => "none",
        };
        let mx: String = self.mx.iter().map(|name| format!("mx: {name}\r\n")).collect();
        format!("version: STSv1\r\nmode: {mode}\r\n{mx}max_age: {}\r\n", self.max_age)
    }

    /// Whether a server is one of the domain's (RFC 8461 §4.1).
    #[must_use]
    pub fn names(&self, host: &str) -> bool {
        self.mx.iter().any(|pattern| match pattern.strip_prefix("*.") {
            Some(domain) => host.split_once('.').is_some_and(|(_, rest)| rest == domain),
            None => pattern == host,
        })
    }
}

/// A policy that was fetched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Fetched {
    /// What the domain's DNS calls it.
    id: String,
    policy: Policy,
    /// Until when it holds.
    until: Timestamp,
}

impl Fetched {
    /// Whether it is time to ask again (RFC 8461 §3.3). Were it asked for only when it no longer
    /// holds, whoever can keep it from being fetched on that day could do without it.
    fn is_old(&self, now: Timestamp) -> bool {
        let left = self.until.duration_since(now).as_secs();
        u64::try_from(left).unwrap_or_default() < self.policy.max_age / 2
    }
}

/// Finds policies, and remembers them for as long as they hold, over restarts too: whoever can keep
/// them from being fetched gains nothing while one is remembered.
pub struct Policies {
    https: HttpsClient,
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    reports: Arc<TlsReports>,
    known: Mutex<HashMap<String, Fetched>>,
    turns: Mutex<Turns>,
}

/// Whose policy is being asked for, or was and is not asked for again for a while.
#[derive(Debug, Default)]
struct Turns(HashMap<String, (Timestamp, watch::Receiver<()>)>);

/// Whose turn it is to ask for a policy.
#[derive(Debug)]
enum Turn {
    /// Ours: it lasts until this is dropped.
    Ours(watch::Sender<()>),
    /// Somebody else's, which lasts until this says so; or nobody's for now, and it says so at once.
    Theirs(watch::Receiver<()>),
}

impl Turns {
    fn take(&mut self, domain: &str, now: Timestamp) -> Turn {
        if let Some((_, asking)) = self.0.get(domain).filter(|(until, _)| *until > now) {
            return Turn::Theirs(asking.clone());
        }
        if self.0.len() > REMEMBERED {
            self.0.retain(|_, (until, _)| *until > now);
        }
        let (ours, asking) = watch::channel(());
        self.0.insert(domain.to_owned(), (now + RESPITE, asking));
        Turn::Ours(ours)
    }
}

impl Policies {
    /// With what is remembered.
    pub(crate) fn new(
        https: HttpsClient,
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        reports: Arc<TlsReports>,
    ) -> Self {
        Self { https, store, clock, reports, known: Mutex::default(), turns: Mutex::default() }
    }

    /// Reads what earlier runs fetched.
    pub async fn recall(&self) {
        let kept = match self.store.kept(KIND).await {
            Ok(kept) => kept,
            Err(error) => {
                tracing::error!(%error, "the MTA-STS policies cannot be read");
                return;
            }
        };
        let read = |(domain, record): (String, Vec<u8>)| {
            serde_json::from_slice(&record).ok().map(|fetched| (domain, fetched))
        };
        self.known.lock().extend(kept.into_iter().filter_map(read));
    }

    /// The policy that holds for a domain; none if it has none.
    pub async fn policy(&self, domain: &str) -> Option<Policy> {
        let now = self.clock.now();
        let known = self.known(domain, now);
        let is_current =
            |id: &String| known.as_ref().is_some_and(|known| known.id == *id && !known.is_old(now));
        // RFC 8461 §3.1: that DNS says nothing any more takes nothing back.
        let wanted = self.id(domain).await.filter(|id| !is_current(id));
        let found = match wanted.map(|id| (id, self.turns.lock().take(domain, now))) {
            Some((id, Turn::Ours(_asking))) => self.fetch(domain, id, now).await.or(known),
            // Mail waits until it is known how it must be sent; what was known before serves till then.
            Some((_, Turn::Theirs(mut asking))) if known.is_none() => {
                let _ = asking.changed().await;
                self.known(domain, now)
            }
            _ => known,
        };
        found.map(|found| found.policy).filter(|policy| policy.mode != Mode::None)
    }

    /// What is remembered of a domain, if it still holds.
    fn known(&self, domain: &str, now: Timestamp) -> Option<Fetched> {
        self.known.lock().get(domain).filter(|known| known.until > now).cloned()
    }

    /// What the domain's DNS calls its policy (RFC 8461 §3.1).
    async fn id(&self, domain: &str) -> Option<String> {
        let texts = self.https.resolver.texts(&format!("_mta-sts.{domain}")).await.ok()?.found;
        let mut records = texts.iter().filter(|text| text.starts_with("v=STSv1"));
        let record = records.next()?;
        // Two are none.
        if records.next().is_some() {
            return None;
        }
        let fields = record.split(';').filter_map(|field| field.split_once('='));
        let id =
            fields.map(|(key, value)| (key.trim(), value.trim())).find(|(key, _)| *key == "id");
        id.map(|(_, id)| id.to_owned()).filter(|id| !id.is_empty() && id.len() <= 32)
    }

    /// Asks for a policy; its owner hears of it if that is in vain.
    async fn fetch(&self, domain: &str, id: String, now: Timestamp) -> Option<Fetched> {
        match self.ask(domain).await {
            Ok(policy) => {
                let until = now + Duration::from_secs(policy.max_age);
                let fetched = Fetched { id, policy, until };
                self.remember(domain, fetched.clone(), now).await;
                Some(fetched)
            }
            Err((failure, why)) => {
                tracing::info!(domain, why, "there is no MTA-STS policy");
                self.reports.count_policy(domain, failure);
                None
            }
        }
    }

    async fn ask(&self, domain: &str) -> Result<Policy, (TlsFailure, String)> {
        let host = format!("mta-sts.{domain}");
        let request = Request::get("/.well-known/mta-sts.txt").header("host", &host);
        let request = request.body(Full::default());
        let request = request.map_err(|why| (TlsFailure::StsPolicyFetchError, why.to_string()))?;
        match self.https.request(&host, request, POLICY, PATIENCE).await {
            // RFC 8461 §3.3: a redirect is not followed.
            Ok(answer) if answer.status == StatusCode::OK && answer.media_type == "text/plain" => {
                let policy = Policy::parse(str::from_utf8(&answer.body).unwrap_or_default());
                policy.ok_or((TlsFailure::StsPolicyInvalid, "what is served is none".to_owned()))
            }
            Ok(answer) => {
                let why = format!("{} {}", answer.status, answer.media_type);
                Err((TlsFailure::StsPolicyFetchError, why))
            }
            Err(why @ HttpsError::Certificate(_)) => {
                Err((TlsFailure::StsWebpkiInvalid, why.to_string()))
            }
            Err(why @ HttpsError::Other(_)) => {
                Err((TlsFailure::StsPolicyFetchError, why.to_string()))
            }
        }
    }

    async fn remember(&self, domain: &str, fetched: Fetched, now: Timestamp) {
        let record = serde_json::to_vec(&fetched).unwrap_or_default();
        let gone: Vec<String> = {
            let mut known = self.known.lock();
            known.insert(domain.to_owned(), fetched);
            self.turns.lock().0.remove(domain);
            // Those whose time is over go, or the one whose time is over next.
            let next = known.values().map(|known| known.until).min().unwrap_or(now);
            match known.len() > REMEMBERED {
                true => known
                    .extract_if(|_, known| known.until <= now.max(next))
                    .map(|(name, _)| name)
                    .collect(),
                false => Vec::new(),
            }
        };
        let changes = gone.into_iter().map(|name| (name, None));
        for (name, record) in changes.chain([(domain.to_owned(), Some(record))]) {
            if let Err(error) = self.store.keep(KIND, &name, record).await {
                tracing::error!(%error, "an MTA-STS policy cannot be remembered");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_asks_and_the_others_wait() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let mut turns = Turns::default();
        let ours = turns.take("y.test", at(0));
        assert!(matches!(ours, Turn::Ours(_)));
        let Turn::Theirs(mut asking) = turns.take("y.test", at(1)) else { panic!("it is ours") };
        assert!(matches!(asking.has_changed(), Ok(false)), "it is being asked for");
        drop(ours);
        assert!(asking.changed().await.is_err(), "whoever waits goes on");
        assert!(matches!(turns.take("y.test", at(599)), Turn::Theirs(_)), "it is not asked again");
        assert!(matches!(turns.take("y.test", at(600)), Turn::Ours(_)));
    }

    #[test]
    fn policies_are_asked_for_again_before_they_end() {
        let policy = Policy { mode: Mode::Enforce, mx: Vec::new(), max_age: 100 };
        let until = Timestamp::from_second(1_100).unwrap();
        let fetched = Fetched { id: "1".to_owned(), policy, until };
        assert!(!fetched.is_old(Timestamp::from_second(1_050).unwrap()));
        assert!(fetched.is_old(Timestamp::from_second(1_051).unwrap()));
    }

    #[test]
    fn policies_are_read() {
        let text = "version: STSv1\r\nmode: enforce\r\nmx: mail.Y.test\nmx: *.y.test\r\n\
                    max_age: 86400\r\nfuture: x\r\n";
        let policy = Policy::parse(text).unwrap();
        assert_eq!((policy.mode, policy.max_age), (Mode::Enforce, 86_400));
        for (host, named) in [
            ("mail.y.test", true),
            ("mx1.y.test", true),
            ("a.b.y.test", false),
            ("y.test", false),
            ("mail.z.test", false),
        ] {
            assert_eq!(policy.names(host), named, "{host}");
        }
        assert_eq!(Policy::parse(&policy.text()), Some(policy));
        for wrong in [
            "",
            "version: STSv2\nmode: enforce\nmx: a\nmax_age: 1\n",
            "version: STSv1\nmode: enforce\nmax_age: 1\n",
            "version: STSv1\nmode: enforce\nmx: a\n",
            "version: STSv1\nmode: perhaps\nmx: a\nmax_age: 1\n",
            "version: STSv1\nmode: enforce\nmx: a\nmax_age: 99999999\n",
        ] {
            assert_eq!(Policy::parse(wrong), None, "{wrong}");
        }
        assert!(Policy::parse("version: STSv1\nmode: none\nmax_age: 1\n").is_some());
    }
}
