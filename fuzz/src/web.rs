//! What strangers and programs with a token send over HTTP, and what a balancer sends in front of a connection.

use posta_mail::{ClientAddress, Domain};
use posta_net::{proxy, transport::Stream};
use posta_server::{
    admin::http::{self, Requests},
    send::trust::mta_sts::{Mode, Policy},
    settings::{ListenerKind, TlsMode},
    web::{Web, mail_programs::MailPrograms, plain::PlainWeb},
};
use posta_store::{Directory as _, MemoryStore};
use std::{cell::OnceCell, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, duplex},
    runtime::{Builder, Runtime},
    time::timeout,
};

/// The time within which every connection has ended that the client has closed on its side.
const LONGEST: Duration = Duration::from_secs(9);

/// What is served, made once.
struct Served {
    requests: Requests,
    runtime: Runtime,
    web: Web,
    plain: PlainWeb,
}

impl Served {
    fn new() -> Option<Self> {
        let runtime = Builder::new_current_thread().enable_time().build().ok()?;
        let domain: Domain = "x.test".parse().ok()?;
        let store = Arc::new(MemoryStore::new());
        runtime.block_on(store.add_domain(&domain)).ok()?;
        let endpoint = "192.0.2.1:995".parse().ok()?;
        let listening = [(ListenerKind::Pop3, &endpoint, TlsMode::Implicit)];
        let programs = MailPrograms::new(domain, &listening, store);
        let policy = Policy { mode: Mode::Enforce, mx: vec!["x.test".to_owned()], max_age: 60 };
        let web = Web::new(policy).with_mail_programs(programs);
        let plain = PlainWeb { has_https: true, ..PlainWeb::default() };
        Some(Self { requests: Requests::new(), runtime, web, plain })
    }

    /// Has a server answer the octets of one connection. Whatever they are, it ends, and says nothing but HTTP.
    fn converse(&self, octets: &[u8], is_plain: bool) {
        self.runtime.block_on(async {
            let (mut ours, theirs) = duplex(octets.len().max(1024));
            let _ = ours.write_all(octets).await;
            let _ = ours.shutdown().await;
            let theirs: Box<dyn Stream> = Box::new(theirs);
            let serving = async {
                let _ = match is_plain {
                    true => self.plain.serve(theirs).await,
                    false => self.web.serve(theirs, ClientAddress::Unknown).await,
                };
            };
            let mut said = Vec::new();
            let reading = ours.read_to_end(&mut said);
            let ended = timeout(LONGEST, async { tokio::join!(serving, reading) }).await;
            assert!(ended.is_ok(), "the connection lasts");
            assert!(said.is_empty() || said.starts_with(b"HTTP/1."), "{}", said.escape_ascii());
        });
    }
}

/// Reads the octets as an operation and its body, or as the request of a connection.
pub(crate) fn http(octets: &[u8]) {
    thread_local! {
        static SERVED: OnceCell<Option<Served>> = const { OnceCell::new() };
    }
    let Some((&form, octets)) = octets.split_first() else { return };
    SERVED.with(|served| {
        let Some(served) = served.get_or_init(Served::new) else { return };
        match form % 3 {
            0 => operation(&served.requests, octets),
            form => served.converse(octets, form == 1),
        }
    });
}

/// An operation that is understood can be written again, and means the same.
fn operation(requests: &Requests, octets: &[u8]) {
    let end = octets.iter().position(|&octet| octet == b'\n').unwrap_or(octets.len());
    let (name, body) = octets.split_at(end);
    let Ok(name) = str::from_utf8(name) else { return };
    match requests.read(name, body) {
        Ok(request) => {
            let needs = request.needs();
            let Ok((path, body)) = http::path_and_body(&request) else { panic!("not written") };
            assert_eq!(path, format!("/v1/{name}"));
            match requests.read(name, &body) {
                Ok(again) => assert_eq!(again.needs(), needs),
                Err(problem) => panic!("{name}: {problem:?}"),
            }
        }
        Err(problem) => assert!((400..500).contains(&problem.status), "{problem:?}"),
    }
}

/// Reads the octets as a PROXY header. What came is enough or not, however it is cut, and nothing after a header matters.
pub(crate) fn balancer(octets: &[u8]) {
    let whole = proxy::parse(octets);
    for end in 0..octets.len() {
        match (proxy::parse(&octets[..end]), &whole) {
            (proxy::Header::Incomplete, _) => {}
            (found, whole) => {
                assert_eq!(found, *whole, "cut at {end}");
                break;
            }
        }
    }
    if let proxy::Header::Complete(length, client) = whole {
        assert!(length <= octets.len());
        assert_eq!(proxy::parse(&octets[..length]), proxy::Header::Complete(length, client));
    }
}
