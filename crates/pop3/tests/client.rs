//! What the client makes of servers that say absurd things.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use posta_mail::{Engine, Secret, Step, TlsUse};
use posta_pop3::{
    Client,
    client::{Answer, Failure, Options, Outcome, Question},
};

/// What a command that follows the login brings, if the server says all of this.
fn outcome(command: &Answer, server: &str) -> Result<Outcome, Failure> {
    let (name, password) = ("ana".into(), Secret::new(b"parola"));
    let options = Options { name, password, tls: TlsUse::Never, sasl: false };
    let mut client = Client::new(options, false);
    let (mut input, mut said, mut asked) = (server.as_bytes(), Vec::new(), false);
    loop {
        match client.next(&mut input, &mut said) {
            Step::Ask(Question::Next(outcome)) if asked => return Ok(outcome),
            Step::Ask(Question::Next(_)) => {
                asked = true;
                client.answer(command.clone(), &mut said);
            }
            Step::Ask(Question::Failed(failure)) => return Err(failure),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_maildrop_has_no_more_messages_than_there_can_be() {
    let login = "+OK hello\r\n+OK\r\n+OK\r\n";
    let stat = |words: &str| outcome(&Answer::Stat, &format!("{login}+OK {words}\r\n"));
    assert_eq!(stat("2 320"), Ok(Outcome::Status { messages: 2, octets: 320 }));
    for absurd in ["4294967295 0", "4000001 0", "-1 0", "2", ""] {
        assert!(matches!(stat(absurd), Err(Failure::Protocol(_))), "{absurd}");
    }
}
