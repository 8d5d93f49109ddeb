//! Mail that arrives faster than tables are written must wait, not pile up in memory. A process of
//! its own, so that its memory is this test's alone.
#![allow(clippy::unwrap_used)]

use posta_mail::{MailId, Timestamp};
use posta_store::{CHUNK, Contents, conformance::block_on};
use posta_store_fjall::FjallStore;

const WRITERS: u64 = 16;
const CHUNKS: u32 = 150;

/// Octets that the store may hold while it takes in 600 MiB.
const BOUND: u64 = 128 * 1024 * 1024;

fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

#[test]
fn what_arrives_faster_than_it_is_written_waits() {
    let directory = tempfile::tempdir().unwrap();
    let store = FjallStore::open(directory.path()).unwrap();
    let before = resident();
    let most = std::thread::scope(|scope| {
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let store = &store;
                scope.spawn(move || {
                    let content = MailId::new(Timestamp::UNIX_EPOCH, writer);
                    let chunk = vec![writer as u8; CHUNK];
                    let mut most = 0;
                    for index in 0..CHUNKS {
                        block_on(store.append(content, index, &chunk)).unwrap();
                        most = most.max(resident());
                    }
                    most
                })
            })
            .collect();
        writers.into_iter().map(|writer| writer.join().unwrap()).max().unwrap()
    });
    println!("{} MiB at most above the {} MiB of before", (most - before) >> 20, before >> 20);
    assert!(most - before < BOUND, "{} MiB", (most - before) >> 20);
}
