//! The server's own records are kept by kind and name, and replaced only if nobody else has replaced them.

use super::Make;
use crate::Store;

pub(super) async fn run(make: Make<'_>) {
    records_are_kept_by_kind_and_name(&*make()).await;
    a_record_is_replaced_only_if_unchanged(&*make()).await;
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
