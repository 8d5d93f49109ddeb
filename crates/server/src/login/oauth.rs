//! Logging in with a token issued by an identity server (RFC 6750), which is asked whether the token is
//! valid (RFC 7662). The mechanisms OAUTHBEARER (RFC 7628) and its predecessor XOAUTH2 use it.
//! `oauth/grant.rs` decides which tokens are accepted.

mod grant;

pub use grant::{Accepted, Grant, Rejection};

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use http_body_util::Full;
use hyper::{Request, StatusCode, Uri, body::Bytes};
use posta_mail::{Secret, Timestamp};
use posta_net::{
    https,
    tls::client::{ClientTls, Verify},
    transport::Net,
};
use serde_json::Value;
use std::{sync::Arc, time::Duration};
use tokio::time::timeout;

/// The time within which the identity server must answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// The maximal number of octets in the identity server's answer.
const ANSWER: usize = 64 * 1024;

/// The maximal number of octets in a token, which has to fit into a line of a SASL exchange.
const TOKEN: usize = 9_000;

/// The settings for checking tokens.
#[derive(Debug, Clone)]
pub struct OAuthSettings {
    /// The introspection endpoint: `https://…`, or `http://…` on this machine.
    pub introspection: Uri,
    /// This server's client id at the identity server, and its secret.
    pub client: Option<(String, Secret)>,
    /// The tokens that are accepted.
    pub accepted: Accepted,
}

/// Checks tokens with the identity server.
#[derive(Clone)]
pub struct Tokens {
    settings: OAuthSettings,
    net: Arc<dyn Net>,
    tls: ClientTls,
}

/// The reason why a token does not open a mailbox.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The text is not a token at all.
    #[error("that is no token")]
    Malformed,
    /// The token is not accepted here.
    #[error("the token is not taken: {0}")]
    Rejected(#[from] Rejection),
    /// The identity server could not be asked.
    #[error("the token cannot be checked: {0}")]
    Unavailable(String),
}

impl Tokens {
    /// Returns a checker of tokens that asks the server in the settings.
    #[must_use]
    pub fn new(settings: OAuthSettings, net: Arc<dyn Net>, tls: ClientTls) -> Self {
        Self { settings, net, tls }
    }

    /// Returns the account whose mailbox a token opens, and the time when the token expires.
    ///
    /// # Errors
    /// When the token opens no mailbox, or the identity server cannot be asked.
    pub async fn check(&self, token: &str, now: Timestamp) -> Result<Grant, TokenError> {
        // RFC 6750 §2.1: the characters of a token. Any other could inject fields into the form below.
        let fits = |octet: u8| octet.is_ascii_alphanumeric() || b"-._~+/=".contains(&octet);
        if token.is_empty() || token.len() > TOKEN || !token.bytes().all(fits) {
            return Err(TokenError::Malformed);
        }
        let asked = timeout(PATIENCE, self.ask(token)).await;
        let answer = asked
            .map_err(|_| TokenError::Unavailable("no answer in time".to_owned()))?
            .map_err(TokenError::Unavailable)?;
        Ok(self.settings.accepted.judge(&answer, now)?)
    }

    async fn ask(&self, token: &str) -> Result<Value, String> {
        let uri = &self.settings.introspection;
        let host = uri.host().ok_or("the endpoint names no host")?;
        let is_tls = uri.scheme_str() != Some("http");
        let port = uri.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
        let stream = self.net.connect(&format!("{host}:{port}")).await.map_err(text)?;
        let stream = if is_tls {
            self.tls.connect(stream, host, &Verify::Authorities).await.map_err(text)?.0
        } else {
            stream
        };
        let answer = https::exchange(stream, self.request(token)?, ANSWER).await?;
        if answer.status != StatusCode::OK {
            return Err(format!("it answered {}", answer.status));
        }
        serde_json::from_slice(&answer.body).map_err(text)
    }

    fn request(&self, token: &str) -> Result<Request<Full<Bytes>>, String> {
        let uri = &self.settings.introspection;
        // These characters of a token have a meaning in a form.
        let token = token.replace('+', "%2B").replace('/', "%2F").replace('=', "%3D");
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        let mut request = Request::post(path)
            .header("host", uri.authority().map_or("", |authority| authority.as_str()))
            .header("accept", "application/json")
            .header("content-type", "application/x-www-form-urlencoded");
        if let Some((client, secret)) = &self.settings.client {
            let pair = [client.as_bytes(), b":", secret.expose()].concat();
            request = request.header("authorization", format!("Basic {}", BASE64.encode(pair)));
        }
        let body = format!("token={token}&token_type_hint=access_token");
        request.body(Full::new(Bytes::from(body))).map_err(text)
    }
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// The client's first message of OAUTHBEARER or XOAUTH2.
#[derive(Debug, PartialEq, Eq)]
pub struct Claim<'a> {
    /// The account that the client wants; `None` for the account that the token names.
    pub name: Option<&'a str>,
    /// The token.
    pub token: &'a str,
}

impl<'a> Claim<'a> {
    /// Parses OAUTHBEARER's message (RFC 7628 §3.1): a GS2 header, then pairs, each ended by 0x01.
    #[must_use]
    pub fn bearer(message: &'a [u8]) -> Option<Self> {
        let mut parts = str::from_utf8(message).ok()?.split('\x01');
        let header = parts.next()?.strip_prefix("n,")?.strip_suffix(',')?;
        let name = match header.strip_prefix("a=") {
            Some(name) => Some(name),
            None if header.is_empty() => None,
            None => return None,
        };
        Some(Self { name, token: token(parts)? })
    }

    /// Parses XOAUTH2's message: `user=…`, then the same pairs.
    #[must_use]
    pub fn xoauth2(message: &'a [u8]) -> Option<Self> {
        let mut parts = str::from_utf8(message).ok()?.split('\x01');
        let name = parts.next()?.strip_prefix("user=")?;
        Some(Self { name: Some(name), token: token(parts)? })
    }
}

fn token<'a>(parts: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let auth = parts.filter_map(|pair| pair.strip_prefix("auth=")).next()?;
    let (scheme, token) = auth.split_once(' ')?;
    scheme.eq_ignore_ascii_case("Bearer").then_some(token)
}

/// The challenge that informs a client that its token is not valid, before the exchange fails (RFC 7628
/// §3.2.2).
pub const FAILED: &[u8] = br#"{"status":"invalid_token"}"#;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claims_are_read() {
        let claim = |name, token| Some(Claim { name, token });
        for (message, expected) in [
            (
                "n,a=ana@x.test,\x01host=x\x01port=587\x01auth=Bearer t0k\x01\x01",
                claim(Some("ana@x.test"), "t0k"),
            ),
            ("n,,\x01auth=bearer t\x01\x01", claim(None, "t")),
            ("y,,\x01auth=Bearer t\x01\x01", None),
            ("n,,\x01auth=Basic t\x01\x01", None),
            ("n,b=c,\x01auth=Bearer t\x01\x01", None),
            ("n,,", None),
            ("", None),
        ] {
            assert_eq!(Claim::bearer(message.as_bytes()), expected, "{message:?}");
        }
        let message = b"user=ana@x.test\x01auth=Bearer t0k\x01\x01";
        assert_eq!(Claim::xoauth2(message), claim(Some("ana@x.test"), "t0k"));
        assert_eq!(Claim::xoauth2(b"auth=Bearer t0k\x01\x01"), None);
        assert_eq!(Claim::bearer(b"\xff"), None);
    }
}
