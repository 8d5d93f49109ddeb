//! The first promise: acknowledged mail is never lost.

use posta_tests::{Place, pop3, program, send, smtp, times};
use std::{
    collections::HashSet,
    fs,
    ops::Add,
    path::PathBuf,
    process::{Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

/// kill -9 in the middle of 10,000 messages from 50 sessions, at several moments: after a restart, every
/// acknowledged message is in the mailbox, complete.
#[test]
fn kill_9_loses_nothing_that_was_acknowledged() {
    let mut in_all = 0;
    let moments = [900, 150, 400, 2_000];
    for &after in &moments[..times(4, 2)] {
        let mut place = Place::new(&[("smtp", "none"), ("pop3", "none")]);
        place.add_account("ana@x.test");
        place.start();
        let bench = Command::new(program())
            .args(["bench", "smtp", place.address("smtp"), "--to", "ana@x.test", "--json"])
            .args(["--messages", "10000", "--sessions", "50", "--size", "2KiB"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        sleep(Duration::from_millis(after));
        place.kill();
        let report = bench.wait_with_output().unwrap();
        let acknowledged = per_session(&String::from_utf8(report.stdout).unwrap());
        let total: usize = acknowledged.iter().sum();
        place.start();
        let kept = kept(&place);
        for (session, &count) in acknowledged.iter().enumerate() {
            for message in 0..count {
                let number = format!("{session:08}-{message:08}");
                assert!(kept.contains(&number), "{number} was acknowledged and is lost");
            }
        }
        println!("killed after {after} ms: {total} acknowledged, {} kept", kept.len());
        in_all += total;
        // Messages in flight may or may not be stored: at most one for each session.
        assert!(kept.len() <= total + 50);
    }
    assert!(in_all > 0, "each time the server was killed before it did anything");
}

/// kill -9 around such an UPDATE (RFC 1939 §6), at several moments: after a restart, all of its messages
/// are removed or none, all of them if the client was told so, and all can be restored.
#[test]
fn kill_9_leaves_all_of_an_update_or_nothing() {
    // The embedded store carries out so many in pieces, PostgreSQL in one transaction.
    let many = times(8_000, 2_000);
    let moments = [10, 50, 100, 0, 25, 400];
    for &after in &moments[..times(6, 3)] {
        let mut place = Place::new(&[("smtp", "none"), ("pop3", "none")]);
        place.add_account("ana@x.test");
        place.start();
        let bench = Command::new(program())
            .args(["bench", "smtp", place.address("smtp"), "--to", "ana@x.test", "--pipelining"])
            .args(["--messages", &many.to_string(), "--sessions", "8", "--size", "1KiB"])
            .stdout(Stdio::null())
            .status();
        assert!(bench.unwrap().success());
        send(&mut smtp(place.address("smtp")), "ana@x.test", "Subject: stays\r\n\r\nx\r\n");
        let mut wire = pop3(place.address("pop3"), "ana");
        for number in 1..=many {
            assert!(wire.say(&format!("DELE {number}")).starts_with("+OK"));
        }
        wire.write("QUIT\r\n");
        sleep(Duration::from_millis(after));
        place.kill();
        let was_told = wire.rest().starts_with("+OK");
        place.start();
        let left = pop3(place.address("pop3"), "ana").listing("LIST").len();
        println!("killed after {after} ms: {left} left, {}", if was_told { "told" } else { "-" });
        assert!(left == 1 || left == many + 1 && !was_told, "{left} of {} are left", many + 1);
        let undeleted = place.posta(&["account", "undelete", "ana@x.test"], "");
        assert!(undeleted.status.success());
        let again = pop3(place.address("pop3"), "ana").listing("UIDL").len();
        assert_eq!(again, many + 1, "no message is lost");
    }
}

/// Returns the number of acknowledged messages of each session.
fn per_session(report: &str) -> Vec<usize> {
    let report: serde_json::Value = serde_json::from_str(report).unwrap();
    let counts = report["per_session"].as_array().unwrap();
    counts.iter().map(|count| usize::try_from(count.as_u64().unwrap()).unwrap()).collect()
}

/// Returns the numbers of the messages in the mailbox; each must be complete.
fn kept(place: &Place) -> HashSet<String> {
    let mut wire = pop3(place.address("pop3"), "ana");
    let sizes = wire.listing("LIST");
    let mut numbers = HashSet::new();
    for line in sizes {
        let (number, octets) = line.split_once(' ').unwrap();
        let lines = wire.listing(&format!("RETR {number}"));
        let length: usize = lines.iter().map(|line| line.len() + 2).sum();
        assert_eq!(length.to_string(), octets, "message {number} is whole");
        let field = lines.iter().find_map(|line| line.strip_prefix("X-Posta-Bench: ")).unwrap();
        assert!(numbers.insert(field.to_owned()), "{field} is kept twice");
    }
    numbers
}

/// A shim between the server and the system, which makes each fdatasync slow or fail, as a control file
/// says.
const SHIM: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

int fdatasync(int fd) {
    char word = 0;
    int control = open(getenv("SHIM_CONTROL"), O_RDONLY);
    if (control >= 0) {
        if (read(control, &word, 1) != 1) word = 0;
        close(control);
    }
    if (word == 's') usleep(700000);
    if (word == 'f') { errno = EIO; return -1; }
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");
    return real(fd);
}
"#;

/// The 250 reply comes after the sync, and not without it.
#[test]
fn the_250_waits_for_the_sync() {
    let mut place = Place::new(&[("smtp", "none"), ("pop3", "none")]);
    place.add_account("ana@x.test");
    let directory = place.directory.path().to_owned();
    let (source, shim, control) =
        (directory.join("shim.c"), directory.join("shim.so"), directory.join("control"));
    fs::write(&source, SHIM).unwrap();
    fs::write(&control, "-").unwrap();
    let mut compiler = Command::new("cc");
    compiler.args(["-shared", "-fPIC", "-o"]).arg(&shim).arg(&source).arg("-ldl");
    let compiled = compiler.status().expect("this test needs a C compiler, `cc`");
    assert!(compiled.success());
    place.start_with(&[
        ("LD_PRELOAD", shim.to_str().unwrap()),
        ("SHIM_CONTROL", control.to_str().unwrap()),
    ]);
    let mut wire = smtp(place.address("smtp"));
    let content = "A: b\r\n\r\nc\r\n";
    assert!(send(&mut wire, "ana@x.test", content).starts_with("250 "));

    fs::write(&control, "slow").unwrap();
    #[expect(clippy::disallowed_methods, reason = "this test measures real time")]
    let started = Instant::now();
    assert!(send(&mut wire, "ana@x.test", content).starts_with("250 "));
    assert!(started.elapsed() >= Duration::from_millis(700), "{:?}", started.elapsed());

    fs::write(&control, "fail").unwrap();
    let refused = send(&mut wire, "ana@x.test", content);
    assert!(refused.starts_with("451 4.3.0 "), "{refused}");
    // After a failed sync the engine accepts no more writes: nothing is acknowledged any more, even when
    // the disk reports success again.
    fs::write(&control, "-").unwrap();
    let refused = send(&mut wire, "ana@x.test", content);
    assert!(refused.starts_with("451 4.3.0 "), "{refused}");

    place.kill();
    place.start();
    let kept = pop3(place.address("pop3"), "ana").listing("LIST").len();
    assert!(kept >= 2, "both acknowledged messages are there: {kept}");
    let mut wire = smtp(place.address("smtp"));
    assert!(send(&mut wire, "ana@x.test", content).starts_with("250 "), "a restart heals");
}

/// A file system that is unmounted when the test ends, however it ends.
struct Small(PathBuf);

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

/// A full disk refuses mail for now. Stored mail can be read and removed, and mail is accepted again
/// once there is room.
#[test]
fn a_full_disk_refuses_mail_and_loses_none() {
    let mut place = Place::new(&[("smtp", "none"), ("pop3", "none")]);
    let data = place.directory.path().join("data");
    fs::create_dir(&data).unwrap();
    let sized = |options: &str| {
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(&data);
        mount.output().is_ok_and(|mounted| mounted.status.success())
    };
    if !sized("size=128m,mode=700") {
        posta_tests::skipped("full_disk", "a small disk must be mounted, which only root may do");
        return;
    }
    let _small = Small(data.clone());
    place.add_account("ana@x.test");
    place.start();
    let mut wire = smtp(place.address("smtp"));
    let content = format!("A: b\r\n\r\n{}", "x".repeat(70).add("\r\n").repeat(14_000));
    let mut accepted = 0;
    let refused = loop {
        let answer = send(&mut wire, "ana@x.test", &content);
        if !answer.starts_with("250 ") {
            break answer;
        }
        accepted += 1;
        assert!(accepted < 130, "the disk is smaller than that");
    };
    assert!(refused.starts_with("452 4.3.1 "), "{refused}");
    assert!(accepted > 20, "{accepted}");
    let mut session = pop3(place.address("pop3"), "ana");
    assert_eq!(session.listing("LIST").len(), accepted);
    assert_eq!(session.listing("RETR 1").concat().len(), session.listing("RETR 2").concat().len());
    assert!(session.say("DELE 1").starts_with("+OK"));
    assert!(session.say("QUIT").starts_with("+OK"));
    assert!(sized("remount,size=300m"));
    assert!(send(&mut wire, "ana@x.test", &content).starts_with("250 "), "there is room again");
    drop(wire);
    place.kill();
    place.start();
    let kept = pop3(place.address("pop3"), "ana").listing("LIST").len();
    assert_eq!(kept, accepted);
    place.kill();
}

/// kill -9 between QUIT and its reply, many times, each time a little later: the maildrop is unchanged,
/// or all marked messages are gone.
#[test]
fn kill_9_in_an_update_removes_all_or_nothing() {
    const KEPT: usize = 3;
    const MARKED: usize = 20;
    let mut place = Place::new(&[("smtp", "none"), ("pop3", "none")]);
    place.add_account("ana@x.test");
    place.start();
    let (mut as_before, mut gone) = (0, 0);
    // A database takes longer for an UPDATE.
    let (rounds, step) = (times(200, 30) as u64, times(20, 200) as u64);
    for round in 0..rounds {
        let mut session = pop3(place.address("pop3"), "ana");
        let present = session.listing("LIST").len();
        let mut wire = smtp(place.address("smtp"));
        for _ in present..KEPT + MARKED {
            assert!(send(&mut wire, "ana@x.test", "A: b\r\n\r\nc\r\n").starts_with("250 "));
        }
        drop((session, wire));
        let mut session = pop3(place.address("pop3"), "ana");
        let before = session.listing("UIDL");
        for number in KEPT + 1..=KEPT + MARKED {
            assert!(session.say(&format!("DELE {number}")).starts_with("+OK"));
        }
        session.write("QUIT\r\n");
        sleep(Duration::from_micros(round % 50 * step));
        place.kill();
        let answered = session.rest().starts_with("+OK");
        place.start();
        let after = pop3(place.address("pop3"), "ana").listing("UIDL");
        match after.len() {
            KEPT => gone += 1,
            _ => {
                assert_eq!(after, before, "round {round}: some of what was marked is gone");
                assert!(!answered, "round {round}: the removal was acknowledged");
                as_before += 1;
            }
        }
        assert_eq!(after[..KEPT], before[..KEPT]);
    }
    println!("{as_before} times as before, {gone} times all gone");
    assert!(as_before > 0 && gone > 0, "the kills came before and after the sync");
}
