//! The store's side of shared counts: what changed here and has to be told to the other processes, and what they told.

use super::{Tally, Theirs};
use parking_lot::Mutex;
use posta_mail::Timestamp;
use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
    mem::take,
    sync::Arc,
};

/// All counts of a process. A store keeps one; clones are the same counts. The default has no other process to tell.
#[derive(Debug, Clone, Default)]
pub struct Tallies {
    kinds: Arc<Mutex<BTreeMap<Arc<str>, Tally>>>,
    is_told: bool,
}

/// A process's count of a key, as it is told to the others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The kind.
    pub kind: Arc<str>,
    /// The key.
    pub key: Arc<str>,
    /// The number that the process has counted; 0 if it counts nothing any more.
    pub count: i64,
    /// The time until which the number is valid; `None` for as long as the process lives.
    pub until: Option<Timestamp>,
}

impl Tallies {
    /// Returns counts of which other processes are told. The store has to take the changes from time to time.
    #[must_use]
    pub fn told() -> Self {
        Self { kinds: Arc::default(), is_told: true }
    }

    /// Returns the counts of a kind ([`super::Shared::tally`]).
    #[must_use]
    pub fn tally(&self, kind: &str) -> Tally {
        let mut kinds = self.kinds.lock();
        match kinds.get(kind) {
            Some(tally) => tally.clone(),
            None => {
                let tally = Tally::new(self.is_told);
                kinds.insert(kind.into(), tally.clone());
                tally
            }
        }
    }

    /// Takes changes to tell, at most `most`: those with the greatest counts and those that ended first, so that in a
    /// flood of keys the others learn what matters. The others follow at the next call.
    #[must_use]
    pub fn take_changes(&self, most: usize, now: Timestamp) -> Vec<Change> {
        let mut keys = Vec::new();
        for (kind, tally) in self.kinds() {
            let state = tally.0.state.lock();
            keys.extend(state.changed.iter().map(|key| {
                let count = state.own.get(key).map_or(0, |own| own.count);
                let weight = if count == 0 { i64::MAX } else { count.saturating_abs() };
                (Reverse(weight), kind.clone(), key.clone())
            }));
        }
        if keys.len() > most {
            keys.select_nth_unstable_by_key(most, |(weight, ..)| *weight);
            keys.truncate(most);
        }
        keys.into_iter().filter_map(|(_, kind, key)| self.begin_telling(kind, key, now)).collect()
    }

    /// Returns the change of a key, which counts as told from now on; `None` if nobody has to be told.
    fn begin_telling(&self, kind: Arc<str>, key: Arc<str>, now: Timestamp) -> Option<Change> {
        let tally = self.tally(&kind);
        let mut state = tally.0.state.lock();
        state.changed.remove(&key);
        let own = state.own.get_mut(&key)?;
        // What came and went nobody knows, and what is over says so by itself.
        if own.count == 0 && !own.is_known || super::is_over(own.until, now) {
            state.own.remove(&key);
            return None;
        }
        own.is_known = true;
        Some(Change { kind, key, count: own.count, until: own.until })
    }

    /// Ends the telling of changes. Those that the others could not be told are taken again.
    pub fn end_telling(&self, changes: Vec<Change>, is_done: bool) {
        for change in changes {
            let tally = self.tally(&change.kind);
            let mut state = tally.0.state.lock();
            if !is_done {
                state.changed.insert(change.key);
            } else if state.own.get(&change.key).is_some_and(|own| own.count == 0)
                && !state.changed.contains(&change.key)
            {
                state.own.remove(&change.key);
            }
        }
    }

    /// Takes the keys that were cleared here and that the others have to clear, with their kinds.
    #[must_use]
    pub fn take_cleared(&self) -> Vec<(Arc<str>, Arc<str>)> {
        let mut all = Vec::new();
        for (kind, tally) in self.kinds() {
            let cleared = take(&mut tally.0.state.lock().cleared);
            all.extend(cleared.into_iter().map(|key| (kind.clone(), key)));
        }
        all
    }

    /// Has a key cleared again, since the others could not be told.
    pub fn clear_again(&self, kind: &str, key: Arc<str>) {
        self.tally(kind).0.state.lock().cleared.insert(key);
    }

    /// Takes a count of another process, which replaces what that one told of the key before.
    pub fn hear(&self, process: &str, change: Change, now: Timestamp) {
        let Change { kind, key, count, until } = change;
        let tally = self.tally(&kind);
        let mut state = tally.0.state.lock();
        if let Some(of_key) = state.others.get_mut(&key) {
            of_key.retain(|theirs| &*theirs.process != process);
            if of_key.is_empty() {
                state.others.remove(&key);
            }
        }
        if count == 0 || super::is_over(until, now) {
            return;
        }
        state.make_room_for_others(now);
        let theirs = Theirs { process: process.into(), count, until };
        state.others.entry(key).or_default().push(theirs);
    }

    /// Clears a key, as another process asks for.
    pub fn hear_cleared(&self, kind: &str, key: &str) {
        let tally = self.tally(kind);
        tally.0.state.lock().clear(key, self.is_told);
    }

    /// Has everything told again, after what the processes share was lost, and forgets what others told.
    pub fn tell_again(&self) {
        for (_, tally) in self.kinds() {
            let mut state = tally.0.state.lock();
            state.others.clear();
            let keys: Vec<_> = state.own.keys().cloned().collect();
            state.changed.extend(keys);
        }
    }

    /// Forgets what is over.
    pub fn forget_old(&self, now: Timestamp) {
        for (_, tally) in self.kinds() {
            let mut state = tally.0.state.lock();
            state.forget_old(now);
            state.forget_old_of_others(now);
        }
    }

    /// Returns the processes that have told of something that is valid for as long as they live.
    #[must_use]
    pub fn processes(&self) -> BTreeSet<Arc<str>> {
        let mut all = BTreeSet::new();
        for (_, tally) in self.kinds() {
            let state = tally.0.state.lock();
            let lasting = state.others.values().flatten().filter(|it| it.until.is_none());
            all.extend(lasting.map(|it| it.process.clone()));
        }
        all
    }

    /// Forgets what a process counted for as long as it lived. What is valid until a time stays, since it has happened.
    pub fn forget_process(&self, process: &str) {
        for (_, tally) in self.kinds() {
            let mut state = tally.0.state.lock();
            for of_key in state.others.values_mut() {
                of_key.retain(|theirs| theirs.until.is_some() || &*theirs.process != process);
            }
            state.others.retain(|_, of_key| !of_key.is_empty());
        }
    }

    fn kinds(&self) -> Vec<(Arc<str>, Tally)> {
        let kinds = self.kinds.lock();
        kinds.iter().map(|(kind, tally)| (kind.clone(), tally.clone())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::{super::KEYS, *};

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    /// Two processes that tell each other all that they have to.
    struct Two([Tallies; 2]);

    impl Two {
        fn new() -> Self {
            Self([Tallies::told(), Tallies::told()])
        }

        fn tell(&self, now: Timestamp) -> usize {
            let mut told = 0;
            for (from, to, name) in [(0, 1, "one"), (1, 0, "other")] {
                for (kind, key) in self.0[from].take_cleared() {
                    self.0[to].hear_cleared(&kind, &key);
                }
                let changes = self.0[from].take_changes(1_000, now);
                told += changes.len();
                changes.iter().for_each(|change| self.0[to].hear(name, change.clone(), now));
                self.0[from].end_telling(changes, true);
            }
            told
        }
    }

    #[test]
    fn counts_of_two_processes_add_up() {
        let two = Two::new();
        let [one, other] = [0, 1].map(|index| two.0[index].tally("failures"));
        let until = Some(at(10));
        assert_eq!(one.add("a", 3, until, at(0)), 3);
        assert_eq!(other.add("a", 2, Some(at(12)), at(0)), 2);
        assert_eq!(two.tell(at(1)), 2);
        for tally in [&one, &other] {
            assert_eq!(
                tally.count("a", at(9)),
                super::super::Count { count: 5, until: Some(at(12)) }
            );
            assert_eq!(tally.count("a", at(11)).count, 2, "each part ends by itself");
            assert_eq!(tally.all(5, at(9)).len(), 1);
            assert!(tally.all(6, at(9)).is_empty());
        }
        assert_eq!(two.tell(at(1)), 0, "nothing is told twice");
        assert!(!one.add_below("a", 5, until, at(9)) && one.add_below("a", 6, until, at(9)));
        // What one counted can be taken back by the other.
        other.add("a", -4, Some(at(10)), at(9));
        assert_eq!(two.tell(at(9)), 2);
        assert_eq!(one.count("a", at(9)).count, 2);
    }

    #[test]
    fn a_key_is_cleared_everywhere_though_it_is_counted_meanwhile() {
        let two = Two::new();
        let [one, other] = [0, 1].map(|index| two.0[index].tally("failures"));
        let until = Some(at(10));
        other.add("a", 7, until, at(0));
        two.tell(at(0));
        other.add("a", 1, until, at(0));
        // The other tells of it at this moment, and hears only then that it was cleared.
        let changes = two.0[1].take_changes(10, at(0));
        assert!(one.clear("a", at(0)) && !one.clear("b", at(0)));
        let cleared = two.0[0].take_cleared();
        assert_eq!(cleared.len(), 2);
        two.0[0].hear("other", changes[0].clone(), at(0));
        two.0[1].end_telling(changes, true);
        two.0[1].hear_cleared("failures", "a");
        assert_eq!(other.count("a", at(0)).count, 0);
        two.tell(at(0));
        assert_eq!(one.count("a", at(0)).count, 0);
        assert!(one.is_empty() && other.is_empty());
    }

    #[test]
    fn what_lives_with_a_process_goes_with_it() {
        let two = Two::new();
        let [one, other] = [0, 1].map(|index| two.0[index].tally("sessions"));
        one.add("ana", 1, None, at(0));
        one.add("bob", 1, None, at(0));
        one.add("bob", -1, None, at(0));
        two.0[0].tally("failures").add("a", 1, Some(at(9)), at(0));
        assert_eq!(two.tell(at(0)), 2, "what came and went is not told");
        assert_eq!(other.count("ana", at(99)).count, 1);
        let known: Vec<_> = two.0[1].processes().into_iter().collect();
        assert_eq!(known, ["one".into()]);
        two.0[1].forget_process("one");
        assert_eq!(other.count("ana", at(0)).count, 0);
        assert_eq!(two.0[1].tally("failures").count("a", at(0)).count, 1, "it has happened");
        two.0[0].tell_again();
        two.tell(at(0));
        assert_eq!(other.count("ana", at(0)).count, 1);
        one.add("ana", -1, None, at(0));
        two.tell(at(0));
        assert!(other.is_empty() && one.is_empty());
    }

    #[test]
    fn a_flood_is_told_in_pieces_what_matters_first() {
        let two = Two::new();
        let one = two.0[0].tally("failures");
        for key in 0..1_000 {
            let _ = one.add(&key.to_string(), 1, Some(at(9)), at(0));
        }
        one.add("attacker", 19, Some(at(9)), at(0));
        let first = two.0[0].take_changes(10, at(0));
        assert_eq!(first.len(), 10);
        assert!(first.iter().any(|change| &*change.key == "attacker"));
        two.0[0].end_telling(first, false);
        let again = two.0[0].take_changes(10_000, at(0));
        assert_eq!(again.len(), 1_001, "what could not be told is told again");
        two.0[0].end_telling(again, true);
        one.add("late", 1, Some(at(9)), at(8));
        assert!(two.0[0].take_changes(10, at(9)).is_empty(), "it is over");
    }

    #[test]
    fn what_others_tell_is_bounded() {
        let tallies = Tallies::told();
        let change = |key: String, count| Change {
            kind: "failures".into(),
            key: key.into(),
            count,
            until: Some(at(9)),
        };
        tallies.hear("other", change("attacker".to_owned(), 20), at(0));
        for number in 0..KEYS + 10 {
            tallies.hear("other", change(number.to_string(), 1), at(0));
        }
        let tally = tallies.tally("failures");
        assert!(tally.all(1, at(0)).len() <= KEYS);
        assert_eq!(tally.count("attacker", at(0)).count, 20);
    }
}
