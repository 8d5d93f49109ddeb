//! The queue of items that wait for one server, and the number of connections that serve it: more while
//! the server accepts mail, fewer when it refuses or hangs up.

use super::{Relay, host_failure::HostFailure, offer::OfferOutcome, peer::Peer};
use parking_lot::{Mutex, MutexGuard};
use posta_store::Item;
use std::{collections::VecDeque, sync::Arc, time::Duration};
use tokio::{
    sync::{Notify, oneshot},
    time::{Instant, timeout_at},
};

/// The function that opens a connection for a queue, on a task of its own.
pub(crate) type OpenConnection = fn(Arc<HostQueue>, Arc<Relay>);

/// The maximal number of connections to a server of which nothing is known yet.
const FIRST: usize = 5;

/// The time for which an idle connection waits for another message.
const IDLE: Duration = Duration::from_secs(5);

/// The maximal time for which an unreachable server is left alone. Items that arrive meanwhile fail with
/// the same reason.
const DOWN: Duration = Duration::from_secs(30);

/// The number of waiting items that are searched for others of the same message, so that they go in one
/// mail transaction.
const LOOK_AHEAD: usize = 100;

/// An item that waits for a connection.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) item: Arc<Item>,
    /// Whether a connection has already broken before this item was decided.
    pub(crate) retried: bool,
    done: oneshot::Sender<Result<OfferOutcome, HostFailure>>,
}

impl Job {
    /// Returns a job for an item, and the receiver of its result.
    pub(crate) fn new(
        item: Arc<Item>,
    ) -> (Self, oneshot::Receiver<Result<OfferOutcome, HostFailure>>) {
        let (done, result) = oneshot::channel();
        (Self { item, retried: false, done }, result)
    }

    /// Returns the job for a second try on another connection.
    pub(crate) fn retry(self) -> Self {
        Self { retried: true, ..self }
    }

    pub(crate) fn finish(self, result: Result<OfferOutcome, HostFailure>) {
        // The attempt may no longer exist when the program stops.
        let _ = self.done.send(result);
    }
}

/// The items that wait for one server, and the state of its connections.
#[derive(Debug)]
pub(crate) struct HostQueue {
    pub(crate) peer: Peer,
    state: Mutex<State>,
    more: Notify,
    /// Opens a connection, which then serves the queue as long as an item waits.
    open: OpenConnection,
}

#[derive(Debug)]
struct State {
    jobs: VecDeque<Job>,
    /// The number of connections that are open or being opened.
    connections: usize,
    /// The number of connections that wait for a job.
    idle: usize,
    /// The maximal number of connections.
    limit: usize,
    /// The time until which the server counts as unreachable, and the failure.
    down: Option<(Instant, HostFailure)>,
    stopped: bool,
}

impl HostQueue {
    pub(crate) fn new(peer: Peer, open: OpenConnection) -> Self {
        let state = State {
            jobs: VecDeque::new(),
            connections: 0,
            idle: 0,
            limit: FIRST,
            down: None,
            stopped: false,
        };
        Self { peer, state: Mutex::new(state), more: Notify::new(), open }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// Forgets that the server could not be reached.
    pub(crate) fn clear_failure(&self) {
        self.lock().down = None;
    }

    /// Drops the waiting items. Messages in progress may finish.
    pub(crate) fn stop(&self) {
        let mut state = self.lock();
        state.stopped = true;
        state.jobs.clear();
        drop(state);
        self.more.notify_waiters();
    }

    /// Returns whether the queue contains anything worth remembering.
    pub(crate) fn is_in_use(&self) -> bool {
        let state = self.lock();
        let down = state.down.as_ref().is_some_and(|(until, _)| *until > Instant::now());
        state.connections > 0 || !state.jobs.is_empty() || down
    }

    /// Appends a job, or fails it at once if the server counts as unreachable.
    pub(crate) fn push(self: &Arc<Self>, job: Job, relay: &Arc<Relay>) {
        let mut state = self.lock();
        let down = state.down.as_ref().filter(|(until, _)| *until > Instant::now());
        if let Some(trouble) = down.map(|(_, trouble)| trouble.clone()) {
            drop(state);
            return job.finish(Err(trouble));
        }
        if state.stopped {
            return;
        }
        state.jobs.push_back(job);
        self.serve(&mut state, relay);
    }

    /// Wakes an idle connection, or opens another one if more jobs wait than connections are idle.
    fn serve(self: &Arc<Self>, state: &mut State, relay: &Arc<Relay>) {
        if state.idle > 0 {
            self.more.notify_one();
        }
        if state.jobs.len() > state.idle && state.connections < state.limit {
            state.connections += 1;
            (self.open)(self.clone(), relay.clone());
        }
    }

    /// Returns the jobs of the next message for this server; `None` if none comes for a while.
    pub(crate) async fn next(&self) -> Option<Vec<Job>> {
        let until = Instant::now() + IDLE;
        loop {
            let more = {
                let mut state = self.lock();
                if let Some(jobs) = take(&mut state.jobs) {
                    return Some(jobs);
                }
                if state.stopped {
                    return None;
                }
                state.idle += 1;
                self.more.notified()
            };
            let waited = timeout_at(until, more).await;
            let mut state = self.lock();
            state.idle -= 1;
            if waited.is_err() {
                return take(&mut state.jobs);
            }
        }
    }

    /// Returns the jobs of the next message, if one is already waiting.
    pub(crate) fn try_next(&self) -> Option<Vec<Job>> {
        take(&mut self.lock().jobs)
    }

    /// Puts jobs whose connection broke before the server decided anything back at the front.
    pub(crate) fn give_back(&self, jobs: Vec<Job>) {
        let mut state = self.lock();
        if !state.stopped {
            jobs.into_iter().rev().for_each(|job| state.jobs.push_front(job));
        }
    }

    /// Allows one more connection, after the server accepted something.
    pub(crate) fn allow_more(self: &Arc<Self>, relay: &Arc<Relay>) {
        let mut state = self.lock();
        if state.limit < relay.settings.get().connections {
            state.limit += 1;
            if !state.jobs.is_empty() {
                self.serve(&mut state, relay);
            }
        }
    }

    /// Allows fewer connections, after the server refused for now or closed one.
    pub(crate) fn allow_fewer(&self) {
        let mut state = self.lock();
        state.limit = (state.connections.saturating_sub(1)).clamp(1, state.limit);
    }

    /// Records that a connection broke. Returns whether its task should open another one, because an
    /// item waits.
    pub(crate) fn ended(&self) -> bool {
        let mut state = self.lock();
        let goes_on = !state.jobs.is_empty() && state.connections <= state.limit;
        if !goes_on {
            state.connections -= 1;
        }
        goes_on
    }

    /// Records that a connection is about to end, and opens another one if an item waits.
    pub(crate) fn leave(self: &Arc<Self>, relay: &Arc<Relay>) {
        let mut state = self.lock();
        state.connections -= 1;
        self.serve(&mut state, relay);
    }

    /// Records that a connection could not be opened. If there is no other connection, all waiting jobs
    /// fail, and the server counts as unreachable for at most half of `schedule`, the shortest time
    /// between attempts.
    pub(crate) fn failed(&self, trouble: &HostFailure, schedule: Duration) {
        let mut state = self.lock();
        state.connections -= 1;
        if state.connections > 0 {
            state.limit = state.connections;
            return;
        }
        state.limit = FIRST;
        state.down = Some((Instant::now() + DOWN.min(schedule / 2), trouble.clone()));
        let jobs = std::mem::take(&mut state.jobs);
        drop(state);
        jobs.into_iter().for_each(|job| job.finish(Err(trouble.clone())));
    }
}

/// Takes the first job, and those of the same message and envelope that can go with it.
fn take(jobs: &mut VecDeque<Job>) -> Option<Vec<Job>> {
    let mut taken = vec![jobs.pop_front()?];
    let Item { id, envelope, .. } = &*taken[0].item.clone();
    let mut index = 0;
    while index < jobs.len().min(LOOK_AHEAD) {
        let other = &jobs[index].item;
        if other.id.content == id.content && other.envelope == *envelope {
            taken.extend(jobs.remove(index));
        } else {
            index += 1;
        }
    }
    Some(taken)
}
