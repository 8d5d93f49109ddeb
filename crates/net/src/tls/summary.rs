//! What a certificate of ours says: its names, its validity period, its key, and whether others believe it. The
//! operator's checks of a domain ask for it.

use posta_mail::Timestamp;
use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, UnixTime},
};
use std::time::Duration;
use webpki::{EndEntityCert, Error as PkiError, KeyUsage};

/// The most names of a certificate that are read.
const NAMES: usize = 100;

/// What a certificate says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateSummary {
    /// The host names for which it is valid; `*.` stands for one label.
    pub names: Vec<String>,
    /// When its validity period begins.
    pub not_before: Timestamp,
    /// When its validity period ends.
    pub not_after: Timestamp,
    /// The SHA-256 of its public key, as a TLSA record `3 1 1` has it (RFC 7672 §3.1.1).
    pub key_sha256: [u8; 32],
    /// Whether an authority that is trusted signed it, whatever its names and the time.
    pub is_trusted: bool,
}

impl CertificateSummary {
    /// Reads a certificate that a server shows, followed by those that lead to its issuer. `more` are authorities that
    /// the operator trusts beside those of browsers. Returns nothing if there is no certificate, or it cannot be read.
    #[must_use]
    pub fn of(chain: &[CertificateDer<'_>], more: &[CertificateDer<'_>]) -> Option<Self> {
        let (first, shown) = chain.split_first()?;
        let certificate = EndEntityCert::try_from(first).ok()?;
        let key = certificate.subject_public_key_info();
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &key);
        // The library tells the two ends of the period only as what is wrong with a time outside it.
        let far = UnixTime::since_unix_epoch(Duration::from_secs(u64::from(u32::MAX) * 16));
        let (roots, epoch) = (trusted(more), UnixTime::since_unix_epoch(Duration::ZERO));
        let Err(PkiError::CertExpired { not_after, .. }) = verify(&certificate, &[], &roots, far)
        else {
            return None;
        };
        let not_before = match verify(&certificate, &[], &roots, epoch) {
            Err(PkiError::CertNotValidYet { not_before, .. }) => timestamp(not_before),
            _ => Timestamp::UNIX_EPOCH,
        };
        let is_trusted = verify(&certificate, shown, &roots, not_after).is_ok();
        Some(Self {
            names: certificate.valid_dns_names().take(NAMES).map(str::to_owned).collect(),
            not_before,
            not_after: timestamp(not_after),
            key_sha256: digest.as_ref().try_into().ok()?,
            is_trusted,
        })
    }

    /// Returns whether the certificate is for a host name (RFC 9525 §6.3).
    #[must_use]
    pub fn is_for(&self, host: &str) -> bool {
        let host = host.to_ascii_lowercase();
        self.names.iter().any(|name| match name.to_ascii_lowercase().strip_prefix("*.") {
            Some(domain) => host.split_once('.').is_some_and(|(_, rest)| rest == domain),
            None => name.eq_ignore_ascii_case(&host),
        })
    }
}

fn timestamp(time: UnixTime) -> Timestamp {
    let seconds = i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
    Timestamp::from_second(seconds).unwrap_or(Timestamp::MAX)
}

/// Returns the authorities that browsers trust, and `more`.
fn trusted(more: &[CertificateDer<'_>]) -> RootCertStore {
    let mut roots = RootCertStore::from_iter(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    roots.add_parsable_certificates(more.iter().map(|one| one.clone().into_owned()));
    roots
}

fn verify(
    certificate: &EndEntityCert<'_>,
    shown: &[CertificateDer<'_>],
    roots: &RootCertStore,
    at: UnixTime,
) -> Result<(), PkiError> {
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let algorithms = provider.signature_verification_algorithms.all;
    let usage = KeyUsage::server_auth();
    certificate.verify_for_usage(algorithms, &roots.roots, shown, at, usage, None, None).map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{
        BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd,
    };

    #[test]
    fn a_certificate_is_summarised() {
        let names = vec!["mail.x.test".to_owned(), "*.y.test".to_owned()];
        let mut params = CertificateParams::new(names).unwrap();
        (params.not_before, params.not_after) =
            (date_time_ymd(2027, 1, 1), date_time_ymd(2027, 1, 31));
        let key = KeyPair::generate().unwrap();
        let made = params.self_signed(&key).unwrap();
        let summary = CertificateSummary::of(std::slice::from_ref(made.der()), &[]).unwrap();
        assert_eq!(summary.names, ["mail.x.test", "*.y.test"]);
        assert_eq!(summary.not_before.to_string(), "2027-01-01T00:00:00Z");
        assert_eq!(summary.not_after.to_string(), "2027-01-31T00:00:00Z");
        assert!(!summary.is_trusted, "nobody signed it");
        for (host, is_for) in [
            ("Mail.x.test", true),
            ("a.y.test", true),
            ("a.b.y.test", false),
            ("y.test", false),
            ("x.test", false),
        ] {
            assert_eq!(summary.is_for(host), is_for, "{host}");
        }
        assert_eq!(CertificateSummary::of(&[], &[]), None);
        assert_eq!(CertificateSummary::of(&[CertificateDer::from(vec![0; 9])], &[]), None);
    }

    #[test]
    fn authorities_of_the_operator_are_trusted() {
        let authority = || {
            let mut params = CertificateParams::default();
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
        };
        let (ours, other) = (authority(), authority());
        let params = CertificateParams::new(vec!["mail.x.test".to_owned()]).unwrap();
        let signed = params.signed_by(&KeyPair::generate().unwrap(), &ours).unwrap();
        let chain = std::slice::from_ref(signed.der());
        for (more, is_trusted) in
            [(&[][..], false), (&[other.der().clone()], false), (&[ours.der().clone()], true)]
        {
            assert_eq!(CertificateSummary::of(chain, more).unwrap().is_trusted, is_trusted);
        }
    }
}
