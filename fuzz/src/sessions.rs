//! Whole sessions. Each is played twice, with the octets whole and split into small pieces: all replies,
//! questions and stored octets must be the same, whatever the network does to the packets.

use bytes::Bytes;
use posta_mail::{
    Engine, ForwardPath, MailId, Reply, ReversePath, Secret, Step, TlsUse,
    crlf::lines_of,
    envelope::{Body, MailParameters},
    limits,
    sasl::{self, Exchange, Progress},
};
use posta_pop3::{client as pop3_client, server as pop3_server};
use posta_smtp::{
    client as smtp_client,
    command::HelloVerb,
    server::{self as smtp_server, Committed, EnvelopeRecipient, Service},
};
use std::{sync::Arc, time::Duration};

/// The observable results of a session.
#[derive(Debug, Default, PartialEq, Eq)]
struct Played {
    said: Vec<u8>,
    asked: Vec<String>,
    content: Vec<u8>,
    closed: bool,
}

/// Plays a session of an engine whose peer sends `wire`, in pieces of this size.
fn play<E: Engine>(
    mut engine: E,
    wire: &[u8],
    size: usize,
    mut answer: impl FnMut(E::Question) -> E::Answer,
) -> Played
where
    E::Question: std::fmt::Debug,
{
    let mut played = Played::default();
    let (mut start, mut end) = (0, 0);
    loop {
        let mut lent = &wire[start..end];
        let step = engine.next(&mut lent, &mut played.said);
        start = end - lent.len();
        match step {
            Step::NeedInput if end == wire.len() => return played,
            Step::NeedInput => {
                assert!(end - start <= limits::SASL_LINE + size, "a line is bounded");
                end = wire.len().min(end + size);
            }
            Step::Ask(question) => {
                played.asked.push(format!("{question:?}"));
                engine.answer(answer(question), &mut played.said);
            }
            Step::Content(content) => played.content.extend_from_slice(content),
            // What the client sends at once comes within the pause.
            Step::Pause(_) => end = wire.len().min(end + size),
            Step::Flush => {}
            // A different session follows, and earlier input is dropped.
            Step::StartTls | Step::Close => {
                played.closed = true;
                return played;
            }
        }
    }
}

/// Reads how the wire is split from the first octet, and the kind of session from the second.
fn choices(octets: &[u8]) -> Option<(usize, u8, &[u8])> {
    let (&[cut, kind], wire) = octets.split_first_chunk()?;
    Some((1 + usize::from(cut % 32), kind, wire))
}

/// Checks the order of steps that a server's engine promises to keep.
#[derive(Debug, Default)]
struct Order {
    transaction: bool,
    recipients: usize,
    content: bool,
}

impl Order {
    fn answer(&mut self, question: smtp_server::Question) -> smtp_server::Answer {
        let refused = || Reply::new(550, (5, 0, 0), "No");
        match question {
            smtp_server::Question::SpokeEarly(ticket) => ticket.answer(Ok(())),
            smtp_server::Question::Hello(_, ticket) => {
                *self = Self::default();
                ticket.answer(Ok(()))
            }
            smtp_server::Question::Abandon(ticket) => {
                *self = Self::default();
                ticket.answer(())
            }
            smtp_server::Question::Authenticate(Exchange::Start { .. }, ticket) => {
                assert!(!self.transaction, "AUTH within a transaction");
                ticket.answer(Ok(Progress::Challenge(b"go on".to_vec())))
            }
            smtp_server::Question::Authenticate(Exchange::Response(octets), ticket) => {
                let is_good = octets.starts_with(b"y");
                ticket.answer(if is_good { Ok(Progress::Done(())) } else { Err(refused()) })
            }
            smtp_server::Question::BrokenOff(ticket) => ticket.answer(()),
            smtp_server::Question::Mail(_, ticket) => {
                assert!(!self.transaction, "MAIL within a transaction");
                self.transaction = true;
                ticket.answer(Ok(()))
            }
            smtp_server::Question::Verify(_, ticket) => {
                ticket.answer(Ok(vec!["<a@x.test>".to_owned()]))
            }
            smtp_server::Question::Forwarded(_, ticket) => {
                assert!(!self.transaction, "XCLIENT within a transaction");
                ticket.answer(Ok(()))
            }
            smtp_server::Question::Recipient(EnvelopeRecipient { path, .. }, ticket) => {
                assert!(self.transaction && !self.content, "RCPT out of order");
                if path.to_string().contains("no") {
                    return ticket.answer(Err(refused()));
                }
                self.recipients += 1;
                ticket.answer(Ok(()))
            }
            smtp_server::Question::Content(ticket) => {
                assert!(self.recipients > 0 && !self.content, "content out of order");
                self.content = true;
                ticket.answer(Ok(()))
            }
            smtp_server::Question::Commit(ticket) => {
                assert!(self.content, "a commit without content");
                *self = Self::default();
                ticket.answer(Ok(Committed::whole(MailId::from_bytes([7; 12]))))
            }
        }
    }
}

pub(crate) fn smtp(octets: &[u8]) {
    let Some((size, kind, wire)) = choices(octets) else { return };
    let service = [Service::Smtp, Service::Submission, Service::Lmtp][usize::from(kind % 3)];
    let hostname = "mail.x.test".parse().expect("a domain");
    let message_size = if kind & 4 == 0 { 1 << 20 } else { 30 };
    let limits = smtp_server::Limits::new(1_000, 30 * 24 * 60 * 60);
    let profile = Arc::new(smtp_server::Profile {
        normalise_newlines: kind & 8 == 0,
        starttls: kind & 16 == 0,
        verify: kind & 128 != 0,
        mechanisms: if kind & 32 == 0 { vec!["PLAIN", "LOGIN"] } else { Vec::new() },
        plaintext_auth: true,
        ..smtp_server::Profile::new(hostname, service, message_size, limits)
    });
    let play_cut = |size| {
        let mut order = Order::default();
        let engine = smtp_server::Server::new(profile.clone());
        let engine = if kind & 64 == 0 { engine } else { engine.trusting() };
        let pause = Duration::from_secs(if kind & 16 == 0 { 1 } else { 0 });
        let engine = engine.greeting_after(pause);
        play(engine, wire, size, |question| order.answer(question))
    };
    let whole = play_cut(wire.len().max(1));
    assert_eq!(whole, play_cut(size));
    let binary = format!("{:?}", Body::BinaryMime);
    let is_text = !whole.asked.iter().any(|asked| asked.contains(&binary));
    // Content that exceeds the limit is cut off at any point, and never stored.
    let is_whole = profile.message_size > octets.len() as u64;
    if is_text && is_whole && (service != Service::Smtp || profile.normalise_newlines) {
        for (at, octet) in whole.content.iter().enumerate() {
            match octet {
                b'\n' => assert!(at > 0 && whole.content[at - 1] == b'\r', "a bare LF"),
                b'\r' if at + 1 < whole.content.len() => {
                    assert_eq!(whole.content[at + 1], b'\n', "a bare CR");
                }
                _ => {}
            }
        }
    }
    assert!(!whole.said.windows(2).any(|pair| pair[1] == b'\n' && pair[0] != b'\r'));
}

#[derive(Debug)]
struct Messages;

const MESSAGES: [&[u8]; 4] =
    [b"a: b\r\n\r\n.\r\n..x\r\n", b"", b"no line end", b"a\n.\r\n\r.\r\r\n.\n\r\0\r"];

impl pop3_server::Maildrop for Messages {
    fn len(&self) -> usize {
        MESSAGES.len()
    }
    fn octets(&self, index: usize) -> u64 {
        lines_of(MESSAGES[index]).len() as u64
    }
    fn write_unique_id(&self, index: usize, text: &mut String) {
        text.push_str(&index.to_string());
    }
}

pub(crate) fn pop3(octets: &[u8]) {
    let Some((size, kind, wire)) = choices(octets) else { return };
    let profile = Arc::new(pop3_server::Profile {
        stls: kind & 1 == 0,
        mechanisms: vec!["PLAIN"],
        secured_mechanisms: vec!["PLAIN"],
        ..pop3_server::Profile::new("mail.x.test".into())
    });
    let challenge = (kind & 2 == 0).then(|| "<1@mail.x.test>".to_owned());
    let play_cut = |size| {
        let engine = pop3_server::Server::<Messages>::new(profile.clone(), true)
            .with_challenge(challenge.clone());
        let open = std::cell::Cell::new(false);
        let opened = || {
            assert!(!open.replace(true), "a second login");
            Ok(Messages)
        };
        play(engine, wire, size, |question| match question {
            pop3_server::Question::Login { name, ticket, .. } if name == "no" => {
                ticket.answer(Err(pop3_server::Denial::Credentials))
            }
            pop3_server::Question::Login { ticket, .. }
            | pop3_server::Question::Apop { ticket, .. } => ticket.answer(opened()),
            pop3_server::Question::Authenticate(Exchange::Start { initial: None, .. }, ticket) => {
                ticket.answer(Ok(Progress::Challenge(b"go on".to_vec())))
            }
            pop3_server::Question::Authenticate(Exchange::Response(octets), ticket)
                if octets.len() > 9 =>
            {
                ticket.answer(Err(pop3_server::Denial::Locked))
            }
            pop3_server::Question::Authenticate(_, ticket) => {
                ticket.answer(opened().map(Progress::Done))
            }
            pop3_server::Question::BrokenOff(ticket) => ticket.answer(()),
            pop3_server::Question::Proceed(ticket) => {
                assert!(open.get(), "there is no login that could hold");
                ticket.answer(Ok(()))
            }
            pop3_server::Question::Read { index, offset, ticket, .. } => {
                assert!(open.get(), "a message is read without a login");
                let offset = usize::try_from(offset).expect("small");
                let rest = MESSAGES[index][offset..].chunks(5).next().unwrap_or_default();
                ticket.answer(Ok(Bytes::from_static(rest)))
            }
            pop3_server::Question::Update(marked, ticket) => {
                assert!(open.get() && marked.iter().all(|index| index < MESSAGES.len()));
                ticket.answer(Ok(()))
            }
        })
    };
    let whole = play_cut(wire.len().max(1));
    // The output always consists of lines, whatever the messages are.
    assert!(whole.said.windows(2).all(|pair| (pair[0] == b'\r') == (pair[1] == b'\n')));
    assert_eq!(whole, play_cut(size));
}

pub(crate) fn client(octets: &[u8]) {
    let Some((size, kind, wire)) = choices(octets) else { return };
    for size in [wire.len().max(1), size] {
        if kind & 1 == 0 {
            smtp_client(wire, size, kind);
        } else {
            pop3_client(wire, size, kind);
        }
    }
}

fn smtp_client(wire: &[u8], size: usize, kind: u8) {
    let hello = if kind & 2 == 0 { HelloVerb::Ehlo } else { HelloVerb::Lhlo };
    let options = smtp_client::Options {
        login: kind & 8 != 0,
        ..smtp_client::Options::new("c.test", hello, TlsUse::Never)
    };
    let mut messages = 0;
    let mut send = move || {
        messages += 1;
        if messages > 3 {
            return None;
        }
        Some(smtp_client::Envelope {
            reverse_path: ReversePath::Null,
            recipients: vec![ForwardPath::Postmaster.into(), ForwardPath::Postmaster.into()],
            parameters: MailParameters {
                size: Some(3),
                body: if kind & 4 == 0 { Body::EightBitMime } else { Body::SevenBit },
                ..MailParameters::default()
            },
        })
    };
    let check = |outcome: &smtp_client::Outcome| {
        assert_eq!(outcome.recipients.len(), 2, "an outcome for each recipient");
    };
    let content = bytes::Bytes::from_static(b".x\r\n");
    play(smtp_client::Client::new(options, false), wire, size, |question| match question {
        smtp_client::Question::Next(outcome, ticket) => {
            outcome.as_ref().inspect(|outcome| check(outcome));
            ticket.answer(send().map_or(smtp_client::Next::Quit, smtp_client::Next::Send))
        }
        smtp_client::Question::Done(outcome, ticket) => {
            check(&outcome);
            ticket.answer(())
        }
        smtp_client::Question::Ahead(ticket) => {
            ticket.answer(if kind & 16 != 0 { send() } else { None })
        }
        smtp_client::Question::Convert(ticket) => ticket.answer(Ok(())),
        smtp_client::Question::Content { first, ticket, .. } => ticket.answer(match first {
            true => smtp_client::Piece::Content(content.clone()),
            false => smtp_client::Piece::End,
        }),
        smtp_client::Question::Login(_, ticket) => {
            ticket.answer(smtp_client::LoginChoice::Auth(sasl::Opening {
                mechanism: "PLAIN".to_owned(),
                initial: Some(vec![0]),
            }))
        }
        smtp_client::Question::Challenge(_, ticket) => ticket.answer(None),
        smtp_client::Question::Last(_, ticket) | smtp_client::Question::Failed(_, ticket) => {
            ticket.answer(())
        }
    });
}

fn pop3_client(wire: &[u8], size: usize, kind: u8) {
    let options = pop3_client::Options {
        sasl: false,
        name: "ana".into(),
        password: Secret::new(b"x"),
        tls: TlsUse::Never,
    };
    let requests = [
        pop3_client::Pop3Request::Stat,
        pop3_client::Pop3Request::Uidl,
        pop3_client::Pop3Request::Retr(1),
        pop3_client::Pop3Request::Dele(1),
    ];
    let request = &requests[usize::from(kind >> 1) % requests.len()];
    play(pop3_client::Client::new(options, false), wire, size, |question| match question {
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
    });
}
