//! The settings of the door: what strangers have to pass at port 25 before their mail is taken.

use posta_mail::Domain;
use std::time::Duration;

/// What strangers have to pass at port 25 before their mail is taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DoorSettings {
    /// The DNS lists whose clients are refused.
    pub block_lists: Vec<Domain>,
    /// The DNS lists whose clients pass, whatever a block list says.
    pub allow_lists: Vec<Domain>,
    /// The maximal number of recipients in an hour to whom the clients of one network may write; 0 means no limit.
    pub network_recipients: u32,
    /// The maximal number of recipients in an hour to whom one sender may write from one network; 0 means no limit.
    pub sender_recipients: u32,
    /// How long the greeting is kept back; who speaks before it is refused.
    pub greeting_delay: Duration,
    /// Whether mail of a sender that is not known yet is put off once.
    pub greylisting: bool,
    /// Whether a client is refused whose HELO is no full name, or this server's.
    pub strict_hello: bool,
    /// What DNS must have for a client's address.
    pub reverse_dns: ReverseDns,
}

/// What DNS must have for a client's address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReverseDns {
    /// Anything or nothing.
    Any,
    /// A name (PTR).
    Named,
    /// A name that leads back to the address.
    Confirmed,
}

impl DoorSettings {
    /// Returns settings under which everybody passes.
    #[must_use]
    pub const fn open() -> Self {
        Self {
            block_lists: Vec::new(),
            allow_lists: Vec::new(),
            network_recipients: 0,
            sender_recipients: 0,
            greeting_delay: Duration::ZERO,
            greylisting: false,
            strict_hello: false,
            reverse_dns: ReverseDns::Any,
        }
    }
}
