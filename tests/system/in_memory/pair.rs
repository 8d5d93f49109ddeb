//! The clients against the servers, engine to engine: content arrives byte for byte, whatever it is and
//! however the octets are split.

use bytes::Bytes;
use posta_mail::{
    Address, Engine, ForwardPath, MailId, Reply, ReversePath, Secret, Step, TlsUse,
    envelope::{Body, MailParameters},
    sasl,
};
use posta_pop3::{client as pop3_client, server as pop3_server};
use posta_smtp::{client as smtp_client, command::HelloVerb, server as smtp_server};
use proptest::prelude::*;
use std::sync::Arc;

/// One side of a connection: an engine, the received octets that it has not consumed, and the octets
/// that it sends.
struct Side<E> {
    engine: E,
    input: Vec<u8>,
    output: Vec<u8>,
    closed: bool,
}

impl<E: Engine> Side<E> {
    fn new(engine: E) -> Self {
        Self { engine, input: Vec::new(), output: Vec::new(), closed: false }
    }

    /// Runs the engine until it needs input.
    fn go(
        &mut self,
        mut answer: impl FnMut(E::Question) -> E::Answer,
        mut content: impl FnMut(&[u8]),
    ) {
        while !self.closed {
            let mut rest = &self.input[..];
            let step = self.engine.next(&mut rest, &mut self.output);
            let consumed = self.input.len() - rest.len();
            let needs_input = matches!(step, Step::NeedInput);
            match step {
                Step::NeedInput | Step::Pause(_) | Step::Flush => {}
                Step::Ask(question) => self.engine.answer(answer(question), &mut self.output),
                Step::Content(piece) => content(piece),
                Step::StartTls => panic!("nobody asked for TLS"),
                Step::Close => self.closed = true,
            }
            self.input.drain(..consumed);
            if needs_input {
                return;
            }
        }
    }
}

/// Moves octets from one side to the other, `size` at a time.
fn carry(output: &mut Vec<u8>, input: &mut Vec<u8>, size: usize) {
    let count = size.min(output.len());
    input.extend(output.drain(..count));
}

const ID: MailId = MailId::from_bytes([7; 12]);

/// The events at the receiving end, and the outcome at the sending end.
struct Sent {
    content: Vec<u8>,
    mail: Option<smtp_server::Mail>,
    recipients: Vec<String>,
    outcome: Option<smtp_client::Outcome>,
}

fn envelope(recipients: &[&str], content: &[u8], stingy: bool) -> smtp_client::Envelope {
    let address = |text: &&str| ForwardPath::Address(text.parse::<Address>().unwrap()).into();
    smtp_client::Envelope {
        reverse_path: ReversePath::Null,
        recipients: recipients.iter().map(address).collect(),
        parameters: MailParameters {
            size: (!stingy).then_some(content.len() as u64),
            body: if content.is_ascii() { Body::SevenBit } else { Body::EightBitMime },
            ..MailParameters::default()
        },
    }
}

fn profile(service: smtp_server::Service) -> smtp_server::Profile {
    let hostname = "mail.x.test".parse().unwrap();
    smtp_server::Profile::new(hostname, service, 50 << 20, crate::settings::smtp_limits())
}

/// Sends a message to `recipients`; the server refuses those at `refused.test`.
fn send(hello: HelloVerb, recipients: &[&str], content: &[u8], size: usize, stingy: bool) -> Sent {
    let service = match hello {
        HelloVerb::Lhlo => smtp_server::Service::Lmtp,
        _ => smtp_server::Service::Smtp,
    };
    let profile = smtp_server::Profile {
        message_size: if stingy { 10 } else { 1 << 30 },
        ..profile(service)
    };
    let mut server = Side::new(posta_smtp::Server::new(Arc::new(profile)));
    let options = smtp_client::Options::new("c.test", hello, TlsUse::IfOffered);
    let mut client = Side::new(posta_smtp::Client::new(options, false));
    let mut envelope = Some(envelope(recipients, content, stingy));
    let mut pieces = content.chunks(7).map(Bytes::copy_from_slice);
    let mut sent = Sent { content: Vec::new(), mail: None, recipients: Vec::new(), outcome: None };
    while !(client.closed && server.closed) {
        let (mail, named, kept) = (&mut sent.mail, &mut sent.recipients, &mut sent.content);
        server.go(
            |question| match question {
                smtp_server::Question::Mail(given, ticket) => {
                    *mail = Some(given);
                    ticket.answer(Ok(()))
                }
                smtp_server::Question::Recipient(named_one, ticket) => {
                    let path = named_one.path.to_string();
                    if path.contains("refused") {
                        return ticket.answer(Err(Reply::new(550, (5, 1, 1), "No")));
                    }
                    named.push(path);
                    ticket.answer(Ok(()))
                }
                other => accept(other),
            },
            |piece| kept.extend_from_slice(piece),
        );
        let outcome = &mut sent.outcome;
        client.go(
            |question| match question {
                smtp_client::Question::Next(done, ticket) => {
                    if done.is_some() {
                        *outcome = done;
                    }
                    let next = envelope.take().map(smtp_client::Next::Send);
                    ticket.answer(next.unwrap_or(smtp_client::Next::Quit))
                }
                smtp_client::Question::Content { ticket, .. } => {
                    let piece = pieces.next().map(smtp_client::Piece::Content);
                    ticket.answer(piece.unwrap_or(smtp_client::Piece::End))
                }
                smtp_client::Question::Ahead(ticket) => ticket.answer(None),
                smtp_client::Question::Convert(ticket) => {
                    ticket.answer(Err(Reply::new(554, (5, 6, 3), "No")))
                }
                other => panic!("{other:?}"),
            },
            |_| panic!("a client is sent no content"),
        );
        carry(&mut server.output, &mut client.input, size);
        carry(&mut client.output, &mut server.input, size);
    }
    sent
}

fn codes(sent: &Sent) -> Vec<u16> {
    let outcome = sent.outcome.as_ref().expect("the transaction ended");
    outcome.recipients.iter().map(|decision| decision.code().get()).collect()
}

/// Lines in the form that servers store.
fn lines() -> impl Strategy<Value = Vec<u8>> {
    let line = prop_oneof![
        "[ -~]{0,80}".prop_map(String::into_bytes),
        Just(b".".to_vec()),
        Just(b"..".to_vec()),
        Just(b"QUIT".to_vec()),
        prop::collection::vec(
            any::<u8>().prop_filter("no line ends", |o| !b"\r\n".contains(o)),
            0..40
        ),
    ];
    prop::collection::vec(line, 0..20).prop_map(|lines| {
        lines.into_iter().flat_map(|line| [line, b"\r\n".to_vec()].concat()).collect()
    })
}

/// Input that anyone may send: pieces of the protocols, and anything else.
fn hostile() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        prop::sample::select(vec![
            "EHLO a",
            "HELO a",
            "LHLO a",
            "MAIL FROM:<a@x.test>",
            "MAIL FROM:<> SIZE=5",
            "RCPT TO:<b@x.test>",
            "DATA",
            "BDAT 3",
            "BDAT 2 LAST",
            "AUTH PLAIN",
            "AUTH PLAIN AAAA",
            "*",
            "RSET",
            "QUIT",
            "NOOP",
            ".",
            "..",
            "USER ana",
            "PASS x",
            "STAT",
            "LIST",
            "UIDL 1",
            "RETR 1",
            "TOP 1 1",
            "DELE 1",
            "CAPA",
            "220 a",
            "250-SIZE 5",
            "250 PIPELINING",
            "354 a",
            "550 5.1.1 a",
            "+OK 1 5",
            "+OK",
            "-ERR a",
            "1 5",
            "1 uid",
        ])
        .prop_map(|line| [line.as_bytes(), b"\r\n"].concat()),
        prop::collection::vec(any::<u8>(), 0..20),
        Just(b"\n".to_vec()),
        Just(b"\r".to_vec()),
    ];
    prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

/// Feeds an engine, and answers all questions with yes. Whatever the input, the engine must not panic,
/// nor leave more input unconsumed than a line may have.
fn survives<E: Engine>(
    engine: E,
    input: &[u8],
    size: usize,
    answer: impl Fn(E::Question) -> E::Answer,
) {
    let mut side = Side::new(engine);
    let mut wire = input.to_vec();
    while !wire.is_empty() && !side.closed {
        carry(&mut wire, &mut side.input, size);
        side.go(&answer, |_| {});
        assert!(side.input.len() < 5_000 || side.closed);
    }
}

/// Answers a question with yes.
fn accept(question: smtp_server::Question) -> smtp_server::Answer {
    match question {
        smtp_server::Question::SpokeEarly(ticket)
        | smtp_server::Question::Hello(_, ticket)
        | smtp_server::Question::Mail(_, ticket)
        | smtp_server::Question::Recipient(_, ticket)
        | smtp_server::Question::Forwarded(_, ticket)
        | smtp_server::Question::Content(ticket) => ticket.answer(Ok(())),
        smtp_server::Question::Authenticate(_, ticket) => {
            ticket.answer(Ok(sasl::Progress::Done(())))
        }
        smtp_server::Question::Verify(name, ticket) => ticket.answer(Ok(vec![name])),
        smtp_server::Question::Commit(ticket) => {
            ticket.answer(Ok(smtp_server::Committed::whole(ID)))
        }
        smtp_server::Question::BrokenOff(ticket) | smtp_server::Question::Abandon(ticket) => {
            ticket.answer(())
        }
    }
}

proptest! {
    #[test]
    fn servers_survive_anything(input in hostile(), size in 1usize..100) {
        for service in [smtp_server::Service::Smtp, smtp_server::Service::Lmtp] {
            let profile = smtp_server::Profile { message_size: 30, mechanisms: vec!["PLAIN"], normalise_newlines: true, plaintext_auth: true, ..profile(service) };
            survives(posta_smtp::Server::new(Arc::new(profile)), &input, size, accept);
        }
        let profile = pop3_server::Profile { mechanisms: vec!["PLAIN"], ..pop3_server::Profile::new("mail.x.test".into()) };
        let server = posta_pop3::Server::new(Arc::new(profile), true);
        let maildrop = || Messages(vec![b"a: b\r\n\r\n.\r\n".to_vec(), Vec::new()]);
        survives(server.with_challenge(Some("<1@x.test>".into())), &input, size, |question| match question {
            pop3_server::Question::Authenticate(sasl::Exchange::Start { initial: None, .. }, ticket) => {
                ticket.answer(Ok(sasl::Progress::Challenge(b"go on".to_vec())))
            }
            pop3_server::Question::Authenticate(_, ticket) => {
                ticket.answer(Ok(sasl::Progress::Done(maildrop())))
            }
            pop3_server::Question::Login { ticket, .. } | pop3_server::Question::Apop { ticket, .. } => {
                ticket.answer(Ok(maildrop()))
            }
            pop3_server::Question::BrokenOff(ticket) => ticket.answer(()),
            pop3_server::Question::Read { ticket, .. } => {
                ticket.answer(Ok(Bytes::from_static(b"a")))
            }
            pop3_server::Question::Proceed(ticket) => ticket.answer(Ok(())),
            pop3_server::Question::Update(_, ticket) => ticket.answer(Ok(())),
        });
    }

    #[test]
    fn clients_survive_anything(input in hostile(), size in 1usize..100, pipelining: bool) {
        let hello = if pipelining { HelloVerb::Ehlo } else { HelloVerb::Helo };
        let options = smtp_client::Options::new("c.test", hello, TlsUse::Never);
        let greeted = [&b"220 a\r\n250-a\r\n250 PIPELINING\r\n"[..], &input].concat();
        survives(posta_smtp::Client::new(options, false), &greeted, size, |question| match question {
            smtp_client::Question::Next(_, ticket) => ticket.answer(smtp_client::Next::Send(smtp_client::Envelope {
                reverse_path: ReversePath::Null,
                recipients: vec![ForwardPath::Postmaster.into(), ForwardPath::Postmaster.into()],
                parameters: MailParameters { size: Some(3), ..MailParameters::default() },
            })),
            smtp_client::Question::Content { ticket, .. } => ticket.answer(smtp_client::Piece::End),
            smtp_client::Question::Login(_, ticket) => ticket.answer(smtp_client::LoginChoice::GiveUp),
            smtp_client::Question::Challenge(_, ticket) => ticket.answer(None),
            smtp_client::Question::Convert(ticket) => {
                ticket.answer(Err(Reply::new(554, (5, 6, 3), "No")))
            }
            smtp_client::Question::Ahead(ticket) => ticket.answer(None),
            smtp_client::Question::Last(_, ticket)
            | smtp_client::Question::Done(_, ticket)
            | smtp_client::Question::Failed(_, ticket) => ticket.answer(()),
        });
        let (name, password) = ("ana".into(), Secret::new(b"x"));
        let options = pop3_client::Options { name, password, tls: TlsUse::Never, sasl: false };
        for request in [pop3_client::Pop3Request::Stat, pop3_client::Pop3Request::Uidl, pop3_client::Pop3Request::Retr(1)] {
            let greeted = [&b"+OK\r\n+OK\r\n+OK\r\n"[..], &input].concat();
            survives(posta_pop3::Client::new(options.clone(), false), &greeted, size, |question| {
                always(question, &request)
            });
        }
    }
}

/// Answers with the same request every time.
fn always(
    question: pop3_client::Question,
    request: &pop3_client::Pop3Request,
) -> pop3_client::Answer {
    match question {
        pop3_client::Question::LoggedIn(ticket)
        | pop3_client::Question::Status(_, ticket)
        | pop3_client::Question::Sizes(_, ticket)
        | pop3_client::Question::UniqueIds(_, ticket)
        | pop3_client::Question::Retrieved(_, ticket)
        | pop3_client::Question::Deleted(_, ticket)
        | pop3_client::Question::Done(_, ticket) => ticket.answer(request.clone()),
        pop3_client::Question::Login { ticket, .. } => {
            ticket.answer(pop3_client::LoginChoice::User)
        }
        pop3_client::Question::Challenge(_, ticket) => ticket.answer(None),
        pop3_client::Question::Quit(_, ticket) | pop3_client::Question::Failed(_, ticket) => {
            ticket.answer(())
        }
    }
}

proptest! {
    #[test]
    fn smtp_content_comes_through(content in lines(), size in 1usize..200) {
        for hello in [HelloVerb::Ehlo, HelloVerb::Lhlo] {
            let sent = send(hello, &["a@x.test", "b@x.test"], &content, size, false);
            prop_assert_eq!(&sent.content, &content);
            prop_assert_eq!(codes(&sent), [250, 250]);
            let mail = sent.mail.unwrap();
            prop_assert_eq!(mail.parameters.size, Some(content.len() as u64));
            prop_assert_eq!(mail.parameters.body == Body::EightBitMime, !content.is_ascii());
        }
    }

    #[test]
    fn pop3_content_comes_through(
        messages in prop::collection::vec(lines(), 0..4),
        size in 1usize..200,
    ) {
        prop_assert_eq!(collect(&messages, size), messages);
    }
}

#[test]
fn each_recipient_has_its_outcome() {
    let some = ["a@x.test", "b@refused.test", "c@x.test"];
    for hello in [HelloVerb::Helo, HelloVerb::Ehlo, HelloVerb::Lhlo] {
        let sent = send(hello, &some, b"x\r\n", 100, false);
        assert_eq!(codes(&sent), [250, 550, 250], "{hello:?}");
        assert_eq!(sent.recipients, ["<a@x.test>", "<c@x.test>"]);
        let none = send(hello, &some[1..2], b"x\r\n", 100, false);
        assert_eq!(codes(&none), [550], "{hello:?}");
        assert_eq!(none.content, b"", "{hello:?}: nothing is sent for nobody");
        let large = send(hello, &some, b"more than ten octets\r\n", 100, true);
        assert_eq!(codes(&large), [552, 550, 552], "{hello:?}");
    }
}

#[test]
fn eight_bits_are_not_sent_to_a_server_that_takes_seven() {
    let sent = send(HelloVerb::Helo, &["a@x.test"], b"\xc4\x83\r\n", 100, false);
    assert_eq!(codes(&sent), [554]);
    assert_eq!(sent.mail, None, "no transaction was begun");
}

#[derive(Debug)]
struct Messages(Vec<Vec<u8>>);

impl pop3_server::Maildrop for Messages {
    fn len(&self) -> usize {
        self.0.len()
    }
    fn octets(&self, index: usize) -> u64 {
        self.0[index].len() as u64
    }
    fn write_unique_id(&self, index: usize, text: &mut String) {
        text.push_str(&index.to_string());
    }
}

/// Retrieves all messages.
fn collect(messages: &[Vec<u8>], size: usize) -> Vec<Vec<u8>> {
    let profile = pop3_server::Profile::new("mail.x.test".into());
    let mut server = Side::new(posta_pop3::Server::new(Arc::new(profile), true));
    let options = pop3_client::Options {
        sasl: false,
        name: "ana".into(),
        password: Secret::new(b"two words"),
        tls: TlsUse::IfOffered,
    };
    let mut client = Side::new(posta_pop3::Client::new(options, false));
    let mut retrieved: Vec<Vec<u8>> = Vec::new();
    let mut current = Vec::new();
    let (mut asked, mut quit) = (0, None);
    // Requests the next message, and QUIT after the last one.
    let fetch = |asked: &mut usize| {
        *asked += 1;
        match *asked > messages.len() {
            true => pop3_client::Pop3Request::Quit,
            false => pop3_client::Pop3Request::Retr(u32::try_from(*asked).unwrap()),
        }
    };
    while !(client.closed && server.closed) {
        server.go(
            |question| match question {
                pop3_server::Question::Login { name, password, ticket } => {
                    assert_eq!((name.as_str(), password.expose()), ("ana", &b"two words"[..]));
                    ticket.answer(Ok(Messages(messages.to_vec())))
                }
                pop3_server::Question::Read { index, offset, ticket, .. } => {
                    let rest = &messages[index][usize::try_from(offset).unwrap()..];
                    let piece = &rest[..rest.len().min(11)];
                    ticket.answer(Ok(Bytes::copy_from_slice(piece)))
                }
                pop3_server::Question::Proceed(ticket) => ticket.answer(Ok(())),
                other => panic!("{other:?}"),
            },
            |_| panic!("a server is sent no content"),
        );
        let pieces = std::cell::RefCell::new(&mut current);
        client.go(
            |question| match question {
                pop3_client::Question::LoggedIn(ticket) => ticket.answer(fetch(&mut asked)),
                pop3_client::Question::Retrieved(outcome, ticket) => {
                    assert_eq!(outcome, Ok(()));
                    retrieved.push(std::mem::take(*pieces.borrow_mut()));
                    ticket.answer(fetch(&mut asked))
                }
                pop3_client::Question::Quit(ended, ticket) => {
                    quit = Some(ended);
                    ticket.answer(())
                }
                other => panic!("{other:?}"),
            },
            |piece| pieces.borrow_mut().extend_from_slice(piece),
        );
        carry(&mut server.output, &mut client.input, size);
        carry(&mut client.output, &mut server.input, size);
    }
    assert_eq!(quit, Some(Ok(())));
    retrieved
}
