//! Turns: the way in which busy sessions share the runtime's threads with the others.
//!
//! A session never waits if everything is available: octets in the socket, answers in memory. A stranger
//! who sends a thousand commands at once would occupy a thread until the last command is answered, and
//! delay everyone whom that thread serves. Therefore a session counts its steps since it last waited for
//! anything. After [`STEPS`] of them the session lets others run, and continues only when it gets one of
//! a few places, for the same number of steps. However many busy strangers there are, no more of them
//! than there are places run before a session that has just heard from its client.

use std::{
    future::{Future, poll_fn},
    num::NonZeroUsize,
    pin::Pin,
    thread::available_parallelism,
};
use tokio::{
    sync::{Semaphore, SemaphorePermit},
    task::yield_now,
};

/// The number of steps in a turn. A step is a question or [`STEP`] octets of input; a turn takes about
/// 50 microseconds. Between two waits, a message or a login takes no more.
const STEPS: u32 = 8;

/// The number of octets of input that count as one step.
const STEP: usize = 16 * 1024;

/// The places for busy sessions, one for each thread of the runtime.
#[derive(Debug)]
pub(super) struct Places(Semaphore);

impl Default for Places {
    fn default() -> Self {
        Self(Semaphore::new(available_parallelism().map_or(1, NonZeroUsize::get)))
    }
}

/// A session's turn.
#[derive(Debug)]
pub(super) struct Turn<'p> {
    places: &'p Places,
    /// The number of steps since the session last waited.
    steps: u32,
    /// The place of a busy session, held until it waits.
    place: Option<SemaphorePermit<'p>>,
}

impl<'p> Turn<'p> {
    pub(super) const fn new(places: &'p Places) -> Self {
        Self { places, steps: 0, place: None }
    }

    /// Awaits a future. If that takes time, other sessions have their turn, and a new turn begins
    /// afterwards.
    pub(super) async fn during<F: Future>(&mut self, mut future: Pin<&mut F>) -> F::Output {
        poll_fn(|context| {
            let polled = future.as_mut().poll(context);
            if polled.is_pending() {
                self.rest();
            }
            polled
        })
        .await
    }

    /// Ends the turn, since the session is about to wait.
    pub(super) fn rest(&mut self) {
        (self.steps, self.place) = (0, None);
    }

    /// Counts an answered question.
    pub(super) async fn answered(&mut self) {
        self.step(1).await;
    }

    /// Counts the octets read.
    pub(super) async fn read(&mut self, octets: usize) {
        self.step((octets / STEP) as u32).await;
    }

    async fn step(&mut self, steps: u32) {
        self.steps += steps;
        if self.steps < STEPS {
            return;
        }
        // The place is kept while yielding, so that newly arrived input comes before sessions that wait
        // for a place.
        yield_now().await;
        // The kernel, too, may have somebody who waits: the store's threads, on which every message depends, need the
        // processor for microseconds at a time, and would get it from a busy runtime only every few milliseconds.
        std::thread::yield_now();
        self.rest();
        // The semaphore is never closed.
        self.place = self.places.0.acquire().await.ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        pin::pin,
        sync::{
            Arc,
            atomic::{AtomicU32, Ordering},
        },
    };

    /// Many sessions are always busy; one comes late and has little to do.
    #[tokio::test]
    async fn who_has_little_to_do_waits_for_few() {
        let (places, done) = (Arc::new(Places(Semaphore::new(1))), Arc::new(AtomicU32::new(0)));
        for _ in 0..100 {
            let (places, done) = (places.clone(), done.clone());
            tokio::spawn(async move {
                let mut turn = Turn::new(&places);
                for _ in 0..STEPS * 100 {
                    turn.answered().await;
                    done.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        // All sessions have had their first turn, and wait for the place.
        while done.load(Ordering::Relaxed) < STEPS * 110 {
            yield_now().await;
        }
        let before = done.load(Ordering::Relaxed);
        for _ in 0..10 {
            yield_now().await;
        }
        let meanwhile = done.load(Ordering::Relaxed) - before;
        assert!(meanwhile <= STEPS * 11, "{meanwhile} steps of others while one waited ten times");
        while done.load(Ordering::Relaxed) < 100 * STEPS * 100 {
            yield_now().await;
        }
    }

    #[tokio::test]
    async fn who_waits_holds_no_place() {
        let places = Places(Semaphore::new(1));
        let mut turn = Turn::new(&places);
        for _ in 0..STEPS {
            turn.answered().await;
        }
        assert_eq!(places.0.available_permits(), 0);
        turn.during(pin!(std::future::ready(()))).await;
        assert_eq!(places.0.available_permits(), 0, "what is at hand is no wait");
        turn.during(pin!(yield_now())).await;
        assert_eq!((places.0.available_permits(), turn.steps), (1, 0));
    }
}
