//! What the client says to servers of every kind, and what it makes of their answers.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use bytes::Bytes;
use posta_mail::{
    Engine, ForwardPath, Reply, ReversePath, Step, TlsUse,
    envelope::{Body, MailParameters},
    sasl::Opening,
};
use posta_smtp::{
    client::{
        Client, Envelope, Failure, Fate, LoginChoice, Next, Options, Outcome, Piece, Question,
    },
    command::HelloVerb,
};

/// How the caller behaves.
#[derive(Default, Clone)]
struct Caller {
    /// Each message's recipients and body.
    messages: Vec<(&'static [&'static str], Body)>,
    /// Whether the next message is at hand when the one before ends.
    eager: bool,
    /// Whether content can be changed.
    converts: bool,
    login: bool,
    /// Whether it takes the server for an impostor.
    doubts: bool,
    lmtp: bool,
    /// Whether it is called as the server is, and minds that.
    namesake: bool,
}

/// What came of a session.
#[derive(Debug, Default)]
struct Session {
    said: String,
    outcomes: Vec<Vec<u16>>,
    failure: Option<Failure>,
    /// What is known of the recipients of a transaction that the end cut off.
    left: String,
    closed: bool,
}

impl Session {
    fn note(&mut self, outcome: Option<Outcome>) {
        let codes = |outcome: Outcome| outcome.recipients.iter().map(|r| r.code().get()).collect();
        self.outcomes.extend(outcome.map(codes));
    }
}

fn envelope((recipients, body): &(&[&str], Body)) -> Envelope {
    let path = |text: &&str| ForwardPath::Address(text.parse().unwrap()).into();
    Envelope {
        reverse_path: ReversePath::Null,
        recipients: recipients.iter().map(path).collect(),
        parameters: MailParameters { size: Some(9), body: *body, ..MailParameters::default() },
    }
}

/// The first mechanism, unless it will not do.
fn log_in(offered: &[String]) -> LoginChoice {
    if offered[0] == "NTLM" {
        return LoginChoice::GiveUp;
    }
    LoginChoice::Auth(Opening { mechanism: offered[0].clone(), initial: Some(b"me".to_vec()) })
}

/// Plays a session with a server that says all of this.
fn play(server: &str, caller: &Caller) -> Session {
    let hello = if caller.lmtp { HelloVerb::Lhlo } else { HelloVerb::Ehlo };
    let name = if caller.namesake { "MX.y.test" } else { "c.test" };
    let options = Options {
        login: caller.login,
        refuse_namesake: caller.namesake,
        ..Options::new(name, hello, TlsUse::IfOffered)
    };
    let mut client = Client::new(options, false);
    let (mut session, mut said) = (Session::default(), Vec::new());
    let mut messages = caller.messages.iter();
    let mut input = server.as_bytes();
    loop {
        let question = match client.next(&mut input, &mut said) {
            Step::Ask(question) => question,
            Step::Close => {
                session.closed = true;
                break;
            }
            Step::NeedInput => break,
            other => panic!("{other:?}"),
        };
        let answer = match question {
            Question::Next(outcome, ticket) => {
                session.note(outcome);
                let next = messages.next();
                ticket.answer(next.map_or(Next::Quit, |message| Next::Send(envelope(message))))
            }
            Question::Last(outcome, ticket) => {
                session.note(outcome);
                ticket.answer(())
            }
            Question::Ahead(ticket) => {
                let next = caller.eager.then(|| messages.next()).flatten();
                ticket.answer(next.map(envelope))
            }
            Question::Done(outcome, ticket) => {
                session.note(Some(outcome));
                ticket.answer(())
            }
            Question::Convert(ticket) if caller.converts => ticket.answer(Ok(())),
            Question::Convert(ticket) => {
                ticket.answer(Err(Reply::new(554, (5, 6, 3), "It is binary")))
            }
            Question::Content { first: true, converted, ticket } => {
                let content = if converted { &b"c: d\r\n"[..] } else { b".\r\n" };
                ticket.answer(Piece::Content(Bytes::from_static(content)))
            }
            Question::Content { first: false, ticket, .. } => ticket.answer(Piece::End),
            Question::Login(offered, ticket) => ticket.answer(log_in(&offered)),
            Question::Challenge(challenge, ticket) => {
                ticket.answer(Some(challenge).filter(|_| !caller.doubts))
            }
            Question::Failed(failure, ticket) => {
                session.failure = Some(failure);
                ticket.answer(())
            }
        };
        client.answer(answer, &mut said);
    }
    session.said = String::from_utf8(said).unwrap();
    let fate = |fate| match fate {
        Fate::Decided(decision) => decision.code().to_string(),
        Fate::Open => "open".to_owned(),
        Fate::Unknown => "unknown".to_owned(),
    };
    let left = client.unfinished().unwrap_or_default();
    session.left = left.into_iter().map(fate).collect::<Vec<_>>().join(" ");
    session
}

const ONE: (&[&str], Body) = (&["a@y.test"], Body::SevenBit);
const TWO: (&[&str], Body) = (&["b@y.test", "c@z.test"], Body::SevenBit);

/// The greeting, and the answer to EHLO with these extensions, and then replies with these codes.
fn server(extensions: &[&str], codes: &[u16]) -> String {
    let mut text = "220 mx.y.test\r\n".to_owned();
    let mut lines = vec!["mx.y.test"];
    lines.extend(extensions);
    for (index, line) in lines.iter().enumerate() {
        let separator = if index + 1 == lines.len() { ' ' } else { '-' };
        text.push_str(&format!("250{separator}{line}\r\n"));
    }
    codes.iter().for_each(|code| text.push_str(&format!("{code} x\r\n")));
    text
}

#[test]
fn envelopes_go_ahead_with_the_end_of_the_content_before() {
    let caller = Caller { messages: vec![ONE, TWO], eager: true, ..Caller::default() };
    let codes = [250, 250, 354, 250, 250, 250, 550, 354, 250, 221];
    let session = play(&server(&["PIPELINING"], &codes), &caller);
    assert_eq!(session.outcomes, [vec![250], vec![250, 550]]);
    assert_eq!(
        session.said,
        "EHLO c.test\r\nMAIL FROM:<>\r\nRCPT TO:<a@y.test>\r\nDATA\r\n\
         ..\r\n.\r\nMAIL FROM:<>\r\nRCPT TO:<b@y.test>\r\nRCPT TO:<c@z.test>\r\nDATA\r\n\
         ..\r\n.\r\nQUIT\r\n"
    );
    // The first fails, the second does not mind.
    let codes = [250, 250, 354, 451, 250, 250, 250, 354, 250, 221];
    let session = play(&server(&["PIPELINING"], &codes), &caller);
    assert_eq!(session.outcomes, [vec![451], vec![250, 250]]);
    // Without PIPELINING nothing goes ahead.
    let codes = [250, 250, 354, 250, 250, 250, 250, 354, 250, 221];
    let session = play(&server(&[], &codes), &caller);
    assert_eq!(session.outcomes, [vec![250], vec![250, 250]]);
    assert!(session.closed);
}

#[test]
fn chunks_take_the_place_of_data() {
    let caller = Caller { messages: vec![ONE, ONE], eager: true, ..Caller::default() };
    let codes = [250, 250, 552, 250, 250, 250, 250, 221];
    let session = play(&server(&["PIPELINING", "CHUNKING"], &codes), &caller);
    assert_eq!(session.outcomes, [vec![552], vec![250]]);
    assert_eq!(
        session.said,
        "EHLO c.test\r\nMAIL FROM:<>\r\nRCPT TO:<a@y.test>\r\nBDAT 3 LAST\r\n.\r\n\
         RSET\r\nMAIL FROM:<>\r\nRCPT TO:<a@y.test>\r\nBDAT 3 LAST\r\n.\r\nQUIT\r\n"
    );
    // Nobody is there: no content is sent.
    let caller = Caller { messages: vec![ONE], ..Caller::default() };
    for extensions in [&["PIPELINING", "CHUNKING"][..], &["CHUNKING"]] {
        let session = play(&server(extensions, &[250, 550, 250, 221]), &caller);
        assert_eq!(session.outcomes, [vec![550]]);
        assert!(session.said.ends_with("RCPT TO:<a@y.test>\r\nQUIT\r\n"));
    }
}

#[test]
fn recipients_go_in_rounds() {
    let caller = Caller { messages: vec![TWO], eager: true, ..Caller::default() };
    // Too many, says the server.
    let rounds = [250, 250, 452, 354, 250, 250, 250, 354, 250, 221];
    let session = play(&server(&["PIPELINING"], &rounds), &caller);
    assert_eq!(session.outcomes, [vec![250, 250]]);
    assert_eq!(session.said.matches("..\r\n.\r\n").count(), 2, "the content twice");
    // It said so before.
    for limit in ["LIMITS RCPTMAX=1", "LIMITS RCPTDOMAINMAX=1"] {
        let rounds = [250, 250, 354, 250, 250, 550, 503, 250, 221];
        let session = play(&server(&["PIPELINING", limit], &rounds), &caller);
        assert_eq!(session.outcomes, [vec![250, 550]], "{}", session.said);
    }
    // As it was said before 2001.
    let rounds = [250, 250, 552, 354, 250, 250, 250, 354, 250, 221];
    let session = play(&server(&["PIPELINING"], &rounds), &caller);
    assert_eq!(session.outcomes, [vec![250, 250]]);
    let rounds = [250, 250, 552, 354, 250, 250, 552, 221];
    let session = play(&server(&[], &rounds), &caller);
    assert_eq!(session.outcomes, [vec![250, 552]], "alone it is not too many");
    // A mailbox that is full is not too many.
    let session = play(&server(&["PIPELINING"], &[250, 452, 452, 503, 250, 221]), &caller);
    assert_eq!(session.outcomes, [vec![452, 452]]);
    // One message in a session, and the second round would be another.
    let limits = ["PIPELINING", "LIMITS MAILMAX=1 RCPTMAX=1"];
    let session = play(&server(&limits, &[250, 250, 354, 250, 221]), &caller);
    assert_eq!(session.outcomes, [vec![250, 451]]);
    assert!(session.closed);
}

#[test]
fn eight_bits_are_changed_or_refused() {
    let message = (ONE.0, Body::EightBitMime);
    let caller = Caller { messages: vec![message], converts: true, ..Caller::default() };
    let stubborn = |caller: &Caller| Caller { converts: false, ..caller.clone() };
    let simple = server(&["SIZE"], &[250, 250, 354, 250, 221]);
    let session = play(&simple, &caller);
    assert_eq!(session.outcomes, [vec![250]]);
    assert!(session.said.contains("MAIL FROM:<>\r\n"), "nothing of 8 bits, and its size is open");
    assert!(session.said.contains("c: d\r\n"));
    let session = play(&simple, &stubborn(&caller));
    assert_eq!(session.outcomes, [vec![554]]);
    assert!(!session.said.contains("MAIL"));
    // Binary needs chunks as well.
    let caller = Caller { messages: vec![(ONE.0, Body::BinaryMime)], ..caller };
    let session = play(&server(&["BINARYMIME", "8BITMIME"], &[221]), &stubborn(&caller));
    assert_eq!(session.outcomes, [vec![554]]);
    let session = play(&server(&["BINARYMIME", "CHUNKING"], &[250, 250, 250, 221]), &caller);
    assert!(session.said.contains("BODY=BINARYMIME\r\n") && session.said.contains("BDAT 3 LAST"));
    assert_eq!(session.outcomes, [vec![250]]);
}

#[test]
fn logins() {
    let caller = Caller { messages: vec![ONE], login: true, ..Caller::default() };
    let codes = |codes: &[u16]| server(&[], codes).split_off(server(&[], &[]).len());
    let rest = codes(&[235, 250, 250, 354, 250, 221]);
    let session = play(&(server(&["AUTH PLAIN"], &[]) + "334 Z28gb24=\r\n" + &rest), &caller);
    assert_eq!(session.outcomes, [vec![250]]);
    assert!(session.said.starts_with("EHLO c.test\r\nAUTH PLAIN bWU=\r\nZ28gb24=\r\nMAIL "));
    let session = play(&server(&["AUTH PLAIN"], &[535, 221]), &caller);
    assert!(matches!(session.failure, Some(Failure::Login(_))));
    let session = play(&server(&[], &[221]), &caller);
    assert_eq!(session.failure, Some(Failure::NoLogin));
    // What is no challenge is none, whatever it says.
    let session = play(
        &(server(&["AUTH PLAIN"], &[]) + "334 go ahead\r\n" + &rest.replace("235", "535")),
        &caller,
    );
    assert!(session.said.starts_with("EHLO c.test\r\nAUTH PLAIN bWU=\r\n\r\n"), "{}", session.said);
}

/// A server offers what it does not take: the next mechanism is tried, until none is left.
#[test]
fn a_mechanism_that_is_refused_is_followed_by_the_next() {
    let caller = Caller { messages: vec![ONE], login: true, ..Caller::default() };
    for refusal in [504, 534, 500] {
        let codes = [refusal, refusal, 235, 250, 250, 354, 250, 221];
        let session = play(&server(&["AUTH SCRAM-SHA-256 PLAIN LOGIN"], &codes), &caller);
        assert_eq!(session.outcomes, [vec![250]], "{refusal}");
        let tried: Vec<_> = session.said.lines().filter(|line| line.starts_with("AUTH ")).collect();
        assert_eq!(tried, ["AUTH SCRAM-SHA-256 bWU=", "AUTH PLAIN bWU=", "AUTH LOGIN bWU="]);
    }
    let session = play(&server(&["AUTH PLAIN LOGIN"], &[504, 534, 221]), &caller);
    let Some(Failure::Login(reply)) = session.failure else { panic!("{session:?}") };
    assert_eq!(reply.code.get(), 534, "the last one");
    // A wrong password is tried once: SCRAM that is refused at once has not shown it, PLAIN and a finished SCRAM have.
    let scram = "334 Z28gb24=\r\n535 x\r\n221 x\r\n";
    let first = server(&["AUTH SCRAM-SHA-256 PLAIN LOGIN"], &[]);
    for (text, times) in [
        (server(&["AUTH SCRAM-SHA-256 PLAIN LOGIN"], &[535, 535, 221]), 2),
        (server(&["AUTH PLAIN LOGIN"], &[535, 221]), 1),
        (first + scram, 1),
    ] {
        let session = play(&text, &caller);
        assert!(matches!(session.failure, Some(Failure::Login(_))), "{session:?}");
        assert_eq!(session.said.matches("AUTH").count(), times, "{}", session.said);
    }
    // It is not the mechanism's fault.
    let session = play(&server(&["AUTH PLAIN LOGIN"], &[454, 221]), &caller);
    assert!(matches!(session.failure, Some(Failure::Login(_))));
    assert_eq!(session.said.matches("AUTH").count(), 1, "{}", session.said);
    // None of those that are left will do.
    let session = play(&server(&["AUTH PLAIN NTLM"], &[535, 221]), &caller);
    assert!(matches!(session.failure, Some(Failure::Login(_))), "{session:?}");
    // Whoever gave up does not say its password to the same server by another mechanism.
    let caller = Caller { doubts: true, ..caller };
    let text = server(&["AUTH SCRAM-SHA-256 PLAIN"], &[]) + "334 eA==\r\n501 x\r\n221 x\r\n";
    let session = play(&text, &caller);
    assert!(matches!(session.failure, Some(Failure::Login(_))));
    assert_eq!(session.said.matches("AUTH").count(), 1, "{}", session.said);
}

#[test]
fn nothing_is_sent_to_oneself() {
    let caller = Caller { messages: vec![ONE], namesake: true, ..Caller::default() };
    let session = play(&server(&["PIPELINING"], &[221]), &caller);
    assert_eq!(session.failure, Some(Failure::Namesake));
    assert_eq!(session.said, "EHLO MX.y.test\r\nQUIT\r\n");
}

#[test]
fn a_server_that_closes_says_nothing_of_the_message() {
    let caller = Caller { messages: vec![ONE], ..Caller::default() };
    for codes in [&[421][..], &[250, 421], &[250, 250, 421]] {
        let session = play(&server(&["PIPELINING"], codes), &caller);
        assert!(matches!(session.failure, Some(Failure::Closing(_))), "{codes:?}");
        assert!(session.outcomes.is_empty());
    }
    let session = play(&server(&["PIPELINING"], &[250, 250, 354, 421]), &caller);
    assert_eq!(session.outcomes, [vec![421]], "that is an answer");
}

/// A server that does not answer RSET, or is in the middle of something else, holds back no outcome.
#[test]
fn an_outcome_does_not_wait_for_rset() {
    for (extensions, codes) in [(&[][..], &[250, 450][..]), (&["PIPELINING"], &[250, 450, 503])] {
        let caller = Caller { messages: vec![ONE], ..Caller::default() };
        let session = play(&server(extensions, codes), &caller);
        assert_eq!(session.outcomes, [vec![450]]);
        assert!(session.said.ends_with("QUIT\r\n") && !session.said.contains("RSET"));
        // The next message does not get into the transaction of the first.
        let caller = Caller { messages: vec![ONE, ONE], ..Caller::default() };
        let codes = [codes, &[250, 250, 250, 354, 250, 221]].concat();
        let session = play(&server(extensions, &codes), &caller);
        assert_eq!(session.outcomes, [vec![450], vec![250]]);
        assert_eq!(session.said.matches("\r\nRSET\r\nMAIL FROM").count(), 1, "{}", session.said);
    }
}

/// Neither a yes nor a no: the session ends without a word that could be taken for content.
#[test]
fn what_is_no_answer_ends_the_session() {
    let caller = Caller { messages: vec![TWO], ..Caller::default() };
    for (codes, to, left) in [
        (&[354][..], "MAIL", "open open"),
        (&[250, 250, 334], "RCPT", "open open"),
        (&[250, 250, 250, 250], "DATA", "open open"),
        (&[250, 250, 550, 250], "DATA", "open 550"),
        (&[250, 550, 550, 250], "DATA", "550 550"),
        (&[250, 250, 250, 354, 354], "the end of the message", "unknown unknown"),
    ] {
        let session = play(&server(&["PIPELINING"], codes), &caller);
        let Some(Failure::Unexpected { to: answered, .. }) = session.failure else {
            panic!("{codes:?}: {session:?}");
        };
        assert_eq!((answered, &*session.left), (to, left), "{codes:?}");
        assert!(session.closed && !session.said.contains("QUIT"), "{codes:?}");
        assert!(session.outcomes.is_empty());
    }
    let session = play("354 x\r\n", &caller);
    assert!(matches!(session.failure, Some(Failure::Unexpected { to: "the connection", .. })));
    let session = play("220 x\r\n334 x\r\n", &caller);
    assert!(matches!(session.failure, Some(Failure::Unexpected { to: "the hello", .. })));
}

/// What was decided before the connection broke is not forgotten, and what was not sent is not in doubt.
#[test]
fn a_broken_session_tells_what_is_known() {
    let caller = Caller { messages: vec![TWO], ..Caller::default() };
    let one_by_one = ["PIPELINING", "LIMITS RCPTMAX=1"];
    for (extensions, codes, left) in [
        (&["PIPELINING"][..], &[250][..], "open open"),
        (&["PIPELINING"], &[250, 550, 250], "550 open"),
        (&["PIPELINING"], &[250, 550, 250, 354], "550 unknown"),
        (&["PIPELINING"], &[250, 550, 250, 421], "550 open"),
        (&one_by_one, &[250, 250, 354, 250], "250 open"),
        (&one_by_one, &[250, 250, 354, 250, 250, 250, 354], "250 unknown"),
        (&["PIPELINING", "CHUNKING"], &[250, 550, 250], "550 unknown"),
    ] {
        let session = play(&server(extensions, codes), &caller);
        assert_eq!(session.left, left, "{codes:?}");
        assert!(session.outcomes.is_empty());
    }
    let session = play(&server(&["PIPELINING"], &[250, 250, 250, 354, 250, 221]), &caller);
    assert_eq!(session.left, "", "it is over");
}

#[test]
fn a_server_without_end_is_left() {
    let caller = Caller { messages: vec![ONE], ..Caller::default() };
    for start in ["", "220 a\r\n250 b\r\n"] {
        let session = play(&format!("{start}{}", "220-again\r\n".repeat(10_000)), &caller);
        assert!(matches!(session.failure, Some(Failure::Protocol(_))), "{session:?}");
        assert!(session.closed, "nobody waits for its goodbye");
    }
}

#[test]
fn lmtp_answers_for_each() {
    let caller = Caller { messages: vec![TWO, ONE], eager: true, lmtp: true, ..Caller::default() };
    let by_data = [250, 250, 250, 354, 250, 452, 250, 250, 354, 250, 221];
    let by_chunks = [250, 250, 250, 250, 452, 250, 250, 250, 250, 221];
    for (extensions, codes) in
        [(&["PIPELINING"][..], &by_data[..]), (&["PIPELINING", "CHUNKING"], &by_chunks)]
    {
        let session = play(&server(extensions, codes), &caller);
        assert_eq!(session.outcomes, [vec![250, 452], vec![250]], "{extensions:?}");
    }
}
