//! What a session over TCP keeps and reads, in a store: in the embedded one, or on PostgreSQL (`posta_tests::Database`).
//! A message that a transcript commits is accepted by the store, one that it shows comes from there, and its UPDATE
//! removes messages there; at the end the mailbox has what the transcript says.

use crate::script::Script;
use posta_mail::Timestamp;
use posta_store::{
    AccountId, Credentials, FolderId, Store, Uid,
    conformance::{delivery, message, read},
};
use posta_store_fjall::FjallStore;
use posta_store_postgres::{PostgresStore, Settings};
use posta_tests::Database;
use std::{path::Path, sync::Arc};

/// The most messages of one transcript.
const MESSAGES: u64 = 1_000;

/// A store, for a mailbox of each transcript.
pub struct Keeper {
    store: Arc<dyn Store>,
    /// It is removed after the store is closed.
    _database: Option<Database>,
}

impl Keeper {
    /// Opens an empty store. The embedded one is in this directory.
    pub async fn open(directory: &Path) -> Self {
        let database = Database::new();
        let store: Arc<dyn Store> = match &database {
            None => Arc::new(FjallStore::open(&directory.join("store")).unwrap()),
            Some(database) => {
                let settings = Settings::new(&database.url(), directory.join("keys")).unwrap();
                Arc::new(PostgresStore::open(settings).await.unwrap())
            }
        };
        Self { store, _database: database }
    }

    /// Makes the mailbox of a transcript, with the messages of its settings. `number` is the transcript's own.
    pub async fn mailbox(&self, number: u64, script: &Script) -> Mailbox {
        let address = format!("script{number}@x.test").parse().unwrap();
        let account = self.store.add_account(&address, Credentials::default()).await.unwrap();
        let (store, next, view, arriving) = (self.store.clone(), number * MESSAGES, vec![], vec![]);
        let mut mailbox = Mailbox { store, account, next, view, arriving };
        for content in script.messages() {
            mailbox.accept(content).await;
        }
        mailbox.view = mailbox.listed().await;
        mailbox
    }
}

/// A mailbox, and the session that uses it.
pub struct Mailbox {
    store: Arc<dyn Store>,
    account: AccountId,
    /// The number of the next message.
    next: u64,
    /// The messages that there were when the session began.
    view: Vec<Uid>,
    /// The content that has come so far.
    arriving: Vec<u8>,
}

impl Mailbox {
    /// Takes content.
    pub fn content(&mut self, content: &[u8]) {
        self.arriving.extend_from_slice(content);
    }

    /// Does what the answer to a question means for the mailbox.
    pub async fn answered(&mut self, question: &str, answer: &str) {
        let (verb, rest) = question.split_once(' ').unwrap_or((question, ""));
        match verb {
            "content" => self.arriving.clear(),
            // A store takes no message without any octet.
            "commit" if answer.starts_with("committed") && !self.arriving.is_empty() => {
                let content = std::mem::take(&mut self.arriving);
                self.accept(content).await;
            }
            "update" if answer == "updated" => {
                let uids = rest.split(' ').map(|it| self.view[it.parse::<usize>().unwrap() - 1]);
                let (uids, inbox) = (uids.collect::<Vec<_>>(), FolderId::INBOX);
                let count = uids.len();
                let removed = self.store.remove(self.account, inbox, uids, at(1), at(2)).await;
                assert_eq!(removed.unwrap(), count, "all or none");
            }
            _ => {}
        }
    }

    /// Returns the messages that the session shows, as the store has them now.
    pub async fn shown(&self) -> Vec<Vec<u8>> {
        self.read(&self.view).await
    }

    /// Returns what is in the mailbox.
    pub async fn kept(&self) -> Vec<Vec<u8>> {
        self.read(&self.listed().await).await
    }

    async fn accept(&mut self, content: Vec<u8>) {
        let mut acceptance = message(self.next, at(0), &content, &[]);
        acceptance.deliveries = vec![delivery(self.account, Vec::new())];
        self.store.accept(acceptance).await.unwrap();
        self.next += 1;
    }

    async fn listed(&self) -> Vec<Uid> {
        self.store.maildrop(self.account).await.unwrap().iter().map(|it| it.uid).collect()
    }

    async fn read(&self, uids: &[Uid]) -> Vec<Vec<u8>> {
        let mut messages = Vec::new();
        for &uid in uids {
            messages.push(read(&*self.store, self.account, uid).await);
        }
        messages
    }
}

/// A moment, in seconds after some beginning.
fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + second).unwrap()
}
