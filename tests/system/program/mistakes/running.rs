//! Mistakes while the server runs.

use super::{Mistake, make};
use posta_tests::Place;

#[test]
fn what_a_server_refuses_is_told_with_its_cure() {
    let mut place = Place::new(&[("smtp", "none"), ("submission", "starttls"), ("pop3", "none")]);
    place.start();
    place.add_account("ana@x.test");
    let names = [
        ("SMTP", place.address("smtp").to_owned()),
        ("SUBMISSION", place.address("submission").to_owned()),
        ("POP3", place.address("pop3").to_owned()),
    ];
    make(MISTAKES, place.directory.path(), &names);
}

const fn typed(
    command: &'static [&'static str],
    input: &'static str,
    says: &'static str,
    code: &'static str,
) -> Mistake {
    Mistake { configuration: "", command, input, says, code, status: 1 }
}

const MISTAKES: &[Mistake] = &[
    typed(
        &["serve"],
        "",
        "posta: another process has the store in DIR/data/store open; stop it first",
        "store-in-use",
    ),
    typed(
        &["account", "password", "anna@x.test", "--password-stdin"],
        "seven blue lamps",
        "posta: there is no account anna@x.test: did you mean ana@x.test?",
        "no-such-account",
    ),
    typed(
        &["domain", "remove", "y.test"],
        "",
        "posta: y.test is no local domain: did you mean x.test?",
        "no-such-domain",
    ),
    typed(
        &["fetch", "--server", "POP3", "--user", "ana@x.test", "--password-stdin", "--stdout"],
        "wrong",
        "posta: the server refuses: [AUTH] name or password is wrong",
        "login-refused",
    ),
    typed(
        &[
            "fetch",
            "--server",
            "POP3",
            "--tls",
            "stls",
            "--user",
            "ana",
            "--password-stdin",
            "--stdout",
        ],
        "parola",
        "posta: the server offers no STLS, and a password may not travel in plaintext: --tls implicit at \
         port 995, or --tls none for a server on this machine",
        "tls-failed",
    ),
    typed(
        &[
            "send",
            "--server",
            "SUBMISSION",
            "--tls",
            "starttls",
            "--any-certificate",
            "--user",
            "ana@x.test",
            "--password-stdin",
            "--from",
            "ana@x.test",
            "--to",
            "ana@x.test",
            "--body",
            "Hi",
        ],
        "wrong",
        "posta: the server refuses the login: 535 5.7.8 Authentication failed (many servers want the \
         whole address as --user)",
        "login-refused",
    ),
    typed(
        &[
            "send",
            "--server",
            "SUBMISSION",
            "--tls",
            "starttls",
            "--from",
            "a@x.test",
            "--to",
            "ana@x.test",
            "--body",
            "Hi",
        ],
        "",
        "posta: TLS with 127.0.0.1 failed: the certificate is self-signed: no authority vouches for it; \
         --any-certificate takes it all the same",
        "tls-failed",
    ),
    typed(
        &["send", "--server", "SMTP", "--from", "a@y.test", "--to", "anna@x.test", "--body", "Hi"],
        "",
        "posta: 1 of 1 recipient refused",
        "recipients-refused",
    ),
];
