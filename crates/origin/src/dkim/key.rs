//! Records with public keys (RFC 6376 §3.6.1).

use super::{
    algorithm::{Algorithm, Mismatch, RsaKey, verify_ed25519},
    signature::base64_value,
    tags::{Tags, WHITE_SPACE},
};
use aws_lc_rs::digest::Digest;

/// The maximal number of octets in a key record. One with an RSA key of 4,096 bits has about 800.
pub const KEY_RECORD: usize = 8 * 1024;

/// A public key, and its permitted uses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DkimKey {
    kind: KeyKind,
    octets: Vec<u8>,
    /// The key in the form in which it verifies, if it is for RSA.
    rsa: RsaKey,
    /// Whether the domain is testing its signatures (`t=y`).
    pub is_testing: bool,
    /// Whether identities must be in the domain itself, not in a subdomain (`t=s`).
    pub is_strict: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum KeyKind {
    Rsa,
    Ed25519,
}

/// The reason why a text is not a key for signatures of mail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The text is not a key record at all.
    #[error("there is no key record")]
    NoKey,
    /// The record has no valid syntax.
    #[error("the key record is malformed")]
    Malformed,
    /// The key has been withdrawn (`p=`).
    #[error("the key has been revoked")]
    Revoked,
    /// The type of key is undefined.
    #[error("the key is of an unknown kind")]
    UnknownKind,
    /// The key is for hashes other than SHA-256, or for services other than mail.
    #[error("the key is not for signatures like this")]
    OtherUse,
    /// The record has more than [`KEY_RECORD`] octets.
    #[error("the key record is too long")]
    TooLong,
}

impl DkimKey {
    /// Parses a key record, whose strings have been joined.
    ///
    /// # Errors
    /// When the text is not a key record, or its key cannot verify signatures of mail.
    pub fn parse(record: &str) -> Result<Self, KeyError> {
        if record.len() > KEY_RECORD {
            return Err(KeyError::TooLong);
        }
        let tags = Tags::parse_record(record).map_err(|_| KeyError::Malformed)?;
        match tags.get("v") {
            None => {}
            // Other records use the same tag; in a key record, the version comes first.
            Some("DKIM1") if tags.first() == Some(("v", "DKIM1")) => {}
            Some(_) => return Err(KeyError::NoKey),
        }
        let key = tags.get("p").ok_or(KeyError::NoKey)?;
        let has = |name, wanted: &[&str]| {
            let values = tags.get(name)?.split(':').map(|value| value.trim_matches(WHITE_SPACE));
            Some(
                values
                    .into_iter()
                    .any(|value| wanted.iter().any(|wanted| value.eq_ignore_ascii_case(wanted))),
            )
        };
        if key.is_empty() {
            return Err(KeyError::Revoked);
        }
        if has("h", &["sha256"]) == Some(false) || has("s", &["*", "email"]) == Some(false) {
            return Err(KeyError::OtherUse);
        }
        let kind = match tags.get("k").unwrap_or("rsa") {
            kind if kind.eq_ignore_ascii_case("rsa") => KeyKind::Rsa,
            kind if kind.eq_ignore_ascii_case("ed25519") => KeyKind::Ed25519,
            _ => return Err(KeyError::UnknownKind),
        };
        let octets = base64_value(key).ok_or(KeyError::Malformed)?;
        let rsa = if kind == KeyKind::Rsa { RsaKey::new(&octets) } else { RsaKey::default() };
        Ok(Self {
            kind,
            octets,
            rsa,
            is_testing: has("t", &["y"]) == Some(true),
            is_strict: has("t", &["s"]) == Some(true),
        })
    }

    /// Returns whether another record has the same key, whatever else it says of it.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        (self.kind, &self.octets) == (other.kind, &other.octets)
    }

    /// Verifies a signature over the hash of a header; none if the key is not for that algorithm.
    pub(super) fn verify(
        &self,
        algorithm: Algorithm,
        hash: &Digest,
        signature: &[u8],
    ) -> Option<Result<(), Mismatch>> {
        match (algorithm, self.kind) {
            (Algorithm::RsaSha256, KeyKind::Rsa) => {
                Some(self.rsa.verify(&self.octets, hash, signature))
            }
            (Algorithm::Ed25519Sha256, KeyKind::Ed25519) => {
                Some(verify_ed25519(&self.octets, hash, signature))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_read() {
        let key =
            DkimKey::parse("v=DKIM1; k=ed25519; t=y : s; n=a note; h=sha1:sha256; s=email; p=YQ==");
        let key = key.unwrap();
        assert!(key.is_testing && key.is_strict && key.kind == KeyKind::Ed25519);
        let key = DkimKey::parse("p=Y Q").unwrap();
        assert!(!key.is_testing && !key.is_strict && key.kind == KeyKind::Rsa);
        assert_eq!(key.octets, b"a");
    }

    #[test]
    fn other_records_are_no_keys() {
        for (record, error) in [
            ("v=spf1 -all", KeyError::NoKey),
            ("v=DKIM2; p=YQ==", KeyError::NoKey),
            ("p=YQ==; v=DKIM1", KeyError::NoKey),
            ("v=DKIM1", KeyError::NoKey),
            ("hello", KeyError::Malformed),
            ("v=DKIM1; p=!", KeyError::Malformed),
            ("v=DKIM1; p=", KeyError::Revoked),
            ("v=DKIM1; p=YQ==; p=", KeyError::Malformed),
            ("v=DKIM1; k=dsa; p=YQ==", KeyError::UnknownKind),
            ("v=DKIM1; h=sha1; p=YQ==", KeyError::OtherUse),
            ("v=DKIM1; s=tlsrpt; p=YQ==", KeyError::OtherUse),
        ] {
            assert_eq!(DkimKey::parse(record), Err(error), "{record}");
        }
    }

    /// The record consists of a hundred joined strings of 255 octets.
    #[test]
    fn records_are_bounded() {
        let record = |octets: usize| format!("p={}", "A".repeat(octets));
        assert!(DkimKey::parse(&record(KEY_RECORD - 2)).is_ok());
        assert_eq!(DkimKey::parse(&record(100 * 255)), Err(KeyError::TooLong));
    }
}
