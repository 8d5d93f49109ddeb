//! Reading certificates and keys from PEM files, with error messages that say what a wrong file
//! contains.

use super::{CertificateFiles, TlsError};
use rustls::{
    Error, InconsistentKeys,
    crypto::CryptoProvider,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    sign::CertifiedKey,
};
use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// The maximal number of octets of a file that are read: a certificate with its whole chain has a tenth
/// of that.
const FILE: u64 = 1024 * 1024;

/// Returns the certificates in a text in PEM; none if it cannot be read.
#[must_use]
pub fn read_chain(text: &str) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_slice_iter(text.as_bytes()).collect::<Result<_, _>>().unwrap_or_default()
}

/// Reads all certificates of a PEM file.
///
/// # Errors
/// When the file cannot be read, or contains no certificate.
pub fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let text = read(path)?;
    let certificates = CertificateDer::pem_slice_iter(&text).collect::<Result<Vec<_>, _>>();
    let certificates = certificates.map_err(|error| TlsError::file(path, damaged(&error)))?;
    if !certificates.is_empty() {
        return Ok(certificates);
    }
    let why = if holds(&text, "PRIVATE KEY-----") {
        "it holds a key and no certificate: have the two files been swapped?"
    } else {
        "it holds no certificate in PEM, which begins with -----BEGIN CERTIFICATE-----; `openssl x509 \
         -inform der` makes PEM of DER"
    };
    Err(TlsError::file(path, why))
}

/// Returns the certificates in several files.
///
/// # Errors
/// As [`read_certificates`], for the first file that cannot be read.
pub fn read_all_certificates(paths: &[PathBuf]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let files = paths.iter().map(|path| read_certificates(path)).collect::<Result<Vec<_>, _>>()?;
    Ok(files.concat())
}

fn read_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    let text = read(path)?;
    let read = PrivateKeyDer::from_pem_slice(&text);
    read.map_err(|error| {
        let is_locked = holds(&text, "ENCRYPTED");
        let path_shown = path.display();
        let why = if is_locked {
            format!(
                "the key has a passphrase, and a server has nobody to type it: `openssl pkey -in {path_shown} \
                 -out NEW` writes the key without one"
            )
        } else if holds(&text, "PRIVATE KEY-----") {
            damaged(&error)
        } else if holds(&text, "BEGIN CERTIFICATE-----") {
            "it holds a certificate and no key: have the two files been swapped?".to_owned()
        } else {
            "it holds no key in PEM, which begins with -----BEGIN PRIVATE KEY-----; `openssl pkey -inform \
             der` makes PEM of DER"
                .to_owned()
        };
        TlsError::file(path, why)
    })
}

/// Reads a certificate and its key.
pub(super) fn read_pair(
    files: &CertificateFiles,
    provider: &CryptoProvider,
) -> Result<CertifiedKey, TlsError> {
    let chain = read_certificates(&files.certificate)?;
    let key = read_key(&files.key)?;
    CertifiedKey::from_der(chain, key, provider).map_err(|error| match error {
        Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => TlsError::Pair(files.clone()),
        Error::InvalidCertificate(_) => {
            TlsError::file(&files.certificate, "its first certificate cannot be read")
        }
        _ => TlsError::file(
            &files.key,
            "TLS cannot use this kind of key; it can use RSA with at least 2048 bits, ECDSA with P-256, P-384 or \
             P-521, and Ed25519",
        ),
    })
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    let read = || {
        let mut text = Vec::new();
        io::Read::read_to_end(&mut io::Read::take(fs::File::open(path)?, FILE), &mut text)?;
        Ok(text)
    };
    read().map_err(|error: io::Error| {
        let why = match error.kind() {
            io::ErrorKind::NotFound => "there is no such file".to_owned(),
            io::ErrorKind::PermissionDenied => {
                "this user may not read it: give the server's user or group the right to".to_owned()
            }
            io::ErrorKind::IsADirectory => "it is a directory: name a file".to_owned(),
            _ => error.to_string(),
        };
        TlsError::file(path, why)
    })
}

fn holds(text: &[u8], words: &str) -> bool {
    text.windows(words.len()).any(|window| window == words.as_bytes())
}

fn damaged(error: &impl std::fmt::Display) -> String {
    format!("its content is damaged ({error}): make it again, or restore it from a backup")
}
