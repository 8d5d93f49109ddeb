//! MTA-STS: a domain says on the web, where a certificate vouches for it, which servers take its mail
//! and that they do so in TLS (RFC 8461). For domains without DNSSEC; DANE comes before it.

use crate::{clock::Clock, http::Web};
use http_body_util::Full;
use hyper::{Request, StatusCode};
use posta_mail::Timestamp;
use posta_store::Store;
use serde::{Deserialize, Serialize};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

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

/// Finds policies, and remembers them for as long as they hold, over restarts too: whoever can keep
/// them from being fetched gains nothing while one is remembered.
pub struct Policies {
    web: Web,
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    known: Mutex<HashMap<String, Fetched>>,
    /// Until when a domain's policy is not asked for again.
    respite: Mutex<HashMap<String, Timestamp>>,
}

impl Policies {
    /// With what is remembered.
    pub(crate) fn new(web: Web, store: Arc<dyn Store>, clock: Arc<dyn Clock>) -> Self {
        Self { web, store, clock, known: Mutex::default(), respite: Mutex::default() }
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
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.extend(kept.into_iter().filter_map(read));
    }

    /// The policy that holds for a domain; none if it has none.
    pub async fn policy(&self, domain: &str) -> Option<Policy> {
        let now = self.clock.now();
        let known = {
            let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            known.get(domain).filter(|known| known.until > now).cloned()
        };
        let id = self.id(domain).await;
        match (&known, id) {
            // RFC 8461 §3.1: that DNS says nothing any more takes nothing back.
            (known, None) => known.as_ref().map(|known| known.policy.clone()),
            (Some(known), Some(id)) if known.id == id => Some(known.policy.clone()),
            (known, Some(id)) => {
                let fetched = self.fetch(domain, id, now).await;
                fetched.or_else(|| known.as_ref().map(|known| known.policy.clone()))
            }
        }
        .filter(|policy| policy.mode != Mode::None)
    }

    /// What the domain's DNS calls its policy (RFC 8461 §3.1).
    async fn id(&self, domain: &str) -> Option<String> {
        let texts = self.web.resolver.texts(&format!("_mta-sts.{domain}")).await.ok()?.found;
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

    async fn fetch(&self, domain: &str, id: String, now: Timestamp) -> Option<Policy> {
        {
            let mut respite = self.respite.lock().unwrap_or_else(PoisonError::into_inner);
            if respite.get(domain).is_some_and(|until| *until > now) {
                return None;
            }
            if respite.len() > REMEMBERED {
                respite.retain(|_, until| *until > now);
            }
            // Whoever comes meanwhile does not ask as well.
            respite.insert(domain.to_owned(), now + RESPITE);
        }
        let host = format!("mta-sts.{domain}");
        let request = Request::get("/.well-known/mta-sts.txt").header("host", &host);
        let answer =
            self.web.ask(&host, request.body(Full::default()).ok()?, POLICY, PATIENCE).await;
        let policy = match answer {
            // RFC 8461 §3.3: a redirect is not followed.
            Ok(answer) if answer.status == StatusCode::OK && answer.kind == "text/plain" => {
                Policy::parse(str::from_utf8(&answer.body).unwrap_or_default())
            }
            Ok(answer) => {
                tracing::info!(domain, status = %answer.status, "no MTA-STS policy is served");
                None
            }
            Err(error) => {
                tracing::info!(domain, error, "the MTA-STS policy cannot be fetched");
                None
            }
        }?;
        let until = now + Duration::from_secs(policy.max_age);
        self.remember(domain, Fetched { id, policy: policy.clone(), until }, now).await;
        Some(policy)
    }

    async fn remember(&self, domain: &str, fetched: Fetched, now: Timestamp) {
        let record = serde_json::to_vec(&fetched).unwrap_or_default();
        let gone: Vec<String> = {
            let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            known.insert(domain.to_owned(), fetched);
            let mut respite = self.respite.lock().unwrap_or_else(PoisonError::into_inner);
            respite.remove(domain);
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
