//! Taking responsibility for a message: the answers to the questions of an SMTP session, and the only
//! place that says "committed".
//!
//! Content goes to the store as it arrives, a chunk at a time. At its end, one transaction makes the
//! message durable and puts it into every recipient's mailbox. The answer that becomes the 250 reply is
//! made only from that transaction's success.

mod acceptance;
mod arriving;
mod logins;
mod origin;
mod rights;
mod stranger;

use crate::{
    deliver::{self, Delivered, Routing, To, Undelivered},
    directory::{Directory, Recipient, RefusedRecipient, store_failed},
    limits::{
        adjustable::Adjustable,
        memory::{Budget, EnvelopeMemory},
        metrics::{AcceptedCount, Metrics},
        sending_rate::Rates,
    },
    login::{Authenticator, principal::Principal, sasl::Dialogue},
    receive::{
        checks::{Checker, MessageChecks},
        content::{Incoming, LULL},
        door::{Door, Visit},
        refusals::{Refusals, Response, SessionRefusals, goodbye},
    },
    settings::LoopbackTrust,
    sign::signers::Signers,
};
use ipnet::IpNet;
use posta_mail::{ClientAddress, Domain, Reply, ReversePath, Timestamp, envelope::Hold};
use posta_net::{
    client_network::is_within,
    clock::Clock,
    driver::Host,
    tls::server::{Tls, TlsInfo},
    transport::Stream,
};
use posta_smtp::server::{self as smtp, Forwarded, Hello, Mail, Service};
use posta_store::{Origin, Store, What};
use std::{io, sync::Arc, time::Duration};
use tokio::time::{Instant, sleep};

/// The resources that all sessions of a listener share.
#[derive(Clone)]
pub struct Acceptor {
    /// The kind of service.
    pub service: Service,
    /// The server's own name.
    pub hostname: Domain,
    /// The store, which takes the messages.
    pub store: Arc<dyn Store>,
    /// The source of time and ids.
    pub clock: Arc<dyn Clock>,
    /// Resolves recipients.
    pub directory: Directory,
    /// Checks logins.
    pub authenticator: Arc<Authenticator>,
    /// The memory for content, shared by all listeners.
    pub budget: Budget,
    /// The certificates for STARTTLS; none if it is not offered.
    pub tls: Option<Tls>,
    /// The rights of programs on this machine that do not log in.
    pub loopback: LoopbackTrust,
    /// The networks from which mail for other servers is accepted without a login.
    pub relays_for: Vec<IpNet>,
    /// The maximal time for which a message is held.
    pub longest_hold: Duration,
    /// Limits the mail that accounts and strangers send.
    pub rates: Arc<Rates>,
    /// Checks the origin of mail from strangers, if that is wanted.
    pub checker: Option<Checker>,
    /// What strangers have to pass.
    pub door: Arc<Adjustable<Door>>,
    /// Limits the cost of refusals.
    pub refusals: Arc<Refusals>,
    /// The keys that sign our users' mail.
    pub signers: Arc<Signers>,
    /// The services that deliver messages to their recipients.
    pub routing: Routing,
    /// Counts what happens.
    pub metrics: Arc<Metrics>,
}

/// The host of one session: answers its engine's questions.
pub struct SmtpHost {
    acceptor: Arc<Acceptor>,
    client: ClientAddress,
    /// Whether the client's address is that of the connection, not one that a proxy gave.
    is_direct: bool,
    tls: Option<Box<TlsInfo>>,
    hello: Option<Hello>,
    dialogue: Dialogue,
    /// The account, once the client has logged in.
    account: Option<Box<Principal>>,
    transaction: Option<Box<Transaction>>,
    /// What the door knows of the client, if that is a stranger.
    visit: Option<Box<Visit>>,
    connected: Timestamp,
    refused: SessionRefusals,
}

/// The state of a mail transaction, none of which survives into the next.
struct Transaction {
    mail: Mail,
    /// Whether a program on this machine sends the message to other servers, too, from a local address.
    from_here: bool,
    recipients: Vec<Recipient>,
    /// The memory that the recipients take.
    memory: EnvelopeMemory,
    incoming: Option<Incoming>,
    /// The checks of the message's origin, while it arrives.
    checks: Option<Box<MessageChecks>>,
}

impl SmtpHost {
    /// Returns the host of a session with this client.
    #[must_use]
    pub fn new(acceptor: Arc<Acceptor>, client: ClientAddress, tls: Option<TlsInfo>) -> Self {
        let tls = tls.map(Box::new);
        Self {
            connected: acceptor.clock.now(),
            refused: SessionRefusals::default(),
            acceptor,
            client,
            is_direct: true,
            tls,
            hello: None,
            dialogue: Dialogue::default(),
            account: None,
            transaction: None,
            visit: None,
        }
    }

    /// Makes the client one that speaks for others: a proxy, or a client whose address a proxy gave.
    #[must_use]
    pub fn speaking_for_others(self) -> Self {
        Self { is_direct: false, ..self }
    }

    /// Abandons a transaction that did not end, for example because the client disconnected, and records
    /// its refusals in the history.
    pub async fn abandon(&mut self) {
        if self.transaction.is_some() || !self.refused.is_empty() {
            Box::pin(self.abandon_transaction()).await;
        }
    }

    async fn abandon_transaction(&mut self) {
        let transaction = self.transaction.take();
        if !self.refused.is_empty() {
            let from = transaction.as_ref().map(|open| open.mail.reverse_path.clone());
            self.tell_refused(from).await;
        }
        if let Some(incoming) = transaction.and_then(|open| open.incoming) {
            incoming.abandon(&*self.acceptor.store).await;
        }
    }

    /// Records the refusals so far in the history, with the reverse-path of their transaction.
    async fn tell_refused(&mut self, from: Option<ReversePath>) {
        let refused = self.refused.take();
        let what = What::Refused { origin: self.origin(false), from, refused };
        self.acceptor.refusals.tell(self.client, what).await;
    }

    /// Records a refusal, and returns the reply for the client after a delay that grows, until the
    /// session ends.
    async fn refuse(&mut self, about: String, reply: Reply) -> Reply {
        self.refuse_for(about, reply, None).await
    }

    async fn refuse_for(&mut self, about: String, reply: Reply, why: Option<String>) -> Reply {
        let Acceptor { metrics, clock, .. } = &*self.acceptor;
        metrics.refused(clock.now(), self.client, &about, &reply);
        self.refused.note_why(about, reply.to_string(), why);
        // A neighbour passes on mail from others, whom delays would hit.
        let is_near = is_within(&self.acceptor.relays_for, self.client);
        if self.acceptor.service == Service::Lmtp || is_near {
            return reply;
        }
        match self.acceptor.refusals.refused(self.client, &mut self.refused) {
            Response::After(delay) => {
                sleep(delay).await;
                reply
            }
            Response::EndAfter(delay) => {
                sleep(delay).await;
                self.refused.note("the session".to_owned(), goodbye().to_string());
                goodbye()
            }
        }
    }

    fn origin(&self, utf8: bool) -> Origin {
        Origin {
            connected: Some(self.connected),
            client: self.client.ip(),
            hello: self.hello.as_ref().map(|hello| hello.name.clone()).unwrap_or_default(),
            protocol: self.protocol(utf8),
            tls: self.tls.as_ref().map(|tls| format!("{} {}", tls.version, tls.cipher)),
            account: self.account.as_ref().map(|account| account.address.clone()),
        }
    }

    async fn mail(&mut self, mail: Mail) -> smtp::Verdict {
        self.check_login(false).await?;
        if self.is_submission()
            && let Err(refusal) = self.submitter().may_send_as(&mail.reverse_path).await
        {
            return Err(self.refuse(format!("MAIL FROM:{}", mail.reverse_path), refusal).await);
        }
        if let Some(Hold::Until(until)) = mail.parameters.hold
            && until > self.acceptor.clock.now() + self.acceptor.longest_hold
        {
            // RFC 4865 §5.
            let refusal = Reply::new(501, (5, 5, 4), "That is too far away to keep a message back");
            return Err(self.refuse(format!("MAIL FROM:{}", mail.reverse_path), refusal).await);
        }
        let from_here = self.is_program() && {
            let directory = &self.acceptor.directory;
            directory
                .is_local_sender(&mail.reverse_path)
                .await
                .map_err(|error| store_failed(&error))?
        };
        self.begin_visit();
        let transaction = Transaction {
            mail,
            from_here,
            recipients: Vec::new(),
            memory: EnvelopeMemory::default(),
            incoming: None,
            checks: None,
        };
        self.transaction = Some(Box::new(transaction));
        Ok(())
    }

    async fn recipient(&mut self, named: smtp::EnvelopeRecipient) -> smtp::Verdict {
        self.check_login(false).await?;
        let smtp::EnvelopeRecipient { path, parameters } = named;
        self.admit(&path).await?;
        let announced = self.transaction.as_ref().and_then(|open| open.mail.parameters.size);
        let resolved = self.acceptor.directory.resolve(&path, announced, self.may_relay()).await;
        let taken = resolved.and_then(|found| {
            self.may_send_to(&found.0, &found.1)?;
            Ok(found)
        });
        match taken {
            Err(refused) => {
                let RefusedRecipient { reply, why } = self.explain(refused);
                Err(self.refuse_for(format!("RCPT TO:{path}"), reply, why).await)
            }
            Ok((address, resolved)) => {
                self.receive_for(&path, &address).await?;
                let notify = parameters.notify.unwrap_or_default();
                let original = parameters.original;
                let recipient = Recipient { address, resolved, notify, original };
                let (budget, owner) = (&self.acceptor.budget, self.memory_owner());
                if let Some(transaction) = &mut self.transaction {
                    if !transaction.memory.add(recipient.octets(), budget, owner) {
                        // RFC 5321 §4.5.3.1.10: the client sends the rest in another transaction.
                        return Err(Reply::new(452, (4, 5, 3), "Too many recipients"));
                    }
                    transaction.recipients.push(recipient);
                }
                Ok(())
            }
        }
    }

    async fn verify(&mut self, name: &str) -> smtp::Verification {
        self.check_login(false).await?;
        match self.acceptor.directory.expand(name).await {
            Ok(found) if found.is_empty() => {
                let refusal = Reply::new(550, (5, 1, 1), "No such user here");
                Err(self.refuse(format!("VRFY {name}"), refusal).await)
            }
            Ok(found) => Ok(found.iter().map(|to| format!("2.1.5 <{to}>")).collect()),
            Err(error) => Err(store_failed(&error)),
        }
    }

    /// A trusted client speaks for another one from now on.
    async fn forwarded(&mut self, forwarded: Forwarded) -> smtp::Verdict {
        let account = match forwarded.login {
            None => None,
            Some(name) => match self.acceptor.authenticator.find(&name).await {
                Ok(Some(account)) if !account.disabled => Some(Box::new(account.into())),
                Ok(_) => return Err(Reply::new(501, (5, 5, 4), "LOGIN names no account")),
                Err(error) => return Err(store_failed(&error)),
            },
        };
        self.abandon().await;
        self.hello = None;
        self.account = account;
        self.is_direct = false;
        self.visit = None;
        self.client = forwarded.client.unwrap_or(self.client);
        Ok(())
    }

    async fn commit(&mut self) -> smtp::Commitment {
        let began = Instant::now();
        self.check_login(true).await?;
        let Some(transaction) = self.transaction.take() else { return Err(no_transaction()) };
        let Transaction { mail, from_here, mut recipients, incoming, checks, memory } =
            *transaction;
        let Some(mut incoming) = incoming else { return Err(no_transaction()) };
        // The checks end before the session waits for its turn to write, since DNS may take long.
        let checked = self.end_checks(checks, &mut incoming, &recipients).await;
        self.count_checks(checked.as_deref());
        let Acceptor { store, budget, .. } = &*self.acceptor;
        let turn = incoming.finish(&**store, budget).await;
        let may_be_sent = self.may_be_sent(&incoming).await;
        let held = match may_be_sent.and_then(|()| self.hold(&mut incoming, turn, from_here)) {
            Ok(held) => held,
            Err(refusal) => {
                incoming.abandon(&*self.acceptor.store).await;
                // A refusal may be delayed. Who is refused on purpose must not keep others from writing.
                drop((incoming, recipients, memory, checked));
                return Err(self.refuse("the message".to_owned(), refusal).await);
            }
        };
        let may_report = self.limit_reports(&mut recipients, from_here);
        if let Some(outgoing) = incoming.outgoing.take() {
            incoming.signatures = outgoing.sign(&self.acceptor.signers, incoming.time).await;
        }
        let from = mail.reverse_path.clone();
        let (id, mut message) = (incoming.id, self.message(mail, &recipients, incoming, checked));
        message.is_submitted |= from_here;
        let Acceptor { store, routing, service, .. } = &*self.acceptor;
        let (each_is_told, octets) = (*service == Service::Lmtp, message.octets);
        let to = To::Recipients { recipients, may_report, routing, each_is_told, unheard: None };
        let delivered = deliver::deliver(&**store, message, to).await;
        // What the message took is free again before a refusal is delayed.
        drop((held, memory));
        match delivered {
            Ok(Delivered { refused, inbox, junk, queued }) => {
                self.refused.accepted();
                let count = AcceptedCount { octets, inbox, junk, queued };
                self.acceptor.metrics.accepted(service.name(), count, began.elapsed());
                Ok(smtp::Committed { id, refused })
            }
            Err(Undelivered::Refused { reply, why, untold }) => {
                self.refused.put_back(untold);
                let reply = self.refuse_for("the message".to_owned(), reply, why).await;
                self.tell_refused(Some(from)).await;
                Err(reply)
            }
            Err(Undelivered::Store(error)) => Err(store_failed(&error)),
        }
    }
}

impl Host<smtp::Server> for SmtpHost {
    async fn answer(&mut self, question: smtp::Question) -> smtp::Answer {
        match question {
            smtp::Question::SpokeEarly(ticket) => ticket.answer(Box::pin(self.spoke_early()).await),
            smtp::Question::Hello(hello, ticket) => {
                self.abandon().await;
                self.hello = Some(hello);
                ticket.answer(Ok(()))
            }
            // An idle session holds the largest of these futures, so rare or long ones are boxed.
            smtp::Question::Authenticate(message, ticket) => {
                ticket.answer(Box::pin(self.authenticate(message)).await)
            }
            smtp::Question::BrokenOff(ticket) => {
                Box::pin(self.broken_off()).await;
                ticket.answer(())
            }
            smtp::Question::Mail(mail, ticket) => ticket.answer(Box::pin(self.mail(mail)).await),
            smtp::Question::Recipient(recipient, ticket) => {
                ticket.answer(Box::pin(self.recipient(recipient)).await)
            }
            smtp::Question::Verify(name, ticket) => {
                ticket.answer(Box::pin(self.verify(&name)).await)
            }
            smtp::Question::Forwarded(forwarded, ticket) => {
                ticket.answer(Box::pin(self.forwarded(forwarded)).await)
            }
            smtp::Question::Content(ticket) => {
                let checked = self.check_login(false).await;
                ticket.answer(checked.map(|()| self.begin_content()))
            }
            smtp::Question::Commit(ticket) => ticket.answer(Box::pin(self.commit()).await),
            smtp::Question::Abandon(ticket) => {
                self.abandon().await;
                ticket.answer(())
            }
        }
    }

    async fn content(&mut self, content: &[u8]) {
        let Some(transaction) = &mut self.transaction else { return };
        let Some(incoming) = &mut transaction.incoming else { return };
        incoming.push(content, &*self.acceptor.store, &self.acceptor.budget).await;
        if let (Some(checks), Some(observer)) = (&mut transaction.checks, incoming.observer()) {
            checks.see_header(observer);
        }
    }

    fn lull_after(&self) -> Option<Duration> {
        let incoming = self.transaction.as_ref()?.incoming.as_ref()?;
        incoming.holds_much().then_some(LULL)
    }

    async fn lull(&mut self) {
        if let Some(incoming) = self.transaction.as_mut().and_then(|open| open.incoming.as_mut()) {
            incoming.set_aside(&*self.acceptor.store, &self.acceptor.budget).await;
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

fn no_transaction() -> Reply {
    Reply::new(451, (4, 3, 0), "There is no transaction")
}
