//! Runs the client engines over a connection, for `posta send`, `fetch` and `demo`.

use crate::fault::{fail, fault};
use anyhow::{Context, Result};
use bytes::Bytes;
use posta_mail::{
    ForwardPath, Reply, ReversePath, Secret,
    envelope::{Body, MailParameters},
};
use posta_net::{
    client_session::{ClientSession, Plaintext},
    clock::SystemClock,
    driver::{Driver, Ended, Host},
    socket_words::{SILENT, cannot_connect, no_tls},
    system_net::SystemNet,
    tls::client::{ClientTls, Verify},
    transport::{Net, Stream},
};
use posta_smtp::client as smtp;
use std::{future::pending, io, path::Path};
use tokio::{net::UnixStream, sync::mpsc};

/// Connects to `host:port`, or to `unix:/path`.
pub(crate) async fn dial(server: &str) -> Result<Box<dyn Stream>> {
    dial_through(&SystemNet::default(), server).await
}

/// Connects as [`dial`] does, through a network that looks names up in its own way.
pub(crate) async fn dial_through(net: &dyn Net, server: &str) -> Result<Box<dyn Stream>> {
    if let Some(path) = server.strip_prefix("unix:") {
        let stream = UnixStream::connect(Path::new(path)).await;
        let stream =
            stream.map_err(|error| fault("cannot-connect", cannot_connect(server, &error)))?;
        return Ok(Box::new(stream));
    }
    let stream = net.connect(server).await;
    stream.map_err(|error| fault("cannot-connect", cannot_connect(server, &error)))
}

/// How a connection is protected, and with what to log in.
#[derive(Default)]
pub(crate) struct Security {
    /// TLS and the name that the certificate must have; any certificate is accepted if there is no name.
    pub(crate) tls: Option<(ClientTls, String, Verify)>,
    /// Whether TLS begins at once.
    pub(crate) is_implicit: bool,
    /// The name and password to log in with.
    pub(crate) login: Option<(String, Secret)>,
}

/// Sends one message over a connection and quits. Returns the outcome for each recipient.
pub(crate) async fn submit(
    stream: Box<dyn Stream>,
    options: smtp::Options,
    security: Security,
    envelope: smtp::Envelope,
    content: Bytes,
) -> Result<smtp::Outcome> {
    let (sender, pieces) = mpsc::channel(2);
    // The channel has room for both.
    let _ = sender.try_send(Piece::Content(content));
    let _ = sender.try_send(Piece::End);
    submit_pieces(stream, options, security, envelope, pieces).await
}

/// A piece of a message's content.
pub(crate) enum Piece {
    /// The next octets. Not empty.
    Content(Bytes),
    /// The end of the content.
    End,
}

/// Sends a message that comes piece by piece, as [`submit`] does. Without [`Piece::End`] nothing is sent.
pub(crate) async fn submit_pieces(
    stream: Box<dyn Stream>,
    options: smtp::Options,
    security: Security,
    envelope: smtp::Envelope,
    pieces: mpsc::Receiver<Piece>,
) -> Result<smtp::Outcome> {
    let is_implicit = security.is_implicit;
    let name = security.tls.as_ref().map_or("the server", |(_, name, _)| name).to_owned();
    let mut host = Submission::new(security, envelope, pieces);
    let mut stream = stream;
    if is_implicit {
        stream = host
            .secure(stream)
            .await
            .map_err(|error| fault("tls-failed", no_tls(&name, &error)))?;
    }
    let mut engine = smtp::Client::new(options, is_implicit);
    let driver = Driver::unstoppable();
    let driven = driver.drive(stream, &mut engine, &mut host).await;
    match (host.ended, driven) {
        (Some(Ok(outcome)), _) => Ok(outcome),
        (Some(Err(smtp::Failure::NoLogin)), _) if !host.is_offered_login => {
            fail!("no-login-offered", "{}", NO_LOGIN)
        }
        (Some(Err(failure)), _) => Err(fault(code_of(&failure), describe(&failure))),
        (None, Ok(_)) if !host.heard => fail!("server-silent", "{}", SILENT),
        (None, Ok(Ended::ByPeer)) => {
            fail!("server-closed", "the server closed the connection in the middle")
        }
        (None, Ok(_)) => fail!("server-silent", "the server did not answer in time"),
        (None, Err(error)) if host.is_securing => fail!("tls-failed", "{}", no_tls(&name, &error)),
        (None, Err(error)) => Err(error).context("the connection failed"),
    }
}

/// Returns the envelope of a message.
pub(crate) fn envelope(
    from: ReversePath,
    to: Vec<posta_mail::Address>,
    content: &[u8],
) -> smtp::Envelope {
    let body = if content.is_ascii() { Body::SevenBit } else { Body::EightBitMime };
    let size = Some(content.len() as u64);
    smtp::Envelope {
        reverse_path: from,
        recipients: to.into_iter().map(|to| ForwardPath::Address(to).into()).collect(),
        parameters: MailParameters { size, body, ..MailParameters::default() },
    }
}

/// Returns the code of a failure.
const fn code_of(failure: &smtp::Failure) -> &'static str {
    match failure {
        smtp::Failure::Refused(_) | smtp::Failure::Closing(_) => "server-refused",
        smtp::Failure::NoTls(_) => "tls-failed",
        smtp::Failure::NoLogin => "no-login-offered",
        smtp::Failure::Login(_) => "login-refused",
        smtp::Failure::Namesake => "own-server",
        smtp::Failure::Unexpected { .. } | smtp::Failure::Protocol(_) => "not-a-mail-server",
    }
}

fn describe(failure: &smtp::Failure) -> String {
    match failure {
        smtp::Failure::Refused(reply) | smtp::Failure::Closing(reply) => {
            format!("the server refuses: {reply}")
        }
        smtp::Failure::NoTls(None) => {
            "the server offers no STARTTLS: --tls implicit where TLS comes first, as at port \
             465; --tls none for a server on this machine"
                .to_owned()
        }
        smtp::Failure::NoTls(Some(reply)) => format!("the server refuses STARTTLS: {reply}"),
        smtp::Failure::NoLogin => {
            "the server offers no login that is safe here: --tls with its certificate makes one so"
                .to_owned()
        }
        smtp::Failure::Login(reply) => {
            format!(
                "the server refuses the login: {reply} (many servers want the whole address as --user)"
            )
        }
        smtp::Failure::Namesake => "the server has the name of this client".to_owned(),
        smtp::Failure::Unexpected { to, reply } => {
            format!("the server answers {to} with \"{reply}\", which no server may answer to that")
        }
        smtp::Failure::Protocol(_) => "the server does not speak SMTP".to_owned(),
    }
}

/// The host of a client that sends one message.
struct Submission {
    envelope: Option<smtp::Envelope>,
    pieces: mpsc::Receiver<Piece>,
    ended: Option<Result<smtp::Outcome, smtp::Failure>>,
    security: Security,
    is_securing: bool,
    /// Whether the server has sent anything yet.
    heard: bool,
    is_offered_login: bool,
    session: ClientSession,
}

const NO_LOGIN: &str = "the server offers no login on this port: mail programs log in at port 587 with --tls starttls, \
                        or at 465 with --tls implicit; without --user nobody logs in";

impl Submission {
    fn new(security: Security, envelope: smtp::Envelope, pieces: mpsc::Receiver<Piece>) -> Self {
        Self {
            envelope: Some(envelope),
            pieces,
            ended: None,
            security,
            is_securing: false,
            heard: false,
            is_offered_login: false,
            session: ClientSession::default(),
        }
    }

    fn log_in(&mut self, offered: &[String]) -> smtp::LoginChoice {
        let Some((user, password)) = &self.security.login else { return smtp::LoginChoice::GiveUp };
        let credentials = (user.as_str(), password);
        let begun =
            self.session.begin_login(offered, credentials, Plaintext::ToVerified, &SystemClock);
        // The engine's error says why no mechanism fits.
        begun.map_or(smtp::LoginChoice::GiveUp, smtp::LoginChoice::Auth)
    }

    fn next(&mut self) -> smtp::Next {
        if !self.session.is_trusted() {
            self.unmask();
            return smtp::Next::Quit;
        }
        self.envelope.take().map_or(smtp::Next::Quit, smtp::Next::Send)
    }

    /// In SCRAM the server must also prove that it knows the password.
    fn unmask(&mut self) {
        let words = "it could not prove that it knows the password: it is an impostor";
        self.ended = Some(Err(smtp::Failure::Login(Reply::new(535, (5, 7, 8), words))));
    }
}

impl Host<smtp::Client> for Submission {
    async fn answer(&mut self, question: smtp::Question) -> smtp::Answer {
        self.heard = true;
        match question {
            smtp::Question::Next(outcome, ticket) => {
                if let Some(outcome) = outcome {
                    self.ended = Some(Ok(outcome));
                }
                ticket.answer(self.next())
            }
            smtp::Question::Last(outcome, ticket) => {
                self.ended = outcome.map(Ok);
                ticket.answer(())
            }
            smtp::Question::Convert(ticket) => {
                let words = "The server does not take 8-bit content";
                ticket.answer(Err(Reply::new(554, (5, 6, 3), words)))
            }
            smtp::Question::Ahead(ticket) => ticket.answer(None),
            smtp::Question::Done(_, ticket) => ticket.answer(()),
            smtp::Question::Login(offered, ticket) => {
                self.is_offered_login = true;
                ticket.answer(self.log_in(&offered))
            }
            smtp::Question::Challenge(challenge, ticket) => {
                ticket.answer(self.session.respond(&challenge))
            }
            smtp::Question::Content { ticket, .. } => match self.pieces.recv().await {
                Some(Piece::Content(content)) => ticket.answer(smtp::Piece::Content(content)),
                Some(Piece::End) => ticket.answer(smtp::Piece::End),
                // The message is incomplete: its source gave up, and so does this session.
                None => pending().await,
            },
            smtp::Question::Failed(failure, ticket) => {
                match failure {
                    smtp::Failure::Login(_) if self.session.is_impostor() => self.unmask(),
                    failure => self.ended = Some(Err(failure)),
                }
                ticket.answer(())
            }
        }
    }

    /// An SMTP client is sent no content.
    async fn content(&mut self, _content: &[u8]) {}

    async fn secure(&mut self, stream: Box<dyn Stream>) -> io::Result<Box<dyn Stream>> {
        let Some((tls, name, verify)) = &self.security.tls else {
            return Err(io::ErrorKind::Unsupported.into());
        };
        self.is_securing = true;
        self.heard = true;
        let (stream, _) = self.session.secure(stream, tls, name, verify).await?;
        self.is_securing = false;
        Ok(stream)
    }
}
