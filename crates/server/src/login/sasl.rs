//! The SASL mechanisms (RFC 4422) for AUTH, in SMTP and POP3 alike. The engines only carry the octets of
//! the exchange; the sessions of `receive` and `access` pass them on to this module.

use crate::login::{
    Authenticator, FailedLogin, LoginError, NOBODY,
    app_passwords::UsedAppPassword,
    lockout::Lockouts,
    login_name::LoginName,
    oauth::{self, Claim},
    principal::Principal,
};
use posta_mail::{ClientAddress, Secret, sasl as framing};
use posta_net::{
    scram::{ChannelBindings, ClientFirst, ScramExchange, Verifier},
    tls::server::TlsInfo,
};
use std::sync::Arc;

/// The mechanisms for logging in with a password, strongest first.
pub const OWN: [&str; 3] = ["SCRAM-SHA-256", "PLAIN", "LOGIN"];

/// The mechanism that binds a login to its TLS connection. GNU SASL, which mutt and neomutt use, prefers
/// it to all others wherever it is offered. But GNU SASL cannot bind over TLS 1.3 and cancels the
/// exchange, and mutt does not read the reply to that, so all its following commands are out of step.
/// Therefore the mechanism is offered only if the operator wants that (Dovecot does the same), and
/// accepted from any client that uses it without an offer.
pub const BOUND: [&str; 1] = ["SCRAM-SHA-256-PLUS"];

/// The mechanisms for logging in with a token, offered where tokens can be checked.
pub const TOKENS: [&str; 2] = ["OAUTHBEARER", "XOAUTH2"];

/// The progress of an exchange; at its end, the account that the client has proved to be.
type Step = framing::Progress<Principal>;

/// The client of an exchange.
#[derive(Debug)]
pub struct Peer {
    /// The client's address.
    pub client: ClientAddress,
    /// The channel bindings of its TLS connection.
    pub bindings: ChannelBindings,
}

impl Peer {
    /// Returns the peer for a client, and its TLS connection if it has one.
    #[must_use]
    pub fn new(client: ClientAddress, tls: Option<&TlsInfo>) -> Self {
        let bindings = tls.map(|tls| ChannelBindings {
            exporter: tls.exporter.map(|octets| octets.to_vec()),
            server_end_point: Some(tls.server_end_point.to_vec()),
        });
        Self { client, bindings: bindings.unwrap_or_default() }
    }
}

/// The SASL exchange of a session, if one is open.
#[derive(Debug, Default)]
pub struct Dialogue(Option<Box<Open>>);

/// An open exchange. Abandoning it counts as much as completing it.
#[derive(Debug)]
struct Open {
    exchange: Exchange,
    attempt: Attempt,
}

/// An attempt to log in, which counts as a failure if it is dropped before a decision.
struct Attempt {
    lockouts: Arc<Lockouts>,
    client: ClientAddress,
    is_decided: bool,
}

impl std::fmt::Debug for Attempt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Attempt").field("is_decided", &self.is_decided).finish_non_exhaustive()
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        if !self.is_decided {
            self.lockouts.count(self.client);
        }
    }
}

impl Dialogue {
    /// Ends the exchange after the client has cancelled it. Returns the error of the login.
    pub async fn break_off(
        &mut self,
        authenticator: &Authenticator,
        client: ClientAddress,
    ) -> LoginError {
        if let Some(mut open) = self.0.take()
            && !std::mem::replace(&mut open.attempt.is_decided, true)
        {
            authenticator.lockouts().failed(client, "").await;
        }
        LoginError::Credentials(FailedLogin::unnamed("the client cancelled the login"))
    }

    /// Takes a message from the client. The first message opens an exchange, and an error ends it.
    ///
    /// # Errors
    /// When the message proves nothing.
    pub async fn step(
        &mut self,
        message: framing::Exchange,
        authenticator: &Authenticator,
        peer: &Peer,
    ) -> Result<Step, LoginError> {
        let message = match message {
            framing::Exchange::Response(message) => message,
            framing::Exchange::Start { mechanism, initial } => {
                let exchange = Exchange::new(&mechanism);
                let prompt = exchange.prompt();
                let (lockouts, client) = (authenticator.lockouts().clone(), peer.client);
                let attempt = Attempt { lockouts, client, is_decided: false };
                self.0 = Some(Box::new(Open { exchange, attempt }));
                match initial {
                    Some(message) => message,
                    None => return Ok(Step::Challenge(prompt)),
                }
            }
        };
        let Open { mut exchange, mut attempt } =
            *self.0.take().ok_or_else(LoginError::malformed)?;
        if attempt.is_decided {
            // The client has been informed why its token is refused, and this message acknowledges that.
            return Err(match exchange.0 {
                State::TokenRefused(denied) => LoginError::Credentials(denied),
                _ => LoginError::malformed(),
            });
        }
        let step = Box::pin(exchange.step(&message, authenticator, peer));
        // From here on the authenticator counts failures.
        attempt.is_decided = true;
        let step = authenticator.attempt(peer.client, step).await?;
        if matches!(step, Step::Challenge(_)) {
            if let State::TokenRefused(denied) = &exchange.0 {
                // The failure counts now, since the client need not answer the challenge.
                authenticator.lockouts().failed(peer.client, &denied.name).await;
            } else {
                attempt.is_decided = false;
            }
            self.0 = Some(Box::new(Open { exchange, attempt }));
        }
        Ok(step)
    }
}

/// An exchange that waits for the client's next message.
#[derive(Debug)]
pub struct Exchange(State);

#[derive(Debug)]
enum State {
    Plain,
    LoginName,
    LoginPassword(String),
    ScramFirst {
        plus: bool,
    },
    ScramProof(Box<ScramProof>),
    Token {
        bearer: bool,
    },
    /// The client has been informed why its token is refused, and has to acknowledge that.
    TokenRefused(FailedLogin),
    /// The proof is complete, and the client has to acknowledge that with an empty message.
    ScramEnd(Box<Principal>),
}

/// A SCRAM exchange that waits for the client's proof.
#[derive(Debug)]
struct ScramProof {
    name: LoginName,
    exchange: ScramExchange,
    /// What each of its verifiers belongs to: an app password, or none for the account's own.
    passwords: Vec<Option<UsedAppPassword>>,
}

impl Exchange {
    /// Begins an exchange with this mechanism. An unknown mechanism is treated as PLAIN.
    #[must_use]
    pub fn new(mechanism: &str) -> Self {
        Self(match mechanism {
            "LOGIN" => State::LoginName,
            "SCRAM-SHA-256" => State::ScramFirst { plus: false },
            "SCRAM-SHA-256-PLUS" => State::ScramFirst { plus: true },
            "OAUTHBEARER" => State::Token { bearer: true },
            "XOAUTH2" => State::Token { bearer: false },
            _ => State::Plain,
        })
    }

    /// Returns the challenge for a client that sent no initial response.
    #[must_use]
    pub fn prompt(&self) -> Vec<u8> {
        match self.0 {
            State::LoginName => b"Username:".to_vec(),
            _ => Vec::new(),
        }
    }

    /// Takes a message from the client.
    ///
    /// # Errors
    /// When the message proves nothing.
    pub async fn step(
        &mut self,
        message: &[u8],
        authenticator: &Authenticator,
        peer: &Peer,
    ) -> Result<Step, LoginError> {
        match std::mem::replace(&mut self.0, State::Plain) {
            State::Plain => plain(message, authenticator, peer).await,
            State::LoginName => {
                let name = text(message)?;
                self.0 = State::LoginPassword(name.to_owned());
                Ok(Step::Challenge(b"Password:".to_vec()))
            }
            State::LoginPassword(name) => {
                let password = Secret::new(message);
                let account = authenticator.login(peer.client, &name, &password).await?;
                Ok(Step::Done(account))
            }
            State::ScramFirst { plus } => {
                self.scram_first(message, plus, authenticator, peer).await
            }
            State::ScramProof(open) => {
                let ScramProof { name, exchange, mut passwords } = *open;
                // No proof fits the challenge for a name that has no account.
                let proved = exchange.verify(message);
                let account =
                    authenticator.settle_attempt(peer.client, name, proved.is_some()).await?;
                let (position, ours) = proved.ok_or_else(LoginError::malformed)?;
                let session = match passwords.get_mut(position).and_then(Option::take) {
                    Some(app_password) => authenticator.opened_by(account, app_password).await,
                    None => account.into(),
                };
                self.0 = State::ScramEnd(Box::new(session));
                Ok(Step::Challenge(ours))
            }
            State::ScramEnd(session) if message.is_empty() => Ok(Step::Done(*session)),
            State::Token { bearer } => {
                let claim = if bearer { Claim::bearer(message) } else { Claim::xoauth2(message) };
                let Claim { name, token } = claim.ok_or_else(LoginError::malformed)?;
                match authenticator.login_with_token(peer.client, name, token).await {
                    Err(LoginError::Credentials(denied)) => {
                        self.0 = State::TokenRefused(denied);
                        Ok(Step::Challenge(oauth::FAILED.to_vec()))
                    }
                    outcome => outcome.map(Step::Done),
                }
            }
            State::TokenRefused(denied) => Err(LoginError::Credentials(denied)),
            State::ScramEnd(_) => Err(LoginError::malformed()),
        }
    }

    async fn scram_first(
        &mut self,
        message: &[u8],
        plus: bool,
        authenticator: &Authenticator,
        peer: &Peer,
    ) -> Result<Step, LoginError> {
        let is_offered = authenticator.offers_binding();
        let first = ClientFirst::parse(message, plus, &peer.bindings, is_offered);
        let first = first.ok_or_else(LoginError::malformed)?;
        acts_for_itself(first.authorization.as_deref(), &first.name)?;
        let name = authenticator.find_unlocked(peer.client, &first.name).await?;
        let stored = name.found.as_ref().and_then(|account| account.credentials.scram.as_deref());
        let own = stored.and_then(|text| text.parse::<Verifier>().ok());
        // An account that does not exist costs the same work.
        let id = name.found.as_ref().map_or(NOBODY, |account| account.id);
        let apps = authenticator.app_verifiers(id).await?;
        let own = own.or_else(|| apps.first().map(|(verifier, _)| verifier.without_keys()));
        let own = own.unwrap_or_else(|| authenticator.decoy(&name));
        let apps = apps.into_iter().filter(|(verifier, _)| verifier.has_salt_of(&own));
        let (verifiers, apps): (Vec<_>, Vec<_>) = apps.unzip();
        let passwords = std::iter::once(None).chain(apps.into_iter().map(Some)).collect();
        let (ours, exchange) = first.challenge(own, authenticator.clock());
        let exchange = exchange.with_others(verifiers);
        self.0 = State::ScramProof(Box::new(ScramProof { name, exchange, passwords }));
        Ok(Step::Challenge(ours))
    }
}

/// Parses the message of PLAIN, `authzid NUL authcid NUL password` (RFC 4616 §2), and checks it.
async fn plain(
    message: &[u8],
    authenticator: &Authenticator,
    peer: &Peer,
) -> Result<Step, LoginError> {
    let mut parts = message.split(|&octet| octet == 0);
    let (Some(authorization), Some(name), Some(password), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(LoginError::malformed());
    };
    let (authorization, name) = (text(authorization)?, text(name)?);
    acts_for_itself(Some(authorization).filter(|text| !text.is_empty()), name)?;
    Ok(Step::Done(authenticator.login(peer.client, name, &Secret::new(password)).await?))
}

/// Refuses a client that asks to act for another account than its own.
fn acts_for_itself(authorization: Option<&str>, name: &str) -> Result<(), LoginError> {
    match authorization {
        Some(other) if !other.eq_ignore_ascii_case(name) => {
            let why = "it asks to act for another account";
            Err(LoginError::Credentials(FailedLogin::new(name, why)))
        }
        _ => Ok(()),
    }
}

fn text(octets: &[u8]) -> Result<&str, LoginError> {
    str::from_utf8(octets).map_err(|_| LoginError::malformed())
}
