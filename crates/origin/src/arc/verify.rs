//! Validating a chain (RFC 8617 §5.2).

use super::{
    ArcSet, Chain,
    chain::{FoundSet, SealVerdict},
};
use crate::{
    body::BodyHashes,
    dkim::{
        DkimResult, Keys, SignatureFailure, add_relaxed, check_signature, verify_hash,
        without_signature,
    },
    header::{Field, HeaderSection},
};
use aws_lc_rs::digest::{Context, Digest, SHA256};
use posta_mail::Timestamp;
use std::borrow::Cow;

/// The result of validating a chain (RFC 8617 §4.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ArcResult {
    /// There is no chain.
    None,
    /// The sets are unchanged, and so is the message that the last sealer sealed.
    Pass,
    /// The chain is broken.
    Fail,
}

impl ArcResult {
    /// Returns the name of the result in Authentication-Results fields.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Pass => "pass",
            Self::Fail => "fail",
        }
    }
}

/// A chain that has been validated, successfully or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArcVerified {
    /// The result.
    pub result: ArcResult,
    /// The reason for a failure, in words; empty otherwise.
    pub reason: Cow<'static, str>,
    /// Whether the only reason for the failure is that a key could not be looked up.
    pub is_temporary: bool,
    /// The statements of the sealers, from the oldest to the newest; empty unless the chain passes.
    pub sets: Vec<ArcSet>,
    /// The highest instance in any field, even in a broken chain.
    pub highest: usize,
    /// Whether a seal already declares the chain broken, so that no server may continue it.
    pub is_given_up: bool,
}

/// Validates the chain that [`Chain::find`] found.
///
/// `bodies` contains the hash of [`Chain::body`], `keys` the answers for [`Chain::key_names`].
#[must_use]
pub fn verify(
    header: &HeaderSection,
    chain: &Chain,
    bodies: &BodyHashes,
    keys: &Keys,
    now: Timestamp,
) -> ArcVerified {
    let mut verified = ArcVerified {
        result: ArcResult::None,
        reason: "".into(),
        is_temporary: false,
        sets: Vec::new(),
        highest: chain.highest,
        is_given_up: false,
    };
    let outcome = match &chain.sets {
        Ok(sets) if sets.is_empty() => return verified,
        Ok(sets) => {
            verified.is_given_up = sets.iter().any(|set| set.sealed.verdict == SealVerdict::Fail);
            validate(header, sets, bodies, keys, now)
        }
        Err(reason) => {
            Err(SignatureFailure { result: DkimResult::PermError, reason: reason.clone() })
        }
    };
    match (outcome, &chain.sets) {
        (Ok(()), Ok(sets)) => {
            verified.result = ArcResult::Pass;
            verified.sets = sets.iter().map(|set| set.statement.clone()).collect();
        }
        (outcome, _) => {
            verified.result = ArcResult::Fail;
            if let Err(failure) = outcome {
                verified.is_temporary = failure.result == DkimResult::TempError;
                verified.reason = failure.reason;
            }
        }
    }
    verified
}

/// Validates the sets of a chain that has any: the newest signature, then the seals from the newest to the oldest.
fn validate(
    header: &HeaderSection,
    sets: &[FoundSet],
    bodies: &BodyHashes,
    keys: &Keys,
    now: Timestamp,
) -> Result<(), SignatureFailure> {
    if sets.iter().any(|set| set.sealed.verdict == SealVerdict::Fail) {
        let reason = "a sealer found the chain broken".into();
        return Err(SignatureFailure { result: DkimResult::Fail, reason });
    }
    let Some(newest) = sets.last() else { return Ok(()) };
    let of = |number: usize, what: &str, failure: SignatureFailure| SignatureFailure {
        reason: format!("{what} {number}: {}", failure.reason).into(),
        ..failure
    };
    check_signature(header, newest.signature, &newest.message, bodies, keys, now)
        .map_err(|failure| of(sets.len(), "ARC-Message-Signature", failure))?;
    let hashes = seal_hashes(header, sets);
    for (index, (set, hash)) in sets.iter().zip(&hashes).enumerate().rev() {
        let seal = &set.sealed;
        verify_hash(keys, &seal.key_name(), seal.algorithm, hash, &seal.signature)
            .map_err(|failure| of(index + 1, "ARC-Seal", failure))?;
    }
    Ok(())
}

/// Returns the hash that each seal covers: all sets so far, in relaxed form (RFC 8617 §5.1.1). Each hash
/// continues the one before, so the cost of fifty sets is that of hashing them once.
fn seal_hashes(header: &HeaderSection, sets: &[FoundSet]) -> Vec<Digest> {
    let mut context = Context::new(&SHA256);
    let mut hashes = Vec::with_capacity(sets.len());
    for set in sets {
        for position in [set.results, set.signature] {
            add_field(&mut context, header.get(position));
        }
        let mut sealed = context.clone();
        if let Some(Field { name, value, .. }) = header.get(set.seal) {
            let mut line = Vec::new();
            add_relaxed(name, &without_signature(value), &mut line);
            sealed.update(&line);
        }
        hashes.push(sealed.finish());
        add_field(&mut context, header.get(set.seal));
    }
    hashes
}

/// Adds a whole field in relaxed form.
pub(super) fn add_field(context: &mut Context, field: Option<Field<'_>>) {
    if let Some(Field { name, value, .. }) = field {
        let mut line = Vec::new();
        add_relaxed(name, value, &mut line);
        line.extend_from_slice(b"\r\n");
        context.update(&line);
    }
}
