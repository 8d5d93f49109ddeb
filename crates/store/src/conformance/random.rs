//! Long random sequences of operations, compared with the in-memory reference.

use super::{INBOX, add, at, folders, message, read, sweep, uids};
use crate::{AccountId, FlagChange, Flags, FolderId, MemoryStore, ModSeq, Store, Summary, Uid};

/// Does the same random things to a store and to the reference, and compares what they show.
pub(super) async fn run(store: &dyn Store, seed: u64) {
    let reference = MemoryStore::new();
    let both: [&dyn Store; 2] = [store, &reference];
    let mut random = Random(seed);
    let names = ["ana@x.test", "bob@x.test", "cid@y.test"];
    let mut ids = Vec::new();
    for name in names {
        let added = [add(both[0], name).await, add(both[1], name).await];
        assert_eq!(added[0], added[1]);
        ids.push(added[0]);
    }
    let mut known: Vec<ModSeq> = vec![ModSeq(0); 3];
    for step in 0..300u64 {
        let now = at(random.below(50) as i64 + step as i64);
        let whose = random.below(3) as usize;
        let account = ids[whose];
        let choice = random.below(16);
        let asked = Asked::draw(&reference, account, &ids, &mut random).await;
        let mut counts = Vec::new();
        for store in both {
            counts.push(asked.does(store, choice, (step, now), account).await);
        }
        assert_eq!(counts[0], counts[1], "seed {seed}, step {step}, operation {choice}");
        compare(both, &ids, seed, step).await;
        let limit = random.below(9) as usize + 1;
        let told = folders::changes(both[0], account, known[whose], limit).await;
        let expected = folders::changes(both[1], account, known[whose], limit).await;
        assert_eq!(told, expected, "seed {seed}, step {step}, operation {choice}");
        if random.below(3) == 0 {
            known[whose] = told.map_or_else(|| known[whose], |(.., up_to)| up_to);
        }
    }
}

/// What is asked of both stores.
struct Asked {
    folder: FolderId,
    to_folder: FolderId,
    some: Vec<Uid>,
    content: Vec<u8>,
    to: Vec<AccountId>,
    name: String,
    flags: u64,
}

impl Asked {
    async fn draw(
        reference: &MemoryStore,
        account: AccountId,
        ids: &[AccountId],
        random: &mut Random,
    ) -> Self {
        use crate::{Folders, Mailboxes};
        let all = reference.folders(account).await.unwrap();
        let mut pick = || all[random.below(all.len() as u64) as usize].clone();
        let (folder, to_folder) = (pick().id, pick().id);
        let visible = reference.entries(account, folder, Uid(0), 999).await.unwrap();
        let visible = visible.into_iter().map(|entry| entry.uid);
        let some = visible.filter(|_| random.below(3) == 0).collect();
        let content = vec![b'x'; random.below(40) as usize + 1];
        let to = ids.iter().copied().filter(|_| random.below(2) == 0).collect();
        let (name, flags) = (format!("f{}", random.below(5)), random.below(64));
        Self { folder, to_folder, some, content, to, name, flags }
    }

    async fn does(
        &self,
        store: &dyn Store,
        choice: u64,
        (step, now): (u64, posta_mail::Timestamp),
        account: AccountId,
    ) -> usize {
        let (some, purge) = (self.some.clone(), at(step as i64 + 60));
        match choice {
            0..=4 if self.to.is_empty() => 0,
            0..=4 => {
                let mut message = message(step, now, &self.content, &self.to);
                message.deliveries.iter_mut().for_each(|it| it.folder = self.to_folder);
                store.accept(message).await.unwrap();
                0
            }
            5..=6 => store.remove(account, self.folder, some, now, purge).await.unwrap(),
            7 => store.undelete(account, at(step as i64)).await.unwrap(),
            8 => sweep(store, now).await,
            9..=10 => {
                let (from, to) = (self.folder, self.to_folder);
                store.move_entries(account, from, to, some, now, purge).await.unwrap().len()
            }
            11..=12 => {
                let flags = Flags(self.flags as u32);
                let change = FlagChange { add: flags, replaces: true, ..FlagChange::default() };
                let told = store.set_flags(account, self.folder, some, change, None, now).await;
                told.unwrap().changed.len()
            }
            13 => {
                store.retrieved(account, uids(store, account).await, now).await.unwrap();
                store.expire(at(step as i64), now, purge).await.unwrap()
            }
            14 => {
                let name = folders::name(&self.name);
                store.add_folder(account, name, None, now).await.map_or(0, |id| id.0 as usize)
            }
            _ => match step % 2 {
                0 => usize::from(store.remove_folder(account, self.folder).await.is_ok()),
                _ => {
                    let name = folders::name(&self.name);
                    let renamed = store.rename_folder(account, self.folder, name, now).await;
                    usize::from(renamed.is_ok())
                }
            },
        }
    }
}

async fn compare(both: [&dyn Store; 2], ids: &[AccountId], seed: u64, step: u64) {
    for &account in ids {
        let maildrops =
            [both[0].maildrop(account).await.unwrap(), both[1].maildrop(account).await.unwrap()];
        assert_eq!(maildrops[0], maildrops[1], "seed {seed}, step {step}");
        let usage = both[0].usage(account).await.unwrap();
        assert_eq!(usage, both[1].usage(account).await.unwrap(), "seed {seed}, step {step}");
        for Summary { uid, .. } in maildrops[0].iter() {
            let (one, other) =
                (read(both[0], account, uid).await, read(both[1], account, uid).await);
            assert_eq!(one, other, "seed {seed}, step {step}");
        }
        let folders = both[0].folders(account).await.unwrap();
        assert_eq!(folders, both[1].folders(account).await.unwrap(), "seed {seed}, step {step}");
        for folder in folders {
            let from = Uid(step as u32 % 5);
            let entries = both[0].entries(account, folder.id, from, 99).await.unwrap();
            let expected = both[1].entries(account, folder.id, from, 99).await.unwrap();
            assert_eq!(entries, expected, "seed {seed}, step {step}");
            let listed = both[0].listed(account, folder.id).await.unwrap();
            let expected = both[1].listed(account, folder.id).await.unwrap();
            assert_eq!(listed, expected, "seed {seed}, step {step}");
            assert_eq!((listed.len() as u64, listed.octets()), (folder.messages, folder.octets));
        }
        // Names of before lead to the same messages.
        for uid in (1..=step as u32 / 4).map(Uid) {
            let entry = both[0].entry(account, INBOX, uid).await.unwrap();
            let expected = both[1].entry(account, INBOX, uid).await.unwrap();
            assert_eq!(entry, expected, "seed {seed}, step {step}");
        }
    }
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
