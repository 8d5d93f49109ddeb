//! TLS on the server's side: its certificate, from files or made on first start.

use crate::net::Stream;
use aws_lc_rs::digest;
use rustls::{
    ProtocolVersion, ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use std::{
    fs, io,
    io::Write as _,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

/// How long a handshake may take. A client that connects and says nothing must not hold a session.
const HANDSHAKE: Duration = Duration::from_secs(30);

/// Where a certificate and its key lie, as PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateFiles {
    /// The certificate, and those that lead to its issuer.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// The certificate cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read, or holds something else.
    #[error("{path} cannot be used: {cause}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        cause: String,
    },
    /// The certificate and the key do not fit.
    #[error("the certificate and the key do not belong together: {0}")]
    Pair(#[from] rustls::Error),
}

impl TlsError {
    fn file(path: &Path, cause: impl std::fmt::Display) -> Self {
        Self::File { path: path.to_owned(), cause: cause.to_string() }
    }
}

/// What is known of a connection's TLS.
#[derive(Debug, Clone)]
pub struct TlsInfo {
    /// `TLSv1.3`, for people.
    pub version: &'static str,
    /// The cipher suite's registered name.
    pub cipher: String,
    /// The channel binding `tls-exporter` (RFC 9266).
    pub exporter: Option<[u8; EXPORTED]>,
    /// The channel binding `tls-server-end-point` (RFC 5929 §4).
    pub server_end_point: Arc<[u8]>,
}

/// The label and the octets of RFC 9266 §2.
const EXPORTER: &[u8] = b"EXPORTER-Channel-Binding";
const EXPORTED: usize = 32;

/// Accepts TLS with one certificate.
#[derive(Clone)]
pub struct Tls {
    acceptor: TlsAcceptor,
    server_end_point: Arc<[u8]>,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tls")
    }
}

impl Tls {
    /// Reads the certificate.
    ///
    /// # Errors
    /// When a file cannot be read or they do not fit.
    pub fn load(files: &CertificateFiles) -> Result<Self, TlsError> {
        let certificates = CertificateDer::pem_file_iter(&files.certificate)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .map_err(|error| TlsError::file(&files.certificate, error))?;
        let key = PrivateKeyDer::from_pem_file(&files.key)
            .map_err(|error| TlsError::file(&files.key, error))?;
        // RFC 5929 §4.1: by the hash of the certificate's signature, SHA-256 for what is in use. A
        // certificate signed with SHA-384 or more would want that; clients of those fail safely.
        let leaf = certificates.first().map_or(&[][..], |leaf| leaf.as_ref());
        let server_end_point = digest::digest(&digest::SHA256, leaf).as_ref().into();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(certificates, key)?;
        Ok(Self { acceptor: TlsAcceptor::from(Arc::new(config)), server_end_point })
    }

    /// Negotiates TLS on a connection.
    ///
    /// # Errors
    /// When the handshake fails or takes too long.
    pub async fn accept(&self, stream: Box<dyn Stream>) -> io::Result<(Box<dyn Stream>, TlsInfo)> {
        let handshake = timeout(HANDSHAKE, self.acceptor.accept(stream)).await;
        let stream = handshake.map_err(|_| io::ErrorKind::TimedOut)??;
        let connection = stream.get_ref().1;
        let info = TlsInfo {
            version: match connection.protocol_version() {
                Some(ProtocolVersion::TLSv1_3) => "TLSv1.3",
                _ => "TLSv1.2",
            },
            cipher: connection
                .negotiated_cipher_suite()
                .and_then(|suite| suite.suite().as_str())
                .map_or_else(|| "unknown".to_owned(), |name| name.replace("TLS13_", "TLS_")),
            exporter: connection.export_keying_material([0; EXPORTED], EXPORTER, Some(b"")).ok(),
            server_end_point: self.server_end_point.clone(),
        };
        Ok((Box::new(stream), info))
    }
}

/// The files of the self-signed certificate in a directory, which is made if it is not there.
///
/// # Errors
/// When it cannot be made.
pub fn self_signed(directory: &Path, hostname: &str) -> Result<CertificateFiles, TlsError> {
    let files = CertificateFiles {
        certificate: directory.join("self-signed.cert.pem"),
        key: directory.join("self-signed.key.pem"),
    };
    if files.certificate.exists() && files.key.exists() {
        return Ok(files);
    }
    let made = rcgen::generate_simple_self_signed(vec![hostname.to_owned()])
        .map_err(|error| TlsError::file(&files.certificate, error))?;
    // The key first: a certificate without its key would be taken for a whole pair.
    write_private(&files.key, &made.signing_key.serialize_pem())
        .map_err(|error| TlsError::file(&files.key, error))?;
    write_private(&files.certificate, &made.cert.pem())
        .map_err(|error| TlsError::file(&files.certificate, error))?;
    Ok(files)
}

fn write_private(path: &Path, text: &str) -> io::Result<()> {
    let mut options = fs::OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_self_signed_certificate_is_made_once() {
        let directory = tempfile::tempdir().unwrap();
        let files = self_signed(directory.path(), "mail.example.test").unwrap();
        let first = fs::read(&files.certificate).unwrap();
        assert_eq!(self_signed(directory.path(), "mail.example.test").unwrap(), files);
        assert_eq!(fs::read(&files.certificate).unwrap(), first);
        Tls::load(&files).unwrap();
    }

    #[test]
    fn a_wrong_file_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let mut files = self_signed(directory.path(), "mail.example.test").unwrap();
        files.key = directory.path().join("missing.pem");
        let error = Tls::load(&files).unwrap_err().to_string();
        assert!(error.contains("missing.pem"), "{error}");
    }
}
