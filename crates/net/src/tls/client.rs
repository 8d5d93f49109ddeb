//! TLS to other servers, as a client: for relaying, collecting, HTTPS and the program's own commands.

pub mod certificate;

use crate::{
    tls::{
        dane::Dane,
        server,
        words::{InWords, in_words},
    },
    transport::Stream,
};
use certificate::{CertificateVerifier, Trust};
use rustls::{
    ClientConfig, Error, RootCertStore,
    crypto::CryptoProvider,
    pki_types::{CertificateDer, ServerName},
};
use std::{io, sync::Arc, time::Duration};
use tokio::time::timeout;
use tokio_rustls::{TlsConnector, client::TlsStream};

/// The time within which a handshake must succeed.
const HANDSHAKE: Duration = Duration::from_secs(60);

/// Negotiates TLS with other servers.
#[derive(Clone)]
pub struct ClientTls {
    /// Accepts any certificate.
    opportunistic: TlsConnector,
    /// Accepts certificates for the server's name from a trusted authority.
    verified: TlsConnector,
    provider: Arc<CryptoProvider>,
}

/// The proof of identity that a server has to give.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Verify {
    /// None. This protects only against passive eavesdroppers (opportunistic security, RFC 7435).
    Anyone,
    /// A certificate for the server's name from a trusted authority.
    Authorities,
    /// A certificate that DNS names (RFC 7672).
    Dane(Arc<Dane>),
}

fn connector(trust: Trust, provider: &Arc<CryptoProvider>) -> Result<TlsConnector, Error> {
    let verifier = CertificateVerifier { trust, provider: provider.clone() };
    let config = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

/// The result of a TLS handshake.
#[derive(Debug)]
pub struct Negotiated {
    /// The version and cipher suite, such as `TLSv1.3 TLS_AES_256_GCM_SHA384`.
    pub about: String,
    /// The channel binding `tls-exporter`, which ties a login to this connection (RFC 9266); `None` where the
    /// version of TLS has none.
    pub exporter: Option<Vec<u8>>,
}

impl ClientTls {
    /// Returns a client that trusts the same authorities as browsers, and `more`. A certificate in
    /// `more` is also accepted as a server's own certificate.
    ///
    /// # Errors
    /// When a certificate in `more` cannot be an authority's, or the library cannot be set up.
    pub fn new(more: &[CertificateDer<'_>]) -> Result<Self, Error> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut roots = RootCertStore::from_iter(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        for authority in more {
            roots.add(authority.clone())?;
        }
        let listed = more.iter().map(|certificate| certificate.clone().into_owned()).collect();
        let verified = Trust::Authorities { roots, listed };
        Ok(Self {
            opportunistic: connector(Trust::Anyone, &provider)?,
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
                let connector = connector(Trust::Dane(dane.clone()), &self.provider);
                let connector = connector.map_err(|error| in_words(io::Error::other(error)))?;
                (connector, dane.server_name().unwrap_or(name))
            }
        };
        let name = name.trim_start_matches('[').trim_end_matches(']').to_owned();
        let name = ServerName::try_from(name)
            .map_err(|_| io::Error::other("no certificate can be made for its name"))?;
        let handshake = timeout(HANDSHAKE, connector.connect(name, stream)).await;
        let too_long = || io::Error::new(io::ErrorKind::TimedOut, "the handshake took too long");
        handshake.map_err(|_| too_long())?.map_err(in_words)
    }

    /// Negotiates TLS with the server `name`. Returns the stream inside TLS, and the result of the
    /// handshake.
    ///
    /// # Errors
    /// When the handshake fails, or takes longer than a minute.
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
