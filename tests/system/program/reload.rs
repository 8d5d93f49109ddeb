//! SIGHUP: the running server reads the configuration and the certificates again.

use posta_tests::{Place, pop3, send, smarthost, smtp, stdout};
use std::{fs, thread, time::Duration};

/// A message larger than the reloaded configuration allows.
const LARGE: &str = "MAIL FROM:<bob@y.test> SIZE=5000";

/// Returns a configuration that refuses that message.
fn with_small_messages(config: &str) -> String {
    config.replace("[limits]\n", "[limits]\nmessage-size = \"2KiB\"\n")
}

/// Returns the number of log lines that contain some text.
fn times(place: &Place, words: &str) -> usize {
    place.log().iter().filter(|line| line.contains(words)).count()
}

/// Makes the server read its configuration again, and waits until the log contains the outcome.
fn reload(place: &Place, outcome: &str) {
    let before = times(place, outcome);
    place.signal("HUP");
    for _ in 0..200 {
        if times(place, outcome) > before {
            return;
        }
        thread::sleep(Duration::from_millis(50));
    }
    panic!("{outcome:?} is not told:\n{}", place.log().join("\n"));
}

#[test]
fn a_reload_holds_for_new_sessions_and_ends_none() {
    let mut place = Place::new(&[("smtp", "starttls"), ("pop3", "none")]);
    place.add_account("ana@x.test");
    place.start();
    let mut open = smtp(place.address("smtp"));
    assert!(open.say(LARGE).starts_with("250 "));
    assert!(open.say("RSET").starts_with("250 "));
    let mut mailbox = pop3(place.address("pop3"), "ana@x.test");
    let limited = with_small_messages(&fs::read_to_string(place.config()).unwrap());
    fs::write(place.config(), limited).unwrap();
    place.configure("[log]\nlevel = \"warn\"\n[relay]\nretry = [\"7s\"]\n");
    reload(&place, "reloaded:");
    assert!(open.say(LARGE).starts_with("250 "), "as it began");
    assert!(open.say("RSET").starts_with("250 "));
    assert!(send(&mut open, "ana@x.test", "\r\nx\r\n").starts_with("250 "));
    assert!(smtp(place.address("smtp")).say(LARGE).starts_with("552 "));
    assert!(mailbox.say("STAT").starts_with("+OK 0"), "the maildrop is as it was");
    let log = place.log().join("\n");
    assert!(!log.contains(" accepted "), "the level holds at once:\n{log}");
    assert_eq!(place.stop(), Some(0));
}

#[test]
fn what_is_wrong_is_refused_whole_and_what_cannot_change_is_named() {
    let mut place = Place::new(&[("smtp", "none")]);
    place.start();
    let good = fs::read_to_string(place.config()).unwrap();
    let limited = with_small_messages(&good);
    let large = |place: &Place| smtp(place.address("smtp")).say(LARGE);
    for (wrong, cause) in [
        ("[smtp]\nbare-newline = 1\n", "did you mean"),
        ("[relay]\nretry = []\n", "relay.retry"),
        (
            "[relay]\nsmarthost = \"h.test:25\"\nuser = \"u\"\npassword-file = \"/nowhere\"\n",
            "/nowhere",
        ),
    ] {
        fs::write(place.config(), format!("{limited}{wrong}")).unwrap();
        reload(&place, "not reloaded");
        let line = place.log().into_iter().rfind(|line| line.contains("not reloaded")).unwrap();
        assert!(line.contains(cause), "{cause}: {line}");
        assert!(large(&place).starts_with("250 "), "nothing of it holds");
    }
    fs::remove_file(place.config()).unwrap();
    reload(&place, "not reloaded");
    let moved = limited.replace("mail.x.test", "other.x.test");
    let listen = "[[listen]]\nprotocol = \"lmtp\"\naddress = \"127.0.0.1:0\"\n";
    fs::write(place.config(), format!("{moved}{listen}")).unwrap();
    reload(&place, "reloaded:");
    place.logged("changed, but holds only after a restart key=hostname");
    place.logged("changed, but holds only after a restart key=listen");
    assert!(large(&place).starts_with("552 "), "the rest holds");
    for _ in 0..20 {
        place.signal("HUP");
    }
    assert!(large(&place).starts_with("552 "));
    assert_eq!(place.stop(), Some(0), "SIGHUP kills nothing");
    place.logged("INFO stopping signal=SIGTERM");
    place.logged("INFO stopped");
    place.logged("INFO started version=");
}

/// The store stays in its directory until a restart, and so does the self-signed certificate.
#[test]
fn another_data_directory_is_for_the_next_start() {
    let mut place = Place::new(&[("smtp", "starttls")]);
    place.start();
    let config = fs::read_to_string(place.config()).unwrap();
    let elsewhere = place.directory.path().join("elsewhere");
    let data = place.directory.path().join("data");
    let (old, new) = (data.display().to_string(), elsewhere.display().to_string());
    fs::write(place.config(), config.replace(&old, &new)).unwrap();
    reload(&place, "reloaded:");
    place.logged("changed, but holds only after a restart key=data");
    assert!(!elsewhere.exists(), "nothing is made there yet");
    assert_eq!(place.stop(), Some(0));
}

/// Mail that waited for a dead smarthost goes to another one at once, without a restart.
#[test]
fn another_smarthost_holds_for_what_waits() {
    let mut place = Place::new(&[("smtp", "none")]);
    place.add_account("ana@x.test");
    stdout(&place.posta(&["alias", "add", "b@x.test", "bob@y.test"], ""));
    let plain = fs::read_to_string(place.config()).unwrap();
    let with =
        |smarthost: &str| format!("{plain}[relay]\nsmarthost = \"{smarthost}\"\ntls = \"none\"\n");
    fs::write(place.config(), with("127.0.0.1:1")).unwrap();
    place.start();
    let mut wire = smtp(place.address("smtp"));
    assert!(send(&mut wire, "b@x.test", "\r\nx\r\n").starts_with("250 "));
    place.logged(" deferred id=");
    fs::write(place.config(), with(&smarthost())).unwrap();
    reload(&place, "reloaded:");
    stdout(&place.posta(&["queue", "retry", "--all"], ""));
    place.logged(" delivered id=");
    assert_eq!(place.stop(), Some(0));
}

/// The command waits for the outcome and prints it: what changed, what needs a restart, or why all is refused.
#[test]
fn the_command_tells_what_became_of_the_changes() {
    let mut place = Place::new(&[("smtp", "none")]);
    place.start();
    let reload = |place: &Place| stdout(&place.posta(&["reload"], ""));
    let said = reload(&place);
    assert!(said.starts_with("No option has changed."), "{said}");
    let good = fs::read_to_string(place.config()).unwrap();
    let changed = with_small_messages(&good).replace("mail.x.test", "other.x.test");
    fs::write(place.config(), &changed).unwrap();
    let said = reload(&place);
    assert!(said.contains("limits.message-size: \"2KiB\", before: \""), "{said}");
    assert!(said.contains("hostname: needs a restart"), "{said}");
    assert!(!said.contains("hostname: \""), "{said}");
    assert!(smtp(place.address("smtp")).say(LARGE).starts_with("552 "), "it holds");
    let said = reload(&place);
    assert!(said.starts_with("hostname: needs a restart"), "still: {said}");
    fs::write(place.config(), format!("{good}[relay]\nretry = []\n")).unwrap();
    let refused = place.posta(&["reload"], "");
    let why = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(1), "{why}");
    assert!(why.contains("goes on with what it has read before"), "{why}");
    assert!(why.contains("relay.retry"), "{why}");
    assert!(smtp(place.address("smtp")).say(LARGE).starts_with("552 "), "nothing of it holds");
    fs::write(place.config(), &good).unwrap();
    assert_eq!(place.stop(), Some(0));
    let alone = place.posta(&["reload"], "");
    assert!(
        String::from_utf8_lossy(&alone.stderr).contains("no server runs with the control socket"),
        "{alone:?}"
    );
}
