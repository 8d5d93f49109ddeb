//! What the store costs: `cargo test --release -p posta-store-postgres --test postgres rates -- --ignored --nocapture`.

use super::{add, at, cluster::Cluster, open};
use posta_store::{Contents as _, Directory as _, FolderId, Mailboxes as _, conformance::message};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

/// The time for which each rate is measured.
const TIME: Duration = Duration::from_secs(5);

#[tokio::test(flavor = "multi_thread")]
#[ignore = "it measures"]
#[expect(clippy::disallowed_methods, reason = "it measures")]
async fn rates() {
    let Some(cluster) = Cluster::start(&[]) else { return };
    let store = Arc::new(open(&cluster.url(), "posta").await);
    let mut accounts = Vec::new();
    for number in 0..10 {
        accounts.push(add(&store, &format!("user{number}@x.test")).await);
    }
    let content = vec![b'x'; 4_000];
    let mut next = 0_u64;
    for sessions in [1_u64, 10, 50] {
        let wal = "SELECT wal_bytes FROM pg_stat_wal";
        cluster.psql("CHECKPOINT");
        let before: u64 = cluster.psql(wal).parse().unwrap();
        let began = Instant::now();
        let mut tasks = Vec::new();
        for session in 0..sessions {
            let (store, content) = (store.clone(), content.clone());
            let account = accounts[session as usize % accounts.len()];
            let first = next + (session << 24);
            tasks.push(tokio::spawn(async move {
                let mut count = 0;
                while began.elapsed() < TIME {
                    store
                        .accept(message(first + count, at(0), &content, &[account]))
                        .await
                        .unwrap();
                    count += 1;
                }
                count
            }));
        }
        let mut count = 0;
        for task in tasks {
            count += task.await.unwrap();
        }
        next += 1 << 40;
        let rate = count as f64 / began.elapsed().as_secs_f64();
        let wal = cluster.psql(wal).parse::<u64>().unwrap() - before;
        println!(
            "accept, {sessions} sessions: {rate:.0}/s, {} octets of WAL each",
            wal / count.max(1)
        );
    }
    let account = accounts[0];
    let (mut count, began) = (0, Instant::now());
    while began.elapsed() < TIME {
        store.account(&"user0@x.test".parse().unwrap()).await.unwrap().unwrap();
        store.maildrop(account).await.unwrap();
        count += 1;
    }
    let of = store.maildrop(account).await.unwrap().len();
    println!(
        "login and list of {of} messages, one session: {:.0}/s",
        f64::from(count) / TIME.as_secs_f64()
    );
    let (mut count, began) = (0, Instant::now());
    let maildrop = store.maildrop(account).await.unwrap();
    while began.elapsed() < TIME {
        let summary = maildrop.get(count % maildrop.len()).unwrap();
        let entry = store.entry(account, FolderId::INBOX, summary.uid).await.unwrap().unwrap();
        store.chunk(entry.content, 0).await.unwrap().unwrap();
        count += 1;
    }
    println!("read, one session: {:.0}/s", count as f64 / TIME.as_secs_f64());
}
