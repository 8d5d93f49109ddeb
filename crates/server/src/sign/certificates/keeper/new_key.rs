//! New private keys, at the operator's wish: of a certificate, and of the account at the authority.
//!
//! A renewal keeps the key, unlike those of certbot and lego: a mail server's key may be pinned by a TLSA record `3 1 1`
//! (DANE), and a key that changes by itself would stop mail. So a new key comes in two steps where DNS pins the old one:
//! it is made and waits, and takes the old one's place once DNS allows it (RFC 7671 §8.1).

use super::{CertificateKeeper, RenewalError};
use crate::sign::certificates::{
    hexadecimal,
    names::PATIENCE,
    record::{self, CertificateRecord, NextKey},
};
use posta_net::{acme, dns::LookupError};
use posta_store::StoreError;
use tokio::time::timeout;

/// A record that names the server's own certificate, by its public key, as SHA-256 (RFC 7672 §3.1.1).
const OWN_KEY: (u8, u8, u8) = (3, 1, 1);

impl CertificateKeeper {
    /// Makes the key that is to take the place of a certificate's, unless it waits already. Returns the record with it.
    ///
    /// # Errors
    /// When the store fails, or DNS allows the present key and not the new one.
    pub(super) async fn with_next_key(
        &self,
        name: &str,
        mut record: CertificateRecord,
    ) -> Result<CertificateRecord, RenewalError> {
        let next = match record.next_key {
            Some(next) => next,
            None => {
                let failed = |error: acme::AcmeError| StoreError::Failed(error.to_string());
                self.store.check_seals().await?;
                let key = acme::new_key().map_err(failed)?;
                let sha256 = acme::public_key_sha256(&key).map_err(failed)?;
                let next = NextKey { id: record::new_id(&*self.clock), sha256 };
                record.next_key = Some(next);
                let keys = vec![(next.id, Some(key))];
                record::write(&*self.store, name, &record, keys).await?;
                next
            }
        };
        // The address at which other servers look: that of the protocol that they use.
        let place = format!("_25._tcp.{name}");
        let unknown = |why: String| RenewalError::UnknownPins(name.to_owned(), why);
        let records = match timeout(PATIENCE, self.resolver.certificates(&place)).await {
            Ok(Ok(answer)) => answer.found,
            Ok(Err(LookupError::NoDomain(_))) => Vec::new(),
            Ok(Err(error)) => return Err(unknown(error.to_string())),
            Err(_) => return Err(unknown(format!("no answer about {place} in time"))),
        };
        let is_pinned = records.iter().any(|record| record.usage == OWN_KEY.0);
        let allows_next = records.iter().any(|record| {
            (record.usage, record.selector, record.matching) == OWN_KEY
                && record.data == next.sha256
        });
        match is_pinned && !allows_next {
            true => Err(RenewalError::Pinned(name.to_owned(), hexadecimal(&next.sha256))),
            false => Ok(record),
        }
    }

    /// Replaces the key of the account at the authority by a new one.
    ///
    /// # Errors
    /// When the store fails, or the authority is not reached or refuses.
    pub async fn replace_account_key(&self) -> Result<(), RenewalError> {
        let _asking = self.asking.lock().await;
        self.store.check_seals().await?;
        let failed = |error: acme::AcmeError| RenewalError::AccountKey(error.to_string());
        let mut account = self.open().await?.map_err(failed)?;
        let saved = account.replace_key().await.map_err(failed)?;
        // Should this fail, the authority no longer takes the key that the store has, and the next order makes an account.
        let directory = &self.authority.directory;
        record::keep_account(&*self.store, &*self.clock, directory, saved).await?;
        tracing::info!(authority = directory, "the key of the account was replaced");
        Ok(())
    }
}
