//! Whose mailbox a token opens, and until when: what the identity server's answer has to say (RFC
//! 7662 §2.2).
//!
//! That a token is active says only that the identity server gave it out, to some program for some
//! service. The web site of a shop at which a user logged in with the same identity server holds one
//! too, and must not read the user's mail with it.

use posta_mail::{Address, Timestamp};
use serde_json::Value;
use std::time::Duration;

/// The claim that the identity server vouches for by another one.
const EMAIL: &str = "email";

/// How far the identity server's clock may be ahead of ours (RFC 7519 §4.1.5: "no more than a few
/// minutes").
const CLOCK_SKEW: Duration = Duration::from_secs(60);

/// The kinds of token that whoever holds them may use: the first by RFC 6750, the second as older
/// versions of Ory Hydra call it.
const BEARER: [&str; 2] = ["Bearer", "access_token"];

/// Which tokens are taken. One that names neither an audience nor a program takes none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Accepted {
    /// The service that the token was given out for: one of its `aud`.
    pub audience: Option<String>,
    /// The programs whose tokens are taken, by their `client_id`; empty for any.
    pub clients: Vec<String>,
    /// What the token must allow, all of it: members of its `scope`.
    pub scope: Vec<String>,
    /// Which member of the answer has the account's address.
    pub claim: String,
}

/// What a token grants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// The account's address.
    pub address: Address,
    /// When it ends, where the identity server tells.
    pub until: Option<Timestamp>,
}

/// Why a token opens no mailbox.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// It was never given out, has expired, or was revoked.
    #[error("it is not active")]
    Inactive,
    /// Another service's.
    #[error("its \"aud\" is {found}, not {wanted}; oauth.audience names what is taken")]
    Audience {
        /// What it has.
        found: String,
        /// What it should have.
        wanted: String,
    },
    /// Another program's.
    #[error("its \"client_id\" is {0}, which is not among oauth.allowed-clients")]
    Client(String),
    /// It is not for mail.
    #[error("its \"scope\" lacks {0}, which oauth.scope asks for")]
    Scope(String),
    /// Everybody may write what they like there.
    #[error("its \"email_verified\" is {0}: the identity server has not verified the address")]
    Unverified(String),
    /// It names no account.
    #[error(
        "its \"{claim}\" is {found}, and not an address; oauth.claim names the member that has one"
    )]
    Address {
        /// The claim.
        claim: String,
        /// What it is.
        found: String,
    },
    /// Not yet, or no longer.
    #[error("its \"{claim}\" is {found}: it is not valid at this time")]
    Time {
        /// The claim.
        claim: &'static str,
        /// What it is.
        found: String,
    },
    /// Whoever has it must prove something else as well, for which there is no way here.
    #[error("it is bound to a key of the program that it was given to, and no bearer token")]
    Bound,
    /// Nobody said whose tokens are taken.
    #[error("neither oauth.audience nor oauth.allowed-clients says whose tokens are taken")]
    NothingAccepted,
}

impl Accepted {
    /// Judges what the identity server says of a token.
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

    /// Checks that the token was given out for this service, to a program that may use it.
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

    /// Returns the whole address that the claim has. A local part alone could be another's, at
    /// another domain.
    fn address(&self, answer: &Value) -> Result<Address, Rejection> {
        let claim = self.claim.as_str();
        if claim == EMAIL {
            // OpenID Connect Core §5.1. Some identity servers write it as text, some not at all.
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

/// Checks that whoever holds the token may use it. Others are stolen goods without the key that they
/// are bound to, and that key cannot be shown in SASL (RFC 8705 §3, RFC 9449 §7.2).
fn is_bearer(answer: &Value) -> Result<(), Rejection> {
    let is_bearer = |kind: &str| BEARER.iter().any(|bearer| kind.eq_ignore_ascii_case(bearer));
    let other_kind = match answer.get("token_type") {
        None | Some(Value::Null) => false,
        Some(kind) => !kind.as_str().is_some_and(is_bearer),
    };
    let is_bound = answer.get("cnf").is_some_and(|cnf| !cnf.is_null());
    if other_kind || is_bound { Err(Rejection::Bound) } else { Ok(()) }
}

/// Returns when the token ends, if that is told. It is valid now.
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

/// Reads a number of seconds since 1970, whole or not (RFC 7519 §2). What lies beyond all time ends
/// with it.
fn seconds(value: &Value) -> Option<Timestamp> {
    let milliseconds = match value.as_i64() {
        Some(whole) => whole.saturating_mul(1_000),
        // What is too large for an integer is cut to what fits.
        #[allow(clippy::cast_possible_truncation)]
        None => (value.as_f64()? * 1_000.0) as i64,
    };
    let edge = if milliseconds < 0 { Timestamp::MIN } else { Timestamp::MAX };
    Some(Timestamp::from_millisecond(milliseconds).unwrap_or(edge))
}

/// Shows a member of the answer to a person.
fn shown(value: Option<&Value>) -> String {
    /// Letters of it: whoever made the token may have had a say in it.
    const SHOWN: usize = 200;
    value.map_or("missing".to_owned(), |value| value.to_string().chars().take(SHOWN).collect())
}
