//! The decision on a token, based on the identity server's answer (RFC 7662 §2.2): which mailbox it
//! opens, and until when.
//!
//! An active token proves only that the identity server issued it, to some program for some service. A
//! shop's web site at which a user logged in with the same identity server has one too, and must not be
//! able to read the user's mail with it.

use posta_mail::{Address, Timestamp};
use serde_json::Value;
use std::time::Duration;

/// The claim about which the identity server makes a statement in another one, `email_verified`.
const EMAIL: &str = "email";

/// The tolerated difference by which the identity server's clock is ahead (RFC 7519 §4.1.5: "no more
/// than a few minutes").
const CLOCK_SKEW: Duration = Duration::from_secs(60);

/// The token types that any holder may use: the first is that of RFC 6750, the second that of older
/// versions of Ory Hydra.
const BEARER: [&str; 2] = ["Bearer", "access_token"];

/// The tokens that are accepted: none, if neither an audience nor a program is given.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Accepted {
    /// The service that the token was issued for: one of its `aud`.
    pub audience: Option<String>,
    /// The programs whose tokens are accepted, by their `client_id`; empty for any.
    pub clients: Vec<String>,
    /// The permissions that the token must contain: members of its `scope`.
    pub scope: Vec<String>,
    /// The member of the answer that contains the account's address.
    pub claim: String,
}

/// The rights that a token grants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// The account's address.
    pub address: Address,
    /// When the token expires, if the identity server says so.
    pub until: Option<Timestamp>,
}

/// The reason why a token does not open a mailbox.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// The token was never issued, has expired, or was revoked.
    #[error("it is not active")]
    Inactive,
    /// The token was issued for another service.
    #[error("its \"aud\" is {found}, not {wanted}; oauth.audience names what is taken")]
    Audience {
        /// The token's `aud`.
        found: String,
        /// The audience that is accepted.
        wanted: String,
    },
    /// The token was issued to another program.
    #[error("its \"client_id\" is {0}, which is not among oauth.allowed-clients")]
    Client(String),
    /// The token lacks a required scope.
    #[error("its \"scope\" lacks {0}, which oauth.scope asks for")]
    Scope(String),
    /// The address is not verified: users could have entered any address.
    #[error("its \"email_verified\" is {0}: the identity server has not verified the address")]
    Unverified(String),
    /// The token names no account.
    #[error(
        "its \"{claim}\" is {found}, and not an address; oauth.claim names the member that has one"
    )]
    Address {
        /// The name of the claim.
        claim: String,
        /// The value of the claim.
        found: String,
    },
    /// The token is not valid yet, or no longer.
    #[error("its \"{claim}\" is {found}: it is not valid at this time")]
    Time {
        /// The name of the claim.
        claim: &'static str,
        /// The value of the claim.
        found: String,
    },
    /// The holder must also prove possession of a key, for which SASL has no means.
    #[error("it is bound to a key of the program that it was given to, and no bearer token")]
    Bound,
    /// The operator has not configured whose tokens are accepted.
    #[error("neither oauth.audience nor oauth.allowed-clients says whose tokens are taken")]
    NothingAccepted,
}

impl Accepted {
    /// Decides from the identity server's answer which rights a token grants.
    ///
    /// # Errors
    /// When the token opens no mailbox here.
    pub fn judge(&self, answer: &Value, now: Timestamp) -> Result<Grant, Rejection> {
        if answer.get("active") != Some(&Value::Bool(true)) {
            return Err(Rejection::Inactive);
        }
        is_bearer(answer)?;
        self.is_ours(answer)?;
        let until = valid_until(answer, now)?;
        Ok(Grant { address: self.address(answer)?, until })
    }

    /// Checks that the token was issued for this service, to a program that may use it.
    fn is_ours(&self, answer: &Value) -> Result<(), Rejection> {
        let Self { audience, clients, scope, .. } = self;
        if audience.is_none() && clients.is_empty() {
            return Err(Rejection::NothingAccepted);
        }
        if let Some(wanted) = audience {
            let aud = answer.get("aud");
            let is_named = match aud {
                Some(Value::Array(several)) => several.iter().any(|one| one == wanted),
                Some(one) => one == wanted,
                None => false,
            };
            if !is_named {
                return Err(Rejection::Audience { found: shown(aud), wanted: wanted.clone() });
            }
        }
        let client = answer.get("client_id");
        if !clients.is_empty() && !clients.iter().any(|known| client.is_some_and(|it| it == known))
        {
            return Err(Rejection::Client(shown(client)));
        }
        let granted = answer.get("scope").and_then(Value::as_str).unwrap_or_default();
        let lacking = scope.iter().find(|wanted| !granted.split(' ').any(|word| word == *wanted));
        lacking.map_or(Ok(()), |lacking| Err(Rejection::Scope(lacking.clone())))
    }

    /// Returns the address in the claim. It must be complete: a local-part alone could belong to another
    /// person at another domain.
    fn address(&self, answer: &Value) -> Result<Address, Rejection> {
        let claim = self.claim.as_str();
        if claim == EMAIL {
            // OpenID Connect Core §5.1. Some identity servers send it as text, some not at all.
            match answer.get("email_verified") {
                None | Some(Value::Bool(true)) => {}
                Some(Value::String(text)) if text == "true" => {}
                other => return Err(Rejection::Unverified(shown(other))),
            }
        }
        let found = answer.get(claim);
        let address = found.and_then(Value::as_str).and_then(|text| text.parse().ok());
        address.ok_or_else(|| Rejection::Address { claim: claim.to_owned(), found: shown(found) })
    }
}

/// Checks that any holder may use the token. Other tokens are bound to a key whose possession SASL
/// cannot prove, and may have been stolen (RFC 8705 §3, RFC 9449 §7.2).
fn is_bearer(answer: &Value) -> Result<(), Rejection> {
    let is_bearer = |kind: &str| BEARER.iter().any(|bearer| kind.eq_ignore_ascii_case(bearer));
    let other_kind = match answer.get("token_type") {
        None | Some(Value::Null) => false,
        Some(kind) => !kind.as_str().is_some_and(is_bearer),
    };
    let is_bound = answer.get("cnf").is_some_and(|cnf| !cnf.is_null());
    if other_kind || is_bound { Err(Rejection::Bound) } else { Ok(()) }
}

/// Checks that the token is valid now. Returns the time when it expires, if the answer contains one.
fn valid_until(answer: &Value, now: Timestamp) -> Result<Option<Timestamp>, Rejection> {
    let reject = |claim| Rejection::Time { claim, found: shown(answer.get(claim)) };
    let time = |claim| match answer.get(claim) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => seconds(value).map(Some).ok_or_else(|| reject(claim)),
    };
    if time("nbf")?.is_some_and(|from| now + CLOCK_SKEW < from) {
        return Err(reject("nbf"));
    }
    let until = time("exp")?;
    if until.is_some_and(|until| until <= now) {
        return Err(reject("exp"));
    }
    Ok(until)
}

/// Reads a number of seconds since 1970, whole or not (RFC 7519 §2). A time out of range becomes the
/// first or last one.
fn seconds(value: &Value) -> Option<Timestamp> {
    let milliseconds = match value.as_i64() {
        Some(whole) => whole.saturating_mul(1_000),
        // A value too large for an integer is limited to the largest one.
        #[allow(clippy::cast_possible_truncation)]
        None => (value.as_f64()? * 1_000.0) as i64,
    };
    let edge = if milliseconds < 0 { Timestamp::MIN } else { Timestamp::MAX };
    Some(Timestamp::from_millisecond(milliseconds).unwrap_or(edge))
}

/// Returns a member of the answer in a form for people.
fn shown(value: Option<&Value>) -> String {
    /// The maximal number of characters, since the creator of the token may have influenced the value.
    const SHOWN: usize = 200;
    value.map_or("missing".to_owned(), |value| value.to_string().chars().take(SHOWN).collect())
}
