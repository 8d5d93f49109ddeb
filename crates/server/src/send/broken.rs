//! Why a connection to a server brought nothing, or not all.

use super::trouble::Trouble;
use posta_mail::Reply;
use posta_net::{driver::Ended, tls::failure::TlsFailure};
use posta_smtp::{
    Client,
    client::{Failure, Stage},
};
use std::io;

/// What a smarthost does wrong that offers no login, or only such as would tell strangers the password.
const NO_LOGIN: &str = "it offers no login that is safe: a password is said only in TLS with a valid \
                        certificate (relay.tls = \"starttls\" or \"implicit\")";

/// What a smarthost does wrong whose half of SCRAM is not what the password makes.
const IMPOSTOR: &str = "it does not know the password itself: it is an impostor";

const HUNG_UP: &str = "it closed the connection";

/// When and why it does so in TLS before it said anything.
const NO_CERTIFICATE: &str = "as soon as TLS was negotiated, as a server does that requires a certificate \
                              of this one";

/// Why nothing can be handed over, or nothing more.
#[derive(Debug)]
pub(super) enum Broken {
    /// The connection broke.
    Connection(String),
    /// It broke at EHLO, in plaintext.
    Hello(String),
    /// TLS could not be negotiated, or was good for nothing once it was.
    Tls(TlsFailure, String),
    /// The server does not want to talk.
    Refused(Reply),
    /// It answers what no server may.
    Protocol(String),
    /// It does not let us in.
    Login(String),
    /// It is this server: who sends mail to itself sends it round until it has too many hops.
    Ourselves,
}

impl Broken {
    /// The engine found that the session is of no use.
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
                Self::cut_off("what answers there does not speak SMTP".to_owned(), engine)
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

    /// The connection ended without a word of the engine; none for the time that is over.
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

    /// What the end of a connection means depends on how far it had come.
    fn cut_off(words: String, engine: &Client) -> Self {
        match (engine.stage(), engine.refusal()) {
            // It hangs up on what it refused.
            (Stage::Hello, Some(reply)) => Self::Refused(reply.clone()),
            (Stage::Login, Some(reply)) => Self::Login(reply.to_string()),
            (Stage::StartTls, _) => {
                Self::Tls(TlsFailure::ValidationFailure, format!("after STARTTLS {words}"))
            }
            // RFC 8446 §4.4.2.4: in TLS 1.3 a server that requires a certificate of the client says so
            // when the client takes the handshake for done.
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

    /// What it means for those who wait. Somebody answered the call, whatever came of it.
    pub(super) fn trouble(self, place: &str) -> Trouble {
        Trouble { is_met: true, ..self.trouble_at(place) }
    }

    fn trouble_at(self, place: &str) -> Trouble {
        Trouble::new(match self {
            Self::Connection(why) => Reply::new(451, (4, 4, 1), format!("{place}: {why}")),
            Self::Hello(why) => Reply::new(451, (4, 4, 1), format!("{place}: at EHLO {why}")),
            Self::Protocol(why) => Reply::new(451, (4, 5, 0), format!("{place}: {why}")),
            Self::Tls(failure, why) => {
                return Trouble::tls(failure, format!("{place}: no TLS: {why}"));
            }
            // RFC 5321 §3.1: another of its servers may do better. If none does, it is the answer.
            Self::Refused(reply) => return Trouble::answered(reply),
            Self::Login(why) => {
                let words = format!("{place} does not let us log in: {why}");
                tracing::error!("{words}");
                Reply::new(451, (4, 7, 8), words)
            }
            // RFC 3463 §3.5: a routing loop.
            Self::Ourselves => {
                let words = format!("{place} is this server itself: the mail would go round");
                Reply::new(550, (5, 4, 6), words)
            }
        })
    }
}
