//! Who logs in, and who need not: `[oauth]` and `[submission]`.

use anyhow::{Result, bail};
use hyper::Uri;
use serde::Deserialize;
use std::path::PathBuf;

pub(super) const SUBMISSION_KEYS: &[&str] = &["trust-loopback"];

pub(super) const OAUTH_KEYS: &[&str] = &["introspection", "client", "secret-file", "claim"];

/// Who may submit mail.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Submission {
    /// Whether programs on this machine submit mail for here without a login.
    pub(crate) trust_loopback: bool,
}

impl Default for Submission {
    fn default() -> Self {
        Self { trust_loopback: true }
    }
}

/// Whom to ask about the tokens of those who log in with one (RFC 7662).
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct OAuth {
    /// The endpoint: `https://…`, or `http://…` on this machine.
    #[serde(deserialize_with = "super::from_text")]
    pub(crate) introspection: Uri,
    /// What we are there.
    pub(crate) client: Option<String>,
    /// Where the secret that proves it lies.
    pub(crate) secret_file: Option<PathBuf>,
    /// Which member of the answer names the account.
    pub(crate) claim: Option<String>,
}

impl OAuth {
    pub(super) fn check(&self) -> Result<()> {
        let is_near =
            matches!(self.introspection.host(), Some("127.0.0.1" | "localhost" | "[::1]"));
        match self.introspection.scheme_str() {
            Some("https") => {}
            Some("http") if is_near => {}
            _ => bail!("oauth.introspection: tokens are secrets, so it begins with https://"),
        }
        if self.client.is_some() != self.secret_file.is_some() {
            bail!("oauth.client and oauth.secret-file belong together: set both, or neither");
        }
        Ok(())
    }
}
