//! What an SMTP server's engine shares, asks and is told.

use crate::{command::HelloVerb, server::Server};
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
    /// A service without TLS and without AUTH, for messages of at most `message_size` octets.
    #[must_use]
    pub fn new(hostname: Domain, service: Service, message_size: u64, limits: Limits) -> Self {
        Self {
            hostname,
            service,
            message_size,
            limits,
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

impl Limits {
    /// The limits that nobody has to choose, beside those that the operator chose.
    #[must_use]
    pub const fn new(recipients: usize, hold: u32) -> Self {
        Self {
            recipients,
            commands: limits::SMTP_COMMANDS,
            bad_commands: limits::SMTP_BAD_COMMANDS,
            command_time: limits::SMTP_SERVER_PATIENCE,
            hold,
            rate: limits::SMTP_MINIMUM_RATE,
        }
    }
}

/// The client's hello.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hello {
    /// The command that the client used.
    pub verb: HelloVerb,
    /// The client's name for itself. Letters, digits, `.-_[]:` only.
    pub name: String,
}

/// The beginning of a mail transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mail {
    /// The sender's address, to which reports about the message go.
    pub reverse_path: ReversePath,
    /// The parameters of the command.
    pub parameters: MailParameters,
}

/// A recipient of a mail transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipient {
    /// The recipient's address.
    pub path: ForwardPath,
    /// The parameters of the command.
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

/// Takes the answer to a [`Question`].
pub type Ticket<A> = posta_mail::Ticket<Server, A>;

/// What only the outside can decide. Each question comes with the ticket that takes its answer.
#[derive(Debug)]
pub enum Question {
    /// May this client speak? Ends any transaction.
    Hello(Hello, Ticket<Verdict>),
    /// Who is this, by what it sends in its AUTH?
    Authenticate(sasl::Exchange, Ticket<Authentication>),
    /// The client gave up its AUTH, or sent what is no response. Nobody should be able to try names,
    /// passwords or tokens without being counted.
    BrokenOff(Ticket<()>),
    /// May this transaction begin?
    Mail(Mail, Ticket<Verdict>),
    /// Is there a mailbox for this recipient, or a way to one?
    Recipient(Recipient, Ticket<Verdict>),
    /// Whom does this name mean (VRFY, EXPN)?
    Verify(String, Ticket<Verification>),
    /// The session is another client's from now on. Ends any transaction.
    Forwarded(Forwarded, Ticket<Verdict>),
    /// May the content come?
    Content(Ticket<Verdict>),
    /// The content is complete: make the message safe. The answer ends the transaction.
    Commit(Ticket<Commitment>),
    /// The transaction ended without a commit.
    Abandon(Ticket<()>),
}

/// Yes, or the reply that says why not. After a 421 the connection closes (RFC 5321 §3.8).
pub type Verdict = Result<(), Reply>;

/// How an authentication goes on, or the reply that ends it.
pub type Authentication = Result<sasl::Progress<()>, Reply>;

/// The addresses that a name means, each as a line of the reply, or why they are not told.
pub type Verification = Result<Vec<String>, Reply>;

/// Whether the message was committed; if not, the reply says why.
pub type Commitment = Result<Committed, Reply>;

/// The message is durable, in the mailbox of every local recipient and in the queue for the others.
/// Only this makes the engine say 250 to the end of the data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Committed(pub MailId);
