//! MTA-STS (RFC 8461): a domain publishes on the web, secured by a certificate, which servers accept its
//! mail, and that they do so over TLS. It serves domains without DNSSEC; DANE takes precedence.
//!
//! `protection` asks for the policy of each destination; `web` serves this server's own.

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
use posta_store::{Store, StoreError};
use serde::{Deserialize, Serialize};
use std::{collections::HashMap, sync::Arc, time::Duration};
use tokio::sync::watch;

/// The time within which a policy must be fetched (RFC 8461 §3.3: a minute).
const PATIENCE: Duration = Duration::from_secs(60);

/// The maximal number of octets in a policy (RFC 8461 §3.3: 64 KiB).
const POLICY: usize = 64 * 1024;

/// The maximal number of seconds for which a policy may be valid (RFC 8461 §3.2: about a year).
pub const LONGEST: u64 = 31_557_600;

/// The time after a failure during which a policy is not fetched again.
const RESPITE: Duration = Duration::from_secs(10 * 60);

/// The maximal number of domains whose policies are remembered: strangers decide how many there are.
const REMEMBERED: usize = 10_000;

/// The maximal number of servers in a policy.
const SERVERS: usize = 100;

/// How often a policy is stored anew if other machines store one for the same domain meanwhile.
const ROUNDS: usize = 4;

/// The kind of the store's records that hold policies.
const KIND: &str = "mta-sts";

/// The treatment of mail when a server does not satisfy the policy (RFC 8461 §5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// The mail is not sent there.
    Enforce,
    /// The mail is sent, and the domain's owner gets a TLS report (RFC 8460).
    Testing,
    /// The policy has been withdrawn.
    None,
}

/// A domain's policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// The strictness with which the policy is applied.
    pub mode: Mode,
    /// The servers' names, in lower case; `*.x.test` is any name with one more label.
    pub mx: Vec<String>,
    /// The number of seconds for which the policy is valid.
    pub max_age: u64,
}

impl Policy {
    /// Parses a policy (RFC 8461 §3.2); `None` if it is malformed.
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
                // RFC 8461 §3.2: unknown fields are ignored.
                _ => {}
            }
        }
        let (mode, max_age) = (mode?, max_age.filter(|&age| age <= LONGEST)?);
        let is_whole = version && (mode == Mode::None || !mx.is_empty()) && mx.len() <= SERVERS;
        is_whole.then_some(Self { mode, mx, max_age })
    }

    /// Returns the text of the policy, as it is served.
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

    /// Returns whether the policy names this server (RFC 8461 §4.1).
    #[must_use]
    pub fn names(&self, host: &str) -> bool {
        self.mx.iter().any(|pattern| match pattern.strip_prefix("*.") {
            Some(domain) => host.split_once('.').is_some_and(|(_, rest)| rest == domain),
            None => pattern == host,
        })
    }
}

/// A fetched policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Fetched {
    /// The policy's id in the domain's DNS.
    id: String,
    policy: Policy,
    /// The time until which the policy is valid.
    until: Timestamp,
}

impl Fetched {
    /// Returns the time at which the policy was fetched.
    fn fetched(&self) -> Timestamp {
        let valid = Duration::from_secs(self.policy.max_age);
        self.until.checked_sub(valid).unwrap_or(Timestamp::MIN)
    }

    /// Returns whether it is time to fetch the policy again (RFC 8461 §3.3): after half of its time. If
    /// it were fetched only after it has expired, an attacker could get rid of it by blocking that one
    /// request.
    fn is_old(&self, now: Timestamp) -> bool {
        let left = self.until.duration_since(now).as_secs();
        u64::try_from(left).unwrap_or_default() < self.policy.max_age / 2
    }
}

/// Fetches policies and remembers them as long as they are valid, even across restarts. While a policy
/// is remembered, blocking the requests gains an attacker nothing.
pub struct Policies {
    https: HttpsClient,
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    reports: Arc<TlsReports>,
    known: Mutex<HashMap<String, Fetched>>,
    turns: Mutex<Turns>,
}

/// The domains whose policy is being fetched, or was fetched a short time ago and is not fetched again
/// yet.
#[derive(Debug, Default)]
struct Turns(HashMap<String, (Timestamp, watch::Receiver<()>)>);

/// The caller that fetches a policy.
#[derive(Debug)]
enum Turn {
    /// This one. Others wait until the sender is dropped.
    Ours(watch::Sender<()>),
    /// Another one, until its sender is dropped. If it has been dropped, no caller fetches for now.
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
    /// Returns an empty memory: see [`Self::recall`].
    pub(crate) fn new(
        https: HttpsClient,
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        reports: Arc<TlsReports>,
    ) -> Self {
        Self { https, store, clock, reports, known: Mutex::default(), turns: Mutex::default() }
    }

    /// Reads from the store the policies that earlier runs fetched.
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

    /// Returns a domain's valid policy, and fetches it if necessary; `None` if the domain has none.
    pub async fn policy(&self, domain: &str) -> Option<Policy> {
        let now = self.clock.now();
        let known = self.known(domain, now);
        let is_current =
            |id: &String| known.as_ref().is_some_and(|known| known.id == *id && !known.is_old(now));
        // RFC 8461 §3.1: a policy stays valid even if its DNS record disappears.
        let wanted = self.id(domain).await.filter(|id| !is_current(id));
        let found = match wanted.map(|id| (id, self.turns.lock().take(domain, now))) {
            Some((id, Turn::Ours(_asking))) => self.fetch(domain, id, now).await.or(known),
            // Without a policy that is still valid, mail waits until another caller has fetched it.
            Some((_, Turn::Theirs(mut asking))) if known.is_none() => {
                let _ = asking.changed().await;
                self.known(domain, now)
            }
            _ => known,
        };
        found.map(|found| found.policy).filter(|policy| policy.mode != Mode::None)
    }

    /// Returns the remembered policy of a domain, if it is still valid.
    fn known(&self, domain: &str, now: Timestamp) -> Option<Fetched> {
        self.known.lock().get(domain).filter(|known| known.until > now).cloned()
    }

    /// Looks up the id of the domain's current policy (RFC 8461 §3.1).
    async fn id(&self, domain: &str) -> Option<String> {
        let texts = self.https.resolver.texts(&format!("_mta-sts.{domain}")).await.ok()?.found;
        let mut records = texts.iter().filter(|text| text.starts_with("v=STSv1"));
        let record = records.next()?;
        // RFC 8461 §3.1: several records count as none.
        if records.next().is_some() {
            return None;
        }
        let fields = record.split(';').filter_map(|field| field.split_once('='));
        let id =
            fields.map(|(key, value)| (key.trim(), value.trim())).find(|(key, _)| *key == "id");
        id.map(|(_, id)| id.to_owned()).filter(|id| !id.is_empty() && id.len() <= 32)
    }

    /// Fetches a policy and remembers it. A failure is counted for the TLS report to the owner.
    async fn fetch(&self, domain: &str, id: String, now: Timestamp) -> Option<Fetched> {
        match fetch(&self.https, domain).await {
            Ok(policy) => {
                let until = now + Duration::from_secs(policy.max_age);
                let fetched = Fetched { id, policy, until };
                self.remember(domain, fetched.clone(), now).await;
                Some(fetched)
            }
            Err((failure, why)) => {
                tracing::info!(domain, why, "the MTA-STS policy cannot be fetched");
                self.reports.count_policy(domain, failure);
                None
            }
        }
    }

    async fn remember(&self, domain: &str, fetched: Fetched, now: Timestamp) {
        let gone: Vec<(String, Fetched)> = {
            let mut known = self.known.lock();
            known.insert(domain.to_owned(), fetched.clone());
            self.turns.lock().0.remove(domain);
            // If there are too many, those that have expired are removed, otherwise the one that expires
            // next.
            let next = known.values().map(|known| known.until).min().unwrap_or(now);
            match known.len() > REMEMBERED {
                true => known.extract_if(|_, known| known.until <= now.max(next)).collect(),
                false => Vec::new(),
            }
        };
        let mut kept = keep_newer(&*self.store, domain, &fetched).await;
        for (name, forgotten) in gone {
            // Another machine's record, which is not the expected one, stays.
            let forgotten = Some(record(&forgotten));
            kept = kept.and(self.store.keep_if(KIND, &name, forgotten, None).await.map(drop));
        }
        if let Err(error) = kept {
            tracing::error!(%error, "an MTA-STS policy cannot be remembered");
        }
    }
}

/// Stores a policy, unless another machine has stored one that was fetched later.
async fn keep_newer(store: &dyn Store, domain: &str, fetched: &Fetched) -> Result<(), StoreError> {
    let mut there = store.kept_one(KIND, domain).await?;
    for _ in 0..ROUNDS {
        let other = there.as_deref().and_then(|there| serde_json::from_slice(there).ok());
        if other.is_some_and(|other: Fetched| other.fetched() > fetched.fetched()) {
            return Ok(());
        }
        let ours = Some(record(fetched));
        let now = store.keep_if(KIND, domain, there, ours.clone()).await?;
        if now == ours {
            return Ok(());
        }
        there = now;
    }
    // The others are at it: theirs is as good.
    Ok(())
}

/// Returns the record of a policy in the store.
fn record(fetched: &Fetched) -> Vec<u8> {
    serde_json::to_vec(fetched).unwrap_or_default()
}

/// Fetches a domain's policy from its host, whether DNS says that there is one or not.
///
/// # Errors
/// Tells how the failure is named in TLS reports, and why there is no policy, in words.
pub async fn fetch(https: &HttpsClient, domain: &str) -> Result<Policy, (TlsFailure, String)> {
    let host = format!("mta-sts.{domain}");
    let request = Request::get("/.well-known/mta-sts.txt").header("host", &host);
    let request = request.body(Full::default());
    let request = request.map_err(|why| (TlsFailure::StsPolicyFetchError, why.to_string()))?;
    match https.request(&host, request, POLICY, PATIENCE).await {
        // RFC 8461 §3.3: a redirect is not followed.
        Ok(answer) if answer.status == StatusCode::OK && answer.media_type == "text/plain" => {
            let policy = Policy::parse(str::from_utf8(&answer.body).unwrap_or_default());
            policy.ok_or((TlsFailure::StsPolicyInvalid, "the policy is malformed".to_owned()))
        }
        Ok(answer) => {
            let why = format!("{} {}", answer.status, answer.media_type);
            Err((TlsFailure::StsPolicyFetchError, why))
        }
        Err(why @ HttpsError::Certificate(_)) => {
            Err((TlsFailure::StsWebpkiInvalid, why.to_string()))
        }
        Err(why @ HttpsError::Other(_)) => Err((TlsFailure::StsPolicyFetchError, why.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use posta_store::{MemoryStore, Records as _};

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

    /// Two machines with one store fetch a policy: the later one stays, in whichever order they store it.
    #[tokio::test]
    async fn a_policy_that_another_machine_fetched_later_stays() {
        let fetched = |id: &str, second, max_age| {
            let policy =
                Policy { mode: Mode::Enforce, mx: vec!["mail.y.test".to_owned()], max_age };
            let until = Timestamp::from_second(second).unwrap() + Duration::from_secs(max_age);
            Fetched { id: id.to_owned(), policy, until }
        };
        // The later one is valid for a shorter time.
        let (earlier, later) = (fetched("1", 100, 9_000), fetched("2", 200, 50));
        for order in [[&earlier, &later], [&later, &earlier]] {
            let store = MemoryStore::new();
            for fetched in order {
                keep_newer(&store, "y.test", fetched).await.unwrap();
            }
            assert_eq!(store.kept_one(KIND, "y.test").await.unwrap(), Some(record(&later)));
        }
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
