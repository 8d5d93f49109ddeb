//! What an SMTP server's engine shares, asks and is told.

use crate::command::{Body, HelloVerb};
use posta_mail::{Domain, ForwardPath, MailId, Reply, ReversePath};

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
    /// Whether STARTTLS is offered while the session is in plaintext.
    pub starttls: bool,
    /// The SASL mechanisms that are offered, in upper case, strongest first; none: no AUTH.
    pub mechanisms: Vec<&'static str>,
    /// Whether they are offered in plaintext too.
    pub plaintext_auth: bool,
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
    /// Octets announced.
    pub size: Option<u64>,
    /// What the content may hold.
    pub body: Body,
    /// Whether addresses and header fields may be in UTF-8 (RFC 6531).
    pub utf8: bool,
}

/// A piece of a SASL exchange (RFC 4954 §4), out of its base64.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Exchange {
    /// It begins, with one of the mechanisms that are offered.
    Start {
        /// Which.
        mechanism: String,
        /// What the client said at once.
        initial: Option<Vec<u8>>,
    },
    /// The client's answer to a challenge.
    Response(Vec<u8>),
}

/// What only the outside can decide.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Question {
    /// May this client speak? Ends any transaction.
    Hello(Hello),
    /// Who is this? Answered by [`Answer::Challenge`], [`Answer::Accept`] or [`Answer::Refuse`].
    Authenticate(Exchange),
    /// May this transaction begin?
    Mail(Mail),
    /// Is there a mailbox for it, or a way?
    Recipient(ForwardPath),
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
    /// No, for this reason.
    Refuse(Reply),
    /// Say this to the client, and ask again with what it answers.
    Challenge(Vec<u8>),
    /// The message is durable, and in the mailbox of every local recipient.
    Committed(MailId),
}
