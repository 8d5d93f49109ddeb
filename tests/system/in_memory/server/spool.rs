//! What programs of this machine hand over by `sendmail`: the spool's files become messages, once.

use super::{System, system_on};
use crate::store::store;
use posta_mail::{MailId, Timestamp};
use posta_net::clock::SimulatedClock;
use posta_server::receive::spool::{SpoolEnvelope, SpoolWriter};
use posta_store::{AccountId, Entry, FolderId, Store, Uid};
use std::{
    fs,
    io::Write as _,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tokio::time::sleep;

/// The accounts, in the order in which they were added. The first one is postmaster.
const ANA: AccountId = AccountId(1);
const BOB: AccountId = AccountId(2);

/// A spool, and the store of the server that takes what is in it.
struct Case {
    directory: tempfile::TempDir,
    store: Arc<dyn Store>,
}

impl Case {
    fn new() -> Self {
        let case = Self { directory: tempfile::tempdir().unwrap(), store: store() };
        fs::create_dir(case.spool()).unwrap();
        fs::set_permissions(case.spool(), fs::Permissions::from_mode(0o3733)).unwrap();
        case
    }

    fn spool(&self) -> PathBuf {
        self.directory.path().join("spool")
    }

    async fn serve(&self) -> System {
        let start = Timestamp::from_second(1_074_188_330).unwrap();
        let clock = Arc::new(SimulatedClock::new(start, 7));
        system_on(self.store.clone(), clock, |settings| settings.spool = Some(self.spool())).await
    }

    /// Returns the contents of an inbox, once there are as many.
    async fn inbox(&self, account: AccountId, count: usize) -> Vec<String> {
        for _ in 0..500 {
            let entries = self.store.entries(account, FolderId::INBOX, Uid(0), 99).await.unwrap();
            if entries.len() >= count {
                let mut texts = Vec::new();
                for entry in entries {
                    texts.push(content(&*self.store, &entry).await);
                }
                return texts;
            }
            sleep(Duration::from_millis(10)).await;
        }
        panic!("the inbox of {account:?} has fewer than {count} messages");
    }

    /// Returns once nothing is in the spool, nor remembered of it.
    async fn is_over(&self) {
        for _ in 0..500 {
            let left = fs::read_dir(self.spool()).unwrap().count();
            if left == 0 && self.store.kept("spool").await.unwrap().is_empty() {
                return;
            }
            sleep(Duration::from_millis(10)).await;
        }
        panic!("something is left in the spool");
    }
}

/// Returns a message's content, which has one chunk.
async fn content(store: &dyn Store, entry: &Entry) -> String {
    let chunk = store.chunk(entry.content, 0).await.unwrap().unwrap();
    String::from_utf8_lossy(&chunk).into_owned()
}

fn id(number: u64) -> MailId {
    MailId::new(Timestamp::UNIX_EPOCH, number)
}

fn hand_over(spool: &Path, number: u64, from: &str, to: &[&str], content: &str) {
    let to = to.iter().map(|&to| to.to_owned()).collect();
    let envelope = SpoolEnvelope { from: from.to_owned(), to, ..SpoolEnvelope::default() };
    let mut writer = SpoolWriter::begin(spool, id(number), &envelope).unwrap();
    writer.write_all(content.as_bytes()).unwrap();
    writer.complete().unwrap();
}

/// Names become addresses, what is missing is added, and who is refused is told of by mail.
#[tokio::test]
async fn messages_of_programs_are_completed_and_delivered() {
    let case = Case::new();
    let spool = case.spool();
    let cron = "From: root (Cron Daemon)\r\nTo: root, bob\r\nBcc: eve@y.test\r\n\r\nx\r\n";
    hand_over(&spool, 1, "root", &["root"], cron);
    let system = case.serve().await;
    let got = case.inbox(ANA, 1).await.remove(0);
    for line in ["From: root@mail.x.test (Cron Daemon)\r\n", "To: root@mail.x.test, bob@x.test\r\n"]
    {
        assert!(got.contains(line), "{line:?}: {got}");
    }
    assert!(got.contains("\r\nMessage-ID: <") && !got.contains("Bcc"), "{got}");
    // Both while it runs: one recipient of two, and the only one.
    hand_over(&spool, 2, "bob@x.test", &["nobody@x.test", "ana"], "Subject: 2\r\n\r\nx\r\n");
    assert!(case.inbox(ANA, 2).await[1].contains("Subject: 2"));
    let report = case.inbox(BOB, 1).await.remove(0);
    assert!(report.contains("nobody@x.test") && report.contains("No such user here"), "{report}");
    hand_over(&spool, 3, "bob@x.test", &["nobody@x.test"], "Subject: 3\r\n\r\nx\r\n");
    let report = case.inbox(BOB, 2).await.remove(1);
    assert!(report.contains("Subject: 3") && report.contains("5.1.1"), "{report}");
    // A mailbox that is full keeps the message from nobody else.
    case.store.set_quota(&"bob@x.test".parse().unwrap(), Some(1)).await.unwrap();
    hand_over(&spool, 4, "ana@x.test", &["bob@x.test", "ana@x.test"], "Subject: 4\r\n\r\nx\r\n");
    let got = case.inbox(ANA, 4).await.join("\n");
    assert!(got.contains("Subject: 4") && got.contains("mailbox"), "{got}");
    case.is_over().await;
    system.server.stop().await;
}

/// A crash came after the message was in its mailbox, and before its file was removed.
#[tokio::test]
async fn a_file_that_was_taken_before_a_crash_is_not_taken_again() {
    let case = Case::new();
    let (spool, store) = (case.spool(), &case.store);
    for number in [1, 2] {
        hand_over(&spool, number, "root", &["ana@x.test"], "Subject: once\r\n\r\nx\r\n");
    }
    let found = fs::metadata(spool.join(id(1).to_string())).unwrap();
    let (uid, inode) = (found.uid(), found.ino());
    let stamp = format!("{uid} {inode} {}.{}", found.mtime(), found.mtime_nsec()).into_bytes();
    store.keep("spool", &id(1).to_string(), Some(stamp)).await.unwrap();
    // Another file had the name of the second, long ago.
    store.keep("spool", &id(2).to_string(), Some(b"0 1 2.3".to_vec())).await.unwrap();
    // And a crash left a record whose file is gone.
    store.keep("spool", &id(3).to_string(), Some(b"0 1 2.3".to_vec())).await.unwrap();
    let system = case.serve().await;
    case.is_over().await;
    assert_eq!(case.inbox(ANA, 1).await.len(), 1, "the second, and the first not again");
    system.server.stop().await;
}
