//! Certificates that an authority issues to this server (ACME, RFC 8555), one for each name, so that a name
//! that does not lead here keeps no other from its certificate.
//!
//! `names` finds the names that need one. `record` is what the store keeps of each: the certificate, its
//! failures, when it is due next; the private key is a sealed secret, and stays the same at every renewal, so
//! that a DANE record of it (TLSA 3 1 1) stays right, until the operator wants a new one
//! (`keeper/new_key.rs`). `schedule` decides when to ask the authority, in pure functions. [`keeper`] does what
//! is due; `answers` shares the answers to an authority with other nodes. `admin` lists certificates and has them
//! renewed; `reports` writes to the postmaster when a renewal keeps failing.

pub(crate) mod answers;
pub mod keeper;
mod names;
mod record;
mod schedule;

use posta_mail::Timestamp;
use posta_net::tls::{server::read_chain, summary::CertificateSummary};
use posta_store::{Store, StoreError};
use record::CertificateRecord;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::time::Duration;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// The settings of certificates by ACME.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AcmeSettings {
    /// The address of the authority's directory.
    pub directory: String,
    /// The address that the authority may write to.
    pub contact: Option<String>,
}

/// The state of a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum CertificateState {
    /// There is none yet.
    Missing,
    /// It is valid.
    Valid,
    /// Its renewal fails, and less than a third of its lifetime is left; or there is none, and none could be
    /// obtained for an hour.
    Failing,
    /// It has expired.
    Expired,
}

/// A certificate that an authority issues, in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct IssuedLine {
    /// The name that the certificate is for.
    pub name: String,
    /// The state of the certificate.
    pub state: CertificateState,
    /// When it became valid.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub not_before: Option<Timestamp>,
    /// When it expires.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub not_after: Option<Timestamp>,
    /// The number of whole days until it expires, 0 on the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub days_left: Option<u64>,
    /// The SHA-256 of its public key in hexadecimal, as a TLSA record `3 1 1` has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_sha256: Option<String>,
    /// The same of the key that is to take its place, if one waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_key_sha256: Option<String>,
    /// Whether an authority that browsers trust issued it.
    pub is_trusted: bool,
    /// When the authority is asked next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub next: Option<Timestamp>,
    /// The number of attempts that failed since the last success.
    pub failures: u32,
    /// Why the last attempt failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

impl IssuedLine {
    fn new(name: String, record: &CertificateRecord, now: Timestamp) -> Self {
        let summary = record.summary();
        let left = summary.as_ref().map(|summary| now.duration_until(summary.not_after));
        let days_left = left.map(|left| u64::try_from(left.as_hours() / 24).unwrap_or_default());
        Self {
            name,
            state: schedule::state(record, summary.as_ref(), now),
            not_before: summary.as_ref().map(|summary| summary.not_before),
            not_after: summary.as_ref().map(|summary| summary.not_after),
            days_left,
            key_sha256: summary.as_ref().map(|summary| hexadecimal(&summary.key_sha256)),
            next_key_sha256: record.next_key.map(|next| hexadecimal(&next.sha256)),
            is_trusted: summary.as_ref().is_some_and(|summary| summary.is_trusted),
            next: record.next,
            failures: record.failures,
            problem: record.failed.as_ref().map(|failed| failed.why.clone()),
        }
    }

    /// Returns the contents of the certificate as if it had been read from a file; `None` if there is none.
    #[must_use]
    pub fn summary(&self) -> Option<CertificateSummary> {
        let key_sha256 = octets(self.key_sha256.as_ref()?)?;
        Some(CertificateSummary {
            names: vec![self.name.clone()],
            not_before: self.not_before?,
            not_after: self.not_after?,
            key_sha256,
            is_trusted: self.is_trusted,
        })
    }

    /// Returns the SHA-256 of the key that is to take the place of the certificate's, if one waits.
    #[must_use]
    pub fn next_key(&self) -> Option<[u8; 32]> {
        octets(self.next_key_sha256.as_ref()?)
    }
}

/// Returns a hash in hexadecimal.
fn hexadecimal(hash: &[u8; 32]) -> String {
    hash.iter().map(|octet| format!("{octet:02x}")).collect()
}

/// Returns the octets of a hash in hexadecimal.
fn octets(hexadecimal: &str) -> Option<[u8; 32]> {
    let octet = |at: usize| u8::from_str_radix(hexadecimal.get(2 * at..2 * at + 2)?, 16).ok();
    (0..32).map(octet).collect::<Option<Vec<u8>>>()?.try_into().ok()
}

impl CertificateRecord {
    fn summary(&self) -> Option<CertificateSummary> {
        CertificateSummary::of(&read_chain(self.chain.as_ref()?), &[])
    }
}

/// Returns the certificates that were issued, or that could not be, by name.
///
/// # Errors
/// When the store fails.
pub async fn list(store: &dyn Store, now: Timestamp) -> Result<Vec<IssuedLine>, StoreError> {
    let records = record::read_all(store).await?.into_iter();
    Ok(records.map(|(name, record)| IssuedLine::new(name, &record, now)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_tells_what_a_file_would() {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(vec!["x.test".to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(2027, 1, 1);
        params.not_after = rcgen::date_time_ymd(2027, 4, 1);
        let chain = params.self_signed(&key).unwrap().pem();
        let record = CertificateRecord { chain: Some(chain), ..CertificateRecord::default() };
        let now = "2027-03-30T12:00:00Z".parse().unwrap();
        let line = IssuedLine::new("x.test".to_owned(), &record, now);
        assert_eq!((line.days_left, line.state), (Some(1), CertificateState::Valid));
        assert_eq!(line.summary(), record.summary());
        let none = IssuedLine::new("x.test".to_owned(), &CertificateRecord::default(), now);
        assert_eq!((none.state, none.summary()), (CertificateState::Missing, None));
    }
}
