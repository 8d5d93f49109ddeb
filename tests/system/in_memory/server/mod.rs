//! The whole server in memory: network, store and clock replaced, no socket and no file.

mod aliases;
mod certificates;
mod checks;
mod clients;
mod door;
pub(crate) mod filters;
mod guessing;
mod hostile;
mod lines;
mod people;
mod postmaster;
mod rates;
mod refusals;
mod removed;
mod slow;
mod spool;
mod standing;
mod submission;
mod tokens;

use crate::{
    settings::{settings, smtp_limits},
    store::store,
};
use posta_mail::Timestamp;
use posta_net::{
    clock::SimulatedClock,
    dns::{FixedZone, Resolver},
    tls::client::ClientTls,
    transport::{MemoryNet, Net, Stream},
};
use posta_server::{
    admin::{Admin, Request, Response},
    assembly::{MailServer, World},
    collect::{CollectContext, Collectors},
    settings::{ListenerKind, ListenerSettings, Settings, TlsMode},
};
use posta_smtp::server::Limits;
use posta_store::{AccountId, Store, What};
use std::{sync::Arc, time::Duration};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

struct System {
    net: Arc<MemoryNet>,
    admin: Admin,
    server: MailServer,
}

async fn system() -> System {
    system_with(|_| {}).await
}

async fn system_with(change: impl FnOnce(&mut Settings)) -> System {
    let store = store();
    let clock = Arc::new(SimulatedClock::new(Timestamp::from_second(1_074_188_330).unwrap(), 7));
    system_on(store, clock, change).await
}

/// Starts a server on a store, and adds accounts that do not exist yet.
async fn system_on(
    store: Arc<dyn Store>,
    clock: Arc<SimulatedClock>,
    change: impl FnOnce(&mut Settings),
) -> System {
    // Mail for these domains stays in the queue.
    let failing = ["y.test", "null.test"].map(str::to_owned).to_vec();
    let resolver = Arc::new(FixedZone { failing, ..FixedZone::default() });
    system_asking(resolver, store, clock, change).await
}

/// The same, with a DNS of its own.
async fn system_asking(
    resolver: Arc<dyn Resolver>,
    store: Arc<dyn Store>,
    clock: Arc<SimulatedClock>,
    change: impl FnOnce(&mut Settings),
) -> System {
    let net = Arc::new(MemoryNet::default());
    let tls = ClientTls::new(&[]).unwrap();
    let means = CollectContext {
        net: net.clone(),
        tls,
        clock: clock.clone(),
        message_size: 2_000_000,
        hostname: "mail.x.test".parse().unwrap(),
    };
    let collectors = Arc::new(Collectors::new(store.clone(), means));
    let admin = Admin::new(store.clone(), clock.clone(), collectors);
    for address in ["ana@x.test", "bob@x.test"] {
        let (address, password) = (address.to_owned(), "parola".to_owned());
        let _ = admin.execute(Request::AccountAdd { address, password, apop: false }).await;
    }
    let listener = |kind, port| ListenerSettings {
        kind,
        endpoint: format!("127.0.0.1:{port}").parse().unwrap(),
        tls: TlsMode::None,
    };
    let mut settings = Settings {
        message_size: 2_000_000,
        sessions: 4,
        sessions_per_client: 3,
        smtp_limits: Limits { commands: 50, ..smtp_limits() },
        memory: 1,
        listeners: vec![
            listener(ListenerKind::Smtp, 25),
            listener(ListenerKind::Submission, 587),
            listener(ListenerKind::Lmtp, 24),
            listener(ListenerKind::Pop3, 110),
        ],
        ..settings("mail.x.test")
    };
    change(&mut settings);
    let tls = ClientTls::new(&[]).unwrap();
    let world = World { store, clock, net: net.clone(), resolver, tls };
    let server = MailServer::start(settings, world).await.unwrap();
    System { net, admin, server }
}

impl System {
    async fn connect(&self, port: u16) -> Box<dyn Stream> {
        self.net.connect(&format!("127.0.0.1:{port}")).await.unwrap()
    }

    /// Sends everything at once and reads to the end.
    async fn say(&self, port: u16, text: &str) -> String {
        let mut stream = self.connect(port).await;
        let (mut read, mut write) = tokio::io::split(&mut stream);
        let mut answer = String::new();
        let writing = async {
            // A server that hung up early does not read it all.
            let _ = write.write_all(text.as_bytes()).await;
        };
        let (_, read) = tokio::join!(writing, read.read_to_string(&mut answer));
        read.unwrap();
        answer
    }
}

const LOGIN: &str = "USER ana\r\nPASS parola\r\n";

#[tokio::test]
async fn a_message_is_kept_with_what_a_server_adds_and_nothing_else() {
    let system = system().await;
    let said = system
        .say(25, "EHLO c.test\r\nMAIL FROM:<s@y.test>\r\nRCPT TO:<Ana@x.test>\r\nDATA\r\nSubject: s\r\n\r\nbody\r\n.\r\nQUIT\r\n")
        .await;
    assert!(said.contains("\r\n250 2.0.0 Ok: kept as "), "{said}");
    let read = system.say(110, &format!("{LOGIN}RETR 1\r\nQUIT\r\n")).await;
    let message = read.split("octets\r\n").last().unwrap();
    let id = said.split("kept as ").nth(1).unwrap().lines().next().unwrap();
    assert_eq!(
        message,
        format!(
            "Return-Path: <s@y.test>\r\nDelivered-To: Ana@x.test\r\n\
             Received: from c.test ([127.0.0.1])\r\n\tby mail.x.test (Posta) with ESMTP id {id}\r\n\
             \tfor <Ana@x.test>;\r\n\tThu, 15 Jan 2004 17:38:50 +0000\r\n\
             Subject: s\r\n\r\nbody\r\n.\r\n+OK bye\r\n"
        )
    );
    system.server.stop().await;
}

#[tokio::test]
async fn blind_copies_stay_blind_and_a_mailbox_gets_a_message_once() {
    let system = system().await;
    let said = system
        .say(24, "LHLO c.test\r\nMAIL FROM:<>\r\nRCPT TO:<ana@x.test>\r\nRCPT TO:<bob@x.test>\r\nRCPT TO:<ANA@x.test>\r\nDATA\r\nSubject: s\r\n\r\nb\r\n.\r\nQUIT\r\n")
        .await;
    assert_eq!(said.matches("kept as").count(), 3, "{said}");
    for (name, other) in [("ana", "bob"), ("bob", "ana")] {
        let read =
            system.say(110, &format!("USER {name}\r\nPASS parola\r\nRETR 1\r\nQUIT\r\n")).await;
        assert!(read.contains("+OK 1 messages"), "{read}");
        assert!(read.contains(&format!("Delivered-To: {name}@x.test")), "{read}");
        assert!(!read.contains(other) && !read.contains("for <"), "{read}");
    }
    system.server.stop().await;
}

#[tokio::test]
async fn submission_completes_a_header_section_and_a_relay_does_not() {
    let system = system().await;
    let transaction = "HELO c.test\r\nMAIL FROM:<s@y.test>\r\nRCPT TO:<ana@x.test>\r\nDATA\r\nSubject: s\r\n\r\nb\r\n.\r\nQUIT\r\n";
    system.say(587, transaction).await;
    system.say(25, transaction).await;
    let first = system.say(110, &format!("{LOGIN}RETR 1\r\nQUIT\r\n")).await;
    for field in ["\r\nMessage-ID: <", "\r\nDate: Thu, 15 Jan 2004", "\r\nFrom: s@y.test\r\n\r\nb"]
    {
        assert!(first.contains(field), "{first}");
    }
    let second = system.say(110, &format!("{LOGIN}RETR 2\r\nQUIT\r\n")).await;
    assert!(second.contains("+0000\r\nSubject: s\r\n\r\nb\r\n"), "{second}");
    system.server.stop().await;
}

#[tokio::test]
async fn a_message_that_goes_round_is_refused() {
    let system = system().await;
    for (hops, code) in [(100, "250 2.0.0"), (101, "554 5.4.6")] {
        let trace = "Received: from a by b;\r\n\tsome day\r\n".repeat(hops);
        let said = system
            .say(25, &format!("HELO c\r\nMAIL FROM:<s@y.test>\r\nRCPT TO:<ana@x.test>\r\nDATA\r\n{trace}\r\nb\r\n.\r\nQUIT\r\n"))
            .await;
        assert!(said.contains(&format!("\r\n{code} ")), "{hops}: {said}");
    }
    system.server.stop().await;
}

#[tokio::test]
async fn strangers_are_refused_when_they_are_named() {
    let system = system().await;
    let said = system
        .say(25, "HELO c.test\r\nMAIL FROM:<s@y.test>\r\nRCPT TO:<cid@x.test>\r\nRCPT TO:<ana@z.test>\r\nDATA\r\nQUIT\r\n")
        .await;
    let codes: Vec<_> = said.lines().map(|line| line.get(..9).unwrap_or(line)).collect();
    assert_eq!(codes[3..], ["550 5.1.1", "550 5.7.1", "554 5.5.1", "221 2.0.0"]);
    system.server.stop().await;
}

#[tokio::test]
async fn a_message_of_many_chunks_comes_back_whole() {
    let system = system().await;
    let body = "0123456789abcde\r\n".repeat(60_000); // a megabyte: four chunks
    let said = system
        .say(25, &format!("HELO c\r\nMAIL FROM:<s@y.test>\r\nRCPT TO:<ana@x.test>\r\nDATA\r\nA: b\r\n\r\n{body}.\r\nQUIT\r\n"))
        .await;
    assert!(said.contains("kept as"), "{said}");
    let read = system.say(110, &format!("{LOGIN}RETR 1\r\nQUIT\r\n")).await;
    assert!(read.contains(&format!("\r\n\r\n{body}.\r\n")));
    system.server.stop().await;
}

#[tokio::test]
async fn a_session_keeps_its_view_and_removal_waits_for_quit() {
    let system = system().await;
    let transaction = "HELO c.test\r\nMAIL FROM:<s@y.test>\r\nRCPT TO:<ana@x.test>\r\nDATA\r\nA: b\r\n\r\nc\r\n.\r\nQUIT\r\n";
    system.say(25, transaction).await;
    let mut early = system.connect(110).await;
    early.write_all(LOGIN.as_bytes()).await.unwrap();
    let mut seen = String::new();
    while !seen.contains("1 messages") {
        let octet = early.read_u8().await.unwrap();
        seen.push(char::from(octet));
    }
    // Another session marks the message, and ends without QUIT: nothing is removed.
    let mut rude = system.connect(110).await;
    rude.write_all(format!("{LOGIN}DELE 1\r\n").as_bytes()).await.unwrap();
    rude.shutdown().await.unwrap();
    let mut said = String::new();
    rude.read_to_string(&mut said).await.unwrap();
    assert!(said.contains("+OK marked"), "{said}");
    let polite = system.say(110, &format!("{LOGIN}DELE 1\r\nQUIT\r\n")).await;
    assert!(polite.contains("1 message removed"), "{polite}");
    let late = system.say(110, &format!("{LOGIN}STAT\r\nQUIT\r\n")).await;
    assert!(late.contains("+OK 0 0"), "{late}");
    // The early session can still read everything in its view.
    early.write_all(b"RETR 1\r\nQUIT\r\n").await.unwrap();
    let mut rest = String::new();
    early.read_to_string(&mut rest).await.unwrap();
    assert!(rest.contains("A: b\r\n\r\nc\r\n.\r\n"), "{rest}");
    system.server.stop().await;
}

#[tokio::test]
async fn a_client_has_so_many_sessions_and_no_more() {
    let system = system().await;
    let mut held = Vec::new();
    for _ in 0..3 {
        let mut stream = system.connect(25).await;
        let mut greeting = [0; 3];
        stream.read_exact(&mut greeting).await.unwrap();
        assert_eq!(&greeting, b"220");
        held.push(stream);
    }
    assert!(system.say(25, "").await.starts_with("421 4.7.0 "));
    assert!(system.say(110, "").await.starts_with("-ERR [SYS/TEMP] too many"));
    drop(held);
    let trace = Request::Trace { named: "127.0.0.1".to_owned(), within: None };
    let Response::Events(events) = system.admin.execute(trace).await.unwrap() else {
        panic!("no events");
    };
    let [told] = &events[..] else { panic!("{events:?}") };
    assert!(
        matches!(&told.what, What::Refused { refused, .. } if refused[0].about == "the connection")
    );
    system.server.stop().await;
}

#[tokio::test]
async fn stopping_ends_idle_sessions_and_finishes_what_is_in_hand() {
    let system = system().await;
    let mut idle = system.connect(25).await;
    let mut busy = system.connect(25).await;
    busy.write_all(b"HELO c\r\nMAIL FROM:<s@y.test>\r\nRCPT TO:<ana@x.test>\r\nDATA\r\n")
        .await
        .unwrap();
    let mut said = String::new();
    while !said.contains("354") {
        said.push(char::from(busy.read_u8().await.unwrap()));
    }
    let System { server, admin, .. } = system;
    let stopping = tokio::spawn(server.stop());
    let mut parting = String::new();
    idle.read_to_string(&mut parting).await.unwrap();
    assert!(
        parting.ends_with("421 4.3.2 mail.x.test is stopping, try again soon\r\n"),
        "{parting}"
    );
    busy.write_all(b"A: b\r\n\r\nc\r\n.\r\n").await.unwrap();
    let mut rest = String::new();
    busy.read_to_string(&mut rest).await.unwrap();
    assert!(rest.contains("250 2.0.0 Ok: kept as") && rest.contains("421 4.3.2"), "{rest}");
    stopping.await.unwrap();
    let listed = admin.execute(Request::AccountList { after: None }).await.unwrap();
    let Response::Accounts { lines: accounts, .. } = listed else { panic!("no accounts") };
    assert_eq!(accounts[0].messages, 1);
}

#[tokio::test(start_paused = true)]
async fn a_silent_client_is_not_waited_for_for_ever() {
    let system = system().await;
    let started = tokio::time::Instant::now();
    let mut said = String::new();
    system.connect(25).await.read_to_string(&mut said).await.unwrap();
    assert!(said.ends_with("421 4.4.2 mail.x.test waited too long, goodbye\r\n"), "{said}");
    let waited = started.elapsed();
    assert_eq!(waited.as_secs(), 5 * 60, "RFC 5321 §4.5.3.2.7");
    let mut said = String::new();
    system.connect(110).await.read_to_string(&mut said).await.unwrap();
    assert_eq!(said.lines().count(), 1, "POP3 has no words for it: {said}");
    assert_eq!((started.elapsed() - waited).as_secs(), 10 * 60, "RFC 1939 §3");
    system.server.stop().await;
}

/// Reads until some text occurs.
async fn read_until(stream: &mut Box<dyn Stream>, words: &str) -> String {
    let mut said = String::new();
    while !said.contains(words) {
        said.push(char::from(stream.read_u8().await.unwrap()));
    }
    said
}

const UP_TO_DATA: &str = "HELO c\r\nMAIL FROM:<s@y.test>\r\nRCPT TO:<ana@x.test>\r\nDATA\r\n";

#[tokio::test(start_paused = true)]
async fn trickling_does_not_hold_a_session() {
    let system = system().await;
    for (start, piece) in [("", "NOOP"), (UP_TO_DATA, "octets\r\n")] {
        let mut stream = system.connect(25).await;
        stream.write_all(start.as_bytes()).await.unwrap();
        read_until(&mut stream, if start.is_empty() { "220" } else { "354" }).await;
        let started = tokio::time::Instant::now();
        let (mut read, mut write) = tokio::io::split(stream);
        let trickle = async {
            for octet in piece.bytes().cycle() {
                tokio::time::sleep(std::time::Duration::from_secs(20)).await;
                // `NOOP` without end, or content at a twentieth of an octet a second.
                if write.write_all(&[octet]).await.is_err() {
                    break;
                }
            }
        };
        let mut said = String::new();
        tokio::select! {
            () = trickle => {}
            _ = read.read_to_string(&mut said) => {}
        }
        assert!(said.contains("421 4.4.2"), "{piece}: {said}");
        assert_eq!(started.elapsed().as_secs(), 5 * 60, "{piece}");
    }
    system.server.stop().await;
}

#[tokio::test]
async fn commands_are_counted_and_sessions_too() {
    let system = system().await;
    let said = system.say(25, &"NOOP\r\n".repeat(60)).await;
    assert_eq!(said.matches("250 2.0.0").count(), 50);
    assert!(
        said.ends_with("421 4.7.0 Too many commands in one session, connect again\r\n"),
        "{said}"
    );
    system.server.stop().await;
}

/// The budget is one chunk: a second large message is accepted while the first one holds it.
#[tokio::test]
async fn memory_is_bounded_and_nobody_waits_for_anothers() {
    let system = system().await;
    let body = "0123456789abcde\r\n".repeat(3_000); // 51,000 octets
    let mut first = system.connect(25).await;
    first.write_all(UP_TO_DATA.as_bytes()).await.unwrap();
    first.write_all(body.as_bytes()).await.unwrap();
    read_until(&mut first, "354").await;
    let said = system.say(25, &format!("{UP_TO_DATA}{}.\r\nQUIT\r\n", body.repeat(4))).await;
    assert!(said.contains("kept as"), "{said}");
    first.write_all(b".\r\n").await.unwrap();
    read_until(&mut first, "kept as").await;
    let read = system.say(110, &format!("{LOGIN}RETR 1\r\nRETR 2\r\nQUIT\r\n")).await;
    assert_eq!(read.matches(&body).count(), 5, "both are whole");
    system.server.stop().await;
}

#[tokio::test]
async fn a_trusted_client_speaks_for_another() {
    let near = "127.0.0.0/8".parse().unwrap();
    let system = system_with(|settings| settings.forwarders = vec![near]).await;
    let said = system
        .say(587, "XCLIENT ADDR=192.0.2.7 LOGIN=ana@x.test\r\nEHLO c.test\r\nMAIL FROM:<bob@x.test>\r\nMAIL FROM:<ana@x.test>\r\nRCPT TO:<ana@x.test>\r\nDATA\r\nSubject: s\r\n\r\nb\r\n.\r\nQUIT\r\n")
        .await;
    assert!(said.contains("553 5.7.1 ana@x.test may not send as bob@x.test"), "{said}");
    let read = system.say(110, &format!("{LOGIN}RETR 1\r\nQUIT\r\n")).await;
    assert!(
        read.contains("from c.test ([192.0.2.7])") && read.contains("with ESMTPA id"),
        "{read}"
    );
    // A refused recipient changes nothing.
    let said = system
        .say(25, "EHLO c.test\r\nXCLIENT ADDR=192.0.2.9 LOGIN=nobody@x.test\r\nMAIL FROM:<s@y.test>\r\nRCPT TO:<ana@x.test>\r\nDATA\r\nSubject: s\r\n\r\nb\r\n.\r\nQUIT\r\n")
        .await;
    assert!(said.contains("501 5.5.4 LOGIN names no account"), "{said}");
    let read = system.say(110, &format!("{LOGIN}RETR 2\r\nQUIT\r\n")).await;
    assert!(read.contains("from c.test ([127.0.0.1])"), "{read}");
    system.server.stop().await;
}

#[tokio::test]
async fn who_exists_is_told_where_that_is_allowed() {
    let system = system_with(|settings| settings.verify = true).await;
    let (name, targets) =
        ("both@x.test".to_owned(), vec!["ana@x.test".to_owned(), "eva@z.test".to_owned()]);
    system.admin.execute(Request::AliasAdd { name, targets }).await.unwrap();
    let said =
        system.say(25, "VRFY ana\r\nEXPN both@x.test\r\nVRFY nobody@x.test\r\nQUIT\r\n").await;
    assert!(said.contains("250 2.1.5 <ana@x.test>\r\n250-2.1.5 <ana@x.test>\r\n250 2.1.5 <eva@z.test>\r\n550 5.1.1"), "{said}");
    system.server.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_session_lasts_so_long_and_no_longer() {
    let lifetime = std::time::Duration::from_secs(3_600);
    let system = system_with(|settings| settings.session_time = lifetime).await;
    for (port, goodbye) in [(25, "421 4.4.2"), (110, "-ERR")] {
        let mut stream = system.connect(port).await;
        let started = tokio::time::Instant::now();
        let mut said = String::new();
        // The client is never silent long enough to be idle.
        loop {
            let mut octets = [0; 512];
            let read =
                tokio::time::timeout(std::time::Duration::from_secs(120), stream.read(&mut octets));
            match read.await {
                Ok(Ok(0)) | Ok(Err(_)) => break,
                Ok(Ok(count)) => said.push_str(str::from_utf8(&octets[..count]).unwrap()),
                Err(_) => stream.write_all(b"NOOP\r\n").await.unwrap(),
            }
        }
        assert!(said.contains(goodbye), "{said}");
        let lasted = started.elapsed();
        assert!(lasted >= lifetime && lasted < lifetime * 2, "{lasted:?}");
    }
    system.server.stop().await;
}

#[tokio::test]
async fn refusals_are_told() {
    let system = system().await;
    system
        .say(25, "EHLO c.test\r\nMAIL FROM:<s@y.test>\r\nRCPT TO:<eva@x.test>\r\nRCPT TO:<ana@z.test>\r\nQUIT\r\n")
        .await;
    system
        .say(25, "EHLO c.test\r\nMAIL FROM:<s@y.test>\r\nRCPT TO:<eva@x.test>\r\nRCPT TO:<ana@x.test>\r\nDATA\r\nSubject: s\r\n\r\nb\r\n.\r\nQUIT\r\n")
        .await;
    let trace = |named: &str| Request::Trace { named: named.to_owned(), within: None };
    let Response::Events(events) = system.admin.execute(trace("EVA@x.test")).await.unwrap() else {
        panic!("no events");
    };
    let [one, ..] = &events[..] else { panic!("nothing is told") };
    let What::Refused { origin, from: Some(from), refused } = &one.what else {
        panic!("{one:?}");
    };
    assert_eq!((origin.hello.as_str(), from.to_string().as_str()), ("c.test", "<s@y.test>"));
    assert_eq!(refused[0].about, "RCPT TO:<eva@x.test>");
    assert_eq!(refused[0].reply, "550 5.1.1 No such user here");
    assert_eq!(
        refused[1].reply,
        "550 5.7.1 That domain is not served here; to send elsewhere, log in, or, from this machine, use a \
         sender address of a domain here"
    );
    let Response::Events(events) = system.admin.execute(trace("ana@x.test")).await.unwrap() else {
        panic!("no events");
    };
    assert!(matches!(&events[0].what, What::Accepted { refused, .. } if refused.len() == 1));
    system.server.stop().await;
}

/// A retrieved message is kept for its days; one of which only the top was read, for ever.
#[tokio::test]
async fn what_was_retrieved_expires() {
    let store = store();
    let start = Timestamp::from_second(1_074_188_330).unwrap();
    let clock = Arc::new(SimulatedClock::new(start, 7));
    let days = |settings: &mut Settings| settings.pop3.expire = Some(30);
    let system = system_on(store.clone(), clock.clone(), days).await;
    let one = "MAIL FROM:<s@y.test>\r\nRCPT TO:<ana@x.test>\r\nDATA\r\nA: b\r\n\r\nc\r\n.\r\n";
    system.say(25, &format!("HELO c\r\n{one}{one}QUIT\r\n")).await;
    let read = system.say(110, &format!("CAPA\r\n{LOGIN}RETR 1\r\nTOP 2 9\r\nQUIT\r\n")).await;
    assert!(read.contains("\r\nEXPIRE 30\r\n"), "{read}");
    system.server.stop().await;
    let day = Duration::from_secs(24 * 60 * 60);
    for (days_later, left) in [(29, 2), (31, 1), (300, 1)] {
        clock.set(start + day * days_later);
        let system = system_on(store.clone(), clock.clone(), days).await;
        // The first sweep takes place at the start.
        for _ in 0..200 {
            if store.maildrop(AccountId(1)).await.unwrap().len() == left {
                break;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let listed = system.say(110, &format!("{LOGIN}STAT\r\nQUIT\r\n")).await;
        assert!(listed.contains(&format!("+OK {left} messages")), "{days_later} days: {listed}");
        system.server.stop().await;
    }
}
