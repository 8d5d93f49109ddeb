//! What an SMTP server's engine shares, asks and is told.

use crate::command::HelloVerb;
use posta_mail::{
    ClientAddress, Domain, ForwardPath, MailId, Reply, ReversePath,
    envelope::{MailParameters, RecipientParameters},
    limits, sasl,
};
use std::time::Duration;

/// What kind of service a listener offers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Service {
    /// Transfer between servers (RFC 5321).
    Smtp,
    /// Submission by mail programs (RFC 6409).
    Submission,
    /// Delivery by a neighbouring server (RFC 2033).
    Lmtp,
}

/// What all sessions of a listener share.
#[derive(Debug, Clone)]
pub struct Profile {
    /// The server's name for itself.
    pub hostname: Domain,
    /// The kind of service.
    pub service: Service,
    /// Octets of content that are accepted at most (RFC 1870).
    pub message_size: u64,
    /// What a session may do at most.
    pub limits: Limits,
    /// Whether a bare CR or LF from another server becomes CRLF, instead of refusing the message.
    /// From a mail program and by LMTP it always does.
    pub normalise_newlines: bool,
    /// Whether STARTTLS is offered while the session is in plaintext.
    pub starttls: bool,
    /// The SASL mechanisms that are offered, in upper case, strongest first; none: no AUTH.
    pub mechanisms: Vec<&'static str>,
    /// SASL mechanisms that are not offered, and are taken in TLS all the same.
    pub unannounced: Vec<&'static str>,
    /// Whether they are offered in plaintext too.
    pub plaintext_auth: bool,
    /// Whether VRFY and EXPN tell who exists.
    pub verify: bool,
}

impl Profile {
    /// A service without TLS and without AUTH, with the limits that a server has by default.
    #[must_use]
    pub fn new(hostname: Domain, service: Service) -> Self {
        Self {
            hostname,
            service,
            message_size: 50 << 20,
            limits: Limits::default(),
            normalise_newlines: false,
            starttls: false,
            mechanisms: Vec::new(),
            unannounced: Vec::new(),
            plaintext_auth: false,
            verify: false,
        }
    }
}

/// What a session may do at most.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Recipients in one transaction (RFC 5321 §4.5.3.1.8: at least 100); then 452.
    pub recipients: usize,
    /// Commands in one session; then 421.
    pub commands: u32,
    /// Commands that make no sense: a program that sends so many is guessing, or is no SMTP client
    /// at all; then 421.
    pub bad_commands: u32,
    /// How long a command may take to come (RFC 5321 §4.5.3.2.7: at least 5 minutes); then 421.
    pub command_time: Duration,
    /// Seconds for which a submitted message may be kept back (RFC 4865 §3).
    pub hold: u32,
    /// Octets of content a second, on average over five minutes; below that, 421.
    pub rate: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            recipients: limits::RECIPIENTS,
            commands: 100_000,
            bad_commands: 20,
            command_time: limits::SMTP_SERVER_PATIENCE,
            hold: 30 * 24 * 60 * 60,
            rate: 128,
        }
    }
}

/// The client's hello.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hello {
    /// The command it used.
    pub verb: HelloVerb,
    /// Its name for itself. Letters, digits, `.-_[]:` only.
    pub name: String,
}

/// The beginning of a mail transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mail {
    /// Where reports go.
    pub reverse_path: ReversePath,
    /// What else was said.
    pub parameters: MailParameters,
}

/// Whom it goes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipient {
    /// The address.
    pub path: ForwardPath,
    /// What else was said.
    pub parameters: RecipientParameters,
}

/// What a trusted client says of the one that it speaks for, in place of what the connection says
/// (Postfix's XCLIENT).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Forwarded {
    /// `ADDR=`: where it is; none if that stays as it was.
    pub client: Option<ClientAddress>,
    /// `LOGIN=`: the account that it proved to be; none if it is nobody's. Not to name one says the same:
    /// a proxy that uses a connection again must not hand on the login of the one before.
    pub login: Option<String>,
}

/// What only the outside can decide.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Question {
    /// May this client speak? Ends any transaction.
    Hello(Hello),
    /// Who is this? Answered by [`Answer::Challenge`], [`Answer::Accept`] or [`Answer::Refuse`]; by
    /// anything if the exchange is cancelled.
    Authenticate(sasl::Exchange),
    /// May this transaction begin?
    Mail(Mail),
    /// Is there a mailbox for it, or a way?
    Recipient(Recipient),
    /// Whom does this mean? Answered by [`Answer::Found`] or [`Answer::Refuse`].
    Verify(String),
    /// The session is another client's. Ends any transaction.
    Forwarded(Forwarded),
    /// May the content come?
    Content,
    /// The content is complete: make it safe. Answered by [`Answer::Committed`] or
    /// [`Answer::Refuse`]; either ends the transaction.
    Commit,
    /// The transaction ended without a commit.
    Abandon,
}

/// The answer to a [`Question`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Yes.
    Accept,
    /// No, for this reason. After a 421 the connection closes (RFC 5321 §3.8).
    Refuse(Reply),
    /// Say this to the client, and ask again with what it answers.
    Challenge(Vec<u8>),
    /// These addresses.
    Found(Vec<String>),
    /// The message is durable, and in the mailbox of every local recipient
    /// and in the queue for the others.
    Committed(MailId),
}
