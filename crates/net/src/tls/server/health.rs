//! Warnings about the server's own certificates, before other servers refuse them: at the start, once a
//! day, and whenever the certificates have been read again. `housekeeping` and `assembly` call this
//! module.

use super::{CertificateFiles, Loaded, Tls};
use crate::clock::Clock;
use posta_mail::{Domain, Timestamp};
use rustls::{
    crypto::CryptoProvider,
    pki_types::{CertificateDer, ServerName, UnixTime},
};
use std::{fmt, path::PathBuf, time::Duration};
use webpki::{EndEntityCert, Error as PkiError, KeyUsage};

/// The time before a certificate's expiry at which the warnings begin. Automatic renewal takes place a
/// month before.
const AHEAD: Duration = Duration::from_secs(14 * 24 * 60 * 60);

/// The maximal number of a certificate's names in a warning.
const NAMES: usize = 5;

/// A problem with one of the server's certificates.
#[derive(Debug, Clone, PartialEq, Eq)]
struct CertificateProblem {
    certificate: PathBuf,
    problem: Problem,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Problem {
    /// The certificate expired at this time.
    Expired(Timestamp),
    /// The certificate will expire soon, at this time.
    Expires(Timestamp),
    /// The certificate is not valid before this time.
    NotYetValid(Timestamp),
    /// No certificate is for the server's name. Contains that name, and the names of the first
    /// certificate.
    OtherNames(String),
}

impl Tls {
    /// Logs the problems of the certificates, for a server named `hostname`.
    pub fn log_problems(&self, hostname: &Domain, clock: &dyn Clock) {
        for CertificateProblem { certificate, problem } in self.problems(hostname, clock.now()) {
            let certificate = certificate.display();
            match problem {
                Problem::Expired(_) => tracing::error!(%certificate, "{problem}"),
                _ => tracing::warn!(%certificate, "{problem}"),
            }
        }
    }

    /// Returns the file of each certificate, or the name that it was issued for, and the time when the certificate
    /// expires.
    #[must_use]
    pub fn expiries(&self) -> Vec<(PathBuf, Timestamp)> {
        let (files, loaded) = (self.certificates.files(), self.certificates.loaded());
        let expiry = |loaded: &Loaded| {
            let leaf = loaded.key.end_entity_cert().ok()?;
            // Far in the future, every certificate has expired, and the fault says when.
            match validity(leaf, &self.certificates.provider, Timestamp::MAX - AHEAD) {
                Some(Problem::Expired(at)) => Some(at),
                _ => None,
            }
        };
        let of_file = |(files, loaded): (&CertificateFiles, &Loaded)| {
            Some((files.certificate.clone(), expiry(loaded)?))
        };
        let issued = self.certificates.issued.all();
        let issued =
            issued.iter().filter_map(|(name, loaded)| Some((name.into(), expiry(loaded)?)));
        files.iter().zip(&*loaded).filter_map(of_file).chain(issued).collect()
    }

    fn problems(&self, hostname: &Domain, now: Timestamp) -> Vec<CertificateProblem> {
        let (files, loaded) = (self.certificates.files(), self.certificates.loaded());
        let mut found = Vec::new();
        for (files, loaded) in files.iter().zip(&*loaded) {
            let leaf = loaded.key.end_entity_cert().ok();
            let problem = leaf.and_then(|leaf| validity(leaf, &self.certificates.provider, now));
            if let Some(problem) = problem {
                let certificate = files.certificate.clone();
                found.push(CertificateProblem { certificate, problem });
            }
        }
        let is_ours = |loaded: &Loaded| other_names(loaded, hostname).is_none();
        if let (Some(files), Some(first)) = (files.first(), loaded.first())
            && !loaded.iter().any(is_ours)
            && self.certificates.issued.named(hostname.as_str()).is_none()
        {
            let others = other_names(first, hostname).unwrap_or_default();
            let problem = Problem::OtherNames(format!("{hostname}, but for {others}"));
            found.push(CertificateProblem { certificate: files.certificate.clone(), problem });
        }
        found
    }
}

/// Returns the problem with the validity period of a certificate, if there is one.
fn validity(
    leaf: &CertificateDer<'_>,
    provider: &CryptoProvider,
    now: Timestamp,
) -> Option<Problem> {
    let fault = |at: Timestamp| {
        let seconds = u64::try_from(at.as_second()).unwrap_or_default();
        // The library checks the time first, so a check without any authority finds only faults of the
        // time.
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
        Some(PkiError::CertExpired { not_after, .. }) => Some(Problem::Expired(time(not_after))),
        Some(PkiError::CertNotValidYet { not_before, .. }) => {
            Some(Problem::NotYetValid(time(not_before)))
        }
        _ => match fault(now + AHEAD) {
            Some(PkiError::CertExpired { not_after, .. }) => {
                Some(Problem::Expires(time(not_after)))
            }
            _ => None,
        },
    }
}

/// Returns the names in a certificate, unless the server's is among them.
fn other_names(loaded: &Loaded, hostname: &Domain) -> Option<String> {
    let leaf = loaded.key.end_entity_cert().ok()?;
    let leaf = EndEntityCert::try_from(leaf).ok()?;
    let name = ServerName::try_from(hostname.as_str()).ok()?;
    if leaf.verify_is_valid_for_subject_name(&name).is_ok() {
        return None;
    }
    let names: Vec<&str> = leaf.valid_dns_names().take(NAMES).collect();
    Some(if names.is_empty() { "no host name".to_owned() } else { names.join(", ") })
}

impl fmt::Display for Problem {
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
            Self::NotYetValid(time) => write!(
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
            let problems = tls.problems(&hostname, now);
            problems.iter().map(|found| found.problem.to_string()).collect::<Vec<_>>()
        };
        let expiries: Vec<_> = tls.expiries().iter().map(|(_, at)| at.to_string()).collect();
        assert_eq!(expiries, ["2027-01-31T00:00:00Z", "2027-01-31T00:00:00Z"]);
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
