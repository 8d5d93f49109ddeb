//! Signing of outgoing mail (DKIM: RFC 6376, RFC 8463): the keys of each local domain, their rotation, and the
//! signatures of users' mail and of reports.
//!
//! [`keys`] defines the states of a key; `key_ring` keeps keys in the store, with the private keys sealed; `rotation`
//! creates, activates and retires keys by the clock. [`signers`] caches the keys that sign. `outgoing` watches a message
//! as it arrives, chooses the domain that signs it, and writes the fields; `converted` signs mail again that is
//! converted to ASCII, and `sealing` adds an ARC set to forwarded mail. `admin` calls this floor for the operator's
//! requests about keys; `receive`, `reports` and `send` call it to sign mail.
//!
//! [`certificates`] obtains the server's own certificates from an authority, and keeps their keys as those of domains are
//! kept.

pub mod certificates;
pub(crate) mod converted;
pub(crate) mod key_ring;
pub mod keys;
pub(crate) mod outgoing;
pub(crate) mod rotation;
pub(crate) mod sealing;
pub mod signers;

use std::time::Duration;

/// The settings of signing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SigningSettings {
    /// Whether mail is signed, and domains without keys get some.
    pub enabled: bool,
    /// The age at which keys are replaced; `None` for never.
    pub rotate: Option<Duration>,
    /// For how long messages wait in the queue at most: until then, and a margin later, DNS has to have the keys that
    /// signed them.
    pub queue_lifetime: Duration,
}
