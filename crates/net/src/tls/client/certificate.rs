//! Verification of another server's certificate. rustls calls this code during the handshake.

use crate::tls::{dane::Dane, fault::CertificateFault, version_1::OldCertificate};
use rustls::{
    DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{
        CryptoProvider, verify_tls12_signature, verify_tls13_signature,
        verify_tls13_signature_with_raw_key,
    },
    pki_types::{CertificateDer, ServerName, UnixTime},
};
use std::sync::Arc;
use webpki::{EndEntityCert, Error as PkiError, KeyUsage};

/// The certificates that are trusted.
#[derive(Debug)]
pub(super) enum Trust {
    /// All certificates. An attacker who can change the traffic could also remove STARTTLS, so insisting
    /// on a good certificate would only make mail travel in plaintext.
    Anyone,
    /// Certificates for the server's name that an authority signed, and those that the operator lists.
    Authorities {
        roots: RootCertStore,
        /// Certificates that the operator lists, trusted both as authorities and as servers' own.
        listed: Vec<CertificateDer<'static>>,
    },
    /// Certificates that DNS names.
    Dane(Arc<Dane>),
}

/// Verifies certificates for rustls.
#[derive(Debug)]
pub(super) struct CertificateVerifier {
    pub(super) trust: Trust,
    pub(super) provider: Arc<CryptoProvider>,
}

impl CertificateVerifier {
    /// Checks that one of the authorities `roots` signed the certificate for this name.
    fn check_signed(
        &self,
        roots: &RootCertStore,
        end_entity: &CertificateDer<'_>,
        shown: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        now: UnixTime,
    ) -> Result<(), PkiError> {
        let certificate = EndEntityCert::try_from(end_entity)?;
        certificate.verify_for_usage(
            self.provider.signature_verification_algorithms.all,
            &roots.roots,
            shown,
            now,
            KeyUsage::server_auth(),
            None,
            None,
        )?;
        certificate.verify_is_valid_for_subject_name(name)
    }

    /// Checks that a certificate that the operator lists is valid now and for this name. A certificate without
    /// names, as one of version 1 is, is accepted for any: the operator can only have meant the server that shows it.
    fn check_listed(
        &self,
        end_entity: &CertificateDer<'_>,
        name: &ServerName<'_>,
        now: UnixTime,
    ) -> Result<(), PkiError> {
        if let Some(old) = OldCertificate::read(end_entity) {
            return old.check_time(now);
        }
        // The library checks the time first, so a check without any authority still finds a fault of the
        // time.
        if let Err(fault @ (PkiError::CertExpired { .. } | PkiError::CertNotValidYet { .. })) =
            self.check_signed(&RootCertStore::empty(), end_entity, &[], name, now)
        {
            return Err(fault);
        }
        match EndEntityCert::try_from(end_entity)?.verify_is_valid_for_subject_name(name) {
            Err(PkiError::CertNotValidForName(context)) if context.presented.is_empty() => Ok(()),
            result => result,
        }
    }
}

impl ServerCertVerifier for CertificateVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let algorithms = self.provider.signature_verification_algorithms.all;
        let checked = match &self.trust {
            Trust::Anyone => Ok(()),
            Trust::Dane(dane) => dane.check(end_entity, intermediates, now, algorithms),
            Trust::Authorities { roots, listed } => {
                let checked = match listed.contains(end_entity) {
                    true => self.check_listed(end_entity, server_name, now),
                    false => self.check_signed(roots, end_entity, intermediates, server_name, now),
                };
                checked.map_err(|error| CertificateFault::of(&error, end_entity, server_name))
            }
        };
        checked?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let known = &self.provider.signature_verification_algorithms;
        match OldCertificate::read(certificate) {
            Some(old) => old.check_signature(message, signature, known),
            None => verify_tls12_signature(message, certificate, signature, known),
        }
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let known = &self.provider.signature_verification_algorithms;
        match OldCertificate::read(certificate) {
            Some(old) => verify_tls13_signature_with_raw_key(message, &old.key, signature, known),
            None => verify_tls13_signature(message, certificate, signature, known),
        }
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::failure::TlsFailure;
    use crate::tls::{
        client::{ClientTls, Verify},
        tests::version_1,
        words,
    };
    use rcgen::{
        BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose,
        IsCa, KeyPair, date_time_ymd,
    };
    use rustls::{
        ServerConfig,
        pki_types::PrivateKeyDer,
        server::{ClientHello, ResolvesServerCert},
        sign::CertifiedKey,
    };
    use std::{io, time::Duration};
    use tokio_rustls::TlsAcceptor;

    /// 2027-01-15.
    const NOW: Duration = Duration::from_secs(1_800_000_000);
    const HOST: &str = "mx.y.test";

    fn params(names: &[&str]) -> CertificateParams {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.distinguished_name.push(DnType::CommonName, "of a server");
        params
    }

    fn authority() -> CertifiedIssuer<'static, KeyPair> {
        let mut params = params(&[]);
        params.distinguished_name.push(DnType::CommonName, "an authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
    }

    fn signed(
        authority: &CertifiedIssuer<'_, KeyPair>,
        change: impl FnOnce(&mut CertificateParams),
    ) -> CertificateDer<'static> {
        let mut params = params(&[HOST]);
        change(&mut params);
        params.signed_by(&KeyPair::generate().unwrap(), authority).unwrap().der().clone()
    }

    fn self_signed(change: impl FnOnce(&mut CertificateParams)) -> CertificateDer<'static> {
        let mut params = params(&[HOST]);
        change(&mut params);
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().clone()
    }

    fn check(
        authorities: &[CertificateDer<'static>],
        certificate: &CertificateDer<'_>,
    ) -> Result<(), (TlsFailure, String)> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(authorities.iter().cloned());
        let trust = Trust::Authorities { roots, listed: authorities.to_vec() };
        let name = ServerName::try_from(HOST).unwrap();
        let now = UnixTime::since_unix_epoch(NOW);
        let verifier = CertificateVerifier { trust, provider };
        let checked = verifier.verify_server_cert(certificate, &[], &name, &[], now);
        checked.map(|_| ()).map_err(|error| {
            let error = words::in_words(io::Error::new(io::ErrorKind::InvalidData, error));
            (words::failure(&error), error.to_string())
        })
    }

    /// Each fault is reported as what it is.
    #[test]
    fn faults_have_their_names() {
        let (ours, theirs) = (authority(), authority());
        let over = |params: &mut CertificateParams| params.not_after = date_time_ymd(2026, 12, 31);
        let not_yet =
            |params: &mut CertificateParams| params.not_before = date_time_ymd(2028, 2, 1);
        let other = |params: &mut CertificateParams| {
            params.subject_alt_names =
                CertificateParams::new(vec!["z.test".to_owned()]).unwrap().subject_alt_names;
        };
        let is_ca = |params: &mut CertificateParams| {
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        };
        let client = |params: &mut CertificateParams| {
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        };
        for (certificate, failure, words) in [
            (signed(&ours, over), TlsFailure::CertificateExpired, "expired on 2026-12-31"),
            (
                signed(&ours, not_yet),
                TlsFailure::CertificateNotYetValid,
                "not valid before 2028-02-01",
            ),
            (
                signed(&ours, other),
                TlsFailure::CertificateHostMismatch,
                "for z.test, not for mx.y.test",
            ),
            (signed(&ours, is_ca), TlsFailure::CertificateOfAuthority, "an authority's (CA:TRUE)"),
            (signed(&ours, client), TlsFailure::CertificateUnusable, "not for servers"),
            (
                signed(&theirs, |_| {}),
                TlsFailure::CertificateNotTrusted,
                "authority that is not known",
            ),
            (self_signed(|_| {}), TlsFailure::CertificateSelfSigned, "self-signed"),
            (
                self_signed(is_ca),
                TlsFailure::CertificateOfAuthority,
                "CA:TRUE), not a server's, and self-signed",
            ),
            (
                version_1(&signed(&ours, |_| {})),
                TlsFailure::CertificateOldVersion,
                "X.509 version 1",
            ),
            (vec![1, 2, 3].into(), TlsFailure::CertificateUnusable, "malformed"),
        ] {
            let found = check(&[ours.der().clone()], &certificate).unwrap_err();
            assert_eq!(found.0, failure, "{}", found.1);
            assert!(found.1.contains(words) && !found.1.contains("TLSA"), "{words}: {}", found.1);
        }
        assert_eq!(check(&[ours.der().clone()], &signed(&ours, |_| {})), Ok(()));
    }

    /// A certificate listed among the authorities is accepted as the server's own, unless its validity
    /// period or its names contradict.
    #[test]
    fn a_listed_certificate_is_believed() {
        let is_ca = |params: &mut CertificateParams| {
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        };
        let nameless = |params: &mut CertificateParams| params.subject_alt_names.clear();
        let old = version_1(&self_signed(|_| {}));
        for listed in [self_signed(|_| {}), self_signed(is_ca), self_signed(nameless), old] {
            assert_eq!(check(std::slice::from_ref(&listed), &listed), Ok(()));
            assert!(check(&[self_signed(is_ca)], &listed).is_err());
        }
        for (change, failure) in [
            (
                &(|params: &mut CertificateParams| params.not_after = date_time_ymd(2026, 12, 31))
                    as &dyn Fn(&mut CertificateParams),
                TlsFailure::CertificateExpired,
            ),
            (
                &|params| params.subject_alt_names = self::params(&["z.test"]).subject_alt_names,
                TlsFailure::CertificateHostMismatch,
            ),
        ] {
            let listed = self_signed(|params| {
                is_ca(params);
                change(params);
            });
            assert_eq!(check(std::slice::from_ref(&listed), &listed).unwrap_err().0, failure);
        }
        let over = |params: &mut CertificateParams| params.not_after = date_time_ymd(2026, 12, 31);
        let old = version_1(&self_signed(over));
        let found = check(std::slice::from_ref(&old), &old).unwrap_err();
        assert_eq!(found.0, TlsFailure::CertificateExpired, "{}", found.1);
        for listed in [self_signed(is_ca), version_1(&self_signed(|_| {}))] {
            assert!(ClientTls::new(&[listed]).is_ok());
        }
    }

    /// Shows a certificate to every client, whatever is wrong with it.
    #[derive(Debug)]
    struct Shown(Arc<CertifiedKey>);

    impl ResolvesServerCert for Shown {
        fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
            Some(self.0.clone())
        }
    }

    /// A server with a certificate of version 1 proves that it has the key, in every version of TLS. It is spoken to
    /// in TLS where any certificate will do, and where the operator lists this one.
    #[tokio::test]
    async fn a_server_may_have_a_certificate_of_version_1() {
        let (key, other) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
        let certificate = version_1(params(&[HOST]).self_signed(&key).unwrap().der());
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let client = ClientTls::new(std::slice::from_ref(&certificate)).unwrap();
        let stranger = ClientTls::new(&[]).unwrap();
        for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
            for (client, key, verify, is_fit) in [
                (&client, &key, Verify::Authorities, true),
                (&stranger, &key, Verify::Anyone, true),
                (&stranger, &key, Verify::Authorities, false),
                (&client, &other, Verify::Authorities, false),
                (&stranger, &other, Verify::Anyone, false),
            ] {
                let der = PrivateKeyDer::Pkcs8(key.serialize_der().into());
                let key = provider.key_provider.load_private_key(der).unwrap();
                let shown = Arc::new(CertifiedKey::new(vec![certificate.clone()], key));
                let server = ServerConfig::builder_with_provider(provider.clone())
                    .with_protocol_versions(&[version])
                    .unwrap()
                    .with_no_client_auth()
                    .with_cert_resolver(Arc::new(Shown(shown)));
                let (ours, theirs) = tokio::io::duplex(65_536);
                let acceptor = TlsAcceptor::from(Arc::new(server));
                tokio::spawn(async move { acceptor.accept(theirs).await.map(drop) });
                let connected = client.connect(Box::new(ours), HOST, &verify).await;
                let found = connected.map(|(_, negotiated)| negotiated.about);
                assert_eq!(found.is_ok(), is_fit, "{version:?} {verify:?}: {found:?}");
            }
        }
    }
}
