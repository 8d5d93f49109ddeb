//! Following the history: each event as it is written, for those who look on.
//!
//! A follower that is too slow loses events and learns how many, so nobody's slowness costs memory or time of the
//! transactions. Without followers, the price is one look at a number.

use crate::history::Event;
use parking_lot::Mutex;
use std::{
    collections::VecDeque,
    future::poll_fn,
    mem::take,
    sync::{
        Arc, Weak,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Poll, Waker},
};

/// The maximal number of events that wait for a follower.
pub const WAITING: usize = 1_000;

/// What a follower learns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Followed {
    /// An event was written.
    Event(Arc<Event>),
    /// This number of events were written that the follower was too slow for.
    Missed(u64),
}

/// The followers of a store's history.
#[derive(Debug, Default)]
pub(super) struct Followers {
    all: Mutex<Vec<Weak<Mutex<Heard>>>>,
    count: AtomicUsize,
}

#[derive(Debug, Default)]
struct Heard {
    waiting: VecDeque<Arc<Event>>,
    missed: u64,
    waker: Option<Waker>,
}

impl Followers {
    pub(super) fn exist(&self) -> bool {
        self.count.load(Ordering::Relaxed) > 0
    }

    pub(super) fn tell(&self, events: Vec<Event>) {
        if events.is_empty() {
            return;
        }
        let followers: Vec<_> = self.all.lock().iter().filter_map(Weak::upgrade).collect();
        let events: Vec<_> = events.into_iter().map(Arc::new).collect();
        for follower in followers {
            let mut heard = follower.lock();
            for event in &events {
                heard.hear(event.clone());
            }
            let waker = heard.waker.take();
            drop(heard);
            // Wakers run foreign code, so none is called under the lock.
            if let Some(waker) = waker {
                waker.wake();
            }
        }
    }
}

impl Heard {
    fn hear(&mut self, event: Arc<Event>) {
        if self.missed > 0 || self.waiting.len() >= WAITING {
            self.missed += 1;
        } else {
            self.waiting.push_back(event);
        }
    }

    fn take(&mut self) -> Option<Followed> {
        if let Some(event) = self.waiting.pop_front() {
            return Some(Followed::Event(event));
        }
        Some(take(&mut self.missed)).filter(|missed| *missed > 0).map(Followed::Missed)
    }
}

/// Receives each event of the history that is written, until it is dropped.
#[derive(Debug)]
pub struct HistoryFollower {
    heard: Arc<Mutex<Heard>>,
    shared: Arc<super::Shared>,
}

impl HistoryFollower {
    pub(super) fn new(shared: Arc<super::Shared>) -> Self {
        let heard = Arc::new(Mutex::new(Heard::default()));
        shared.followers.all.lock().push(Arc::downgrade(&heard));
        shared.followers.count.fetch_add(1, Ordering::Relaxed);
        Self { heard, shared }
    }

    /// Waits for the next event, or for the news that some were missed. Nothing is lost when the future is dropped.
    pub async fn next(&mut self) -> Followed {
        poll_fn(|context| {
            let mut heard = self.heard.lock();
            match heard.take() {
                Some(followed) => Poll::Ready(followed),
                None => {
                    heard.waker = Some(context.waker().clone());
                    Poll::Pending
                }
            }
        })
        .await
    }

    /// Returns the next event, or the number of those missed, without waiting.
    pub fn take(&mut self) -> Option<Followed> {
        self.heard.lock().take()
    }
}

impl Drop for HistoryFollower {
    fn drop(&mut self) {
        let mut all = self.shared.followers.all.lock();
        all.retain(|other| !std::ptr::eq(other.as_ptr(), Arc::as_ptr(&self.heard)));
        self.shared.followers.count.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{What, watch::Watchers};
    use posta_mail::{MailId, Timestamp};

    fn event(number: u64) -> Event {
        let (id, time) = (MailId::new(Timestamp::UNIX_EPOCH, number), Timestamp::UNIX_EPOCH);
        Event { id, time, what: What::Released }
    }

    #[test]
    fn a_slow_follower_learns_how_many_events_it_missed() {
        let watchers = Watchers::default();
        assert!(!watchers.is_followed());
        let mut follower = watchers.follow();
        assert!(watchers.is_followed());
        for number in 0..WAITING as u64 + 7 {
            watchers.tell_events(vec![event(number)]);
        }
        for number in 0..WAITING as u64 {
            assert_eq!(follower.take(), Some(Followed::Event(Arc::new(event(number)))));
        }
        watchers.tell_events(vec![event(1)]);
        assert_eq!(follower.take(), Some(Followed::Missed(8)), "events keep their order");
        watchers.tell_events(vec![event(2)]);
        assert_eq!(follower.take(), Some(Followed::Event(Arc::new(event(2)))));
        assert_eq!(follower.take(), None);
        drop(follower);
        assert!(!watchers.is_followed());
    }
}
