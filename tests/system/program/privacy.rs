//! No octet of a mailbox reaches anyone but its owner.

use posta_tests::{PASSWORD, Place, Wire, send, smtp};

/// All commands of POP3, with arguments that would be valid after a login.
const COMMANDS: [&str; 13] = [
    "STAT", "LIST", "LIST 1", "UIDL", "UIDL 1", "RETR 1", "TOP 1 0", "TOP 1 9", "DELE 1", "RSET",
    "NOOP", "PASS", "XYZZY",
];

fn place() -> Place {
    let mut place = Place::new(&[("smtp", "none"), ("pop3", "starttls")]);
    let config = std::fs::read_to_string(place.config()).unwrap();
    let config = config.replace("[limits]", "[pop3]\napop = true\n[limits]\nfailed-logins = 0");
    std::fs::write(place.config(), config).unwrap();
    for address in ["ana@x.test", "bob@x.test"] {
        place.add_account(address);
    }
    place.start();
    let mut wire = smtp(place.address("smtp"));
    for owner in ["ana", "bob"] {
        for number in 0..3 {
            let content = format!("Subject: of {owner}\r\n\r\nsecret of {owner} {number}\r\n");
            assert!(send(&mut wire, &format!("{owner}@x.test"), &content).starts_with("250 "));
        }
    }
    place
}

fn greeted(place: &Place) -> Wire {
    let mut wire = Wire::connect(place.address("pop3"));
    assert!(wire.line().starts_with("+OK"));
    wire
}

/// Before the login every command is refused, whatever came before it, and nothing is removed.
#[test]
fn nothing_is_told_without_the_password() {
    let place = place();
    let beginnings: [&[&str]; 8] = [
        &[],
        &["USER ana@x.test"],
        &["USER ana@x.test", "PASS wrong"],
        &["AUTH PLAIN AGFuYUB4LnRlc3QAd3Jvbmc="],
        &["AUTH PLAIN", "*"],
        &["AUTH SCRAM-SHA-256 biwsbj1hbmFAeC50ZXN0LHI9YWJj", "Yz1iaXdzLHI9eCxwPUFBQUE="],
        &["APOP ana@x.test 00000000000000000000000000000000"],
        &["LANG ro", "UTF8", "CAPA"],
    ];
    for beginning in beginnings {
        for command in COMMANDS {
            let mut wire = greeted(&place);
            for line in beginning {
                wire.say(line);
            }
            wire.write(&format!("{command}\r\nQUIT\r\n"));
            let rest = wire.rest();
            let told = rest.replace(' ', "\r\n");
            assert!(!told.contains("secret") && !told.contains("Subject:"), "{command}: {rest}");
            // Nothing in the answer to CAPA is about messages; everything else is refused.
            let answers: Vec<_> = rest.lines().collect();
            let (last, before) = answers.split_last().unwrap();
            assert!(last.starts_with("+OK"), "{beginning:?}, {command}: {rest}");
            let refused = before.last().unwrap();
            assert!(refused.starts_with("-ERR"), "{beginning:?}, {command}: {rest}");
        }
    }
    let mut wire = posta_tests::pop3(place.address("pop3"), "ana");
    assert_eq!(wire.listing("LIST").len(), 3);
}

/// Two sessions side by side use every command in turn: each sees its own mailbox, whatever the other
/// does.
#[test]
fn one_sessions_data_never_reaches_another() {
    let place = place();
    let mut sessions =
        ["ana", "bob"].map(|name| (name, posta_tests::pop3(place.address("pop3"), name)));
    for round in 0..20 {
        // Both have commands in flight at the same time.
        for (_, wire) in &mut sessions {
            wire.write("RETR 1\r\nRETR 2\r\nTOP 3 5\r\nUIDL\r\nRETR 4\r\nRETR 0\r\n");
        }
        for (name, wire) in &mut sessions {
            let other = if *name == "ana" { "bob" } else { "ana" };
            for _ in 0..4 {
                assert!(wire.line().starts_with("+OK"));
                let mut lines = Vec::new();
                loop {
                    let line = wire.line();
                    if line == "." {
                        break;
                    }
                    lines.push(line);
                }
                let text = lines.join("\n");
                assert!(!text.contains(other), "round {round}: {name} sees {text}");
            }
            for _ in 0..2 {
                assert!(wire.line().starts_with("-ERR"), "there is no such message");
            }
        }
    }
    // Messages that one session removes remain for the other.
    let [(_, mut ana), (_, mut bob)] = sessions;
    assert!(ana.say("DELE 1").starts_with("+OK"));
    assert!(ana.say("QUIT").contains("1 message removed"));
    assert_eq!(bob.listing("RETR 1").last().unwrap(), "secret of bob 0");
    // A login in a session that is already logged in is refused, and changes nothing.
    assert!(bob.say("USER ana@x.test").starts_with("-ERR"));
    assert!(bob.say(&format!("PASS {PASSWORD}")).starts_with("-ERR"));
    assert!(bob.say("AUTH PLAIN AGFuYUB4LnRlc3QAcGFyb2xh").starts_with("-ERR"));
    assert_eq!(bob.listing("RETR 1").last().unwrap(), "secret of bob 0");
}

/// The memory of the server holds passwords, keys and mail.
#[test]
fn a_crash_leaves_no_dump_of_the_memory() {
    let mut place = Place::new(&[("smtp", "none")]);
    place.start();
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", place.pid())).unwrap();
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    assert_eq!(core.split_whitespace().nth(4), Some("0"), "{core}");
}
