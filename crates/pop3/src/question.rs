//! What a session asks, and what all sessions of a listener share.

use bytes::Bytes;
use posta_mail::{Secret, limits, sasl};
use std::time::Duration;

/// One stable view of a mailbox. Indices count from 0.
pub trait Maildrop {
    /// Number of messages.
    fn len(&self) -> usize;
    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// The octets that RETR sends of a message, before dot-transparency: with CRLF for each bare CR or
    /// LF, and at the end ([`posta_mail::crlf`]).
    fn octets(&self, index: usize) -> u64;
    /// The octets of all messages.
    fn octets_in_all(&self) -> u64 {
        (0..self.len()).map(|index| self.octets(index)).sum()
    }
    /// Appends the unique-id of a message: 1 to 70 octets of 0x21 to 0x7E (RFC 1939 §7).
    fn write_unique_id(&self, index: usize, text: &mut String);
}

/// What all sessions of a listener share.
#[derive(Debug, Clone)]
pub struct Profile {
    /// The server's name for itself.
    pub hostname: String,
    /// Whether STLS is offered while the session is in plaintext.
    pub stls: bool,
    /// SASL mechanisms (RFC 5034) in plaintext, where a login in plaintext is allowed.
    pub mechanisms: Vec<&'static str>,
    /// SASL mechanisms in TLS.
    pub secured_mechanisms: Vec<&'static str>,
    /// SASL mechanisms that are not offered, and are taken in TLS all the same.
    pub unannounced: Vec<&'static str>,
    /// Days for which messages are kept once they were retrieved; none for ever (RFC 2449 §6.7).
    pub expire: Option<u32>,
    /// How long an account must wait between two logins (RFC 2449 §6.6).
    pub login_delay: Duration,
    /// How long a session may wait for a command: at least ten minutes (RFC 1939 §3).
    pub patience: Duration,
}

impl Profile {
    /// One that offers nothing beyond RFC 1939.
    #[must_use]
    pub fn new(hostname: String) -> Self {
        Self {
            hostname,
            stls: false,
            mechanisms: Vec::new(),
            secured_mechanisms: Vec::new(),
            unannounced: Vec::new(),
            expire: None,
            login_delay: Duration::ZERO,
            patience: limits::POP3_SERVER_PATIENCE,
        }
    }
}

/// What only the outside can decide or supply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Question {
    /// Open the maildrop of this user. Answered by [`Answer::Opened`] or [`Answer::Denied`].
    Login {
        /// As the client gave it.
        name: String,
        /// As the client gave it.
        password: Secret,
    },
    /// The same, for one that proves to know the password by a digest (RFC 1939 §7).
    Apop {
        /// As the client gave it.
        name: String,
        /// The greeting's challenge, angle brackets included.
        challenge: String,
        /// MD5 of the challenge and the shared secret, says the client.
        digest: [u8; 16],
    },
    /// The same, for one that proves it by SASL (RFC 5034). Answered by [`Answer::Challenge`], too;
    /// by anything if the exchange is cancelled.
    Authenticate(sasl::Exchange),
    /// Whether the session goes on: asked before each command that follows the login. Answered by
    /// [`Answer::Proceed`], or by [`Answer::Denied`], which ends the session.
    Proceed,
    /// The octets of a message, as it is kept, from `offset` on: as many as are convenient, and none
    /// only at its end. The first answer promises the message to the client: it is [`Answer::Damaged`] where
    /// the message's first piece of content cannot be read, though what stands above it can.
    Read {
        /// Which message, from 0.
        index: usize,
        /// From where.
        offset: u64,
        /// Whether all of it is wanted: for RETR, not for TOP.
        whole: bool,
    },
    /// Remove these messages, all or none. Answered by [`Answer::Updated`] or [`Answer::Failed`].
    Update(Vec<usize>),
}

/// The answer to a [`Question`].
#[derive(Debug)]
pub enum Answer<M> {
    /// The login is good, and this is the maildrop.
    Opened(M),
    /// It is not, or no longer.
    Denied(Denial),
    /// The session goes on.
    Proceed,
    /// Say this to the client, and ask again with what it answers.
    Challenge(Vec<u8>),
    /// A piece of the message.
    Content(Bytes),
    /// The messages are removed.
    Updated,
    /// The message is damaged, and can never be read.
    Damaged,
    /// The message could not be read, or nothing was removed.
    Failed,
}

/// Why a login is denied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Denial {
    /// Name or password are wrong, which of them is not told (RFC 3206 §4: `AUTH`).
    Credentials,
    /// The server cannot tell now (RFC 3206 §4: `SYS/TEMP`).
    Unavailable,
    /// Too many logins failed of late.
    Locked,
    /// Name and password are right, but the operator has disabled the account (RFC 3206 §4: `AUTH`).
    Disabled,
    /// The account has as many sessions as it may have.
    TooMany,
    /// The last login is too short ago (RFC 2449 §8.1.1: `LOGIN-DELAY`).
    TooSoon,
    /// The login was good, but no longer is: the account is gone, or has another password.
    Ended,
    /// The login was good for a time that is over.
    Expired,
}
