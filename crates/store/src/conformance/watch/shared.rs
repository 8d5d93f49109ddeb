//! Counts that processes share: the rules that hold in each process by itself.

use crate::{Count, Store, conformance::at};

cases![
    a_count_is_the_sum_of_what_was_added,
    a_count_ends_at_its_time,
    a_count_stays_below_a_limit,
    a_key_is_cleared,
    keys_are_listed_by_their_counts,
];

async fn a_count_is_the_sum_of_what_was_added(store: &dyn Store) {
    let (failures, sessions) = (store.tally("failures"), store.tally("sessions"));
    assert!(failures.is_empty());
    assert_eq!(failures.add("ana", 2, Some(at(9)), at(0)), 2);
    assert_eq!(failures.add("ana", 1, Some(at(9)), at(0)), 3);
    assert_eq!(sessions.add("ana", 1, None, at(0)), 1, "each kind by itself");
    assert_eq!(store.tally("failures").count("ana", at(0)).count, 3, "whoever asks");
    assert_eq!(failures.count("bob", at(0)), Count::default());
    assert_eq!(failures.add("ana", -2, Some(at(9)), at(0)), 1);
    assert_eq!(failures.add("ana", -2, Some(at(9)), at(0)), 0, "never less than nothing");
}

async fn a_count_ends_at_its_time(store: &dyn Store) {
    let tally = store.tally("failures");
    tally.add("ana", 5, Some(at(10)), at(0));
    assert_eq!(tally.count("ana", at(9)), Count { count: 5, until: Some(at(10)) });
    assert_eq!(tally.count("ana", at(10)), Count::default());
    assert_eq!(tally.add("ana", 1, Some(at(20)), at(10)), 1, "counting starts again");
    tally.add("ana", 1, Some(at(25)), at(19));
    assert_eq!(tally.count("ana", at(24)).count, 2, "the last time holds for all");
    let lasting = store.tally("sessions");
    lasting.add("ana", 1, None, at(0));
    assert_eq!(lasting.count("ana", at(1_000_000)), Count { count: 1, until: None });
}

async fn a_count_stays_below_a_limit(store: &dyn Store) {
    let tally = store.tally("recipients");
    let added = (0..5).filter(|_| tally.add_below("ana", 3, Some(at(10)), at(0))).count();
    assert_eq!(added, 3);
    assert!(tally.add_below("bob", 3, Some(at(10)), at(0)), "each key by itself");
    assert!(!tally.add_below("carl", 0, Some(at(10)), at(0)));
    assert!(tally.add_below("ana", 3, Some(at(20)), at(10)), "the next hour");
    assert_eq!(tally.count("ana", at(10)).count, 1);
}

async fn a_key_is_cleared(store: &dyn Store) {
    let tally = store.tally("failures");
    tally.add("ana", 5, Some(at(10)), at(0));
    tally.add("bob", 5, Some(at(10)), at(0));
    assert!(tally.clear("ana", at(1)) && !tally.clear("ana", at(1)) && !tally.clear("eve", at(1)));
    assert!(!tally.clear("bob", at(10)), "it was over");
    assert_eq!(tally.count("ana", at(1)), Count::default());
    assert_eq!(tally.add("ana", 1, Some(at(10)), at(1)), 1);
}

async fn keys_are_listed_by_their_counts(store: &dyn Store) {
    let tally = store.tally("failures");
    for (key, count) in [("ana", 5), ("bob", 2), ("carl", 7)] {
        tally.add(key, count, Some(at(count)), at(0));
    }
    let listed = |least, now| {
        let mut all: Vec<_> = tally.all(least, now).into_iter().map(|(key, _)| key).collect();
        all.sort();
        all
    };
    assert_eq!(listed(3, at(1)), ["ana", "carl"]);
    assert_eq!(listed(0, at(1)), ["ana", "bob", "carl"]);
    assert_eq!(listed(0, at(6)), ["carl"], "the others are over");
}
