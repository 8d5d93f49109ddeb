//! The reasons why a connection to another server ended before all mail was handed over, worded for
//! reports and the log.

use super::host_failure::HostFailure;
use posta_mail::Reply;
use posta_net::{driver::Ended, tls::failure::TlsFailure};
use posta_smtp::{
    Client,
    client::{Failure, Stage},
};
use std::io;

/// The text for a smarthost that offers no login, or only mechanisms that would reveal the password to
/// others.
const NO_LOGIN: &str = "it offers no safe login: a password is sent only in TLS with a valid \
                        certificate (relay.tls = \"starttls\" or \"implicit\")";

/// The text for a smarthost whose last SCRAM message does not prove that it knows the password.
const IMPOSTOR: &str = "it could not prove that it knows the password: it is an impostor";

const HUNG_UP: &str = "it closed the connection";

/// The end of the text for a server that hangs up directly after the handshake, before its greeting.
const NO_CERTIFICATE: &str = "directly after the TLS handshake, like a server that requires a client \
                              certificate";

/// The reason why no mail, or no more mail, can be handed over on a connection.
#[derive(Debug)]
pub(super) enum ConnectionFailure {
    /// The connection broke.
    Connection(String),
    /// The connection broke at EHLO, in plaintext.
    Hello(String),
    /// TLS could not be negotiated, or the server hung up right after it.
    Tls(TlsFailure, String),
    /// The server refused the session.
    Refused(Reply),
    /// The server violated the protocol.
    Protocol(String),
    /// The login failed.
    Login(String),
    /// The server is this one: mail sent to itself would loop until it has too many hops.
    Ourselves,
}

impl ConnectionFailure {
    /// Returns the failure for which the engine gave up the session.
    pub(super) fn failed(failure: Failure, engine: &Client) -> Self {
        match failure {
            Failure::Refused(reply) | Failure::Closing(reply) => Self::Refused(reply),
            Failure::NoTls(refusal) => {
                let words = match refusal {
                    Some(reply) => format!("STARTTLS is refused: {reply}"),
                    None => "it is not offered".to_owned(),
                };
                Self::Tls(TlsFailure::StarttlsNotSupported, words)
            }
            Failure::Namesake => Self::Ourselves,
            Failure::NoLogin => Self::Login(NO_LOGIN.to_owned()),
            Failure::Login(reply) => Self::Login(reply.to_string()),
            Failure::Protocol(_) => {
                Self::cut_off("the server does not speak SMTP".to_owned(), engine)
            }
            Failure::Unexpected { to, reply } => {
                let words =
                    format!("it answers {to} with \"{reply}\", which no server may answer to that");
                match Self::cut_off(words, engine) {
                    Self::Connection(words) => Self::Protocol(words),
                    other => other,
                }
            }
        }
    }

    /// Returns the failure of a connection that ended although the engine had not given up. `how` is
    /// `None` if the connection lasted too long.
    pub(super) fn ended(how: Option<io::Result<Ended>>, engine: &Client) -> Self {
        let words = match how {
            Some(Ok(Ended::ByPeer | Ended::ByHost | Ended::Closed)) => HUNG_UP.to_owned(),
            Some(Ok(Ended::Interrupted(_))) | None => "it took too long".to_owned(),
            Some(Err(error)) => match error.kind() {
                io::ErrorKind::UnexpectedEof
                | io::ErrorKind::BrokenPipe
                | io::ErrorKind::ConnectionReset => HUNG_UP.to_owned(),
                _ => error.to_string(),
            },
        };
        Self::cut_off(words, engine)
    }

    /// Interprets the end of a connection, given how far the session had come.
    fn cut_off(words: String, engine: &Client) -> Self {
        match (engine.stage(), engine.refusal()) {
            // The server refused, and then hung up.
            (Stage::Hello, Some(reply)) => Self::Refused(reply.clone()),
            (Stage::Login, Some(reply)) => Self::Login(reply.to_string()),
            (Stage::StartTls, _) => {
                Self::Tls(TlsFailure::ValidationFailure, format!("after STARTTLS {words}"))
            }
            // RFC 8446 §4.4.2.4: in TLS 1.3, a server that requires a client certificate says so only
            // after the handshake is complete for the client.
            (Stage::Greeting | Stage::Hello, None) if engine.is_secured() => {
                let words = match words.as_str() {
                    HUNG_UP => format!("{HUNG_UP} {NO_CERTIFICATE}"),
                    _ => words,
                };
                Self::Tls(TlsFailure::ValidationFailure, words)
            }
            (Stage::Hello, None) => Self::Hello(words),
            _ => Self::Connection(words),
        }
    }

    pub(super) fn impostor() -> Self {
        Self::Login(IMPOSTOR.to_owned())
    }

    /// Returns the failure of the items that wait for the server at `place`, to which a connection was
    /// made.
    pub(super) fn host_failure(self, place: &str) -> HostFailure {
        HostFailure { was_connected: true, ..self.host_failure_at(place) }
    }

    fn host_failure_at(self, place: &str) -> HostFailure {
        HostFailure::new(match self {
            Self::Connection(why) => Reply::new(451, (4, 4, 1), format!("{place}: {why}")),
            Self::Hello(why) => Reply::new(451, (4, 4, 1), format!("{place}: at EHLO {why}")),
            Self::Protocol(why) => Reply::new(451, (4, 5, 0), format!("{place}: {why}")),
            Self::Tls(failure, why) => {
                return HostFailure::tls(failure, format!("{place}: no TLS: {why}"));
            }
            // RFC 5321 §3.1: the destination's other servers are tried. If none accepts the mail, this
            // reply is the result.
            Self::Refused(reply) => return HostFailure::answered(reply),
            Self::Login(why) => {
                let words = format!("{place} does not let us log in: {why}");
                tracing::error!("{words}");
                Reply::new(451, (4, 7, 8), words)
            }
            // RFC 3463 §3.5: a routing loop.
            Self::Ourselves => {
                let words = format!("{place} is this server itself: the mail would loop");
                Reply::new(550, (5, 4, 6), words)
            }
        })
    }
}
