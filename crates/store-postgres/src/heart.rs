//! What this node knows of its own heartbeat.
//!
//! The database has the time of a node's last heartbeat, by its own clock, and the node is dead to others when that is
//! [`DEAD`] ago. The node itself counts from the moment at which it *sent* the last heartbeat that was answered, by a clock
//! that is never set, and takes itself for dead [`MARGIN`] earlier. So it has stopped before anyone takes its work, even if
//! the answer was late or the whole process stood still meanwhile. Clocks that show a wrong time change nothing.

use parking_lot::Mutex;
use posta_store::{CLOCK_TOLERANCE, DEAD, NodeStanding, Vital, Vitals};
use std::time::Duration;
use tokio::{task::JoinHandle, time::Instant};

/// The time from one heartbeat to the next.
pub(crate) const EVERY: Duration = Duration::from_secs(3);

/// The time by which a node takes itself for dead before others do.
const MARGIN: Duration = Duration::from_secs(3);

/// Says in SQL that the node `n` is alive ([`DEAD`]).
macro_rules! live {
    () => {
        "n.beat > clock_timestamp() - interval '15 seconds'"
    };
}

/// Says in SQL that the node `n` is dead.
macro_rules! dead {
    () => {
        "n.beat <= clock_timestamp() - interval '15 seconds'"
    };
}

pub(crate) use {dead, live};

/// The heartbeat of this node.
#[derive(Debug)]
pub(crate) struct Heart {
    /// The name of the server.
    pub(crate) name: String,
    /// The task that beats, once the node has joined.
    pub(crate) beating: tokio::sync::Mutex<Option<JoinHandle<()>>>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    vitals: Option<Vitals>,
    /// When the last heartbeat that was answered was sent.
    last: Option<Instant>,
    standing: NodeStanding,
}

/// What the answer to a heartbeat says.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BeatAnswer {
    /// When the heartbeat was sent.
    pub(crate) sent: Instant,
    pub(crate) is_draining: bool,
    pub(crate) nodes: u64,
    pub(crate) rank: u64,
    pub(crate) clock_ahead: Option<i64>,
    /// Whether what the node had claimed was set free, since it was late.
    pub(crate) begins_anew: bool,
}

impl Heart {
    pub(crate) fn new(name: String) -> Self {
        let state = State { vitals: None, last: None, standing: NodeStanding::ALONE };
        Self { name, beating: tokio::sync::Mutex::default(), state: Mutex::new(state) }
    }

    pub(crate) fn set_vitals(&self, vitals: Vitals) {
        self.state.lock().vitals = Some(vitals);
    }

    /// Returns how the node is, if anybody has said what tells that.
    pub(crate) fn vital(&self) -> Option<Vital> {
        let vitals = self.state.lock().vitals.clone();
        vitals.map(|vitals| (vitals.0)())
    }

    /// Returns whether the node has joined.
    pub(crate) fn has_joined(&self) -> bool {
        self.state.lock().last.is_some()
    }

    pub(crate) fn standing(&self) -> NodeStanding {
        let state = self.state.lock();
        NodeStanding { is_live: state.is_live(), ..state.standing }
    }

    /// Returns how far this machine's clock is ahead of the database's, in nanoseconds, if it is wrong. The times in the queue
    /// are by the database's clock then, so that what this node queues is due for all nodes at the same moment.
    pub(crate) fn ahead(&self) -> i64 {
        let standing = self.state.lock().standing;
        if standing.has_wrong_clock() { standing.clock_ahead.saturating_mul(1_000_000) } else { 0 }
    }

    /// Takes the answer to a heartbeat; refuses one that came too late for the term to go on, unless the node begins
    /// anew. Returns the standing before and now.
    pub(crate) fn answered(&self, answer: BeatAnswer) -> Option<(NodeStanding, NodeStanding)> {
        let mut state = self.state.lock();
        let before = NodeStanding { is_live: state.is_live(), ..state.standing };
        if !before.is_live && !answer.begins_anew {
            return None;
        }
        state.last = Some(answer.sent);
        state.standing = NodeStanding {
            is_live: true,
            is_draining: answer.is_draining,
            term: before.term + u64::from(answer.begins_anew),
            nodes: answer.nodes.max(1),
            rank: answer.rank,
            clock_ahead: answer.clock_ahead.unwrap_or_default(),
        };
        // It may be too late again by now.
        Some((before, NodeStanding { is_live: state.is_live(), ..state.standing }))
    }

    /// Begins another term after [`Heart::stop`], for a process that joins again.
    pub(crate) fn begin(&self) {
        let mut state = self.state.lock();
        state.standing.is_draining = false;
        state.last = None;
    }

    /// Ends the term: nothing goes on that was claimed in it, and nothing is claimed any more.
    pub(crate) fn stop(&self) {
        let mut state = self.state.lock();
        state.standing.is_draining = true;
        state.standing.term += 1;
        state.last = state.last.and_then(|last| last.checked_sub(DEAD)).or(state.last);
    }
}

impl State {
    /// A process that has not joined has claimed nothing.
    fn is_live(&self) -> bool {
        self.last.is_none_or(|last| last.elapsed() < DEAD.saturating_sub(MARGIN))
    }
}

/// Tells the log of what has changed from one heartbeat to the next.
pub(crate) fn log_change(before: NodeStanding, now: NodeStanding) {
    if now.term > before.term {
        tracing::warn!(
            "the heartbeat of this node was late; what it had claimed was set free, and attempts under way were given up"
        );
    }
    match (before.is_draining, now.is_draining) {
        (false, true) => {
            tracing::info!("this node is drained: it finishes what it does, and takes nothing new")
        }
        (true, false) => tracing::info!("this node takes work again"),
        _ => {}
    }
    let ahead = now.clock_ahead;
    match (before.has_wrong_clock(), now.has_wrong_clock()) {
        (false, true) => tracing::warn!(
            milliseconds_ahead = ahead,
            "the clock of this machine differs from the database's by more than {} s: see whether both are synchronised (NTP)",
            CLOCK_TOLERANCE.as_secs()
        ),
        (true, false) => {
            tracing::info!("the clock of this machine agrees with the database's again")
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::advance;

    fn answer(begins_anew: bool) -> BeatAnswer {
        let sent = Instant::now();
        BeatAnswer {
            sent,
            is_draining: false,
            nodes: 2,
            rank: 1,
            clock_ahead: Some(9),
            begins_anew,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_term_ends_before_others_take_the_node_for_dead() {
        let heart = Heart::new("one".to_owned());
        assert!(heart.standing().holds(0) && !heart.has_joined());
        heart.answered(answer(false)).unwrap();
        let standing = heart.standing();
        assert_eq!((standing.term, standing.nodes, standing.clock_ahead), (0, 2, 9));
        advance(DEAD - MARGIN - Duration::from_millis(1)).await;
        assert!(heart.standing().holds(0));
        advance(Duration::from_millis(1)).await;
        assert!(!heart.standing().holds(0), "it has stopped");
        assert!(heart.answered(answer(false)).is_none(), "the answer came too late");
        assert!(!heart.standing().is_live);
        heart.answered(answer(true)).unwrap();
        assert!(heart.standing().holds(1) && !heart.standing().holds(0));
    }

    #[tokio::test(start_paused = true)]
    async fn a_term_counts_from_when_the_heartbeat_was_sent() {
        let heart = Heart::new("one".to_owned());
        heart.answered(answer(false)).unwrap();
        let slow = answer(false);
        advance(Duration::from_secs(10)).await;
        heart.answered(slow).unwrap();
        advance(Duration::from_secs(2)).await;
        assert!(!heart.standing().is_live);
    }

    #[tokio::test(start_paused = true)]
    async fn a_node_that_was_removed_takes_nothing() {
        let heart = Heart::new("one".to_owned());
        advance(DEAD * 2).await;
        heart.answered(answer(false)).unwrap();
        heart.stop();
        let standing = heart.standing();
        assert!(!standing.is_live && !standing.takes_work() && !standing.holds(0));
        // It is started again in the same process.
        heart.begin();
        heart.answered(answer(false)).unwrap();
        let standing = heart.standing();
        assert!(standing.takes_work() && standing.holds(1) && !standing.holds(0));
    }
}
