//! Mailboxes and folders.

use super::{Random, World, told};
use crate::{
    AccountId, FlagChange, Flags, FolderId, Folders as _, Mailboxes as _, MemoryStore, ModSeq,
    Store, Uid,
    conformance::{INBOX, add, at, folders, message, read, sweep, uids},
};
use posta_mail::Timestamp;

/// Three accounts and their mail.
#[derive(Debug, Default)]
pub(super) struct MailboxWorld {
    ids: Vec<AccountId>,
    /// The mod-sequence up to which a client of each account knows everything.
    known: Vec<ModSeq>,
    /// Seconds that passed by restarts.
    passed: i64,
}

#[derive(Debug)]
pub(super) struct MailboxStep {
    what: What,
    account: AccountId,
    folder: FolderId,
    to_folder: FolderId,
    some: Vec<Uid>,
    now: Timestamp,
    /// The time of the step, before which something happened, and a later one.
    since: Timestamp,
    purge: Timestamp,
    known: ModSeq,
    limit: usize,
}

#[derive(Debug, Clone)]
enum What {
    Accept { number: u64, content: Vec<u8>, to: Vec<AccountId> },
    Remove,
    Undelete,
    Sweep,
    Move,
    Flag(Flags),
    Expire,
    AddFolder(String),
    RemoveFolder,
    RenameFolder(String),
}

impl World for MailboxWorld {
    type Operation = MailboxStep;

    async fn begin(&mut self, both: [&dyn Store; 2]) {
        for name in ["ana@x.test", "bob@x.test", "cid@y.test"] {
            let added = [add(both[0], name).await, add(both[1], name).await];
            assert_eq!(added[0], added[1]);
            self.ids.push(added[0]);
            self.known.push(ModSeq(0));
        }
    }

    async fn draw(
        &mut self,
        reference: &MemoryStore,
        step: u64,
        random: &mut Random,
    ) -> MailboxStep {
        let whose = random.below(3) as usize;
        let (account, step_time) = (self.ids[whose], step as i64 + self.passed);
        if random.below(3) == 0 {
            let told = folders::changes(reference, account, self.known[whose], 99).await;
            self.known[whose] = told.map_or(self.known[whose], |(.., up_to)| up_to);
        }
        let all = reference.folders(account).await.unwrap();
        let (folder, to_folder) = (random.pick(&all).id, random.pick(&all).id);
        let visible = reference.entries(account, folder, Uid(0), 999).await.unwrap();
        let visible = visible.into_iter().map(|entry| entry.uid);
        let some = visible.filter(|_| random.below(3) == 0).collect();
        let to: Vec<_> = self.ids.iter().copied().filter(|_| random.below(2) == 0).collect();
        let content = vec![b'x'; random.below(40) as usize + 1];
        let name = format!("f{}", random.below(5));
        let what = match random.below(16) {
            0..=4 => What::Accept { number: step, content, to },
            5..=6 => What::Remove,
            7 => What::Undelete,
            8 => What::Sweep,
            9..=10 => What::Move,
            11..=12 => What::Flag(Flags(random.below(64) as u32)),
            13 => What::Expire,
            14 => What::AddFolder(name),
            _ if step.is_multiple_of(2) => What::RemoveFolder,
            _ => What::RenameFolder(name),
        };
        let now = at(random.below(50) as i64 + step_time);
        let (since, purge) = (at(step_time), at(step_time + 60));
        let (known, limit) = (self.known[whose], random.below(9) as usize + 1);
        MailboxStep { what, account, folder, to_folder, some, now, since, purge, known, limit }
    }

    async fn run(&self, store: &dyn Store, operation: &MailboxStep) -> String {
        let MailboxStep { account, known, limit, .. } = *operation;
        let done = operation.run(store).await;
        format!("{done} {:?}", folders::changes(store, account, known, limit).await)
    }

    async fn shown(&self, store: &dyn Store, step: u64) -> Vec<String> {
        let mut lines = Vec::new();
        for &account in &self.ids {
            let maildrop = store.maildrop(account).await.unwrap();
            lines.push(format!("{maildrop:?} {:?}", store.usage(account).await.unwrap()));
        }
        // The octets of one account are enough at a time.
        let account = self.ids[step as usize % self.ids.len()];
        for message in store.maildrop(account).await.unwrap().iter() {
            lines.push(format!("{:?}", read(store, account, message.uid).await));
        }
        for folder in store.folders(account).await.unwrap() {
            let from = Uid(step as u32 % 5);
            let entries = store.entries(account, folder.id, from, 99).await.unwrap();
            let listed = store.listed(account, folder.id).await.unwrap();
            assert_eq!((listed.len() as u64, listed.octets()), (folder.messages, folder.octets));
            lines.push(format!("{folder:?} {entries:?} {listed:?}"));
        }
        // Names of before lead to the same messages.
        for uid in (1..=step as u32 / 4).map(Uid) {
            let entry = store.entry(account, INBOX, uid).await.unwrap();
            lines.push(format!("{uid:?} {entry:?}"));
        }
        lines
    }

    fn restarted(&mut self) {
        self.passed += 100;
    }
}

impl MailboxStep {
    async fn run(&self, store: &dyn Store) -> String {
        let &Self { account, folder, to_folder, now, since, purge, .. } = self;
        let some = self.some.clone();
        match self.what.clone() {
            What::Accept { to, .. } if to.is_empty() => String::new(),
            What::Accept { number, content, to } => {
                let mut message = message(number, now, &content, &to);
                message.deliveries.iter_mut().for_each(|it| it.folder = to_folder);
                told(store.accept(message).await)
            }
            What::Remove => told(store.remove(account, folder, some, now, purge).await),
            What::Undelete => told(store.undelete(account, since).await),
            What::Sweep => sweep(store, now).await.to_string(),
            What::Move => {
                told(store.move_entries(account, folder, to_folder, some, now, purge).await)
            }
            What::Flag(flags) => {
                let change = FlagChange { add: flags, replaces: true, ..FlagChange::default() };
                told(store.set_flags(account, folder, some, change, None, now).await)
            }
            What::Expire => {
                store.retrieved(account, uids(store, account).await, now).await.unwrap();
                told(store.expire(since, now, purge).await)
            }
            What::AddFolder(name) => {
                told(store.add_folder(account, folders::name(&name), None, now).await)
            }
            What::RemoveFolder => told(store.remove_folder(account, folder).await),
            What::RenameFolder(name) => {
                told(store.rename_folder(account, folder, folders::name(&name), now).await)
            }
        }
    }
}
