//! Nodes that die, stand still, have a wrong clock, or are drained.

use super::{cluster, places, stalling::Stalling};
use posta_tests::{Place, Wire, pop3, posta, send, skipped, smtp, stdout};
use serde_json::Value;
use std::{
    fs,
    path::Path,
    thread,
    time::{Duration, Instant},
};

fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    for _ in 0..900 {
        if is_so() {
            return;
        }
        thread::sleep(Duration::from_millis(100));
    }
    panic!("not so after 90 s: {what}");
}

/// Makes the places send all mail for others through a smarthost that stalls at first.
fn through(smarthost: &Stalling, places: &[Place]) {
    for place in places {
        let config = fs::read_to_string(place.config()).unwrap();
        let (keys, tables) = config.split_once("[limits]").unwrap();
        let relay = format!(
            "[relay]\nsmarthost = \"{}\"\nnetworks = [\"127.0.0.1/32\"]\n",
            smarthost.address
        );
        fs::write(place.config(), format!("{keys}{relay}[limits]{tables}")).unwrap();
    }
}

fn nodes(place: &Place) -> Vec<Value> {
    serde_json::from_str(&stdout(&place.posta(&["cluster", "status", "--json"], ""))).unwrap()
}

fn state(place: &Place, name: &str) -> Value {
    let nodes = nodes(place);
    nodes
        .into_iter()
        .find(|node| node["name"] == name)
        .map_or(Value::Null, |node| node["state"].clone())
}

fn is_queue_empty(place: &Place) -> bool {
    stdout(&place.posta(&["queue", "list", "--json"], "")).trim() == "[]"
}

/// Queues a message at a server, and waits until it stands before the smarthost with it.
fn stand_before(smarthost: &Stalling, place: &Place) {
    let reply = send(&mut smtp(place.address("smtp")), "bob@y.test", "Subject: s\r\n\r\nhello\r\n");
    assert!(reply.starts_with("250 "), "{reply}");
    eventually("it offers the message", || {
        smarthost.connections().first().is_some_and(|connection| connection.asked)
    });
}

#[test]
#[expect(clippy::disallowed_methods, reason = "the real server runs in real time")]
fn what_a_killed_node_was_sending_is_sent_by_another_after_fifteen_seconds() {
    let Some(cluster) = cluster() else { return };
    let [mut one, mut two] = places(&cluster);
    let smarthost = Stalling::start();
    through(&smarthost, std::slice::from_ref(&one));
    through(&smarthost, std::slice::from_ref(&two));
    one.add_account("ana@x.test");
    one.start();
    stand_before(&smarthost, &one);
    two.start();
    eventually("both live", || nodes(&two).iter().all(|node| node["state"] == "live"));
    assert_eq!(nodes(&two)[0]["items"], 1);
    one.kill();
    let killed = Instant::now();
    eventually("the other sends it", || smarthost.connections().len() > 1);
    let after = killed.elapsed();
    // The last heartbeat was up to three seconds before.
    assert!(after > Duration::from_secs(11), "{after:?}");
    eventually("nothing is left", || is_queue_empty(&two));
    assert!(smarthost.connections()[1].accepted && !smarthost.connections()[0].accepted);
    assert_eq!(state(&two, "one.x.test"), "dead");
    let warned = stdout(&two.posta(&["status"], ""));
    assert!(warned.contains("the node one.x.test is dead"), "{warned}");
    let removed = stdout(&two.posta(&["cluster", "remove", "one.x.test"], ""));
    assert!(removed.contains("one.x.test is forgotten"), "{removed}");
    assert_eq!(nodes(&two).len(), 1);
}

/// A process that stands still, such as on a machine that was paused, wakes up when its work is another's, and must not go on
/// with it.
#[test]
fn a_node_that_stood_still_sends_nothing_more() {
    let Some(cluster) = cluster() else { return };
    let [mut one, mut two] = places(&cluster);
    let smarthost = Stalling::start();
    through(&smarthost, std::slice::from_ref(&one));
    through(&smarthost, std::slice::from_ref(&two));
    one.add_account("ana@x.test");
    one.start();
    stand_before(&smarthost, &one);
    two.start();
    one.signal("STOP");
    eventually("the other sends it", || smarthost.connections().len() > 1);
    eventually("nothing is left", || is_queue_empty(&two));
    // Its next step would be to send the content.
    smarthost.go_on();
    one.signal("CONT");
    one.logged("the heartbeat of this node was late");
    eventually("it gives up", || smarthost.connections()[0].ended);
    let first = smarthost.connections()[0].clone();
    assert_eq!((first.content, first.accepted), (0, false), "not an octet of the message");
    eventually("it lives again", || state(&one, "one.x.test") == "live");
    assert!(stdout(&one.posta(&["status", "--ready"], "")).contains("ready"));
    assert!(is_queue_empty(&one));
    assert_eq!(smarthost.connections().len(), 2, "nobody sent it again");
    let trace = stdout(&one.posta(&["trace", "bob@y.test"], ""));
    assert_eq!(trace.matches("relayed").count(), 1, "{trace}");
    // It works as before.
    let reply = send(&mut smtp(one.address("smtp")), "cid@y.test", "Subject: t\r\n\r\nx\r\n");
    assert!(reply.starts_with("250 "), "{reply}");
    eventually("it sends", || smarthost.connections().len() > 2 && is_queue_empty(&one));
}

#[test]
fn a_node_whose_clock_is_wrong_takes_nothing_from_others() {
    let Some(cluster) = cluster() else { return };
    let library = Path::new("/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1");
    if !library.exists() {
        return skipped("a node with a wrong clock", "libfaketime is not installed");
    }
    let [mut one, mut two] = places(&cluster);
    let smarthost = Stalling::start();
    through(&smarthost, std::slice::from_ref(&one));
    through(&smarthost, std::slice::from_ref(&two));
    one.add_account("ana@x.test");
    one.start();
    stand_before(&smarthost, &one);
    // Only what the clock shows is wrong, not how fast it runs.
    two.start_with(&[
        ("LD_PRELOAD", library.to_str().unwrap()),
        ("FAKETIME", "+1h"),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
    ]);
    two.logged("the clock of this machine differs from the database's");
    // It works by itself, and looks at the queue each time.
    for name in ["cid", "dan", "eve"] {
        let to = format!("{name}@y.test");
        let reply = send(&mut smtp(two.address("smtp")), &to, "Subject: t\r\n\r\nx\r\n");
        assert!(reply.starts_with("250 "), "{reply}");
        eventually("it is sent", || stdout(&two.posta(&["trace", &to], "")).contains("relayed"));
    }
    let held: Vec<_> = nodes(&one).iter().map(|node| node["items"].clone()).collect();
    assert_eq!(held, [1, 0], "the item is still the first node's");
    assert_eq!(
        smarthost.connections()[0],
        super::stalling::Connection { asked: true, ..Default::default() }
    );
    let ahead = nodes(&one)[1]["clock-ahead"].as_i64().unwrap();
    assert!((ahead - 3_600_000).abs() < 60_000, "{ahead}");
    let warned = stdout(&one.posta(&["status"], ""));
    assert!(warned.contains("the clock of the node two.x.test is"), "{warned}");
    smarthost.go_on();
    eventually("the first node sends it", || is_queue_empty(&one));
    assert!(smarthost.connections()[0].accepted);
}

#[test]
fn a_drained_node_finishes_and_takes_nothing_new() {
    let Some(cluster) = cluster() else { return };
    let [mut one, mut two] = places(&cluster);
    one.add_account("ana@x.test");
    one.start();
    two.start();
    let mut session = smtp(one.address("smtp"));
    let ready = |place: &Place| place.posta(&["status", "--ready"], "");
    assert!(ready(&one).status.success());
    // Any node can be told of any other.
    let drained = stdout(&two.posta(&["cluster", "drain", "one.x.test"], ""));
    assert!(drained.contains("one.x.test finishes what it does"), "{drained}");
    eventually("new connections are refused", || {
        Wire::connect(one.address("smtp")).line().starts_with("421 ")
    });
    let refused = Wire::connect(one.address("pop3")).line();
    assert!(refused.starts_with("-ERR"), "{refused}");
    let refused = ready(&one);
    let words = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && words.contains("draining"), "{words}");
    assert!(ready(&two).status.success());
    assert_eq!(state(&two, "one.x.test"), "draining");
    let reply = send(&mut session, "ana@x.test", "Subject: s\r\n\r\nx\r\n");
    assert!(reply.starts_with("250 "), "what has begun goes on: {reply}");
    assert!(session.say("QUIT").starts_with("221 "));
    eventually("nothing is left", || state(&two, "one.x.test") == "drained");
    let table = stdout(&one.posta(&["cluster", "status"], ""));
    assert!(table.contains("STATE") && table.contains("drained"), "{table}");
    one.posta(&["cluster", "resume", "one.x.test"], "");
    eventually("it takes connections again", || {
        Wire::connect(one.address("smtp")).line().starts_with("220 ")
    });
    assert!(ready(&one).status.success());
    assert_eq!(pop3(one.address("pop3"), "ana@x.test").listing("LIST").len(), 1);

    let failed = |arguments: &[&str]| {
        let done = two.posta(arguments, "");
        assert!(!done.status.success());
        String::from_utf8_lossy(&done.stderr).into_owned()
    };
    let words = failed(&["cluster", "remove", "one.x.test"]);
    assert!(words.contains("drain it first") && words.contains("node-is-live"), "{words}");
    let words = failed(&["cluster", "drain", "three.x.test"]);
    assert!(words.contains("no-such-node"), "{words}");
    // One of the two sweeps.
    let sweeping = |node: &&Value| node["duties"].to_string().contains("\"sweep\"");
    eventually("one sweeps", || nodes(&two).iter().filter(sweeping).count() == 1);
    assert_eq!(one.stop(), Some(0));
    assert_eq!(nodes(&two).len(), 1, "a node that stops leaves");
    assert_eq!(two.stop(), Some(0));
    // Without a server, the command asks the database.
    assert_eq!(nodes(&two).len(), 0);
}

#[test]
fn an_embedded_store_has_one_node() {
    let place = Place::new(&[]);
    place.add_account("ana@x.test");
    let config = place.config();
    for action in [&["status"][..], &["drain", "x"], &["resume", "x"], &["remove", "x"]] {
        let asked = [&["cluster"], action, &["--config", config.to_str().unwrap()]].concat();
        let refused = posta(&asked, "");
        let words = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(!refused.status.success() && words.contains("one-node"), "{words}");
    }
}
