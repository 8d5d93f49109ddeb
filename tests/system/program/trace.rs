//! `posta trace`, as read by the operator.

use posta_tests::{Place, pop3, send, smtp, stdout};
use std::fs;

/// Every list that a program can request is a list even if it is empty.
#[test]
fn lists_of_nothing_are_lists() {
    let mut place = Place::new(&[("pop3", "none")]);
    place.start();
    for command in [
        &["account", "list"][..],
        &["alias", "list"],
        &["domain", "list"],
        &["collect", "list"],
        &["account", "list", "--removed"],
        &["token", "list"],
        &["certificate", "list"],
        &["lockout", "list"],
        &["queue", "list"],
        &["queue", "summary"],
        &["quarantine", "list"],
        &["trace", "nobody@x.test"],
    ] {
        let listed = place.posta(&[command, &["--json"]].concat(), "");
        assert_eq!(stdout(&listed), "[]\n", "{command:?}");
    }
    let told = place.posta(&["trace", "nobody@x.test"], "");
    let words = String::from_utf8_lossy(&told.stderr).into_owned();
    assert!(
        !told.status.success() && words.contains("nothing is known of nobody@x.test"),
        "{words}"
    );
}

/// The mail that reached a mailbox, its origin, and the address that led there.
#[test]
fn the_story_of_a_mailbox_reads_well() {
    let mut place = Place::new(&[("smtp", "none"), ("pop3", "none")]);
    place.add_account("ana@x.test");
    stdout(&place.posta(&["alias", "add", "info@x.test", "ana@x.test"], ""));
    place.start();
    let mut wire = smtp(place.address("smtp"));
    send(&mut wire, "info@x.test", "Subject: s\r\n\r\nb\r\n");
    let maildir = place.config().with_file_name("Maildir");
    for folder in ["cur", "new", "tmp"] {
        fs::create_dir_all(maildir.join(folder)).unwrap();
    }
    fs::write(maildir.join("new/1.a"), "Subject: old\n\nb\n").unwrap();
    let files = maildir.to_str().unwrap();
    stdout(&place.posta(&["import", "maildir", "ana@x.test", files], ""));
    let mut other = Place::named("pop.y.test", &[("smtp", "none"), ("pop3", "none")]);
    other.add_account("ana@y.test");
    other.start();
    send(
        &mut smtp(other.address("smtp")),
        "ana@y.test",
        "Subject: far\r\nMessage-ID: <far@y.test>\r\n\r\nb\r\n",
    );
    let server = other.address("pop3");
    let fetch = [
        "fetch",
        "--server",
        server,
        "--user",
        "ana",
        "--password-stdin",
        "--account",
        "ana@x.test",
    ];
    let fetched = place.posta(&fetch, posta_tests::PASSWORD);
    assert!(fetched.status.success(), "{}", String::from_utf8_lossy(&fetched.stderr));
    assert!(pop3(place.address("pop3"), "ana").say("STAT").starts_with("+OK 3 "));
    let told = stdout(&place.posta(&["trace", "ana@x.test"], ""));
    for words in [
        "in the mailbox of ana@x.test, through info@x.test\n".to_owned(),
        format!("octets from {files}\n"),
        format!("octets of s@y.test from {server} by POP3\n"),
        "in the mailbox of ana@x.test\n".to_owned(),
    ] {
        assert!(told.contains(&words), "{words}\n---\n{told}");
    }
    let by_id = stdout(&place.posta(&["trace", "<far@y.test>"], ""));
    assert!(by_id.contains("in the mailbox of ana@x.test\n"), "{by_id}");
    let told = stdout(&place.posta(&["trace", "ana@x.test", "--json"], ""));
    let told: serde_json::Value = serde_json::from_str(&told).unwrap();
    assert_eq!(told[0]["mailboxes"][0]["through"], "info@x.test", "{told}");
    assert_eq!(told[1]["mailboxes"][0], "ana@x.test", "{told}");
}

/// Failed logins and their reasons, listed by account, however the client wrote its name.
#[test]
fn failed_logins_are_told_by_account() {
    let mut place = Place::new(&[("submission", "none"), ("pop3", "none")]);
    place.add_account("ana@x.test");
    let config = fs::read_to_string(place.config()).unwrap();
    fs::write(place.config(), config.replace("[limits]\n", "[limits]\nfailed-logins = 1\n"))
        .unwrap();
    place.start();
    let fail = |name: &str| {
        let mut wire = posta_tests::Wire::connect(place.address("pop3"));
        wire.line();
        wire.say(&format!("USER {name}"));
        wire.say("PASS wrong");
        wire.say("QUIT")
    };
    fail("ana");
    fail("nobody@x.test");
    let mut wire = smtp(place.address("submission"));
    // "\0Ana@x.test\0wrong"
    let said = wire.say("AUTH PLAIN AEFuYUB4LnRlc3QAd3Jvbmc=");
    assert!(said.starts_with("535 5.7.8"), "{said}");
    wire.say("QUIT");
    let told = |named: &str| stdout(&place.posta(&["trace", named], ""));
    let of_ana = told("ana@x.test");
    for words in [
        "refused USER ana@x.test: wrong password ([AUTH] wrong name or password)\n",
        "refused AUTH ana@x.test: wrong password (535 5.7.8 Authentication failed)\n",
    ] {
        assert!(of_ana.contains(words), "{words}\n---\n{of_ana}");
    }
    let of_nobody = told("nobody@x.test");
    assert!(of_nobody.contains("refused USER nobody@x.test: no such account ("), "{of_nobody}");
    for _ in 0..8 {
        fail("ana@x.test");
    }
    let locked_out =
        "127.0.0.1 is locked out after 10 failed logins, the last as ana@x.test, until ";
    for named in ["ana@x.test", "127.0.0.1", "x.test"] {
        let told = told(named);
        assert!(told.contains(locked_out), "{named}: {told}");
        assert!(!told.contains("Credentials"), "{told}");
    }
}
