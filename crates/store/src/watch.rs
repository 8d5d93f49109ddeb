//! Watching: what changed, whoever changed it, in this process or in another that shares the store.
//!
//! A [`Watcher`] is told of subjects, not of single changes: however much changes before it looks, it hears of
//! each subject once, so that a slow one takes no more memory than it has subjects. What it hears may be more than
//! what happened, as when the connection to a shared store was lost for a while, but never less. Whoever is told
//! looks into the store.

mod follow;
pub mod tally;

pub use follow::{Followed, HistoryFollower};

use crate::{history::Event, names::AccountId};
use follow::Followers;
use parking_lot::Mutex;
use std::{
    collections::{BTreeSet, HashMap},
    future::poll_fn,
    mem::take,
    sync::{
        Arc, Weak,
        atomic::{AtomicU64, AtomicUsize, Ordering, fence},
    },
    task::{Poll, Waker},
};

/// Informs of changes, by any process that shares the store.
pub trait Watch: Send + Sync + 'static {
    /// Returns a number that grows after every change of the directory, whoever made it. Reading it
    /// costs no more than a look into memory, so that a session can ask at each command whether
    /// what it knows of its account may be out of date. Where accounts are read after it, they are
    /// at least as new.
    fn directory_version(&self) -> u64;

    /// Returns a watcher that is told of everything that happens to these subjects from now on. What is read from
    /// the store afterwards has whatever happened before.
    fn watch(&self, subjects: &[Subject]) -> Watcher;

    /// Returns a follower of the history, which gets every event that this process writes from now on.
    fn follow(&self) -> HistoryFollower;
}

/// A subject that can be watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Subject {
    /// The queue: there is a new item, or one may be due earlier than before.
    Queue,
    /// The operator had items of the queue tried at another time: what is remembered of servers that could not be
    /// reached may be out of date.
    Rescheduled,
    /// The directory: accounts with their credentials and rights, aliases, domains and the keys that sign their mail, and
    /// certificates that an authority issues.
    Directory,
    /// An account's mailbox: messages arrived, left, or have other flags.
    Mailbox(AccountId),
}

impl Subject {
    const fn is_mailbox(self) -> bool {
        matches!(self, Self::Mailbox(_))
    }
}

/// The watchers of a store. Stores keep one, and tell it of each change once the change is durable and can be read.
/// Clones share the same watchers.
#[derive(Debug, Clone, Default)]
pub struct Watchers(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    directory_version: AtomicU64,
    by_subject: Mutex<HashMap<Subject, Vec<Weak<Heard>>>>,
    /// The number of watched mailboxes. Messages arrive often, and usually none is watched.
    mailboxes: AtomicUsize,
    followers: Followers,
}

/// The subjects that a watcher has been informed about.
#[derive(Debug, Default)]
struct Heard(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    subjects: BTreeSet<Subject>,
    /// Wakes the task of the watcher, if it waits.
    waker: Option<Waker>,
}

impl Watchers {
    /// Returns the number of the directory's last change ([`Watch::directory_version`]).
    #[must_use]
    pub fn directory_version(&self) -> u64 {
        self.0.directory_version.load(Ordering::Acquire)
    }

    /// Returns a new watcher of these subjects.
    #[must_use]
    pub fn watch(&self, subjects: &[Subject]) -> Watcher {
        let heard = Arc::new(Heard::default());
        let subjects: BTreeSet<_> = subjects.iter().copied().collect();
        let mut by_subject = self.0.by_subject.lock();
        for &subject in &subjects {
            let watching = by_subject.entry(subject).or_default();
            if watching.is_empty() && subject.is_mailbox() {
                self.0.mailboxes.fetch_add(1, Ordering::SeqCst);
            }
            watching.push(Arc::downgrade(&heard));
        }
        drop(by_subject);
        Watcher { heard, subjects, shared: self.0.clone() }
    }

    /// Returns a new follower of the history.
    #[must_use]
    pub fn follow(&self) -> HistoryFollower {
        HistoryFollower::new(self.0.clone())
    }

    /// Returns whether anybody follows the history.
    #[must_use]
    pub fn is_followed(&self) -> bool {
        self.0.followers.exist()
    }

    /// Informs the followers of events that are written and can be read.
    pub fn tell_events(&self, events: Vec<Event>) {
        self.0.followers.tell(events);
    }

    /// Informs the watchers of a change.
    pub fn tell(&self, subject: Subject) {
        match subject {
            Subject::Directory => {
                self.0.directory_version.fetch_add(1, Ordering::AcqRel);
            }
            Subject::Mailbox(_) if !self.watches_mailboxes() => return,
            _ => {}
        }
        // Wakers run foreign code, so none is called under the lock.
        let watching = match self.0.by_subject.lock().get(&subject) {
            Some(watching) => watching.iter().filter_map(Weak::upgrade).collect::<Vec<_>>(),
            None => return,
        };
        watching.iter().for_each(|heard| heard.hear(subject));
    }

    /// Informs the watchers that everything may have changed.
    pub fn tell_all(&self) {
        self.tell_where(|_| true);
    }

    /// Informs the watchers that every mailbox may have changed.
    pub fn tell_all_mailboxes(&self) {
        if self.watches_mailboxes() {
            self.tell_where(Subject::is_mailbox);
        }
    }

    fn watches_mailboxes(&self) -> bool {
        // A watcher that has just been added, and does not see the change yet, is seen here.
        fence(Ordering::SeqCst);
        self.0.mailboxes.load(Ordering::SeqCst) > 0
    }

    fn tell_where(&self, concerns: impl Fn(Subject) -> bool) {
        if concerns(Subject::Directory) {
            self.0.directory_version.fetch_add(1, Ordering::AcqRel);
        }
        let mut watching = Vec::new();
        for (&subject, of_it) in self.0.by_subject.lock().iter() {
            if concerns(subject) {
                watching
                    .extend(of_it.iter().filter_map(Weak::upgrade).map(|heard| (heard, subject)));
            }
        }
        watching.iter().for_each(|(heard, subject)| heard.hear(*subject));
    }
}

impl Heard {
    fn hear(&self, subject: Subject) {
        let mut state = self.0.lock();
        state.subjects.insert(subject);
        let waker = state.waker.take();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// Receives the changes of its subjects until it is dropped.
#[derive(Debug)]
pub struct Watcher {
    heard: Arc<Heard>,
    subjects: BTreeSet<Subject>,
    shared: Arc<Shared>,
}

impl Watcher {
    /// Waits until something happened to the subjects, and returns to which. What happened since the last call
    /// counts, so nothing is missed between two calls, and nothing is lost when the future is dropped.
    pub async fn changed(&mut self) -> BTreeSet<Subject> {
        poll_fn(|context| {
            let mut state = self.heard.0.lock();
            if state.subjects.is_empty() {
                state.waker = Some(context.waker().clone());
                return Poll::Pending;
            }
            Poll::Ready(take(&mut state.subjects))
        })
        .await
    }

    /// Returns the subjects that have changed since the last call, without waiting.
    pub fn take(&mut self) -> BTreeSet<Subject> {
        take(&mut self.heard.0.lock().subjects)
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        let mut by_subject = self.shared.by_subject.lock();
        for subject in &self.subjects {
            if let Some(watching) = by_subject.get_mut(subject) {
                watching.retain(|other| !std::ptr::eq(other.as_ptr(), Arc::as_ptr(&self.heard)));
                if watching.is_empty() {
                    by_subject.remove(subject);
                    if subject.is_mailbox() {
                        self.shared.mailboxes.fetch_sub(1, Ordering::SeqCst);
                    }
                }
            }
        }
    }
}
