//! Keys for signing, and the records that publish them.

use super::Algorithm;
use aws_lc_rs::{
    digest::Digest,
    encoding::{AsDer as _, Pkcs8V1Der, PublicKeyX509Der},
    rsa::KeySize,
    signature::{Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use posta_mail::Secret;
use std::fmt;

/// A private key and its public key. The debug output contains the public key only.
pub struct KeyPair(Kind);

enum Kind {
    Rsa(RsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

/// The reason why a key cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyPairError {
    /// No keys for signing mail are made with this algorithm.
    #[error("no keys are made for this algorithm")]
    Algorithm,
    /// The octets are not a private key in PKCS #8 of a kind and length that can sign mail.
    #[error("it is no RSA key of 2,048 to 8,192 bits, and no Ed25519 key, in PKCS #8")]
    Unreadable,
    /// The library failed, for example for lack of memory or randomness.
    #[error("the library for cryptography failed")]
    Library,
}

impl KeyPair {
    /// Makes a key: RSA with 2,048 bits, which every verifier supports, or Ed25519. aws-lc-rs draws its
    /// own randomness.
    ///
    /// An RSA key takes some 100 ms of CPU time, so this must be called where no one waits.
    ///
    /// # Errors
    /// For [`Algorithm::RsaSha1`], or when the library fails.
    pub fn generate(algorithm: Algorithm) -> Result<Self, KeyPairError> {
        Ok(Self(match algorithm {
            Algorithm::RsaSha1 => return Err(KeyPairError::Algorithm),
            Algorithm::RsaSha256 => {
                let key = RsaKeyPair::generate(KeySize::Rsa2048);
                Kind::Rsa(key.map_err(|_| KeyPairError::Library)?)
            }
            Algorithm::Ed25519Sha256 => {
                Kind::Ed25519(Ed25519KeyPair::generate().map_err(|_| KeyPairError::Library)?)
            }
        }))
    }

    /// Reads a private key in PKCS #8 (DER), as returned by [`Self::to_pkcs8`].
    ///
    /// # Errors
    /// When the octets are not a key that can sign.
    pub fn from_pkcs8(key: &[u8]) -> Result<Self, KeyPairError> {
        if let Ok(key) = Ed25519KeyPair::from_pkcs8_maybe_unchecked(key) {
            return Ok(Self(Kind::Ed25519(key)));
        }
        RsaKeyPair::from_pkcs8(key)
            .map(|key| Self(Kind::Rsa(key)))
            .map_err(|_| KeyPairError::Unreadable)
    }

    /// Returns the private key in PKCS #8 (DER).
    ///
    /// # Errors
    /// When the library fails.
    pub fn to_pkcs8(&self) -> Result<Secret, KeyPairError> {
        match &self.0 {
            Kind::Rsa(key) => {
                let key: Pkcs8V1Der<'_> = key.as_der().map_err(|_| KeyPairError::Library)?;
                Ok(Secret::new(key.as_ref()))
            }
            Kind::Ed25519(key) => {
                let key = key.to_pkcs8v1().map_err(|_| KeyPairError::Library)?;
                Ok(Secret::new(key.as_ref()))
            }
        }
    }

    /// Returns the algorithm of the key's signatures.
    #[must_use]
    pub const fn algorithm(&self) -> Algorithm {
        match &self.0 {
            Kind::Rsa(_) => Algorithm::RsaSha256,
            Kind::Ed25519(_) => Algorithm::Ed25519Sha256,
        }
    }

    /// Returns the text of the DNS record that publishes the public key (RFC 6376 §3.6.1, RFC 8463 §4).
    ///
    /// # Errors
    /// When the library fails.
    pub fn record(&self) -> Result<String, KeyPairError> {
        let (kind, key) = match &self.0 {
            Kind::Rsa(key) => {
                let key: PublicKeyX509Der<'_> =
                    key.public_key().as_der().map_err(|_| KeyPairError::Library)?;
                ("rsa", STANDARD.encode(key.as_ref()))
            }
            Kind::Ed25519(key) => ("ed25519", STANDARD.encode(key.public_key().as_ref())),
        };
        Ok(format!("v=DKIM1; k={kind}; p={key}"))
    }

    /// Signs a hash.
    pub(crate) fn sign(&self, hash: &Digest) -> Result<Vec<u8>, KeyPairError> {
        match &self.0 {
            Kind::Rsa(key) => {
                let mut signature = vec![0; key.public_modulus_len()];
                key.sign_digest(&RSA_PKCS1_SHA256, hash, &mut signature)
                    .map_err(|_| KeyPairError::Library)?;
                Ok(signature)
            }
            Kind::Ed25519(key) => {
                let signature = key.try_sign(hash.as_ref()).map_err(|_| KeyPairError::Library)?;
                Ok(signature.as_ref().to_vec())
            }
        }
    }
}

impl fmt::Debug for KeyPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyPair({})", self.algorithm().name())
    }
}
