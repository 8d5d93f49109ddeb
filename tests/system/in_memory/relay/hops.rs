//! Servers in memory that give scripted answers, and record the lines they receive.

use super::*;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::{
    RootCertStore, ServerConfig,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
    server::WebPkiClientVerifier,
};
use std::sync::{LazyLock, Mutex};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, BufReader};
use tokio_rustls::TlsAcceptor;

/// The authority that signs the certificates of hops.
static AUTHORITY: LazyLock<CertifiedIssuer<'static, KeyPair>> = LazyLock::new(|| {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
});

/// Returns a TLS client that trusts that authority.
pub fn trusting() -> ClientTls {
    ClientTls::new(&[AUTHORITY.der().clone()]).unwrap()
}

/// The answers of a hop to lines with these beginnings, in place of the usual ones. Lines in TLS begin
/// with `TLS `, and the second recipient of a transaction with `2:`. The greeting is the answer to
/// `connected`, the reply to the end of the data the answer to `.`. An answer may have several lines;
/// `X` as the last one closes the connection, and an empty answer is none.
pub type Answers = &'static [(&'static str, &'static str)];

/// The protection of a hop's connections.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Protection {
    /// None: STARTTLS is unknown.
    None,
    /// TLS, with a certificate for the hop's name.
    Tls,
    /// TLS 1.3, with a certificate required of the client.
    ClientCertificate,
}

/// The lines that a hop received on each connection, one connection after the other.
#[derive(Clone, Default)]
pub struct Heard(Arc<Mutex<Vec<String>>>);

impl Heard {
    pub fn lines(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }

    /// Returns the number of lines with this beginning.
    pub fn count(&self, beginning: &str) -> usize {
        self.lines().iter().filter(|line| line.starts_with(beginning)).count()
    }

    /// Returns the commands with this verb.
    pub fn with(&self, verb: &str) -> Vec<String> {
        let lines = self.lines().into_iter();
        lines.filter(|line| line.trim_start_matches("TLS ").starts_with(verb)).collect()
    }

    fn note(&self, line: String) {
        self.0.lock().unwrap().push(line);
    }
}

struct Hop {
    name: String,
    answers: Answers,
    heard: Heard,
    acceptor: Option<TlsAcceptor>,
}

/// The continuation of a connection.
enum Next {
    StartTls,
    End,
}

/// Starts a hop with this name at an address and port.
pub async fn hop(
    net: &MemoryNet,
    (name, place): (&str, &str),
    protection: Protection,
    answers: Answers,
) -> Heard {
    let heard = Heard::default();
    let acceptor = (protection != Protection::None).then(|| acceptor(name, protection));
    let hop = Arc::new(Hop { name: name.to_owned(), answers, heard: heard.clone(), acceptor });
    let mut listener = net.bind(&place.parse().unwrap()).await.unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let hop = hop.clone();
            tokio::spawn(async move {
                hop.heard.note("connected".to_owned());
                let mut stream = BufReader::new(stream);
                // A client may hang up at any time.
                if !matches!(hop.talk(&mut stream, "").await, Ok(Next::StartTls)) {
                    return;
                }
                let acceptor = hop.acceptor.as_ref().expect("only then is it offered");
                if let Ok(stream) = acceptor.accept(stream).await {
                    let _ = hop.talk(&mut BufReader::new(stream), "TLS ").await;
                } else {
                    hop.heard.note("TLS failed".to_owned());
                }
            });
        }
    });
    heard
}

impl Hop {
    async fn talk<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: &mut BufReader<S>,
        place: &str,
    ) -> std::io::Result<Next> {
        let in_tls = !place.is_empty();
        if !in_tls && !self.say(stream, self.answer("connected")).await? {
            return Ok(Next::End);
        }
        let (mut line, mut in_content, mut recipients) = (Vec::new(), false, 0);
        while stream.read_until(b'\n', &mut line).await? > 0 {
            let text: String = line.iter().map(|octet| char::from(*octet)).collect();
            let text = format!("{place}{}", text.trim_end_matches("\r\n"));
            self.heard.note(text.clone());
            line.clear();
            if in_content && text.trim_start_matches(place) != "." {
                continue;
            }
            let command = text.trim_start_matches(place);
            recipients = match &command[..command.len().min(4)] {
                "RCPT" => recipients + 1,
                "MAIL" => 0,
                _ => recipients,
            };
            let numbered = format!("{recipients}:{text}");
            let numbered = self.find(&numbered).filter(|_| command.starts_with("RCPT"));
            let answer = match numbered.or_else(|| self.find(&text)) {
                Some(answer) => answer.to_owned(),
                None => self.answer(text.trim_start_matches(place)),
            };
            in_content = answer.starts_with("354");
            if !self.say(stream, answer.clone()).await? || text.ends_with("QUIT") {
                break;
            }
            if text == "STARTTLS" && answer.starts_with("220") {
                return Ok(Next::StartTls);
            }
        }
        Ok(Next::End)
    }

    /// Sends an answer. Returns false if the connection ends.
    async fn say<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: &mut BufReader<S>,
        answer: String,
    ) -> std::io::Result<bool> {
        let (answer, closes) = match answer.strip_suffix('X') {
            Some(answer) if answer.is_empty() || answer.ends_with('\n') => (answer, true),
            _ => (answer.as_str(), false),
        };
        let end = if answer.is_empty() || answer.ends_with('\n') { "" } else { "\r\n" };
        stream.write_all(format!("{answer}{end}").as_bytes()).await?;
        stream.flush().await?;
        Ok(!closes)
    }

    fn find(&self, text: &str) -> Option<&'static str> {
        let found = self.answers.iter().find(|(beginning, _)| text.starts_with(beginning));
        found.map(|(_, answer)| *answer)
    }

    fn answer(&self, text: &str) -> String {
        let usual = || match text.split([' ', ':']).next().unwrap_or_default() {
            "connected" => format!("220 {} ready", self.name),
            "EHLO" if self.acceptor.is_some() => {
                format!("250-{}\r\n250-STARTTLS\r\n250 8BITMIME", self.name)
            }
            "EHLO" => format!("250-{}\r\n250 8BITMIME", self.name),
            "STARTTLS" if self.acceptor.is_some() => "220 go".to_owned(),
            "STARTTLS" => "502 no".to_owned(),
            "DATA" => "354 go".to_owned(),
            "." => "250 2.0.0 taken".to_owned(),
            "QUIT" => "221 bye".to_owned(),
            _ => "250 ok".to_owned(),
        };
        self.find(text).map_or_else(usual, str::to_owned)
    }
}

fn acceptor(name: &str, protection: Protection) -> TlsAcceptor {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    let key = KeyPair::generate().unwrap();
    let chain = vec![params.signed_by(&key, &*AUTHORITY).unwrap().der().clone()];
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let config = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .unwrap();
    let config = match protection {
        Protection::ClientCertificate => {
            let mut roots = RootCertStore::empty();
            roots.add(AUTHORITY.der().clone()).unwrap();
            let verifier =
                WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
            config.with_client_cert_verifier(verifier.unwrap())
        }
        Protection::None | Protection::Tls => config.with_no_client_auth(),
    };
    TlsAcceptor::from(Arc::new(config.with_single_cert(chain, key).unwrap()))
}
