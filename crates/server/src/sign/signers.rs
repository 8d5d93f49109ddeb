//! A cache of the keys that sign, so that a message costs no reading of the store. A domain's keys are read again only
//! after the directory has changed, and unsealed again only if they are other keys.

use super::{
    SigningSettings, key_ring,
    keys::{DomainKeys, KeyState},
};
use crate::limits::adjustable::Adjustable;
use parking_lot::Mutex;
use posta_mail::Domain;
use posta_origin::dkim::{KeyPair, Signer};
use posta_store::{SecretOf, Store, StoreError};
use std::{collections::HashMap, sync::Arc};

/// The most domains whose keys are cached. When there are more, the cache starts afresh.
const DOMAINS: usize = 10_000;

/// The active keys of all local domains.
pub struct Signers {
    store: Arc<dyn Store>,
    settings: Arc<Adjustable<SigningSettings>>,
    ready: Mutex<HashMap<Domain, Arc<Ready>>>,
}

/// The cached keys of a domain.
struct Ready {
    /// The version of the directory when the keys were read.
    version: u64,
    /// The selectors of the keys.
    selectors: Vec<String>,
    signers: Arc<[Signer]>,
}

impl Signers {
    /// Returns a cache of the keys in a store.
    pub(crate) fn new(store: Arc<dyn Store>, settings: Arc<Adjustable<SigningSettings>>) -> Self {
        Self { store, settings, ready: Mutex::default() }
    }

    /// Returns whether mail is signed at all.
    pub(crate) fn is_enabled(&self) -> bool {
        self.settings.get().enabled
    }

    /// Returns the active keys of a domain: at most one for each algorithm, and none if the domain is not local.
    ///
    /// # Errors
    /// When the store fails, or cannot open a key.
    pub(crate) async fn of(&self, domain: &Domain) -> Result<Arc<[Signer]>, StoreError> {
        let version = self.store.directory_version();
        let known = self.ready.lock().get(domain).cloned();
        match known {
            Some(known) if known.version == version => Ok(known.signers.clone()),
            known => self.read(domain, version, known).await,
        }
    }

    async fn read(
        &self,
        domain: &Domain,
        version: u64,
        known: Option<Arc<Ready>>,
    ) -> Result<Arc<[Signer]>, StoreError> {
        if !self.store.is_local(domain.as_str()).await? {
            // The keys of a domain that is no longer local may still be kept; they must not sign. Domains that never
            // were local are not cached, since there may be any number.
            self.ready.lock().remove(domain);
            return Ok(Arc::default());
        }
        let kept = key_ring::read(&*self.store, domain.as_str()).await?;
        let keys = kept.map(|kept| kept.keys).unwrap_or_default();
        let active = keys.in_state(KeyState::Active);
        let selectors: Vec<_> = active.map(|key| key.selector.clone()).collect();
        let signers = match known.filter(|known| known.selectors == selectors) {
            Some(known) => known.signers.clone(),
            None => self.open(domain, &keys).await?,
        };
        let mut ready = self.ready.lock();
        if ready.len() >= DOMAINS {
            ready.clear();
        }
        let entry = Ready { version, selectors, signers: signers.clone() };
        ready.insert(domain.clone(), Arc::new(entry));
        Ok(signers)
    }

    /// Opens the keys of a domain that sign.
    async fn open(&self, domain: &Domain, keys: &DomainKeys) -> Result<Arc<[Signer]>, StoreError> {
        let mut signers = Vec::new();
        for key in keys.in_state(KeyState::Active) {
            // A key that was retired in the meantime is gone.
            let Some(secret) = self.store.secret(SecretOf::Key(key.id)).await? else { continue };
            let pair = KeyPair::from_pkcs8(secret.expose());
            let pair = pair.map_err(|error| StoreError::Damaged(error.to_string()))?;
            signers.push(Signer::new(domain.clone(), key.selector.clone(), pair));
        }
        Ok(signers.into())
    }
}
