//! What waits for one server, and how many connections it is worth.

use super::{Relay, peer::Peer, trouble::Trouble, visit::Found};
use parking_lot::{Mutex, MutexGuard};
use posta_store::Item;
use std::{collections::VecDeque, sync::Arc, time::Duration};
use tokio::{
    sync::{Notify, oneshot},
    time::{Instant, timeout_at},
};

/// Opens a connection for a queue, on a task of its own.
pub(crate) type Opens = fn(Arc<HostQueue>, Arc<Relay>);

/// Connections to a server of which nothing is known.
const FIRST: usize = 5;

/// How long a connection waits for another message.
const IDLE: Duration = Duration::from_secs(5);

/// How long a server that could not be reached is left alone, at most: whoever comes meanwhile is
/// told the same.
const DOWN: Duration = Duration::from_secs(30);

/// Items of one message that are looked for, so that they go in one transaction.
const LOOK_AHEAD: usize = 100;

/// An item that waits for a connection.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) item: Arc<Item>,
    /// Whether it was on a connection already that broke.
    pub(crate) retried: bool,
    done: oneshot::Sender<Result<Found, Trouble>>,
}

impl Job {
    /// Returns a job for an item, and where what came of it is told.
    pub(crate) fn new(item: Arc<Item>) -> (Self, oneshot::Receiver<Result<Found, Trouble>>) {
        let (done, result) = oneshot::channel();
        (Self { item, retried: false, done }, result)
    }

    /// The same for another connection.
    pub(crate) fn again(self) -> Self {
        Self { retried: true, ..self }
    }

    pub(crate) fn finish(self, result: Result<Found, Trouble>) {
        // Whoever waited may be gone: the program stops.
        let _ = self.done.send(result);
    }
}

/// What waits for one server.
#[derive(Debug)]
pub(crate) struct HostQueue {
    pub(crate) peer: Peer,
    state: Mutex<State>,
    more: Notify,
    /// Opens a connection, which serves the queue for as long as something waits.
    open: Opens,
}

#[derive(Debug)]
struct State {
    jobs: VecDeque<Job>,
    /// Connections that are open or being opened, those of them that wait for a job, and how many
    /// there may be.
    connections: usize,
    idle: usize,
    limit: usize,
    /// Until when nobody need try, and why.
    down: Option<(Instant, Trouble)>,
    stopped: bool,
}

impl HostQueue {
    pub(crate) fn new(peer: Peer, open: Opens) -> Self {
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
    pub(crate) fn forgive(&self) {
        self.lock().down = None;
    }

    /// Nothing is sent any more but what is under way.
    pub(crate) fn stop(&self) {
        let mut state = self.lock();
        state.stopped = true;
        state.jobs.clear();
        drop(state);
        self.more.notify_waiters();
    }

    pub(crate) fn is_in_use(&self) -> bool {
        let state = self.lock();
        let down = state.down.as_ref().is_some_and(|(until, _)| *until > Instant::now());
        state.connections > 0 || !state.jobs.is_empty() || down
    }

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

    /// Sees to it that somebody takes what waits.
    fn serve(self: &Arc<Self>, state: &mut State, relay: &Arc<Relay>) {
        if state.idle > 0 {
            self.more.notify_one();
        }
        if state.jobs.len() > state.idle && state.connections < state.limit {
            state.connections += 1;
            (self.open)(self.clone(), relay.clone());
        }
    }

    /// The next message, with all its recipients that wait for this server; none if there is none
    /// for a while.
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

    /// The next message, if there is one at once.
    pub(crate) fn try_next(&self) -> Option<Vec<Job>> {
        take(&mut self.lock().jobs)
    }

    /// Jobs that a connection broke under before it had said anything of them.
    pub(crate) fn give_back(&self, jobs: Vec<Job>) {
        let mut state = self.lock();
        if !state.stopped {
            jobs.into_iter().rev().for_each(|job| state.jobs.push_front(job));
        }
    }

    /// The server took something: it may be worth one more connection.
    pub(crate) fn went_well(self: &Arc<Self>, relay: &Arc<Relay>) {
        let mut state = self.lock();
        if state.limit < relay.settings.get().connections {
            state.limit += 1;
            if !state.jobs.is_empty() {
                self.serve(&mut state, relay);
            }
        }
    }

    /// The server wants less: it refused for now, or closed a connection.
    pub(crate) fn is_too_much(&self) {
        let mut state = self.lock();
        state.limit = (state.connections.saturating_sub(1)).clamp(1, state.limit);
    }

    /// A connection has ended. Whether another is to take its place: something waits.
    pub(crate) fn ended(&self) -> bool {
        let mut state = self.lock();
        let goes_on = !state.jobs.is_empty() && state.connections <= state.limit;
        if !goes_on {
            state.connections -= 1;
        }
        goes_on
    }

    /// A connection is about to end: whoever waits, or comes now, needs another.
    pub(crate) fn leaves(self: &Arc<Self>, relay: &Arc<Relay>) {
        let mut state = self.lock();
        state.connections -= 1;
        self.serve(&mut state, relay);
    }

    /// No connection came about. If there is no other, whoever waits has to know.
    pub(crate) fn failed(&self, trouble: &Trouble, schedule: Duration) {
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

/// Takes the first job, and those of the same message that can go with it.
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
