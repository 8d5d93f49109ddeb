//! What an SMTP client's engine is told, asks and answers.

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
    /// Whether a server of the client's own name ends the session: mail goes round.
    pub refuse_namesake: bool,
    /// How long any wait for the server may last; below it the times of RFC 5321 §4.5.3.2 hold.
    pub patience: Duration,
}

impl Options {
    /// A client of this name that does not log in, as patient as RFC 5321 §4.5.3.2 asks for.
    #[must_use]
    pub fn new(name: impl Into<String>, hello: HelloVerb, tls: TlsUse) -> Self {
        let patience = limits::SMTP_CLIENT_END_PATIENCE;
        Self { name: name.into(), hello, tls, login: false, refuse_namesake: false, patience }
    }
}

/// What goes on a message's envelope.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    /// The sender's address, to which reports about the message go.
    pub reverse_path: ReversePath,
    /// The recipients. At least one.
    pub recipients: Vec<EnvelopeRecipient>,
    /// What else there is to say of it. What the server does not know is left out if nothing
    /// depends on it, as wishes for reports; else the message is refused here.
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
    /// What decided about each recipient of the envelope, in its order.
    pub recipients: Vec<Decision>,
    /// Whether the server reports further of what it took: it knows DSN (RFC 3461).
    pub reports: bool,
}

/// What decided about a recipient.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// The reply that decided.
    pub reply: Reply,
    /// Whether the server answered that; else the client found it, and the reply only has the form of
    /// one. A report must not quote it as the server's (RFC 3464 §2.3.6).
    pub is_answer: bool,
}

impl Decision {
    /// Makes a decision of the server's reply.
    #[must_use]
    pub const fn answered(reply: Reply) -> Self {
        Self { reply, is_answer: true }
    }

    /// Makes a decision of what our own side found.
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
    /// The server does not have the message for it.
    Open,
    /// The server may have the message for it: all was sent, and no answer came (RFC 1047).
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
    /// The server ends the session before it took the message (421, RFC 5321 §3.8).
    Closing(Reply),
    /// The server does not offer STARTTLS, or refuses it so, which [`TlsUse::Required`] asks for.
    NoTls(Option<Reply>),
    /// The server offers no AUTH, or none that will do.
    NoLogin,
    /// The server refuses the login, by the last mechanism that will do.
    Login(Reply),
    /// The server calls itself as the client does.
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

/// What the client asks. Each question comes with the ticket that takes its answer.
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
    /// The server takes only ASCII in lines, and the message that is to be sent has more: can it be
    /// converted (RFC 6152 §3)?
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
    /// The content ends: is there another message at once? Its envelope leaves together with the end.
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
    /// Octets of the content as it is kept: without dot-transparency, lines ending in CRLF.
    Content(Bytes),
    /// There is no more.
    End,
    /// The rest cannot be had. The connection closes in the middle of the content, so that nobody takes
    /// a part for the whole.
    BreakOff,
}
