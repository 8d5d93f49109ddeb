//! What the store keeps of each certificate, and of the account at the authority.

use posta_mail::{Secret, Timestamp};
use posta_net::clock::Clock;
use posta_store::{CERTIFICATES, KeyId, SecretOf, Store, StoreError};
use serde::{Deserialize, Serialize};

/// The kind of the records of accounts, by the address of the authority's directory.
const ACCOUNTS: &str = "acme-account";

/// The number of earlier attempts and issues that are remembered, for the authority's limits.
const REMEMBERED: usize = 5;

/// A certificate for a name, and what became of the attempts to obtain it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub(super) struct CertificateRecord {
    /// The private key, a sealed secret.
    pub(super) key: Option<KeyId>,
    /// The key that is to take its place, which the operator can publish before.
    pub(super) next_key: Option<NextKey>,
    /// The certificate, and those that lead to its issuer, in PEM.
    pub(super) chain: Option<String>,
    /// When the last certificates were issued.
    pub(super) issued: Vec<Timestamp>,
    /// When the authority last found that the name was not proved.
    pub(super) unproved: Vec<Timestamp>,
    /// The number of failures since the last success.
    pub(super) failures: u32,
    /// The last failure since the last success, and when the first was.
    pub(super) failed: Option<Failed>,
    /// When the authority is asked next.
    pub(super) next: Option<Timestamp>,
    /// When the authority is asked again for the best time to renew.
    pub(super) ask_window: Option<Timestamp>,
}

/// A private key that is not used yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct NextKey {
    /// The key, a sealed secret.
    pub(super) id: KeyId,
    /// The SHA-256 of the public key.
    pub(super) sha256: [u8; 32],
}

/// A failure.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Failed {
    /// Why the last attempt failed.
    pub(super) why: String,
    /// When the first attempt since the last success failed.
    pub(super) since: Timestamp,
}

impl CertificateRecord {
    /// Adds a failure.
    pub(super) fn fail(&mut self, why: String, is_counted: bool, now: Timestamp) {
        self.failures = self.failures.saturating_add(1);
        let since = self.failed.as_ref().map_or(now, |failed| failed.since);
        self.failed = Some(Failed { why, since });
        if is_counted {
            remember(&mut self.unproved, now);
        }
    }

    /// Replaces the certificate.
    pub(super) fn succeed(&mut self, chain: String, now: Timestamp) {
        (self.failures, self.failed, self.ask_window) = (0, None, None);
        self.chain = Some(chain);
        remember(&mut self.issued, now);
    }
}

fn remember(times: &mut Vec<Timestamp>, now: Timestamp) {
    if times.len() >= REMEMBERED {
        times.remove(0);
    }
    times.push(now);
}

/// Returns all records, by name.
///
/// # Errors
/// When the store fails.
pub(super) async fn read_all(
    store: &dyn Store,
) -> Result<Vec<(String, CertificateRecord)>, StoreError> {
    let records = store.kept(CERTIFICATES).await?.into_iter();
    records.map(|(name, record)| Ok((name, parse(&record)?))).collect()
}

/// Returns the record of a name; an empty one if there is none.
///
/// # Errors
/// When the store fails.
pub(super) async fn read(store: &dyn Store, name: &str) -> Result<CertificateRecord, StoreError> {
    let record = store.kept_one(CERTIFICATES, name).await?;
    record.map_or_else(|| Ok(CertificateRecord::default()), |record| parse(&record))
}

/// Stores the record of a name, and changes secrets with it: private keys that are new, or `None` for old ones.
///
/// # Errors
/// When the store fails.
pub(super) async fn write(
    store: &dyn Store,
    name: &str,
    record: &CertificateRecord,
    keys: Vec<(KeyId, Option<Secret>)>,
) -> Result<(), StoreError> {
    let secrets = keys.into_iter().map(|(id, key)| (SecretOf::Key(id), key)).collect();
    put(store, CERTIFICATES, name, Some(encode(record)?), secrets).await
}

/// Removes the record of a name, and its private keys.
///
/// # Errors
/// When the store fails.
pub(super) async fn remove(
    store: &dyn Store,
    name: &str,
    record: &CertificateRecord,
) -> Result<(), StoreError> {
    let keys = record.key.into_iter().chain(record.next_key.map(|next| next.id));
    let secrets = keys.map(|id| (SecretOf::Key(id), None)).collect();
    put(store, CERTIFICATES, name, None, secrets).await
}

/// Returns the account at an authority, a secret.
///
/// # Errors
/// When the store fails, or the secret cannot be opened.
pub(super) async fn account(
    store: &dyn Store,
    directory: &str,
) -> Result<Option<Secret>, StoreError> {
    let Some(record) = store.kept_one(ACCOUNTS, directory).await? else { return Ok(None) };
    let id: KeyId = serde_json::from_slice(&record)
        .map_err(|error| StoreError::Damaged(format!("the account of ACME: {error}")))?;
    store.secret(SecretOf::Key(id)).await
}

/// Stores the account at an authority, in place of the one before, if there is one.
///
/// # Errors
/// When the store fails.
pub(super) async fn keep_account(
    store: &dyn Store,
    clock: &dyn Clock,
    directory: &str,
    account: Secret,
) -> Result<(), StoreError> {
    let before = store.kept_one(ACCOUNTS, directory).await?;
    let before: Option<KeyId> = before.and_then(|record| serde_json::from_slice(&record).ok());
    let id = new_id(clock);
    let mut secrets = vec![(SecretOf::Key(id), Some(account))];
    secrets.extend(before.map(|id| (SecretOf::Key(id), None)));
    put(store, ACCOUNTS, directory, Some(encode(&id)?), secrets).await
}

/// Removes the account at an authority that does not know it any more.
///
/// # Errors
/// When the store fails.
pub(super) async fn forget_account(store: &dyn Store, directory: &str) -> Result<(), StoreError> {
    let record = store.kept_one(ACCOUNTS, directory).await?;
    let id = record.and_then(|record| serde_json::from_slice(&record).ok());
    let secrets = id.map(|id| (SecretOf::Key(id), None)).into_iter().collect();
    put(store, ACCOUNTS, directory, None, secrets).await
}

/// Returns a new name of a secret.
pub(super) fn new_id(clock: &dyn Clock) -> KeyId {
    let mut id = [0; 8];
    clock.random(&mut id);
    KeyId(u64::from_be_bytes(id))
}

/// Replaces a record, whatever it was: one task of the server writes them.
async fn put(
    store: &dyn Store,
    kind: &'static str,
    name: &str,
    record: Option<Vec<u8>>,
    secrets: Vec<(SecretOf, Option<Secret>)>,
) -> Result<(), StoreError> {
    loop {
        let before = store.kept_one(kind, name).await?;
        let kept =
            store.keep_with_secrets(kind, name, before, record.clone(), secrets.clone()).await?;
        if kept == record {
            return Ok(());
        }
    }
}

pub(super) fn encode<T: Serialize>(record: &T) -> Result<Vec<u8>, StoreError> {
    serde_json::to_vec(record).map_err(|error| StoreError::Failed(error.to_string()))
}

fn parse(record: &[u8]) -> Result<CertificateRecord, StoreError> {
    let parsed = serde_json::from_slice(record);
    parsed.map_err(|error| StoreError::Damaged(format!("the record of a certificate: {error}")))
}
