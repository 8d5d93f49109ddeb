//! Driving our client engines over a connection.

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use posta_mail::{
    ForwardPath, Reply, ReversePath,
    envelope::{Body, MailParameters},
};
use posta_server::{
    drive::{Driver, Ended, Host},
    net::{Net, Stream, SystemNet},
};
use posta_smtp::{
    Client,
    client::{Answer, Envelope, Failure, Options, Outcome, Question},
};
use std::{future::pending, io, path::Path};
use tokio::{net::UnixStream, sync::mpsc};

/// Connects to `host:port`, or to `unix:/path`.
pub(crate) async fn dial(server: &str) -> Result<Box<dyn Stream>> {
    if let Some(path) = server.strip_prefix("unix:") {
        let stream = UnixStream::connect(Path::new(path)).await;
        return Ok(Box::new(stream.with_context(|| format!("cannot connect to {path}"))?));
    }
    SystemNet.connect(server).await.with_context(|| {
        format!("cannot connect to {server}: is it host:port, and does a server listen there?")
    })
}

/// Sends one message over a connection, and says goodbye. Answers the outcome for each recipient.
pub(crate) async fn submit(
    stream: Box<dyn Stream>,
    options: Options,
    envelope: Envelope,
    content: Bytes,
) -> Result<Outcome> {
    let (sender, pieces) = mpsc::channel(2);
    // The channel has room for both.
    let _ = sender.try_send(Piece::Content(content));
    let _ = sender.try_send(Piece::End);
    submit_pieces(stream, options, envelope, pieces).await
}

/// A piece of a message's content.
pub(crate) enum Piece {
    /// Octets. Not empty.
    Content(Bytes),
    /// All of it was sent.
    End,
}

/// The same for a message that comes piece by piece. Without an end it is not sent.
pub(crate) async fn submit_pieces(
    stream: Box<dyn Stream>,
    options: Options,
    envelope: Envelope,
    pieces: mpsc::Receiver<Piece>,
) -> Result<Outcome> {
    let mut engine = Client::new(options, false);
    let mut host = Submission { envelope: Some(envelope), pieces, ended: None };
    let driver = Driver::unstoppable();
    let driven = driver.drive(stream, &mut engine, &mut host).await;
    match (host.ended, driven) {
        (Some(Ok(outcome)), _) => Ok(outcome),
        (Some(Err(failure)), _) => bail!(describe(&failure)),
        (None, Ok(Ended::ByPeer)) => bail!("the server closed the connection in the middle"),
        (None, Ok(_)) => bail!("the server did not answer in time"),
        (None, Err(error)) => Err(error).context("the connection failed"),
    }
}

/// The envelope of a message from one address to some.
pub(crate) fn envelope(
    from: ReversePath,
    to: Vec<posta_mail::Address>,
    content: &[u8],
) -> Envelope {
    let body = if content.is_ascii() { Body::SevenBit } else { Body::EightBitMime };
    let size = Some(content.len() as u64);
    Envelope {
        reverse_path: from,
        recipients: to.into_iter().map(|to| ForwardPath::Address(to).into()).collect(),
        parameters: MailParameters { size, body, ..MailParameters::default() },
    }
}

fn describe(failure: &Failure) -> String {
    match failure {
        Failure::Refused(reply) | Failure::Closing(reply) => {
            format!("the server refuses: {reply}")
        }
        Failure::NoTls => "the server offers no STARTTLS".to_owned(),
        Failure::NoLogin => "the server offers no login".to_owned(),
        Failure::Login(reply) => format!("the server refuses the login: {reply}"),
        Failure::Protocol(_) => "what answers there does not speak SMTP".to_owned(),
    }
}

/// Answers for the sending of one message.
struct Submission {
    envelope: Option<Envelope>,
    pieces: mpsc::Receiver<Piece>,
    ended: Option<Result<Outcome, Failure>>,
}

impl Host<Client> for Submission {
    async fn answer(&mut self, question: Question) -> Answer {
        match question {
            Question::Next(outcome) => {
                if let Some(outcome) = outcome {
                    self.ended = Some(Ok(outcome));
                }
                self.envelope.take().map_or(Answer::Quit, Answer::Send)
            }
            Question::Last(outcome) => {
                self.ended = outcome.map(Ok);
                Answer::Quit
            }
            Question::Converting => {
                Answer::Refuse(Reply::new(554, (5, 6, 3), "The server does not take 8-bit content"))
            }
            Question::Ahead | Question::Done(_) => Answer::Wait,
            Question::Login(_) | Question::Challenge(_) => Answer::Quit,
            Question::Content { .. } => match self.pieces.recv().await {
                Some(Piece::Content(content)) => Answer::Content(content),
                Some(Piece::End) => Answer::EndOfContent,
                // Half a message: whoever sent it gave up, and ends this too.
                None => pending().await,
            },
            Question::Failed(failure) => {
                self.ended = Some(Err(failure));
                Answer::Quit
            }
        }
    }

    /// An SMTP client is sent no content.
    async fn content(&mut self, _content: &[u8]) {}

    async fn secure(&mut self, _stream: Box<dyn Stream>) -> io::Result<Box<dyn Stream>> {
        Err(io::ErrorKind::Unsupported.into())
    }
}
