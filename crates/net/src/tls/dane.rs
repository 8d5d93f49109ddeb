//! DANE (RFC 7672): the owner of a domain publishes in DNS which certificates its servers use, and
//! DNSSEC proves that. No public authority is involved.
//!
//! `send/trust` looks up the records and decides whether they apply; [`client`](super::client) verifies
//! certificates against them.

use crate::{
    dns::{DnsAnswer, Tlsa},
    tls::{fault::CertificateFault, version_1::OldCertificate},
};
use aws_lc_rs::digest::{self, SHA256, SHA512};
use rustls::pki_types::{CertificateDer, ServerName, SignatureVerificationAlgorithm, UnixTime};
use std::net::IpAddr;
use webpki::{EndEntityCert, Error as PkiError, KeyUsage, anchor_from_trusted_cert};

/// The certificate usage of a record that names an authority, DANE-TA(2) (RFC 7672 §3.1.2).
const AUTHORITY: u8 = 2;

/// The certificate usage of a record that names the server's own certificate, DANE-EE(3) (RFC 7672 §3.1.1).
const OWN: u8 = 3;

/// The certificates that DNS allows a server.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Dane {
    /// The usable TLSA records; at least one.
    pub records: Vec<Tlsa>,
    /// The names, one of which a certificate from a named authority must be for: the name that has the
    /// records, the server's, the destination's.
    pub names: Vec<String>,
}

/// Returns the records that apply to mail; all others are ignored (RFC 7672 §3.1.3).
#[must_use]
pub fn usable(records: Vec<Tlsa>) -> Vec<Tlsa> {
    let is_usable = |record: &Tlsa| {
        matches!(record.usage, AUTHORITY | OWN) && record.selector <= 1 && record.matching <= 2
    };
    records.into_iter().filter(is_usable).collect()
}

/// Returns the names under which to look up TLSA records for the host `name`, given the look-up of its
/// addresses: first the target of an alias, then the name itself (RFC 7672 §2.2.3). Empty if DNSSEC
/// proves neither.
#[must_use]
pub fn bases(name: &str, addresses: &DnsAnswer<IpAddr>) -> Vec<String> {
    let name = name.to_owned();
    match &addresses.alias {
        Some(alias) if addresses.is_secure => vec![alias.target.clone(), name],
        // DNSSEC proves the alias itself, but not its target.
        Some(alias) if alias.is_secure => vec![name],
        None if addresses.is_secure => vec![name],
        _ => Vec::new(),
    }
}

impl Dane {
    /// Returns the name to send in the handshake (SNI, RFC 7672 §8.1).
    pub fn server_name(&self) -> Option<&str> {
        self.names.first().map(String::as_str)
    }

    /// Checks a server's certificate, `end_entity`, together with the `intermediates` that the server sent.
    ///
    /// # Errors
    /// When no record allows the certificate: the fault.
    pub fn check(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
        algorithms: &[&dyn SignatureVerificationAlgorithm],
    ) -> Result<(), CertificateFault> {
        if self.is_own(end_entity) {
            return Ok(());
        }
        self.check_authority(end_entity, intermediates, now, algorithms)
    }

    /// Returns whether a record names exactly this certificate. The names and the validity period of the
    /// certificate do not matter (RFC 7672 §3.1.1).
    fn is_own(&self, certificate: &CertificateDer<'_>) -> bool {
        self.with_usage(OWN).any(|record| matches(record, certificate))
    }

    /// Checks that the certificate is for one of the names and signed by an authority that DNS names
    /// (RFC 7672 §3.1.2). The server has to send the authority's certificate, unless DNS holds all of
    /// it.
    fn check_authority(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
        algorithms: &[&dyn SignatureVerificationAlgorithm],
    ) -> Result<(), CertificateFault> {
        let held = self
            .with_usage(AUTHORITY)
            .filter(|record| (record.selector, record.matching) == (0, 0));
        let held: Vec<_> = held.map(|record| CertificateDer::from(record.data.clone())).collect();
        let is_named = |certificate: &&CertificateDer<'_>| {
            self.with_usage(AUTHORITY).any(|record| matches(record, certificate))
        };
        let names = self.names.iter().filter_map(|name| ServerName::try_from(name.as_str()).ok());
        let names: Vec<_> = names.collect();
        let anchors = intermediates.iter().filter(is_named).chain(&held);
        let anchors: Vec<_> =
            anchors.filter_map(|der| anchor_from_trusted_cert(der).ok()).collect();
        let ([wanted, ..], [_, ..]) = (&names[..], &anchors[..]) else {
            return Err(CertificateFault::NotNamed);
        };
        let verify = || {
            let certificate = EndEntityCert::try_from(end_entity)?;
            certificate.verify_for_usage(
                algorithms,
                &anchors,
                intermediates,
                now,
                KeyUsage::server_auth(),
                None,
                None,
            )?;
            let for_name = |name| certificate.verify_is_valid_for_subject_name(name);
            let first = for_name(wanted);
            if first.is_err() && names.iter().any(|name| for_name(name).is_ok()) {
                return Ok(());
            }
            first
        };
        verify().map_err(|error| match error {
            // The certificate is signed by an authority other than those that are named and sent.
            PkiError::UnknownIssuer | PkiError::InvalidSignatureForPublicKey => {
                CertificateFault::NotNamed
            }
            error => CertificateFault::of(&error, end_entity, wanted),
        })
    }

    fn with_usage(&self, usage: u8) -> impl Iterator<Item = &Tlsa> {
        self.records.iter().filter(move |record| record.usage == usage)
    }
}

fn matches(record: &Tlsa, certificate: &CertificateDer<'_>) -> bool {
    let selected = match record.selector {
        0 => certificate.to_vec(),
        _ => match (EndEntityCert::try_from(certificate), OldCertificate::read(certificate)) {
            (Ok(parsed), _) => parsed.subject_public_key_info().to_vec(),
            (_, Some(old)) => old.key.to_vec(),
            (Err(_), None) => return false,
        },
    };
    match record.matching {
        0 => selected == record.data,
        1 => digest::digest(&SHA256, &selected).as_ref() == record.data,
        _ => digest::digest(&SHA512, &selected).as_ref() == record.data,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{dns::Alias, tls::tests::version_1};
    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
    use std::time::Duration;

    fn dane(usage: u8, selector: u8, matching: u8, data: Vec<u8>) -> Dane {
        let records = vec![Tlsa { usage, selector, matching, data }];
        Dane { records, names: vec!["mx.y.test".to_owned(), "y.test".to_owned()] }
    }

    fn holds(dane: &Dane, chain: &[CertificateDer<'_>]) -> bool {
        check(dane, chain).is_ok()
    }

    fn check(dane: &Dane, chain: &[CertificateDer<'_>]) -> Result<(), CertificateFault> {
        let now = UnixTime::since_unix_epoch(Duration::from_secs(1_800_000_000));
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        let algorithms = provider.signature_verification_algorithms.all;
        dane.check(&chain[0], &chain[1..], now, algorithms)
    }

    fn authority() -> CertifiedIssuer<'static, KeyPair> {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
    }

    fn signed(authority: &CertifiedIssuer<'_, KeyPair>, name: &str) -> CertificateDer<'static> {
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let key = KeyPair::generate().unwrap();
        params.signed_by(&key, authority).unwrap().der().clone()
    }

    #[test]
    fn records_stand_where_the_proof_leads() {
        let bases = |is_secure, alias: Option<bool>| {
            let target = "real.test".to_owned();
            let alias = alias.map(|is_secure| Alias { target, is_secure });
            bases("mx.test", &DnsAnswer { found: Vec::new(), is_secure, alias }).join(" ")
        };
        assert_eq!(bases(true, None), "mx.test");
        assert_eq!(bases(true, Some(true)), "real.test mx.test");
        assert_eq!(bases(false, Some(true)), "mx.test", "the target's owner signs nothing");
        assert_eq!(bases(false, Some(false)), "");
        assert_eq!(bases(false, None), "");
    }

    #[test]
    fn the_servers_own_key_counts_and_nothing_else() {
        let own = rcgen::generate_simple_self_signed(vec!["other.test".to_owned()]).unwrap();
        let own = own.cert.der().clone();
        let key = EndEntityCert::try_from(&own).unwrap().subject_public_key_info().to_vec();
        let other = rcgen::generate_simple_self_signed(vec!["mx.y.test".to_owned()]).unwrap();
        for (selector, of) in [(0, own.to_vec()), (1, key)] {
            for (matching, data) in [
                (0, of.clone()),
                (1, digest::digest(&SHA256, &of).as_ref().to_vec()),
                (2, digest::digest(&SHA512, &of).as_ref().to_vec()),
            ] {
                let dane = dane(OWN, selector, matching, data);
                assert!(holds(&dane, std::slice::from_ref(&own)), "3 {selector} {matching}");
                assert!(!holds(&dane, std::slice::from_ref(other.cert.der())));
                // The same key in a certificate of another form.
                assert_eq!(holds(&dane, &[version_1(&own)]), selector == 1, "{matching}");
            }
        }
    }

    #[test]
    fn an_authority_signs_for_the_right_names() {
        let (ours, theirs) = (authority(), authority());
        let root = ours.der().clone();
        let hash = digest::digest(&SHA256, &root).as_ref().to_vec();
        for (matching, data) in [(1, hash), (0, root.to_vec())] {
            let dane = dane(AUTHORITY, 0, matching, data);
            assert!(holds(&dane, &[signed(&ours, "mx.y.test"), root.clone()]));
            assert!(holds(&dane, &[signed(&ours, "y.test"), root.clone()]));
            let fault = |leaf| check(&dane, &[leaf, root.clone()]).unwrap_err();
            let wrong_name = fault(signed(&ours, "z.test"));
            assert!(matches!(wrong_name, CertificateFault::WrongName { .. }), "{wrong_name}");
            assert_eq!(fault(signed(&theirs, "mx.y.test")), CertificateFault::NotNamed);
            let is_valid = holds(&dane, &[signed(&ours, "mx.y.test")]);
            assert_eq!(is_valid, matching == 0, "an authority whole in DNS need not be sent");
        }
    }
}
