//! What the client makes of servers that say absurd things.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use posta_mail::{Engine, Secret, Step, TlsUse};
use posta_pop3::client::{Client, Failure, Options, Pop3Request, Question, Status};

/// What STAT brings after the login, if the server says all of this.
fn stat(server: &str) -> Result<Status, Failure> {
    let (name, password) = ("ana".into(), Secret::new(b"parola"));
    let options = Options { name, password, tls: TlsUse::Never, sasl: false };
    let mut client = Client::new(options, false);
    let (mut input, mut said) = (server.as_bytes(), Vec::new());
    loop {
        match client.next(&mut input, &mut said) {
            Step::Ask(Question::LoggedIn(ticket)) => {
                client.answer(ticket.answer(Pop3Request::Stat), &mut said);
            }
            Step::Ask(Question::Status(outcome, _)) => return Ok(outcome.unwrap()),
            Step::Ask(Question::Failed(failure, _)) => return Err(failure),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_maildrop_has_no_more_messages_than_there_can_be() {
    let login = "+OK hello\r\n+OK\r\n+OK\r\n";
    let stat = |words: &str| stat(&format!("{login}+OK {words}\r\n"));
    assert_eq!(stat("2 320"), Ok(Status { messages: 2, octets: 320 }));
    for absurd in ["4294967295 0", "4000001 0", "-1 0", "2", ""] {
        assert!(matches!(stat(absurd), Err(Failure::Protocol(_))), "{absurd}");
    }
}
