//! How the content of a message travels, and what travels with its end.

use super::{Envelope, transaction::Transaction};
use bytes::Bytes;
use posta_mail::dots::DotEncoder;

/// How content travels.
#[derive(Debug)]
pub enum Framing {
    /// To the line with a single dot.
    Dots(DotEncoder),
    /// In chunks whose lengths are said. The next to be sent is kept back until it is known whether
    /// it is the last.
    Chunks { next: Option<Bytes>, sent: usize },
}

/// The message after the one under way.
#[derive(Debug)]
pub enum Follower {
    /// Its envelope was sent.
    Begun(Box<Transaction>),
    /// It cannot be sent ahead, and waits.
    Waiting(Envelope),
}
