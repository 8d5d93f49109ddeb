//! Proving who one is: the SASL mechanisms (RFC 4422) behind the AUTH of every protocol. The engines
//! carry the octets; their meaning is here.

use crate::{
    auth::{Authenticator, LoginError},
    oauth::{self, Claim},
    scram::{Challenge, ChannelBindings, ClientFirst, Verifier},
};
use posta_mail::Secret;
use posta_store::Account;

/// The mechanisms on a connection without TLS, strongest first.
pub const PLAINTEXT: [&str; 3] = ["SCRAM-SHA-256", "PLAIN", "LOGIN"];

/// The mechanisms on a connection with TLS, strongest first.
pub const SECURED: [&str; 4] = ["SCRAM-SHA-256-PLUS", "SCRAM-SHA-256", "PLAIN", "LOGIN"];

/// The mechanisms of those who log in with a token, where tokens can be checked.
pub const TOKENS: [&str; 2] = ["OAUTHBEARER", "XOAUTH2"];

/// What follows from a client's message.
#[derive(Debug)]
pub enum Step {
    /// Send this, and come back with the answer.
    Challenge(Vec<u8>),
    /// It is this account.
    Done(Account),
}

/// An exchange that waits for the client.
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
    ScramProof(Account, Box<Challenge>),
    Token {
        bearer: bool,
    },
    /// The client has been told why its token is refused, and says that it has read that.
    TokenRefused,
    /// The name was no account's; it must not show.
    ScramDecoy(Box<Challenge>),
    /// Everything is proved, and the client says so with an empty message.
    ScramEnd(Account),
}

impl Exchange {
    /// Begins a mechanism. One that is not known waits for a message that it then refuses.
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

    /// What to say to a client that began without an initial response.
    #[must_use]
    pub fn prompt(&self) -> Vec<u8> {
        match self.0 {
            State::LoginName => b"Username:".to_vec(),
            _ => Vec::new(),
        }
    }

    /// Takes a message of the client.
    ///
    /// # Errors
    /// When it proves nothing.
    pub async fn step(
        &mut self,
        message: &[u8],
        authenticator: &Authenticator,
        bindings: &ChannelBindings,
    ) -> Result<Step, LoginError> {
        match std::mem::replace(&mut self.0, State::Plain) {
            State::Plain => plain(message, authenticator).await,
            State::LoginName => {
                let name = text(message)?;
                self.0 = State::LoginPassword(name.to_owned());
                Ok(Step::Challenge(b"Password:".to_vec()))
            }
            State::LoginPassword(name) => {
                let account = authenticator.login(&name, &Secret::new(message)).await?;
                Ok(Step::Done(account))
            }
            State::ScramFirst { plus } => {
                self.scram_first(message, plus, authenticator, bindings).await
            }
            State::ScramProof(account, challenge) => {
                let ours = challenge.verify(message).ok_or(LoginError::Credentials)?;
                self.0 = State::ScramEnd(account);
                Ok(Step::Challenge(ours))
            }
            State::ScramEnd(account) if message.is_empty() => Ok(Step::Done(account)),
            State::ScramDecoy(challenge) => {
                // The same work as for a real one, and always in vain.
                let _ = challenge.verify(message);
                Err(LoginError::Credentials)
            }
            State::Token { bearer } => {
                let claim = if bearer { Claim::bearer(message) } else { Claim::xoauth2(message) };
                let Claim { name, token } = claim.ok_or(LoginError::Credentials)?;
                match authenticator.login_with_token(name, token).await {
                    Err(LoginError::Credentials) => {
                        self.0 = State::TokenRefused;
                        Ok(Step::Challenge(oauth::FAILED.to_vec()))
                    }
                    outcome => outcome.map(Step::Done),
                }
            }
            State::TokenRefused | State::ScramEnd(_) => Err(LoginError::Credentials),
        }
    }

    async fn scram_first(
        &mut self,
        message: &[u8],
        plus: bool,
        authenticator: &Authenticator,
        bindings: &ChannelBindings,
    ) -> Result<Step, LoginError> {
        let first = ClientFirst::parse(message, plus, bindings).ok_or(LoginError::Credentials)?;
        acts_for_itself(first.authorization.as_deref(), &first.name)?;
        let account = authenticator.find(&first.name).await?;
        let verifier = account
            .as_ref()
            .and_then(|account| account.credentials.scram.as_deref())
            .and_then(|text| text.parse().ok());
        let clock = authenticator.clock();
        let (ours, state) = match (account, verifier) {
            (Some(account), Some(verifier)) => {
                let (ours, challenge) = first.challenge(verifier, clock);
                (ours, State::ScramProof(account, Box::new(challenge)))
            }
            _ => {
                let decoy = Verifier::decoy(&authenticator.decoy(&first.name));
                let (ours, challenge) = first.challenge(decoy, clock);
                (ours, State::ScramDecoy(Box::new(challenge)))
            }
        };
        self.0 = state;
        Ok(Step::Challenge(ours))
    }
}

/// `authzid NUL authcid NUL password` (RFC 4616 §2).
async fn plain(message: &[u8], authenticator: &Authenticator) -> Result<Step, LoginError> {
    let mut parts = message.split(|&octet| octet == 0);
    let (Some(authorization), Some(name), Some(password), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(LoginError::Credentials);
    };
    let (authorization, name) = (text(authorization)?, text(name)?);
    acts_for_itself(Some(authorization).filter(|text| !text.is_empty()), name)?;
    Ok(Step::Done(authenticator.login(name, &Secret::new(password)).await?))
}

/// Nobody acts for another.
fn acts_for_itself(authorization: Option<&str>, name: &str) -> Result<(), LoginError> {
    match authorization {
        Some(other) if !other.eq_ignore_ascii_case(name) => Err(LoginError::Credentials),
        _ => Ok(()),
    }
}

fn text(octets: &[u8]) -> Result<&str, LoginError> {
    str::from_utf8(octets).map_err(|_| LoginError::Credentials)
}
