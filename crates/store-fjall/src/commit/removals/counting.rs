//! Counting the messages that a large removal takes out, some at a time between two groups. Changes of the same folder
//! meanwhile correct the count.

use super::{Asked, Large, answer};
use crate::{commit::Committer, tables::removals::Names};
use posta_store::{AccountId, Entry, Flags, FolderId, Uid};
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
    /// What was found so far, for each folder that is named.
    found: Vec<Found>,
    /// How often the count was restarted.
    begun: u32,
}

/// What was found in a folder.
#[derive(Debug, Clone, Default)]
struct Found {
    counts: Counts,
    uids: RoaringBitmap,
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
        let found = vec![Found::default(); asked.names.len()];
        Self { asked, seen: 0, found, begun: 0 }
    }

    /// Returns the next names to look up: the index of their folder, and at most `most` of them.
    fn next(&self, most: usize) -> Option<(usize, Vec<Uid>)> {
        let mut seen = self.seen;
        for (index, (_, uids)) in self.asked.names.iter().enumerate() {
            if let Some(some @ [_, ..]) = uids.get(seen..) {
                return Some((index, some[..some.len().min(most)].to_vec()));
            }
            seen -= uids.len();
        }
        None
    }

    /// Returns what was found in a folder of an account, if its messages are counted.
    fn found_in(&mut self, account: AccountId, folder: FolderId) -> Option<&mut Found> {
        let Self { asked, found, .. } = self;
        let index = asked.names.iter().position(|(named, _)| *named == folder);
        found.get_mut(index.filter(|_| asked.account == account)?)
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
                (counting.seen, counting.begun) = (0, counting.begun + 1);
                counting.found.fill(Found::default());
            }
        }
    }

    /// Subtracts an entry from the counts that include it, since another change removes it from its folder.
    pub(crate) fn left(&mut self, account: AccountId, entry: &Entry) {
        for counting in &mut self.counting {
            let Some(Found { counts, uids }) = counting.found_in(account, entry.folder) else {
                continue;
            };
            if uids.remove(entry.uid.0) {
                counts.messages -= 1;
                counts.octets -= entry.octets;
                counts.unseen -= u64::from(!entry.flags.has(Flags::SEEN));
            }
        }
    }

    /// Corrects the counts that include an entry whose flags have changed.
    pub(crate) fn has_other_flags(&mut self, account: AccountId, before: Flags, entry: &Entry) {
        for counting in &mut self.counting {
            let Some(Found { counts, uids }) = counting.found_in(account, entry.folder) else {
                continue;
            };
            if uids.contains(entry.uid.0) {
                counts.unseen -= u64::from(!before.has(Flags::SEEN));
                counts.unseen += u64::from(!entry.flags.has(Flags::SEEN));
            }
        }
    }
}

impl Committer {
    /// Counts some more of a removal's messages, and decides the removal after the last of them.
    pub(super) fn count_some(&mut self, mut counting: Counting) {
        let account = counting.asked.account;
        while let Some((index, some)) = counting.next(COUNTED * self.piece) {
            counting.seen += some.len();
            let folder = counting.asked.names[index].0;
            match self.schema.standing(account, folder, some) {
                Ok(found) => found.iter().for_each(|entry| {
                    let Found { counts, uids } = &mut counting.found[index];
                    if uids.insert(entry.uid.0) {
                        counts.add(entry);
                    }
                }),
                Err(error) => return answer(counting.asked.done, Err(error)),
            }
            // A count that is restarted again and again must end, too.
            if counting.seen < counting.asked.count() && counting.begun < PATIENCE {
                return self.large.counting.push_front(counting);
            }
        }
        let Counting { asked: Asked { names, time, purge, done, .. }, found, .. } = counting;
        let messages: u64 = found.iter().map(|found| found.counts.messages).sum();
        let removed = names.iter().zip(found);
        let removed =
            removed.map(|((folder, _), found)| (*folder, Names::These(found.uids), found.counts));
        let decided = self.decide(account, removed.collect(), (time, purge));
        answer(done, decided.map(|()| messages as usize));
    }
}
