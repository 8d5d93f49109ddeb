//! How the content of a message travels, and what travels with its end.

use super::{Envelope, transaction::Transaction};
use bytes::Bytes;
use posta_mail::dots::DotEncoder;

/// How content travels.
#[derive(Debug)]
pub enum Framing {
    /// By DATA, up to a line with a single dot.
    Dots(DotEncoder),
    /// By BDAT, in chunks whose lengths are announced. The next one is held until it is known whether it
    /// is the last.
    Chunks { next: Option<Bytes>, sent: usize },
}

/// The message after the one under way.
#[derive(Debug)]
pub enum Follower {
    /// The message's envelope was sent.
    Begun(Box<Transaction>),
    /// The message's envelope cannot be sent ahead, and waits.
    Waiting(Envelope),
}
