//! Folders, what is in them, and what has changed.

use super::{INBOX, add, at, message, read, sweep, uids, unique_ids};
use crate::{
    AccountId, FlagChange, Flags, Folder, FolderId, FolderName, Keyword, ModSeq, Role, Store,
    StoreError, Uid,
};

cases![
    are_there_from_the_start,
    are_named_and_removed,
    messages_move,
    flags_are_kept,
    changes_are_told,
    changes_are_forgotten,
];

pub(super) fn name(text: &str) -> FolderName {
    text.parse().unwrap()
}

/// A change that adds flags and no keywords.
fn set(flags: Flags) -> FlagChange {
    FlagChange { add: flags, ..FlagChange::default() }
}

async fn folder(store: &dyn Store, account: AccountId, id: FolderId) -> Folder {
    let folders = store.folders(account).await.unwrap();
    folders.into_iter().find(|folder| folder.id == id).unwrap()
}

async fn in_folder(store: &dyn Store, account: AccountId, id: FolderId) -> Vec<u32> {
    let entries = store.entries(account, id, Uid(0), 99).await.unwrap();
    entries.into_iter().map(|entry| entry.uid.0).collect()
}

async fn are_there_from_the_start(store: &dyn Store) {
    let (ana, bob) = (add(store, "ana@x.test").await, add(store, "bob@x.test").await);
    let folders = store.folders(ana).await.unwrap();
    let told: Vec<_> = folders.iter().map(|it| (it.id, it.name.as_str(), it.role)).collect();
    let expected =
        [(FolderId::INBOX, "INBOX", Some(Role::Inbox)), (FolderId::JUNK, "Junk", Some(Role::Junk))];
    assert_eq!(told, expected);
    assert!(folders.iter().all(|it| (it.uid_next, it.messages, it.octets) == (Uid(1), 0, 0)));
    let of_bob = folder(store, bob, INBOX).await.uid_validity;
    assert!(
        of_bob > folders[0].uid_validity && folders[0].uid_validity > 0,
        "a later one's is greater"
    );
    assert!(matches!(store.folders(AccountId(99)).await, Err(StoreError::NoSuchAccount)));
    let mut to_junk = message(1, at(0), b"x\r\n", &[ana, bob]);
    to_junk.deliveries[0].folder = FolderId::JUNK;
    to_junk.deliveries[1].folder = FolderId(7);
    store.accept(to_junk).await.unwrap();
    let junk = folder(store, ana, FolderId::JUNK).await;
    assert_eq!((junk.messages, junk.octets, junk.unseen, junk.uid_next), (1, 20, 1, Uid(2)));
    assert_eq!((uids(store, ana).await.len(), store.usage(ana).await.unwrap().messages), (0, 1));
    assert_eq!(uids(store, bob).await, [Uid(1)], "where the folder is gone, it is the inbox");
    let entry = store.entries(ana, FolderId::JUNK, Uid(1), 9).await.unwrap().pop().unwrap();
    assert_eq!((entry.folder, entry.created, entry.mod_seq), (junk.id, junk.mod_seq, junk.mod_seq));
    assert_eq!(store.entry(ana, INBOX, Uid(1)).await.unwrap(), None);
}

async fn are_named_and_removed(store: &dyn Store) {
    let ana = add(store, "ana@x.test").await;
    let add = |text: &str, role| store.add_folder(ana, name(text), role, at(0));
    let work = add("Work", None).await.unwrap();
    let below = add("Work/Done", Some(Role::Archive)).await.unwrap();
    assert!(work < below && FolderId::JUNK < work);
    for (text, role) in [("Work", None), ("inbox", None), ("Old", Some(Role::Archive))] {
        assert!(matches!(add(text, role).await, Err(StoreError::FolderExists(_))), "{text}");
    }
    assert!(matches!(add("None/x", None).await, Err(StoreError::NoSuchFolder)));
    let gone = store.add_folder(AccountId(99), name("a"), None, at(0)).await;
    assert!(matches!(gone, Err(StoreError::NoSuchAccount)));
    let before = folder(store, ana, below).await;
    let rename = |id, text: &str| store.rename_folder(ana, id, name(text), at(0));
    rename(work, "Office").await.unwrap();
    let after = folder(store, ana, below).await;
    assert_eq!((after.name.as_str(), after.role), ("Office/Done", Some(Role::Archive)));
    assert!(after.uid_validity > before.uid_validity, "another may have had the name");
    assert!(matches!(rename(work, "Junk").await, Err(StoreError::FolderExists(_))));
    assert!(matches!(rename(work, "Office/x").await, Err(StoreError::FolderNotEmpty(_))));
    assert!(matches!(rename(below, "Work/x").await, Err(StoreError::NoSuchFolder)));
    assert!(matches!(rename(FolderId(9), "x").await, Err(StoreError::NoSuchFolder)));
    assert!(matches!(store.remove_folder(ana, work).await, Err(StoreError::FolderNotEmpty(_))));
    for fixed in [INBOX, FolderId::JUNK] {
        assert!(matches!(rename(fixed, "x").await, Err(StoreError::FolderIsFixed(_))));
        let removed = store.remove_folder(ana, fixed).await;
        assert!(matches!(removed, Err(StoreError::FolderIsFixed(_))));
    }
    let mut to_below = message(1, at(0), b"x\r\n", &[ana]);
    to_below.deliveries[0].folder = below;
    store.accept(to_below).await.unwrap();
    assert!(matches!(store.remove_folder(ana, below).await, Err(StoreError::FolderNotEmpty(_))));
    store.remove(ana, below, vec![Uid(1)], at(1), at(9)).await.unwrap();
    store.remove_folder(ana, below).await.unwrap();
    store.remove_folder(ana, work).await.unwrap();
    assert!(matches!(store.remove_folder(ana, work).await, Err(StoreError::NoSuchFolder)));
    let again = add("Work", None).await.unwrap();
    assert!(again > below, "an id is not used again");
    assert_eq!(store.undelete(ana, at(0)).await.unwrap(), 1);
    assert_eq!(uids(store, ana).await, [Uid(1)], "what was in it comes back into the inbox");
}

async fn messages_move(store: &dyn Store) {
    let ana = add(store, "ana@x.test").await;
    let work = store.add_folder(ana, name("Work"), None, at(0)).await.unwrap();
    for number in 0..4 {
        let mut moved = message(number, at(0), b"x\r\n", &[ana]);
        moved.deliveries[0].unique_id = (number == 1).then(|| "old".to_owned());
        store.accept(moved).await.unwrap();
    }
    let (all, ids) = (uids(store, ana).await, unique_ids(store, ana).await);
    let flags = set(Flags::SEEN);
    store.set_flags(ana, INBOX, vec![all[1]], flags, None, at(1)).await.unwrap();
    let before = store.entry(ana, INBOX, all[1]).await.unwrap().unwrap();
    let some = vec![all[2], all[1], all[1], Uid(77)];
    let moved = store.move_entries(ana, INBOX, work, some, at(2), at(50)).await.unwrap();
    assert_eq!(moved, [(all[1], Uid(1)), (all[2], Uid(2))]);
    assert_eq!(unique_ids(store, ana).await, [&ids[0][..], &ids[3]]);
    assert_eq!(in_folder(store, ana, work).await, [1, 2]);
    let (inbox, in_work) = (folder(store, ana, INBOX).await, folder(store, ana, work).await);
    assert_eq!((inbox.messages, inbox.unseen, inbox.uid_next), (2, 2, Uid(5)));
    assert_eq!((in_work.messages, in_work.unseen, in_work.octets), (2, 1, 40));
    let after = store.entry(ana, work, Uid(1)).await.unwrap().unwrap();
    assert_eq!(after.unique_id, before.unique_id);
    assert_eq!((after.flags, after.content), (before.flags, before.content));
    assert!(after.created > before.mod_seq && after.created == after.mod_seq);
    // A session that opened before reads it still, and what it removes stays where it was moved.
    let read_late = store.entry(ana, INBOX, all[1]).await.unwrap();
    assert_eq!(read_late, Some(after));
    read(store, ana, all[1]).await;
    assert_eq!(store.remove(ana, INBOX, vec![all[1]], at(3), at(99)).await.unwrap(), 0);
    let back = store.move_entries(ana, work, INBOX, vec![Uid(1)], at(4), at(50)).await.unwrap();
    assert_eq!(back, [(Uid(1), Uid(5))]);
    assert_eq!(unique_ids(store, ana).await, [&ids[0][..], "old", &ids[3]], "where it was");
    assert_eq!(sweep(store, at(50)).await, 0, "no message goes");
    assert_eq!(store.entry(ana, INBOX, all[1]).await.unwrap(), None, "the old name does");
    let to_none = store.move_entries(ana, INBOX, FolderId(9), vec![Uid(5)], at(5), at(50)).await;
    assert!(matches!(to_none, Err(StoreError::NoSuchFolder)));
    let nowhere = store.move_entries(ana, INBOX, INBOX, vec![Uid(5)], at(5), at(50)).await;
    assert_eq!(nowhere.unwrap(), []);
    assert_eq!(store.usage(ana).await.unwrap().messages, 4);
}

async fn flags_are_kept(store: &dyn Store) {
    let ana = add(store, "ana@x.test").await;
    for number in 0..3 {
        store.accept(message(number, at(0), b"x\r\n", &[ana])).await.unwrap();
    }
    let [one, two, three] = uids(store, ana).await[..] else { panic!("three messages") };
    let word: Keyword = "$Forwarded".parse().unwrap();
    let change = FlagChange {
        add: Flags::SEEN | Flags::FLAGGED,
        add_keywords: vec![word.clone()],
        ..FlagChange::default()
    };
    let all = vec![one, two, two, Uid(9)];
    let told = store.set_flags(ana, INBOX, all, change.clone(), None, at(1)).await.unwrap();
    assert_eq!((told.changed, told.refused), (vec![one, two], vec![]));
    let told = store.set_flags(ana, INBOX, vec![one], change, None, at(1)).await.unwrap();
    assert_eq!(told.changed, [], "it has them");
    let entry = store.entry(ana, INBOX, one).await.unwrap().unwrap();
    assert_eq!((entry.flags, &entry.keywords), (Flags::SEEN | Flags::FLAGGED, &vec![word]));
    assert!(entry.mod_seq > entry.created);
    assert_eq!(folder(store, ana, INBOX).await.unseen, 1);
    // The one of two that changed is left as it is.
    let since = store.entry(ana, INBOX, one).await.unwrap().unwrap().mod_seq;
    let none = FlagChange { replaces: true, ..FlagChange::default() };
    let told = store.set_flags(ana, INBOX, vec![one, two], none, Some(since), at(2)).await.unwrap();
    assert_eq!((told.changed, told.refused), (vec![one], vec![two]));
    let entry = store.entry(ana, INBOX, one).await.unwrap().unwrap();
    assert_eq!((entry.flags, entry.keywords.len()), (Flags::NONE, 0));
    // What POP3 noted is nobody else's to change, and the other way round.
    store.retrieved(ana, vec![three], at(3)).await.unwrap();
    let change = FlagChange { replaces: true, add: Flags::DRAFT, ..FlagChange::default() };
    store.set_flags(ana, INBOX, vec![three], change, None, at(4)).await.unwrap();
    let entry = store.entry(ana, INBOX, three).await.unwrap().unwrap();
    assert_eq!(entry.flags, Flags::RETRIEVED | Flags::DRAFT);
    store.remove(ana, INBOX, vec![two], at(5), at(99)).await.unwrap();
    store.undelete(ana, at(5)).await.unwrap();
    let entry = store.entry(ana, INBOX, two).await.unwrap().unwrap();
    assert_eq!(
        (entry.flags, entry.keywords.len()),
        (Flags::SEEN | Flags::FLAGGED, 1),
        "it has both"
    );
    assert_eq!(folder(store, ana, INBOX).await.unseen, 2);
    let many = FlagChange {
        add_keywords: (0..65).map(|it| format!("k{it}").parse().unwrap()).collect(),
        ..FlagChange::default()
    };
    let told = store.set_flags(ana, INBOX, vec![one], many, None, at(6)).await;
    assert!(matches!(told, Err(StoreError::TooManyKeywords)));
}

/// Everything that has changed since then, as `(folder, uid)`: what is there, and what is not.
pub(super) async fn changes(
    store: &dyn Store,
    account: AccountId,
    since: ModSeq,
    limit: usize,
) -> Option<(Vec<(u32, u32)>, Vec<(u32, u32)>, ModSeq)> {
    let (mut there, mut gone, mut since) = (Vec::new(), Vec::new(), since);
    loop {
        let some = store.changes_since(account, since, limit).await.unwrap()?;
        assert!(some.entries.len() + some.vanished.len() <= limit);
        assert!(some.is_all || some.up_to > since, "it goes on");
        for entry in &some.entries {
            assert!(since < entry.mod_seq && entry.mod_seq <= some.up_to);
        }
        there.extend(some.entries.iter().map(|entry| (entry.folder.0, entry.uid.0)));
        gone.extend(some.vanished.iter().map(|(folder, uid)| (folder.0, uid.0)));
        since = some.up_to;
        if some.is_all {
            return Some((there, gone, since));
        }
    }
}

async fn changes_are_told(store: &dyn Store) {
    let ana = add(store, "ana@x.test").await;
    let start = ModSeq(0);
    assert_eq!(changes(store, ana, start, 9).await, Some((vec![], vec![], start)));
    let work = store.add_folder(ana, name("Work"), None, at(0)).await.unwrap();
    for number in 0..9 {
        store.accept(message(number, at(0), b"x\r\n", &[ana])).await.unwrap();
    }
    let all = uids(store, ana).await;
    let in_inbox = |uids: &[u32]| uids.iter().map(|&uid| (0, uid)).collect::<Vec<_>>();
    let (there, gone, first) = changes(store, ana, start, 2).await.unwrap();
    assert_eq!((there, gone), (in_inbox(&[1, 2, 3, 4, 5, 6, 7, 8, 9]), vec![]));
    assert_eq!(changes(store, ana, first, 2).await, Some((vec![], vec![], first)));
    let seen = vec![all[6], all[1]];
    store.set_flags(ana, INBOX, seen.clone(), set(Flags::SEEN), None, at(1)).await.unwrap();
    store.remove(ana, INBOX, vec![all[2]], at(2), at(99)).await.unwrap();
    store.move_entries(ana, INBOX, work, vec![all[3]], at(3), at(99)).await.unwrap();
    store.set_flags(ana, INBOX, seen, set(Flags::FLAGGED), None, at(4)).await.unwrap();
    store.accept(message(99, at(5), b"x\r\n", &[ana])).await.unwrap();
    for limit in [1, 2, 3, 99] {
        let (there, gone, _) = changes(store, ana, first, limit).await.unwrap();
        assert_eq!(there, [(work.0, 1), (0, 2), (0, 7), (0, 10)]);
        assert_eq!(gone, in_inbox(&[3, 4]));
        let (there, gone, last) = changes(store, ana, start, limit).await.unwrap();
        assert_eq!(there.len(), 9);
        assert_eq!(gone.len(), 2);
        let some = store.changes_since(ana, last, limit).await.unwrap().unwrap();
        assert!(some.is_all && some.entries.is_empty() && some.vanished.is_empty());
    }
    let highest = folder(store, ana, INBOX).await.mod_seq;
    assert_eq!(changes(store, ana, start, 99).await.unwrap().2, highest);
}

/// Names that vanished are known for as long as the messages can be brought back.
async fn changes_are_forgotten(store: &dyn Store) {
    let ana = add(store, "ana@x.test").await;
    for number in 0..3 {
        store.accept(message(number, at(0), b"x\r\n", &[ana])).await.unwrap();
    }
    let (_, _, first) = changes(store, ana, ModSeq(0), 9).await.unwrap();
    store.remove(ana, INBOX, vec![Uid(1)], at(1), at(50)).await.unwrap();
    let (_, gone, second) = changes(store, ana, first, 9).await.unwrap();
    assert_eq!(gone, [(0, 1)]);
    assert_eq!(sweep(store, at(50)).await, 1);
    assert_eq!(changes(store, ana, first, 9).await, None, "everything has to be read anew");
    assert_eq!(changes(store, ana, second, 9).await, Some((vec![], vec![], second)));
    assert_eq!(in_folder(store, ana, INBOX).await, [2, 3]);
}
