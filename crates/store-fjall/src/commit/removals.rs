//! Removals of many messages: decided in one transaction and carried out in pieces, so that neither memory nor the
//! wait of other sessions grows with their number.
//!
//! A large removal has three steps:
//!
//! 1. The messages that it names and that are still in the folder are *counted* (`removals/counting.rs`).
//! 2. The removal is *decided* in one transaction, which writes the names down and subtracts them from the folder's
//!    counts. From then on no reader sees the messages, and the caller gets its answer.
//! 3. The removal is *carried out* in pieces (`removals/carrying_out.rs`). Each moves some entries to `expunged` and records the progress, from
//!    which a restart goes on. The entries get the mod-sequences that a small removal would give them; the decision
//!    sets these aside.
//!
//! Changes that need the entries in `expunged`, such as bringing them back, wait until the removal is carried out.

mod carrying_out;
mod counting;

pub(crate) use counting::Counts;

use super::{Alone, Committer, Done};
use crate::tables::{
    batch::Batch,
    listing::{listing_key, ranges_of},
    removals::{Names, Progress, Removal},
    schema::{self, Schema},
};
use counting::Counting;
use posta_mail::Timestamp;
use posta_store::{AccountId, FolderId, StoreError, Subject, Uid};
use std::{collections::VecDeque, mem, sync::Arc, thread, time::Duration};

/// How long an idle thread waits for tables that are being written before it looks again.
const FLUSH_WAIT: Duration = Duration::from_millis(2);

/// The large removals that are under way.
#[derive(Default)]
pub(crate) struct Large {
    /// The removals that are being counted, the first of them in part.
    counting: VecDeque<Counting>,
    /// The removals that are decided, in the order of the decisions.
    decided: VecDeque<(Arc<Removal>, Progress)>,
    /// The changes that wait for removals, or for tables that are being written.
    waiting: VecDeque<(Until, Alone)>,
}

/// The request for a removal.
pub(crate) struct Asked {
    pub(crate) account: AccountId,
    /// The messages, by folder; each folder once.
    pub(crate) names: Vec<(FolderId, Vec<Uid>)>,
    pub(crate) time: Timestamp,
    pub(crate) purge: Timestamp,
    pub(crate) done: Done<usize>,
}

impl Asked {
    /// Returns the number of names.
    pub(crate) fn count(&self) -> usize {
        self.names.iter().map(|(_, uids)| uids.len()).sum()
    }
}

/// The condition that a change waits for.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Until {
    /// No removal from this account is under way.
    Of(AccountId),
    /// No removal is under way whose messages are due by then to be purged.
    Due(Timestamp),
    /// No table is being written to its file, which all others wait for too.
    Written,
}

impl Large {
    /// Takes over the removals that the last run decided and did not carry out.
    pub(crate) fn new(schema: &Schema) -> Result<Self, StoreError> {
        let mut large = Self::default();
        for (removal, progress) in schema.removals()? {
            let removal = Arc::new(removal);
            schema.gone.add(removal.clone());
            large.decided.push_back((removal, progress));
        }
        Ok(large)
    }

    /// Returns whether a change has to wait.
    fn holds(&self, until: Until) -> bool {
        match until {
            Until::Of(account) => {
                self.counting.iter().any(|counting| counting.asked.account == account)
                    || self.decided.iter().any(|(removal, _)| removal.account == account)
            }
            Until::Due(now) => self.decided.iter().any(|(removal, _)| removal.purge <= now),
            Until::Written => false,
        }
    }
}

impl Committer {
    /// Accepts a removal of many messages, to be counted.
    pub(crate) fn begin_removal(&mut self, mut asked: Asked) {
        for (_, uids) in &mut asked.names {
            uids.sort_unstable();
            uids.dedup();
        }
        self.large.counting.push_back(Counting::new(asked));
    }

    /// Runs a piece of a large change, once its condition holds and no table is being written to its file: while
    /// one is, the engine holds every change back.
    pub(crate) fn run_or_wait(&mut self, until: Until, change: Alone) {
        if self.large.holds(until) || self.schema.is_writing() {
            self.large.waiting.push_back((until, change));
        } else {
            change(self);
        }
    }

    /// Does a piece of the large changes under way. Returns whether there may be more to do.
    pub(crate) fn remove_some(&mut self) -> bool {
        let ready = self.large.waiting.iter().position(|(until, _)| !self.large.holds(*until));
        if let Some((_, change)) = ready.and_then(|at| self.large.waiting.remove(at)) {
            change(self);
            return true;
        }
        if let Some(counting) = self.large.counting.pop_front() {
            self.count_some(counting);
            return true;
        }
        let Some((removal, progress)) = self.large.decided.pop_front() else { return false };
        match self.carry_out_some(&removal, progress) {
            Ok(Some(progress)) => self.large.decided.push_front((removal, progress)),
            Ok(None) => {
                self.schema.gone.done(removal.first);
                if removal.folder == FolderId::INBOX {
                    self.views.want_packed(removal.account, ranges_of(&removal.names));
                }
            }
            Err(error) => {
                tracing::error!(%error, "messages that were removed could not be put away: it is tried again");
                self.forget_counts();
                self.large.decided.push_front((removal, progress));
                return false;
            }
        }
        true
    }

    /// The same between two groups. While tables are being written it does nothing, or, if the thread is idle,
    /// waits a little: a piece would hold the next group up.
    pub(crate) fn remove_some_beside(&mut self, is_idle: bool) -> bool {
        let Large { counting, decided, waiting } = &self.large;
        let has_pieces = !decided.is_empty() || !waiting.is_empty();
        let is_writing = counting.is_empty() && has_pieces && self.schema.is_writing();
        if is_writing && is_idle {
            thread::sleep(FLUSH_WAIT);
            return true;
        }
        !is_writing && self.remove_some()
    }

    fn decide(
        &mut self,
        account: AccountId,
        removed: Vec<(FolderId, Names, Counts)>,
        times: (Timestamp, Timestamp),
    ) -> Result<(), StoreError> {
        let mut batch = Batch::new(&self.schema);
        let decided = self.put_removals(account, removed, times, &mut batch);
        let decided = decided.and_then(|removals| self.commit(batch).map(|()| removals));
        // The counts may include what was not committed.
        let removals = decided.inspect_err(|_| self.forget_counts())?;
        self.are_decided(account, removals);
        Ok(())
    }

    /// Puts the decision that messages are removed into a batch. The caller must call [`Committer::are_decided`]
    /// after the commit.
    pub(crate) fn put_removals(
        &mut self,
        account: AccountId,
        removed: Vec<(FolderId, Names, Counts)>,
        (time, purge): (Timestamp, Timestamp),
        batch: &mut Batch,
    ) -> Result<Vec<Arc<Removal>>, StoreError> {
        let mut removals = Vec::new();
        for (folder, names, counts) in removed {
            // A folder that is gone had nothing in it.
            if counts.messages == 0 || !self.load_folder(account, folder)? {
                continue;
            }
            let (first, last) = self.next_mod_seqs(time, counts.messages);
            let removal = Removal { account, folder, time, purge, first, names };
            for (key, value) in schema::encode_removal(&removal)? {
                batch.insert(&self.schema.removing, key, value);
            }
            if folder == FolderId::INBOX {
                for range in ranges_of(&removal.names) {
                    batch.remove(&self.schema.listing, listing_key(account, range));
                }
            }
            self.count_all_out(account, folder, counts, last);
            self.save_folder(account, folder, batch);
            removals.push(Arc::new(removal));
        }
        Ok(removals)
    }

    /// Makes removals visible whose decision is committed, and begins to carry them out.
    pub(crate) fn are_decided(&mut self, account: AccountId, removals: Vec<Arc<Removal>>) {
        for removal in removals {
            self.schema.gone.add(removal.clone());
            let progress = Progress { next: Uid(0), mod_seq: removal.first };
            self.views.forget((account, removal.folder));
            self.large.decided.push_back((removal, progress));
        }
        self.watchers.tell(Subject::Mailbox(account));
        // Another removal of the same messages may be counted.
        self.large.count_anew(Some(account));
    }
}

fn answer(done: Done<usize>, outcome: Result<usize, StoreError>) {
    // The caller may be gone.
    let _ = done.send(outcome);
}

impl Schema {
    /// Returns whether one of the tables that large changes fill is being written to its file.
    fn is_writing(&self) -> bool {
        let tables = [
            &self.entry,
            &self.changed,
            &self.moved,
            &self.expunged,
            &self.purging,
            &self.place,
            &self.history,
        ];
        tables.iter().any(|table| table.sealed_memtable_count() > 0)
    }
}

impl Drop for Large {
    /// Answers the callers whose removal was not decided with an error: nothing was removed.
    fn drop(&mut self) {
        for Counting { asked, .. } in mem::take(&mut self.counting) {
            answer(asked.done, Err(StoreError::Failed("its tables are being mended".to_owned())));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{counting::COUNTED, *};
    use crate::FjallStore;
    use posta_store::{
        Credentials, Directory, Flags, Folders, Mailboxes, Usage,
        conformance::{block_on, message},
    };
    use std::{fs, num::NonZeroUsize, path::Path, sync::mpsc};

    /// Messages of the mailbox, and how many of them are removed.
    const ALL: u32 = 60;
    const REMOVED: u32 = 40;

    /// Messages that are junk, where there is any: all are removed.
    const JUNK: u32 = 10;

    fn second(second: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + second).unwrap()
    }

    fn open(directory: &Path) -> FjallStore {
        FjallStore::open_in_pieces(directory, NonZeroUsize::MIN).unwrap()
    }

    fn copy(from: &Path, to: &Path) {
        fs::create_dir_all(to).unwrap();
        for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
            let (from, to) = (entry.path(), to.join(entry.file_name()));
            match entry.file_type().unwrap().is_dir() {
                true => copy(&from, &to),
                false => drop(fs::copy(from, to).unwrap()),
            }
        }
    }

    /// How far the removal of a test is.
    #[derive(Debug, PartialEq, Eq)]
    enum Stage {
        Counted,
        Decided(Uid),
        Done,
    }

    fn stage(committer: &Committer) -> Stage {
        match committer.large.decided.front() {
            _ if !committer.large.counting.is_empty() => Stage::Counted,
            Some((_, progress)) => Stage::Decided(progress.next),
            None => Stage::Done,
        }
    }

    /// Adds an account with messages and junk. Returns it and the names of the junk.
    async fn with_junk(store: &FjallStore) -> (AccountId, Vec<Uid>) {
        let address = "ana@x.test".parse().unwrap();
        let account = store.add_account(&address, Credentials::default()).await.unwrap();
        let to = vec![account; (ALL + JUNK) as usize];
        store.accept(message(1, second(0), b"one\r\n", &to)).await.unwrap();
        let some = (ALL + 1..=ALL + JUNK).map(Uid).collect();
        let (inbox, junk) = (FolderId::INBOX, FolderId::JUNK);
        let moved = store.move_entries(account, inbox, junk, some, second(0), second(99));
        (account, moved.await.unwrap().into_iter().map(|(_, uid)| uid).collect())
    }

    /// Whatever a kill leaves after each piece, a start makes of it that all messages are removed, from both folders, or
    /// none, and no message is lost.
    #[test]
    fn a_removal_that_was_cut_off_goes_on() {
        let directory = tempfile::tempdir().unwrap();
        let original = directory.path().join("original");
        let store = open(&original);
        let (inbox, junk) = (FolderId::INBOX, FolderId::JUNK);
        let (account, junked) = block_on(with_junk(&store));
        let before = block_on(store.maildrop(account)).unwrap();
        // All requests wait until they are all there: between two of them one piece is done.
        let (go_on, waits) = mpsc::channel::<()>();
        let held = store.alone(move |_| Ok(waits.recv().is_ok()));
        let names = vec![(inbox, (1..=REMOVED).map(Uid).collect()), (junk, junked)];
        let removal = store.remove_from(account, names, second(1), second(99));
        let gone = REMOVED + JUNK;
        let steps = (gone + gone.div_ceil(COUNTED as u32) + 4) as usize;
        let images: Vec<_> = (0..steps)
            .map(|step| {
                let (from, to) = (original.clone(), directory.path().join(step.to_string()));
                store.alone(move |committer| {
                    // A part of them suffices.
                    let is_one = step.is_multiple_of(6) || step + 1 == steps;
                    if is_one {
                        copy(&from, &to);
                    }
                    Ok(is_one.then(|| (to, stage(committer))))
                })
            })
            .collect();
        go_on.send(()).unwrap();
        block_on(held).unwrap();
        assert_eq!(block_on(removal).unwrap(), gone as usize);
        let images = images.into_iter().filter_map(|image| block_on(image).unwrap());
        let images: Vec<_> = images.collect();
        drop(store);
        let is_within = |stage: &Stage| matches!(stage, Stage::Decided(uid) if uid.0 > 1);
        assert!(images.iter().filter(|(_, stage)| is_within(stage)).count() > 3);
        assert!(images.iter().any(|(_, stage)| *stage == Stage::Counted));
        assert!(images.iter().any(|(_, stage)| *stage == Stage::Done));
        for (image, stage) in images {
            let store = open(&image);
            block_on(async {
                let after = store.maildrop(account).await.unwrap();
                let (removed, junk_left) =
                    if stage == Stage::Counted { (0, JUNK) } else { (REMOVED, 0) };
                assert!(after.iter().eq(before.iter().skip(removed as usize)), "{stage:?}");
                let Usage { messages, .. } = store.usage(account).await.unwrap();
                let inbox = store.folders(account).await.unwrap()[0].clone();
                let left = u64::from(ALL - removed);
                assert_eq!((inbox.messages, inbox.unseen), (left, left));
                assert_eq!(messages, left + u64::from(junk_left), "{stage:?}");
                let listed = store.listed(account, junk).await.unwrap();
                assert_eq!(listed.len(), junk_left as usize, "{stage:?}");
                let gone = removed + JUNK - junk_left;
                assert_eq!(store.undelete(account, second(0)).await.unwrap(), gone as usize);
                assert_eq!(store.listed(account, junk).await.unwrap().len(), JUNK as usize);
                let again = store.maildrop(account).await.unwrap();
                let numbers = |maildrop: &posta_store::Maildrop| {
                    maildrop.iter().map(|it| it.number).collect::<Vec<_>>()
                };
                assert_eq!(numbers(&again), numbers(&before), "{stage:?}");
                assert_eq!(again.octets(), before.octets());
            });
            let records = store.schema().unwrap().removing.iter().count();
            assert_eq!(records, 0, "{stage:?}");
        }
    }

    /// What others do to messages while these are counted is counted once.
    #[test]
    fn others_change_what_is_counted() {
        let directory = tempfile::tempdir().unwrap();
        let store = open(&directory.path().join("store"));
        let account = block_on(async {
            let address = "ana@x.test".parse().unwrap();
            let account = store.add_account(&address, Credentials::default()).await.unwrap();
            let to = vec![account; ALL as usize];
            store.accept(message(1, second(0), b"one\r\n", &to)).await.unwrap();
            account
        });
        let inbox = FolderId::INBOX;
        let (go_on, waits) = mpsc::channel::<()>();
        let held = store.alone(move |_| Ok(waits.recv().is_ok()));
        let uids = (1..=REMOVED).map(Uid).collect();
        let removal = store.remove(account, inbox, uids, second(1), second(99));
        let pause = store.alone(|_| Ok(()));
        let another = store.remove(account, inbox, vec![Uid(2)], second(1), second(99));
        let change = posta_store::FlagChange { add: Flags::SEEN, ..Default::default() };
        let flags = store.set_flags(account, inbox, vec![Uid(3), Uid(38)], change, None, second(1));
        let junk = FolderId::JUNK;
        let some = vec![Uid(4), Uid(39)];
        let moved = store.move_entries(account, inbox, junk, some, second(1), second(99));
        let failed = store.alone(|committer| -> Result<(), _> {
            assert_eq!(stage(committer), Stage::Counted);
            Err(StoreError::Full)
        });
        go_on.send(()).unwrap();
        block_on(async {
            held.await.unwrap();
            pause.await.unwrap();
            assert_eq!(another.await.unwrap(), 1);
            assert_eq!(flags.await.unwrap().changed.len(), 2);
            assert_eq!(moved.await.unwrap().len(), 2);
            failed.await.unwrap_err();
            assert_eq!(removal.await.unwrap(), REMOVED as usize - 3);
            let inbox = store.folders(account).await.unwrap()[0].clone();
            let left = u64::from(ALL - REMOVED);
            let octets = store.maildrop(account).await.unwrap().octets();
            assert_eq!((inbox.messages, inbox.unseen, inbox.octets), (left, left, octets));
            assert_eq!(store.undelete(account, second(0)).await.unwrap(), REMOVED as usize - 2);
            let all = u64::from(ALL) - 2;
            let inbox = store.folders(account).await.unwrap()[0].clone();
            assert_eq!((inbox.messages, inbox.unseen), (all, all - 2));
        });
    }
}
