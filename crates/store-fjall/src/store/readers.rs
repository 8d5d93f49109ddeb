//! The readers: threads that wait for the disk, so that no thread of the sessions does.
//!
//! A session's thread serves thousands of others, and a disk may take its time. What is at hand in
//! memory is read at once; a read that may have to wait, or goes over many records, is handed to a
//! reader.

use crate::error::io_failed;
use futures_channel::oneshot;
use parking_lot::Mutex;
use posta_store::{Pending, StoreError};
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, mpsc},
    thread::{self, JoinHandle},
};

/// The number of reading threads.
const READERS: usize = 4;

type Job = Box<dyn FnOnce() + Send>;

/// The reading threads. Dropping them finishes the reads that were requested. No more reads wait than there are
/// callers, each of which waits for its own.
#[derive(Debug)]
pub(crate) struct Readers {
    jobs: Option<mpsc::Sender<Job>>,
    threads: Vec<JoinHandle<()>>,
}

impl Readers {
    /// Starts the threads.
    pub(crate) fn start() -> Result<Self, StoreError> {
        let (sender, jobs) = mpsc::channel();
        let jobs = Arc::new(Mutex::new(jobs));
        let thread = |_| {
            let jobs = jobs.clone();
            thread::Builder::new().name("posta-read".into()).spawn(move || work(&jobs))
        };
        let threads = (0..READERS).map(thread).collect::<Result<_, _>>().map_err(io_failed)?;
        Ok(Self { jobs: Some(sender), threads })
    }

    /// Has a thread read, unless the caller is gone by then.
    pub(crate) fn read<'a, T: Send + 'static>(
        &self,
        read: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
    ) -> Pending<'a, T> {
        let (done, outcome) = oneshot::channel();
        self.run(move || {
            if !done.is_canceled() {
                let _ = done.send(read());
            }
        });
        wait(outcome)
    }

    /// Has a thread do a job, even if no caller waits for it.
    pub(crate) fn run(&self, job: impl FnOnce() + Send + 'static) {
        if let Some(jobs) = &self.jobs {
            // If the threads are gone, the job is dropped, and its caller gets an error.
            let _ = jobs.send(Box::new(job));
        }
    }
}

/// Waits for the outcome of a read.
pub(crate) fn wait<'a, T: Send + 'static>(
    outcome: oneshot::Receiver<Result<T, StoreError>>,
) -> Pending<'a, T> {
    Box::pin(async move {
        let gone = || StoreError::Failed("the read was broken off".to_owned());
        outcome.await.unwrap_or_else(|_| Err(gone()))
    })
}

impl Drop for Readers {
    fn drop(&mut self) {
        drop(self.jobs.take());
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// Does jobs until the senders are gone.
fn work(jobs: &Mutex<mpsc::Receiver<Job>>) {
    loop {
        let job = jobs.lock().recv();
        let Ok(job) = job else { return };
        // A record that cannot be read may make a read panic. Its caller gets an error, and the others still have a thread.
        if catch_unwind(AssertUnwindSafe(job)).is_err() {
            tracing::error!("a read failed: this is a bug, please report it with the lines above");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use posta_store::conformance::block_on;

    #[test]
    fn a_slow_read_holds_up_no_other() {
        let readers = Readers::start().unwrap();
        let (go_on, waits) = mpsc::channel();
        let slow = readers.read(move || waits.recv().map_err(|_| StoreError::Full));
        assert_eq!(block_on(readers.read(|| Ok(1))).unwrap(), 1);
        go_on.send(2).unwrap();
        assert_eq!(block_on(slow).unwrap(), 2);
    }

    /// Four panics used to end all reading until a restart.
    #[test]
    fn a_read_that_panics_costs_only_itself() {
        let readers = Readers::start().unwrap();
        for _ in 0..READERS * 2 {
            let broken: Pending<'_, ()> = readers.read(|| panic!("what it read"));
            assert!(block_on(broken).is_err());
        }
        assert_eq!(block_on(readers.read(|| Ok(1))).unwrap(), 1);
    }

    #[test]
    fn nothing_is_read_for_a_caller_that_is_gone() {
        let readers = Readers::start().unwrap();
        let (mut held, mut go_on) = (Vec::new(), Vec::new());
        for _ in 0..READERS {
            let (sender, waits) = mpsc::channel::<()>();
            go_on.push(sender);
            held.push(readers.read(move || waits.recv().map_err(|_| StoreError::Full)));
        }
        let (told, read) = mpsc::channel();
        drop(readers.read(move || told.send(()).map_err(|_| StoreError::Full)));
        drop(go_on);
        drop(readers);
        assert!(read.recv().is_err(), "it was read");
    }
}
