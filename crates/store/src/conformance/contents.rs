//! Content that is longer than a chunk comes piece by piece, and goes with the last message that shows it.

use super::{INBOX, add, at, message, read, sweep, uids};
use crate::{AccountId, CHUNK, Store};
use posta_mail::{MailId, crlf::lines_of};

cases![long_content_comes_in_chunks,];

async fn long_content_comes_in_chunks(store: &dyn Store) {
    let ana = add(store, "ana@x.test").await;
    let chunk: Vec<u8> = (0..CHUNK).map(|octet| octet as u8).collect();
    for (number, rest) in [(1, &b"rest"[..]), (2, &chunk)] {
        let mut acceptance = message(number, at(0), rest, &[ana]);
        for index in 0..2 {
            store.append(acceptance.id, index, &chunk).await.unwrap();
        }
        assert_eq!(uids(store, ana).await.len() as u64, number - 1, "nothing shows it yet");
        acceptance.chunks = 2;
        let whole = [&chunk, &chunk, rest].concat();
        acceptance.added = (lines_of(&whole).len() - whole.len()) as u64;
        let id = acceptance.id;
        store.accept(acceptance).await.unwrap();
        let uid = uids(store, ana).await.pop().unwrap();
        let expected = [&b"Delivered-To: 1\r\n"[..], &chunk, &chunk, rest].concat();
        assert!(read(store, ana, uid).await == expected);
        store.remove(ana, INBOX, vec![uid], at(1), at(2)).await.unwrap();
        sweep(store, at(2)).await;
        for index in 0..3 {
            assert_eq!(store.chunk(id, index).await.unwrap(), None);
        }
        add_another_message(store, number).await;
    }
    let abandoned = MailId::new(at(9), 9);
    store.append(abandoned, 0, &chunk).await.unwrap();
    store.discard(abandoned).await.unwrap();
    assert_eq!(store.chunk(abandoned, 0).await.unwrap(), None);
}

/// Keeps the number of messages in the first mailbox at `number`.
async fn add_another_message(store: &dyn Store, number: u64) {
    store.accept(message(100 + number, at(3), b"x", &[AccountId(1)])).await.unwrap();
}
