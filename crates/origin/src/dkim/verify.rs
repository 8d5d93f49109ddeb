//! Verifying signatures (RFC 6376 §6.1), once the content is complete and the keys are known.

use super::{
    Algorithm, DkimKey, Keys, RSA_BITS, Signature, SignatureError,
    algorithm::Mismatch,
    canonical::{add_relaxed, add_simple, without_signature},
    lookup::KeyLookupError,
};
use crate::{
    body::{BodyHashes, Canonicalization},
    header::{Field, HeaderSection},
};
use aws_lc_rs::digest::{Context, Digest, SHA256};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use posta_mail::Timestamp;
use std::{borrow::Cow, sync::Arc};

/// The maximal number of signatures of a message that are verified, from the top. Each costs a look-up,
/// a hash and public-key arithmetic. Mail that passed through several hosts has three or four.
pub const SIGNATURES: usize = 8;

/// The number of seconds by which a signer's clock may be ahead. RFC 6376 §3.5 allows verifiers to
/// ignore signatures from the future; clocks that are wrong by a few hours are common.
const CLOCK_SKEW: u64 = 24 * 60 * 60;

/// The result of verifying a signature, in the terms of RFC 8601 §2.7.1. `none` is for a message without
/// signatures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DkimResult {
    /// The domain takes responsibility for the message, and the covered parts are unchanged.
    Pass,
    /// A covered part was changed, or the signature is not the domain's.
    Fail,
    /// The signature may be the domain's, but its kind proves too little.
    Policy,
    /// The signature cannot be parsed.
    Neutral,
    /// The key could not be looked up now, but perhaps later.
    TempError,
    /// There is no key for the signature, or the signature does not cover what it must.
    PermError,
}

impl DkimResult {
    /// Returns the name of the result (RFC 8601 §2.7.1).
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Fail => "fail",
            Self::Policy => "policy",
            Self::Neutral => "neutral",
            Self::TempError => "temperror",
            Self::PermError => "permerror",
        }
    }
}

/// A signature that has been verified, successfully or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// The result.
    pub result: DkimResult,
    /// The reason, in words; empty if the signature passed and there is nothing to add.
    pub reason: Cow<'static, str>,
    /// The signature, parsed; none if that is impossible.
    pub signature: Option<Arc<Signature>>,
    /// The first characters of the signature, at least eight, which distinguish it from the others of
    /// the message (`header.b`, RFC 6008).
    pub short_signature: String,
}

/// The field of a signature within a header section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundSignature {
    /// The position of the field, counted from the top.
    pub position: usize,
    /// The signature, parsed.
    pub signature: Result<Arc<Signature>, SignatureError>,
}

/// The reason why a signature did not pass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SignatureFailure {
    pub(crate) result: DkimResult,
    pub(crate) reason: Cow<'static, str>,
}

/// Returns the first [`SIGNATURES`] fields that claim to be signatures, from the top.
#[must_use]
pub fn found(header: &HeaderSection) -> Vec<FoundSignature> {
    let fields = header.fields().enumerate().filter(|(_, field)| field.is("DKIM-Signature"));
    let read = |(position, field): (_, Field<'_>)| FoundSignature {
        position,
        signature: Signature::parse(field.value).map(Arc::new),
    };
    fields.take(SIGNATURES).map(read).collect()
}

/// Verifies the signatures that [`found`] returned.
///
/// `bodies` contains the hash of each [`Signature::body`], `keys` the answer for each
/// [`Signature::key_name`]. A missing hash or answer leads to [`DkimResult::TempError`].
#[must_use]
pub fn verify(
    header: &HeaderSection,
    found: &[FoundSignature],
    bodies: &BodyHashes,
    keys: &Keys,
    now: Timestamp,
) -> Vec<Verified> {
    let texts: Vec<_> = found
        .iter()
        .map(|it| {
            let octets = it.signature.as_ref().map_or(&[][..], |it| &it.signature);
            // A single one need not be told apart.
            let shown = if found.len() == 1 { octets.len().min(SHORT) } else { octets.len() };
            STANDARD.encode(&octets[..shown])
        })
        .collect();
    let verified = found.iter().enumerate().map(|(index, found)| {
        let outcome = match &found.signature {
            Ok(signature) => check_signature(header, found.position, signature, bodies, keys, now),
            Err(error) => Err(unreadable(*error)),
        };
        let (result, reason) = match outcome {
            Ok(reason) => (DkimResult::Pass, reason),
            Err(failure) => (failure.result, failure.reason),
        };
        let short_signature = shortened(&texts, index);
        Verified {
            result,
            reason,
            signature: found.signature.as_ref().ok().cloned(),
            short_signature,
        }
    });
    verified.collect()
}

fn failure(result: DkimResult, reason: impl Into<Cow<'static, str>>) -> SignatureFailure {
    SignatureFailure { result, reason: reason.into() }
}

fn unreadable(error: SignatureError) -> SignatureFailure {
    let result = match error {
        // RFC 8601 §2.7.1: "such as a required header field being absent".
        SignatureError::FromUnsigned => DkimResult::PermError,
        _ => DkimResult::Neutral,
    };
    failure(result, error.to_string())
}

/// The maximal number of characters of `header.b`. Signatures that agree in so many are the same or made
/// to cost time.
const SHORT: usize = 64;

/// Returns the first eight characters of a signature, or more if another one begins with the same (RFC
/// 6008 §4), at most [`SHORT`].
fn shortened(texts: &[String], index: usize) -> String {
    let text = &texts[index];
    let is_unique = |length: usize| {
        let others = texts.iter().enumerate().filter(|(other, _)| *other != index);
        others.into_iter().all(|(_, other)| other == text || !other.starts_with(&text[..length]))
    };
    let longest = text.len().min(SHORT);
    let length = (8..longest).find(|length| is_unique(*length)).unwrap_or(longest);
    text[..length].to_owned()
}

/// Verifies one signature. Returns a remark about one that passes.
pub(crate) fn check_signature(
    header: &HeaderSection,
    position: usize,
    signature: &Signature,
    bodies: &BodyHashes,
    keys: &Keys,
    now: Timestamp,
) -> Result<Cow<'static, str>, SignatureFailure> {
    use DkimResult::{Fail, PermError, Policy, TempError};
    if header.is_too_large() {
        return Err(failure(Policy, "the header section is too large to be verified"));
    }
    check_policy(signature, now)?;
    let body = bodies.get(signature.body);
    let body = body.ok_or_else(|| failure(TempError, "the body has not been hashed"))?;
    // RFC 6376 §3.5: the length must not exceed that of the body.
    if signature.body.length.is_some_and(|length| length > body.octets) {
        return Err(failure(Fail, "the signature covers a longer body: some of it is missing"));
    }
    if signature.body_hash != body.sha256 {
        return Err(failure(Fail, "the body has been changed"));
    }
    let key = find_key(keys, &signature.key_name())?;
    if key.is_strict
        && !signature.identity.is_empty()
        && signature.identity_domain() != signature.domain
    {
        return Err(failure(PermError, "the key is not for identities of domains within its own"));
    }
    let hash = header_hash(header, position, signature);
    check_hash(key, signature.algorithm, &hash, &signature.signature)?;
    // Anyone who passes the message on may add any text to the rest (RFC 6376 §8.2).
    if signature.body.length.is_some_and(|length| length < body.octets) {
        return Err(failure(Policy, "the signature covers only the beginning of the body"));
    }
    // The signature is as good as any other, so it passes. According to RFC 6376 §3.6.1 it would be
    // ignored, but domains that have been testing for years would then lose their mail.
    Ok(if key.is_testing { "the domain is testing" } else { "" }.into())
}

fn find_key<'a>(keys: &'a Keys, name: &str) -> Result<&'a DkimKey, SignatureFailure> {
    keys.get(name).map_err(|error| match error {
        KeyLookupError::Key(error) => failure(DkimResult::PermError, error.to_string()),
        KeyLookupError::Temporary => {
            failure(DkimResult::TempError, "the key could not be looked up")
        }
    })
}

/// Verifies the signature over a hash with the key of a name, as needed for an ARC seal.
pub(crate) fn verify_hash(
    keys: &Keys,
    key_name: &str,
    algorithm: Algorithm,
    hash: &Digest,
    signature: &[u8],
) -> Result<(), SignatureFailure> {
    if algorithm == Algorithm::RsaSha1 {
        return Err(failure(DkimResult::Policy, "SHA-1 proves nothing any more"));
    }
    check_hash(find_key(keys, key_name)?, algorithm, hash, signature)
}

fn check_hash(
    key: &DkimKey,
    algorithm: Algorithm,
    hash: &Digest,
    signature: &[u8],
) -> Result<(), SignatureFailure> {
    let mismatch = match key.verify(algorithm, hash, signature) {
        None => return Err(failure(DkimResult::PermError, "the key is for another algorithm")),
        Some(Ok(())) => return Ok(()),
        Some(Err(mismatch)) => mismatch,
    };
    Err(match mismatch {
        Mismatch::Key => failure(DkimResult::PermError, "the key cannot be read"),
        Mismatch::Length(bits) => failure(
            DkimResult::Policy,
            format!("the key has {bits} bits: {} to {} count", RSA_BITS.start(), RSA_BITS.end()),
        ),
        // RFC 6376 §3.6.1: a domain must not suffer for testing.
        Mismatch::Signature if key.is_testing => failure(
            DkimResult::Neutral,
            "the signature does not match the fields it covers, and the domain is testing",
        ),
        Mismatch::Signature => {
            failure(DkimResult::Fail, "the signature does not match the fields it covers")
        }
    })
}

/// Checks whether a signature is worth verifying.
fn check_policy(signature: &Signature, now: Timestamp) -> Result<(), SignatureFailure> {
    use DkimResult::Policy;
    let now = u64::try_from(now.as_second()).unwrap_or(0);
    // RFC 8301 §3.1.
    if signature.algorithm == Algorithm::RsaSha1 {
        return Err(failure(Policy, "SHA-1 proves nothing any more"));
    }
    if signature.expires.is_some_and(|expires| expires < now) {
        return Err(failure(Policy, "the signature has expired"));
    }
    if signature.made.is_some_and(|made| made > now + CLOCK_SKEW) {
        return Err(failure(Policy, "the signature is of the future"));
    }
    Ok(())
}

/// Hashes the fields that a signature covers, and its own field (RFC 6376 §3.7).
pub(crate) fn header_hash(
    header: &HeaderSection,
    position: usize,
    signature: &Signature,
) -> Digest {
    let mut context = Context::new(&SHA256);
    let mut line = Vec::new();
    for field in covered(header, position, &signature.fields) {
        line.clear();
        match signature.header {
            Canonicalization::Relaxed => add_relaxed(field.name, field.value, &mut line),
            Canonicalization::Simple => add_simple(&field, field.value, &mut line),
        }
        line.extend_from_slice(b"\r\n");
        context.update(&line);
    }
    line.clear();
    if let Some(own) = header.get(position) {
        let value = without_signature(own.value);
        match signature.header {
            Canonicalization::Relaxed => add_relaxed(own.name, &value, &mut line),
            Canonicalization::Simple => add_simple(&own, &value, &mut line),
        }
    }
    context.update(&line);
    context.finish()
}

/// Returns the fields with these names: for each mention, the lowest field that has not been taken, if
/// there is one (RFC 6376 §5.4.2). A signature does not cover its own field by name.
fn covered<'a>(
    header: &'a HeaderSection,
    own: usize,
    names: &'a [String],
) -> impl Iterator<Item = Field<'a>> {
    names.iter().enumerate().filter_map(move |(index, name)| {
        let taken = names[..index].iter().filter(|other| *other == name).count();
        let fields = header.fields().enumerate().rev().filter(move |(at, _)| *at != own);
        fields.map(|(_, field)| field).filter(|field| field.is(name)).nth(taken)
    })
}
