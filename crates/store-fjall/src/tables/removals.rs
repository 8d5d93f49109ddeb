//! Large removals: each is decided in one transaction, which names what goes, and carried out in pieces later.
//!
//! The table `removing` holds the decision until it is carried out wholly, so a restart goes on with it. Until then
//! the entries stand in their table, and everybody who reads asks here which of them are gone. A name that is
//! gone is never given again, so it does no harm to ask about one whose entry has been taken out meanwhile.

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
    /// The mod-sequence of the first message that goes; those of the others follow it, in the order of their UIDs.
    /// No other removal has the same, so it names this one.
    pub(crate) first: ModSeq,
    pub(crate) names: Names,
}

/// What is removed from a folder.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Names {
    /// Everything that has a smaller UID: the account is removed.
    Below(Uid),
    /// These UIDs, in which something stood when it was decided.
    These(RoaringBitmap),
}

impl Names {
    pub(crate) fn contains(&self, uid: Uid) -> bool {
        match self {
            Self::Below(next) => uid < *next,
            Self::These(uids) => uids.contains(uid.0),
        }
    }

    /// Returns the first of the names that is not before a UID.
    pub(crate) fn next(&self, from: Uid) -> Option<Uid> {
        match self {
            Self::Below(next) => (from < *next).then_some(from),
            Self::These(uids) => uids.range(from.0..).next().map(Uid),
        }
    }
}

/// How far a removal is carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Progress {
    /// What is below is out of its table.
    pub(crate) next: Uid,
    /// The mod-sequence of the message that goes next.
    pub(crate) mod_seq: ModSeq,
}

/// The removals that are decided and not carried out. Only the committing thread changes them.
#[derive(Debug, Default)]
pub(crate) struct Removals {
    all: RwLock<Vec<Arc<Removal>>>,
    /// Counts the decisions.
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

    /// Returns what is gone of an account. For the committing thread: others ask by [`Removals::with`].
    pub(crate) fn of(&self, account: AccountId) -> Gone {
        let all = self.all.read();
        Gone(all.iter().filter(|removal| removal.account == account).cloned().collect())
    }

    /// Begins to read, and returns what is gone of an account at the same moment. What is begun, an iterator or
    /// a snapshot, must read what stood when it was made: else it might see a removal that was decided since
    /// half carried out.
    pub(crate) fn with<T>(&self, account: AccountId, begin: impl Fn() -> T) -> (T, Gone) {
        loop {
            let decided = self.decided.load(Ordering::SeqCst);
            // Before the reading: one that is carried out wholly between the two is not seen in the tables.
            let gone = self.of(account);
            let begun = begin();
            if self.decided.load(Ordering::SeqCst) == decided {
                return (begun, gone);
            }
        }
    }
}

/// What is gone of an account, though its entries may stand in their table.
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
