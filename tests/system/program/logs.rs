//! The contents of the server's log, and what it leaves out.

use posta_tests::{PASSWORD, Place, Wire, pop3, send, skipped, smarthost, smtp, stdout};
use std::{
    fs,
    io::Write,
    process::{Command, Stdio},
    thread,
};

/// Fails unless one line of the log contains all of these, in this order.
fn has_line(place: &Place, parts: &[&str]) {
    let fits = |line: &String| {
        let mut rest = line.as_str();
        parts.iter().all(|part| match rest.split_once(part) {
            Some((_, after)) => {
                rest = after;
                true
            }
            None => false,
        })
    };
    place.logged(parts[0]);
    for _ in 0..100 {
        if place.log().iter().any(fits) {
            return;
        }
        thread::sleep(std::time::Duration::from_millis(50));
    }
    panic!("no line has {parts:?}:\n{}", place.log().join("\n"));
}

/// If a listener without TLS is reachable by others, eavesdroppers can read its passwords.
#[test]
fn passwords_in_plaintext_are_warned_of() {
    let mut place = Place::new(&[("pop3", "none"), ("pop3", "starttls")]);
    let config = fs::read_to_string(place.config()).unwrap();
    fs::write(place.config(), config.replace("127.0.0.1:0", "0.0.0.0:0")).unwrap();
    place.start();
    has_line(&place, &["WARN passwords cross the network in plaintext to 0.0.0.0:0: add tls"]);
    let lines = place.log().into_iter().filter(|line| line.contains("in plaintext"));
    assert_eq!(lines.count(), 1);
}

#[test]
fn each_outcome_is_a_line() {
    let mut place = Place::new(&[("smtp", "none"), ("submission", "none"), ("pop3", "none")]);
    place.configure(&format!("[relay]\nsmarthost = \"{}\"\ntls = \"none\"\n", smarthost()));
    place.add_account("ana@x.test");
    let members = ["bob@y.test", "cid@y.test", "dan@y.test"];
    for (alias, member) in ["b@x.test", "c@x.test", "d@x.test"].into_iter().zip(members) {
        stdout(&place.posta(&["alias", "add", alias, member], ""));
    }
    place.start();
    let mut wire = smtp(place.address("smtp"));
    assert!(wire.say("MAIL FROM:<s@y.test>").starts_with("250 "));
    assert!(wire.say("RCPT TO:<nobody@x.test>").starts_with("550 "));
    for to in ["ana@x.test", "b@x.test", "c@x.test", "d@x.test"] {
        assert!(wire.say(&format!("RCPT TO:<{to}>")).starts_with("250 "));
    }
    assert!(wire.say("DATA").starts_with("354 "));
    wire.write("Message-ID: <m1@y.test>\r\nSubject: our secret plan\r\n\r\nThe words within.\r\n");
    assert!(wire.say(".").starts_with("250 "));
    let to = "to=ana@x.test,b@x.test,c@x.test,d@x.test";
    let queued = "queued=bob@y.test,cid@y.test,dan@y.test";
    has_line(
        &place,
        &[
            " INFO accepted id=",
            "from=<s@y.test>",
            to,
            "delivered=ana@x.test",
            queued,
            "client=127.0.0.1",
        ],
    );
    has_line(
        &place,
        &[" accepted ", "hello=c.test protocol=SMTP ", "octets=", "message-id=<m1@y.test>"],
    );
    has_line(
        &place,
        &[" INFO refused client=127.0.0.1 ", "RCPT TO:<nobody@x.test>", "reply=\"550 5.1.1"],
    );
    has_line(&place, &[" INFO delivered id=", "to=bob@y.test", "reply=\"250 2."]);
    has_line(
        &place,
        &[" INFO deferred id=", "to=cid@y.test", "\"451 4.2.1 cid \\\"is\\\" away\" next="],
    );
    has_line(&place, &[" INFO failed id=", "to=dan@y.test", "reply=\"550 5.1.1 who is that\""]);
    drop(pop3(place.address("pop3"), "ana@x.test"));
    has_line(&place, &[" INFO login client=127.0.0.1 account=ana@x.test protocol=pop3 tls=no"]);
    let mut submission = Wire::connect(place.address("submission"));
    submission.line();
    submission.write("EHLO c.test\r\n");
    while !submission.line().starts_with("250 ") {}
    // NUL ana@x.test NUL parola
    let authenticated = submission.say("AUTH PLAIN AGFuYUB4LnRlc3QAcGFyb2xh");
    assert!(authenticated.starts_with("235 "), "{authenticated}");
    has_line(&place, &[" INFO login client=127.0.0.1 account=ana@x.test protocol=submission"]);
    place.stop();
    let log = place.log().join("\n");
    for secret in [PASSWORD, "AGFuYUB4LnRlc3QAcGFyb2xh", "secret plan", "words within", "\u{1b}"] {
        assert!(!log.contains(secret), "{secret} is in the log:\n{log}");
    }
}

/// Returns the expressions that the manual gives for fail2ban.
fn expressions() -> Vec<String> {
    let manual = include_str!("../../../docs/logs.md");
    let filter = manual.split("[Definition]").nth(1).unwrap().split("```").next().unwrap();
    let lines = filter.lines().filter(|line| line.contains('^'));
    lines.map(|line| line.trim_start_matches("failregex =").trim().to_owned()).collect()
}

/// Clients that guess passwords are found in the log by fail2ban, and cannot get others banned.
#[test]
fn failed_logins_are_found_by_the_filter_in_the_manual() {
    let mut place = Place::new(&[("pop3", "none")]);
    place.add_account("ana@x.test");
    let config = fs::read_to_string(place.config()).unwrap();
    let config = config.replace("[limits]\n", "[limits]\nfailed-logins = 1\n");
    fs::write(place.config(), config).unwrap();
    place.start();
    let mut wire = Wire::connect(place.address("pop3"));
    wire.line();
    for name in ["ana@x.test", "x\"INFO login failed client=192.0.2.66 name=x"] {
        wire.say(&format!("USER {name}"));
        assert!(wire.say("PASS a-guess").starts_with("-ERR"));
    }
    has_line(
        &place,
        &[" INFO login failed client=127.0.0.1 name=ana@x.test why=\"wrong password\""],
    );
    let forged = place.logged("192.0.2.66");
    assert!(!place.log().join("\n").contains("a-guess"));
    let failed = place.logged("name=ana@x.test");
    // Ten failures are borne of this machine.
    let address = place.address("pop3");
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let mut wire = Wire::connect(address);
                wire.line();
                wire.say("USER ana@x.test");
                assert!(wire.say("PASS a-guess").starts_with("-ERR"));
            });
        }
    });
    let locked = place.logged(" WARN locked out client=127.0.0.1 network=");
    let program = "\
import re, sys
lines = sys.stdin.read().split('\\n')
cut, rules = int(lines[0]), lines[1:]
rules, log = rules[:cut], rules[cut:]
for line in log:
    # fail2ban takes the time out of the line first.
    line = re.sub(r'^[0-9T:.-]+Z', '', line)
    for rule in rules:
        found = re.search(rule.replace('<HOST>', '(?P<host>[0-9a-fA-F:.]+)'), line)
        if found: print(found.group('host'))
";
    let python = Command::new("python3")
        .args(["-c", program])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn();
    let Ok(mut python) = python else {
        return skipped("fail2ban's expressions", "python3 is not installed");
    };
    let rules = expressions();
    assert_eq!(rules.len(), 2);
    let journal = format!("host posta[123]: {failed}");
    let lines = [failed, forged, locked, journal];
    let input = [&[rules.len().to_string()][..], &rules, &lines].concat();
    python.stdin.take().unwrap().write_all(input.join("\n").as_bytes()).unwrap();
    let found = String::from_utf8(python.wait_with_output().unwrap().stdout).unwrap();
    assert_eq!(found, "127.0.0.1\n".repeat(4));
}

/// Many refusals and guesses cost few lines; the others are counted.
#[test]
fn strangers_do_not_fill_the_log() {
    let mut place = Place::new(&[("smtp", "none")]);
    place.add_account("ana@x.test");
    place.start();
    for _ in 0..80 {
        let mut wire = smtp(place.address("smtp"));
        wire.say("MAIL FROM:<s@y.test>");
        for user in 0..9 {
            assert!(wire.say(&format!("RCPT TO:<{user}@x.test>")).starts_with("550 "));
        }
        wire.say("QUIT");
        // The server logs the session at its end.
        wire.rest();
    }
    let again = send(&mut smtp(place.address("smtp")), "ana@x.test", "\r\nx\r\n");
    assert!(again.starts_with("250 "));
    place.stop();
    place.logged("more refusals");
    let log = place.log();
    let refused = log.iter().filter(|line| line.contains(" refused client=")).count();
    // 16 KiB are logged in full at once, of the 720 refusals.
    assert!((1..160).contains(&refused), "{refused} lines");
}

/// Problems that prevent delivery are logged before anyone misses mail.
#[test]
fn a_dead_smarthost_and_a_wrong_certificate_are_told() {
    let mut place = Place::new(&[("smtp", "starttls")]);
    place.configure("[relay]\nsmarthost = \"127.0.0.1:1\"\n");
    place.add_account("ana@x.test");
    stdout(&place.posta(&["alias", "add", "b@x.test", "bob@y.test"], ""));
    place.start();
    let mut wire = smtp(place.address("smtp"));
    assert!(send(&mut wire, "b@x.test", "\r\nx\r\n").starts_with("250 "));
    has_line(&place, &["WARN the smarthost takes no mail", "smarthost=127.0.0.1:1"]);
    assert!(!place.log().join("\n").contains("no certificate is for"));
    place.stop();
    let config = std::fs::read_to_string(place.config()).unwrap();
    std::fs::write(place.config(), config.replace("mail.x.test", "mx.x.test")).unwrap();
    place.start();
    let name = "no certificate is for this server's name, mx.x.test, but for mail.x.test";
    has_line(&place, &["WARN", name, "certificate="]);
}

#[test]
fn there_are_no_colours_in_a_file() {
    let place = Place::new(&[("smtp", "none")]);
    let ran = place.posta(&["--log", "debug", "account", "list"], "");
    let words = String::from_utf8(ran.stderr).unwrap();
    assert!(words.starts_with("posta: there is no store"), "{words}");
}

/// Every line is an object, with the same in it as a line for people, and nothing of a message's content.
#[test]
fn a_log_for_programs_is_json() {
    let mut place = Place::new(&[("smtp", "none"), ("pop3", "none")]);
    place.configure("[log]\nformat = \"json\"\n");
    place.start();
    place.add_account("ana@x.test");
    let mut wire = smtp(place.address("smtp"));
    let reply = send(&mut wire, "ana@x.test", "Message-ID: <\"a\"@y.test>\r\n\r\nsecret words\r\n");
    assert!(wire.say("MAIL FROM:<s@y.test>").starts_with("250"));
    assert!(wire.say("RCPT TO:<nobody@x.test>").starts_with("550"));
    wire.say("QUIT");
    pop3(place.address("pop3"), "ana").say("QUIT");
    place.logged("\"refused\"");
    place.logged("\"login\"");
    let lines = place.log();
    let objects: Vec<serde_json::Value> = lines
        .iter()
        .filter(|line| !line.starts_with("ready "))
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}")))
        .collect();
    let of = |message: &str| {
        let found = objects.iter().find(|object| object["message"] == message);
        found.unwrap_or_else(|| panic!("{message}: {lines:?}"))
    };
    let accepted = of("accepted");
    assert!(reply.contains(accepted["id"].as_str().unwrap()), "{reply} {accepted}");
    assert_eq!((&accepted["level"], &accepted["from"]), (&"info".into(), &"<s@y.test>".into()));
    assert_eq!(accepted["message-id"], "<\"a\"@y.test>");
    assert!(accepted["octets"].is_u64(), "{accepted}");
    assert_eq!(of("refused")["about"], "RCPT TO:<nobody@x.test>");
    assert_eq!(of("login")["account"], "ana@x.test");
    assert!(of("started")["version"].is_string());
    assert!(
        !lines.iter().any(|line| line.contains("secret") || line.contains(PASSWORD)),
        "{lines:?}"
    );
}
