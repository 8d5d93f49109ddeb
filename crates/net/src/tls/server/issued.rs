//! Certificates that an authority issued to this server (ACME). They are not in files: the store has
//! them, and whoever keeps them up to date hands them over.

use super::{Loaded, TlsError, loaded};
use parking_lot::RwLock;
use posta_mail::Secret;
use rustls::{
    crypto::CryptoProvider,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, pem::PemObject},
    sign::CertifiedKey,
};
use std::{collections::HashMap, sync::Arc};

/// A certificate that an authority issued, with its key.
#[derive(Debug, Clone)]
pub struct IssuedCertificate {
    /// The name that the certificate is for, in lower case.
    pub name: String,
    /// The certificate and those that lead to its issuer, in PEM.
    pub chain: String,
    /// The private key, in PKCS #8.
    pub key: Secret,
}

/// The issued certificates in use.
#[derive(Debug, Default)]
pub(super) struct Issued(RwLock<Arc<InUse>>);

#[derive(Debug, Default)]
struct InUse {
    by_name: HashMap<String, Loaded>,
    /// The one for clients that name no host.
    own: Option<Loaded>,
}

impl Issued {
    /// Replaces the certificates; that for the name `own` is also for clients that name no host.
    ///
    /// # Errors
    /// When a certificate or a key cannot be used; those before then stay in use.
    pub(super) fn replace(
        &self,
        issued: &[IssuedCertificate],
        own: &str,
        provider: &CryptoProvider,
    ) -> Result<(), TlsError> {
        let mut by_name = HashMap::with_capacity(issued.len());
        for certificate in issued {
            by_name.insert(certificate.name.clone(), load(certificate, provider)?);
        }
        let own = by_name.get(own).cloned();
        *self.0.write() = Arc::new(InUse { by_name, own });
        Ok(())
    }

    /// Returns the certificate for a name.
    pub(super) fn named(&self, name: &str) -> Option<Loaded> {
        let in_use = self.0.read().clone();
        if in_use.by_name.is_empty() {
            return None;
        }
        in_use.by_name.get(&name.to_ascii_lowercase()).cloned()
    }

    /// Returns all certificates with their names, in the order of the names.
    pub(super) fn all(&self) -> Vec<(String, Loaded)> {
        let in_use = self.0.read().clone();
        let mut all: Vec<_> =
            in_use.by_name.iter().map(|(name, loaded)| (name.clone(), loaded.clone())).collect();
        all.sort_by(|(one, _), (other, _)| one.cmp(other));
        all
    }

    /// Returns the certificate for clients that name no host.
    pub(super) fn own(&self) -> Option<Loaded> {
        self.0.read().own.clone()
    }
}

fn load(
    IssuedCertificate { name, chain, key }: &IssuedCertificate,
    provider: &CryptoProvider,
) -> Result<Loaded, TlsError> {
    let wrong = |cause: String| TlsError::Issued { name: name.clone(), cause };
    let chain = CertificateDer::pem_slice_iter(chain.as_bytes()).collect::<Result<Vec<_>, _>>();
    let chain = chain.map_err(|error| wrong(error.to_string()))?;
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.expose().to_vec()));
    let key = CertifiedKey::from_der(chain, key, provider);
    Ok(loaded(key.map_err(|error| wrong(error.to_string()))?))
}
