//! The failures of TLS to another server, in the terms of TLS reports (RFC 8460 §4.3). Certificates,
//! DANE and MTA-STS all use these names; TLS reports count the failures, and
//! [`tls::words`](crate::tls::words) explains them to people.

use serde::{Deserialize, Serialize};

/// The reason why TLS was not established as it should have been: a "result type" of RFC 8460 §4.3, or a
/// finer distinction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TlsFailure {
    /// The server does not offer STARTTLS.
    StarttlsNotSupported,
    /// The certificate is for other names.
    CertificateHostMismatch,
    /// The certificate has expired.
    CertificateExpired,
    /// The certificate is not valid yet.
    CertificateNotYetValid,
    /// The certificate is self-signed.
    CertificateSelfSigned,
    /// The certificate is an authority's, not a server's.
    CertificateOfAuthority,
    /// The certificate is of X.509 version 1 or 2.
    CertificateOldVersion,
    /// The certificate cannot be used for another reason.
    CertificateUnusable,
    /// The certificate is not from a trusted authority.
    CertificateNotTrusted,
    /// The certificate is not one that DNS names (DANE).
    TlsaInvalid,
    /// DNSSEC fails to validate the TLSA records, or they cannot be looked up.
    DnssecInvalid,
    /// The MTA-STS policy is malformed.
    StsPolicyInvalid,
    /// The MTA-STS policy cannot be fetched.
    StsPolicyFetchError,
    /// The server of the MTA-STS policy has no valid certificate for its name.
    StsWebpkiInvalid,
    /// Any other failure, such as a server that the MTA-STS policy does not name.
    ValidationFailure,
}

impl TlsFailure {
    /// Returns whether the only fault is that no trusted authority signed the certificate. A user who
    /// knows the certificate may then list it as trusted.
    #[must_use]
    pub const fn is_unknown_issuer(self) -> bool {
        matches!(
            self,
            Self::CertificateNotTrusted
                | Self::CertificateSelfSigned
                | Self::CertificateOfAuthority
        )
    }

    /// Returns the registered result type, and a failure reason code of this server where the type says
    /// little (RFC 8460 §4.3).
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
