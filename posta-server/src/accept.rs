//! Taking responsibility for a message: the answers to an SMTP session's questions, and the one
//! place that says "committed".
//!
//! Content goes to the store as it arrives, a chunk at a time. At its end one transaction makes the
//! message durable and puts it in every recipient's mailbox; the answer that becomes the 250 is
//! made only from that transaction's success.

use crate::{
    auth::{Authenticator, LoginError},
    clock::Clock,
    directory::{Directory, Recipient, store_failed},
    drive::Host,
    net::Stream,
    sasl::{self, Exchange},
    scram::ChannelBindings,
    tls::{Tls, TlsInfo},
};
use posta_mail::{
    Domain, ForwardPath, MailId, Reply, ReversePath, Timestamp,
    header::{Completion, HeaderCompleter, RequiredFields},
    limits,
    trace::{self, Received},
};
use posta_smtp::{
    Server,
    command::HelloVerb,
    server::{self, Answer, Hello, Mail, Question, Service},
};
use posta_store::{Acceptance, Account, CHUNK, Delivery, Store, StoreError};
use std::{io, net::IpAddr, sync::Arc};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

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
    /// Who may submit.
    pub authenticator: Arc<Authenticator>,
    /// For content in memory, shared by all listeners.
    pub budget: Budget,
    /// For STARTTLS.
    pub tls: Option<Tls>,
}

/// Octets of content that may be in memory over all sessions. A session that holds more than
/// 32 KiB takes a whole chunk's worth and keeps it until its message ends, so one that has its
/// share can always go on, and those that have none wait without being read.
#[derive(Debug, Clone)]
pub struct Budget(Arc<Semaphore>);

impl Budget {
    /// So many octets, and at least one chunk.
    #[must_use]
    pub fn new(octets: usize) -> Self {
        Self(Arc::new(Semaphore::new((octets / CHUNK).max(1))))
    }
}

/// Octets of a message that a session may hold without a share of the budget.
const FREE: usize = 32 * 1024;

/// One session's answers.
pub struct SmtpHost {
    acceptor: Arc<Acceptor>,
    client: Option<IpAddr>,
    tls: Option<Box<TlsInfo>>,
    hello: Option<Hello>,
    exchange: Option<Box<Exchange>>,
    /// Who submits, once it has logged in.
    account: Option<Box<Account>>,
    transaction: Option<Box<Transaction>>,
}

/// What nothing survives from into the next.
struct Transaction {
    mail: Mail,
    recipients: Vec<Recipient>,
    incoming: Option<Incoming>,
}

/// A message whose content is arriving.
struct Incoming {
    id: MailId,
    time: Timestamp,
    completer: Option<HeaderCompleter>,
    /// Servers that it came through.
    hops: usize,
    /// Chunks that the store has.
    chunks: u32,
    /// What it does not have yet.
    rest: Vec<u8>,
    failed: Option<StoreError>,
    /// Its part of the budget, once it needs one.
    share: Option<OwnedSemaphorePermit>,
}

impl SmtpHost {
    /// Answers for a session with a client; none for a Unix socket.
    #[must_use]
    pub fn new(acceptor: Arc<Acceptor>, client: Option<IpAddr>, tls: Option<TlsInfo>) -> Self {
        let tls = tls.map(Box::new);
        Self {
            acceptor,
            client,
            tls,
            hello: None,
            exchange: None,
            account: None,
            transaction: None,
        }
    }

    /// Forgets a transaction that did not end, as when the client went away in the middle.
    pub async fn abandon(&mut self) {
        if let Some(incoming) = self.transaction.take().and_then(|open| open.incoming) {
            self.forget(&incoming).await;
        }
    }

    /// Has the store drop what it holds of a message that is not accepted.
    async fn forget(&self, incoming: &Incoming) {
        if incoming.chunks > 0
            && let Err(error) = self.acceptor.store.discard(incoming.id).await
        {
            tracing::error!(%error, "content that was abandoned could not be dropped");
        }
    }

    async fn mail(&mut self, mail: Mail) -> Answer {
        if self.acceptor.service == Service::Submission
            && let Err(refusal) = self.may_submit(&mail.reverse_path).await
        {
            return Answer::Refuse(refusal);
        }
        let transaction = Transaction { mail, recipients: Vec::new(), incoming: None };
        self.transaction = Some(Box::new(transaction));
        Answer::Accept
    }

    /// RFC 6409 §4.3, §6.1: submission is for those who logged in, each with an address of its own,
    /// and for the people on this machine.
    async fn may_submit(&self, reverse_path: &ReversePath) -> Result<(), Reply> {
        let Some(account) = &self.account else {
            let is_near = self.client.is_none_or(|client| client.is_loopback());
            let refusal = Reply::new(530, (5, 7, 0), "Authentication required");
            return if is_near { Ok(()) } else { Err(refusal) };
        };
        let ReversePath::Address(address) = reverse_path else { return Ok(()) };
        match self.acceptor.directory.accounts(address).await {
            Ok(owners) if owners.iter().any(|owner| owner.id == account.id) => Ok(()),
            Ok(_) => {
                let words = format!("{} may not send as {address}", account.address);
                Err(Reply::new(553, (5, 7, 1), words))
            }
            Err(error) => Err(store_failed(&error)),
        }
    }

    async fn authenticate(&mut self, message: server::Exchange) -> Answer {
        let message = match message {
            server::Exchange::Response(message) => message,
            server::Exchange::Start { mechanism, initial } => {
                let exchange = Box::new(Exchange::new(&mechanism));
                let prompt = exchange.prompt();
                self.exchange = Some(exchange);
                match initial {
                    Some(message) => message,
                    None => return Answer::Challenge(prompt),
                }
            }
        };
        let refusal = || Answer::Refuse(Reply::new(535, (5, 7, 8), "Authentication failed"));
        let Some(mut exchange) = self.exchange.take() else { return refusal() };
        let (authenticator, bindings) = (&self.acceptor.authenticator, self.bindings());
        match Box::pin(exchange.step(&message, authenticator, &bindings)).await {
            Ok(sasl::Step::Challenge(challenge)) => {
                self.exchange = Some(exchange);
                Answer::Challenge(challenge)
            }
            Ok(sasl::Step::Done(account)) => {
                self.account = Some(Box::new(account));
                Answer::Accept
            }
            Err(LoginError::Credentials) => refusal(),
            Err(LoginError::Store(error)) => {
                tracing::error!(%error, "a login could not be checked");
                Answer::Refuse(Reply::new(454, (4, 7, 0), "Temporary authentication failure"))
            }
        }
    }

    fn bindings(&self) -> ChannelBindings {
        let Some(tls) = &self.tls else { return ChannelBindings::default() };
        ChannelBindings {
            exporter: tls.exporter.map(|octets| octets.to_vec()),
            server_end_point: Some(tls.server_end_point.to_vec()),
        }
    }

    async fn recipient(&mut self, path: ForwardPath) -> Answer {
        let announced = self.transaction.as_ref().and_then(|open| open.mail.size);
        match self.acceptor.directory.resolve(path, announced).await {
            Err(refusal) => Answer::Refuse(refusal),
            Ok(recipient) => {
                if let Some(transaction) = &mut self.transaction {
                    transaction.recipients.push(recipient);
                }
                Answer::Accept
            }
        }
    }

    /// RFC 3848, RFC 6531 §4.3, and RFC 5321 §4.4 for what came before them.
    fn protocol(&self, utf8: bool) -> String {
        let base = match self.hello.as_ref().map(|hello| hello.verb) {
            Some(HelloVerb::Lhlo) if utf8 => "UTF8LMTP",
            Some(HelloVerb::Lhlo) => "LMTP",
            Some(HelloVerb::Ehlo) if utf8 => "UTF8SMTP",
            Some(HelloVerb::Ehlo) => "ESMTP",
            _ => return "SMTP".to_owned(),
        };
        let secured = if self.tls.is_some() { "S" } else { "" };
        let authenticated = if self.account.is_some() { "A" } else { "" };
        format!("{base}{secured}{authenticated}")
    }

    fn begin_content(&mut self) -> Answer {
        let utf8 = self.transaction.as_ref().is_some_and(|open| open.mail.utf8);
        let protocol = self.protocol(utf8);
        let Some(transaction) = &mut self.transaction else { return Answer::Accept };
        let Acceptor { hostname, clock, service, .. } = &*self.acceptor;
        let (id, time) = (clock.mail_id(), clock.now());
        let announced = transaction.mail.size.and_then(|size| usize::try_from(size).ok());
        let mut rest =
            Vec::with_capacity(announced.map_or(USUAL_MESSAGE, |size| size.min(FREE) + 1_024));
        let received = Received {
            hello: self.hello.as_ref().map_or("unknown", |hello| &hello.name),
            client: self.client,
            by: hostname,
            with: &protocol,
            id,
            recipient: match &transaction.recipients[..] {
                [only] => Some(&only.address),
                _ => None,
            },
            tls: self.tls.as_ref().map(|tls| (tls.version, tls.cipher.as_str())),
            time,
        };
        rest.extend_from_slice(received.field().as_bytes());
        let completion = match service {
            Service::Submission => Completion::Always,
            Service::Smtp | Service::Lmtp => Completion::IfNoHeader,
        };
        let fields = required_fields(&transaction.mail.reverse_path, hostname, id, time);
        let completer = Some(HeaderCompleter::new(fields, completion));
        transaction.incoming = Some(Incoming {
            id,
            time,
            completer,
            hops: 0,
            chunks: 0,
            rest,
            failed: None,
            share: None,
        });
        Answer::Accept
    }

    async fn commit(&mut self) -> Answer {
        let Some(transaction) = self.transaction.take() else { return no_transaction() };
        let Transaction { mail, recipients, incoming } = *transaction;
        let Some(mut incoming) = incoming else { return no_transaction() };
        incoming.finish();
        if incoming.hops > limits::HOPS {
            // RFC 5321 §6.3.
            self.forget(&incoming).await;
            return Answer::Refuse(Reply::new(554, (5, 4, 6), "The message goes round in a loop"));
        }
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
    async fn push(&mut self, content: &[u8], store: &dyn Store, budget: &Budget) {
        if self.share.is_none() && self.rest.len() + content.len() > FREE {
            // Closed only when the program ends.
            self.share = budget.0.clone().acquire_owned().await.ok();
        }
        match &mut self.completer {
            None => self.rest.extend_from_slice(content),
            Some(completer) => {
                completer.push(content, &mut self.rest);
                if completer.is_done() {
                    self.hops = completer.hops();
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
            self.hops = completer.hops();
            completer.finish(&mut self.rest);
        }
        // Binary content may lack its last line end; POP3 cannot do without (RFC 1939 §3).
        if !self.rest.ends_with(b"\r\n") {
            self.rest.extend_from_slice(b"\r\n");
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
            Question::Authenticate(message) => self.authenticate(message).await,
            Question::Mail(mail) => self.mail(mail).await,
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
            incoming.push(content, &*self.acceptor.store, &self.acceptor.budget).await;
        }
    }

    async fn secure(&mut self, stream: Box<dyn Stream>) -> io::Result<Box<dyn Stream>> {
        self.abandon().await;
        self.hello = None;
        self.account = None;
        let Some(tls) = &self.acceptor.tls else { return Err(io::ErrorKind::Unsupported.into()) };
        let (stream, info) = tls.accept(stream).await?;
        self.tls = Some(Box::new(info));
        Ok(stream)
    }
}

fn no_transaction() -> Answer {
    Answer::Refuse(Reply::new(451, (4, 3, 0), "There is no transaction"))
}

/// A message goes once to a mailbox, however many of its addresses were named.
fn deliveries(reverse_path: &ReversePath, recipients: &[Recipient]) -> Vec<Delivery> {
    let mut deliveries: Vec<Delivery> = Vec::with_capacity(recipients.len());
    let mut seen = std::collections::HashSet::with_capacity(recipients.len());
    for Recipient { address, accounts } in recipients {
        for account in accounts.iter().filter(|account| seen.insert(**account)) {
            let mut prefix = trace::return_path(reverse_path);
            prefix.push_str(&trace::delivered_to(address));
            deliveries.push(Delivery { account: *account, prefix: prefix.into_bytes() });
        }
    }
    deliveries
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
