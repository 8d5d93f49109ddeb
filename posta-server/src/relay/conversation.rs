//! One connection to another server, on which one item is handed over.

use super::{Found, Relay, seconds_until};
use crate::{
    drive::{Driver, Ended, Host},
    net::Stream,
};
use posta_mail::{
    ForwardPath, Reply, TlsUse,
    envelope::{DeliverBy, Late, MailParameters, RecipientParameters},
};
use posta_smtp::{
    Client,
    client::{Answer, Envelope, Failure, Options, Outcome, Question, Recipient},
    command::HelloVerb,
};
use posta_store::Item;
use std::{io, time::Duration};
use tokio::time::timeout;

/// How long a connection may take: there may be other servers to try.
const CONNECT: Duration = Duration::from_secs(30);

/// Why nothing was handed over.
pub(crate) enum Trouble {
    /// There is no connection, or it broke.
    Connection(String),
    /// TLS could not be negotiated.
    Tls(String),
    /// The server does not want to talk.
    Refused(Reply),
}

/// Answers for our client.
pub(crate) struct Conversation<'a> {
    relay: &'a Relay,
    item: &'a Item,
    /// The other server's name.
    name: &'a str,
    plaintext: bool,
    /// The next chunk of the content.
    chunk: u32,
    is_sent: bool,
    ended: Option<Result<Outcome, Failure>>,
    tls: Option<String>,
    tls_failed: Option<String>,
}

impl<'a> Conversation<'a> {
    pub(crate) fn new(relay: &'a Relay, item: &'a Item, name: &'a str, plaintext: bool) -> Self {
        Self {
            relay,
            item,
            name,
            plaintext,
            chunk: 0,
            is_sent: false,
            ended: None,
            tls: None,
            tls_failed: None,
        }
    }

    /// Connects and hands the item over.
    pub(crate) async fn hold(mut self, address: &str, driver: &Driver) -> Result<Found, Trouble> {
        let patience = self.relay.settings.patience;
        let connected = timeout(patience.min(CONNECT), self.relay.net.connect(address)).await;
        let stream = match connected {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return Err(Trouble::Connection(error.to_string())),
            Err(_) => return Err(Trouble::Connection("nobody answers".to_owned())),
        };
        let tls = match (self.plaintext, self.item.envelope.require_tls) {
            (_, true) => TlsUse::Required,
            (true, false) => TlsUse::Never,
            (false, false) => TlsUse::IfOffered,
        };
        let name = self.relay.hostname.as_str();
        let options = Options { patience, ..Options::new(name, HelloVerb::Ehlo, tls) };
        let mut engine = Client::new(options, false);
        let driven = driver.drive(stream, &mut engine, &mut self).await;
        match self.ended {
            Some(Ok(outcome)) => Ok(Found {
                replies: outcome.recipients,
                host: Some(self.name.to_owned()),
                tls: self.tls,
                reports: engine.capabilities().dsn,
            }),
            Some(Err(Failure::Refused(reply))) => Err(Trouble::Refused(reply)),
            // RFC 8689 §4.2.1: another server of the domain may do better.
            Some(Err(Failure::NoTls)) => Err(Trouble::Tls("it offers no TLS".to_owned())),
            Some(Err(Failure::Protocol(_))) => {
                Err(Trouble::Connection("what answers there does not speak SMTP".to_owned()))
            }
            None if self.tls_failed.is_some() => {
                Err(Trouble::Tls(self.tls_failed.unwrap_or_default()))
            }
            None => Err(Trouble::Connection(match driven {
                Ok(Ended::ByPeer | Ended::Closed) => "it closed the connection".to_owned(),
                Ok(Ended::Interrupted(_)) => "it took too long".to_owned(),
                Err(error) => error.to_string(),
            })),
        }
    }

    fn envelope(&self) -> Envelope {
        let Item { envelope, recipients, octets, .. } = self.item;
        let now = self.relay.clock.now();
        let by = envelope
            .deadline
            .map(|(at, late)| DeliverBy { seconds: seconds_until(at, now), late })
            // RFC 2852 §4: what is to be returned when it is late has time left, or fails here.
            .filter(|by| by.seconds > 0 || by.late == Late::Notify);
        Envelope {
            reverse_path: envelope.reverse_path.clone(),
            recipients: recipients
                .iter()
                .map(|waiting| Recipient {
                    path: ForwardPath::Address(waiting.address.clone()),
                    parameters: RecipientParameters {
                        notify: Some(waiting.notify).filter(|notify| *notify != Default::default()),
                        original: waiting.original.clone(),
                    },
                })
                .collect(),
            parameters: MailParameters {
                size: Some(*octets),
                body: envelope.body,
                utf8: envelope.utf8,
                ret: envelope.ret,
                envelope_id: envelope.envelope_id.clone(),
                require_tls: envelope.require_tls,
                hold: None,
                by,
                priority: Some(envelope.priority).filter(|&priority| priority != 0),
                extended: false,
            },
        }
    }

    async fn content(&mut self) -> Answer {
        if self.chunk >= self.item.chunks() {
            return Answer::EndOfContent;
        }
        match self.relay.store.chunk(self.item.id.content, self.chunk).await {
            Ok(Some(content)) => {
                self.chunk += 1;
                Answer::Content(content)
            }
            // In the middle of the content this ends the connection, not the content.
            Ok(None) | Err(_) => {
                tracing::error!(id = %self.item.id, "content of the queue cannot be read");
                Answer::Quit
            }
        }
    }
}

impl Host<Client> for Conversation<'_> {
    async fn answer(&mut self, question: Question) -> Answer {
        match question {
            Question::Next(outcome) => {
                if let Some(outcome) = outcome {
                    self.ended = Some(Ok(outcome));
                }
                if std::mem::replace(&mut self.is_sent, true) {
                    Answer::Quit
                } else {
                    Answer::Send(self.envelope())
                }
            }
            Question::Content => self.content().await,
            Question::Failed(failure) => {
                // What was decided before stays decided.
                self.ended.get_or_insert(Err(failure));
                Answer::Quit
            }
        }
    }

    /// An SMTP client is sent no content.
    async fn content(&mut self, _content: &[u8]) {}

    async fn secure(&mut self, stream: Box<dyn Stream>) -> io::Result<Box<dyn Stream>> {
        let is_strict = self.item.envelope.require_tls;
        match self.relay.tls.connect(stream, self.name, is_strict).await {
            Ok((stream, about)) => {
                self.tls = Some(about);
                Ok(stream)
            }
            Err(error) => {
                self.tls_failed = Some(error.to_string());
                Err(error)
            }
        }
    }
}
