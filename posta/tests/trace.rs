//! `posta trace` as the operator reads it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::{Place, pop3, send, smtp, stdout};
use std::fs;

/// Each list that a program may ask for is one when there is nothing on it.
#[test]
fn lists_of_nothing_are_lists() {
    let mut place = Place::new(&[("pop3", "none")]);
    place.start();
    for command in [
        &["account", "list"][..],
        &["alias", "list"],
        &["domain", "list"],
        &["collect", "list"],
        &["lockout", "list"],
        &["queue", "list"],
        &["queue", "summary"],
        &["trace", "nobody@x.test"],
    ] {
        let listed = place.posta(&[command, &["--json"]].concat(), "");
        assert_eq!(stdout(&listed), "[]\n", "{command:?}");
    }
    let told = place.posta(&["trace", "nobody@x.test"], "");
    let words = String::from_utf8_lossy(&told.stderr).into_owned();
    assert!(
        !told.status.success() && words.contains("nothing is told of nobody@x.test"),
        "{words}"
    );
}

/// What reached a mailbox, from where, and through which address.
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
    stdout(&place.posta(&["account", "import", "ana@x.test", files], ""));
    let mut other = Place::named("pop.y.test", &[("smtp", "none"), ("pop3", "none")]);
    other.add_account("ana@y.test");
    other.start();
    send(&mut smtp(other.address("smtp")), "ana@y.test", "Subject: far\r\n\r\nb\r\n");
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
    let fetched = place.posta(&fetch, common::PASSWORD);
    assert!(fetched.status.success(), "{}", String::from_utf8_lossy(&fetched.stderr));
    assert!(pop3(place.address("pop3"), "ana").say("STAT").starts_with("+OK 3 "));
    let told = stdout(&place.posta(&["trace", "ana@x.test"], ""));
    for words in [
        "in the mailbox of ana@x.test, through info@x.test\n".to_owned(),
        format!("octets from {files}\n"),
        format!("octets from {server} by POP3\n"),
        "in the mailbox of ana@x.test\n".to_owned(),
    ] {
        assert!(told.contains(&words), "{words}\n---\n{told}");
    }
    let told = stdout(&place.posta(&["trace", "ana@x.test", "--json"], ""));
    let told: serde_json::Value = serde_json::from_str(&told).unwrap();
    assert_eq!(told[0]["mailboxes"][0]["through"], "info@x.test", "{told}");
    assert_eq!(told[1]["mailboxes"][0], "ana@x.test", "{told}");
}
