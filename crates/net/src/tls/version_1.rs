//! Certificates of X.509 version 1 and 2 (RFC 5280 §4.1.2.1): the library reads no server's certificate that is older than
//! version 3. Programs that make certificates for machines in a house still write them (`openssl x509 -req` without
//! extensions), and so do printers and other devices.
//!
//! Such a certificate names no host, so no authority's signature makes it one for a server. It is used where its
//! contents do not matter: the operator lists it, DNS names it (RFC 7672), or any certificate will do.

use posta_mail::Timestamp;
use rustls::{
    CertificateError, DigitallySignedStruct, Error,
    client::danger::HandshakeSignatureValid,
    crypto::WebPkiSupportedAlgorithms,
    pki_types::{CertificateDer, SubjectPublicKeyInfoDer, UnixTime},
};
use std::time::Duration;
use webpki::{EndEntityCert, Error as PkiError, RawPublicKeyEntity};

/// The tags of DER (X.690 §8) that such a certificate has.
const INTEGER: u8 = 0x02;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;

/// A certificate of version 1 or 2.
#[derive(Debug)]
pub(super) struct OldCertificate<'a> {
    not_before: UnixTime,
    not_after: UnixTime,
    pub(super) key: SubjectPublicKeyInfoDer<'a>,
}

impl<'a> OldCertificate<'a> {
    /// Reads a certificate; `None` if the library reads it itself, or if it is malformed.
    pub(super) fn read(certificate: &'a CertificateDer<'_>) -> Option<Self> {
        match EndEntityCert::try_from(certificate) {
            Err(PkiError::UnsupportedCertVersion) => {}
            _ => return None,
        }
        let (whole, _) = element(certificate, SEQUENCE)?;
        let (mut fields, _) = element(whole.content, SEQUENCE)?;
        // RFC 5280 §4.1: version, serialNumber, signature, issuer, validity, subject, subjectPublicKeyInfo.
        let mut rest = fields.content;
        if let Some((_, after)) = element(rest, VERSION) {
            rest = after;
        }
        let mut next = |tag| {
            let (found, after) = element(rest, tag)?;
            rest = after;
            Some(found)
        };
        next(INTEGER)?;
        next(SEQUENCE)?;
        next(SEQUENCE)?;
        let validity = next(SEQUENCE)?;
        next(SEQUENCE)?;
        fields = next(SEQUENCE)?;
        let (not_before, after) = time(validity.content)?;
        let (not_after, _) = time(after)?;
        Some(Self { not_before, not_after, key: fields.whole.into() })
    }

    /// Checks that the certificate is valid at a time.
    ///
    /// # Errors
    /// When it is not.
    pub(super) fn check_time(&self, time: UnixTime) -> Result<(), PkiError> {
        let &Self { not_before, not_after, .. } = self;
        if time < not_before {
            return Err(PkiError::CertNotValidYet { time, not_before });
        }
        if time > not_after {
            return Err(PkiError::CertExpired { time, not_after });
        }
        Ok(())
    }

    /// Checks that the server has the key of the certificate, in a handshake of any version of TLS that is spoken here.
    /// `signature` is by a scheme that this version allows.
    ///
    /// # Errors
    /// When the server does not have it.
    pub(super) fn check_signature(
        &self,
        message: &[u8],
        signature: &DigitallySignedStruct,
        known: &WebPkiSupportedAlgorithms,
    ) -> Result<HandshakeSignatureValid, Error> {
        let key = RawPublicKeyEntity::try_from(&self.key);
        let key = key.map_err(|_| Error::InvalidCertificate(CertificateError::BadEncoding))?;
        let fitting = known.mapping.iter().filter(|(scheme, _)| *scheme == signature.scheme);
        let mut algorithms = fitting.flat_map(|(_, algorithms)| algorithms.iter());
        let is_right =
            algorithms.any(|it| key.verify_signature(*it, message, signature.signature()).is_ok());
        match is_right {
            true => Ok(HandshakeSignatureValid::assertion()),
            false => Err(Error::InvalidCertificate(CertificateError::BadSignature)),
        }
    }
}

/// An element of DER-encoded data.
pub(super) struct Element<'a> {
    /// Its octets, with tag and length.
    pub(super) whole: &'a [u8],
    pub(super) content: &'a [u8],
}

/// Returns the first element of DER-encoded data if it has this tag, and what follows it.
pub(super) fn element(der: &[u8], tag: u8) -> Option<(Element<'_>, &[u8])> {
    let (&found, rest) = der.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (octets, rest) = match first {
        // The number of octets that hold the length. A certificate is shorter than 64 KiB.
        0x81 | 0x82 => rest.split_at_checked(usize::from(first & 0x7f))?,
        0..=0x7f => (&[first][..0], rest),
        _ => return None,
    };
    let length = match octets {
        [] => usize::from(first),
        some => some.iter().fold(0, |length, &octet| length << 8 | usize::from(octet)),
    };
    let (content, after) = rest.split_at_checked(length)?;
    let whole = &der[..der.len() - after.len()];
    (found == tag).then_some((Element { whole, content }, after))
}

/// Reads a time (RFC 5280 §4.1.2.5), and returns what follows it.
fn time(der: &[u8]) -> Option<(UnixTime, &[u8])> {
    let two_digits = element(der, UTC_TIME);
    let is_short = two_digits.is_some();
    let (found, after) = two_digits.or_else(|| element(der, GENERALIZED_TIME))?;
    let text = str::from_utf8(found.content).ok()?;
    let (year, rest) = match is_short {
        true => {
            let (year, rest) = text.split_at_checked(2)?;
            let century = if year < "50" { "20" } else { "19" };
            (format!("{century}{year}"), rest)
        }
        false => text.split_at_checked(4).map(|(year, rest)| (year.to_owned(), rest))?,
    };
    let digits = rest.strip_suffix('Z').filter(|digits| digits.len() == 10 && digits.is_ascii())?;
    let two = |at: usize| &digits[at..at + 2];
    let written = format!("{year}-{}-{}T{}:{}:{}Z", two(0), two(2), two(4), two(6), two(8));
    let seconds = written.parse::<Timestamp>().ok()?.as_second();
    // Before 1970 is long past.
    let seconds = Duration::from_secs(u64::try_from(seconds).unwrap_or_default());
    Some((UnixTime::since_unix_epoch(seconds), after))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_both_forms_are_read() {
        let at = |tag: u8, text: &str| {
            let der = [&[tag, text.len() as u8], text.as_bytes(), b"rest"].concat();
            time(&der).map(|(time, rest)| {
                assert_eq!(rest, b"rest");
                time.as_secs()
            })
        };
        assert_eq!(at(UTC_TIME, "270115080000Z"), Some(1_800_000_000));
        assert_eq!(at(GENERALIZED_TIME, "20270115080000Z"), Some(1_800_000_000));
        assert_eq!(at(UTC_TIME, "500101000000Z"), Some(0));
        for wrong in ["2701150800Z", "271315080000Z", "270115080000", "27011508000\u{e9}Z", ""] {
            assert_eq!(at(UTC_TIME, wrong), None, "{wrong}");
        }
        assert_eq!(at(INTEGER, "270115080000Z"), None);
    }

    /// What is cut off or claims to be longer than it is has no elements.
    #[test]
    fn lengths_are_those_that_there_are() {
        for der in [&[][..], &[SEQUENCE], &[SEQUENCE, 1], &[SEQUENCE, 0x82, 1], &[SEQUENCE, 0x80]] {
            assert!(element(der, SEQUENCE).is_none(), "{der:?}");
        }
        let long = [&[SEQUENCE, 0x81, 200][..], &[7; 201]].concat();
        let (found, after) = element(&long, SEQUENCE).unwrap();
        assert_eq!((found.whole.len(), found.content.len(), after.len()), (203, 200, 1));
        assert!(element(&long, INTEGER).is_none());
    }
}
