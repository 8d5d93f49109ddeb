//! TLS on the client's side.

use crate::{dane::Dane, net::Stream, tls, tls_report::Failure};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, OtherError, RootCertStore,
    SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
};
use std::{io, sync::Arc, time::Duration};
use tokio::time::timeout;
use tokio_rustls::{TlsConnector, client::TlsStream};

/// How long a handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(60);

/// TLS to other servers.
#[derive(Clone)]
pub struct ClientTls {
    /// With any certificate: against those who only listen (RFC 7435).
    opportunistic: TlsConnector,
    /// With one that an authority gave to that name.
    verified: TlsConnector,
    provider: Arc<CryptoProvider>,
}

/// Whom to believe to be the server.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Verify {
    /// Whoever answers: against those who only listen (RFC 7435).
    Anyone,
    /// Who has a certificate for the name from a known authority.
    Authorities,
    /// Who has the certificate that DNS names.
    Dane(Arc<Dane>),
}

/// What was negotiated.
#[derive(Debug)]
pub struct Negotiated {
    /// Version and cipher suite.
    pub about: String,
    /// What binds a login to this connection (RFC 9266), where the version of TLS has that.
    pub exporter: Option<Vec<u8>>,
}

impl ClientTls {
    /// With the authorities that browsers trust, and these.
    ///
    /// # Errors
    /// When the library does not support what it should.
    pub fn new(more: &[CertificateDer<'_>]) -> Result<Self, Error> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut roots = RootCertStore::from_iter(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        for authority in more {
            roots.add(authority.clone())?;
        }
        let verified = ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let opportunistic = ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Checks {
                dane: None,
                provider: provider.clone(),
            }))
            .with_no_client_auth();
        Ok(Self {
            opportunistic: TlsConnector::from(Arc::new(opportunistic)),
            verified: TlsConnector::from(Arc::new(verified)),
            provider,
        })
    }

    fn dane(&self, dane: &Arc<Dane>) -> Result<TlsConnector, Error> {
        let verifier = Checks { dane: Some(dane.clone()), provider: self.provider.clone() };
        let config = ClientConfig::builder_with_provider(self.provider.clone())
            .with_safe_default_protocol_versions()?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_no_client_auth();
        Ok(TlsConnector::from(Arc::new(config)))
    }

    async fn handshake(
        &self,
        stream: Box<dyn Stream>,
        name: &str,
        verify: &Verify,
    ) -> io::Result<TlsStream<Box<dyn Stream>>> {
        let (connector, name) = match verify {
            Verify::Anyone => (self.opportunistic.clone(), name),
            Verify::Authorities => (self.verified.clone(), name),
            Verify::Dane(dane) => {
                let connector = self.dane(dane).map_err(io::Error::other)?;
                (connector, dane.server_name().unwrap_or(name))
            }
        };
        let name = name.trim_start_matches('[').trim_end_matches(']').to_owned();
        let name = ServerName::try_from(name).map_err(io::Error::other)?;
        let handshake = timeout(HANDSHAKE, connector.connect(name, stream)).await;
        handshake.map_err(|_| io::ErrorKind::TimedOut)?.map_err(explained)
    }

    /// Negotiates TLS with a server of this name.
    ///
    /// # Errors
    /// When the handshake fails or takes too long.
    pub async fn connect(
        &self,
        stream: Box<dyn Stream>,
        name: &str,
        verify: &Verify,
    ) -> io::Result<(Box<dyn Stream>, Negotiated)> {
        let stream = self.handshake(stream, name, verify).await?;
        let connection = stream.get_ref().1;
        let version = connection.protocol_version().and_then(|version| version.as_str());
        let suite = connection.negotiated_cipher_suite().and_then(|suite| suite.suite().as_str());
        let about = format!(
            "{} {}",
            version.unwrap_or("TLS").replace('_', "."),
            suite.unwrap_or("unknown").replace("TLS13_", "TLS_")
        );
        let exporter = tls::exporter(connection).map(|octets| octets.to_vec());
        Ok((Box::new(stream), Negotiated { about, exporter }))
    }
}

/// Our own verifier's error in its own words, which the library only shows as it is written in code.
fn explained(error: io::Error) -> io::Error {
    match error.get_ref().and_then(|inner| inner.downcast_ref()) {
        Some(Error::InvalidCertificate(CertificateError::Other(_))) => io::Error::other(NotNamed),
        _ => error,
    }
}

/// What a failed handshake is called in a report (RFC 8460 §4.3).
pub(crate) fn failure(error: &io::Error) -> Failure {
    let inner = error.get_ref();
    if inner.is_some_and(|inner| inner.is::<NotNamed>()) {
        return Failure::TlsaInvalid;
    }
    let Some(Error::InvalidCertificate(why)) = inner.and_then(|inner| inner.downcast_ref()) else {
        return Failure::ValidationFailure;
    };
    match why {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            Failure::CertificateExpired
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            Failure::CertificateHostMismatch
        }
        _ => Failure::CertificateNotTrusted,
    }
}

/// The certificate is not what DNS says.
#[derive(Debug, thiserror::Error)]
#[error("the certificate is not the one that DNS names (TLSA)")]
struct NotNamed;

/// Takes the certificate that DNS names, or, where it names none, any: whoever can change the traffic
/// can take STARTTLS out of it as well, and insisting would only send the mail in plaintext.
#[derive(Debug)]
struct Checks {
    dane: Option<Arc<Dane>>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Checks {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let algorithms = self.provider.signature_verification_algorithms.all;
        match &self.dane {
            Some(dane) if !dane.holds(end_entity, intermediates, now, algorithms) => {
                let not_named = CertificateError::Other(OtherError(Arc::new(NotNamed)));
                Err(Error::InvalidCertificate(not_named))
            }
            _ => Ok(ServerCertVerified::assertion()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let known = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, known)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let known = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, known)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_have_the_names_that_reports_know() {
        let invalid = |why| explained(io::Error::other(Error::InvalidCertificate(why)));
        let not_named = CertificateError::Other(OtherError(Arc::new(NotNamed)));
        for (error, expected) in [
            (invalid(CertificateError::Expired), Failure::CertificateExpired),
            (invalid(CertificateError::NotValidForName), Failure::CertificateHostMismatch),
            (invalid(CertificateError::UnknownIssuer), Failure::CertificateNotTrusted),
            (invalid(not_named), Failure::TlsaInvalid),
            (io::ErrorKind::TimedOut.into(), Failure::ValidationFailure),
        ] {
            assert_eq!(failure(&error), expected, "{error}");
        }
        assert!(
            invalid(CertificateError::Other(OtherError(Arc::new(NotNamed))))
                .to_string()
                .contains("TLSA")
        );
    }
}
