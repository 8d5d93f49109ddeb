//! `[oauth]`: what goes together.

use super::OAuth;
use anyhow::{Result, bail};

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
        let texts = self.audience.iter().chain(&self.scope).chain([&self.claim]);
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
