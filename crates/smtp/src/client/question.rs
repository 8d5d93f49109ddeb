//! The options of an SMTP client's engine, the questions that it asks, and their answers.

use super::{Client, EnvelopeRecipient};
use crate::{command::HelloVerb, reply::ReplyError};
use bytes::Bytes;
use posta_mail::{
    ForwardPath, Reply, ReplyCode, ReversePath, TlsUse, envelope::MailParameters, limits, sasl,
};
use std::{fmt, time::Duration};

/// How a client behaves.
#[derive(Debug, Clone)]
pub struct Options {
    /// The client's name for itself, in the hello.
    pub name: String,
    /// HELO, EHLO or LHLO. After a refused EHLO it says HELO.
    pub hello: HelloVerb,
    /// Whether to use STARTTLS.
    pub tls: TlsUse,
    /// Whether to log in ([`Question::Login`]).
    pub login: bool,
    /// Whether the session ends if the server has the client's own name: mail would go round in circles.
    pub refuse_namesake: bool,
    /// The longest wait for the server. Where RFC 5321 §4.5.3.2 names a shorter one, that holds.
    pub patience: Duration,
}

impl Options {
    /// Returns the options of a client of this name that does not log in and is as patient as RFC 5321
    /// §4.5.3.2 asks for.
    #[must_use]
    pub fn new(name: impl Into<String>, hello: HelloVerb, tls: TlsUse) -> Self {
        let patience = limits::SMTP_CLIENT_END_PATIENCE;
        Self { name: name.into(), hello, tls, login: false, refuse_namesake: false, patience }
    }
}

/// A message's envelope.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    /// The sender's address, to which reports about the message go.
    pub reverse_path: ReversePath,
    /// The recipients. At least one.
    pub recipients: Vec<EnvelopeRecipient>,
    /// The parameters of MAIL. One that the server does not know is left out if nothing depends on it, such
    /// as a wish for reports; otherwise the client refuses the message.
    pub parameters: MailParameters,
}

impl From<ForwardPath> for EnvelopeRecipient {
    fn from(path: ForwardPath) -> Self {
        Self { path, parameters: Default::default() }
    }
}

/// How a transaction ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The decision about each recipient, in the order of the envelope.
    pub recipients: Vec<Decision>,
    /// Whether the server sends the reports about the recipients it accepted, since it knows DSN (RFC 3461).
    pub reports: bool,
}

/// The reply that decided about a recipient, and whose it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// The reply that decided.
    pub reply: Reply,
    /// Whether the reply is the server's. If not, the client decided, and a report must not quote the reply
    /// as the server's (RFC 3464 §2.3.6).
    pub is_answer: bool,
}

impl Decision {
    /// Makes a decision of the server's reply.
    #[must_use]
    pub const fn answered(reply: Reply) -> Self {
        Self { reply, is_answer: true }
    }

    /// Makes a decision that the client takes itself.
    #[must_use]
    pub const fn ours(reply: Reply) -> Self {
        Self { reply, is_answer: false }
    }

    /// Returns the reply's code.
    #[must_use]
    pub const fn code(&self) -> ReplyCode {
        self.reply.code
    }
}

impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.reply.fmt(f)
    }
}

/// What is known of a recipient where the session ended in the middle of its transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// The server has decided.
    Decided(Decision),
    /// The server does not have the message for this recipient.
    Open,
    /// The server may have the message for this recipient: all was sent, and no answer came (RFC 1047).
    Unknown,
}

/// How far a session has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// The client waits for the server's greeting.
    Greeting,
    /// The client said hello, before TLS or in it.
    Hello,
    /// The client said STARTTLS.
    StartTls,
    /// The client logs in.
    Login,
    /// The session is ready for mail transactions.
    Ready,
}

/// Why a session cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// The server refuses to talk.
    Refused(Reply),
    /// The server ends the session before it accepts the message (421, RFC 5321 §3.8).
    Closing(Reply),
    /// [`TlsUse::Required`] was asked for, and the server does not offer STARTTLS, or refuses it with this
    /// reply.
    NoTls(Option<Reply>),
    /// The server offers no mechanism by which the client can log in.
    NoLogin,
    /// The server refuses the login, by the last mechanism that the client can use.
    Login(Reply),
    /// The server has the client's own name.
    Namesake,
    /// The server does not speak the protocol.
    Protocol(ReplyError),
    /// The server's reply is neither a yes nor a no to what it answers: 250 to DATA.
    Unexpected {
        /// What the server replied to.
        to: &'static str,
        /// The server's reply.
        reply: Reply,
    },
}

/// Takes the answer to a [`Question`].
pub type Ticket<A> = posta_mail::EngineTicket<Client, A>;

/// A question of the client. Each comes with the ticket that takes its answer.
#[derive(Debug)]
pub enum Question {
    /// How to log in, by one of these mechanisms: those that the server offers and has not refused yet,
    /// in upper case (RFC 4954 §4).
    Login(Vec<String>, Ticket<LoginChoice>),
    /// What to respond to this challenge.
    Challenge(Vec<u8>, Ticket<SaslResponse>),
    /// What to do next. Carries the outcome of the transaction before, if there was one.
    Next(Option<Outcome>, Ticket<Next>),
    /// There is nothing more to do in this session: the server takes no further transaction (RFC 9422
    /// §4.2). Carries the outcome of the last one. The client says QUIT next.
    Last(Option<Outcome>, Ticket<()>),
    /// Can the message be converted to lines of ASCII (RFC 6152 §3)? The server takes no others.
    Convert(Ticket<Conversion>),
    /// The next piece of the content.
    Content {
        /// Whether it is the first piece.
        first: bool,
        /// Whether the content must be converted.
        converted: bool,
        /// Takes the piece.
        ticket: Ticket<Piece>,
    },
    /// Is another message ready? Its envelope leaves together with the end of this one's content.
    Ahead(Ticket<Option<Envelope>>),
    /// The outcome of the transaction before the one that [`Question::Ahead`] brought.
    Done(Outcome, Ticket<()>),
    /// The session is of no use, and ends.
    Failed(Failure, Ticket<()>),
}

/// How to log in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LoginChoice {
    /// By AUTH with this mechanism.
    Auth(sasl::Opening),
    /// None of the mechanisms will do.
    GiveUp,
}

/// What to respond to a challenge; none to give up.
pub type SaslResponse = Option<Vec<u8>>;

/// What to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// Send a message with this envelope.
    Send(Envelope),
    /// End the session.
    Quit,
}

/// Whether a message's content can be converted, and will be. If not, the reply says why the message is
/// not sent.
pub type Conversion = Result<(), Reply>;

/// A piece of a message's content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// Octets of the content as the store has it: without dot-transparency, lines ending in CRLF.
    Content(Bytes),
    /// There is no more.
    End,
    /// The rest cannot be read. The connection closes in the middle of the content, so that the server does
    /// not take a part for the whole.
    BreakOff,
}
