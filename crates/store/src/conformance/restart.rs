//! What was done is there when a store is opened again, and names go on from where they were.

use super::{
    CHUNK, INBOX, Site, add, address, at, credentials, delivery, domain, folders, item, message,
    read, source, sweep, uids, unique_ids,
};
use crate::{
    AccountId, Alias, Collected, Credentials, Event, FlagChange, Flags, FolderId, ItemState, Keep,
    KeyId, MessageRecord, ModSeq, SecretOf, Settled, Settlement, Source, Store, Subject, Uid,
    Visit, What,
};
use posta_mail::{MailId, Secret, Timestamp};

cases![of a site:
    everything_is_there,
    what_is_not_finished_goes_on,
    no_name_is_given_again,
    accounts_come_back,
    many_removed_messages_stay_away,
];

/// A store with something of everything.
async fn fill(store: &dyn Store) -> AccountId {
    let secret = || Secret::new(b"secret");
    let with_apop = Credentials { apop: Some(secret()), ..credentials("hash") };
    let ana = store.add_account(&address("ana@x.test"), with_apop).await.unwrap();
    let bob = add(store, "bob@x.test").await;
    store.set_quota(&address("bob@x.test"), Some(7)).await.unwrap();
    store.set_send_as(&address("bob@x.test"), vec!["@y.test".parse().unwrap()]).await.unwrap();
    let targets = vec![address("ana@x.test")];
    store.set_alias(Alias { name: "info@x.test".parse().unwrap(), targets }).await.unwrap();
    store.add_domain(&domain("y.test")).await.unwrap();
    store.set_domain_alias(&domain("z.test"), &domain("y.test")).await.unwrap();
    let work = store.add_folder(ana, folders::name("Work"), None, at(0)).await.unwrap();
    for number in 0..6 {
        store.accept(message(number, at(1), b"x\r\n", &[ana, bob])).await.unwrap();
    }
    let seen = FlagChange {
        add: Flags::SEEN,
        add_keywords: vec!["$work".parse().unwrap()],
        ..FlagChange::default()
    };
    store.set_flags(ana, INBOX, vec![Uid(1)], seen, None, at(2)).await.unwrap();
    store.move_entries(ana, INBOX, work, vec![Uid(2)], at(2), at(900)).await.unwrap();
    store.remove(ana, INBOX, vec![Uid(3)], at(3), at(900)).await.unwrap();
    store.retrieved(bob, vec![Uid(1)], at(4)).await.unwrap();
    let collecting = store.add_source(source(ana), secret()).await.unwrap();
    let mut long = message(50, at(5), b"end\r\n", &[ana]);
    store.append(long.id, 0, &[b'x'; CHUNK]).await.unwrap();
    long.chunks = 1;
    long.head = b"Received: here\r\n".to_vec();
    long.collected = Some(Collected { source: collecting, unique_id: "u1".to_owned() });
    long.deliveries[0].unique_id = Some("old".to_owned());
    long.records = vec![MessageRecord { kind: "a", name: "m".to_owned(), record: b"1".to_vec() }];
    let what = What::Removed { destination: "y.test".to_owned() };
    long.events = vec![Event { id: long.id, time: at(5), what }];
    long.items = vec![
        item(50, 0, at(9), 0),
        crate::Item { state: ItemState::Held, ..item(50, 1, at(8), 3) },
    ];
    store.accept(long).await.unwrap();
    let visit = Visit { time: at(6), collected: 1, problem: None };
    let claimed = store.claim_source(collecting, at(6), at(7)).await.unwrap().unwrap();
    assert!(store.visited(collecting, claimed.lease.token, visit).await.unwrap());
    let key = vec![(SecretOf::Key(KeyId(3)), Some(secret()))];
    store.keep_with_secrets("key", "k", None, Some(b"2".to_vec()), key).await.unwrap();
    ana
}

/// What can be read of a store, in words.
async fn shown(store: &dyn Store) -> Vec<String> {
    let mut lines = Vec::new();
    for account in store.accounts(None, 99).await.unwrap() {
        let id = account.id;
        lines.push(format!("{account:?} {:?}", store.usage(id).await.unwrap()));
        for folder in store.folders(id).await.unwrap() {
            let entries = store.entries(id, folder.id, Uid(0), 99).await.unwrap();
            lines.push(format!("{folder:?} {entries:?}"));
            for entry in entries.iter().filter(|entry| entry.folder == INBOX) {
                lines.push(format!("{:?}", read(store, id, entry.uid).await.len()));
            }
        }
        lines.push(format!("{:?}", unique_ids(store, id).await));
        lines.push(format!("{:?}", store.entry(id, INBOX, Uid(3)).await.unwrap()));
        let changes = store.changes_since(id, ModSeq(0), 99).await.unwrap();
        lines.push(format!("{changes:?}"));
        let secret = store.secret(SecretOf::Apop(id)).await.unwrap();
        lines.push(format!("{:?}", secret.map(|it| it.expose().to_vec())));
    }
    lines.push(format!("{:?}", store.aliases().await.unwrap()));
    lines.push(format!("{:?}", store.domains().await.unwrap()));
    lines.push(format!("{:?}", store.domain_aliases().await.unwrap()));
    for item in store.items(None, 99).await.unwrap() {
        lines.push(format!("{item:?}"));
    }
    for source in store.sources().await.unwrap() {
        let collected = store.collected(source.id).await.unwrap();
        let secret = store.secret(SecretOf::Source(source.id)).await.unwrap();
        let secret = secret.map(|it| it.expose().to_vec());
        lines.push(format!("{source:?} {collected:?} {secret:?}"));
    }
    for kind in ["a", "key"] {
        lines.push(format!("{:?}", store.kept(kind).await.unwrap()));
    }
    let key = store.secret(SecretOf::Key(KeyId(3))).await.unwrap();
    lines.push(format!("{:?}", key.map(|it| it.expose().to_vec())));
    lines.push(format!("{:?}", store.events(None, 99).await.unwrap()));
    lines
}

async fn everything_is_there(site: &dyn Site) {
    let store = site.open();
    let ana = fill(&*store).await;
    let before = shown(&*store).await;
    let maildrop = store.maildrop(ana).await.unwrap();
    drop(store);
    // A start that finds nothing to do is a start like any other.
    for _ in 0..2 {
        let store = site.open();
        assert_eq!(shown(&*store).await, before);
        assert_eq!(store.maildrop(ana).await.unwrap(), maildrop);
    }
    let store = site.open();
    let mut watcher = store.watch(&[Subject::Mailbox(ana)]);
    assert_eq!(store.undelete(ana, at(3)).await.unwrap(), 1);
    assert_eq!(watcher.take().len(), 1);
    assert_eq!(store.expire(at(5), at(6), at(9)).await.unwrap(), 1, "that was retrieved before");
    assert_eq!(sweep(&*store, at(900)).await, 1);
}

/// Leases may end with a process, and not later than they said.
async fn what_is_not_finished_goes_on(site: &dyn Site) {
    let store = site.open();
    let ana = add(&*store, "ana@x.test").await;
    let mut queued = message(1, at(0), b"x\r\n\n", &[]);
    queued.items = vec![item(1, 0, at(1), 0), item(1, 1, at(2), 0)];
    store.accept(queued).await.unwrap();
    let first = store.claim(at(1), at(60), 9, 9).await.unwrap().remove(0);
    let collecting = Source { keep: Keep::All, ..source(ana) };
    let collecting = store.add_source(collecting, Secret::new(b"secret")).await.unwrap();
    let visit = store.claim_source(collecting, at(1), at(60)).await.unwrap().unwrap();
    drop(store);

    let store = site.open();
    let claimed = store.claim(at(60), at(100), 9, 9).await.unwrap();
    assert_eq!(claimed.len(), 2);
    let again = claimed.iter().find(|it| it.item.id == first.item.id).unwrap();
    let settlement = |token| Settlement {
        item: first.item.id,
        token: Some(token),
        time: at(61),
        left: None,
        deliveries: vec![delivery(ana, Vec::new())],
        reports: Vec::new(),
        events: Vec::new(),
    };
    assert_eq!(store.settle(settlement(again.lease.token)).await.unwrap(), Settled::Done);
    assert_eq!(uids(&*store, ana).await, [Uid(1)]);
    let second = store.claim_source(collecting, at(60), at(90)).await.unwrap().unwrap();
    let result = || Visit { time: at(62), collected: 0, problem: None };
    assert!(store.visited(collecting, second.lease.token, result()).await.unwrap());
    assert!(!store.visited(collecting, visit.lease.token, result()).await.unwrap());
}

/// Not even if the clock went back by years.
async fn no_name_is_given_again(site: &dyn Site) {
    let long_ago = |second| Timestamp::from_second(second).unwrap();
    let mut store = site.open();
    let ana = add(&*store, "ana@x.test").await;
    let (mut last, mut last_id, mut last_folder) = (Uid(0), String::new(), FolderId::JUNK);
    let (mut last_change, mut last_account) = (ModSeq(0), ana);
    let mut last_source = None;
    for number in 0..4_u64 {
        let now = if number == 0 { at(0) } else { long_ago(10 - number as i64) };
        let name = folders::name(&format!("f{number}"));
        let folder = store.add_folder(ana, name, None, now).await.unwrap();
        assert!(folder > last_folder);
        store.remove_folder(ana, folder).await.unwrap();
        let id = MailId::new(at(0), number);
        store.accept(crate::Acceptance { id, ..message(number, now, b"x", &[ana]) }).await.unwrap();
        let uid = uids(&*store, ana).await.pop().unwrap();
        let unique_id = unique_ids(&*store, ana).await.pop().unwrap();
        assert!(uid > last && unique_id > last_id, "{unique_id} after {last_id}");
        store.remove(ana, INBOX, vec![uid], now, now).await.unwrap();
        while store.sweep(at(1)).await.unwrap() > 0 {}
        let change = store.folders(ana).await.unwrap()[0].mod_seq;
        assert!(change > last_change);
        let account = add(&*store, &format!("a{number}@x.test")).await;
        assert!(account > last_account);
        let address = address(&format!("a{number}@x.test"));
        let made = store.add_source(source(account), Secret::new(b"secret")).await.unwrap();
        assert!(last_source < Some(made));
        store.remove_account(&address, now, now).await.unwrap();
        sweep(&*store, at(1)).await;
        (last, last_id, last_folder) = (uid, unique_id, folder);
        (last_change, last_account, last_source) = (change, account, Some(made));
        drop(store);
        store = site.open();
    }
}

async fn accounts_come_back(site: &dyn Site) {
    let store = site.open();
    let ana = fill(&*store).await;
    let before = shown(&*store).await;
    store.remove_account(&address("ana@x.test"), at(10), at(50)).await.unwrap();
    drop(store);
    let store = site.open();
    assert!(store.account(&address("ana@x.test")).await.unwrap().is_none());
    assert_eq!(store.removed_accounts().await.unwrap().len(), 1);
    assert_eq!(sweep(&*store, at(49)).await, 0);
    drop(store);
    let store = site.open();
    assert_eq!(store.restore_account(ana).await.unwrap(), 6);
    let after = shown(&*store).await;
    assert_eq!(before.len(), after.len());
    assert_eq!(before[0], after[0], "the account, and what it takes");
}

/// A removal that a store may carry out in steps.
async fn many_removed_messages_stay_away(site: &dyn Site) {
    let store = site.open();
    let ana = add(&*store, "ana@x.test").await;
    store.accept(message(1, at(0), b"x\r\n", &vec![ana; 1_500])).await.unwrap();
    let all: Vec<_> = (1..=1_500).map(Uid).collect();
    assert_eq!(store.remove(ana, INBOX, all, at(1), at(50)).await.unwrap(), 1_500);
    drop(store);
    let store = site.open();
    assert_eq!(uids(&*store, ana).await, []);
    assert_eq!(store.usage(ana).await.unwrap().messages, 0);
    assert_eq!(store.undelete(ana, at(1)).await.unwrap(), 1_500);
    drop(store);
    let store = site.open();
    assert_eq!(uids(&*store, ana).await.len(), 1_500);
    assert_eq!(store.usage(ana).await.unwrap().messages, 1_500);
}
