//! Seals mail that is forwarded (ARC: RFC 8617): a set of fields that tells the next server what was found here.
//!
//! Forwarding breaks SPF, and the next server may change the message further and break DKIM. A server that trusts this
//! one then finds in the seal that the message passed DMARC here. The signature of the set covers the message as it
//! arrived, which is how it goes on: this server only adds fields above it and removes forged results.

use super::signers::Signers;
use posta_mail::{Domain, Timestamp};
use posta_origin::{arc::ArcVerified, dkim::Algorithm, observer::Observed};

/// Returns the ARC set of a message, to be placed above all other fields. The text is empty if the domain has no active
/// key, if the chain must not be continued, or if the key cannot be used; the last is logged.
///
/// `results` is the `Authentication-Results` field that tells the results of the checks here. Of a domain's keys the one
/// for RSA seals, since few verifiers of ARC know Ed25519.
pub(crate) async fn seal(
    observed: &Observed,
    verified: &ArcVerified,
    results: &str,
    (signers, domain): (&Signers, &Domain),
    now: Timestamp,
) -> String {
    let signers = match signers.of(domain).await {
        Ok(signers) => signers,
        Err(error) => {
            tracing::error!(%error, %domain, "a forwarded message goes out unsealed");
            return String::new();
        }
    };
    let is_rsa = |algorithm| algorithm == Algorithm::RsaSha256;
    let rsa = signers.iter().find(|signer| is_rsa(signer.key().algorithm()));
    let Some(signer) = rsa.or(signers.first()) else { return String::new() };
    let (_, results) = results.split_once(':').unwrap_or(("", results));
    match observed.seal(verified, results, signer, now) {
        Ok(set) => set.unwrap_or_default(),
        Err(error) => {
            tracing::error!(%error, %domain, "a forwarded message goes out unsealed");
            String::new()
        }
    }
}
