//! News of changes, from this node to the others and back.
//!
//! Each node listens to a channel of the database. What it changes itself, it tells there: at most one message every
//! 30 ms, whatever happened meanwhile, and never within a transaction that a sender waits for. A node that dies in
//! between tells nothing; so changes of the directory, which other nodes remember, are told in their own transaction
//! ([`NOTIFY`]). A node that was cut off from the database takes everything for changed once it is back.

use aws_lc_rs::rand;
use parking_lot::Mutex;
use posta_store::{StoreError, Subject};
use std::{collections::BTreeSet, mem::take, time::Duration};
use tokio::sync::Notify;

/// Tells the other nodes something, on the channel of the schema.
pub(crate) const NOTIFY: &str = "SELECT pg_notify('posta_' || current_schema(), $1)";

/// The time for which changes are gathered.
pub(crate) const GATHER: Duration = Duration::from_millis(30);

/// The most mailboxes in one message, which may have 8,000 octets. Beyond that, it says that all have changed.
const MAILBOXES: usize = 300;

pub(crate) const DIRECTORY: &str = "d";
pub(crate) const QUEUE: &str = "q";
pub(crate) const RESCHEDULED: &str = "r";
pub(crate) const ALL_MAILBOXES: &str = "m*";
/// The node has told counts; and the beginning of the word that a key was cleared.
pub(crate) const COUNTS: &str = "t";
pub(crate) const CLEARED: char = 'c';

/// What is to be told.
#[derive(Debug)]
pub(crate) struct News {
    /// The id of this node, which names one run of it.
    pub(crate) node: String,
    pending: Mutex<Pending>,
    pub(crate) is_there: Notify,
}

#[derive(Debug, Default)]
struct Pending {
    subjects: BTreeSet<Subject>,
    all_mailboxes: bool,
}

impl News {
    pub(crate) fn new() -> Result<Self, StoreError> {
        let mut name = [0; 8];
        rand::fill(&mut name)
            .map_err(|_| StoreError::Failed("the system has no randomness".to_owned()))?;
        let node = format!("{:016x}", u64::from_be_bytes(name));
        Ok(Self { node, pending: Mutex::default(), is_there: Notify::new() })
    }

    pub(crate) fn add(&self, subject: Subject) {
        let mut pending = self.pending.lock();
        let is_mailbox = matches!(subject, Subject::Mailbox(_));
        if is_mailbox && (pending.all_mailboxes || pending.subjects.len() >= MAILBOXES) {
            pending.all_mailboxes = true;
        } else {
            pending.subjects.insert(subject);
        }
        drop(pending);
        self.is_there.notify_one();
    }

    pub(crate) fn add_all_mailboxes(&self) {
        self.pending.lock().all_mailboxes = true;
        self.is_there.notify_one();
    }

    /// Returns the message that tells of a change of the directory.
    pub(crate) fn of_directory(&self) -> String {
        format!("{} {DIRECTORY}", self.node)
    }

    /// Returns a message of all that is pending.
    pub(crate) fn take(&self) -> Option<String> {
        let pending = take(&mut *self.pending.lock());
        let is_all = pending.all_mailboxes;
        let words = pending.subjects.into_iter().filter_map(|subject| match subject {
            Subject::Queue => Some(QUEUE.to_owned()),
            Subject::Rescheduled => Some(RESCHEDULED.to_owned()),
            Subject::Directory => Some(DIRECTORY.to_owned()),
            Subject::Mailbox(_) if is_all => None,
            Subject::Mailbox(account) => Some(format!("m{}", account.0)),
        });
        let words = words.chain(is_all.then(|| ALL_MAILBOXES.to_owned()));
        let words: Vec<_> = words.collect();
        (!words.is_empty()).then(|| format!("{} {}", self.node, words.join(" ")))
    }
}
