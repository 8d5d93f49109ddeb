//! Threads for password hashes. Each hash takes 19 MiB for a while, which the allocator keeps for the
//! thread that asked: so there are few such threads, and always the same.

use std::{
    sync::{Arc, Mutex, PoisonError, mpsc},
    thread,
};
use tokio::sync::oneshot;

type Job = Box<dyn FnOnce() + Send>;

/// A few threads that hash. They end when this is dropped.
pub(crate) struct Hashers {
    jobs: mpsc::Sender<Job>,
}

impl Hashers {
    /// So many threads. One that cannot be started is missing; without any, nothing is ever right.
    pub(crate) fn new(threads: usize) -> Self {
        let (jobs, receiver) = mpsc::channel::<Job>();
        let receiver = Arc::new(Mutex::new(receiver));
        for _ in 0..threads {
            let receiver = receiver.clone();
            let next = move || receiver.lock().unwrap_or_else(PoisonError::into_inner).recv();
            let work = move || {
                while let Ok(job) = next() {
                    job();
                }
            };
            if let Err(error) = thread::Builder::new().name("posta-hash".into()).spawn(work) {
                tracing::error!(%error, "a thread for password hashes is missing");
            }
        }
        Self { jobs }
    }

    /// Has a thread find something out; false if it could not.
    pub(crate) async fn check(&self, check: impl FnOnce() -> bool + Send + 'static) -> bool {
        let (sender, outcome) = oneshot::channel();
        let job = Box::new(move || {
            // Whoever asked may be gone.
            let _ = sender.send(check());
        });
        self.jobs.send(job).is_ok() && outcome.await.unwrap_or_default()
    }
}
