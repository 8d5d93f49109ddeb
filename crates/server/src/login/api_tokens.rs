//! Tokens: what programs show that administer the server over HTTPS, and what each may do.
//!
//! A token is 256 random bits, shown once. The store keeps its SHA-256. Passwords need a slow hash because people choose
//! ones that can be guessed; nobody guesses 256 random bits, however fast the hash is, and a fast one means that
//! strangers who show wrong tokens cost the server nothing.

use super::{Authenticator, FailedLogin, LoginError};
use aws_lc_rs::{constant_time, digest};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
use posta_mail::{ClientAddress, Timestamp};
use posta_net::clock::Clock;
use posta_store::{Store, StoreError};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The kind of the records.
const KIND: &str = "api-token";

/// The beginning of every token, by which programs that look for leaked secrets recognise it.
const PREFIX: &str = "posta_";

/// The maximal number of tokens: all are compared with what a client shows.
pub const TOKENS: usize = 100;

/// The maximal number of characters in a name.
const NAME: usize = 64;

/// How precisely it is kept when a token was used last. Each note costs a transaction.
const NOTED_EVERY: Duration = Duration::from_secs(60 * 60);

/// What a token allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ApiRights {
    /// Reading lists, settings, figures and the history, but not mail.
    Read,
    /// Everything, except what only the operator on the machine decides.
    All,
}

/// A token, without the secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct ApiToken {
    /// The name.
    pub name: String,
    /// What it allows.
    pub rights: ApiRights,
    /// The domains whose accounts and aliases it is for; empty for the whole server.
    #[serde(default)]
    pub domains: Vec<String>,
    /// When it ends; `None` for never.
    #[serde(default)]
    pub until: Option<Timestamp>,
    /// When it was made.
    pub made: Timestamp,
    /// When it was used last, to the hour; `None` if it never was.
    #[serde(default)]
    pub used: Option<Timestamp>,
    /// The SHA-256 of the secret, in base64.
    pub(crate) hash: String,
}

/// What a new token is to be.
#[derive(Debug, Clone)]
pub struct NewApiToken {
    /// The name.
    pub name: String,
    /// What it allows.
    pub rights: ApiRights,
    /// The domains whose accounts and aliases it is for; empty for the whole server.
    pub domains: Vec<String>,
    /// When it ends; `None` for never.
    pub until: Option<Timestamp>,
}

/// The reason why a token cannot be added or removed.
#[derive(Debug, thiserror::Error)]
pub enum ApiTokenError {
    /// The name has characters that would be misread in a list or a log.
    #[error(
        "{0:?} is no name for a token: use 1 to {NAME} letters, digits, dots, hyphens and underscores"
    )]
    Name(String),
    /// There is a token of that name.
    #[error("there is a token {0} already; `posta token remove {0}` ends it")]
    Exists(String),
    /// There is no token of that name.
    #[error("there is no token {0}; `posta token list` names those there are")]
    Missing(String),
    /// There are as many tokens as there may be.
    #[error(
        "there are {TOKENS} tokens, and may not be more; `posta token list` shows when each was used last"
    )]
    TooMany,
    /// The token would have ended already.
    #[error("the token would end at {0:.0}, which is past")]
    Past(Timestamp),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Returns all tokens, by name.
///
/// # Errors
/// When the store fails.
pub async fn list(store: &dyn Store) -> Result<Vec<ApiToken>, StoreError> {
    let records = store.kept(KIND).await?;
    records.iter().map(|(name, record)| read(name, record)).collect()
}

fn read(name: &str, record: &[u8]) -> Result<ApiToken, StoreError> {
    serde_json::from_slice(record).map_err(|_| StoreError::Damaged(format!("the token {name}")))
}

fn written(token: &ApiToken) -> Result<Vec<u8>, StoreError> {
    serde_json::to_vec(token).map_err(|error| StoreError::Failed(error.to_string()))
}

/// Adds a token, and returns its secret.
///
/// # Errors
/// When the token cannot be added.
pub async fn add(
    store: &dyn Store,
    clock: &dyn Clock,
    new: NewApiToken,
) -> Result<String, ApiTokenError> {
    let NewApiToken { name, rights, domains, until } = new;
    let is_plain = |octet: u8| octet.is_ascii_alphanumeric() || b".-_".contains(&octet);
    if name.is_empty() || name.len() > NAME || !name.bytes().all(is_plain) {
        return Err(ApiTokenError::Name(name));
    }
    let now = clock.now();
    if let Some(until) = until.filter(|until| *until <= now) {
        return Err(ApiTokenError::Past(until));
    }
    if store.kept(KIND).await?.len() >= TOKENS {
        return Err(ApiTokenError::TooMany);
    }
    let mut octets = [0; 32];
    clock.random(&mut octets);
    let secret = format!("{PREFIX}{}", BASE64.encode(octets));
    let hash = BASE64.encode(hashed(&secret));
    let token =
        ApiToken { name: name.clone(), rights, domains, until, made: now, used: None, hash };
    let record = written(&token)?;
    let kept = store.keep_if(KIND, &name, None, Some(record.clone())).await?;
    if kept.as_ref() == Some(&record) { Ok(secret) } else { Err(ApiTokenError::Exists(name)) }
}

/// Removes a token, which ends it at once.
///
/// # Errors
/// When there is no such token, or the store fails.
pub async fn remove(store: &dyn Store, name: &str) -> Result<(), ApiTokenError> {
    if store.kept_one(KIND, name).await?.is_none() {
        return Err(ApiTokenError::Missing(name.to_owned()));
    }
    Ok(store.keep(KIND, name, None).await?)
}

/// Takes a domain out of the tokens that are for it, and removes the tokens that are for nothing else. Otherwise a token
/// would be for the domain again when somebody else has it here later. Returns the names of those that changed.
///
/// # Errors
/// When the store fails.
pub async fn forget_domain(store: &dyn Store, domain: &str) -> Result<Vec<String>, StoreError> {
    let is_it = |other: &String| other == domain;
    let mut changed = Vec::new();
    for ApiToken { name, .. } in list(store).await? {
        // Until no note of a use comes between.
        while let Some(record) = store.kept_one(KIND, &name).await? {
            let mut token = read(&name, &record)?;
            if !token.domains.iter().any(is_it) {
                break;
            }
            token.domains.retain(|other| !is_it(other));
            // A token that is for no domain is for the whole server.
            let new = match token.domains.is_empty() {
                true => None,
                false => Some(written(&token)?),
            };
            if store.keep_if(KIND, &name, Some(record), new.clone()).await? == new {
                changed.push(name);
                break;
            }
        }
    }
    Ok(changed)
}

/// Returns the token with this secret, if there is one. It may have ended.
///
/// # Errors
/// When the store fails.
pub async fn find(store: &dyn Store, secret: &str) -> Result<Option<ApiToken>, StoreError> {
    let hash = hashed(secret);
    let mut found = None;
    // All are compared, each in constant time: how long it takes says nothing of which token is nearly right.
    for token in list(store).await? {
        let known = BASE64.decode(&token.hash).unwrap_or_default();
        if constant_time::verify_slices_are_equal(&hash, &known).is_ok() {
            found = Some(token);
        }
    }
    Ok(found)
}

/// Returns whether a token that opened the interface still does: it was neither removed nor has it ended.
///
/// # Errors
/// When the store fails.
pub async fn holds(
    store: &dyn Store,
    token: &ApiToken,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let Some(record) = store.kept_one(KIND, &token.name).await? else { return Ok(false) };
    // Another token may have the name by now.
    Ok(read(&token.name, &record)?.hash == token.hash && !token.has_ended(now))
}

/// Notes that a token was used, unless that was noted within the hour.
///
/// # Errors
/// When the store fails.
pub async fn note_use(
    store: &dyn Store,
    clock: &dyn Clock,
    token: &ApiToken,
) -> Result<(), StoreError> {
    let now = clock.now();
    let is_noted = |used: Timestamp| used.saturating_add(NOTED_EVERY).is_ok_and(|then| now < then);
    if token.used.is_some_and(is_noted) {
        return Ok(());
    }
    let Some(record) = store.kept_one(KIND, &token.name).await? else { return Ok(()) };
    let used = ApiToken { used: Some(now), ..read(&token.name, &record)? };
    // If another request noted it meanwhile, or the token is gone, nothing is lost.
    store.keep_if(KIND, &token.name, Some(record), Some(written(&used)?)).await?;
    Ok(())
}

impl Authenticator {
    /// Returns the token for the operator's interface with this secret. A wrong one counts as a failed login.
    ///
    /// # Errors
    /// [`LoginError::Disabled`] when the token has ended; other errors when there is none, or it cannot be checked.
    pub async fn api_token(
        &self,
        client: ClientAddress,
        secret: &str,
    ) -> Result<ApiToken, LoginError> {
        let found = self.attempt(client, async {
            let found = find(&*self.store, secret).await?;
            found.ok_or(LoginError::Credentials(FailedLogin::unnamed("there is no such token")))
        });
        let token = match Box::pin(found).await {
            Ok(token) if token.has_ended(self.clock.now()) => {
                let ended = FailedLogin::new(&token.name, "the token has ended");
                Err(LoginError::Disabled(ended))
            }
            found => found,
        };
        match &token {
            Ok(token) => {
                // A full disk must not keep the operator out.
                if let Err(error) = note_use(&*self.store, &*self.clock, token).await {
                    tracing::warn!(token = token.name, %error, "the use of a token cannot be noted");
                }
            }
            Err(LoginError::Credentials(failed) | LoginError::Disabled(failed)) => {
                self.lockouts.failed_logins().log(client, &failed.name, failed.why);
            }
            Err(_) => {}
        }
        token
    }
}

impl ApiToken {
    /// Returns whether the token has ended.
    #[must_use]
    pub fn has_ended(&self, now: Timestamp) -> bool {
        self.until.is_some_and(|until| until <= now)
    }
}

fn hashed(secret: &str) -> [u8; 32] {
    let mut octets = [0; 32];
    octets.copy_from_slice(digest::digest(&digest::SHA256, secret.as_bytes()).as_ref());
    octets
}

#[cfg(test)]
mod tests {
    use super::*;
    use posta_net::clock::SimulatedClock;
    use posta_store::{MemoryStore, Records};

    fn new(name: &str) -> NewApiToken {
        let name = name.to_owned();
        NewApiToken { name, rights: ApiRights::Read, domains: Vec::new(), until: None }
    }

    #[tokio::test]
    async fn a_secret_leads_to_its_token_and_is_not_kept() {
        let (store, clock) = (MemoryStore::new(), SimulatedClock::new(Timestamp::UNIX_EPOCH, 1));
        let secret = add(&store, &clock, new("grafana")).await.unwrap();
        assert!(secret.starts_with("posta_") && secret.len() == 49, "{secret}");
        let other = add(&store, &clock, new("other")).await.unwrap();
        assert_ne!(secret, other);
        assert_eq!(find(&store, &secret).await.unwrap().unwrap().name, "grafana");
        for wrong in ["", "posta_", &secret[1..], &secret.to_lowercase(), &format!("{secret}A")] {
            assert_eq!(find(&store, wrong).await.unwrap(), None, "{wrong}");
        }
        let kept = format!("{:?}", store.kept(KIND).await.unwrap());
        assert!(!kept.contains(&format!("{:?}", secret.as_bytes())[1..20]), "{kept}");
        let again = add(&store, &clock, new("grafana")).await;
        assert!(matches!(again, Err(ApiTokenError::Exists(_))));
        remove(&store, "grafana").await.unwrap();
        assert_eq!(find(&store, &secret).await.unwrap(), None);
        assert!(matches!(remove(&store, "grafana").await, Err(ApiTokenError::Missing(_))));
    }

    /// A token of a domain that comes back to another operator's customer must not open that one's accounts.
    #[tokio::test]
    async fn a_token_does_not_outlive_its_domain() {
        let (store, clock) = (MemoryStore::new(), SimulatedClock::new(Timestamp::UNIX_EPOCH, 1));
        for (name, domains) in [
            ("all", &[][..]),
            ("x", &["x.test"]),
            ("xy", &["x.test", "y.test"]),
            ("y", &["y.test"]),
        ] {
            let domains = domains.iter().map(|&domain| domain.to_owned()).collect();
            add(&store, &clock, NewApiToken { domains, ..new(name) }).await.unwrap();
        }
        assert_eq!(forget_domain(&store, "x.test").await.unwrap(), ["x", "xy"]);
        let left = list(&store).await.unwrap();
        let left: Vec<_> = left.iter().map(|it| (it.name.as_str(), it.domains.join(" "))).collect();
        let expected = [("all", ""), ("xy", "y.test"), ("y", "y.test")];
        assert_eq!(left, expected.map(|(name, domains)| (name, domains.to_owned())));
        assert!(forget_domain(&store, "x.test").await.unwrap().is_empty());
    }

    #[tokio::test]
    async fn names_are_plain_and_an_end_is_ahead() {
        let (store, clock) = (MemoryStore::new(), SimulatedClock::new(Timestamp::UNIX_EPOCH, 1));
        for name in ["", "a b", "a\nb", "ă", "a/b", &"a".repeat(65)] {
            let refused = add(&store, &clock, new(name)).await;
            assert!(matches!(refused, Err(ApiTokenError::Name(_))), "{name:?}");
        }
        let past = NewApiToken { until: Some(clock.now()), ..new("late") };
        assert!(matches!(add(&store, &clock, past).await, Err(ApiTokenError::Past(_))));
        let hour = Duration::from_secs(3_600);
        let until = NewApiToken { until: Some(clock.now() + hour), ..new("soon") };
        let secret = add(&store, &clock, until).await.unwrap();
        let token = find(&store, &secret).await.unwrap().unwrap();
        assert!(!token.has_ended(clock.now()) && token.has_ended(clock.now() + hour));
    }

    #[tokio::test]
    async fn the_last_use_is_kept_to_the_hour() {
        let (store, clock) = (MemoryStore::new(), SimulatedClock::new(Timestamp::UNIX_EPOCH, 1));
        let secret = add(&store, &clock, new("cron")).await.unwrap();
        let start = clock.now();
        for (minutes, noted) in [(0, 0), (59, 0), (1, 60), (10, 60)] {
            clock.set(clock.now() + Duration::from_secs(minutes * 60));
            let token = find(&store, &secret).await.unwrap().unwrap();
            note_use(&store, &clock, &token).await.unwrap();
            let used = find(&store, &secret).await.unwrap().unwrap().used;
            assert_eq!(used, Some(start + Duration::from_secs(noted * 60)), "after {minutes} more");
        }
    }
}
