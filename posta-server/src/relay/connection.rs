//! One connection to a server, on which one message after the other is handed over.

use super::{
    Found, Relay,
    hosts::{HostQueue, Job, Trouble, Trust},
    seconds_until,
    settings::SmarthostTls,
};
use crate::{
    dial::{Dialer, Target},
    drive::{Ended, Host},
    net::Stream,
    outbound::Verify,
    resolve::LookupError,
    route,
    sasl::ClientLogin,
    tls::words,
    tls_report::Failure as TlsFailure,
};
use bytes::Bytes;
use posta_mail::{
    ForwardPath, Reply, TlsUse,
    convert::{Converter, Plan, Survey},
    envelope::{DeliverBy, Late, MailParameters, RecipientParameters},
};
use posta_smtp::{
    Client,
    client::{Answer, Decision, Envelope, Failure, Options, Outcome, Question, Recipient},
    command::HelloVerb,
};
use posta_store::{Destination, Item};
use std::{collections::HashSet, io, mem, sync::Arc, time::Duration};
use tokio::time::timeout;

/// How long a connection may last, whatever the other side does: against one that says one octet a
/// minute for ever.
const LIFETIME: Duration = Duration::from_secs(2 * 60 * 60);

/// Messages handed over on one connection at most: several servers may share its name.
const MESSAGES: usize = 1_000;

/// What a smarthost does wrong that offers no login, or only such as would tell strangers the password.
const NO_LOGIN: &str = "it offers no login that is safe: a password is said only in TLS with a valid \
                        certificate (relay.tls = \"starttls\" or \"implicit\")";

/// What a smarthost does wrong whose half of SCRAM is not what the password makes.
const IMPOSTOR: &str = "it does not know the password itself: it is an impostor";

/// Keeps connections to a server for as long as something waits for it.
pub(super) async fn run(queue: Arc<HostQueue>, relay: Arc<Relay>) {
    loop {
        if let Err(trouble) = Box::pin(hold(&queue, &relay)).await {
            let settings = relay.settings.get();
            let first = settings.all.schedule.retry.first();
            return queue.failed(&trouble, first.copied().unwrap_or_default());
        }
        if !queue.ended() {
            return;
        }
    }
}

/// Holds one connection, to the first of the server's addresses that lets itself be talked to.
async fn hold(queue: &Arc<HostQueue>, relay: &Arc<Relay>) -> Result<(), Trouble> {
    let peer = &queue.peer;
    let addresses = match peer.name.trim_start_matches('[').trim_end_matches(']').parse() {
        Ok(literal) => vec![literal],
        Err(_) => match relay.resolver.addresses(&peer.name).await {
            Ok(answer) => answer.found,
            Err(LookupError::NoDomain(_)) => Vec::new(),
            Err(error) => return Err(Trouble::new(route::lookup_failed(&error))),
        },
    };
    if addresses.is_empty() {
        return Err(Trouble::no_address(&peer.name));
    }
    let mut targets = match &peer.smarthost {
        Some(_) => Dialer::configured_host(addresses, peer.port),
        // Permanent, as where DNS names no server at all (RFC 7505 §1 knows such records): a server
        // that only its own network reaches takes no mail from the internet. Were it to wait, mail to
        // domains that a stranger makes up would fill the queue.
        None => relay.dialer.strangers_host(addresses, peer.port).map_err(|refused| {
            let words = format!("The server {} cannot be reached: {refused}", peer.name);
            Trouble::new(Reply::new(550, (5, 4, 4), words))
        })?,
    };
    loop {
        let connected = relay.dialer.connect(&mut targets, relay.settings.get().patience).await;
        let (stream, target) = connected.map_err(|why| {
            Trouble::new(Reply::new(
                451,
                (4, 4, 1),
                format!("{} cannot be reached: {why}", peer.name),
            ))
        })?;
        match converse(queue, relay, stream, target).await {
            Ok(()) => return Ok(()),
            Err(trouble) if targets.is_empty() => return Err(trouble),
            // RFC 5321 §5.1: the others of its addresses may do better.
            Err(_) => {}
        }
    }
}

/// Talks at one address: in TLS where the other side offers it, and once more without where that
/// fails, unless it is required (RFC 7435 §3: better than nothing).
async fn converse(
    queue: &Arc<HostQueue>,
    relay: &Arc<Relay>,
    stream: Box<dyn Stream>,
    target: Target,
) -> Result<(), Trouble> {
    let place = format!("{} ({target})", queue.peer.name);
    let tls = match (&queue.peer.trust, &queue.peer.smarthost) {
        (_, Some(smarthost)) if smarthost.tls == SmarthostTls::Implicit => TlsUse::Never,
        (Trust::Tls(_), _) => TlsUse::Required,
        (Trust::Plaintext, _) => TlsUse::Never,
        (Trust::Opportunistic, _) => TlsUse::IfOffered,
    };
    let first = Conversation::new(queue, relay).hold(stream, tls, &place).await;
    match first {
        Err(Broken::Tls(..)) if queue.peer.trust == Trust::Opportunistic => {}
        ended => return ended.map_err(|broken| broken.trouble(&place)),
    }
    let again = relay.dialer.again(target, relay.settings.get().patience).await;
    let stream = again.map_err(|why| Broken::Connection(why.to_string()).trouble(&place))?;
    let second = Conversation::new(queue, relay).hold(stream, TlsUse::Never, &place).await;
    second.map_err(|broken| broken.trouble(&place))
}

/// Why nothing can be handed over.
enum Broken {
    /// The connection broke.
    Connection(String),
    /// TLS could not be negotiated.
    Tls(TlsFailure, String),
    /// The server does not want to talk.
    Refused(Reply),
    /// It does not let us in.
    Login(String),
    /// It is this server: who sends mail to itself sends it round until it has too many hops.
    Ourselves,
}

impl Broken {
    fn trouble(self, place: &str) -> Trouble {
        Trouble::new(match self {
            Self::Connection(why) => Reply::new(451, (4, 4, 1), format!("{place}: {why}")),
            Self::Tls(failure, why) => {
                return Trouble::tls(failure, format!("{place}: no TLS: {why}"));
            }
            // RFC 5321 §3.1: another of its servers may do better, or this one later.
            Self::Refused(reply) => {
                Reply::new(451, (4, 4, 1), format!("{place} refuses to talk: {reply}"))
            }
            Self::Login(why) => {
                let words = format!("{place} does not let us log in: {why}");
                tracing::error!("{words}");
                Reply::new(451, (4, 7, 8), words)
            }
            // RFC 3463 §3.5: a routing loop.
            Self::Ourselves => {
                let words = format!("{place} is this server itself: the mail would go round");
                Reply::new(550, (5, 4, 6), words)
            }
        })
    }
}

/// Answers for our client.
struct Conversation<'a> {
    relay: &'a Arc<Relay>,
    queue: &'a Arc<HostQueue>,
    /// The message under way, to all its recipients that go here.
    current: Option<Vec<Job>>,
    /// The one whose envelope went ahead.
    following: Option<Vec<Job>>,
    /// Whether the content of the current one was asked for.
    has_begun: bool,
    /// Its next chunk.
    chunk: u32,
    /// How it becomes ASCII, if it must.
    plan: Option<Plan>,
    converter: Option<Converter>,
    handed_over: usize,
    /// Whose mail was handed over.
    destinations: HashSet<Destination>,
    is_ready: bool,
    failed: Option<Failure>,
    tls: Option<String>,
    tls_failed: Option<(TlsFailure, String)>,
    exporter: Option<Vec<u8>>,
    login: Option<ClientLogin>,
    /// Whether the server could not prove that it knows the password.
    is_impostor: bool,
}

impl<'a> Conversation<'a> {
    fn new(queue: &'a Arc<HostQueue>, relay: &'a Arc<Relay>) -> Self {
        Self {
            relay,
            queue,
            current: None,
            following: None,
            has_begun: false,
            chunk: 0,
            plan: None,
            converter: None,
            handed_over: 0,
            destinations: HashSet::new(),
            is_ready: false,
            failed: None,
            tls: None,
            tls_failed: None,
            exporter: None,
            login: None,
            is_impostor: false,
        }
    }

    /// Talks until there is nothing more to say. An error only if it never came to business.
    async fn hold(
        mut self,
        stream: Box<dyn Stream>,
        tls: TlsUse,
        place: &str,
    ) -> Result<(), Broken> {
        let smarthost = self.queue.peer.smarthost.clone();
        let mut stream = stream;
        let is_secure = smarthost.as_ref().is_some_and(|host| host.tls == SmarthostTls::Implicit);
        if is_secure {
            stream = self
                .secure(stream)
                .await
                .map_err(|error| Broken::Tls(words::failure(&error), error.to_string()))?;
        }
        let name = self.relay.hostname.as_str();
        let options = Options {
            patience: self.relay.settings.get().patience,
            // A smarthost is where the operator says: another server of this machine may have its
            // name.
            refuse_namesake: smarthost.is_none(),
            login: smarthost.is_some_and(|smarthost| smarthost.login.is_some()),
            ..Options::new(name, HelloVerb::Ehlo, tls)
        };
        let mut engine = Client::new(options, is_secure);
        let relay = self.relay.clone();
        let driven = relay.driver.drive(stream, &mut engine, &mut self);
        let driven = timeout(LIFETIME, driven).await;
        let broken = match (self.failed.take(), driven) {
            (None, _) if let Some((failure, why)) = self.tls_failed.take() => {
                Broken::Tls(failure, why)
            }
            (Some(Failure::Refused(reply) | Failure::Closing(reply)), _) => Broken::Refused(reply),
            (Some(Failure::NoTls), _) => {
                let words = "it is not offered".to_owned();
                Broken::Tls(TlsFailure::StarttlsNotSupported, words)
            }
            (Some(Failure::Namesake), _) => Broken::Ourselves,
            (Some(Failure::NoLogin), _) => Broken::Login(NO_LOGIN.to_owned()),
            (Some(Failure::Login(_)), _) if self.is_impostor => Broken::Login(IMPOSTOR.to_owned()),
            (Some(Failure::Login(reply)), _) => Broken::Login(reply.to_string()),
            // It may hang up on whoever it does not let in.
            (None, _)
                if let Some(reply) = engine.login_refusal()
                    && !self.is_ready =>
            {
                Broken::Login(reply.to_string())
            }
            (Some(Failure::Protocol(_)), _) => {
                Broken::Connection("what answers there does not speak SMTP".to_owned())
            }
            (None, Ok(Ok(Ended::ByPeer | Ended::ByHost | Ended::Closed))) => {
                Broken::Connection("it closed the connection".to_owned())
            }
            (None, Ok(Ok(Ended::Interrupted(_))) | Err(_)) => {
                Broken::Connection("it took too long".to_owned())
            }
            // RFC 8446 §4.4.2.4: what the other side thinks of our certificate comes after the handshake.
            (None, Ok(Err(error))) if words::fault(&error).is_some() => {
                Broken::Tls(words::failure(&error), error.to_string())
            }
            (None, Ok(Err(error))) => Broken::Connection(error.to_string()),
        };
        if !self.is_ready {
            return Err(broken);
        }
        self.clear_up(broken.trouble(place));
        Ok(())
    }

    /// The connection is gone: what was on it goes elsewhere, or is decided by that.
    fn clear_up(&mut self, trouble: Trouble) {
        let (current, following) = (self.current.take(), self.following.take());
        if current.is_none() && following.is_none() {
            return;
        }
        self.queue.is_too_much();
        // A connection that was used before may just have been open for too long.
        let is_fresh = self.handed_over == 0;
        let mut back = Vec::new();
        for job in current.into_iter().flatten() {
            if self.has_begun {
                // It may have the message or not: to try it elsewhere now would not be better than
                // later (RFC 1047).
                let Reply { text, .. } = &trouble.reply;
                let words = format!("{text}, before it said whether it has the message");
                let reply = Reply::new(451, (4, 4, 2), words);
                let decisions = vec![Decision::ours(reply); job.item.recipients.len()];
                let found = self.found(decisions, false);
                job.finish(Ok(found));
            } else if job.retried || is_fresh {
                job.finish(Err(trouble.clone()));
            } else {
                back.push(job.again());
            }
        }
        for job in following.into_iter().flatten() {
            match job.retried {
                true => job.finish(Err(trouble.clone())),
                false => back.push(job.again()),
            }
        }
        self.queue.give_back(back);
    }

    fn found(&self, decisions: Vec<Decision>, reports: bool) -> Found {
        let name = self.queue.peer.name.clone();
        Found {
            decisions,
            host: Some(name),
            tls: self.tls.clone(),
            reports,
            is_reached: true,
            is_first: false,
        }
    }

    /// A message was decided.
    fn decided(&mut self, outcome: Outcome) {
        let Some(jobs) = self.current.take() else { return };
        self.handed_over += 1;
        if outcome.recipients.iter().all(|decision| decision.code().is_transient()) {
            self.queue.is_too_much();
        } else {
            self.queue.went_well(self.relay);
        }
        let mut decisions = outcome.recipients.into_iter();
        for job in jobs {
            let decided = decisions.by_ref().take(job.item.recipients.len()).collect();
            let mut found = self.found(decided, outcome.reports);
            found.is_first = self.destinations.insert(job.item.destination.clone());
            job.finish(Ok(found));
        }
    }

    fn begin(&mut self, jobs: Vec<Job>) -> Answer {
        let envelope = envelope(&jobs, self.relay);
        self.current = Some(jobs);
        self.has_begun = false;
        Answer::Send(envelope)
    }

    async fn next(&mut self) -> Answer {
        self.is_ready = true;
        if self.login.as_ref().is_some_and(|login| !login.is_trusted()) {
            self.failed = Some(Failure::Login(Reply::new(535, (5, 7, 8), IMPOSTOR)));
            self.is_ready = false;
        }
        if self.failed.is_some() || self.handed_over >= MESSAGES {
            return Answer::Quit;
        }
        match self.queue.next().await {
            Some(jobs) => self.begin(jobs),
            None => Answer::Quit,
        }
    }

    fn ahead(&mut self) -> Answer {
        if self.handed_over + 1 >= MESSAGES {
            return Answer::Wait;
        }
        match self.queue.try_next() {
            Some(jobs) => {
                let envelope = envelope(&jobs, self.relay);
                self.following = Some(jobs);
                Answer::Send(envelope)
            }
            None => Answer::Wait,
        }
    }

    /// The item that stands for the message under way.
    fn item(&self) -> Option<Arc<Item>> {
        let first = self.current.as_ref().and_then(|jobs| jobs.first());
        first.map(|job| job.item.clone())
    }

    async fn read(&self, item: &Item, chunk: u32) -> Option<Bytes> {
        let read = self.relay.store.chunk(item.id.content, chunk).await;
        read.ok().flatten().or_else(|| {
            tracing::error!(id = %item.id, "content of the queue cannot be read");
            None
        })
    }

    /// Whether the message can become ASCII.
    async fn survey(&mut self) -> Answer {
        let Some(item) = self.item() else { return Answer::Quit };
        let mut survey = Survey::default();
        for chunk in 0..item.chunks() {
            match self.read(&item, chunk).await {
                Some(content) => survey.push(&content),
                None => return Answer::Refuse(Reply::new(451, (4, 3, 0), "It cannot be read")),
            }
        }
        match survey.finish() {
            Ok(plan) => {
                self.plan = Some(plan);
                Answer::Convert
            }
            Err(why) => {
                let words = format!(
                    "The server takes only ASCII, and the message cannot become that: {why}"
                );
                Answer::Refuse(Reply::new(554, (5, 6, 3), words))
            }
        }
    }

    async fn content(&mut self, first: bool, converted: bool) -> Answer {
        if first {
            (self.chunk, self.has_begun) = (0, true);
            self.converter = self.plan.clone().filter(|_| converted).map(Converter::new);
        }
        let Some(item) = self.item() else { return Answer::Quit };
        if self.chunk >= item.chunks() {
            let Some(converter) = self.converter.take() else { return Answer::EndOfContent };
            let mut rest = Vec::new();
            converter.finish(&mut rest);
            return if rest.is_empty() {
                Answer::EndOfContent
            } else {
                Answer::Content(rest.into())
            };
        }
        // In the middle of the content this ends the connection, not the content.
        let Some(content) = self.read(&item, self.chunk).await else { return Answer::Quit };
        self.chunk += 1;
        match &mut self.converter {
            None => Answer::Content(content),
            Some(converter) => {
                let mut changed = Vec::with_capacity(content.len() + content.len() / 8);
                converter.push(&content, &mut changed);
                Answer::Content(changed.into())
            }
        }
    }

    fn log_in(&mut self, offered: &[String]) -> Answer {
        let login = self.queue.peer.smarthost.as_ref().and_then(|smarthost| {
            let (user, password) = smarthost.login.as_ref()?;
            // A password goes in plaintext only where the connection is known to be the server's.
            let trusted =
                matches!(&self.queue.peer.trust, Trust::Tls(verify) if *verify != Verify::Anyone);
            let exporter = self.exporter.as_deref();
            ClientLogin::strongest(offered, user, password, exporter, trusted, &*self.relay.clock)
        });
        // The engine tells why none of them will do.
        let Some((mechanism, initial, login)) = login else { return Answer::Quit };
        self.login = Some(login);
        Answer::Auth(mechanism, initial)
    }
}

/// What goes on a message's envelope, to all the recipients that go here.
fn envelope(jobs: &[Job], relay: &Relay) -> Envelope {
    let Item { envelope, octets, .. } = &*jobs[0].item;
    let now = relay.clock.now();
    let by = envelope
        .deadline
        .map(|(at, late)| DeliverBy { seconds: seconds_until(at, now), late })
        // RFC 2852 §4: what is to be returned when it is late has time left, or fails here.
        .filter(|by| by.seconds > 0 || by.late == Late::Notify);
    let waiting = jobs.iter().flat_map(|job| &job.item.recipients);
    Envelope {
        reverse_path: envelope.reverse_path.clone(),
        recipients: waiting
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
        },
    }
}

impl Host<Client> for Conversation<'_> {
    async fn answer(&mut self, question: Question) -> Answer {
        match question {
            Question::Login(offered) => self.log_in(&offered),
            Question::Challenge(challenge) => {
                let response = self.login.as_mut().and_then(|login| login.respond(&challenge));
                self.is_impostor = response.is_none();
                Answer::Respond(response)
            }
            Question::Next(outcome) => {
                if let Some(outcome) = outcome {
                    self.decided(outcome);
                }
                self.next().await
            }
            Question::Last(outcome) => {
                if let Some(outcome) = outcome {
                    self.decided(outcome);
                }
                Answer::Quit
            }
            Question::Converting => self.survey().await,
            Question::Content { first, converted } => self.content(first, converted).await,
            Question::Ahead => self.ahead(),
            Question::Done(outcome) => {
                self.decided(outcome);
                self.current = mem::take(&mut self.following);
                self.has_begun = false;
                Answer::Wait
            }
            Question::Failed(failure) => {
                self.failed = Some(failure);
                Answer::Quit
            }
        }
    }

    /// An SMTP client is sent no content.
    async fn content(&mut self, _content: &[u8]) {}

    async fn secure(&mut self, stream: Box<dyn Stream>) -> io::Result<Box<dyn Stream>> {
        let verify = match &self.queue.peer.trust {
            Trust::Tls(verify) => verify,
            Trust::Opportunistic | Trust::Plaintext => &Verify::Anyone,
        };
        match self.relay.tls.connect(stream, &self.queue.peer.name, verify).await {
            Ok((stream, negotiated)) => {
                self.tls = Some(negotiated.about);
                self.exporter = negotiated.exporter;
                Ok(stream)
            }
            Err(error) => {
                self.tls_failed = Some((words::failure(&error), error.to_string()));
                Err(error)
            }
        }
    }
}
