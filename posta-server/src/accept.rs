//! Taking responsibility for a message: the answers to an SMTP session's questions, and the one
//! place that says "committed".
//!
//! Content goes to the store as it arrives, a chunk at a time. At its end one transaction makes the
//! message durable and puts it in every recipient's mailbox; the answer that becomes the 250 is
//! made only from that transaction's success.

use crate::{
    clock::Clock,
    directory::{Directory, store_failed},
    drive::Host,
    net::Stream,
    tls::Tls,
};
use posta_mail::{
    Address, Domain, ForwardPath, MailId, Reply, ReversePath, Timestamp,
    header::{Completion, HeaderCompleter, RequiredFields},
    trace::{self, Received},
};
use posta_smtp::{
    Server,
    command::HelloVerb,
    server::{Answer, Hello, Mail, Question, Service},
};
use posta_store::{Acceptance, AccountId, CHUNK, Delivery, Store, StoreError};
use std::{io, net::IpAddr, sync::Arc};

/// Octets reserved for a message of unknown size.
const USUAL_MESSAGE: usize = 6 * 1024;

/// What all sessions of a listener share.
#[derive(Clone)]
pub struct Acceptor {
    /// The kind of service.
    pub service: Service,
    /// The server's name for itself.
    pub hostname: Domain,
    /// Where messages go.
    pub store: Arc<dyn Store>,
    /// Time and ids.
    pub clock: Arc<dyn Clock>,
    /// Whose mailbox an address means.
    pub directory: Directory,
    /// For STARTTLS.
    pub tls: Option<Tls>,
}

/// One session's answers.
pub struct SmtpHost {
    acceptor: Arc<Acceptor>,
    client: Option<IpAddr>,
    secured: bool,
    hello: Option<Hello>,
    transaction: Option<Box<Transaction>>,
}

/// What nothing survives from into the next.
struct Transaction {
    mail: Mail,
    recipients: Vec<(Address, AccountId)>,
    incoming: Option<Incoming>,
}

/// A message whose content is arriving.
struct Incoming {
    id: MailId,
    time: Timestamp,
    completer: Option<HeaderCompleter>,
    /// Chunks that the store has.
    chunks: u32,
    /// What it does not have yet.
    rest: Vec<u8>,
    failed: Option<StoreError>,
}

impl SmtpHost {
    /// Answers for a session with a client; none for a Unix socket.
    #[must_use]
    pub fn new(acceptor: Arc<Acceptor>, client: Option<IpAddr>, secured: bool) -> Self {
        Self { acceptor, client, secured, hello: None, transaction: None }
    }

    /// Forgets a transaction that did not end, as when the client went away in the middle.
    pub async fn abandon(&mut self) {
        let incoming = self.transaction.take().and_then(|transaction| transaction.incoming);
        if let Some(Incoming { id, chunks: 1.., .. }) = incoming
            && let Err(error) = self.acceptor.store.discard(id).await
        {
            tracing::error!(%error, "content that was abandoned could not be dropped");
        }
    }

    fn mail(&mut self, mail: Mail) -> Answer {
        // RFC 6409 §4.3: submission is for those who may submit. Until they can log in, those are
        // the people on this machine.
        let is_near = self.client.is_none_or(|client| client.is_loopback());
        if self.acceptor.service == Service::Submission && !is_near {
            return Answer::Refuse(Reply::new(530, (5, 7, 0), "Authentication required"));
        }
        let transaction = Transaction { mail, recipients: Vec::new(), incoming: None };
        self.transaction = Some(Box::new(transaction));
        Answer::Accept
    }

    async fn recipient(&mut self, path: ForwardPath) -> Answer {
        match self.acceptor.directory.resolve(path).await {
            Err(refusal) => Answer::Refuse(refusal),
            Ok((address, account)) => {
                if let Some(transaction) = &mut self.transaction {
                    transaction.recipients.push((address, account.id));
                }
                Answer::Accept
            }
        }
    }

    fn begin_content(&mut self) -> Answer {
        let Some(transaction) = &mut self.transaction else { return Answer::Accept };
        let Acceptor { hostname, clock, service, .. } = &*self.acceptor;
        let (id, time) = (clock.mail_id(), clock.now());
        let announced = transaction.mail.size.and_then(|size| usize::try_from(size).ok());
        let mut rest =
            Vec::with_capacity(announced.map_or(USUAL_MESSAGE, |size| (size + 1_024).min(CHUNK)));
        let received = Received {
            hello: self.hello.as_ref().map_or("unknown", |hello| &hello.name),
            client: self.client,
            by: hostname,
            with: protocol(self.hello.as_ref().map(|hello| hello.verb), self.secured),
            id,
            recipient: match &transaction.recipients[..] {
                [(only, _)] => Some(only),
                _ => None,
            },
            time,
        };
        rest.extend_from_slice(received.field().as_bytes());
        let completion = match service {
            Service::Submission => Completion::Always,
            Service::Smtp | Service::Lmtp => Completion::IfNoHeader,
        };
        let fields = required_fields(&transaction.mail.reverse_path, hostname, id, time);
        let completer = Some(HeaderCompleter::new(fields, completion));
        transaction.incoming =
            Some(Incoming { id, time, completer, chunks: 0, rest, failed: None });
        Answer::Accept
    }

    async fn commit(&mut self) -> Answer {
        let Some(transaction) = self.transaction.take() else { return no_transaction() };
        let Transaction { mail, recipients, incoming } = *transaction;
        let Some(mut incoming) = incoming else { return no_transaction() };
        incoming.finish();
        let Incoming { id, time, chunks, rest, failed, .. } = incoming;
        let committed = match failed {
            Some(error) => Err(error),
            None => {
                let deliveries = deliveries(&mail.reverse_path, &recipients);
                let acceptance = Acceptance { id, time, chunks, rest, deliveries };
                self.acceptor.store.accept(acceptance).await
            }
        };
        match committed {
            Ok(()) => Answer::Committed(id),
            Err(error) => {
                if chunks > 0 {
                    // The failure is what the client hears of; a second one adds nothing.
                    let _ = self.acceptor.store.discard(id).await;
                }
                Answer::Refuse(store_failed(&error))
            }
        }
    }
}

impl Incoming {
    async fn push(&mut self, content: &[u8], store: &dyn Store) {
        match &mut self.completer {
            None => self.rest.extend_from_slice(content),
            Some(completer) => {
                completer.push(content, &mut self.rest);
                if completer.is_done() {
                    self.completer = None;
                }
            }
        }
        // The last chunk goes with the acceptance, so one that is full stays until more comes.
        while self.rest.len() > CHUNK && self.failed.is_none() {
            let chunk = &self.rest[..CHUNK];
            if let Err(error) = store.append(self.id, self.chunks, chunk).await {
                self.failed = Some(error);
            }
            self.chunks += 1;
            self.rest.drain(..CHUNK);
        }
        if self.failed.is_some() {
            self.rest.clear();
        }
    }

    fn finish(&mut self) {
        if let Some(completer) = self.completer.take() {
            completer.finish(&mut self.rest);
        }
    }
}

impl Host<Server> for SmtpHost {
    async fn answer(&mut self, question: Question) -> Answer {
        match question {
            Question::Hello(hello) => {
                self.abandon().await;
                self.hello = Some(hello);
                Answer::Accept
            }
            Question::Mail(mail) => self.mail(mail),
            Question::Recipient(path) => self.recipient(path).await,
            Question::Content => self.begin_content(),
            Question::Commit => self.commit().await,
            Question::Abandon => {
                self.abandon().await;
                Answer::Accept
            }
        }
    }

    async fn content(&mut self, content: &[u8]) {
        let incoming = self.transaction.as_mut().and_then(|open| open.incoming.as_mut());
        if let Some(incoming) = incoming {
            incoming.push(content, &*self.acceptor.store).await;
        }
    }

    async fn secure(&mut self, stream: Box<dyn Stream>) -> io::Result<Box<dyn Stream>> {
        self.abandon().await;
        self.hello = None;
        self.secured = true;
        match &self.acceptor.tls {
            Some(tls) => tls.accept(stream).await,
            None => Err(io::ErrorKind::Unsupported.into()),
        }
    }
}

fn no_transaction() -> Answer {
    Answer::Refuse(Reply::new(451, (4, 3, 0), "There is no transaction"))
}

/// A message goes once to a mailbox, however many of its addresses were named.
fn deliveries(reverse_path: &ReversePath, recipients: &[(Address, AccountId)]) -> Vec<Delivery> {
    let mut deliveries: Vec<Delivery> = Vec::with_capacity(recipients.len());
    let mut seen = std::collections::HashSet::with_capacity(recipients.len());
    for (address, account) in recipients {
        if seen.insert(*account) {
            let mut prefix = trace::return_path(reverse_path);
            prefix.push_str(&trace::delivered_to(address));
            deliveries.push(Delivery { account: *account, prefix: prefix.into_bytes() });
        }
    }
    deliveries
}

/// RFC 3848, and RFC 5321 §4.4 for what came before it.
const fn protocol(hello: Option<HelloVerb>, secured: bool) -> &'static str {
    match (hello, secured) {
        (Some(HelloVerb::Lhlo), false) => "LMTP",
        (Some(HelloVerb::Lhlo), true) => "LMTPS",
        (Some(HelloVerb::Ehlo), false) => "ESMTP",
        (_, true) => "ESMTPS",
        (_, false) => "SMTP",
    }
}

fn required_fields(
    reverse_path: &ReversePath,
    hostname: &Domain,
    id: MailId,
    time: Timestamp,
) -> RequiredFields {
    let from = match reverse_path {
        ReversePath::Address(address) => format!("From: {address}\r\n"),
        ReversePath::Null => format!("From: MAILER-DAEMON@{hostname}\r\n"),
    };
    RequiredFields {
        message_id: format!("Message-ID: <{id}@{hostname}>\r\n"),
        date: format!("Date: {}\r\n", trace::date(time)),
        from,
    }
}
