//! The same transcripts over real sockets: the server's driver on one side, plain writes and reads on
//! the other.

use crate::{
    Protocol,
    kept::{Keeper, Mailbox},
    script::{Event, Script, same},
    transcripts,
};
use posta_mail::Engine;
use posta_net::{
    driver::{Driver, Host},
    tls::server::{self, Tls},
    transport::Stream,
};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use std::{collections::VecDeque, io, path::Path, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::timeout,
};
use tokio_rustls::TlsConnector;

/// A session that takes longer is stuck.
const PATIENCE: Duration = Duration::from_secs(20);

/// Answers from the script, and keeps in a mailbox what these answers say is kept.
struct Scripted<'s, P> {
    script: &'s Script,
    answers: VecDeque<String>,
    mailbox: &'s mut Mailbox,
    tls: Tls,
    protocol: std::marker::PhantomData<fn() -> P>,
}

impl<P: Protocol> Host<P::Engine> for Scripted<'_, P>
where
    <P::Engine as Engine>::Question: Send,
    <P::Engine as Engine>::Answer: Send,
{
    async fn answer(
        &mut self,
        question: <P::Engine as Engine>::Question,
    ) -> <P::Engine as Engine>::Answer {
        let asked = P::question(&question);
        let text = asked.as_ref().and_then(|_| self.answers.pop_front());
        if let Some((asked, text)) = asked.zip(text.as_ref()) {
            self.mailbox.answered(&asked, text).await;
        }
        P::answer(self.script, &self.mailbox.shown().await, question, text.as_deref())
    }

    async fn content(&mut self, content: &[u8]) {
        self.mailbox.content(content);
    }

    async fn secure(&mut self, stream: Box<dyn Stream>) -> io::Result<Box<dyn Stream>> {
        self.tls.accept(stream).await.map(|(stream, _)| stream)
    }
}

pub async fn run_all<P: Protocol>(protocol: &str)
where
    <P::Engine as Engine>::Question: Send,
    <P::Engine as Engine>::Answer: Send,
{
    let directory = tempfile::tempdir().unwrap();
    let files = server::self_signed(directory.path(), "localhost").unwrap();
    let tls = Tls::load(vec![files.clone()]).unwrap();
    let keeper = Keeper::open(directory.path()).await;
    for (number, (path, script)) in transcripts(protocol).into_iter().enumerate() {
        let mut mailbox = keeper.mailbox(number as u64, &script).await;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = async {
            let (stream, _) = listener.accept().await.unwrap();
            let protocol = std::marker::PhantomData;
            let (script, answers, mailbox) = (&script, script.answers(), &mut mailbox);
            let mut host: Scripted<'_, P> =
                Scripted { script, answers, mailbox, tls: tls.clone(), protocol };
            let mut engine = P::engine(script);
            // A client that disconnects without QUIT is not an error of the transcript.
            let _ = Driver::unstoppable().drive(Box::new(stream), &mut engine, &mut host).await;
        };
        let client = play(&script, address, connector(&files.certificate));
        let both = async { tokio::join!(server, client).1 };
        let seen = timeout(PATIENCE, both).await;
        let seen = seen.unwrap_or_else(|_| panic!("{}: hangs over TCP", path.display()));
        compare(&script, &seen, &path);
        let kept = mailbox.kept().await;
        assert!(kept == script.kept(), "{} over TCP: kept {kept:?}", path.display());
    }
}

/// Sends a segment in one write, then reads the lines in answer.
async fn play(script: &Script, address: std::net::SocketAddr, tls: TlsConnector) -> Vec<String> {
    let mut stream: Box<dyn Stream> = Box::new(TcpStream::connect(address).await.unwrap());
    let (mut octets, mut lines) = (Vec::new(), Vec::new());
    for (index, expected) in script.lines_before_tls().into_iter().enumerate() {
        if index > 0 {
            let name = ServerName::try_from("localhost").unwrap();
            stream = Box::new(tls.connect(name, stream).await.unwrap());
        }
        stream.write_all(&script.segments[index]).await.unwrap();
        let until = lines.len() + expected;
        while lines.len() < until && stream.read_buf(&mut octets).await.unwrap() > 0 {
            take_lines(&mut octets, &mut lines);
        }
    }
    stream.shutdown().await.unwrap();
    let _ = stream.read_to_end(&mut octets).await;
    take_lines(&mut octets, &mut lines);
    if !octets.is_empty() {
        lines.push(octets.into_iter().map(char::from).collect());
    }
    lines
}

fn take_lines(octets: &mut Vec<u8>, lines: &mut Vec<String>) {
    while let Some(end) = octets.windows(2).position(|pair| pair == b"\r\n") {
        let line: Vec<u8> = octets.drain(..end + 2).take(end).collect();
        lines.push(line.into_iter().map(char::from).collect());
    }
}

fn compare(script: &Script, seen: &[String], path: &Path) {
    let codes_only = script.setting("match") == Some("codes");
    let expected = script.expected_lines();
    for (expected, seen) in expected.iter().zip(seen) {
        let (expected, seen) = (Event::Line(expected.clone()), Event::Line(seen.clone()));
        assert!(
            same(&expected, &seen, codes_only),
            "{} over TCP: expected {expected:?}, saw {seen:?}",
            path.display()
        );
    }
    assert_eq!(expected.len(), seen.len(), "{} over TCP", path.display());
}

fn connector(certificate: &Path) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(certificate).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    TlsConnector::from(Arc::new(config))
}
