//! Removals of more messages than a store may want to remove in one go: nobody sees a part of them.

use super::{INBOX, add, at, folders, message, read, sweep, uids, unique_ids};
use crate::{AccountId, FlagChange, Flags, FolderId, ModSeq, Store, StoreError, Uid, Usage};

/// Messages of the mailbox.
const MANY: u32 = 2_500;

cases![
    many_go_at_once,
    many_of_two_folders_go_together,
    many_come_back,
    many_are_purged,
    an_account_with_many_goes_and_comes_back,
];

/// Puts many messages into an inbox, one content in all of them, and one more.
async fn fill(store: &dyn Store, account: AccountId) -> Vec<Uid> {
    let to = vec![account; MANY as usize];
    // No two messages have the same id.
    let number = 100 * account.0;
    store.accept(message(number, at(0), b"many\r\n", &to)).await.unwrap();
    store.accept(message(number + 1, at(1), b"one\r\n", &[account])).await.unwrap();
    (1..=MANY).map(Uid).collect()
}

async fn many_go_at_once(store: &dyn Store) {
    let (ana, bob) = (add(store, "ana@x.test").await, add(store, "bob@x.test").await);
    let many = fill(store, ana).await;
    fill(store, bob).await;
    store.set_flags(ana, INBOX, vec![Uid(7)], seen(), None, at(2)).await.unwrap();
    let work = store.add_folder(ana, folders::name("Work"), None, at(2)).await.unwrap();
    store.move_entries(ana, INBOX, work, vec![Uid(9)], at(2), at(99)).await.unwrap();
    let session = store.maildrop(ana).await.unwrap();
    let before = folders::changes(store, ana, ModSeq(0), 9_999).await.unwrap();
    let known = before.2;

    // Named twice, moved away, or never there.
    let asked = [&many[..], &many[..5], &[Uid(MANY + 9)]].concat();
    let removed = store.remove(ana, INBOX, asked, at(3), at(99)).await.unwrap();
    assert_eq!(removed, MANY as usize - 1);
    let last = Uid(MANY + 1);
    assert_eq!(uids(store, ana).await, [last]);
    assert_eq!(store.entries(ana, INBOX, Uid(0), 99).await.unwrap().len(), 1);
    assert_eq!(store.entries(ana, work, Uid(0), 99).await.unwrap().len(), 1);
    let octets = "Delivered-To: 1\r\none\r\n".len() as u64 * 2 + 1;
    assert_eq!(store.usage(ana).await.unwrap(), Usage { messages: 2, octets });
    let inbox = store.folders(ana).await.unwrap()[0].clone();
    assert_eq!((inbox.messages, inbox.unseen, inbox.uid_next), (1, 1, Uid(MANY + 2)));
    assert_eq!(uids(store, bob).await.len(), MANY as usize + 1, "it is another mailbox");

    // Whoever opened it before reads on; nothing else can be done with what is gone.
    assert_eq!(session.len(), MANY as usize);
    read(store, ana, Uid(8)).await;
    let told = store.set_flags(ana, INBOX, many.clone(), seen(), None, at(4)).await.unwrap();
    assert_eq!((told.changed, told.refused), (vec![], vec![]));
    let some = many[..50].to_vec();
    let moved = store.move_entries(ana, INBOX, work, some.clone(), at(4), at(99)).await.unwrap();
    assert_eq!(moved, []);
    assert_eq!(store.remove(ana, INBOX, many.clone(), at(4), at(99)).await.unwrap(), 0);
    store.retrieved(ana, some, at(4)).await.unwrap();
    assert_eq!(store.expire(at(5), at(5), at(99)).await.unwrap(), 0);

    // Clients hear of each name, in as many steps as they like.
    for limit in [9_999, 700] {
        let (mut since, mut vanished) = (known, Vec::new());
        loop {
            let told = store.changes_since(ana, since, limit).await.unwrap().unwrap();
            assert_eq!(told.entries, [], "nothing is new");
            vanished.extend(told.vanished.iter().map(|&(folder, uid)| (folder, uid)));
            since = told.up_to;
            if told.is_all {
                break;
            }
        }
        let expected = many.iter().filter(|uid| uid.0 != 9).map(|&uid| (INBOX, uid));
        assert_eq!(vanished, expected.collect::<Vec<_>>(), "{limit} at a time");
    }
    // What arrives meanwhile is of later.
    store.accept(message(3, at(3), b"new\r\n", &[ana])).await.unwrap();
    assert_eq!(uids(store, ana).await, [last, Uid(MANY + 2)]);
    assert_eq!(store.folders(ana).await.unwrap()[0].messages, 2);
}

async fn many_of_two_folders_go_together(store: &dyn Store) {
    let ana = add(store, "ana@x.test").await;
    let many = fill(store, ana).await;
    let junk = FolderId::JUNK;
    let moved = store.move_entries(ana, INBOX, junk, many[..9].to_vec(), at(2), at(99)).await;
    let junked: Vec<_> = moved.unwrap().into_iter().map(|(_, uid)| uid).collect();
    // A few, which any store removes at once, and many.
    for (count, time) in [(2, 3), (many.len(), 4)] {
        let names =
            vec![(INBOX, many[many.len() - count..].to_vec()), (junk, junked[..4].to_vec())];
        let removed = store.remove_from(ana, names, at(time), at(99)).await.unwrap();
        assert_eq!(removed, if count == 2 { 2 + 4 } else { many.len() - 9 + 4 });
        let left = uids(store, ana).await.len();
        assert_eq!(left, if count == 2 { many.len() - 9 + 1 - 2 } else { 1 });
        assert_eq!(store.listed(ana, junk).await.unwrap().len(), 5);
        assert_eq!(store.undelete(ana, at(time)).await.unwrap(), removed);
        let junk = store.listed(ana, junk).await.unwrap();
        assert_eq!(junk.len(), 9);
    }
    assert_eq!(store.remove_from(ana, Vec::new(), at(5), at(99)).await.unwrap(), 0);
}

async fn many_come_back(store: &dyn Store) {
    let ana = add(store, "ana@x.test").await;
    let many = fill(store, ana).await;
    let ids = unique_ids(store, ana).await;
    store.remove(ana, INBOX, vec![many[4]], at(2), at(99)).await.unwrap();
    // Every other, so that names of both kinds stand side by side.
    let odd: Vec<_> = many.iter().copied().filter(|uid| uid.0 % 2 == 1).collect();
    let count = store.remove(ana, INBOX, odd.clone(), at(3), at(99)).await.unwrap();
    assert_eq!(count, odd.len() - 1);
    assert_eq!(store.remove(ana, INBOX, many.clone(), at(4), at(99)).await.unwrap(), 1_250);
    assert_eq!(store.undelete(ana, at(3)).await.unwrap(), MANY as usize - 1);
    let expected = [&ids[..4], &ids[5..]].concat();
    assert_eq!(unique_ids(store, ana).await, expected, "each where it was");
    assert_eq!(store.undelete(ana, at(3)).await.unwrap(), 0);
    let count = u64::from(MANY);
    assert_eq!(store.usage(ana).await.unwrap().messages, count);
    // An older session finds them, though they are called otherwise.
    read(store, ana, many[0]).await;
    assert_eq!(store.remove(ana, INBOX, many, at(5), at(99)).await.unwrap(), MANY as usize - 1);
    assert_eq!(uids(store, ana).await, [Uid(MANY + 1)]);
}

async fn many_are_purged(store: &dyn Store) {
    let ana = add(store, "ana@x.test").await;
    let many = fill(store, ana).await;
    let content = store.entry(ana, INBOX, many[0]).await.unwrap().unwrap().content;
    store.remove(ana, INBOX, many.clone(), at(3), at(50)).await.unwrap();
    assert_eq!(sweep(store, at(49)).await, 0);
    assert_eq!(sweep(store, at(50)).await, MANY as usize);
    assert_eq!(store.chunk(content, 0).await.unwrap(), None);
    assert_eq!(store.entry(ana, INBOX, many[0]).await.unwrap(), None);
    assert_eq!(store.undelete(ana, at(0)).await.unwrap(), 0);
    assert_eq!(store.changes_since(ana, ModSeq(1), 9).await.unwrap(), None, "that is forgotten");
    assert_eq!(uids(store, ana).await, [Uid(MANY + 1)]);
}

async fn an_account_with_many_goes_and_comes_back(store: &dyn Store) {
    let ana = add(store, "ana@x.test").await;
    let many = fill(store, ana).await;
    let junk = FolderId::JUNK;
    store.move_entries(ana, INBOX, junk, many[..9].to_vec(), at(2), at(99)).await.unwrap();
    store.remove(ana, INBOX, many[10..20].to_vec(), at(3), at(99)).await.unwrap();
    let ids = unique_ids(store, ana).await;
    let name = super::address("ana@x.test");
    store.remove_account(&name, at(4), at(50)).await.unwrap();
    assert_eq!(store.account(&name).await.unwrap(), None);
    assert_eq!(uids(store, ana).await, []);
    assert_eq!(store.usage(ana).await.unwrap(), Usage::default());
    let refused = store.accept(message(8, at(4), b"x\r\n", &[ana])).await;
    assert!(matches!(refused, Err(StoreError::NoSuchAccount)));
    let another = add(store, "ana@x.test").await;
    assert_eq!(store.usage(another).await.unwrap(), Usage::default());
    assert!(matches!(store.restore_account(ana).await, Err(StoreError::AccountExists(_))));
    store.remove_account(&name, at(5), at(60)).await.unwrap();

    assert_eq!(store.restore_account(ana).await.unwrap(), MANY as usize + 1 - 10);
    assert_eq!(unique_ids(store, ana).await, ids);
    let folders = store.folders(ana).await.unwrap();
    let counts: Vec<_> = folders.iter().map(|folder| (folder.messages, folder.unseen)).collect();
    assert_eq!(counts, [(ids.len() as u64, ids.len() as u64), (9, 9)]);
    store.remove_account(&name, at(6), at(50)).await.unwrap();
    sweep(store, at(60)).await;
    assert!(matches!(store.restore_account(ana).await, Err(StoreError::NoSuchAccount)));
    sweep(store, at(99)).await;
    assert_eq!(store.entry(ana, INBOX, Uid(100)).await.unwrap(), None);
}

fn seen() -> FlagChange {
    FlagChange { add: Flags::SEEN, ..FlagChange::default() }
}
