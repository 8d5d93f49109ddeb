//! The queue of items that wait for one server, and the number of connections that serve it: more while
//! the server accepts mail, fewer when it refuses or hangs up, and never more than this node's share of
//! what the operator allows (`limits/share.rs`).

use super::{Relay, host_failure::HostFailure, offer::OfferOutcome, peer::Peer};
use crate::limits::{
    share::{Allowed, Share},
    term::Term,
};
use parking_lot::{Mutex, MutexGuard};
use posta_store::{Item, Tally};
use std::{collections::VecDeque, sync::Arc, time::Duration};
use tokio::{
    sync::{Notify, oneshot},
    time::{Instant, sleep, timeout_at},
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

/// The shortest time after which a node that has no connection looks again whether it may open one.
const LOOK: Duration = Duration::from_millis(500);

/// An item that waits for a connection.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) item: Arc<Item>,
    /// The term in which the item was claimed.
    term: Term,
    /// Whether a connection has already broken before this item was decided.
    pub(crate) retried: bool,
    done: oneshot::Sender<Result<OfferOutcome, HostFailure>>,
}

impl Job {
    /// Returns a job for an item, and the receiver of its result.
    pub(crate) fn new(
        item: Arc<Item>,
        term: Term,
    ) -> (Self, oneshot::Receiver<Result<OfferOutcome, HostFailure>>) {
        let (done, result) = oneshot::channel();
        (Self { item, term, retried: false, done }, result)
    }

    /// Returns the job for a second try on another connection.
    pub(crate) fn retry(self) -> Self {
        Self { retried: true, ..self }
    }

    /// Returns whether the item is still this node's.
    pub(crate) fn is_held(&self) -> bool {
        self.term.goes_on()
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
    /// The server's name and port, under which all nodes count their connections while they take turns.
    server: String,
    held: Tally,
}

#[derive(Debug)]
struct State {
    jobs: VecDeque<Job>,
    /// The number of connections that are open or being opened.
    connections: usize,
    /// The number of them that other nodes are told of.
    told: usize,
    /// The number of connections that wait for a job.
    idle: usize,
    /// The maximal number of connections.
    limit: usize,
    /// The time until which the server counts as unreachable, and the failure.
    down: Option<(Instant, HostFailure)>,
    stopped: bool,
    /// Whether a task waits for the moment when this node may open a connection.
    waits: bool,
}

impl HostQueue {
    /// Returns an empty queue for a server. `held` counts the connections of all nodes to each server.
    pub(crate) fn new(peer: Peer, open: OpenConnection, held: Tally) -> Self {
        let state = State {
            jobs: VecDeque::new(),
            connections: 0,
            told: 0,
            idle: 0,
            limit: FIRST,
            down: None,
            stopped: false,
            waits: false,
        };
        let server = format!("{}:{}", peer.name, peer.port);
        Self { peer, state: Mutex::new(state), more: Notify::new(), open, server, held }
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

    /// Drops the waiting items that may be another node's by now.
    pub(crate) fn drop_lost(&self) {
        self.lock().jobs.retain(Job::is_held);
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
        if state.jobs.len() <= state.idle || state.stopped {
            return;
        }
        let (allowed, takes_turns) = self.allowed(relay);
        if state.connections < state.limit.min(allowed.connections) && allowed.wait.is_zero() {
            state.connections += 1;
            if takes_turns {
                state.told += 1;
                self.held.add(&self.server, 1, None, relay.clock.now());
            }
            (self.open)(self.clone(), relay.clone());
        } else if state.connections == 0 && !state.waits {
            state.waits = true;
            let (queue, relay) = (self.clone(), relay.clone());
            tokio::spawn(async move {
                sleep(allowed.wait.max(LOOK)).await;
                let mut state = queue.lock();
                state.waits = false;
                queue.serve(&mut state, &relay);
            });
        }
    }

    /// Returns the connections that this node may have now, and whether it takes turns with others. While another node
    /// still uses what it opened in its turn, this one opens none.
    fn allowed(&self, relay: &Relay) -> (Allowed, bool) {
        let most = relay.settings.get().connections;
        let share = Share::of(relay.store.standing());
        let now = relay.clock.now();
        let mut allowed = share.of_connections(most, &self.server, now);
        let takes_turns = share.takes_turns(most);
        if takes_turns && self.held.count(&self.server, now).count >= most as u64 {
            allowed.wait = allowed.wait.max(LOOK);
        }
        (allowed, takes_turns)
    }

    /// Returns whether there are more connections than this node may have.
    fn is_beyond(&self, state: &State, relay: &Relay) -> bool {
        state.connections > self.allowed(relay).0.connections
    }

    /// Records that a connection is no more.
    fn close(&self, state: &mut State) {
        state.connections -= 1;
        if state.told > state.connections {
            state.told -= 1;
            self.held.take_back(&self.server);
        }
    }

    /// Returns the jobs of the next message for this server; `None` if none comes for a while, or if the connection makes
    /// way for another node's. One that has handed over nothing yet (`is_fresh`) does not: it may have taken long to
    /// open, and would never hand over anything.
    pub(crate) async fn next(&self, relay: &Relay, is_fresh: bool) -> Option<Vec<Job>> {
        let until = Instant::now() + IDLE;
        loop {
            let more = {
                let mut state = self.lock();
                if !is_fresh && self.is_beyond(&state, relay) {
                    return None;
                }
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
                return self.take_next(&mut state, relay);
            }
        }
    }

    /// Returns the jobs of the next message, if one is already waiting.
    pub(crate) fn try_next(&self, relay: &Relay) -> Option<Vec<Job>> {
        self.take_next(&mut self.lock(), relay)
    }

    fn take_next(&self, state: &mut State, relay: &Relay) -> Option<Vec<Job>> {
        if self.is_beyond(state, relay) { None } else { take(&mut state.jobs) }
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
    pub(crate) fn ended(self: &Arc<Self>, relay: &Arc<Relay>) -> bool {
        let mut state = self.lock();
        let is_allowed = state.connections <= state.limit && !self.is_beyond(&state, relay);
        let goes_on = is_allowed && !state.jobs.is_empty();
        if !goes_on {
            self.close(&mut state);
            self.serve(&mut state, relay);
        }
        goes_on
    }

    /// Records that a connection is about to end, and opens another one if an item waits.
    pub(crate) fn leave(self: &Arc<Self>, relay: &Arc<Relay>) {
        let mut state = self.lock();
        self.close(&mut state);
        self.serve(&mut state, relay);
    }

    /// Records that a connection could not be opened. If there is no other connection, all waiting jobs
    /// fail, and the server counts as unreachable for at most half of `schedule`, the shortest time
    /// between attempts.
    pub(crate) fn failed(&self, trouble: &HostFailure, schedule: Duration) {
        let mut state = self.lock();
        self.close(&mut state);
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

/// Takes the first job that is held, and those of the same message and envelope that can go with it.
fn take(jobs: &mut VecDeque<Job>) -> Option<Vec<Job>> {
    let mut taken = vec![std::iter::from_fn(|| jobs.pop_front()).find(Job::is_held)?];
    let Item { id, envelope, .. } = &*taken[0].item.clone();
    let mut index = 0;
    while index < jobs.len().min(LOOK_AHEAD) {
        let other = &jobs[index].item;
        if other.id.content == id.content && other.envelope == *envelope && jobs[index].is_held() {
            taken.extend(jobs.remove(index));
        } else {
            index += 1;
        }
    }
    Some(taken)
}
