//! Programs that others wrote: Python's smtplib, poplib and ssl.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::{PASSWORD, Place};
use std::process::Command;

#[test]
fn python_sends_and_collects() {
    let mut place =
        Place::new(&[("smtp", "starttls"), ("submission", "implicit"), ("pop3", "starttls")]);
    let implicit =
        "[[listen]]\nprotocol = \"pop3\"\naddress = \"127.0.0.1:0\"\ntls = \"implicit\"\n";
    let config = std::fs::read_to_string(place.config()).unwrap();
    place.add_account("ana@x.test");
    place.add_account("bob@x.test");
    place.start();
    let (smtp, submission, pop3) = (
        place.address("smtp").to_owned(),
        place.address("submission").to_owned(),
        place.address("pop3").to_owned(),
    );
    run(&["plain", &smtp, &pop3]);
    run(&["tls", &smtp, &submission, &pop3]);
    assert!(place.posta(&["alias", "add", "info@x.test", "ana@x.test"], "").status.success());
    run(&["auth", &submission, &pop3]);
    // Once more with POP3 in TLS from the start; the mail is still there.
    assert_eq!(place.stop(), Some(0));
    let config = config.replace("protocol = \"pop3\"", "protocol = \"lmtp\"") + implicit;
    std::fs::write(place.config(), config).unwrap();
    place.start();
    run(&["pop3s", place.address("lmtp"), place.address("pop3")]);
}

/// swaks, msmtp, curl, s-nail and openssl deliver over 25, 587 and 465.
#[test]
fn debians_programs_deliver() {
    let mut place =
        Place::new(&[("smtp", "starttls"), ("submission", "starttls"), ("pop3", "none")]);
    place.add_account("ana@x.test");
    place.add_account("bob@x.test");
    let config = std::fs::read_to_string(place.config()).unwrap();
    let implicit =
        "[[listen]]\nprotocol = \"submission\"\naddress = \"127.0.0.1:0\"\ntls = \"implicit\"\n";
    std::fs::write(place.config(), config + implicit).unwrap();
    place.start();
    let both: Vec<_> = place.all("submission");
    let (smtp, pop3) = (place.address("smtp"), place.address("pop3"));
    run_script("programs.py", &[smtp, &both[0], &both[1], pop3]);
}

fn run(arguments: &[&str]) {
    run_script("interop.py", arguments);
}

fn run_script(name: &str, arguments: &[&str]) {
    let script = format!("{}/tests/python/{name}", env!("CARGO_MANIFEST_DIR"));
    let ran = Command::new("python3").arg(script).arg(PASSWORD).args(arguments).output();
    let ran = ran.expect("this test needs Python 3, `python3`");
    assert!(
        ran.status.success(),
        "{arguments:?}: {}{}",
        String::from_utf8_lossy(&ran.stdout),
        String::from_utf8_lossy(&ran.stderr)
    );
}
