//! Who logs in, and who need not: `[oauth]` and `[submission]`.

use anyhow::{Result, bail};
use hyper::Uri;
use posta_server::settings::LoopbackTrust;
use serde::{Deserialize, Deserializer, de::Error as _};
use std::path::PathBuf;

/// Who may submit mail.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Submission {
    /// How far programs on this machine are trusted without a login.
    #[serde(deserialize_with = "loopback_trust")]
    pub(crate) trust_loopback: LoopbackTrust,
}

impl Default for Submission {
    fn default() -> Self {
        Self { trust_loopback: LoopbackTrust::Anywhere }
    }
}

/// What `trust-loopback` may be beside true and false, and what that means.
pub(super) const LOOPBACK_WORDS: [(&str, &str); 1] =
    [("local", "programs on this machine submit mail for here only")];

fn loopback_trust<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> std::result::Result<LoopbackTrust, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "it is true, \"local\" or false")]
    enum Trust {
        Flag(bool),
        Word(String),
    }
    match Trust::deserialize(deserializer)? {
        Trust::Flag(true) => Ok(LoopbackTrust::Anywhere),
        Trust::Flag(false) => Ok(LoopbackTrust::Nothing),
        Trust::Word(word) if word == "local" => Ok(LoopbackTrust::Local),
        Trust::Word(word) => {
            Err(D::Error::custom(format!("{word:?} is none of true, \"local\" and false")))
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_is_trusted_as_far_as_it_says() {
        for (value, trust) in [
            ("true", Some(LoopbackTrust::Anywhere)),
            ("\"local\"", Some(LoopbackTrust::Local)),
            ("false", Some(LoopbackTrust::Nothing)),
            ("\"yes\"", None),
            ("1", None),
        ] {
            let read = toml::from_str::<Submission>(&format!("trust-loopback = {value}"));
            assert_eq!(read.ok().map(|read| read.trust_loopback), trust, "{value}");
        }
        assert_eq!(Submission::default().trust_loopback, LoopbackTrust::Anywhere);
    }
}
