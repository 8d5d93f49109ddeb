//! The questions that an SMTP server's engine asks, and their answers.

use super::Server;
use crate::command::{EnvelopeRecipient, Forwarded, Hello, Mail};
use posta_mail::{MailId, Reply, sasl};

/// Takes the answer to a [`Question`].
pub type Ticket<A> = posta_mail::EngineTicket<Server, A>;

/// A question that only the host can decide. Each comes with the ticket that takes its answer.
#[derive(Debug)]
pub enum Question {
    /// May a client stay that spoke before the greeting? A refusal ends the session.
    SpokeEarly(Ticket<Verdict>),
    /// May this client speak? Ends any transaction.
    Hello(Hello, Ticket<Verdict>),
    /// Does this SASL exchange prove the client to be somebody (AUTH)?
    Authenticate(sasl::Exchange, Ticket<Authentication>),
    /// The client gave up its AUTH, or sent a line that is no response. The host counts that, so that nobody
    /// can try names, passwords or tokens for free.
    BrokenOff(Ticket<()>),
    /// May this transaction begin?
    Mail(Mail, Ticket<Verdict>),
    /// Is there a mailbox for this recipient, or a way to one?
    Recipient(EnvelopeRecipient, Ticket<Verdict>),
    /// Which addresses does this name stand for (VRFY, EXPN)?
    Verify(String, Ticket<Verification>),
    /// May the session be another client's from now on (XCLIENT)? No transaction is open.
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

/// The addresses that a name stands for, each as a line of the reply, or the reply that refuses to tell.
pub type Verification = Result<Vec<String>, Reply>;

/// That the message was committed, or the reply that says why it was not.
pub type Commitment = Result<Committed, Reply>;

/// The message is durable, in the mailbox of every local recipient and in the queue for the others.
/// Only this makes the engine say 250 to the end of the data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committed {
    /// The message's id.
    pub id: MailId,
    /// In LMTP, the recipients for whom the message was refused after all, by their position among those that were
    /// accepted, and their replies (RFC 2033 §4.2). SMTP has one reply for all, so there are none.
    pub refused: Vec<(usize, Reply)>,
}

impl Committed {
    /// Returns that a message was committed for all of its recipients.
    #[must_use]
    pub const fn whole(id: MailId) -> Self {
        Self { id, refused: Vec::new() }
    }
}
