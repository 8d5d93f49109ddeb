//! Where the object store is, and how it is used.

use super::signature::{self, SigningKey};
use hyper::Uri;
use posta_store::StoreError;
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, pem::PemObject as _},
};
use std::{fmt::Display, path::PathBuf, sync::Arc, time::Duration};
use tokio_rustls::TlsConnector;
use zeroize::Zeroizing;

/// The hosts of Amazon, which put the bucket's name in front of the host. All others take it in the path.
const AMAZON: &str = ".amazonaws.com";

/// The time that one attempt at a request may take, with a new connection if it needs one.
const TIME_LIMIT: Duration = Duration::from_secs(10);

/// Where the object store is, and how it is used.
#[derive(Debug, Clone)]
pub struct ObjectSettings {
    endpoint: String,
    bucket: String,
    pub(super) key: SigningKey,
    authorities: Vec<PathBuf>,
    pub(super) time_limit: Duration,
}

/// Where a bucket is.
#[derive(Debug)]
pub(super) struct Bucket {
    pub(super) name: String,
    pub(super) is_secure: bool,
    pub(super) host: String,
    pub(super) port: u16,
    /// The host, and the port if it is not the usual one, as the Host field has them.
    pub(super) authority: String,
    /// The path before the names of objects, without a slash at its end.
    pub(super) path: String,
}

impl ObjectSettings {
    /// Returns the settings for a bucket of the store at `endpoint`, `https://HOST` or `http://HOST:PORT`.
    #[must_use]
    pub fn new(endpoint: &str, bucket: &str, region: &str) -> Self {
        Self {
            endpoint: endpoint.to_owned(),
            bucket: bucket.to_owned(),
            key: SigningKey {
                id: String::new(),
                secret: Zeroizing::default(),
                region: region.to_owned(),
            },
            authorities: Vec::new(),
            time_limit: TIME_LIMIT,
        }
    }

    /// Signs requests with a key: its id, and its secret.
    #[must_use]
    pub fn with_key(mut self, id: &str, secret: &str) -> Self {
        self.key.id = id.to_owned();
        self.key.secret = Zeroizing::new(secret.to_owned());
        self
    }

    /// Trusts these authorities (files in PEM) beside those that browsers trust.
    #[must_use]
    pub fn with_authorities(mut self, files: Vec<PathBuf>) -> Self {
        self.authorities = files;
        self
    }

    /// Gives each attempt at a request another time than 10 seconds.
    #[must_use]
    pub const fn with_time_limit(mut self, time: Duration) -> Self {
        self.time_limit = time;
        self
    }

    /// Returns where the bucket is.
    pub(super) fn bucket(&self) -> Result<Bucket, StoreError> {
        let wrong = |why: &str| {
            let endpoint = &self.endpoint;
            StoreError::ObjectStore(format!(
                "[store.objects] endpoint {endpoint:?} is wrong: {why}"
            ))
        };
        let endpoint: Uri = self.endpoint.parse().map_err(|_| wrong("it is no address"))?;
        let (Some(host), Some(scheme)) = (endpoint.host(), endpoint.scheme_str()) else {
            return Err(wrong("it begins with https://"));
        };
        let is_secure = scheme == "https";
        let usual = if is_secure { 443 } else { 80 };
        let port = endpoint.port_u16().unwrap_or(usual);
        let below = signature::path(endpoint.path().trim_end_matches('/'));
        let name = self.bucket.clone();
        let (host, path) = if host.ends_with(AMAZON) && !name.contains('.') {
            (format!("{name}.{host}"), below)
        } else {
            (host.to_owned(), format!("{below}/{}", signature::path(&name)))
        };
        let authority = if port == usual { host.clone() } else { format!("{host}:{port}") };
        // An IPv6 address has brackets in a URL only.
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        Ok(Bucket { name, is_secure, host, port, authority, path })
    }

    pub(super) fn connector(&self) -> Result<TlsConnector, StoreError> {
        let mut roots = RootCertStore::empty();
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        for path in &self.authorities {
            let wrong = |error: &dyn Display| {
                let path = path.display();
                StoreError::ObjectStore(format!(
                    "the authorities in {path} cannot be read: {error}"
                ))
            };
            for certificate in CertificateDer::pem_file_iter(path).map_err(|error| wrong(&error))? {
                let certificate = certificate.map_err(|error| wrong(&error))?;
                roots.add(certificate).map_err(|error| wrong(&error))?;
            }
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| StoreError::ObjectStore(format!("TLS cannot be set up: {error}")))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(TlsConnector::from(Arc::new(config)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bucket_stands_in_the_host_at_amazon_and_in_the_path_elsewhere() {
        let url = |endpoint, bucket| {
            let bucket = ObjectSettings::new(endpoint, bucket, "eu-west-1").bucket();
            bucket
                .map(|it| format!("{} {}{}", it.port, it.authority, it.path))
                .map_err(|error| error.to_string())
        };
        let amazon = "https://s3.eu-west-1.amazonaws.com";
        assert_eq!(url(amazon, "mail").unwrap(), "443 mail.s3.eu-west-1.amazonaws.com");
        assert_eq!(
            url(amazon, "a.b").unwrap(),
            "443 s3.eu-west-1.amazonaws.com/a.b",
            "no certificate is for two labels"
        );
        assert_eq!(url("http://10.0.0.1:9000", "mail").unwrap(), "9000 10.0.0.1:9000/mail");
        assert_eq!(url("http://[::1]/s3/", "mail").unwrap(), "80 [::1]/s3/mail");
        assert!(url("s3.example.org", "mail").unwrap_err().contains("endpoint"));
    }
}
