//! `[tls]`: certificates, and what TLS is used for.

use anyhow::{Result, bail};
use serde::Deserialize;
use std::path::PathBuf;

/// Where the certificate is. Without both a self-signed one is made.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Tls {
    pub(crate) certificate: Option<PathBuf>,
    pub(crate) key: Option<PathBuf>,
    /// More certificates, for clients that ask for other names.
    pub(crate) also: Vec<Certificate>,
    /// Authorities whose certificates we believe, beside those that browsers do.
    pub(crate) authorities: Vec<PathBuf>,
    /// Whether SCRAM-SHA-256-PLUS is offered, which ties a login to its connection.
    pub(crate) channel_binding: bool,
}

/// A certificate and its key.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Certificate {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

impl Tls {
    pub(super) fn check(&self) -> Result<()> {
        if self.certificate.is_some() != self.key.is_some() {
            bail!("tls.certificate and tls.key belong together: set both, or neither");
        }
        Ok(())
    }
}
