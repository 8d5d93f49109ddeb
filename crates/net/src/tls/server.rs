//! TLS to clients, as a server. The certificates are read from files and read again when the files
//! change, or are self-signed at the first start; others come from an authority (ACME). `listen` uses
//! them for TLS from the first octet and after STARTTLS or STLS.

pub mod challenges;
mod files;
pub mod health;
mod issued;

pub use files::{read_all_certificates, read_certificates, read_chain};
pub use issued::IssuedCertificate;

use crate::transport::Stream;
use aws_lc_rs::digest;
use challenges::Challenges;
use issued::Issued;
use parking_lot::{Mutex, RwLock};
use rustls::{
    ProtocolVersion, ServerConfig,
    client::verify_server_name,
    crypto::CryptoProvider,
    pki_types::ServerName,
    server::{Acceptor, ClientHello, ParsedCertificate, ResolvesServerCert},
    sign::{CertifiedKey, SingleCertAndKey},
};
use std::{
    fs, io,
    io::Write as _,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};
use tokio::{io::AsyncWriteExt as _, time::timeout};
use tokio_rustls::{LazyConfigAcceptor, TlsAcceptor, server::TlsStream};

/// The time within which a handshake must succeed. A client that connects and stays silent must not hold
/// a session.
const HANDSHAKE: Duration = Duration::from_secs(30);

/// The files of a certificate and its key, in PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateFiles {
    /// The certificate, followed by the intermediate certificates up to its issuer.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// The reason why a certificate cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read, or has the wrong content.
    #[error("{} cannot be used: {cause}", path.display())]
    File {
        /// The path of the file.
        path: PathBuf,
        /// The fault and its cure.
        cause: String,
    },
    /// The key does not belong to the certificate.
    #[error(
        "the key {} does not belong to the certificate {}: name the key that this certificate was made \
         with", .0.key.display(), .0.certificate.display()
    )]
    Pair(CertificateFiles),
    /// A certificate that an authority issued cannot be used.
    #[error("the certificate that was issued for {name} cannot be used: {cause}")]
    Issued {
        /// The name that it is for.
        name: String,
        /// The fault.
        cause: String,
    },
    /// The TLS library cannot be set up.
    #[error("TLS cannot be used: {0}")]
    Library(#[from] rustls::Error),
}

impl TlsError {
    fn file(path: &Path, cause: impl std::fmt::Display) -> Self {
        Self::File { path: path.to_owned(), cause: cause.to_string() }
    }
}

/// The result of a TLS handshake with a client.
#[derive(Debug, Clone)]
pub struct TlsInfo {
    /// The version, such as `TLSv1.3`.
    pub version: &'static str,
    /// The cipher suite's registered name.
    pub cipher: String,
    /// The channel binding `tls-exporter` (RFC 9266).
    pub exporter: Option<[u8; EXPORTED]>,
    /// The channel binding `tls-server-end-point` (RFC 5929 §4).
    pub server_end_point: Arc<[u8]>,
}

/// The label of the channel binding `tls-exporter` (RFC 9266 §2).
const EXPORTER: &[u8] = b"EXPORTER-Channel-Binding";

/// The number of octets in the channel binding `tls-exporter` (RFC 9266 §2).
const EXPORTED: usize = 32;

/// Returns the channel binding `tls-exporter`, which ties a login to a connection (RFC 9266 §2).
pub fn exporter<D>(connection: &rustls::ConnectionCommon<D>) -> Option<[u8; EXPORTED]> {
    connection.export_keying_material([0; EXPORTED], EXPORTER, Some(b"")).ok()
}

/// Accepts TLS from clients, with the certificate for the name that the client requests.
#[derive(Clone)]
pub struct Tls {
    acceptor: TlsAcceptor,
    certificates: Arc<Certificates>,
    challenges: Challenges,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tls")
    }
}

impl Tls {
    /// Reads certificates. The first is for clients that name no host, or one that no certificate
    /// matches.
    ///
    /// # Errors
    /// When a file cannot be read, or a key does not belong to its certificate.
    pub fn load(files: Vec<CertificateFiles>) -> Result<Self, TlsError> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let loaded = load_all(&files, &provider)?;
        let certificates = Arc::new(Certificates {
            provider: provider.clone(),
            loaded: RwLock::new(Arc::new(loaded)),
            seen: Mutex::new(modified(&files)),
            files: RwLock::new(files),
            issued: Issued::default(),
        });
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_cert_resolver(certificates.clone());
        let acceptor = TlsAcceptor::from(Arc::new(config));
        Ok(Self { acceptor, certificates, challenges: Challenges::default() })
    }

    /// Replaces the certificates that an authority issued. They come before those of files; that for the
    /// name `own` is also for clients that name no host.
    ///
    /// # Errors
    /// When a certificate or a key cannot be used; those before then stay in use.
    pub fn use_issued(&self, issued: &[IssuedCertificate], own: &str) -> Result<(), TlsError> {
        self.certificates.issued.replace(issued, own, &self.certificates.provider)
    }

    /// Returns the answers to authorities that check names, which the handshakes give out.
    #[must_use]
    pub const fn challenges(&self) -> &Challenges {
        &self.challenges
    }

    /// Returns whether a certificate that the operator provides, in a file other than the self-signed
    /// one, is for a host name.
    #[must_use]
    pub fn has_file_for(&self, name: &str) -> bool {
        let Ok(name) = ServerName::try_from(name) else { return false };
        let (files, loaded) = (self.certificates.files(), self.certificates.loaded());
        let provided = files.iter().zip(&*loaded).filter(|(files, _)| {
            files.certificate.file_name().is_none_or(|name| name != SELF_SIGNED)
        });
        provided.into_iter().any(|(_, loaded)| loaded.is_for(&name))
    }

    /// Reads the certificates again if a file has changed since they were last read. Returns whether one
    /// had.
    ///
    /// # Errors
    /// When a file cannot be read; the previous certificates then stay in use.
    pub fn reload(&self) -> Result<bool, TlsError> {
        let Certificates { provider, loaded, seen, .. } = &*self.certificates;
        let files = self.certificates.files();
        let now = modified(&files);
        {
            let mut seen = seen.lock();
            if *seen == now {
                return Ok(false);
            }
            *seen = now;
        }
        let fresh = Arc::new(load_all(&files, provider)?);
        *loaded.write() = fresh;
        Ok(true)
    }

    /// Takes over the certificates of `other`, and follows its files from now on.
    pub fn follow(&self, other: &Self) {
        let theirs = other.certificates.files();
        let seen = other.certificates.seen.lock().clone();
        let loaded = other.certificates.loaded();
        let Certificates { files: ours, loaded: our_loaded, seen: our_seen, .. } =
            &*self.certificates;
        *ours.write() = theirs;
        *our_seen.lock() = seen;
        *our_loaded.write() = loaded;
    }

    /// Negotiates TLS on a client's connection. Returns the stream inside TLS, and the result of the
    /// handshake.
    ///
    /// # Errors
    /// When the handshake fails, or takes longer than 30 seconds.
    pub async fn accept(&self, stream: Box<dyn Stream>) -> io::Result<(Box<dyn Stream>, TlsInfo)> {
        // Asked first, so that the usual handshake needs no look into the client's offer.
        let handshake = match self.challenges.may_be_asked() {
            false => timeout(HANDSHAKE, self.acceptor.accept(stream)).await,
            true => timeout(HANDSHAKE, Box::pin(self.accept_or_prove(stream))).await,
        };
        let stream =
            handshake.map_err(|_| io::ErrorKind::TimedOut)?.map_err(crate::tls::words::in_words)?;
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
            exporter: exporter(connection),
            server_end_point: self
                .certificates
                .fitting(connection.server_name())
                .map_or_else(|| [].into(), |fitting| fitting.end_point.clone()),
        };
        Ok((Box::new(crate::tls::words::InWords(stream)), info))
    }

    /// Negotiates TLS; or proves to an authority that a name leads here, and ends the connection with an
    /// error (RFC 8737 §3).
    async fn accept_or_prove(
        &self,
        stream: Box<dyn Stream>,
    ) -> io::Result<TlsStream<Box<dyn Stream>>> {
        let begun = LazyConfigAcceptor::new(Acceptor::default(), stream).await?;
        let hello = begun.client_hello();
        let is_check =
            hello.alpn().is_some_and(|mut offered| offered.any(|it| it == challenges::PROTOCOL));
        if !is_check {
            return begun.into_stream(self.acceptor.config().clone()).await;
        }
        let name = hello.server_name().map(str::to_owned).unwrap_or_default();
        let proof = self.challenges.certificate(&name).await;
        let proof = proof.ok_or_else(|| io::Error::other("an unknown name was to be proved"))?;
        let config = ServerConfig::builder_with_provider(self.certificates.provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?
            .with_no_client_auth();
        let mut config =
            config.with_cert_resolver(Arc::new(SingleCertAndKey::from((*proof).clone())));
        config.alpn_protocols.push(challenges::PROTOCOL.to_vec());
        let mut proved = begun.into_stream(Arc::new(config)).await?;
        proved.shutdown().await?;
        Err(io::Error::other("an authority checked whether a name leads here"))
    }
}

/// The certificates in use.
#[derive(Debug)]
struct Certificates {
    provider: Arc<CryptoProvider>,
    files: RwLock<Vec<CertificateFiles>>,
    loaded: RwLock<Arc<Vec<Loaded>>>,
    /// The modification times of the files when they were last examined.
    seen: Mutex<Vec<Option<SystemTime>>>,
    issued: Issued,
}

/// A certificate and its key, as read from files.
#[derive(Debug, Clone)]
struct Loaded {
    key: Arc<CertifiedKey>,
    /// The channel binding `tls-server-end-point`.
    end_point: Arc<[u8]>,
}

impl Certificates {
    fn files(&self) -> Vec<CertificateFiles> {
        self.files.read().clone()
    }

    fn loaded(&self) -> Arc<Vec<Loaded>> {
        self.loaded.read().clone()
    }

    /// Returns the first certificate for this name, or else the server's own.
    fn fitting(&self, name: Option<&str>) -> Option<Loaded> {
        let issued = name.and_then(|name| self.issued.named(name));
        if issued.is_some() {
            return issued;
        }
        let loaded = self.loaded();
        let name = name.and_then(|name| ServerName::try_from(name).ok());
        let fits = |loaded: &&Loaded| name.as_ref().is_some_and(|name| loaded.is_for(name));
        let fitting = loaded.iter().find(fits).cloned();
        fitting.or_else(|| self.issued.own()).or_else(|| loaded.first().cloned())
    }
}

impl Loaded {
    fn is_for(&self, name: &ServerName<'_>) -> bool {
        let leaf = self.key.end_entity_cert().ok();
        let leaf = leaf.and_then(|leaf| ParsedCertificate::try_from(leaf).ok());
        leaf.is_some_and(|leaf| verify_server_name(&leaf, name).is_ok())
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.fitting(hello.server_name()).map(|loaded| loaded.key)
    }
}

fn load_all(
    files: &[CertificateFiles],
    provider: &CryptoProvider,
) -> Result<Vec<Loaded>, TlsError> {
    files.iter().map(|files| load_one(files, provider)).collect()
}

fn load_one(files: &CertificateFiles, provider: &CryptoProvider) -> Result<Loaded, TlsError> {
    Ok(loaded(files::read_pair(files, provider)?))
}

fn loaded(key: CertifiedKey) -> Loaded {
    // RFC 5929 §4.1: the hash function is that of the certificate's signature, which is SHA-256 for nearly all
    // certificates in use. Where it is SHA-384 or more, a client that binds its login to this fails safely.
    let leaf = key.cert.first().map(|leaf| leaf.as_ref()).unwrap_or_default();
    let end_point = digest::digest(&digest::SHA256, leaf).as_ref().into();
    Loaded { key: Arc::new(key), end_point }
}

fn modified(files: &[CertificateFiles]) -> Vec<Option<SystemTime>> {
    let paths = files.iter().flat_map(|files| [&files.certificate, &files.key]);
    paths.map(|path| fs::metadata(path).and_then(|metadata| metadata.modified()).ok()).collect()
}

/// The file name of the self-signed certificate in its directory.
pub const SELF_SIGNED: &str = "self-signed.cert.pem";

/// Returns the files of the self-signed certificate in a directory, and makes the certificate if it does
/// not exist.
///
/// # Errors
/// When the certificate cannot be made or written.
pub fn self_signed(directory: &Path, hostname: &str) -> Result<CertificateFiles, TlsError> {
    let files = CertificateFiles {
        certificate: directory.join(SELF_SIGNED),
        key: directory.join("self-signed.key.pem"),
    };
    if files.certificate.exists() && files.key.exists() {
        return Ok(files);
    }
    let made = rcgen::generate_simple_self_signed(vec![hostname.to_owned()])
        .map_err(|error| TlsError::file(&files.certificate, error))?;
    // The key is written first: a certificate whose key is missing could pass for a complete pair.
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
        Tls::load(vec![files]).unwrap();
    }

    #[test]
    fn the_certificate_fits_the_name_and_follows_its_files() {
        let directory = tempfile::tempdir().unwrap();
        let make = |name: &str| {
            let place = directory.path().join(name);
            fs::create_dir_all(&place).unwrap();
            self_signed(&place, name).unwrap()
        };
        let (one, two) = (make("one.test"), make("two.test"));
        let tls = Tls::load(vec![one.clone(), two.clone()]).unwrap();
        let point = |name| tls.certificates.fitting(name).unwrap().end_point;
        assert_eq!(point(Some("one.test")), point(None));
        assert_ne!(point(Some("two.test")), point(None));
        assert_eq!(point(Some("three.test")), point(None));
        assert!(!tls.reload().unwrap(), "nothing changed");
        let before = point(Some("two.test"));
        for file in [&two.certificate, &two.key] {
            fs::remove_file(file).unwrap();
        }
        assert!(tls.reload().is_err());
        assert_eq!(point(Some("two.test")), before, "the old one stays in use");
        make("two.test");
        assert!(tls.reload().unwrap());
        assert_ne!(point(Some("two.test")), before);
    }

    #[test]
    fn other_files_can_take_the_place_of_the_first() {
        let directory = tempfile::tempdir().unwrap();
        let load = |name: &str| {
            let place = directory.path().join(name);
            fs::create_dir_all(&place).unwrap();
            let files = self_signed(&place, name).unwrap();
            (files.clone(), Tls::load(vec![files]).unwrap())
        };
        let ((_, tls), (files, other)) = (load("one.test"), load("two.test"));
        let point = |tls: &Tls| tls.certificates.fitting(None).unwrap().end_point;
        tls.follow(&other);
        assert_eq!(point(&tls), point(&other));
        fs::remove_file(&files.certificate).unwrap();
        self_signed(files.certificate.parent().unwrap(), "two.test").unwrap();
        assert!(tls.reload().unwrap(), "the new files are followed");
        assert_ne!(point(&tls), point(&other));
    }

    #[test]
    fn a_wrong_file_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let mut files = self_signed(directory.path(), "mail.example.test").unwrap();
        files.key = directory.path().join("missing.pem");
        let error = Tls::load(vec![files]).unwrap_err().to_string();
        assert!(error.contains("missing.pem"), "{error}");
    }
}
