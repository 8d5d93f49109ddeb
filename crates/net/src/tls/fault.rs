//! The faults that another server's certificate can have, worded for people and named as in TLS reports.
//! The verifiers in [`client`](super::client) and [`dane`](super::dane) return them.

use crate::tls::failure::TlsFailure;
use posta_mail::Timestamp;
use rustls::{
    CertificateError, Error, OtherError,
    pki_types::{CertificateDer, ServerName, UnixTime},
};
use std::{fmt, sync::Arc};
use webpki::{EndEntityCert, Error as PkiError};

/// The maximal number of a certificate's names in a message: its owner chose them, and there may be
/// thousands.
const NAMES: usize = 3;

/// A fault of a server's certificate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CertificateFault {
    /// The certificate is not one of those that DNS names (RFC 7672 §3).
    #[error("the certificate is not the one that DNS names (TLSA)")]
    NotNamed,
    /// The certificate has expired.
    #[error("the certificate expired on {}", Day(*.0))]
    Expired(UnixTime),
    /// The certificate is not valid yet.
    #[error("the certificate is not valid before {}; is a clock wrong?", Day(*.0))]
    NotYetValid(UnixTime),
    /// The certificate is for other names.
    #[error("the certificate is for {names}, not for {wanted}")]
    WrongName {
        /// The names that the certificate is for, in words.
        names: String,
        /// The server's name, which the certificate should be for.
        wanted: String,
    },
    /// No trusted authority signed it.
    #[error(
        "the certificate is from an authority that is not known here, or the server does not show all \
         certificates that lead to one"
    )]
    UnknownAuthority,
    /// The certificate is self-signed.
    #[error("the certificate is self-signed: no authority vouches for it")]
    SelfSigned,
    /// The certificate is an authority's, which a server must not use as its own (RFC 5280 §4.2.1.9).
    #[error("the certificate is an authority's (CA:TRUE), not a server's{}", .is_self_signed.then_some(", and self-signed").unwrap_or_default())]
    OfAuthority {
        /// Whether the authority signed its own certificate, as an authority set up by the server's
        /// owner does.
        is_self_signed: bool,
    },
    /// The certificate is of version 1 or 2, which cannot contain host names (RFC 5280 §4.1.2.1).
    #[error("the certificate is of X.509 version 1; a server's must be of version 3")]
    OldVersion,
    /// The certificate was made for another purpose (RFC 5280 §4.2.1.12).
    #[error("the certificate is not for servers (extended key usage)")]
    WrongPurpose,
    /// The server does not have the key of the certificate.
    #[error("the server does not have the key of the certificate that it shows")]
    Forged,
    /// The certificate is signed or made in a way that this program does not support.
    #[error("the certificate is signed in a way that is not known here, or no longer safe")]
    Unsupported,
    /// The certificate cannot be parsed, or breaks a rule.
    #[error("the certificate is malformed, or breaks a rule of those that signed it")]
    Malformed,
}

impl CertificateFault {
    /// Returns the name of the fault in TLS reports.
    pub const fn failure(&self) -> TlsFailure {
        match self {
            Self::NotNamed => TlsFailure::TlsaInvalid,
            Self::Expired(_) => TlsFailure::CertificateExpired,
            Self::NotYetValid(_) => TlsFailure::CertificateNotYetValid,
            Self::WrongName { .. } => TlsFailure::CertificateHostMismatch,
            Self::UnknownAuthority => TlsFailure::CertificateNotTrusted,
            Self::SelfSigned => TlsFailure::CertificateSelfSigned,
            Self::OfAuthority { .. } => TlsFailure::CertificateOfAuthority,
            Self::OldVersion => TlsFailure::CertificateOldVersion,
            Self::WrongPurpose | Self::Forged | Self::Unsupported | Self::Malformed => {
                TlsFailure::CertificateUnusable
            }
        }
    }

    /// Returns the fault behind an error of the library, for a certificate that the server `wanted` showed.
    pub fn of(error: &PkiError, end_entity: &CertificateDer<'_>, wanted: &ServerName<'_>) -> Self {
        match error {
            PkiError::CertExpired { not_after, .. } => Self::Expired(*not_after),
            PkiError::CertNotValidYet { not_before, .. } => Self::NotYetValid(*not_before),
            PkiError::CertNotValidForName(_) => {
                Self::WrongName { names: names(end_entity), wanted: wanted.to_str().into_owned() }
            }
            // A wrong signature means that another authority has the same name, for example a
            // predecessor.
            PkiError::UnknownIssuer | PkiError::InvalidSignatureForPublicKey => {
                match is_self_signed(end_entity) {
                    true => Self::SelfSigned,
                    false => Self::UnknownAuthority,
                }
            }
            PkiError::CaUsedAsEndEntity => {
                Self::OfAuthority { is_self_signed: is_self_signed(end_entity) }
            }
            PkiError::UnsupportedCertVersion => Self::OldVersion,
            PkiError::RequiredEkuNotFoundContext(_) | PkiError::EmptyEkuExtension => {
                Self::WrongPurpose
            }
            PkiError::UnsupportedSignatureAlgorithmContext(_)
            | PkiError::UnsupportedSignatureAlgorithmForPublicKeyContext(_)
            | PkiError::UnsupportedCriticalExtension => Self::Unsupported,
            _ => Self::Malformed,
        }
    }
}

impl From<CertificateFault> for Error {
    fn from(fault: CertificateFault) -> Self {
        Self::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(fault))))
    }
}

/// A day, as people read it.
struct Day(UnixTime);

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = i64::try_from(self.0.as_secs()).unwrap_or(i64::MAX);
        let time = Timestamp::from_second(seconds).unwrap_or(Timestamp::MAX);
        write!(f, "{}", time.strftime("%Y-%m-%d"))
    }
}

fn names(certificate: &CertificateDer<'_>) -> String {
    let Ok(certificate) = EndEntityCert::try_from(certificate) else { return "nobody".to_owned() };
    let mut names = certificate.valid_dns_names();
    let first: Vec<&str> = names.by_ref().take(NAMES).collect();
    match (&first[..], names.next()) {
        ([], _) => "no host name".to_owned(),
        (all, None) => all.join(", "),
        (first, Some(_)) => format!("{} and others", first.join(", ")),
    }
}

fn is_self_signed(certificate: &CertificateDer<'_>) -> bool {
    EndEntityCert::try_from(certificate).is_ok_and(|parsed| parsed.issuer() == parsed.subject())
}
