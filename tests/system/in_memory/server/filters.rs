//! Outside filters, played by the test: what they are told, and what becomes of the message.

use super::*;
use posta_net::transport::Endpoint;
use posta_server::{
    admin::{QuarantineRequest, Request, SenderRequest, SenderScope},
    directory::senders::SenderStanding,
    filter::{FilterKind, FilterSettings, FilteredMail, OnFailure},
};
use posta_store::Event;
use std::{future::Future, sync::Mutex};

pub(crate) const MILTER: &str = "127.0.0.1:8891";
const RSPAMD: &str = "127.0.0.1:11333";

/// A filter that gets ten seconds.
fn filter(kind: FilterKind, mail: FilteredMail, on_failure: OnFailure) -> FilterSettings {
    let address = if kind == FilterKind::Milter { MILTER } else { RSPAMD }.to_owned();
    FilterSettings { kind, address, mail, time_limit: Duration::from_secs(10), on_failure }
}

fn milter(on_failure: OnFailure) -> FilterSettings {
    filter(FilterKind::Milter, FilteredMail::Incoming, on_failure)
}

fn rspamd(on_failure: OnFailure) -> FilterSettings {
    filter(FilterKind::Rspamd, FilteredMail::Incoming, on_failure)
}

async fn system_of(filters: Vec<FilterSettings>) -> System {
    system_with(|settings| settings.filters = filters).await
}

/// Serves each connection to an address.
async fn serve<F: Future<Output = ()> + Send + 'static>(
    system: &System,
    address: &str,
    session: impl Fn(Box<dyn Stream>) -> F + Send + 'static,
) {
    let endpoint: Endpoint = address.parse().unwrap();
    let mut listener = system.net.bind(&endpoint).await.unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            session(stream).await;
        }
    });
}

/// A milter that goes on at each step, and sends these packets at the end of a message.
async fn serve_milter(system: &System, end: Vec<Vec<u8>>) {
    serve(system, MILTER, move |stream| milter_session(stream, end.clone())).await;
}

pub(crate) async fn milter_session(mut stream: Box<dyn Stream>, end: Vec<Vec<u8>>) {
    while let Some((letter, _)) = packet(&mut stream).await {
        let answer = match letter {
            b'O' => vec![made(b'O', &[6, 0x31, 0].map(u32::to_be_bytes).concat())],
            b'D' => continue,
            b'Q' => return,
            b'E' => end.clone(),
            _ => vec![made(b'c', b"")],
        };
        if stream.write_all(&answer.concat()).await.is_err() {
            return;
        }
    }
}

async fn packet(stream: &mut Box<dyn Stream>) -> Option<(u8, Vec<u8>)> {
    let length = stream.read_u32().await.ok()?;
    let mut octets = vec![0; length as usize];
    stream.read_exact(&mut octets).await.ok()?;
    Some((octets[0], octets[1..].to_vec()))
}

pub(crate) fn made(letter: u8, data: &[u8]) -> Vec<u8> {
    [&(data.len() as u32 + 1).to_be_bytes()[..], &[letter], data].concat()
}

/// An rspamd that gives the same answer about each message, and remembers the requests.
async fn serve_rspamd(system: &System, reply: &str) -> Arc<Mutex<String>> {
    let heard: Arc<Mutex<String>> = Arc::default();
    let (hears, reply) = (heard.clone(), reply.to_owned());
    serve(system, RSPAMD, move |mut stream| {
        let (hears, reply) = (hears.clone(), reply.clone());
        async move {
            let request = request(&mut stream).await;
            *hears.lock().unwrap() = request;
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", reply.len());
            let _ = stream.write_all((head + &reply).as_bytes()).await;
        }
    })
    .await;
    heard
}

/// Reads a request whose length its header section tells.
async fn request(stream: &mut Box<dyn Stream>) -> String {
    let mut request = String::new();
    loop {
        let head = request.split_once("\r\n\r\n");
        if let Some((head, body)) = head {
            let length = head.split("content-length: ").nth(1).unwrap().lines().next().unwrap();
            if body.len() >= length.parse().unwrap() {
                return request;
            }
        }
        let mut octets = [0; 4_096];
        let read = stream.read(&mut octets).await.unwrap();
        assert!(read > 0, "the request breaks off: {request}");
        request.push_str(std::str::from_utf8(&octets[..read]).unwrap());
    }
}

const MESSAGE: &str = "From: s@y.test\r\nX-Old: 1\r\nSubject: s\r\n\r\nbody\r\n";

async fn send(system: &System, port: u16, content: &str) -> String {
    let verb = if port == 24 { "LHLO" } else { "EHLO" };
    let text = format!(
        "{verb} c.test\r\nMAIL FROM:<s@y.test>\r\nRCPT TO:<ana@x.test>\r\nDATA\r\n{content}.\r\nQUIT\r\n"
    );
    let said = system.say(port, &text).await;
    let end = said.lines().rev().nth(1).unwrap();
    end.to_owned()
}

async fn retrieved(system: &System) -> String {
    system.say(110, &format!("{LOGIN}RETR 1\r\nQUIT\r\n")).await
}

async fn events(system: &System) -> Vec<Event> {
    let request = Request::Trace { named: "s@y.test".to_owned(), within: None };
    match system.admin.execute(request).await.unwrap() {
        Response::Events(events) => events,
        other => panic!("{other:?}"),
    }
}

/// What the filters said, as the history tells it, and the decision.
async fn told(system: &System) -> (Vec<String>, Option<String>) {
    let events = events(system).await;
    let filtered = events.into_iter().find_map(|event| match event.what {
        What::Filtered { results, decision } => Some((results, decision)),
        _ => None,
    });
    let (results, decision) = filtered.unwrap();
    let said = |result: posta_store::FilterResult| format!("{}: {}", result.filter, result.said);
    (results.into_iter().map(said).collect(), decision)
}

#[tokio::test(start_paused = true)]
async fn a_milters_changes_are_made() {
    let system = system_of(vec![milter(OnFailure::Tempfail)]).await;
    let end = vec![
        made(b'h', b"X-Added\0yes\0"),
        made(b'i', b"\0\0\0\0X-First\0a\n b\0"),
        made(b'm', b"\0\0\0\x01Subject\0[new] s\0"),
        made(b'm', b"\0\0\0\x01X-Old\0\0"),
        made(b'c', b""),
    ];
    serve_milter(&system, end).await;
    let said = send(&system, 25, MESSAGE).await;
    assert!(said.starts_with("250 "), "{said}");
    let read = retrieved(&system).await;
    assert!(
        read.contains("Delivered-To: ana@x.test\r\nX-First: a\r\n b\r\nX-Added: yes\r\n"),
        "{read}"
    );
    assert!(read.contains("From: s@y.test\r\nSubject: [new] s\r\n\r\nbody\r\n"), "{read}");
    assert!(!read.contains("X-Old"), "{read}");
    let octets: usize = read
        .split("+OK ")
        .find_map(|line| line.split_once(" octets").and_then(|(octets, _)| octets.parse().ok()))
        .unwrap();
    let message = read.split("octets\r\n").last().unwrap().split(".\r\n+OK").next().unwrap();
    assert_eq!(message.len(), octets, "as many as were told");
    assert_eq!(told(&system).await, (vec![format!("milter {MILTER}: accepted")], None));
    system.server.stop().await;
}

/// Chunks have a fixed size: all that follows the header section moves.
#[tokio::test(start_paused = true)]
async fn a_large_message_is_changed_too() {
    let system = system_of(vec![milter(OnFailure::Tempfail)]).await;
    serve_milter(&system, vec![made(b'm', b"\0\0\0\x01X-Old\0\0"), made(b'c', b"")]).await;
    let body: String =
        (0..9_000).map(|line| format!("line {line} {}\r\n", "x".repeat(80))).collect();
    let said = send(&system, 25, &format!("X-Old: 1\r\nSubject: s\r\n\r\n{body}")).await;
    assert!(said.starts_with("250 "), "{said}");
    let read = retrieved(&system).await;
    let content = read.split_once("\r\nSubject: s\r\n\r\n").unwrap().1;
    assert!(content.starts_with(&body) && !read.contains("X-Old"));
    system.server.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_milters_verdict_is_obeyed() {
    for (end, reply, folder) in [
        (made(b'y', b"554 5.6.0 A virus: Eicar\0"), "554 5.6.0 A virus: Eicar", None),
        (made(b'r', b""), "550 5.7.1 Refused by a filter", None),
        (made(b't', b""), "451 4.7.1 A filter asks to try again later", None),
        (made(b'd', b""), "250 2.0.0", Some("Junk")),
        (made(b'a', b""), "250 2.0.0", Some("INBOX")),
    ] {
        let system = system_of(vec![milter(OnFailure::Accept)]).await;
        serve_milter(&system, vec![end]).await;
        let said = send(&system, 25, MESSAGE).await;
        assert!(said.starts_with(reply), "{said}");
        let found = folder_of(&system).await;
        assert_eq!(found.as_deref(), folder);
        if folder.is_none() {
            let events = events(&system).await;
            let What::Refused { refused, .. } = &events[0].what else { panic!("{events:?}") };
            let why = refused[0].why.as_deref().unwrap();
            assert!(why.starts_with(&format!("milter {MILTER}: refused: ")), "{why}");
        }
        system.server.stop().await;
    }
}

/// Returns the folder of ana's only message.
async fn folder_of(system: &System) -> Option<String> {
    for folder in ["INBOX", "Junk"] {
        let request = Request::Mail {
            address: "ana@x.test".to_owned(),
            folder: Some(folder.to_owned()),
            request: posta_server::admin::MailRequest::List { after: 0 },
        };
        let Response::Mail { lines, .. } = system.admin.execute(request).await.unwrap() else {
            panic!("another answer")
        };
        if !lines.is_empty() {
            return Some(folder.to_owned());
        }
    }
    None
}

#[tokio::test(start_paused = true)]
async fn rspamd_is_told_of_a_message_and_obeyed() {
    for (reply, expected, folder) in [
        (r#"{"action":"no action","score":1}"#, "250 2.0.0", Some("INBOX")),
        (r#"{"action":"add header","score":7}"#, "250 2.0.0", Some("Junk")),
        (
            r#"{"action":"reject","score":20,"messages":{"smtp_message":"Gtube"}}"#,
            "554 5.7.1 Gtube",
            None,
        ),
        (r#"{"action":"soft reject"}"#, "451 4.7.1 Try again later", None),
        (r#"{"no":"action"}"#, "451 4.7.1 A filter that checks mail here does not answer", None),
    ] {
        let system = system_of(vec![rspamd(OnFailure::Tempfail)]).await;
        let heard = serve_rspamd(&system, reply).await;
        let said = send(&system, 25, MESSAGE).await;
        assert!(said.starts_with(expected), "{said}");
        assert_eq!(folder_of(&system).await.as_deref(), folder);
        let heard = heard.lock().unwrap().clone();
        assert!(heard.starts_with("POST /checkv2 HTTP/1.1\r\n"), "{heard}");
        for field in
            ["from: s@y.test\r\n", "rcpt: ana@x.test\r\n", "ip: 127.0.0.1\r\n", "helo: c.test\r\n"]
        {
            assert!(heard.contains(field), "{heard}");
        }
        assert!(heard.ends_with(MESSAGE), "{heard}");
        system.server.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn rspamds_fields_and_subject_are_taken() {
    let system = system_of(vec![rspamd(OnFailure::Tempfail)]).await;
    let reply = r#"{"action":"rewrite subject","subject":"*** SPAM *** s","score":6,"required_score":15,
        "symbols":{"BAD":{"score":6}},
        "milter":{"add_headers":{"X-Score":{"value":"6","order":0}},"remove_headers":{"X-Old":0}}}"#;
    serve_rspamd(&system, reply).await;
    let said = send(&system, 25, MESSAGE).await;
    assert!(said.starts_with("250 "), "{said}");
    let read = retrieved(&system).await;
    assert!(read.contains("X-Score: 6\r\n"), "{read}");
    assert!(read.contains("From: s@y.test\r\nSubject: *** SPAM *** s\r\n\r\nbody\r\n"), "{read}");
    let words = format!("rspamd {RSPAMD}: rewrite subject, score 6.0 of 15.0: BAD 6.0");
    assert_eq!(told(&system).await, (vec![words], None));
    system.server.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_filter_that_fails_costs_what_the_operator_chose() {
    for (on_failure, reply) in [
        (OnFailure::Accept, "250 2.0.0"),
        (OnFailure::Tempfail, "451 4.7.1 A filter that checks mail here does not answer"),
    ] {
        for (kind, settings) in [(MILTER, milter(on_failure)), (RSPAMD, rspamd(on_failure))] {
            // Nothing listens there; it hangs up in the middle; it never answers.
            for way in 0..3 {
                let system = system_of(vec![settings.clone()]).await;
                match way {
                    0 => {}
                    1 => {
                        serve(&system, kind, |mut stream| async move {
                            let _ = stream.read_u8().await;
                        })
                        .await
                    }
                    _ => {
                        serve(&system, kind, |mut stream| async move {
                            let mut all = Vec::new();
                            let _ = stream.read_to_end(&mut all).await;
                        })
                        .await
                    }
                }
                let said = send(&system, 25, MESSAGE).await;
                assert!(said.starts_with(reply), "{kind} {way}: {said}");
                assert_eq!(folder_of(&system).await.is_some(), on_failure == OnFailure::Accept);
                system.server.stop().await;
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_filter_is_asked_about_the_mail_that_it_is_for() {
    for (mail, incoming, submitted) in [
        (FilteredMail::Incoming, "554", "250"),
        (FilteredMail::Submitted, "250", "554"),
        (FilteredMail::All, "554", "554"),
    ] {
        let system = system_of(vec![filter(FilterKind::Rspamd, mail, OnFailure::Tempfail)]).await;
        serve_rspamd(&system, r#"{"action":"reject"}"#).await;
        assert!(send(&system, 25, MESSAGE).await.starts_with(incoming), "{mail:?}");
        assert!(send(&system, 24, MESSAGE).await.starts_with(incoming), "{mail:?}");
        assert!(send(&system, 587, MESSAGE).await.starts_with(submitted), "{mail:?}");
        system.server.stop().await;
    }
}

/// The first refusal ends the round, and the graver of two verdicts holds.
#[tokio::test(start_paused = true)]
async fn several_filters_are_asked_in_turn() {
    let filters = vec![milter(OnFailure::Tempfail), rspamd(OnFailure::Tempfail)];
    let system = system_of(filters.clone()).await;
    serve_milter(&system, vec![made(b'd', b"")]).await;
    serve_rspamd(&system, r#"{"action":"no action"}"#).await;
    assert!(send(&system, 25, MESSAGE).await.starts_with("250"));
    assert_eq!(folder_of(&system).await.as_deref(), Some("Junk"));
    let (said, decision) = told(&system).await;
    assert_eq!(said.len(), 2);
    assert_eq!(decision.as_deref(), Some("into the folder for junk"));
    system.server.stop().await;
    let system = system_of(filters).await;
    serve_milter(&system, vec![made(b'r', b"")]).await;
    let heard = serve_rspamd(&system, r#"{"action":"no action"}"#).await;
    assert!(send(&system, 25, MESSAGE).await.starts_with("550"));
    assert!(heard.lock().unwrap().is_empty(), "it is not asked any more");
    system.server.stop().await;
}

async fn quarantine(system: &System, request: QuarantineRequest) -> Response {
    system.admin.execute(Request::Quarantine { request }).await.unwrap()
}

async fn quarantined(system: &System) -> Vec<posta_server::admin::QuarantineLine> {
    match quarantine(system, QuarantineRequest::List { after: None }).await {
        Response::Quarantine { lines, next: None } => lines,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_in_quarantine_is_seen_by_nobody_until_it_is_released() {
    let system = system_of(vec![milter(OnFailure::Tempfail)]).await;
    serve_milter(&system, vec![made(b'q', b"odd\0"), made(b'h', b"X-A\0b\0"), made(b'c', b"")])
        .await;
    for _ in 0..2 {
        let said = send(&system, 25, MESSAGE).await;
        assert!(said.starts_with("250 "), "{said}");
    }
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(folder_of(&system).await, None);
    let lines = quarantined(&system).await;
    assert_eq!(lines.len(), 2);
    let line = &lines[0];
    assert_eq!(line.reason.as_deref(), Some("into quarantine: odd"));
    assert_eq!(
        (line.reverse_path.as_str(), line.recipients.as_slice()),
        ("s@y.test", &["ana@x.test".to_owned()][..])
    );
    assert_eq!((line.from.as_deref(), line.subject.as_deref()), (Some("s@y.test"), Some("s")));
    let ids: Vec<posta_mail::MailId> = lines.iter().map(|line| line.id.parse().unwrap()).collect();
    let Response::Piece { octets, next: None } =
        quarantine(&system, QuarantineRequest::Read { id: ids[0], offset: 0 }).await
    else {
        panic!("another answer")
    };
    use base64::Engine as _;
    let octets = base64::engine::general_purpose::STANDARD.decode(octets).unwrap();
    assert!(octets.starts_with(b"X-A: b\r\nReceived: ") && octets.ends_with(MESSAGE.as_bytes()));
    // What other commands do with the queue does not touch it.
    let release = QuarantineRequest::Release { ids: vec![ids[0]] };
    assert_eq!(quarantine(&system, release.clone()).await, Response::Count(1));
    assert_eq!(quarantine(&system, release).await, Response::Count(0));
    let drop = QuarantineRequest::Drop { ids: vec![ids[1]] };
    assert_eq!(quarantine(&system, drop).await, Response::Count(1));
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(folder_of(&system).await.as_deref(), Some("INBOX"));
    assert!(retrieved(&system).await.contains("Delivered-To: ana@x.test\r\nX-A: b\r\nReceived:"));
    assert!(quarantined(&system).await.is_empty());
    let scope = SenderScope::Account("ana@x.test".to_owned());
    let listed =
        system.admin.execute(Request::Senders { scope, request: SenderRequest::List }).await;
    let Response::Senders(allowed) = listed.unwrap() else { panic!("another answer") };
    assert_eq!(allowed[0].sender.to_string(), "s@y.test");
    let events = events(&system).await;
    assert!(events.iter().any(|event| event.what == What::Released));
    assert!(events.iter().any(|event| matches!(event.what, What::Removed { .. })));
    system.server.stop().await;
}

/// Whoever allows a sender gets the sender's mail in the inbox, even if a filter would put it aside.
#[tokio::test]
async fn what_a_filter_holds_for_junk_is_none_to_those_who_allow_the_sender() {
    let system = system_of(vec![rspamd(OnFailure::Tempfail)]).await;
    serve_rspamd(&system, r#"{"action":"add header","score":7.0,"required_score":15.0}"#).await;
    let sender =
        SenderRequest::Put { sender: "127.0.0.1".to_owned(), standing: SenderStanding::Allowed };
    let scope = SenderScope::Account("ana@x.test".to_owned());
    system.admin.execute(Request::Senders { scope, request: sender }).await.unwrap();
    let text = format!(
        "EHLO c.test\r\nMAIL FROM:<s@y.test>\r\nRCPT TO:<ana@x.test>\r\nRCPT TO:<bob@x.test>\r\n\
         DATA\r\n{MESSAGE}.\r\nQUIT\r\n"
    );
    let said = system.say(25, &text).await;
    assert!(said.contains("kept as"), "{said}");
    for (name, messages) in [("ana", 1), ("bob", 0)] {
        let read =
            system.say(110, &format!("USER {name}\r\nPASS parola\r\nSTAT\r\nQUIT\r\n")).await;
        assert!(read.contains(&format!("+OK {messages} ")), "{name}: {read}");
    }
    system.server.stop().await;
}

/// An edit can make the content longer than one chunk. The first chunk is then in the store before the message is judged.
#[tokio::test(start_paused = true)]
async fn what_an_edit_wrote_is_discarded_if_the_message_is_not_delivered() {
    let store = store();
    let clock = Arc::new(SimulatedClock::new(Timestamp::from_second(1_074_188_330).unwrap(), 7));
    let filters = vec![rspamd(OnFailure::Tempfail)];
    let system = system_on(store.clone(), clock, |settings| settings.filters = filters).await;
    let heard: Arc<Mutex<String>> = Arc::default();
    let (hears, accounts) = (heard.clone(), store.clone());
    serve(&system, RSPAMD, move |mut stream| {
        let (hears, accounts) = (hears.clone(), accounts.clone());
        async move {
            *hears.lock().unwrap() = request(&mut stream).await;
            // The recipient goes while the filter thinks.
            let (ana, now) = ("ana@x.test".parse().unwrap(), Timestamp::UNIX_EPOCH);
            accounts.remove_account(&ana, now, now).await.unwrap();
            let subject = "long ".repeat(20);
            let reply = format!(r#"{{"action":"rewrite subject","subject":"{subject}"}}"#);
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", reply.len());
            let _ = stream.write_all((head + &reply).as_bytes()).await;
        }
    })
    .await;
    let lines = "0123456789abcde\r\n".repeat((posta_store::CHUNK - 80) / 17);
    let said = send(&system, 25, &format!("From: s@y.test\r\nSubject: s\r\n\r\n{lines}")).await;
    assert!(said.starts_with("4"), "{said}");
    let heard = heard.lock().unwrap().clone();
    let id = heard.split("queue-id: ").nth(1).unwrap().lines().next().unwrap();
    let id: posta_mail::MailId = id.parse().unwrap();
    assert!(store.chunk(id, 0).await.unwrap().is_none(), "nothing is left of it");
    system.server.stop().await;
}
