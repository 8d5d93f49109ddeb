//! Packed listings are the same as the entries, whatever happens.

#[path = "../../../tests/scratch/copied.rs"]
mod copied;

use super::{
    memory::{MUCH, QUIET, RELEASE},
    *,
};
use crate::{
    FjallStore,
    commit::Content,
    tables::{key_and_value, schema},
};
use posta_mail::{MailId, ThreadId, Timestamp};
use posta_store::{
    Credentials, Delivery, Directory, Layout, Mailboxes, Maildrop, Summary, Uid,
    conformance::block_on,
};
use std::{os::unix::fs::FileExt, sync::Arc, thread};

const INBOX: FolderId = FolderId::INBOX;

fn at(second: u64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + second as i64).unwrap()
}

/// A store with one account.
struct Bench {
    directory: tempfile::TempDir,
    store: Option<FjallStore>,
    account: AccountId,
}

impl Bench {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store = FjallStore::open(directory.path()).unwrap();
        let address = "ana@x.test".parse().unwrap();
        let account = block_on(store.add_account(&address, Credentials::default())).unwrap();
        Self { directory, store: Some(store), account }
    }

    fn store(&self) -> &FjallStore {
        self.store.as_ref().unwrap()
    }

    fn reopen(&mut self) {
        drop(self.store.take());
        self.store = Some(FjallStore::open(self.directory.path()).unwrap());
    }

    /// What a stop without an end leaves: the files as they are now.
    fn crash(&mut self) {
        let copy = tempfile::tempdir().unwrap();
        copied::copy(self.directory.path(), copy.path());
        drop(self.store.take());
        self.directory = copy;
        self.store = Some(FjallStore::open(self.directory.path()).unwrap());
    }

    /// Has the committing thread do something.
    fn commit<T: Send + 'static>(
        &self,
        change: impl FnOnce(&mut Committer) -> Result<T, StoreError> + Send + 'static,
    ) -> T {
        block_on(self.store().alone(change)).unwrap()
    }

    /// Puts messages into the inbox, every tenth of which brings a unique-id along.
    fn deliver(&self, count: u64, second: u64) {
        let account = self.account;
        self.commit(move |committer| {
            let mut batch = Batch::new(&committer.schema);
            for number in 0..count {
                let id = MailId::new(at(second), number);
                let unique_id = number.is_multiple_of(10).then(|| format!("{second}.{number}"));
                let (prefix, date) = (Vec::new(), None);
                let (flags, keywords) = (posta_store::Flags::NONE, Vec::new());
                let folder = INBOX;
                let delivery =
                    Delivery { account, folder, prefix, unique_id, date, flags, keywords };
                let (layout, thread) = (Layout::new(0, 10 + number % 90), ThreadId::alone(id));
                let content = Content { id, layout, added: 0, thread, shared: false };
                committer.deliver(delivery, content, at(second), &mut batch)?;
                if batch.records().len() > 1 << 20 {
                    committer.commit(batch)?;
                    committer.wait_for_memory();
                    batch = Batch::new(&committer.schema);
                }
            }
            committer.commit(batch)
        });
    }

    /// Leaves room for so many messages in the range of UIDs that the next one is in.
    fn jump_to_end_of_range(&self, room: u32) {
        let account = self.account;
        self.commit(move |committer| {
            committer.load_folder(account, INBOX)?;
            let mut batch = Batch::new(&committer.schema);
            committer.save_folder(account, INBOX, &mut batch);
            committer.commit(batch)?;
            let mut folder = committer.schema.folder(account, INBOX)?.unwrap();
            let end = Block::uids(Block::range(folder.uid_next)).end().0 + 1;
            folder.uid_next = folder.uid_next.max(Uid(end - room));
            let mut batch = Batch::new(&committer.schema);
            let key = schema::folder_key(account, INBOX);
            batch.insert(&committer.schema.folder, key, schema::encode_folder(&folder));
            committer.commit(batch)?;
            committer.folders.forget();
            Ok(())
        });
    }

    /// Packs whatever somebody asked for. Returns how many blocks there are then.
    fn pack(&self) -> usize {
        self.commit(|committer| {
            while committer.pack_some() {}
            Ok(committer.schema.listing.iter().count())
        })
    }

    fn maildrop(&self) -> Arc<Maildrop> {
        block_on(self.store().maildrop(self.account)).unwrap()
    }

    fn uids(&self) -> Vec<Uid> {
        self.maildrop().iter().map(|message| message.uid).collect()
    }

    fn remove(&self, uids: Vec<Uid>, second: u64) -> usize {
        let purge = at(second + 1_000_000);
        block_on(self.store().remove(self.account, INBOX, uids, at(second), purge)).unwrap()
    }

    /// What the maildrop should be.
    fn expected(&self) -> Maildrop {
        let schema = self.store().schema().unwrap();
        let entries = schema.entries(self.account, INBOX, Uid(0), usize::MAX).unwrap();
        let line = |entry: Entry| {
            let summary =
                Summary { number: entry.unique_id.number, octets: entry.octets, uid: entry.uid };
            (summary, entry.unique_id.imported)
        };
        entries.into_iter().map(line).collect()
    }

    /// Compares what there is with the entries. Blocks that were damaged on purpose are none.
    fn check(&self, about: &str) {
        let schema = self.store().schema().unwrap();
        let maildrop = self.maildrop();
        assert_eq!(*maildrop, self.expected(), "{about}");
        assert!(maildrop.iter().is_sorted_by_key(|message| message.number), "{about}");
        for guard in schema.listing.iter() {
            let (key, value) = key_and_value(guard).unwrap();
            let range = u32::from_be_bytes(key[8..].try_into().unwrap());
            let packed = schema.pack(self.account, range).unwrap();
            if *value != b"damaged"[..] {
                assert_eq!(Some(value.to_vec()), packed, "{about}, range {range}");
            }
        }
    }
}

#[test]
fn a_range_is_packed_once_it_is_closed() {
    let mut bench = Bench::new();
    bench.deliver(4_094, 0); // The first is 1.
    assert_eq!(bench.pack(), 0, "a message may come yet");
    bench.deliver(1, 1);
    assert_eq!(bench.pack(), 1);
    bench.deliver(400, 2);
    bench.check("packed");
    bench.reopen();
    bench.check("opened again");
    // A message leaves: its range is read the long way once, and packed again after that.
    bench.remove(vec![Uid(7)], 3);
    assert_eq!(bench.pack(), 0);
    bench.check("removed");
    assert_eq!(bench.pack(), 1, "the login asked for it");
    bench.check("packed again");
    // So is what no login has seen since.
    bench.remove(vec![Uid(8), Uid(4_100)], 4);
    bench.crash();
    assert_eq!(bench.store().schema().unwrap().listing.iter().count(), 0);
    bench.check("after a crash");
    assert_eq!(bench.pack(), 1);
    bench.check("in the end");
}

#[test]
fn a_damaged_block_is_passed_over_and_mended() {
    let mut bench = Bench::new();
    bench.deliver(9_000, 0);
    assert_eq!(bench.pack(), 2);
    for value in [&b"damaged"[..], b""] {
        let account = bench.account;
        bench.commit(move |committer| {
            let mut batch = Batch::new(&committer.schema);
            batch.derive(&committer.schema.listing, listing_key(account, 0), value);
            batch.apply().map_err(failed)
        });
        bench.reopen();
        assert_eq!(*bench.maildrop(), bench.expected());
        assert_eq!(bench.pack(), 2);
        bench.reopen();
        bench.check("mended");
    }
}

/// A large change leaves no memory behind, though it stays below the size at which the engine writes files by itself.
#[test]
fn memory_is_given_back_once_it_is_quiet() {
    let bench = Bench::new();
    bench.deliver(9_000, 0);
    let held = |bench: &Bench| bench.store().schema().unwrap().database.write_buffer_size();
    assert!(held(&bench) > 64 * 1024, "{} octets", held(&bench));
    bench.commit(|committer| {
        // As many changes as fill several memtables.
        committer.held.count(MUCH as usize);
        committer.let_time_pass(QUIET);
        assert!(!committer.held.is_written, "it is not quiet yet");
        committer.let_time_pass(QUIET);
        assert!(committer.held.is_written);
        Ok(())
    });
    for _ in 0..1_000 {
        if held(&bench) < 64 * 1024 {
            break;
        }
        thread::sleep(std::time::Duration::from_millis(10));
    }
    assert!(held(&bench) < 64 * 1024, "{} octets are held", held(&bench));
    bench.commit(|committer| {
        committer.let_time_pass(RELEASE);
        assert!(!committer.held.is_written, "the engine was not made to release it");
        Ok(())
    });
}

/// A login does not walk over the entries that a large removal has taken out.
#[test]
fn a_range_that_a_large_removal_emptied_is_packed_too() {
    let mut bench = Bench::new();
    bench.deliver(12_500, 0);
    assert_eq!(bench.pack(), 3);
    let all: Vec<_> = (1..=12_500).filter(|uid| *uid != 4_200).map(Uid).collect();
    assert_eq!(bench.remove(all, 1), 12_499);
    // It is carried out before anything is brought back.
    assert_eq!(block_on(bench.store().undelete(bench.account, at(2))).unwrap(), 0);
    assert_eq!(bench.pack(), 2, "the second has a message, and the fourth is not closed");
    bench.check("emptied");
    bench.reopen();
    assert_eq!(bench.uids(), [Uid(4_200)]);
    assert_eq!(block_on(bench.store().undelete(bench.account, at(1))).unwrap(), 12_499);
    bench.pack();
    bench.check("brought back");
    bench.reopen();
    assert_eq!(bench.maildrop().len(), 12_500);
    bench.check("opened again");
}

/// Blocks are derived: a table of theirs that cannot be read fails no operation.
#[test]
fn a_damaged_table_of_blocks_keeps_nobody_from_removing() {
    let mut bench = Bench::new();
    bench.deliver(9_000, 0);
    assert_eq!(bench.pack(), 2);
    let directory = bench.commit(|committer| {
        committer.schema.listing.rotate_memtable_and_wait().map_err(failed)?;
        Ok(committer.schema.listing.path().to_owned())
    });
    drop(bench.store.take());
    let files = std::fs::read_dir(directory.join("tables")).unwrap();
    let files: Vec<_> = files.map(|file| file.unwrap().path()).collect();
    assert_eq!(files.len(), 1);
    for file in files {
        // The blocks come first.
        let file = std::fs::OpenOptions::new().write(true).open(file).unwrap();
        file.write_all_at(&[0x5a; 2_000], 100).unwrap();
    }
    bench.reopen();
    let schema = bench.store().schema().unwrap();
    assert!(schema.listing.iter().any(|guard| guard.key().is_err()), "it is not damaged");
    drop(schema);
    assert_eq!(bench.maildrop().len(), 9_000);
    assert_eq!(bench.remove((3..=6_000).map(Uid).collect(), 1), 5_998);
    assert_eq!(*bench.maildrop(), bench.expected());
    assert_eq!(bench.remove((6_001..=6_100).map(Uid).collect(), 2), 100);
    assert_eq!(block_on(bench.store().undelete(bench.account, at(2))).unwrap(), 100);
    assert_eq!(*bench.maildrop(), bench.expected());
    let address = "ana@x.test".parse().unwrap();
    block_on(bench.store().remove_account(&address, at(3), at(9))).unwrap();
    assert_eq!(bench.maildrop().len(), 0);
}

#[test]
fn a_removed_account_leaves_no_block() {
    let bench = Bench::new();
    bench.deliver(4_096, 0);
    assert_eq!(bench.pack(), 1);
    let address = "ana@x.test".parse().unwrap();
    let removed = bench.store().remove_account(&address, at(1), at(9));
    block_on(removed).unwrap();
    assert_eq!(bench.pack(), 0);
    assert_eq!(bench.maildrop().len(), 0);
    assert_eq!(block_on(bench.store().restore_account(bench.account)).unwrap(), 4_096);
    bench.check("restored");
    assert_eq!(bench.maildrop().len(), 4_096);
}

/// Whoever waits at the same moment is served by one reading.
#[test]
fn logins_on_one_mailbox_read_it_once() {
    let mut bench = Bench::new();
    bench.deliver(20_000, 0);
    bench.reopen();
    let open = || {
        thread::scope(|scope| {
            let logins: Vec<_> = (0..20).map(|_| scope.spawn(|| bench.maildrop())).collect();
            logins.into_iter().map(|login| login.join().unwrap()).collect::<Vec<_>>()
        })
    };
    let opened = open();
    assert!(opened.iter().all(|it| Arc::ptr_eq(it, &opened[0])), "it was read twice");
    assert_eq!(opened[0].len(), 20_000);
    bench.deliver(1, 1);
    let after = open();
    assert!(after.iter().all(|it| it.len() == 20_001), "what was committed before is there");
    let blocks = opened[0].blocks().zip(after[0].blocks());
    let shared = blocks.filter(|(one, other)| Arc::ptr_eq(one, other)).count();
    assert_eq!(shared, 4, "what has not changed is shared");
    assert_eq!(opened[0].len(), 20_000, "a session's view stays as it is");
    bench.remove(vec![Uid(5_000)], 2);
    let last = bench.maildrop();
    assert_eq!(last.len(), 20_000);
    let blocks = after[0].blocks().zip(last.blocks());
    assert_eq!(blocks.filter(|(one, other)| Arc::ptr_eq(one, other)).count(), 4);
}

/// Nobody sees a mailbox as it was before a change that was acknowledged, however many read meanwhile.
#[test]
fn a_login_sees_what_was_acknowledged() {
    let bench = Bench::new();
    thread::scope(|scope| {
        let readers: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    let mut length = 0;
                    while length < 100 {
                        let now = bench.maildrop().len();
                        assert!(now >= length, "a message is gone");
                        length = now;
                    }
                })
            })
            .collect();
        for count in 1..=100 {
            bench.deliver(1, count);
            assert_eq!(bench.maildrop().len() as u64, count);
        }
        readers.into_iter().for_each(|reader| reader.join().unwrap());
    });
}

#[test]
fn random_operations() {
    for seed in [3, 5] {
        run(seed);
    }
}

fn run(seed: u64) {
    let (mut bench, mut random) = (Bench::new(), Random(seed));
    let mut packed = 0;
    for step in 0..60 {
        let about = format!("seed {seed}, step {step}");
        let all = bench.uids();
        let some = |random: &mut Random, one_in| {
            all.iter().copied().filter(|_| random.below(one_in) == 0).collect::<Vec<_>>()
        };
        match random.below(12) {
            0..=3 => {
                bench.jump_to_end_of_range(random.below(600) as u32 + 1);
                bench.deliver(random.below(900), step);
            }
            4 => drop(bench.remove(some(&mut random, 200), step)),
            5 => drop(bench.remove(some(&mut random, 2), step)),
            6 => {
                let uids = some(&mut random, 100);
                let store = bench.store();
                for (from, to) in [(INBOX, FolderId::JUNK), (FolderId::JUNK, INBOX)] {
                    let uids = match from {
                        INBOX => uids.clone(),
                        _ => {
                            let junk = store.entries(bench.account, from, Uid(0), 20);
                            block_on(junk).unwrap().iter().map(|entry| entry.uid).collect()
                        }
                    };
                    let (now, purge) = (at(step), at(step + 1_000_000));
                    let moved = store.move_entries(bench.account, from, to, uids, now, purge);
                    block_on(moved).unwrap();
                }
            }
            7 => {
                let since = at(step.saturating_sub(random.below(9)));
                block_on(bench.store().undelete(bench.account, since)).unwrap();
            }
            8 => bench.reopen(),
            9 => bench.crash(),
            10 => {
                let uids = some(&mut random, 50);
                let (now, purge) = (at(step), at(step + 1_000_000));
                block_on(bench.store().retrieved(bench.account, uids, now)).unwrap();
                block_on(bench.store().expire(at(step + 1), now, purge)).unwrap();
            }
            _ => {
                let (account, which) = (bench.account, random.below(20) as u32);
                bench.commit(move |committer| {
                    let mut batch = Batch::new(&committer.schema);
                    let key = listing_key(account, which);
                    if committer.schema.listing.contains_key(key).unwrap() {
                        batch.derive(&committer.schema.listing, key, &b"damaged"[..]);
                    }
                    batch.apply().map_err(failed)
                });
            }
        }
        if random.below(3) > 0 {
            bench.check(&about);
        }
        if random.below(2) == 0 {
            packed = bench.pack().max(packed);
        }
    }
    bench.check("in the end");
    assert!(packed > 2, "nothing was packed");
}

/// A small generator of numbers (xorshift64*), so that a failure's seed repeats it.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % bound
    }
}
