//! The operator's requests about the keys that sign a domain's mail. No response contains a private key.

use super::super::{Admin, AdminError, Response, parse_domain};
use crate::sign::{
    key_ring,
    keys::{DomainKey, DomainKeys, KeyState},
};
use posta_mail::{Domain, Timestamp};
use posta_store::StoreError;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A key that signs a domain's mail, in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct DomainKeyLine {
    /// The name of the key within the domain.
    pub selector: String,
    /// The algorithm of its signatures: `ed25519-sha256` or `rsa-sha256`.
    pub algorithm: String,
    /// The state of the key.
    pub state: KeyState,
    /// When the key entered this state.
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub since: Timestamp,
    /// When the record can be removed from DNS, if the key is retiring.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub until: Option<Timestamp>,
    /// Since when the record is missing in DNS, if the key is active and the record is missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub missing: Option<Timestamp>,
    /// When the key was made.
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub made: Timestamp,
    /// The name of the DNS record, without a dot at the end.
    pub name: String,
    /// The text of the DNS record (TXT), in one piece.
    pub record: String,
}

/// An action on the keys of a domain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum KeyRequest {
    /// Lists the keys.
    List,
    /// Makes new keys, which sign once DNS has their records.
    Rotate,
    /// Stops a key from signing, or moves it to the next state on its way out.
    Retire {
        /// The name of the key within the domain.
        selector: String,
    },
}

impl DomainKeyLine {
    fn new(key: &DomainKey, domain: &Domain) -> Self {
        let name = key.record_name(domain.as_str());
        let DomainKey { selector, algorithm, record, made, state, since, until, missing, .. } =
            key.clone();
        Self { selector, algorithm, state, since, until, missing, made, name, record }
    }
}

impl Admin {
    /// Lists or changes the keys of a domain.
    pub(in crate::admin) async fn keys(
        &self,
        domain: String,
        request: KeyRequest,
    ) -> Result<Response, AdminError> {
        let domain = parse_domain(domain)?;
        if !self.store.is_local(domain.as_str()).await? {
            return Err(StoreError::NoSuchDomain(domain).into());
        }
        match request {
            KeyRequest::List => {}
            KeyRequest::Rotate => self.rotate_keys(&domain).await?,
            KeyRequest::Retire { selector } => return self.retire_key(&domain, &selector).await,
        }
        let kept = key_ring::read(&*self.store, domain.as_str()).await?;
        let keys = kept.map(|kept| kept.keys.keys).unwrap_or_default();
        let lines = keys.iter().map(|key| DomainKeyLine::new(key, &domain));
        Ok(Response::DomainKeys(lines.collect()))
    }

    /// Makes new keys for a domain.
    async fn rotate_keys(&self, domain: &Domain) -> Result<(), AdminError> {
        let (store, clock) = (&*self.store, &*self.clock);
        let rotated = key_ring::rotate(store, clock, domain.as_str(), |keys| {
            keys.in_state(KeyState::Waiting).next().is_none()
        });
        if rotated.await? { Ok(()) } else { Err(AdminError::KeysWait(domain.to_string())) }
    }

    /// Moves a key of a domain to the next state on its way out.
    async fn retire_key(&self, domain: &Domain, selector: &str) -> Result<Response, AdminError> {
        let (now, overlap) = (self.clock.now(), self.key_overlap);
        let change = |keys: &mut DomainKeys| keys.retire(selector, now, overlap);
        let retired = key_ring::change(&*self.store, domain.as_str(), change).await?;
        let unknown = || AdminError::NoSuchKey(domain.to_string(), selector.to_owned());
        retired.flatten().map(Response::KeyRetired).ok_or_else(unknown)
    }
}
