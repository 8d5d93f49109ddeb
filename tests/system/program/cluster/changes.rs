//! What is changed at one server holds at the others, in sessions that are open and in what they remember.

use super::{cluster, places};
use posta_tests::{PASSWORD, Place, Wire, pop3, smtp, stdout};
use std::{thread, time::Duration};

fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    for _ in 0..200 {
        if is_so() {
            return;
        }
        thread::sleep(Duration::from_millis(100));
    }
    panic!("not so after 20 s: {what}");
}

fn said(server: &Place, line: &str, input: &str) -> String {
    let arguments: Vec<_> = line.split(' ').collect();
    stdout(&server.posta(&arguments, input))
}

/// Logs in by POP3, and returns the reply.
fn log_in(server: &Place, password: &str) -> String {
    let mut wire = Wire::connect(server.address("pop3"));
    assert!(wire.line().starts_with("+OK") && wire.say("USER ana@x.test").starts_with("+OK"));
    wire.say(&format!("PASS {password}"))
}

/// Returns the reply to RCPT in a session of its own or in this one.
fn named(session: &mut Wire, from: &str, to: &str) -> String {
    assert!(session.say("RSET").starts_with("250 "));
    assert!(session.say(&format!("MAIL FROM:<{from}>")).starts_with("250 "));
    session.say(&format!("RCPT TO:<{to}>"))
}

#[test]
fn what_changes_at_one_server_holds_at_the_other() {
    let Some(cluster) = cluster() else { return };
    let mut servers = places(&cluster);
    servers[0].add_account("ana@x.test");
    servers.iter_mut().for_each(Place::start);
    let [one, two] = &servers;
    accounts(one, two);
    addresses(one, two);
}

fn accounts(one: &Place, two: &Place) {
    let mut open = pop3(two.address("pop3"), "ana@x.test");
    said(one, "account disable ana@x.test", "");
    eventually("an open session ends", || open.say("NOOP").starts_with("-ERR [AUTH]"));
    assert!(log_in(two, PASSWORD).starts_with("-ERR [AUTH] the account is disabled"));
    said(one, "account enable ana@x.test", "");
    eventually("the account is enabled", || log_in(two, PASSWORD).starts_with("+OK"));

    // The old password was right a moment ago.
    said(one, "account password ana@x.test --password-stdin", "a longer one\n");
    eventually("the new password is right", || log_in(two, "a longer one").starts_with("+OK"));
    assert!(log_in(two, PASSWORD).starts_with("-ERR [AUTH]"));

    let made = said(one, "account app-password add ana@x.test phone", "");
    let is_one = |word: &&str| word.matches('-').count() >= 3;
    let app_password = made.split_whitespace().find(is_one).unwrap_or_else(|| panic!("{made}"));
    eventually("the app password is right", || log_in(two, app_password).starts_with("+OK"));
    said(one, "account app-password remove ana@x.test phone", "");
    eventually("the app password is wrong", || log_in(two, app_password).starts_with("-ERR"));

    let mut open = Wire::connect(two.address("pop3"));
    assert!(open.line().starts_with("+OK") && open.say("USER ana@x.test").starts_with("+OK"));
    assert!(open.say("PASS a longer one").starts_with("+OK"));
    said(one, "account remove ana@x.test --yes", "");
    eventually("the session of a removed account ends", || open.say("NOOP").starts_with("-ERR"));
    said(one, "account undelete ana@x.test", "");
    eventually("the account is back", || log_in(two, "a longer one").starts_with("+OK"));
}

fn addresses(one: &Place, two: &Place) {
    let mut session = smtp(two.address("smtp"));
    let mut reply = |from: &str, to: &str| named(&mut session, from, to);
    let mut becomes = |to: &str, code: &str| {
        eventually(&format!("{to}: {code}"), || reply("s@y.test", to).starts_with(code));
    };
    for (to, before, add, remove) in [
        (
            "bob@x.test",
            "550",
            "account add bob@x.test --password-stdin",
            "account remove bob@x.test --yes",
        ),
        ("info@x.test", "550", "alias add info@x.test ana@x.test", "alias remove info@x.test"),
        ("eva@x.test", "550", "alias add @x.test ana@x.test", "alias remove @x.test"),
        ("ana@z.test", "550", "domain alias z.test x.test", "domain remove z.test"),
    ] {
        becomes(to, before);
        said(one, add, PASSWORD);
        becomes(to, "250");
        said(one, remove, "");
        becomes(to, before);
    }
    said(one, "account send-only ana@x.test", "");
    becomes("ana@x.test", "550");
    said(one, "account send-only ana@x.test --off", "");
    becomes("ana@x.test", "250");
    said(one, "account rename ana@x.test anna@x.test", "");
    becomes("ana@x.test", "55");
    becomes("anna@x.test", "250");

    // A list of senders is read for each message.
    let send = |session: &mut Wire| {
        posta_tests::send_from(session, "s@bad.test", "anna@x.test", "Subject: x\r\n\r\nx\r\n")
    };
    let mut session = smtp(two.address("smtp"));
    assert!(send(&mut session).starts_with("250 "));
    said(one, "sender block bad.test --account anna@x.test", "");
    let refused = send(&mut session);
    assert!(refused.starts_with("55"), "{refused}");
}
