//! The mail transaction as the server sees it (RFC 5321 §3.3): plain data that the states and the tickets
//! hand to each other, so what needs a transaction can only be reached with one.

use crate::{
    chunk_decoder::ChunkDecoder,
    incoming::{Decoder, Incoming},
    profile::Profile,
};
use posta_mail::{Reply, dots::DotDecoder, envelope::Body};

/// How far the mail transaction has come when the next command is read.
#[derive(Debug)]
pub enum MailPhase {
    /// No transaction is open.
    Idle,
    /// MAIL was accepted, and so were some recipients, perhaps none yet.
    Envelope(MailTransaction),
    /// Some of the content came by BDAT, and more follows.
    BetweenChunks(ReceivingChunks),
}

/// A mail transaction whose content has not begun.
#[derive(Debug)]
pub struct MailTransaction {
    pub(super) body: Body,
    /// Whether MAIL had SMTPUTF8.
    pub(super) utf8: bool,
    /// The number of recipients that were accepted.
    pub(super) recipients: usize,
}

/// A mail transaction whose content is coming, decoded by `D`.
#[derive(Debug)]
pub struct Receiving<D> {
    /// The number of recipients that were accepted. At least one.
    pub(super) recipients: usize,
    pub(super) incoming: Incoming<D>,
}

/// A mail transaction whose content comes by DATA.
pub(super) type ReceivingData = Receiving<DotDecoder>;

/// A mail transaction whose content comes by BDAT.
pub(super) type ReceivingChunks = Receiving<ChunkDecoder>;

impl MailPhase {
    /// Returns whether a transaction is open.
    pub(super) const fn is_open(&self) -> bool {
        match self {
            Self::Idle => false,
            Self::Envelope(_) | Self::BetweenChunks(_) => true,
        }
    }

    /// Returns the octets of content that came so far.
    pub(super) const fn octets(&self) -> u64 {
        match self {
            Self::Idle | Self::Envelope(_) => 0,
            Self::BetweenChunks(receiving) => receiving.incoming.octets(),
        }
    }
}

impl MailTransaction {
    /// Begins to take the content.
    pub(super) fn receive<D: Decoder>(self, profile: &Profile) -> Receiving<D> {
        let incoming = Incoming::new(profile, self.body);
        Receiving { recipients: self.recipients, incoming }
    }
}

impl<D: Decoder> Receiving<D> {
    /// Returns what stands against the content, as far as it came.
    pub(super) fn objection(&self) -> Option<Reply> {
        self.incoming.objection()
    }
}
