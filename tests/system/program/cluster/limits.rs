//! Limits that hold for all servers of a cluster together.

#![allow(clippy::disallowed_methods)] // What is measured here is real time.

use super::{cluster, places_with};
use posta_tests::{PASSWORD, Place, Wire, pop3, postgres::Cluster, smtp, stdout};
use std::{
    fs,
    io::{BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

/// Replaces text of a configuration.
fn replace(place: &Place, from: &str, to: &str) {
    let config = fs::read_to_string(place.config()).unwrap();
    assert!(config.contains(from), "{config}");
    fs::write(place.config(), config.replace(from, to)).unwrap();
}

fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    for _ in 0..1_200 {
        if is_so() {
            return;
        }
        thread::sleep(Duration::from_millis(50));
    }
    panic!("not so after a minute: {what}");
}

/// Waits until each of these nodes knows of all.
fn until_all_know(cluster: &Cluster, nodes: usize) {
    // A node counts the others right after its own heartbeat; the one after that has the result.
    let sql = "SELECT count(*) || ' ' || coalesce(min(beat) > max(since) + interval '4 s', false) FROM posta.node";
    eventually("all nodes know of each other", || cluster.psql(sql) == format!("{nodes} true"));
}

/// Tries a password from a network, as a balancer tells it, and returns the reply.
fn guess(place: &Place, client: &str, name: &str, password: &str) -> String {
    let mut wire = Wire::connect(place.address("pop3"));
    wire.write(&format!("PROXY TCP4 {client} 127.0.0.1 1 2\r\n"));
    assert!(wire.line().starts_with("+OK"));
    assert!(wire.say(&format!("USER {name}")).starts_with("+OK"));
    wire.say(&format!("PASS {password}"))
}

#[test]
fn who_guesses_at_several_servers_is_locked_out_of_all() {
    let Some(cluster) = cluster() else { return };
    let mut servers = places_with(&cluster, &[("pop3", "none")]);
    servers[0].add_account("ana@x.test");
    for server in &mut servers {
        replace(server, "[limits]\n", "[limits]\nfailed-logins = 6\n");
        server.configure("[proxy]\nnetworks = [\"127.0.0.1\"]\n");
        server.start();
    }
    let [one, two] = &servers;
    let (attacker, client) = ("192.0.2.66", "192.0.2.7");
    assert!(guess(two, client, "ana@x.test", PASSWORD).starts_with("+OK"));
    // Three failures at each are six.
    for server in [one, two, one, two, one, two] {
        let refused = guess(server, attacker, "ana@x.test", "wrong");
        assert!(refused.starts_with("-ERR [AUTH]"), "{refused}");
    }
    let is_locked = |server: &Place, who: &str| {
        guess(server, who, "ana@x.test", PASSWORD).contains("too many failed logins")
    };
    for server in [one, two] {
        eventually("the attacker is locked out of both", || is_locked(server, attacker));
        assert!(guess(server, client, "ana@x.test", PASSWORD).starts_with("+OK"));
        let listed = stdout(&server.posta(&["lockout", "list", "--json"], ""));
        let listed: serde_json::Value = serde_json::from_str(&listed).unwrap();
        assert_eq!((&listed[0]["who"], &listed[0]["failures"]), (&attacker.into(), &6.into()));
    }
    // A server that starts later knows it too, and lifts it everywhere.
    servers[0].kill();
    servers[0].start();
    let [one, two] = &servers;
    eventually("the restarted server knows the lock-out", || is_locked(one, attacker));
    stdout(&one.posta(&["lockout", "lift", attacker], ""));
    for server in [one, two] {
        eventually("the lock-out is lifted", || !is_locked(server, attacker));
        let listed = stdout(&server.posta(&["lockout", "list"], ""));
        assert!(listed.contains("Nobody is locked out."), "{listed}");
    }
}

#[test]
fn an_account_has_so_many_sessions_on_all_servers_together() {
    let Some(cluster) = cluster() else { return };
    let mut servers = places_with(&cluster, &[("pop3", "none")]);
    servers[0].add_account("ana@x.test");
    for server in &mut servers {
        replace(server, "[limits]\n", "[limits]\nsessions-per-account = 2\n");
        server.start();
    }
    let log_in = |server: &Place| {
        let mut wire = Wire::connect(server.address("pop3"));
        assert!(wire.line().starts_with("+OK") && wire.say("USER ana@x.test").starts_with("+OK"));
        let reply = wire.say(&format!("PASS {PASSWORD}"));
        assert!(reply.starts_with("+OK") || reply.contains("too many sessions"), "{reply}");
        reply.starts_with("+OK").then_some(wire)
    };
    let first = pop3(servers[0].address("pop3"), "ana@x.test");
    let mut second = log_in(&servers[1]).unwrap();
    for server in &servers {
        eventually("two sessions are all", || log_in(server).is_none());
    }
    assert!(second.say("QUIT").starts_with("+OK"));
    let mut third = None;
    eventually("a place is free", || {
        third = log_in(&servers[0]);
        third.is_some()
    });
    eventually("the place is taken", || log_in(&servers[1]).is_none());
    // The sessions of a server that died are none.
    drop((first, third));
    servers[0].kill();
    eventually("its sessions ended with it", || {
        let both = [log_in(&servers[1]), log_in(&servers[1])];
        both.iter().all(Option::is_some)
    });
}

#[test]
fn an_account_sends_to_so_many_an_hour_from_all_servers_together() {
    let Some(cluster) = cluster() else { return };
    let mut servers = places_with(&cluster, &[("submission", "none")]);
    servers[0].add_account("ana@x.test");
    servers[0].add_account("bob@x.test");
    for server in &mut servers {
        replace(server, "[limits]\n", "[limits]\nsubmissions = 5\n");
        server.start();
    }
    let log_in = |server: &Place, login: &str| {
        let mut wire = smtp(server.address("submission"));
        assert!(wire.say("EHLO c.test").starts_with("250"));
        while !wire.line().starts_with("250 ") {}
        let reply = wire.say(login);
        assert!(reply.starts_with("235 "), "{reply}");
        wire
    };
    // ana@x.test and bob@x.test, with the password of all tests.
    let (ana, bob) = ("AUTH PLAIN AGFuYUB4LnRlc3QAcGFyb2xh", "AUTH PLAIN AGJvYkB4LnRlc3QAcGFyb2xh");
    let mut sessions = servers.each_ref().map(|server| log_in(server, ana));
    let mut taken = 0;
    for session in &mut sessions {
        assert!(session.say("MAIL FROM:<ana@x.test>").starts_with("250 "));
    }
    for number in 0..2 {
        for session in &mut sessions {
            let reply = session.say(&format!("RCPT TO:<b{number}@y.test>"));
            assert!(reply.starts_with("250 "), "{reply}");
            taken += 1;
        }
    }
    assert_eq!(taken, 4);
    let [first, second] = &mut sessions;
    assert!(first.say("RCPT TO:<last@y.test>").starts_with("250 "));
    for session in [second, first] {
        eventually("five recipients are all", || {
            assert!(session.say("RSET").starts_with("250 "));
            let reply = session.say("MAIL FROM:<ana@x.test>");
            assert!(reply.starts_with("250 ") || reply.starts_with("450 4.7.1 5 recip"), "{reply}");
            reply.starts_with("450 ")
        });
    }
    // Others have theirs.
    let mut other = log_in(&servers[1], bob);
    assert!(other.say("MAIL FROM:<bob@x.test>").starts_with("250 "));
    assert!(other.say("RCPT TO:<b@y.test>").starts_with("250 "));
}

/// What a server elsewhere has seen.
#[derive(Default)]
struct Seen {
    open: usize,
    most: usize,
    /// The name of the client that brought each message, and when.
    messages: Vec<(String, Instant)>,
}

/// A server that takes all mail, each message in its time, and counts its connections.
fn sink(time: Duration) -> (String, Arc<Mutex<Seen>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (address, seen) =
        (listener.local_addr().unwrap().to_string(), Arc::new(Mutex::new(Seen::default())));
    let shared = seen.clone();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (stream, seen) = (stream.unwrap(), shared.clone());
            thread::spawn(move || take_mail(&stream, &seen, time));
        }
    });
    (address, seen)
}

fn take_mail(mut stream: &TcpStream, seen: &Mutex<Seen>, time: Duration) {
    {
        let mut seen = seen.lock().unwrap();
        seen.open += 1;
        seen.most = seen.most.max(seen.open);
    }
    let (mut is_content, mut client, mut is_open) = (false, String::new(), true);
    let _ = stream.write_all(b"220 sink.test\r\n");
    for line in BufReader::new(stream).lines().map_while(Result::ok) {
        let verb = line.get(..4).unwrap_or_default().to_uppercase();
        let reply = match verb.as_str() {
            _ if is_content && line != "." => continue,
            _ if is_content => {
                thread::sleep(time);
                seen.lock().unwrap().messages.push((client.clone(), Instant::now()));
                is_content = false;
                "250 2.0.0 taken"
            }
            "EHLO" => {
                client = line[5..].to_owned();
                "250 sink.test"
            }
            "DATA" => {
                is_content = true;
                "354 go on"
            }
            "QUIT" => {
                // The session is over with this command.
                seen.lock().unwrap().open -= 1;
                is_open = false;
                "221 bye"
            }
            _ => "250 fine",
        };
        if stream.write_all(format!("{reply}\r\n").as_bytes()).is_err() {
            break;
        }
    }
    seen.lock().unwrap().open -= usize::from(is_open);
}

/// Starts two servers that hand all mail to a sink, under these settings of the relay, once both know of each other.
fn relays(cluster: &Cluster, sink: &str, settings: &str) -> [Place; 2] {
    let mut servers = places_with(cluster, &[("smtp", "none")]);
    for server in &mut servers {
        let relay = format!(
            "[relay]\nsmarthost = \"{sink}\"\nnetworks = [\"127.0.0.1/32\"]\n{settings}\n[limits]\n"
        );
        replace(server, "[limits]\n", &relay);
        server.start();
    }
    until_all_know(cluster, 2);
    servers
}

/// Queues messages at each of the servers, each to a domain of its own or all to one.
fn queue(servers: &[Place; 2], each: usize, domain: impl Fn(usize) -> String) {
    for (which, server) in servers.iter().enumerate() {
        let mut wire = smtp(server.address("smtp"));
        for number in 0..each {
            let to = format!("b{which}@{}", domain(number));
            let reply = posta_tests::send(&mut wire, &to, "Subject: hello\r\n\r\nx\r\n");
            assert!(reply.starts_with("250 "), "{reply}");
        }
    }
}

fn messages(seen: &Mutex<Seen>) -> usize {
    seen.lock().unwrap().messages.len()
}

fn brought_by(seen: &Mutex<Seen>, name: &str) -> usize {
    let seen = seen.lock().unwrap();
    seen.messages.iter().filter(|(client, _)| client == name).count()
}

#[test]
fn connections_to_a_server_are_shared_out() {
    let Some(cluster) = cluster() else { return };
    let (address, seen) = sink(Duration::from_millis(30));
    let servers = relays(&cluster, &address, "connections = 4");
    queue(&servers, 40, |number| format!("y{number}.test"));
    eventually("all arrive", || messages(&seen) == 80);
    let most = seen.lock().unwrap().most;
    assert!(most <= 4, "{most} connections at once");
    let [one, two] = ["one.x.test", "two.x.test"].map(|name| brought_by(&seen, name));
    assert!(one > 0 && two > 0, "{one} and {two}: each server has its share");
}

#[test]
fn fewer_connections_than_servers_are_used_in_turn() {
    let Some(cluster) = cluster() else { return };
    let (address, seen) = sink(Duration::from_millis(200));
    let servers = relays(&cluster, &address, "connections = 1");
    let mut queued = 0;
    // Mail for longer than a turn of either.
    eventually("both servers have had their turn", || {
        if queued < messages(&seen) + 40 {
            queue(&servers, 5, |number| format!("y{number}.test"));
            queued += 10;
        }
        ["one.x.test", "two.x.test"].iter().all(|name| brought_by(&seen, name) > 0)
    });
    let most = seen.lock().unwrap().most;
    assert_eq!(most, 1, "connections at once");
}

#[test]
fn a_rate_is_kept_by_all_servers_together() {
    let Some(cluster) = cluster() else { return };
    let (address, seen) = sink(Duration::ZERO);
    let servers = relays(&cluster, &address, "rate = 60");
    let began = Instant::now();
    queue(&servers, 6, |_| "y.test".to_owned());
    eventually("all arrive", || messages(&seen) == 12);
    let last = seen.lock().unwrap().messages.iter().map(|(_, at)| *at).max().unwrap();
    let took = last - began;
    // One in each second of the clock; two servers that count for themselves take half of that.
    assert!(took >= Duration::from_secs(11), "twelve messages in {took:?}");
}
