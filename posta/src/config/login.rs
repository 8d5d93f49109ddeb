//! Who logs in, and who need not: `[oauth]` and `[submission]`.

use anyhow::{Result, bail};
use hyper::Uri;
use serde::Deserialize;
use std::path::PathBuf;

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
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct OAuth {
    /// The endpoint: `https://…`, or `http://…` on this machine.
    #[serde(deserialize_with = "super::from_text")]
    pub(crate) introspection: Uri,
    /// What we are there.
    pub(crate) client: Option<String>,
    /// Where the secret that proves it lies.
    pub(crate) secret_file: Option<PathBuf>,
    /// The service that a token was given out for: what its `aud` has to name.
    pub(crate) audience: Option<String>,
    /// The programs whose tokens are taken, by their `client_id`; none for any.
    #[serde(default)]
    pub(crate) allowed_clients: Vec<String>,
    /// What a token has to allow: words of its `scope`, with spaces between them.
    pub(crate) scope: Option<String>,
    /// Which member of the answer has the account's address.
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
        let is_blank = |text: &String| text.trim().is_empty();
        let texts = [&self.audience, &self.scope, &self.claim].into_iter().flatten();
        if texts.chain(&self.allowed_clients).any(is_blank) {
            bail!(
                "oauth: audience, allowed-clients, scope and claim may be left out, but not empty"
            );
        }
        if self.audience.is_none() && self.allowed_clients.is_empty() {
            bail!(
                "oauth: a token that the identity server gave out for any other service would open \
                 a mailbox here. Set oauth.audience to what the \"aud\" of the tokens for this \
                 server names, or oauth.allowed-clients to the \"client_id\" of each mail program, \
                 or both"
            );
        }
        Ok(())
    }
}
