//! The lanes of the queue that this node leaves alone for now.
//!
//! How much of a lane a node takes in hand, and when it tries a server again that it could not reach, is its own affair, and
//! so is the pause. In the database it would hold for nodes whose clock shows something else, and outlive a node that dies
//! before it ends the pause.

use parking_lot::Mutex;
use std::collections::HashMap;

/// The paused lanes, and until when by this node's clock, in nanoseconds since 1970.
#[derive(Debug, Default)]
pub(crate) struct Pauses(Mutex<HashMap<String, i64>>);

impl Pauses {
    /// Pauses a lane. A time that has passed ends the pause.
    pub(crate) fn pause(&self, lane: &str, until: i64) {
        self.0.lock().insert(lane.to_owned(), until);
    }

    /// Returns the lanes that are paused at a time, and forgets the others.
    pub(crate) fn at(&self, now: i64) -> Vec<String> {
        let mut pauses = self.0.lock();
        pauses.retain(|_, until| *until > now);
        pauses.keys().cloned().collect()
    }

    /// Returns the lanes, and until when each is paused.
    pub(crate) fn all(&self) -> (Vec<String>, Vec<i64>) {
        self.0.lock().iter().map(|(lane, until)| (lane.clone(), *until)).unzip()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_ends_with_its_time_or_by_a_word() {
        let pauses = Pauses::default();
        for (lane, until) in [("a.test", 50), ("b.test", 20), ("c.test", 50)] {
            pauses.pause(lane, until);
        }
        pauses.pause("c.test", 10);
        assert_eq!(pauses.at(20), ["a.test"]);
        assert_eq!(pauses.all(), (vec!["a.test".to_owned()], vec![50]));
        assert_eq!(pauses.at(50), [""; 0]);
    }
}
