//! Counts that the processes of a store share, such as failed logins and sessions of accounts.
//!
//! Each process counts what it sees itself, and hears within about a second what the others counted. Reading a count
//! is a look into memory, so it can be done at every command of a session. In return a count may lag behind, and a
//! crash of what the processes share loses what those that are gone had counted. A store that has one process only
//! tells nobody (`Tallies::default`).

mod exchange;

pub use exchange::{Change, Tallies};

use parking_lot::Mutex;
use posta_mail::Timestamp;
use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

/// The maximal number of keys of a kind that this process counts, and of those that it hears of from others. Where
/// there are more, those with the smallest counts go.
const KEYS: usize = 100_000;

/// The most octets in a key. A longer one is cut off there: strangers make up keys.
const KEY: usize = 512;

/// What the processes of a store share beside its records.
pub trait Shared: Send + Sync + 'static {
    /// Returns whether other processes may work with the store at the same moment.
    fn is_shared(&self) -> bool;

    /// Returns the counts of a kind. A kind has at most 64 octets; every process that counts the same uses the same
    /// kind.
    fn tally(&self, kind: &'static str) -> Tally;
}

/// The counts of one kind, by key. Clones are the same counts.
#[derive(Debug, Clone)]
pub struct Tally(Arc<Kind>);

/// A count of all processes together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Count {
    /// The number.
    pub count: u64,
    /// The time when the last part of it ends; `None` if nothing is counted until a certain time.
    pub until: Option<Timestamp>,
}

#[derive(Debug)]
struct Kind {
    state: Mutex<State>,
    /// Whether there may be other processes, which are told of changes.
    is_told: bool,
}

#[derive(Debug, Default)]
struct State {
    own: HashMap<Arc<str>, Own>,
    others: HashMap<Arc<str>, Vec<Theirs>>,
    /// The keys whose counts the other processes have not been told.
    changed: HashSet<Arc<str>>,
    /// The keys that were cleared, and that the others have to clear as well.
    cleared: HashSet<Arc<str>>,
}

/// A process's own count.
#[derive(Debug, Clone, Copy, Default)]
struct Own {
    /// Negative where more was taken back here than was counted here.
    count: i64,
    until: Option<Timestamp>,
    /// Whether others have been told of the key.
    is_known: bool,
}

/// The count of another process.
#[derive(Debug, Clone)]
struct Theirs {
    process: Arc<str>,
    count: i64,
    until: Option<Timestamp>,
}

impl Tally {
    fn new(is_told: bool) -> Self {
        Self(Arc::new(Kind { state: Mutex::default(), is_told }))
    }

    /// Adds `change` to this process's count of a key, which is then valid until a time; with `None` until it is taken
    /// back or the process ends. A count whose time is over starts again from 0. Returns the count of all processes.
    pub fn add(&self, key: &str, change: i64, until: Option<Timestamp>, now: Timestamp) -> u64 {
        let (key, mut state) = (cut(key), self.0.state.lock());
        state.add(key, (change, until), now, self.0.is_told);
        state.count(key, now).count
    }

    /// Adds 1 as [`Tally::add`] does, unless all processes together have counted `limit` or more. Returns whether it
    /// was added.
    pub fn add_below(
        &self,
        key: &str,
        limit: u64,
        until: Option<Timestamp>,
        now: Timestamp,
    ) -> bool {
        let (key, mut state) = (cut(key), self.0.state.lock());
        let is_below = state.count(key, now).count < limit;
        if is_below {
            state.add(key, (1, until), now, self.0.is_told);
        }
        is_below
    }

    /// Takes 1 back of what is counted without a time.
    pub fn take_back(&self, key: &str) {
        self.add(key, -1, None, Timestamp::UNIX_EPOCH);
    }

    /// Returns the count of all processes for a key.
    #[must_use]
    pub fn count(&self, key: &str, now: Timestamp) -> Count {
        self.0.state.lock().count(cut(key), now)
    }

    /// Returns whether nothing is counted, which is found out faster than a count.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let state = self.0.state.lock();
        state.own.is_empty() && state.others.is_empty()
    }

    /// Returns the keys that all processes together have counted `least` times or more, in no order.
    #[must_use]
    pub fn all(&self, least: u64, now: Timestamp) -> Vec<(String, Count)> {
        let state = self.0.state.lock();
        let theirs = state.others.keys().filter(|key| !state.own.contains_key(*key));
        let keys = state.own.keys().chain(theirs);
        let counts = keys.map(|key| (key, state.count(key, now)));
        counts
            .filter(|(_, count)| count.count >= least.max(1))
            .map(|(key, count)| (key.to_string(), count))
            .collect()
    }

    /// Clears a key in all processes. Returns whether anything was counted.
    pub fn clear(&self, key: &str, now: Timestamp) -> bool {
        let (key, mut state) = (cut(key), self.0.state.lock());
        let was_counted = state.count(key, now).count > 0;
        state.clear(key, self.0.is_told);
        if self.0.is_told {
            state.cleared.insert(key.into());
        }
        was_counted
    }
}

impl State {
    fn add(
        &mut self,
        key: &str,
        (change, until): (i64, Option<Timestamp>),
        now: Timestamp,
        is_told: bool,
    ) {
        if !self.own.contains_key(key) {
            self.make_room(now);
            self.own.insert(key.into(), Own::default());
        }
        let Some(own) = self.own.get_mut(key) else { return };
        if is_over(own.until, now) {
            own.count = 0;
        }
        (own.count, own.until) = (own.count.saturating_add(change), until);
        if is_told {
            // Whatever is 0 stays until the others know.
            if !self.changed.contains(key) {
                self.changed.insert(key.into());
            }
        } else if own.count <= 0 {
            self.own.remove(key);
        }
    }

    fn count(&self, key: &str, now: Timestamp) -> Count {
        let own = self.own.get(key).map(|own| (own.count, own.until));
        let theirs = self.others.get(key).into_iter().flatten();
        let parts = own.into_iter().chain(theirs.map(|theirs| (theirs.count, theirs.until)));
        let valid = parts.filter(|(count, until)| *count != 0 && !is_over(*until, now));
        let (mut sum, mut last) = (0_i64, None);
        for (count, until) in valid {
            sum = sum.saturating_add(count);
            last = last.max(until.filter(|_| count > 0));
        }
        Count { count: sum.max(0).unsigned_abs(), until: last }
    }

    /// Forgets a key.
    fn clear(&mut self, key: &str, is_told: bool) {
        self.others.remove(key);
        let Some(own) = self.own.get_mut(key) else { return };
        if is_told && own.is_known {
            // The others may be told of it at this moment, and have to hear the end of it as well.
            own.count = 0;
            self.changed.insert(key.into());
        } else {
            self.own.remove(key);
            self.changed.remove(key);
        }
    }

    /// Makes room for another key of this process.
    fn make_room(&mut self, now: Timestamp) {
        if self.own.len() < KEYS {
            return;
        }
        self.forget_old(now);
        if self.own.len() > KEYS / 2 {
            let counts = self.own.values().filter(|own| own.until.is_some()).map(|own| own.count);
            let least = middle(counts.collect());
            // What has no end is being used.
            self.own.retain(|_, own| own.until.is_none() || own.count > least);
            let own = &self.own;
            self.changed.retain(|key| own.contains_key(key));
        }
    }

    /// Forgets what is over of this process's counts.
    fn forget_old(&mut self, now: Timestamp) {
        let changed = &self.changed;
        self.own.retain(|key, own| {
            let is_to_be_told = own.is_known && changed.contains(key);
            (own.count != 0 || is_to_be_told) && !is_over(own.until, now)
        });
        let own = &self.own;
        self.changed.retain(|key| own.contains_key(key));
    }

    /// Makes room for another key of other processes.
    fn make_room_for_others(&mut self, now: Timestamp) {
        if self.others.len() < KEYS {
            return;
        }
        self.forget_old_of_others(now);
        if self.others.len() > KEYS / 2 {
            let sum = |theirs: &Vec<Theirs>| theirs.iter().map(|theirs| theirs.count).sum::<i64>();
            let least = middle(self.others.values().map(sum).collect());
            self.others.retain(|_, theirs| sum(theirs) > least);
        }
    }

    /// Forgets what is over of other processes' counts.
    fn forget_old_of_others(&mut self, now: Timestamp) {
        for theirs in self.others.values_mut() {
            theirs.retain(|theirs| !is_over(theirs.until, now));
        }
        self.others.retain(|_, theirs| !theirs.is_empty());
    }
}

/// Returns the number in the middle of numbers in order; 0 if there are none.
fn middle(mut numbers: Vec<i64>) -> i64 {
    let at = numbers.len() / 2;
    match numbers.is_empty() {
        true => 0,
        false => *numbers.select_nth_unstable(at).1,
    }
}

fn cut(key: &str) -> &str {
    &key[..key.floor_char_boundary(KEY)]
}

fn is_over(until: Option<Timestamp>, now: Timestamp) -> bool {
    until.is_some_and(|until| now >= until)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn what_is_counted_is_bounded_and_the_greatest_counts_stay() {
        let tally = Tally::new(true);
        let until = Some(at(900));
        for _ in 0..20 {
            tally.add("locked out", 1, until, at(0));
        }
        tally.add("open", 1, None, at(0));
        for number in 0..3 * KEYS {
            tally.add(&number.to_string(), 1, until, at(1));
        }
        let state = tally.0.state.lock();
        assert!(state.own.len() <= KEYS && state.changed.len() <= KEYS);
        drop(state);
        assert_eq!(tally.count("locked out", at(2)).count, 20);
        assert_eq!(tally.count("open", at(2)).count, 1);
        assert_eq!(tally.count(&(3 * KEYS - 1).to_string(), at(2)).count, 1);
        let long = "ț".repeat(KEY);
        tally.add(&long, 1, until, at(1));
        assert_eq!(tally.count(&long, at(1)).count, 1);
        assert!(tally.0.state.lock().own.keys().all(|key| key.len() <= KEY));
    }
}
