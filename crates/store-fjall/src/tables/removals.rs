//! Large removals as readers see them. Each is decided in one transaction, which names the messages, and carried
//! out in pieces later (`commit/removals.rs`).
//!
//! The table `removing` holds the decision until it is carried out wholly, so a restart goes on with it. Until then
//! the entries are still in their table, and every reader asks [`Removals`] which of them are gone. A name that is
//! gone is never given again, so asking about an entry that has been moved meanwhile does no harm.

use parking_lot::RwLock;
use posta_mail::Timestamp;
use posta_store::{AccountId, FolderId, ModSeq, Uid};
use roaring::RoaringBitmap;
use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

/// A removal that was decided.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Removal {
    pub(crate) account: AccountId,
    pub(crate) folder: FolderId,
    pub(crate) time: Timestamp,
    pub(crate) purge: Timestamp,
    /// The mod-sequence of the first message; those of the others follow it, in the order of their UIDs. It
    /// identifies the removal, since no other has the same.
    pub(crate) first: ModSeq,
    pub(crate) names: Names,
}

/// The UIDs that are removed from a folder.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Names {
    /// All smaller UIDs: the account is removed.
    Below(Uid),
    /// These UIDs, each of which had an entry when the removal was decided.
    These(RoaringBitmap),
}

impl Names {
    pub(crate) fn contains(&self, uid: Uid) -> bool {
        match self {
            Self::Below(next) => uid < *next,
            Self::These(uids) => uids.contains(uid.0),
        }
    }

    /// Returns the first of the UIDs that is not less than `from`.
    pub(crate) fn next(&self, from: Uid) -> Option<Uid> {
        match self {
            Self::Below(next) => (from < *next).then_some(from),
            Self::These(uids) => uids.range(from.0..).next().map(Uid),
        }
    }
}

/// The progress of a removal that is being carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Progress {
    /// The entries with smaller UIDs are moved.
    pub(crate) next: Uid,
    /// The mod-sequence of the next message.
    pub(crate) mod_seq: ModSeq,
}

/// The removals that are decided and not carried out. Only the committing thread changes them.
#[derive(Debug, Default)]
pub(crate) struct Removals {
    all: RwLock<Vec<Arc<Removal>>>,
    /// The number of decisions so far.
    decided: AtomicU64,
}

impl Removals {
    pub(crate) fn add(&self, removal: Arc<Removal>) {
        let mut all = self.all.write();
        all.push(removal);
        self.decided.fetch_add(1, Ordering::SeqCst);
    }

    /// Forgets a removal that is carried out.
    pub(crate) fn done(&self, first: ModSeq) {
        self.all.write().retain(|removal| removal.first != first);
    }

    /// Returns the removals of an account. For the committing thread; other threads call [`Removals::with`].
    pub(crate) fn of(&self, account: AccountId) -> Gone {
        let all = self.all.read();
        Gone(all.iter().filter(|removal| removal.account == account).cloned().collect())
    }

    /// Begins to read, and returns the removals of an account at the same moment. `begin` must make an iterator or
    /// a snapshot that reads the state of that moment: otherwise the reader might see half of a removal that was
    /// decided later.
    pub(crate) fn with<T>(&self, account: AccountId, begin: impl Fn() -> T) -> (T, Gone) {
        loop {
            let decided = self.decided.load(Ordering::SeqCst);
            // Before the reading: a removal that is carried out wholly between the two is not in the tables.
            let gone = self.of(account);
            let begun = begin();
            if self.decided.load(Ordering::SeqCst) == decided {
                return (begun, gone);
            }
        }
    }
}

/// The removals of an account that are decided, though their entries may still be in their table.
#[derive(Debug, Clone, Default)]
pub(crate) struct Gone(pub(crate) Vec<Arc<Removal>>);

impl Gone {
    pub(crate) fn has(&self, folder: FolderId, uid: Uid) -> bool {
        self.0.iter().any(|removal| removal.folder == folder && removal.names.contains(uid))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn removal(names: Names) -> Removal {
        Removal {
            account: AccountId(7),
            folder: FolderId(3),
            time: Timestamp::from_second(1_700_000_000).unwrap(),
            purge: Timestamp::from_second(1_700_600_000).unwrap(),
            first: ModSeq(1_700_000_000_000_000),
            names,
        }
    }

    /// A reader that begins while a removal is decided begins anew.
    #[test]
    fn what_is_gone_belongs_to_what_is_read() {
        let removals = Removals::default();
        let added = std::cell::Cell::new(0);
        let ((), gone) = removals.with(AccountId(7), || {
            if added.replace(added.get() + 1) == 0 {
                removals.add(Arc::new(removal(Names::Below(Uid(9)))));
            }
        });
        assert_eq!(added.get(), 2);
        assert!(gone.has(FolderId(3), Uid(8)) && !gone.has(FolderId(3), Uid(9)));
        assert!(!gone.has(FolderId(2), Uid(8)));
        assert!(!removals.of(AccountId(6)).has(FolderId(3), Uid(8)));
        removals.done(ModSeq(1_700_000_000_000_000));
        assert!(!removals.of(AccountId(7)).has(FolderId(3), Uid(8)));
    }
}
