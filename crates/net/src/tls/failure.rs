//! What can go wrong with TLS to another server, in the terms of TLS reports (RFC 8460 §4.3). Certificates, DANE and MTA-STS
//! all tell their failures in them; the reports count them, and [`tls::words`](crate::tls::words) says them to people.

use serde::{Deserialize, Serialize};

/// Why there was no TLS as it should be (RFC 8460 §4.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Failure {
    /// STARTTLS is not offered.
    StarttlsNotSupported,
    /// The certificate is not for the name.
    CertificateHostMismatch,
    /// The certificate's time is over.
    CertificateExpired,
    /// The certificate's time has not come.
    CertificateNotYetValid,
    /// The certificate's owner signed it.
    CertificateSelfSigned,
    /// The certificate is an authority's.
    CertificateOfAuthority,
    /// The certificate is of X.509 version 1 or 2.
    CertificateOldVersion,
    /// The certificate cannot be used for another reason.
    CertificateUnusable,
    /// The certificate is not from an authority that we know.
    CertificateNotTrusted,
    /// The certificate is not the one that DNS names.
    TlsaInvalid,
    /// What DNS says is forged, or cannot be found out.
    DnssecInvalid,
    /// What is served as the policy is none.
    StsPolicyInvalid,
    /// The policy cannot be fetched.
    StsPolicyFetchError,
    /// The policy's server has no certificate for its name.
    StsWebpkiInvalid,
    /// Anything else, as a server that the policy does not name.
    ValidationFailure,
}

impl Failure {
    /// Returns whether it is only that nobody vouches for a certificate, which whoever knows it may do.
    #[must_use]
    pub const fn is_unknown_issuer(self) -> bool {
        matches!(
            self,
            Self::CertificateNotTrusted
                | Self::CertificateSelfSigned
                | Self::CertificateOfAuthority
        )
    }

    /// Returns the registered type, and a code of our own where that says little (RFC 8460 §4.3).
    #[must_use]
    pub const fn names(self) -> (Self, Option<&'static str>) {
        let code = match self {
            Self::CertificateNotTrusted => "unknown-authority",
            Self::CertificateNotYetValid => "not-yet-valid",
            Self::CertificateSelfSigned => "self-signed",
            Self::CertificateOfAuthority => "ca-certificate-as-server",
            Self::CertificateOldVersion => "x509-version-1",
            Self::CertificateUnusable => "unusable-certificate",
            other => return (other, None),
        };
        (Self::CertificateNotTrusted, Some(code))
    }
}
