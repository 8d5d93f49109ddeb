//! Making signatures (RFC 6376 §5).

use super::{Folded, KeyPair, KeyPairError, canonical::add_relaxed};
use crate::{
    body::BodyHash,
    header::{Field, HeaderSection},
};
use aws_lc_rs::digest::{Context, Digest, SHA256};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use posta_mail::{Domain, Timestamp};

/// The fields that are covered whether or not a message has them, once more often than they occur:
/// nobody can add another one without breaking the signature (RFC 6376 §8.15).
pub(crate) const SIGNED_FIELDS: [&str; 13] = [
    "From",
    "Sender",
    "Reply-To",
    "To",
    "Cc",
    "Subject",
    "Date",
    "Message-ID",
    "In-Reply-To",
    "References",
    "MIME-Version",
    "Content-Type",
    "Content-Transfer-Encoding",
];

/// The fields of mailing lists (RFC 2369, RFC 2919, RFC 8058), which are covered in the same way if a
/// message has them. If it has none, a mailing list may add them: otherwise the signature would break on
/// every list.
pub(crate) const SIGNED_LIST_FIELDS: [&str; 8] = [
    "List-Id",
    "List-Help",
    "List-Unsubscribe",
    "List-Unsubscribe-Post",
    "List-Subscribe",
    "List-Post",
    "List-Owner",
    "List-Archive",
];

/// Signs mail for a domain with one of its keys.
#[derive(Debug)]
pub struct Signer {
    domain: Domain,
    selector: String,
    key: KeyPair,
}

impl Signer {
    /// Returns a signer for a domain, with the key that DNS publishes under `selector`.
    #[must_use]
    pub const fn new(domain: Domain, selector: String, key: KeyPair) -> Self {
        Self { domain, selector, key }
    }

    /// Returns the domain of the signatures.
    #[must_use]
    pub const fn domain(&self) -> &Domain {
        &self.domain
    }

    /// Returns the selector, which names the key within the domain.
    #[must_use]
    pub fn selector(&self) -> &str {
        &self.selector
    }

    /// Returns the key.
    #[must_use]
    pub const fn key(&self) -> &KeyPair {
        &self.key
    }

    /// Signs a message. Returns the `DKIM-Signature` field, with its CRLF, which must be put above all
    /// others.
    ///
    /// `body` is the hash of [`crate::body::BodyCover::OURS`].
    ///
    /// # Errors
    /// When the key cannot sign.
    pub fn sign(
        &self,
        header: &HeaderSection,
        body: BodyHash,
        now: Timestamp,
    ) -> Result<String, KeyPairError> {
        let names = signed_names(header);
        let mut field = Folded::new("DKIM-Signature");
        field.word("v=1;");
        self.write_tags(&mut field, &names, body, now);
        let hash = relaxed_hash(header, &names, field.as_str());
        field.pieces(&STANDARD.encode(self.key.sign(&hash)?));
        Ok(field.finish())
    }

    /// Writes the tags that DKIM and ARC signatures share, up to the tag of the signature itself.
    pub(crate) fn write_tags(
        &self,
        field: &mut Folded,
        names: &[&str],
        body: BodyHash,
        now: Timestamp,
    ) {
        field.word(&format!("a={};", self.key.algorithm().name()));
        field.word("c=relaxed/relaxed;");
        field.word(&format!("d={};", self.domain.as_str()));
        field.word(&format!("s={};", self.selector));
        field.word(&format!("t={};", now.as_second()));
        field.word("h=");
        field.names(names.iter().copied());
        field.glue(";");
        field.word("bh=");
        field.pieces(&STANDARD.encode(body.sha256));
        field.glue(";");
        field.word("b=");
    }
}

/// Hashes the fields with these names, and the signature's own field, which has no signature yet.
pub(crate) fn relaxed_hash(header: &HeaderSection, names: &[&str], own: &str) -> Digest {
    let mut context = Context::new(&SHA256);
    let mut line = Vec::new();
    for (index, name) in names.iter().enumerate() {
        let taken = names[..index].iter().filter(|other| *other == name).count();
        if let Some(Field { name, value, .. }) = header.named(name).rev().nth(taken) {
            line.clear();
            add_relaxed(name, value, &mut line);
            line.extend_from_slice(b"\r\n");
            context.update(&line);
        }
    }
    line.clear();
    let (name, value) = own.split_once(':').unwrap_or((own, ""));
    add_relaxed(name.as_bytes(), value.as_bytes(), &mut line);
    context.update(&line);
    context.finish()
}

/// Returns the names of the fields to cover, each once more often than it occurs in the message.
fn signed_names(header: &HeaderSection) -> Vec<&'static str> {
    let times = |name: &'static str, spare: usize| {
        // Several fields of one name violate RFC 5322 §3.6; eight are as many as a verifier would look
        // for.
        let count = header.named(name).take(8).count();
        std::iter::repeat_n(name, if count == 0 { spare } else { count + 1 })
    };
    let always = SIGNED_FIELDS.iter().flat_map(|name| times(name, 1));
    always.chain(SIGNED_LIST_FIELDS.iter().flat_map(|name| times(name, 0))).collect()
}
