//! The algorithms of signatures (RFC 6376 §3.3, RFC 8301, RFC 8463).

use aws_lc_rs::{
    digest::Digest,
    rsa::PublicKey,
    signature::{
        ED25519, ParsedPublicKey, RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY, UnparsedPublicKey,
    },
};
use std::{fmt, ops::RangeInclusive};

/// The lengths in bits of acceptable RSA keys. Shorter ones can be broken (RFC 8301 §3.2); longer ones
/// are not in use, and would be expensive to verify.
pub const RSA_BITS: RangeInclusive<usize> = 1_024..=4_096;

/// The algorithm of a signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// `rsa-sha1`, which proves nothing any more (RFC 8301 §3.1).
    RsaSha1,
    /// `rsa-sha256`
    RsaSha256,
    /// `ed25519-sha256` (RFC 8463)
    Ed25519Sha256,
}

/// The fault of a key or a signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mismatch {
    /// The key cannot be read.
    Key,
    /// The length of an RSA key is not within [`RSA_BITS`].
    Length(usize),
    /// The signature was not made by this key over this hash.
    Signature,
}

impl Algorithm {
    /// Returns the name used in signatures.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::RsaSha1 => "rsa-sha1",
            Self::RsaSha256 => "rsa-sha256",
            Self::Ed25519Sha256 => "ed25519-sha256",
        }
    }

    /// Returns the number of octets of the hash of a body.
    pub(crate) const fn hash_octets(self) -> usize {
        match self {
            Self::RsaSha1 => 20,
            Self::RsaSha256 | Self::Ed25519Sha256 => 32,
        }
    }

    /// Returns the algorithm with this name. Case is ignored, as in all names that mail programs write.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        let known = [Self::RsaSha1, Self::RsaSha256, Self::Ed25519Sha256];
        known.into_iter().find(|known| name.eq_ignore_ascii_case(known.name()))
    }
}

/// An RSA key as the library uses it; none if the library refuses the key. It derives from the octets beside it, so it
/// makes no key different.
#[derive(Clone, Default)]
pub(super) struct RsaKey(Option<ParsedPublicKey>);

impl RsaKey {
    /// Prepares the key with these octets.
    pub(super) fn new(octets: &[u8]) -> Self {
        Self(ParsedPublicKey::new(&RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY, octets).ok())
    }

    /// Verifies the signature of the key with these octets over a hash.
    pub(super) fn verify(
        &self,
        octets: &[u8],
        hash: &Digest,
        signature: &[u8],
    ) -> Result<(), Mismatch> {
        // A signature is as long as the modulus (RFC 8017 §8.2.2), and this algorithm refuses keys of less
        // than 1,024 bits: one that verifies within this length needs no second look at its key.
        if 8 * signature.len() <= *RSA_BITS.end()
            && let Some(key) = &self.0
            && key.verify_digest_sig(hash, signature).is_ok()
        {
            return Ok(());
        }
        let parsed = PublicKey::from_der(octets).map_err(|_| Mismatch::Key)?;
        let modulus = parsed.modulus().big_endian_without_leading_zero();
        let bits =
            8 * modulus.len() - modulus.first().map_or(0, |first| first.leading_zeros()) as usize;
        Err(if RSA_BITS.contains(&bits) { Mismatch::Signature } else { Mismatch::Length(bits) })
    }
}

impl fmt::Debug for RsaKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RsaKey")
    }
}

impl PartialEq for RsaKey {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for RsaKey {}

/// Verifies the signature of an Ed25519 key over a hash, which is treated as the message (RFC 8463 §3).
pub(crate) fn verify_ed25519(key: &[u8], hash: &Digest, signature: &[u8]) -> Result<(), Mismatch> {
    if key.len() != 32 {
        return Err(Mismatch::Key);
    }
    UnparsedPublicKey::new(&ED25519, key)
        .verify(hash.as_ref(), signature)
        .map_err(|_| Mismatch::Signature)
}
