//! The term of this node, within which what it has claimed is its own ([`posta_store::Nodes`]).
//!
//! Whoever claims something remembers the term from before the claim, and gives the work up when the term ends: another
//! node may have begun it by then. A store that one process has for itself knows one term, which never ends.

use posta_store::Store;
use std::{
    fmt,
    future::poll_fn,
    sync::Arc,
    task::{Poll, ready},
    time::Duration,
};
use tokio::time::{MissedTickBehavior, interval};

/// The longest time from the end of a term until work that waits for something else notices.
const LOOK: Duration = Duration::from_secs(1);

/// A term of this node.
#[derive(Clone)]
pub(crate) struct Term {
    store: Arc<dyn Store>,
    number: u64,
}

impl fmt::Debug for Term {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Term").field(&self.number).finish()
    }
}

impl Term {
    /// Returns the present term.
    pub(crate) fn present(store: &Arc<dyn Store>) -> Self {
        Self { store: store.clone(), number: store.standing().term }
    }

    /// Returns whether the term goes on, so that what was claimed in it is this node's.
    pub(crate) fn goes_on(&self) -> bool {
        self.store.standing().holds(self.number)
    }

    /// Waits for the end of the term. Each time that the task is polled looks at it, so a task that stood still takes no
    /// further step if this is polled first (`biased`).
    pub(crate) async fn ended(&self) {
        let mut looks = interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        poll_fn(|context| {
            while self.goes_on() {
                ready!(looks.poll_tick(context));
            }
            Poll::Ready(())
        })
        .await;
    }
}
