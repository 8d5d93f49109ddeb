//! Mailboxes elsewhere, and the secrets that are kept for them and for accounts.

use super::{INBOX, add, address, at, message, sweep, uids};
use crate::{
    AccountId, CHUNK, Collected, Credentials, Flags, Keep, Keyword, Login, LoginTls, SecretOf,
    Source, SourceId, Store, StoreError, Uid, Visit,
};
use posta_mail::{MailId, Secret};

cases![collected_once, imported_once, secrets, sources_of_removed_accounts, one_visitor_at_a_time,];

/// A source for an account.
#[must_use]
pub fn source(account: AccountId) -> Source {
    Source {
        id: SourceId(99),
        account,
        login: Login {
            server: "pop.y.test:995".to_owned(),
            user: "ana".to_owned(),
            tls: LoginTls::Implicit,
            any_certificate: false,
        },
        keep: Keep::Days(7),
        every: 600,
        last: None,
    }
}

/// What is collected arrives once, and is remembered for as long as it is elsewhere.
async fn collected_once(store: &dyn Store) {
    let ana = add(store, "ana@x.test").await;
    let add = |source: Source| store.add_source(source, Secret::new(b"secret"));
    let refused = add(source(AccountId(99))).await;
    assert!(matches!(refused, Err(StoreError::NoSuchAccount)));
    let one = add(source(ana)).await.unwrap();
    let two = add(source(ana)).await.unwrap();
    assert_ne!(one, two);
    let unique_id = "u1".to_owned();
    for (number, source) in [(1, one), (2, one), (3, two)] {
        let mut acceptance = message(number, at(number as i64), b"x\r\n", &[ana]);
        store.append(acceptance.id, 0, &[b'x'; CHUNK]).await.unwrap();
        acceptance.chunks = 1;
        acceptance.collected = Some(Collected { source, unique_id: unique_id.clone() });
        store.accept(acceptance).await.unwrap();
    }
    assert_eq!(uids(store, ana).await.len(), 2, "one from each");
    assert_eq!(store.chunk(MailId::new(at(2), 2), 0).await.unwrap(), None);
    assert_eq!(store.collected(one).await.unwrap(), [(unique_id.clone(), at(1))].into());
    let named = vec!["u0".to_owned(), unique_id.clone()];
    assert_eq!(store.has_collected(one, named).await.unwrap(), [false, true]);
    let visit = Visit { time: at(4), collected: 1, problem: None };
    assert!(visited(store, one, &visit).await);
    let sources = store.sources().await.unwrap();
    assert_eq!(sources[0], Source { id: one, last: Some(visit.clone()), ..source(ana) });
    assert_eq!(sources.len(), 2);
    store.forget_collected(one, vec![unique_id, "u2".to_owned()]).await.unwrap();
    assert_eq!(store.collected(one).await.unwrap().len(), 0);
    assert!(store.remove_source(two).await.unwrap());
    assert!(!store.remove_source(two).await.unwrap());
    assert!(store.claim_source(two, at(4), at(9)).await.unwrap().is_none());
    assert_eq!(store.collected(two).await.unwrap().len(), 0);
    assert_ne!(add(source(ana)).await.unwrap(), two, "ids are never reused");
}

/// What is imported arrives once, even if it comes twice at the same moment, with the flags that it had. It is forgotten
/// with its account.
async fn imported_once(store: &dyn Store) {
    let ana = add(store, "ana@x.test").await;
    let imports = SourceId::imports_of(ana);
    let flags = Flags::SEEN | Flags::FLAGGED;
    let keywords: Vec<Keyword> = vec!["$work".parse().unwrap()];
    let import = |number: u64| {
        let mut acceptance = message(number, at(number as i64), b"x\r\n", &[ana]);
        let unique_id = "m1".to_owned();
        acceptance.collected = Some(Collected { source: imports, unique_id });
        acceptance.deliveries[0].flags = flags;
        acceptance.deliveries[0].keywords = keywords.clone();
        store.accept(acceptance)
    };
    let (one, other) = (import(1), import(2));
    one.await.unwrap();
    other.await.unwrap();
    import(3).await.unwrap();
    let entries = store.entries(ana, INBOX, Uid(0), 9).await.unwrap();
    assert_eq!(entries.len(), 1);
    assert_eq!((entries[0].flags, &entries[0].keywords), (flags, &keywords));
    let inbox = store.folders(ana).await.unwrap().remove(0);
    assert_eq!((inbox.messages, inbox.unseen), (1, 0));
    assert!(store.sources().await.unwrap().is_empty());
    let address = "ana@x.test".parse().unwrap();
    store.remove_account(&address, at(4), at(5)).await.unwrap();
    sweep(store, at(4)).await;
    let named = || vec!["m1".to_owned()];
    assert_eq!(store.has_collected(imports, named()).await.unwrap(), [true], "it may come back");
    sweep(store, at(6)).await;
    assert_eq!(store.has_collected(imports, named()).await.unwrap(), [false]);
}

/// Visits a source, and notes how that ended.
async fn visited(store: &dyn Store, source: SourceId, visit: &Visit) -> bool {
    let claimed = store.claim_source(source, visit.time, visit.time).await.unwrap().unwrap();
    store.visited(source, claimed.lease.token, visit.clone()).await.unwrap()
}

/// Whoever claims a source is alone with it, until its lease has ended and another comes.
async fn one_visitor_at_a_time(store: &dyn Store) {
    let ana = add(store, "ana@x.test").await;
    let bob = add(store, "bob@x.test").await;
    let add_source = |account, every| {
        let source = Source { every, ..source(account) };
        store.add_source(source, Secret::new(b"secret"))
    };
    let one = add_source(ana, 100).await.unwrap();
    let two = add_source(bob, 50).await.unwrap();
    let claim = async |now, limit| store.claim_sources(at(now), at(now + 10), limit).await.unwrap();
    let first = claim(0, 1).await;
    assert_eq!((first.len(), first[0].source.id, first[0].account.id), (1, one, ana));
    assert_eq!(first[0].lease.until, at(10));
    let second = claim(0, 9).await;
    assert_eq!((second.len(), second[0].source.id), (1, two));
    assert_eq!(claim(9, 9).await, []);
    assert_eq!(store.claim_source(one, at(9), at(20)).await.unwrap(), None, "somebody is there");
    // Of two visitors the one that came later counts.
    let token = first[0].lease.token;
    assert!(store.renew_source(one, token, at(15)).await.unwrap());
    assert_eq!(claim(12, 1).await[0].source.id, two);
    let again = store.claim_source(one, at(15), at(30)).await.unwrap().unwrap();
    assert!(again.lease.token > token);
    let visit = |second| Visit { time: at(second), collected: 1, problem: None };
    assert!(!store.renew_source(one, token, at(99)).await.unwrap());
    assert!(!store.visited(one, token, visit(16)).await.unwrap());
    assert_eq!(store.sources().await.unwrap()[0].last, None);
    assert!(store.visited(one, again.lease.token, visit(17)).await.unwrap());
    assert!(!store.visited(one, again.lease.token, visit(18)).await.unwrap(), "it has ended");
    assert!(visited(store, two, &visit(22)).await, "the lease has ended by now");
    assert_eq!(claim(71, 9).await, [], "nothing is due");
    assert_eq!(claim(72, 9).await[0].source.id, two);
    assert!(store.claim_source(one, at(72), at(73)).await.unwrap().is_some(), "due or not");
    // Those that are due for longer come first; those of a removed account wait.
    let due: Vec<_> = claim(200, 9).await.into_iter().map(|claimed| claimed.source.id).collect();
    assert_eq!(due, [two, one]);
    store.remove_account(&address("bob@x.test"), at(201), at(900)).await.unwrap();
    assert_eq!(claim(300, 9).await.len(), 1);
    assert_eq!(store.claim_source(two, at(400), at(500)).await.unwrap(), None);
    store.remove_source(one).await.unwrap();
    assert_eq!(claim(800, 9).await, []);
}

/// A secret is there for as long as what it belongs to, and changes with it.
async fn secrets(store: &dyn Store) {
    let secret = async |of| store.secret(of).await.unwrap().map(|secret| secret.expose().to_vec());
    let given = |secret: Option<&str>| Credentials {
        apop: secret.map(|secret| Secret::new(secret.as_bytes())),
        ..Credentials::default()
    };
    let ana = store.add_account(&address("ana@x.test"), given(Some("one"))).await.unwrap();
    let bob = store.add_account(&address("bob@x.test"), given(None)).await.unwrap();
    assert_eq!(secret(SecretOf::Apop(ana)).await.unwrap(), b"one");
    assert_eq!(secret(SecretOf::Apop(bob)).await, None);
    store.set_quota(&address("ana@x.test"), Some(9)).await.unwrap();
    assert_eq!(secret(SecretOf::Apop(ana)).await.unwrap(), b"one");
    store.set_password(&address("Ana@x.test"), given(Some("two"))).await.unwrap();
    assert_eq!(secret(SecretOf::Apop(ana)).await.unwrap(), b"two");

    let source = |id| Source { id, ..source(ana) };
    let id = store.add_source(source(SourceId(9)), Secret::new(b"three")).await.unwrap();
    assert_eq!(secret(SecretOf::Source(id)).await.unwrap(), b"three");
    let visit = Visit { time: at(4), collected: 1, problem: None };
    assert!(visited(store, id, &visit).await);
    let changed = Source { every: 5, last: None, ..source(id) };
    assert!(store.change_source(changed.clone(), Secret::new(b"four")).await.unwrap());
    assert_eq!(store.sources().await.unwrap(), [Source { last: Some(visit), ..changed }]);
    assert_eq!(secret(SecretOf::Source(id)).await.unwrap(), b"four");
    let missing = source(SourceId(77));
    assert!(!store.change_source(missing, Secret::new(b"five")).await.unwrap());
    assert_eq!(secret(SecretOf::Source(SourceId(77))).await, None);

    store.remove_source(id).await.unwrap();
    assert_eq!(secret(SecretOf::Source(id)).await, None);
    store.set_password(&address("ana@x.test"), given(None)).await.unwrap();
    assert_eq!(secret(SecretOf::Apop(ana)).await, None);
    store.set_password(&address("ana@x.test"), given(Some("six"))).await.unwrap();
    store.remove_account(&address("ana@x.test"), at(5), at(6)).await.unwrap();
    assert_eq!(secret(SecretOf::Apop(ana)).await.unwrap(), b"six", "it can be brought back");
    sweep(store, at(6)).await;
    assert_eq!(secret(SecretOf::Apop(ana)).await, None);
}

/// The sources of an account that was removed come back with it, or go when it is purged.
async fn sources_of_removed_accounts(store: &dyn Store) {
    let account = add(store, "ana@x.test").await;
    let id = store.add_source(source(account), Secret::new(b"one")).await.unwrap();
    store.remove_account(&address("ana@x.test"), at(1), at(9)).await.unwrap();
    assert_eq!(sweep(store, at(8)).await, 0);
    store.restore_account(account).await.unwrap();
    assert!(store.secret(SecretOf::Source(id)).await.unwrap().is_some());
    store.remove_account(&address("ana@x.test"), at(2), at(9)).await.unwrap();
    assert_eq!(sweep(store, at(9)).await, 1);
    assert_eq!(store.sources().await.unwrap(), []);
    assert!(store.secret(SecretOf::Source(id)).await.unwrap().is_none());
}
