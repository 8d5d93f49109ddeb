//! What a server puts above contents.

use super::{INBOX, add, at, delivery, item, message, read, sweep, uids};
use crate::{CHUNK, Settlement, Store};

cases![are_read_first,];

/// What is put above a content is read before it, and goes with it.
async fn are_read_first(store: &dyn Store) {
    const TRACE: &[u8] = b"Received: from a\r\n\tby b\r\n";
    let ana = add(store, "ana@x.test").await;
    for chunks in [0u32, 2] {
        let number = u64::from(chunks) + 1;
        let mut acceptance = message(number, at(0), b"Message-ID: <1@x>\r\nno end", &[ana]);
        let chunk = vec![b'x'; CHUNK];
        for index in 0..chunks {
            store.append(acceptance.id, index, &chunk).await.unwrap();
        }
        (acceptance.chunks, acceptance.head) = (chunks, TRACE.to_vec());
        let mut item = item(number, 0, at(5), 0);
        (item.octets, item.head) = (acceptance.octets(), TRACE.len() as u32);
        let (id, thread) = (acceptance.id, acceptance.thread);
        (item.added, item.thread) = (acceptance.added, Some(thread));
        acceptance.items = vec![item.clone()];
        let content = [chunk.repeat(chunks as usize), acceptance.rest.clone()].concat();
        store.accept(acceptance).await.unwrap();
        let uid = uids(store, ana).await.pop().unwrap();
        let expected = [b"Delivered-To: 1\r\n", TRACE, &content].concat();
        assert!(read(store, ana, uid).await == expected);
        let entry = store.entry(ana, INBOX, uid).await.unwrap().unwrap();
        assert_eq!((entry.head, entry.thread), (TRACE.len() as u32, thread));
        // The queue shows the same, and what it brings to a mailbox has it too.
        let sent = async {
            let mut sent = Vec::new();
            for piece in item.layout().pieces() {
                sent.extend_from_slice(&store.chunk(id, piece).await.unwrap().unwrap());
            }
            sent
        };
        assert!(sent.await == [TRACE, &content].concat());
        let bob = add(store, &format!("bob{chunks}@x.test")).await;
        let prefix = b"Delivered-To: 2\r\n".to_vec();
        let settlement = Settlement {
            item: item.id,
            token: None,
            time: at(6),
            left: None,
            deliveries: vec![delivery(bob, prefix.clone())],
            reports: Vec::new(),
            events: Vec::new(),
        };
        assert_eq!(store.settle(settlement).await.unwrap(), crate::Settled::Done);
        let late = uids(store, bob).await[0];
        assert!(read(store, bob, late).await == [&prefix, TRACE, &content].concat());
        assert_eq!(store.entry(bob, INBOX, late).await.unwrap().unwrap().thread, thread);
        store.remove(ana, INBOX, vec![uid], at(7), at(8)).await.unwrap();
        store.remove(bob, INBOX, vec![late], at(7), at(8)).await.unwrap();
        assert_eq!(sweep(store, at(8)).await, 2);
        for piece in entry.layout().pieces() {
            assert_eq!(store.chunk(id, piece).await.unwrap(), None);
        }
    }
}
