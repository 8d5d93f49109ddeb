//! Counting the messages that a large removal takes out, some at a time between two groups. Changes of the same folder
//! meanwhile correct the count.

use super::{Asked, Large, answer};
use crate::{commit::Committer, tables::removals::Names};
use posta_store::{AccountId, Entry, Flags};
use roaring::RoaringBitmap;

/// Pieces that are counted at a time: counting only reads.
pub(super) const COUNTED: usize = 4;

/// How often a count is restarted before it is made in one go.
const PATIENCE: u32 = 8;

/// A removal whose messages are being counted.
pub(super) struct Counting {
    pub(super) asked: Asked,
    /// The number of names that were looked up.
    seen: usize,
    found: Counts,
    uids: RoaringBitmap,
    /// How often the count was restarted.
    begun: u32,
}

/// The messages that some names of a folder stand for, counted.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Counts {
    pub(crate) messages: u64,
    pub(crate) octets: u64,
    pub(crate) unseen: u64,
}

impl Counting {
    /// Returns a count that has not begun.
    pub(super) fn new(asked: Asked) -> Self {
        let (found, uids) = (Counts::default(), RoaringBitmap::new());
        Self { asked, seen: 0, found, uids, begun: 0 }
    }
}

impl Counts {
    fn add(&mut self, entry: &Entry) {
        self.messages += 1;
        self.octets += entry.octets;
        self.unseen += u64::from(!entry.flags.has(Flags::SEEN));
    }
}

impl Large {
    /// Restarts the counts of one account, or of all: the entries may have changed.
    pub(crate) fn count_anew(&mut self, account: Option<AccountId>) {
        for counting in &mut self.counting {
            if counting.seen > 0 && account.is_none_or(|account| account == counting.asked.account)
            {
                (counting.seen, counting.found) = (0, Counts::default());
                counting.uids = RoaringBitmap::new();
                counting.begun += 1;
            }
        }
    }

    /// Subtracts an entry from the counts that include it, since another change removes it from its folder.
    pub(crate) fn left(&mut self, account: AccountId, entry: &Entry) {
        for Counting { asked, found, uids, .. } in &mut self.counting {
            if (asked.account, asked.folder) == (account, entry.folder) && uids.remove(entry.uid.0)
            {
                found.messages -= 1;
                found.octets -= entry.octets;
                found.unseen -= u64::from(!entry.flags.has(Flags::SEEN));
            }
        }
    }

    /// Corrects the counts that include an entry whose flags have changed.
    pub(crate) fn has_other_flags(&mut self, account: AccountId, before: Flags, entry: &Entry) {
        for Counting { asked, found, uids, .. } in &mut self.counting {
            let is_it = (asked.account, asked.folder) == (account, entry.folder);
            if is_it && uids.contains(entry.uid.0) {
                found.unseen -= u64::from(!before.has(Flags::SEEN));
                found.unseen += u64::from(!entry.flags.has(Flags::SEEN));
            }
        }
    }
}

impl Committer {
    /// Counts some more of a removal's messages, and decides the removal after the last of them.
    pub(super) fn count_some(&mut self, mut counting: Counting) {
        let Asked { account, folder, ref uids, .. } = counting.asked;
        for some in uids[counting.seen..].chunks(COUNTED * self.piece) {
            match self.schema.standing(account, folder, some.to_vec()) {
                Ok(found) => found.iter().for_each(|entry| {
                    if counting.uids.insert(entry.uid.0) {
                        counting.found.add(entry);
                    }
                }),
                Err(error) => return answer(counting.asked.done, Err(error)),
            }
            counting.seen += some.len();
            // A count that is restarted again and again must end, too.
            if counting.seen < uids.len() && counting.begun < PATIENCE {
                return self.large.counting.push_front(counting);
            }
        }
        let Counting { asked: Asked { time, purge, done, .. }, found, uids, .. } = counting;
        let decided =
            self.decide(account, vec![(folder, Names::These(uids), found)], (time, purge));
        answer(done, decided.map(|()| found.messages as usize));
    }
}
