//! What can be wrong with a server's certificate, in words for people and as the cause that reports name.

use crate::tls::failure::Failure;
use posta_mail::Timestamp;
use rustls::{
    CertificateError, Error, OtherError,
    pki_types::{CertificateDer, ServerName, UnixTime},
};
use std::{fmt, sync::Arc};
use webpki::{EndEntityCert, Error as PkiError};

/// Names of a certificate that are told at most: its owner chose them, and there may be thousands.
const NAMES: usize = 3;

/// What is wrong with a server's certificate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CertificateFault {
    /// It is none of those that DNS names (RFC 7672 §3).
    #[error("the certificate is not the one that DNS names (TLSA)")]
    NotNamed,
    /// Its time is over.
    #[error("the certificate expired on {}", Day(*.0))]
    Expired(UnixTime),
    /// Its time has not come.
    #[error("the certificate is not valid before {}; is a clock wrong?", Day(*.0))]
    NotYetValid(UnixTime),
    /// It is for other names.
    #[error("the certificate is for {names}, not for {wanted}")]
    WrongName {
        /// Those that it is for, in words.
        names: String,
        /// The one that it should be for.
        wanted: String,
    },
    /// Nobody whom we believe signed it.
    #[error(
        "the certificate is from an authority that is not known here, or the server does not show all \
         certificates that lead to one"
    )]
    UnknownAuthority,
    /// Its owner signed it.
    #[error("the certificate is self-signed: no authority vouches for it")]
    SelfSigned,
    /// It is an authority's, with which a server must not show up (RFC 5280 §4.2.1.9).
    #[error("the certificate is an authority's (CA:TRUE), not a server's{}", .is_self_signed.then_some(", and self-signed").unwrap_or_default())]
    OfAuthority {
        /// Whether it is the server's own authority.
        is_self_signed: bool,
    },
    /// It is of version 1 or 2, which knows no names (RFC 5280 §4.1.2.1).
    #[error("the certificate is of X.509 version 1; a server's must be of version 3")]
    OldVersion,
    /// It is for something else (RFC 5280 §4.2.1.12).
    #[error("the certificate is not for servers (extended key usage)")]
    WrongPurpose,
    /// Whoever shows it does not have its key.
    #[error("the server does not have the key of the certificate that it shows")]
    Forged,
    /// It is signed or made in a way that we do not know.
    #[error("the certificate is signed in a way that is not known here, or no longer safe")]
    Unsupported,
    /// It cannot be read, or breaks a rule.
    #[error("the certificate is malformed, or breaks a rule of those that signed it")]
    Malformed,
}

impl CertificateFault {
    /// What a report calls it.
    pub const fn failure(&self) -> Failure {
        match self {
            Self::NotNamed => Failure::TlsaInvalid,
            Self::Expired(_) => Failure::CertificateExpired,
            Self::NotYetValid(_) => Failure::CertificateNotYetValid,
            Self::WrongName { .. } => Failure::CertificateHostMismatch,
            Self::UnknownAuthority => Failure::CertificateNotTrusted,
            Self::SelfSigned => Failure::CertificateSelfSigned,
            Self::OfAuthority { .. } => Failure::CertificateOfAuthority,
            Self::OldVersion => Failure::CertificateOldVersion,
            Self::WrongPurpose | Self::Forged | Self::Unsupported | Self::Malformed => {
                Failure::CertificateUnusable
            }
        }
    }

    /// What was found of a certificate, for a server of this name.
    pub fn found(
        error: &PkiError,
        end_entity: &CertificateDer<'_>,
        wanted: &ServerName<'_>,
    ) -> Self {
        match error {
            PkiError::CertExpired { not_after, .. } => Self::Expired(*not_after),
            PkiError::CertNotValidYet { not_before, .. } => Self::NotYetValid(*not_before),
            PkiError::CertNotValidForName(_) => {
                Self::WrongName { names: names(end_entity), wanted: wanted.to_str().into_owned() }
            }
            // A signature that does not fit is that of another of the same name, as of the one before it.
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
    let told: Vec<&str> = names.by_ref().take(NAMES).collect();
    match (&told[..], names.next()) {
        ([], _) => "no host name".to_owned(),
        (told, None) => told.join(", "),
        (told, Some(_)) => format!("{} and others", told.join(", ")),
    }
}

fn is_self_signed(certificate: &CertificateDer<'_>) -> bool {
    EndEntityCert::try_from(certificate).is_ok_and(|parsed| parsed.issuer() == parsed.subject())
}
