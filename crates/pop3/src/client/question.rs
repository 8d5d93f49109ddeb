//! The options of a POP3 client's engine, the questions that it asks, and their answers.

use super::Client;
use crate::UniqueIds;
use posta_mail::{Secret, TlsUse, sasl};

/// How a client behaves.
#[derive(Debug, Clone)]
pub struct Options {
    /// The name to log in with.
    pub name: String,
    /// The password.
    pub password: Secret,
    /// Whether to use STLS.
    pub tls: TlsUse,
    /// Whether to ask which SASL mechanism to use ([`Question::Login`]), where there are any.
    pub sasl: bool,
}

/// Takes the answer to a [`Question`].
pub type Ticket<A> = posta_mail::EngineTicket<Client, A>;

/// A question of the client. Each comes with the ticket that takes its answer.
///
/// Those that a [`Pop3Request`] answers ask what to do next, and carry what the request before brought: an
/// error is the server's refusal, in its words.
#[derive(Debug)]
pub enum Question {
    /// How to log in.
    Login {
        /// The mechanisms that the server offers and has not refused yet, in upper case (RFC 5034 §3).
        offered: Vec<String>,
        /// The words with which it refused the last one.
        refused: Option<String>,
        /// Takes the choice.
        ticket: Ticket<LoginChoice>,
    },
    /// What to respond to this challenge.
    Challenge(Vec<u8>, Ticket<SaslResponse>),
    /// The login is good.
    LoggedIn(Ticket<Pop3Request>),
    /// What [`Pop3Request::Stat`] brought.
    Status(Result<Status, String>, Ticket<Pop3Request>),
    /// What [`Pop3Request::List`] brought: message numbers and octets.
    Sizes(Result<Vec<(u32, u64)>, String>, Ticket<Pop3Request>),
    /// What [`Pop3Request::Uidl`] brought: message numbers and unique-ids.
    UniqueIds(Result<UniqueIds, String>, Ticket<Pop3Request>),
    /// What [`Pop3Request::Retr`] or [`Pop3Request::Top`] brought, all of which came before as
    /// [`Step::Content`](posta_mail::Step::Content).
    Retrieved(Result<(), String>, Ticket<Pop3Request>),
    /// Whether [`Pop3Request::Dele`] marked the message.
    Deleted(Result<(), String>, Ticket<Pop3Request>),
    /// What [`Pop3Request::Noop`] or [`Pop3Request::Rset`] brought.
    Done(Result<(), String>, Ticket<Pop3Request>),
    /// The server's answer to [`Pop3Request::Quit`]: whether the marked messages are removed. The session
    /// ends.
    Quit(Result<(), String>, Ticket<()>),
    /// The session is of no use, and ends.
    Failed(Failure, Ticket<()>),
}

/// How to log in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LoginChoice {
    /// With USER and PASS.
    User,
    /// With AUTH, by this mechanism.
    Auth(sasl::Opening),
    /// Not at all: the session ends.
    GiveUp,
}

/// What to respond to a challenge; none to give up.
pub type SaslResponse = Option<Vec<u8>>;

/// What to do next. Message numbers count from 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pop3Request {
    /// STAT: asks for the number of messages and octets.
    Stat,
    /// LIST: asks for each message's octets.
    List,
    /// UIDL: asks for each message's unique-id.
    Uidl,
    /// RETR: asks for a message.
    Retr(u32),
    /// TOP: asks for a message's header section and so many lines of its body.
    Top(u32, u64),
    /// DELE: marks a message as deleted.
    Dele(u32),
    /// NOOP: does nothing.
    Noop,
    /// RSET: removes all marks.
    Rset,
    /// QUIT: has the marked messages removed, and ends the session.
    Quit,
}

/// What STAT tells of a maildrop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Status {
    /// The number of messages.
    pub messages: u32,
    /// The octets of all messages.
    pub octets: u64,
}

/// Why a session cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// The server refuses to talk, or the login, with these words.
    Refused(String),
    /// The server does not offer STLS, which [`TlsUse::Required`] asks for.
    NoTls,
    /// The server sent something that is no response; the text says what.
    Protocol(&'static str),
}
