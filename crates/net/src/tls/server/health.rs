//! What is wrong with our own certificates, or soon will be: told at the start, once a day, and when they
//! were read again, so that nobody learns of it from those whose mail does not come.

use super::{Loaded, Tls};
use crate::clock::Clock;
use posta_mail::{Domain, Timestamp};
use rustls::{
    crypto::CryptoProvider,
    pki_types::{CertificateDer, ServerName, UnixTime},
};
use std::{fmt, path::PathBuf, time::Duration};
use webpki::{EndEntityCert, Error as PkiError, KeyUsage};

/// How long before a certificate expires it is told of: who renews it by the clock does so a month before.
const AHEAD: Duration = Duration::from_secs(14 * 24 * 60 * 60);

/// Names of a certificate that are told at most.
const NAMES: usize = 5;

/// Something is wrong with a certificate of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ailment {
    certificate: PathBuf,
    what: What,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum What {
    Expired(Timestamp),
    Expires(Timestamp),
    NotYet(Timestamp),
    /// No certificate is for the server's name; the first is for these.
    OtherNames(String),
}

impl Tls {
    /// Tells the log what is wrong with the certificates, on a server of this name.
    pub fn tell_ailments(&self, hostname: &Domain, clock: &dyn Clock) {
        for ailment in self.ailments(hostname, clock.now()) {
            let certificate = ailment.certificate.display();
            match ailment.what {
                What::Expired(_) => tracing::error!(%certificate, "{}", ailment.what),
                _ => tracing::warn!(%certificate, "{}", ailment.what),
            }
        }
    }

    fn ailments(&self, hostname: &Domain, now: Timestamp) -> Vec<Ailment> {
        let (files, loaded) = (self.certificates.files(), self.certificates.loaded());
        let mut found = Vec::new();
        for (files, loaded) in files.iter().zip(&*loaded) {
            let leaf = loaded.key.end_entity_cert().ok();
            if let Some(what) =
                leaf.and_then(|leaf| validity(leaf, &self.certificates.provider, now))
            {
                found.push(Ailment { certificate: files.certificate.clone(), what });
            }
        }
        let is_ours = |loaded: &Loaded| names(loaded, hostname).is_none();
        if let (Some(files), Some(first)) = (files.first(), loaded.first())
            && !loaded.iter().any(is_ours)
        {
            let others = names(first, hostname).unwrap_or_default();
            let what = What::OtherNames(format!("{hostname}, but for {others}"));
            found.push(Ailment { certificate: files.certificate.clone(), what });
        }
        found
    }
}

/// Returns what is wrong with the time in which a certificate is valid.
fn validity(leaf: &CertificateDer<'_>, provider: &CryptoProvider, now: Timestamp) -> Option<What> {
    let fault = |at: Timestamp| {
        let seconds = u64::try_from(at.as_second()).unwrap_or_default();
        // Before anything else the library looks at the time; with no authority that is all it can find.
        EndEntityCert::try_from(leaf)
            .ok()?
            .verify_for_usage(
                provider.signature_verification_algorithms.all,
                &[],
                &[],
                UnixTime::since_unix_epoch(Duration::from_secs(seconds)),
                KeyUsage::server_auth(),
                None,
                None,
            )
            .err()
    };
    let time = |time: UnixTime| {
        let seconds = i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
        Timestamp::from_second(seconds).unwrap_or(Timestamp::MAX)
    };
    match fault(now) {
        Some(PkiError::CertExpired { not_after, .. }) => Some(What::Expired(time(not_after))),
        Some(PkiError::CertNotValidYet { not_before, .. }) => Some(What::NotYet(time(not_before))),
        _ => match fault(now + AHEAD) {
            Some(PkiError::CertExpired { not_after, .. }) => Some(What::Expires(time(not_after))),
            _ => None,
        },
    }
}

/// Returns the names that a certificate is for, if the server's is none of them.
fn names(loaded: &Loaded, hostname: &Domain) -> Option<String> {
    let leaf = loaded.key.end_entity_cert().ok()?;
    let leaf = EndEntityCert::try_from(leaf).ok()?;
    let name = ServerName::try_from(hostname.as_str()).ok()?;
    if leaf.verify_is_valid_for_subject_name(&name).is_ok() {
        return None;
    }
    let names: Vec<&str> = leaf.valid_dns_names().take(NAMES).collect();
    Some(if names.is_empty() { "no host name".to_owned() } else { names.join(", ") })
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let day = |time: &Timestamp| time.strftime("%Y-%m-%d").to_string();
        match self {
            Self::Expired(time) => {
                write!(
                    f,
                    "the certificate expired on {}, and others refuse it: renew it",
                    day(time)
                )
            }
            Self::Expires(time) => write!(f, "the certificate expires on {}: renew it", day(time)),
            Self::NotYet(time) => write!(
                f,
                "the certificate is not valid before {}: is the clock of this machine right?",
                day(time)
            ),
            Self::OtherNames(names) => write!(
                f,
                "no certificate is for this server's name, {names}: set hostname to the name that others \
                 connect to, or get a certificate for it"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::server::CertificateFiles;
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};
    use std::{fs, path::Path};

    /// Makes the files of a certificate for a name, valid in January 2027.
    fn make(directory: &Path, name: &str) -> CertificateFiles {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        (params.not_before, params.not_after) =
            (date_time_ymd(2027, 1, 1), date_time_ymd(2027, 1, 31));
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let files = CertificateFiles {
            certificate: directory.join(format!("{name}.cert.pem")),
            key: directory.join(format!("{name}.key.pem")),
        };
        fs::write(&files.certificate, certificate.pem()).unwrap();
        fs::write(&files.key, key.serialize_pem()).unwrap();
        files
    }

    #[test]
    fn what_is_wrong_with_a_certificate_is_told_in_time() {
        let directory = tempfile::tempdir().unwrap();
        let (one, two) = (make(directory.path(), "one.test"), make(directory.path(), "two.test"));
        let tls = Tls::load(vec![one.clone(), two]).unwrap();
        let told = |name: &str, now: &str| {
            let (hostname, now) = (name.parse().unwrap(), now.parse().unwrap());
            let ailments = tls.ailments(&hostname, now);
            ailments.iter().map(|ailment| ailment.what.to_string()).collect::<Vec<_>>()
        };
        assert!(told("one.test", "2027-01-10T00:00:00Z").is_empty());
        assert!(told("two.test", "2027-01-10T00:00:00Z").is_empty(), "one of them is enough");
        let twice = |words: &str| vec![words.to_owned(), words.to_owned()];
        let soon = told("one.test", "2027-01-18T00:00:00Z");
        assert_eq!(soon, twice("the certificate expires on 2027-01-31: renew it"));
        let over = told("one.test", "2027-02-01T00:00:00Z");
        assert_eq!(
            over,
            twice("the certificate expired on 2027-01-31, and others refuse it: renew it")
        );
        let early = told("one.test", "2026-12-31T00:00:00Z");
        assert!(early[0].contains("is not valid before 2027-01-01"), "{early:?}");
        let other = told("mail.test", "2027-01-10T00:00:00Z");
        assert_eq!(other.len(), 1);
        assert!(other[0].contains("this server's name, mail.test, but for one.test:"), "{other:?}");
    }
}
