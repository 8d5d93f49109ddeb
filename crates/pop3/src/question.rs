//! What a session asks, and what all sessions of a listener share.

use crate::{marks::Marks, server::Server};
use bytes::Bytes;
use posta_mail::{Secret, limits, sasl};
use std::time::Duration;

/// One stable view of a mailbox. Indices count from 0.
pub trait Maildrop {
    /// Returns the number of messages.
    fn len(&self) -> usize;
    /// Returns whether there are no messages.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Returns the octets that RETR sends of a message, before dot-transparency: with CRLF for each bare CR or
    /// LF, and at the end ([`posta_mail::crlf`]).
    fn octets(&self, index: usize) -> u64;
    /// Returns the octets of all messages.
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
    /// Makes a profile that offers nothing beyond RFC 1939.
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

/// Takes the answer to a [`Question`].
pub type Ticket<M, A> = posta_mail::Ticket<Server<M>, A>;

/// What only the outside can decide or supply. Each question comes with the ticket that takes its answer.
#[derive(Debug)]
pub enum Question<M: Maildrop> {
    /// USER and PASS: open the maildrop of this user.
    Login {
        /// The user's name, as the client gave it.
        name: String,
        /// The password, as the client gave it.
        password: Secret,
        /// Takes the maildrop.
        ticket: Ticket<M, Login<M>>,
    },
    /// APOP: open the maildrop of this user, who proves to know the password by a digest (RFC 1939 §7).
    Apop {
        /// The user's name, as the client gave it.
        name: String,
        /// The greeting's challenge, angle brackets included.
        challenge: String,
        /// What the client says is MD5 of the challenge and the shared secret.
        digest: [u8; 16],
        /// Takes the maildrop.
        ticket: Ticket<M, Login<M>>,
    },
    /// AUTH (RFC 5034): open the maildrop of whoever this exchange proves the user to be.
    Authenticate(sasl::Exchange, Ticket<M, Authentication<M>>),
    /// The client gave up its AUTH, or sent what is no response. Nobody should be able to try names,
    /// passwords or tokens without being counted.
    BrokenOff(Ticket<M, ()>),
    /// Does the login still hold? Asked before each command that follows it.
    Proceed(Ticket<M, Standing>),
    /// The octets of a message, as it is kept, from `offset` on: as many as are convenient, and none
    /// only at its end. The first answer promises the message to the client: it is
    /// [`Unreadable::Damaged`] where the message's first piece of content cannot be read, though what
    /// stands above it can.
    Read {
        /// The message's index.
        index: usize,
        /// How many octets of the message came before.
        offset: u64,
        /// Whether all of the message is wanted: for RETR, not for TOP.
        whole: bool,
        /// Takes the octets.
        ticket: Ticket<M, Piece>,
    },
    /// Remove the messages that are marked, all or none.
    Update(Marks, Ticket<M, Update>),
}

/// The maildrop, or why the login is denied.
pub type Login<M> = Result<M, Denial>;

/// How an authentication goes on, with the maildrop at its end, or why it is denied.
pub type Authentication<M> = Result<sasl::Progress<M>, Denial>;

/// Whether the login still holds; if not, the session ends.
pub type Standing = Result<(), Lapse>;

/// A piece of a message.
pub type Piece = Result<Bytes, Unreadable>;

/// Whether the messages are removed.
pub type Update = Result<(), NotRemoved>;

/// Why a login is denied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Denial {
    /// The name or the password is wrong; the client is not told which (RFC 3206 §4: `AUTH`).
    Credentials,
    /// The server cannot tell now (RFC 3206 §4: `SYS/TEMP`).
    Unavailable,
    /// Too many logins failed recently.
    Locked,
    /// The name and the password are right, but the operator has disabled the account (RFC 3206 §4:
    /// `AUTH`).
    Disabled,
    /// The account has as many sessions as it may have.
    TooMany,
    /// The account's last login was too recent (RFC 2449 §8.1.1: `LOGIN-DELAY`).
    TooSoon,
}

/// Why a login holds no longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lapse {
    /// The account is gone, or has another password.
    Ended,
    /// The login was good for a time that is over.
    Expired,
    /// The server cannot tell now.
    Unavailable,
}

/// Why a message cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unreadable {
    /// The message is damaged, and can never be read.
    Damaged,
    /// The message can perhaps be read later.
    ForNow,
}

/// No message was removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotRemoved;
