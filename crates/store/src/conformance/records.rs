//! The server's own records are kept by kind and name, and replaced only if nobody else has replaced them.

use super::{add, at, message};
use crate::{
    Acceptance, AccountId, Collected, DOMAIN_KEYS, KeyId, MessageRecord, NAME, SecretOf, SourceId,
    Store, StoreError,
};
use posta_mail::Secret;

cases![
    records_are_kept_by_kind_and_name,
    records_are_read_in_pages,
    a_record_is_replaced_only_if_unchanged,
    secrets_are_kept_with_a_record,
    records_are_stored_with_a_message,
    a_name_of_any_length_breaks_nothing,
];

/// Keys of tables have a limit. A name beyond it is refused by itself: what others store at the same moment is stored, and
/// nothing has such a name.
async fn a_name_of_any_length_breaks_nothing(store: &dyn Store) {
    let ana = add(store, "ana@x.test").await;
    let imports = SourceId::imports_of(ana);
    let accept = |number: u64, collected: String, record: String| {
        let mut acceptance = message(number, at(0), b"x\r\n", &[ana]);
        acceptance.collected = Some(Collected { source: imports, unique_id: collected });
        acceptance.records = vec![MessageRecord { kind: "a", name: record, record: Vec::new() }];
        store.accept(acceptance)
    };
    let short = |number: u64| (number.to_string(), number.to_string());
    let longest = "n".repeat(NAME);
    for (number, length) in
        [(10, NAME + 1), (20, 65_534), (30, 65_536), (40, 70_000), (50, 1 << 20)]
    {
        let long = "n".repeat(length);
        let (name, record) = short(number);
        let before = accept(number, name, record);
        let refused = accept(number + 1, long.clone(), "r".to_owned());
        let refused_too = accept(number + 2, "r".to_owned(), long.clone());
        let (name, record) = short(number + 3);
        let after = accept(number + 3, name, record);
        before.await.unwrap();
        assert!(refused.await.is_err() && refused_too.await.is_err(), "{length}");
        after.await.unwrap();
        assert!(store.keep("a", &long, Some(Vec::new())).await.is_err(), "{length}");
        assert!(store.keep("a", &long, None).await.is_err(), "{length}");
        assert!(store.keep_if("a", &long, None, Some(Vec::new())).await.is_err(), "{length}");
        assert_eq!(store.kept_one("a", &long).await.unwrap(), None, "{length}");
        let names = vec![long.clone(), number.to_string()];
        assert_eq!(store.has_collected(imports, names).await.unwrap(), [false, true], "{length}");
        store.forget_collected(imports, vec![long.clone()]).await.unwrap();
        store.kept_page("a", &long, Some(&long), 9).await.unwrap();
        assert_eq!(store.accounts_named(&long).await.unwrap(), [], "{length}");
    }
    accept(60, longest.clone(), longest.clone()).await.unwrap();
    let has = store.has_collected(imports, vec![longest.clone()]).await.unwrap();
    assert_eq!((has, store.kept_one("a", &longest).await.unwrap()), (vec![true], Some(Vec::new())));
    assert_eq!(store.kept("a").await.unwrap().len(), 11);
}

/// What is to be remembered with a message is stored in its transaction, or not at all.
async fn records_are_stored_with_a_message(store: &dyn Store) {
    let ana = add(store, "ana@x.test").await;
    let record =
        |name: &str| MessageRecord { kind: "a", name: name.to_owned(), record: name.into() };
    let mut accepted = message(1, at(0), b"x\r\n", &[ana]);
    accepted.records = vec![record("x"), record("y")];
    let report = message(2, at(0), b"r\r\n", &[ana]);
    accepted.reports = vec![Acceptance { records: vec![record("z")], ..report }];
    store.accept(accepted).await.unwrap();
    let mut refused = message(3, at(0), b"x\r\n", &[AccountId(99)]);
    refused.records = vec![record("w")];
    assert!(matches!(store.accept(refused).await, Err(StoreError::NoSuchAccount)));
    let kept = store.kept("a").await.unwrap();
    assert_eq!(kept, ["x", "y", "z"].map(|name| (name.to_owned(), name.as_bytes().to_vec())));
}

async fn records_are_kept_by_kind_and_name(store: &dyn Store) {
    for (kind, name, record) in [
        ("a", "y", &b"1"[..]),
        ("a", "x", b"2"),
        ("a", "y", b"3"),
        ("ab", "z", b""),
        ("a", "z", b"4"),
    ] {
        store.keep(kind, name, Some(record.to_vec())).await.unwrap();
    }
    store.keep("a", "z", None).await.unwrap();
    let kept = store.kept("a").await.unwrap();
    assert_eq!(kept, [("x".to_owned(), b"2".to_vec()), ("y".to_owned(), b"3".to_vec())]);
    assert_eq!(store.kept("ab").await.unwrap().len(), 1);
    assert!(store.kept("b").await.unwrap().is_empty());
    assert_eq!(store.kept_one("a", "x").await.unwrap().as_deref(), Some(&b"2"[..]));
    assert_eq!(store.kept_one("a", "z").await.unwrap(), None);
}

async fn records_are_read_in_pages(store: &dyn Store) {
    for (kind, name) in [
        ("a", "x/1"),
        ("a", "x/10"),
        ("a", "x/2"),
        ("a", "y"),
        ("b", "x/0"),
        ("b", "x/3"),
        ("ab", "x/1"),
    ] {
        store.keep(kind, name, Some(name.into())).await.unwrap();
    }
    for (prefix, after, most, expected) in [
        ("", None, 9, &["x/1", "x/10", "x/2", "y"][..]),
        ("x/", None, 9, &["x/1", "x/10", "x/2"]),
        ("x/", None, 2, &["x/1", "x/10"]),
        ("x/", Some("x/10"), 2, &["x/2"]),
        ("x/", Some("x/11"), 2, &["x/2"]),
        ("x/", Some("x/2"), 2, &[]),
        ("x/", Some("a"), 1, &["x/1"]),
        ("x/1", Some("x/1"), 9, &["x/10"]),
        ("", Some("y"), 9, &[]),
        ("z", None, 9, &[]),
        ("x/", None, 0, &[]),
    ] {
        let page = store.kept_page("a", prefix, after, most).await.unwrap();
        let names: Vec<_> = page.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, expected, "{prefix} {after:?} {most}");
        assert!(page.iter().all(|(name, record)| name.as_bytes() == record));
    }
}

async fn a_record_is_replaced_only_if_unchanged(store: &dyn Store) {
    let record = |text: &str| Some(text.as_bytes().to_vec());
    let keep_if = async |expected, new| store.keep_if("key", "k", expected, new).await.unwrap();
    assert_eq!(keep_if(record("0"), record("1")).await, None, "there is none to be replaced");
    // Two make the first at once, and end with the same.
    let (one, other) = (
        store.keep_if("key", "k", None, record("1")),
        store.keep_if("key", "k", None, record("2")),
    );
    let (one, other) = (one.await.unwrap(), other.await.unwrap());
    assert!(one.is_some() && one == other, "{one:?}, {other:?}");
    let theirs = if one == record("1") { "2" } else { "1" };
    assert_eq!(keep_if(record(theirs), record("3")).await, one, "that is not what is there");
    assert_eq!(keep_if(one, record("3")).await, record("3"));
    assert_eq!(keep_if(record("2"), None).await, record("3"));
    assert_eq!(keep_if(record("3"), None).await, None);
    assert_eq!(store.kept_one("key", "k").await.unwrap(), None);
}

/// Secrets change with their record or not at all, and whoever watches the directory hears of keys.
async fn secrets_are_kept_with_a_record(store: &dyn Store) {
    let (one, two) = (SecretOf::Key(KeyId(1)), SecretOf::Key(KeyId(2)));
    let record = |text: &str| Some(text.as_bytes().to_vec());
    let secret = |text: &str| Some(Secret::new(text.as_bytes()));
    let keep = async |expected, new, secrets| {
        store.keep_with_secrets(DOMAIN_KEYS, "x.test", expected, new, secrets).await.unwrap()
    };
    let read = async |of| store.secret(of).await.unwrap().map(|it| it.expose().to_vec());
    let before = store.directory_version();
    let kept = keep(None, record("1"), vec![(one, secret("first")), (two, secret("second"))]).await;
    assert_eq!(kept, record("1"));
    assert!(store.directory_version() > before);
    assert_eq!((read(one).await, read(two).await), (record("first"), record("second")));
    let other = keep(None, record("2"), vec![(one, secret("other")), (two, None)]).await;
    assert_eq!(other, record("1"), "it is another's");
    assert_eq!((read(one).await, read(two).await), (record("first"), record("second")));
    keep(record("1"), record("3"), vec![(one, None), (two, secret("third"))]).await;
    assert_eq!((read(one).await, read(two).await), (None, record("third")));
    assert_eq!(keep(record("3"), None, vec![(two, None)]).await, None);
    assert_eq!(read(two).await, None);
    let before = store.directory_version();
    store.keep("other", "x.test", record("1")).await.unwrap();
    assert_eq!(store.directory_version(), before, "other records are nobody's business");
}
