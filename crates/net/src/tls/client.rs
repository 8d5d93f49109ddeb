//! TLS on the client's side.

pub mod certificate;

use crate::{
    tls::{
        dane::Dane,
        server,
        words::{InWords, in_words},
    },
    transport::Stream,
};
use certificate::{Believed, Checks};
use rustls::{
    ClientConfig, Error, RootCertStore,
    crypto::CryptoProvider,
    pki_types::{CertificateDer, ServerName},
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

fn connector(believed: Believed, provider: &Arc<CryptoProvider>) -> Result<TlsConnector, Error> {
    let checks = Checks { believed, provider: provider.clone() };
    let config = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(checks))
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
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
    /// With the authorities that browsers trust, and these. A certificate among these is also believed
    /// of a server that shows it as its own.
    ///
    /// # Errors
    /// When the library does not support what it should.
    pub fn new(more: &[CertificateDer<'_>]) -> Result<Self, Error> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut roots = RootCertStore::from_iter(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        for authority in more {
            roots.add(authority.clone())?;
        }
        let listed = more.iter().map(|certificate| certificate.clone().into_owned()).collect();
        let verified = Believed::Authorities { roots, listed };
        Ok(Self {
            opportunistic: connector(Believed::Anyone, &provider)?,
            verified: connector(verified, &provider)?,
            provider,
        })
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
                let connector = connector(Believed::Dane(dane.clone()), &self.provider);
                let connector = connector.map_err(|error| in_words(io::Error::other(error)))?;
                (connector, dane.server_name().unwrap_or(name))
            }
        };
        let name = name.trim_start_matches('[').trim_end_matches(']').to_owned();
        let name = ServerName::try_from(name)
            .map_err(|_| io::Error::other("its name is none that a certificate can have"))?;
        let handshake = timeout(HANDSHAKE, connector.connect(name, stream)).await;
        let too_long = || io::Error::new(io::ErrorKind::TimedOut, "the handshake took too long");
        handshake.map_err(|_| too_long())?.map_err(in_words)
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
        let exporter = server::exporter(connection).map(|octets| octets.to_vec());
        Ok((Box::new(InWords(stream)), Negotiated { about, exporter }))
    }
}
