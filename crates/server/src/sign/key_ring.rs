//! Keys in the store: one record for each domain, and each private key as a separate secret.
//!
//! All changes replace a record only if it is unchanged since it was read. Two processes that make keys for a domain at
//! the same moment therefore end up with the same keys.

use super::keys::{ALGORITHMS, DomainKeys, NewKey};
use posta_mail::{Domain, Secret};
use posta_net::clock::Clock;
use posta_origin::dkim::{Algorithm, KeyPair, KeyPairError};
use posta_store::{DOMAIN_KEYS, KeyId, SecretOf, Store, StoreError};
use std::collections::BTreeSet;
use tokio::task::spawn_blocking;

/// Why keys cannot be made or kept.
#[derive(Debug, thiserror::Error)]
pub enum KeyRingError {
    /// The library for cryptography failed.
    #[error("no keys to sign mail with could be made: {0}")]
    Library(#[from] KeyPairError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A domain's keys as they were read, to be replaced only if unchanged.
pub(crate) struct KeptKeys {
    record: Vec<u8>,
    /// The keys.
    pub(crate) keys: DomainKeys,
}

/// New keys that are not in the store yet.
pub(crate) struct MadeKeys(Vec<(NewKey, Secret)>);

/// Returns the keys of a domain; `None` if the domain never had any.
///
/// # Errors
/// When the store fails.
pub(crate) async fn read(store: &dyn Store, domain: &str) -> Result<Option<KeptKeys>, StoreError> {
    store.kept_one(DOMAIN_KEYS, domain).await?.map(parse).transpose()
}

/// Returns the keys of all domains, by domain.
///
/// # Errors
/// When the store fails.
pub(crate) async fn read_all(store: &dyn Store) -> Result<Vec<(String, KeptKeys)>, StoreError> {
    let records = store.kept(DOMAIN_KEYS).await?.into_iter();
    records.map(|(domain, record)| Ok((domain, parse(record)?))).collect()
}

fn parse(record: Vec<u8>) -> Result<KeptKeys, StoreError> {
    let keys = serde_json::from_slice(&record);
    let keys =
        keys.map_err(|error| StoreError::Damaged(format!("the keys of a domain: {error}")))?;
    Ok(KeptKeys { record, keys })
}

/// Makes a key for each algorithm, on a thread for blocking work, since an RSA key takes some 100 ms.
///
/// # Errors
/// When the library fails.
pub(crate) async fn make(clock: &dyn Clock) -> Result<MadeKeys, KeyPairError> {
    let made = spawn_blocking(|| ALGORITHMS.map(make_one)).await;
    let made = made.map_err(|_| KeyPairError::Library)?;
    let keys = made.into_iter().map(|made| {
        let (algorithm, record, secret) = made?;
        let mut id = [0; 8];
        clock.random(&mut id);
        Ok((NewKey { id: KeyId(u64::from_be_bytes(id)), algorithm, record }, secret))
    });
    keys.collect::<Result<_, _>>().map(MadeKeys)
}

fn make_one(algorithm: Algorithm) -> Result<(Algorithm, String, Secret), KeyPairError> {
    let key = KeyPair::generate(algorithm)?;
    Ok((algorithm, key.record()?, key.to_pkcs8()?))
}

/// Makes the first keys of a domain that has none. Returns whether keys were made.
///
/// # Errors
/// When the library or the store fails.
pub(crate) async fn ensure(
    store: &dyn Store,
    clock: &dyn Clock,
    domain: &Domain,
) -> Result<bool, KeyRingError> {
    if store.kept_one(DOMAIN_KEYS, domain.as_str()).await?.is_some() {
        return Ok(false);
    }
    store.check_seals().await?;
    let made = make(clock).await?;
    // If another process made keys in the meantime, those stay.
    let mut keys = DomainKeys::default();
    let secrets = add(&mut keys, &made, clock);
    Ok(replace(store, domain.as_str(), None, Some(&keys), secrets).await?)
}

/// Makes new keys for a domain if they are due. Returns whether keys were made.
///
/// # Errors
/// When the library or the store fails.
pub(crate) async fn rotate(
    store: &dyn Store,
    clock: &dyn Clock,
    domain: &str,
    is_due: impl Fn(&DomainKeys) -> bool,
) -> Result<bool, KeyRingError> {
    let mut made = None;
    loop {
        let kept = read(store, domain).await?;
        let mut keys = kept.as_ref().map(|kept| kept.keys.clone()).unwrap_or_default();
        if !is_due(&keys) {
            return Ok(false);
        }
        let fresh = match made {
            Some(made) => made,
            None => make(clock).await?,
        };
        let secrets = add(&mut keys, &fresh, clock);
        made = Some(fresh);
        let before = kept.map(|kept| kept.record);
        if replace(store, domain, before, Some(&keys), secrets).await? {
            return Ok(true);
        }
    }
}

/// Changes the keys of a domain, and deletes private keys that are no longer needed. Returns the result of `change`, or
/// `None` if the domain has no keys. If the keys were changed elsewhere in the meantime, `change` is called again.
///
/// # Errors
/// When the store fails.
pub(crate) async fn change<T>(
    store: &dyn Store,
    domain: &str,
    mut change: impl FnMut(&mut DomainKeys) -> T,
) -> Result<Option<T>, StoreError> {
    loop {
        let Some(kept) = read(store, domain).await? else { return Ok(None) };
        let mut keys = kept.keys.clone();
        let outcome = change(&mut keys);
        if keys == kept.keys {
            return Ok(Some(outcome));
        }
        let secrets = not_needed(&kept.keys, &keys);
        if replace(store, domain, Some(kept.record), Some(&keys), secrets).await? {
            return Ok(Some(outcome));
        }
    }
}

/// Deletes all keys of a domain.
///
/// # Errors
/// When the store fails.
pub(crate) async fn forget(store: &dyn Store, domain: &str) -> Result<(), StoreError> {
    while let Some(kept) = read(store, domain).await? {
        let secrets = not_needed(&kept.keys, &DomainKeys::default());
        if replace(store, domain, Some(kept.record), None, secrets).await? {
            break;
        }
    }
    Ok(())
}

/// Adds new keys to those of a domain. Returns the secrets to be kept with them.
fn add(
    keys: &mut DomainKeys,
    MadeKeys(made): &MadeKeys,
    clock: &dyn Clock,
) -> Vec<(SecretOf, Option<Secret>)> {
    keys.add(made.iter().map(|(key, _)| key.clone()).collect(), clock.now());
    made.iter().map(|(key, secret)| (SecretOf::Key(key.id), Some(secret.clone()))).collect()
}

/// Returns the removal of each private key that is no longer needed.
fn not_needed(before: &DomainKeys, after: &DomainKeys) -> Vec<(SecretOf, Option<Secret>)> {
    let needed: BTreeSet<_> = after.with_private_keys().map(|key| key.id).collect();
    let before = before.with_private_keys().map(|key| key.id);
    before.filter(|id| !needed.contains(id)).map(|id| (SecretOf::Key(id), None)).collect()
}

/// Replaces a domain's record if it is unchanged. Returns whether it was replaced.
async fn replace(
    store: &dyn Store,
    domain: &str,
    before: Option<Vec<u8>>,
    keys: Option<&DomainKeys>,
    secrets: Vec<(SecretOf, Option<Secret>)>,
) -> Result<bool, StoreError> {
    let encode = |keys| serde_json::to_vec(keys);
    let record = keys.map(encode).transpose();
    let record = record.map_err(|error| StoreError::Failed(error.to_string()))?;
    let kept =
        store.keep_with_secrets(DOMAIN_KEYS, domain, before, record.clone(), secrets).await?;
    Ok(kept == record)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sign::keys::KeyState;
    use posta_mail::Timestamp;
    use posta_net::clock::SimulatedClock;
    use posta_store::{MemoryStore, Records};
    use std::time::Duration;

    #[tokio::test]
    async fn private_keys_are_kept_sealed_for_as_long_as_they_sign() {
        let store = MemoryStore::new();
        let clock = SimulatedClock::new(Timestamp::UNIX_EPOCH, 1);
        let domain: Domain = "x.test".parse().unwrap();
        assert!(ensure(&store, &clock, &domain).await.unwrap());
        assert!(!ensure(&store, &clock, &domain).await.unwrap(), "it has some");
        let keys = read(&store, "x.test").await.unwrap().unwrap().keys;
        for key in &keys.keys {
            let secret = store.secret(SecretOf::Key(key.id)).await.unwrap().unwrap();
            let pair = KeyPair::from_pkcs8(secret.expose()).unwrap();
            assert_eq!(pair.algorithm().name(), key.algorithm);
            assert_eq!(pair.record().unwrap(), key.record);
        }
        let waits = |keys: &DomainKeys| keys.in_state(KeyState::Waiting).next().is_none();
        assert!(!rotate(&store, &clock, "x.test", waits).await.unwrap());
        assert!(rotate(&store, &clock, "x.test", |_| true).await.unwrap());
        let (first, overlap) = (keys.keys[0].id, Duration::from_secs(9));
        let selector = keys.keys[0].selector.clone();
        change(&store, "x.test", |keys| keys.retire(&selector, clock.now(), overlap))
            .await
            .unwrap();
        assert_eq!(store.secret(SecretOf::Key(first)).await.unwrap(), None);
        assert_eq!(read(&store, "x.test").await.unwrap().unwrap().keys.keys.len(), 3);
        forget(&store, "x.test").await.unwrap();
        assert!(read_all(&store).await.unwrap().is_empty());
        for key in &keys.keys {
            assert_eq!(store.secret(SecretOf::Key(key.id)).await.unwrap(), None);
        }
    }
}
