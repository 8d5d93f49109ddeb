//! Copies: a whole store, moved from one engine to another, with nothing lost and every name kept.
//!
//! A store is read as *pages* of rows, one [`Part`] after the other, in a form that belongs to no engine (`records`). A
//! target takes each page in one transaction, together with the place where the copy goes on ([`CopyPlace`]), so a copy
//! that was killed goes on there ([`fill`]). Derived records are not copied; each engine makes its own. Afterwards both
//! stores are read whole, and what they have is compared by counts and checksums ([`digest()`]): a copy is done only if
//! these are the same.
//!
//! Times are copied in microseconds, the precision of the embedded store. Not copied is what ends with a restart anyway:
//! leases, and pauses of destinations.

mod digest;
mod filling;
mod records;

pub use digest::{Digest, PartDigest, digest};
pub use filling::{Filled, fill};
pub use records::{
    AccountRecord, Collecting, ContentRecord, EntryRecord, Gone, MovedRecord, decode_alias,
    decode_domain, decode_events, decode_item, decode_named, decode_retrieved, decode_secret,
    decode_source, history_page, push_alias, push_domain, push_item, push_named, push_retrieved,
    push_secret, sources_page,
};

use crate::{Pending, PieceKey, Rows, SecretOf, Store};
use bytes::Bytes;
use posta_mail::Secret;

/// About the octets of a page, unless one row has more.
pub const PAGE: usize = 1024 * 1024;

/// A part of a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The accounts, removed ones too, each with its folders.
    Accounts,
    /// The local domains, and those that stand for others.
    Domains,
    /// The aliases, among them those by which accounts forward.
    Aliases,
    /// The contents of messages, each once.
    Contents,
    /// The messages in folders, and those that were removed and can be brought back.
    Entries,
    /// The names that messages had before.
    Moved,
    /// When messages were retrieved first.
    Retrieved,
    /// The items of the queue.
    Items,
    /// The history of messages.
    History,
    /// The server's own records: app passwords, keys' records, policies, notes of absence and so on.
    Records,
    /// The mailboxes elsewhere that are collected.
    Sources,
    /// What was collected and imported already.
    Collected,
    /// Passwords and private keys, which the target seals with its own keys.
    Secrets,
}

impl Part {
    /// All parts, in the order in which they are copied.
    pub const ALL: [Self; 13] = [
        Self::Accounts,
        Self::Domains,
        Self::Aliases,
        Self::Contents,
        Self::Entries,
        Self::Moved,
        Self::Retrieved,
        Self::Items,
        Self::History,
        Self::Records,
        Self::Sources,
        Self::Collected,
        Self::Secrets,
    ];

    /// Returns a word for the part, which does not change in later versions.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Accounts => "accounts",
            Self::Domains => "domains",
            Self::Aliases => "aliases",
            Self::Contents => "contents",
            Self::Entries => "entries",
            Self::Moved => "moved-names",
            Self::Retrieved => "retrieved",
            Self::Items => "queue-items",
            Self::History => "histories",
            Self::Records => "records",
            Self::Sources => "sources",
            Self::Collected => "collected",
            Self::Secrets => "secrets",
        }
    }
}

/// Rows of a part.
#[derive(Debug, Clone, Default)]
pub struct Page {
    /// The rows, as `records` describes them.
    pub rows: Rows,
    /// What to ask for the next page with; none if there is no other. Only the engine that made it reads it.
    pub next: Option<Vec<u8>>,
}

/// The place in a store from which a copy goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopyPlace {
    /// The part.
    pub part: Part,
    /// [`Page::next`] of the last page taken of it; none at its beginning.
    pub after: Option<Vec<u8>>,
}

impl CopyPlace {
    /// The beginning.
    pub const BEGINNING: Self = Self { part: Part::Accounts, after: None };

    /// Returns the binary form.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut octets = self.part.name().as_bytes().to_vec();
        if let Some(after) = &self.after {
            octets.push(b'\n');
            octets.extend_from_slice(after);
        }
        octets
    }

    /// Reads the binary form.
    #[must_use]
    pub fn from_bytes(octets: &[u8]) -> Option<Self> {
        let end = octets.iter().position(|&octet| octet == b'\n');
        let name = &octets[..end.unwrap_or(octets.len())];
        let part = Part::ALL.into_iter().find(|part| part.name().as_bytes() == name)?;
        Some(Self { part, after: end.map(|end| octets[end + 1..].to_vec()) })
    }
}

/// The numbers that were given out last, so that none is given out again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LastNumbers {
    /// The last id of an account.
    pub account: u64,
    /// The last id of a source.
    pub source: u64,
    /// A mod-sequence that none is greater than.
    pub mod_seq: u64,
    /// The octets of the contents, about, for a progress bar.
    pub octets: u64,
}

/// A store that can be copied, and that can be made of another. Nobody else uses it meanwhile: whoever opens a store for
/// this sees to that.
pub trait Copies: Store {
    /// Returns a page of a part, the first one if `after` is none, of about `octets` octets. All pages together have each
    /// row once, in whatever order.
    ///
    /// # Errors
    /// [`StoreError::Damaged`](crate::StoreError::Damaged) if anything cannot be read: nothing is passed over.
    fn page(&self, part: Part, after: Option<Vec<u8>>, octets: usize) -> Pending<'_, Page>;

    /// Finishes what the store has begun and not carried out, and returns the numbers that were given out last.
    fn last_numbers(&self) -> Pending<'_, LastNumbers>;

    /// Begins to make this store of another, whose name is `of`, or goes on with that. Returns the place where to go on;
    /// none if the copy begins here. From now on, the store cannot be opened for anything else until
    /// [`Copies::complete_copy`].
    ///
    /// # Errors
    /// [`StoreError::Occupied`](crate::StoreError::Occupied) if there is something in the store that is not of a copy of
    /// `of`.
    fn begin_copy(&self, of: &str) -> Pending<'_, Option<CopyPlace>>;

    /// Puts a page into a part, all or nothing, and notes the place behind it. Contents of several pieces have theirs
    /// already; secrets as well.
    fn put_page(&self, part: Part, rows: Rows, behind: CopyPlace) -> Pending<'_, ()>;

    /// Puts a piece of a content. One that is there already stays.
    fn put_piece(&self, key: PieceKey, octets: Bytes) -> Pending<'_, ()>;

    /// Puts a secret, sealed with this store's own keys.
    fn put_secret(&self, of: SecretOf, secret: Secret) -> Pending<'_, ()>;

    /// Sets the numbers that the other store gave out last, and makes everything durable. The store has to be opened
    /// again afterwards.
    fn end_copy(&self, numbers: LastNumbers) -> Pending<'_, ()>;

    /// Makes a store that was filled and compared one like every other.
    fn complete_copy(&self) -> Pending<'_, ()>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_read_as_they_were_written() {
        for part in Part::ALL {
            for after in [None, Some(Vec::new()), Some(b"a\nb\0".to_vec())] {
                let place = CopyPlace { part, after };
                assert_eq!(CopyPlace::from_bytes(&place.to_bytes()), Some(place));
            }
        }
        assert_eq!(CopyPlace::from_bytes(b"nothing"), None);
    }
}
