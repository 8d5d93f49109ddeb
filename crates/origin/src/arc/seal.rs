//! Sealing a message (RFC 8617 §5.1).

use super::{ArcResult, ArcVerified, Chain, INSTANCES, verify::add_field};
use crate::{
    body::BodyHash,
    dkim::{
        Folded, KeyPairError, SIGNED_FIELDS, SIGNED_LIST_FIELDS, Signer, add_relaxed, relaxed_hash,
    },
    header::HeaderSection,
};
use aws_lc_rs::digest::{Context, SHA256};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use posta_mail::Timestamp;

/// Seals a message that is sent on. Returns the three fields of the set, with their CRLFs, which must be
/// put above all others; none if no set may be added: the chain already has [`INSTANCES`] or was
/// declared broken by a sealer, or the header section is empty or too large.
///
/// `results` is the text of an `Authentication-Results` field after its colon. `body` is the hash of
/// [`crate::body::BodyCover::OURS`]. `chain` and `verified` describe the message's present chain.
///
/// # Errors
/// When the key cannot sign.
pub fn seal(
    header: &HeaderSection,
    body: BodyHash,
    chain: &Chain,
    verified: &ArcVerified,
    results: &str,
    signer: &Signer,
    now: Timestamp,
) -> Result<Option<String>, KeyPairError> {
    let instance = chain.highest + 1;
    // Content without fields may begin with white space, and would continue a field put above it.
    let is_bare = header.get(0).is_none();
    if instance > INSTANCES || verified.is_given_up || header.is_too_large() || is_bare {
        return Ok(None);
    }
    let found = format!("ARC-Authentication-Results: i={instance}; {}\r\n", results.trim_ascii());
    let message = sign_message(header, body, instance, signer, now)?;
    let mut seal = Folded::new("ARC-Seal");
    for tag in [
        format!("i={instance};"),
        format!("a={};", signer.key().algorithm().name()),
        format!("cv={};", verified.result.name()),
        format!("d={};", signer.domain().as_str()),
        format!("s={};", signer.selector()),
        format!("t={};", now.as_second()),
        "b=".to_owned(),
    ] {
        seal.word(&tag);
    }
    let mut context = Context::new(&SHA256);
    // RFC 8617 §5.1.2: in a broken chain, the seal covers only its own set.
    if let (ArcResult::Pass, Ok(sets)) = (verified.result, &chain.sets) {
        for position in sets.iter().flat_map(|set| [set.results, set.signature, set.seal]) {
            add_field(&mut context, header.get(position));
        }
    }
    for (field, end) in [(found.as_str(), "\r\n"), (&message, "\r\n"), (seal.as_str(), "")] {
        let (name, value) = field.split_once(':').unwrap_or((field, ""));
        let mut line = Vec::new();
        add_relaxed(name.as_bytes(), value.as_bytes(), &mut line);
        line.extend_from_slice(end.as_bytes());
        context.update(&line);
    }
    seal.pieces(&STANDARD.encode(signer.key().sign(&context.finish())?));
    Ok(Some([seal.finish(), message, found].concat()))
}

/// Writes the signature over the message (RFC 8617 §4.1.2). It covers the fields that exist, DKIM
/// signatures included, and does not prevent additions, since the next server of the chain may make
/// some.
fn sign_message(
    header: &HeaderSection,
    body: BodyHash,
    instance: usize,
    signer: &Signer,
    now: Timestamp,
) -> Result<String, KeyPairError> {
    let fields = SIGNED_FIELDS.iter().chain(&SIGNED_LIST_FIELDS).chain(&["DKIM-Signature"]);
    let times =
        |name: &&'static str| std::iter::repeat_n(*name, header.named(name).take(8).count());
    let mut names: Vec<_> = fields.flat_map(times).collect();
    if names.is_empty() {
        // The list of fields must not be empty (RFC 6376 §3.5).
        names.push("From");
    }
    let mut field = Folded::new("ARC-Message-Signature");
    field.word(&format!("i={instance};"));
    signer.write_tags(&mut field, &names, body, now);
    let hash = relaxed_hash(header, &names, field.as_str());
    field.pieces(&STANDARD.encode(signer.key().sign(&hash)?));
    Ok(field.finish())
}
