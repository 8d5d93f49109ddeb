//! The questions that a POP3 server's engine asks, and their answers.

use super::Server;
use crate::{maildrop::Maildrop, marks::Marks};
use bytes::Bytes;
use posta_mail::{Secret, sasl};

/// Takes the answer to a [`Question`].
pub type Ticket<M, A> = posta_mail::EngineTicket<Server<M>, A>;

/// A question that only the host can decide, or data that it has to supply. Each comes with the ticket that takes its answer.
#[derive(Debug)]
pub enum Question<M: Maildrop> {
    /// USER and PASS: open the maildrop of this user.
    Login {
        /// The user's name, as the client gave it.
        name: String,
        /// The password, as the client gave it.
        password: Secret,
        /// Takes the maildrop.
        ticket: Ticket<M, LoginOutcome<M>>,
    },
    /// APOP: open the maildrop of this user, if the digest proves knowledge of the password (RFC 1939 §7).
    Apop {
        /// The user's name, as the client gave it.
        name: String,
        /// The greeting's challenge, angle brackets included.
        challenge: String,
        /// The client's MD5 of the challenge and the shared secret.
        digest: [u8; 16],
        /// Takes the maildrop.
        ticket: Ticket<M, LoginOutcome<M>>,
    },
    /// AUTH (RFC 5034): open the maildrop of the user that this exchange proves the client to be.
    Authenticate(sasl::Exchange, Ticket<M, Authentication<M>>),
    /// The client gave up its AUTH, or sent a line that is no response. The host counts that, so that nobody
    /// can try names, passwords or tokens for free.
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
        ticket: Ticket<M, MessagePiece>,
    },
    /// Remove the messages that are marked as deleted, all or none.
    Update(Marks, Ticket<M, Update>),
}

/// The maildrop, or why the login is denied.
pub type LoginOutcome<M> = Result<M, Denial>;

/// How an authentication goes on, with the maildrop at its end, or why it is denied.
pub type Authentication<M> = Result<sasl::Progress<M>, Denial>;

/// Whether the login still holds; if not, the session ends.
pub type Standing = Result<(), Lapse>;

/// A piece of a message.
pub type MessagePiece = Result<Bytes, Unreadable>;

/// That the messages are removed, or how far that failed.
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
    /// The name and the password are right, but the account has no maildrop (RFC 3206 §5: `SYS/PERM`).
    SendOnly,
    /// The account has as many sessions as it may have.
    TooMany,
    /// The account's last login was too recent (RFC 2449 §8.1.1: `LOGIN-DELAY`).
    TooSoon,
}

/// Why a login is no longer valid.
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

/// The update failed, and no message was removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotRemoved;
