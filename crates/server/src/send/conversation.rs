//! What is said on one connection to a server: one message after the other is handed over.

use super::{
    Relay,
    broken::Broken,
    host_queue::{HostQueue, Job},
    peer::Trust,
    seconds_until,
    settings::SmarthostTls,
    trouble::Trouble,
    visit::Found,
};
use bytes::Bytes;
use posta_mail::{
    ForwardPath, Reply, TlsUse,
    envelope::{DeliverBy, Late, MailParameters, RecipientParameters},
};
use posta_mime::convert::{Converter, Plan, Survey};
use posta_net::{
    client_session::{ClientSession, Plaintext},
    driver::Host,
    tls::{client::Verify, failure::TlsFailure, words},
    transport::Stream,
};
use posta_smtp::{
    client::{self as smtp, Decision, Fate},
    command::HelloVerb,
};
use posta_store::{Destination, Item, StoreError};
use std::{collections::HashSet, io, mem, sync::Arc, time::Duration};
use tokio::time::timeout;

/// How long a connection may last, whatever the other side does: against one that says one octet a
/// minute for ever.
const LIFETIME: Duration = Duration::from_secs(2 * 60 * 60);

/// Messages handed over on one connection at most: several servers may share its name.
const MESSAGES: usize = 1_000;

/// What a sender is told of a message that can never be read again.
const DAMAGED: &str =
    "The message was damaged where it waited, and cannot be read any more: send it again";

/// Why a part of a message could not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unread {
    Damaged,
    ForNow,
}

/// How a server is talked to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Manner {
    pub(super) hello: HelloVerb,
    pub(super) tls: TlsUse,
    /// Why it is done without, if it was tried.
    pub(super) tls_failed: Option<TlsFailure>,
}

/// How a connection ended that had come to business.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Departure {
    /// It said goodbye, and its place was free from then on.
    Announced,
    /// It broke.
    Sudden,
}

/// Answers for our client.
pub(super) struct Conversation<'a> {
    relay: &'a Arc<Relay>,
    queue: &'a Arc<HostQueue>,
    /// The message under way, to all its recipients that go here.
    current: Option<Vec<Job>>,
    /// The one whose envelope went ahead.
    following: Option<Vec<Job>>,
    /// Its next chunk.
    chunk: u32,
    /// How it becomes ASCII, if it must.
    plan: Option<Plan>,
    converter: Option<Converter>,
    handed_over: usize,
    /// Whose mail was handed over.
    destinations: HashSet<Destination>,
    is_ready: bool,
    /// Whether the server did more with the message before than put it off, or there was none.
    went_well: bool,
    departure: Departure,
    manner: Manner,
    failed: Option<smtp::Failure>,
    tls: Option<String>,
    tls_failed: Option<Broken>,
    session: ClientSession,
    /// Whether the server could not prove that it knows the password.
    is_impostor: bool,
}

impl<'a> Conversation<'a> {
    pub(super) fn new(queue: &'a Arc<HostQueue>, relay: &'a Arc<Relay>, manner: Manner) -> Self {
        Self {
            relay,
            queue,
            current: None,
            following: None,
            chunk: 0,
            plan: None,
            converter: None,
            handed_over: 0,
            destinations: HashSet::new(),
            is_ready: false,
            went_well: true,
            departure: Departure::Sudden,
            manner,
            failed: None,
            tls: None,
            tls_failed: None,
            session: ClientSession::default(),
            is_impostor: false,
        }
    }

    /// Talks until there is nothing more to say. An error only if it never came to business.
    pub(super) async fn hold(
        mut self,
        stream: Box<dyn Stream>,
        place: &str,
    ) -> Result<Departure, Broken> {
        let smarthost = self.queue.peer.smarthost.clone();
        let mut stream = stream;
        let is_secure = smarthost.as_ref().is_some_and(|host| host.tls == SmarthostTls::Implicit);
        if is_secure {
            stream = match self.secure(stream).await {
                Ok(stream) => stream,
                Err(error) => return Err(self.no_tls(&error)),
            };
        }
        let name = self.relay.hostname.as_str();
        let options = smtp::Options {
            patience: self.relay.settings.get().patience,
            // A smarthost is where the operator says: another server of this machine may have its
            // name.
            refuse_namesake: smarthost.is_none(),
            login: smarthost.is_some_and(|smarthost| smarthost.login.is_some()),
            ..smtp::Options::new(name, self.manner.hello, self.manner.tls)
        };
        let mut engine = smtp::Client::new(options, is_secure);
        let relay = self.relay.clone();
        let driven = relay.driver.drive(stream, &mut engine, &mut self);
        let driven = timeout(LIFETIME, driven).await.ok();
        let broken = match (self.failed.take(), self.tls_failed.take()) {
            (None, Some(broken)) => broken,
            (Some(smtp::Failure::Login(_)), _) if self.is_impostor => Broken::impostor(),
            (Some(failure), _) => Broken::failed(failure, &engine),
            (None, None) => Broken::ended(driven, &engine),
        };
        if !self.is_ready {
            return Err(broken);
        }
        self.clear_up(broken.trouble(place), engine.unfinished().unwrap_or_default());
        Ok(self.departure)
    }

    /// Why there is no TLS, and what the operator can do about it where the server is the operator's choice.
    fn no_tls(&self, error: &io::Error) -> Broken {
        let failure = words::failure(error);
        let cure = match (&self.queue.peer.smarthost, failure.is_unknown_issuer()) {
            (Some(_), true) => "; if it is the right one, list it in `tls.authorities`",
            _ => "",
        };
        Broken::Tls(failure, format!("{error}{cure}"))
    }

    /// The connection is gone: what was on it goes elsewhere, or is decided by what is known of it.
    fn clear_up(&mut self, trouble: Trouble, fates: Vec<Fate>) {
        let (current, following) = (self.current.take(), self.following.take());
        if current.is_none() && following.is_none() {
            return;
        }
        self.queue.is_too_much();
        // A connection that was used before may just have been open for too long.
        let is_fresh = self.handed_over == 0;
        let mut back = Vec::new();
        let mut fates = fates.into_iter();
        for job in current.into_iter().flatten() {
            let fates: Vec<_> = fates.by_ref().take(job.item.recipients.len()).collect();
            if fates.iter().any(|fate| *fate != Fate::Open) {
                let found = self.cut_off(&trouble, fates);
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

    /// Returns what is known of each recipient when the connection breaks in the middle of a message.
    fn cut_off(&self, trouble: &Trouble, fates: Vec<Fate>) -> Found {
        // Those may have it or not: to try them elsewhere now would not be better than later (RFC 1047).
        let in_doubt: Vec<bool> = fates.iter().map(|fate| *fate == Fate::Unknown).collect();
        let decisions = fates.into_iter().map(|fate| match fate {
            Fate::Decided(decision) => decision,
            Fate::Open => trouble.decision.clone(),
            Fate::Unknown => {
                let Reply { text, .. } = &trouble.decision.reply;
                let words = format!("{text}, before it said whether it has the message");
                Decision::ours(Reply::new(451, (4, 4, 2), words))
            }
        });
        let mut found = self.found(decisions.collect(), false);
        found.elsewhere.retain(|&index| !in_doubt[index]);
        found
    }

    fn found(&self, decisions: Vec<Decision>, reports: bool) -> Found {
        let name = self.queue.peer.name.clone();
        // What it refuses for now, and what it is not fit for, another may take (RFC 8689 §4.2.1 asks for
        // that where REQUIRETLS is missing).
        let is_open = |(_, decision): &(usize, &Decision)| {
            decision.code().is_transient() || !decision.is_answer
        };
        let elsewhere = decisions.iter().enumerate().filter(is_open).map(|(index, _)| index);
        Found {
            elsewhere: elsewhere.collect(),
            decisions,
            host: Some(name),
            tls: self.tls.clone(),
            tls_failed: self.manner.tls_failed,
            reports,
            is_reached: true,
            is_first: false,
        }
    }

    /// A message was decided.
    fn decided(&mut self, outcome: smtp::Outcome) {
        let Some(jobs) = self.current.take() else { return };
        self.handed_over += 1;
        let is_put_off = outcome.recipients.iter().all(|decision| decision.code().is_transient());
        self.went_well = !is_put_off;
        if is_put_off {
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

    fn begin(&mut self, jobs: Vec<Job>) -> smtp::Next {
        let envelope = envelope(&jobs, self.relay);
        self.current = Some(jobs);
        smtp::Next::Send(envelope)
    }

    async fn next(&mut self) -> smtp::Next {
        self.is_ready = true;
        if !self.session.is_trusted() {
            self.failed = Some(smtp::Failure::Login(Reply::new(535, (5, 7, 8), "")));
            (self.is_ready, self.is_impostor) = (false, true);
            return smtp::Next::Quit;
        }
        if self.handed_over >= MESSAGES {
            self.leave();
            return smtp::Next::Quit;
        }
        // A server that puts everything off is not held on to: the next attempt is its own.
        let jobs = match self.went_well {
            true => self.queue.next().await,
            false => self.queue.try_next(),
        };
        match jobs {
            Some(jobs) => self.begin(jobs),
            None => {
                self.leave();
                smtp::Next::Quit
            }
        }
    }

    /// Says goodbye. Whether the server answers that concerns nobody who comes now.
    fn leave(&mut self) {
        self.queue.leaves(self.relay);
        self.departure = Departure::Announced;
    }

    fn ahead(&mut self) -> Option<smtp::Envelope> {
        if self.handed_over + 1 >= MESSAGES {
            return None;
        }
        let jobs = self.queue.try_next()?;
        let envelope = envelope(&jobs, self.relay);
        self.following = Some(jobs);
        Some(envelope)
    }

    /// The item that stands for the message under way.
    fn item(&self) -> Option<Arc<Item>> {
        let first = self.current.as_ref().and_then(|jobs| jobs.first());
        first.map(|job| job.item.clone())
    }

    async fn read(&self, item: &Item, chunk: u32) -> Result<Bytes, Unread> {
        match self.relay.store.chunk(item.id.content, chunk).await {
            Ok(Some(content)) => Ok(content),
            Ok(None) | Err(StoreError::Damaged(_)) => {
                tracing::error!(id = %item.id, "a message of the queue is damaged: its sender is told");
                Err(Unread::Damaged)
            }
            Err(error) => {
                tracing::error!(%error, id = %item.id, "content of the queue cannot be read now");
                Err(Unread::ForNow)
            }
        }
    }

    /// Ends the connection in the middle of a content, or before it, so that nobody takes a part for the
    /// whole. A message that is damaged fails at once: no other server and no later time helps it.
    fn break_off(&mut self, why: Unread) -> smtp::Piece {
        if why == Unread::Damaged {
            for job in self.current.take().into_iter().flatten() {
                let decision = Decision::ours(Reply::new(554, (5, 3, 0), DAMAGED));
                let decisions = vec![decision; job.item.recipients.len()];
                job.finish(Ok(Found::here(decisions)));
            }
        }
        smtp::Piece::BreakOff
    }

    /// Whether the message can become ASCII.
    async fn survey(&mut self) -> smtp::Conversion {
        let for_now = || Reply::new(451, (4, 3, 0), "It cannot be read");
        let item = self.item().ok_or_else(for_now)?;
        let mut survey = Survey::default();
        for chunk in 0..item.chunks() {
            match self.read(&item, chunk).await {
                Ok(content) => survey.push(&content),
                Err(Unread::Damaged) => return Err(Reply::new(554, (5, 3, 0), DAMAGED)),
                Err(Unread::ForNow) => return Err(for_now()),
            }
        }
        match survey.finish() {
            Ok(plan) => {
                self.plan = Some(plan);
                Ok(())
            }
            Err(why) => {
                let words = format!(
                    "The server takes only ASCII, and the message cannot become that: {why}"
                );
                Err(Reply::new(554, (5, 6, 3), words))
            }
        }
    }

    async fn content(&mut self, first: bool, converted: bool) -> smtp::Piece {
        if first {
            self.chunk = 0;
            self.converter = self.plan.clone().filter(|_| converted).map(Converter::new);
        }
        let Some(item) = self.item() else { return smtp::Piece::BreakOff };
        if self.chunk >= item.chunks() {
            let Some(converter) = self.converter.take() else { return smtp::Piece::End };
            let mut rest = Vec::new();
            converter.finish(&mut rest);
            return if rest.is_empty() {
                smtp::Piece::End
            } else {
                smtp::Piece::Content(rest.into())
            };
        }
        let content = match self.read(&item, self.chunk).await {
            Ok(content) => content,
            Err(why) => return self.break_off(why),
        };
        self.chunk += 1;
        match &mut self.converter {
            None => smtp::Piece::Content(content),
            Some(converter) => {
                let mut changed = Vec::with_capacity(content.len() + content.len() / 8);
                converter.push(&content, &mut changed);
                smtp::Piece::Content(changed.into())
            }
        }
    }

    fn log_in(&mut self, offered: &[String]) -> smtp::Login {
        let smarthost = self.queue.peer.smarthost.as_ref();
        let Some((user, password)) = smarthost.and_then(|smarthost| smarthost.login.as_ref())
        else {
            return smtp::Login::GiveUp;
        };
        let clock = &*self.relay.clock;
        let begun =
            self.session.begin_login(offered, (user, password), Plaintext::ToVerified, clock);
        // The engine tells why none of them will do.
        begun.map_or(smtp::Login::GiveUp, smtp::Login::Auth)
    }
}

/// What goes on a message's envelope, to all the recipients that go here.
fn envelope(jobs: &[Job], relay: &Relay) -> smtp::Envelope {
    let Item { envelope, octets, .. } = &*jobs[0].item;
    let now = relay.clock.now();
    let by = envelope
        .deadline
        .map(|(at, late)| DeliverBy { seconds: seconds_until(at, now), late })
        // RFC 2852 §4: what is to be returned when it is late has time left, or fails here.
        .filter(|by| by.seconds > 0 || by.late == Late::Notify);
    let waiting = jobs.iter().flat_map(|job| &job.item.recipients);
    smtp::Envelope {
        reverse_path: envelope.reverse_path.clone(),
        recipients: waiting
            .map(|waiting| smtp::Recipient {
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

impl Host<smtp::Client> for Conversation<'_> {
    async fn answer(&mut self, question: smtp::Question) -> smtp::Answer {
        match question {
            smtp::Question::Login(offered, ticket) => ticket.answer(self.log_in(&offered)),
            smtp::Question::Challenge(challenge, ticket) => {
                let response = self.session.respond(&challenge);
                self.is_impostor = response.is_none();
                ticket.answer(response)
            }
            smtp::Question::Next(outcome, ticket) => {
                if let Some(outcome) = outcome {
                    self.decided(outcome);
                }
                ticket.answer(self.next().await)
            }
            smtp::Question::Last(outcome, ticket) => {
                if let Some(outcome) = outcome {
                    self.decided(outcome);
                }
                self.leave();
                ticket.answer(())
            }
            smtp::Question::Convert(ticket) => ticket.answer(self.survey().await),
            smtp::Question::Content { first, converted, ticket } => {
                ticket.answer(self.content(first, converted).await)
            }
            smtp::Question::Ahead(ticket) => ticket.answer(self.ahead()),
            smtp::Question::Done(outcome, ticket) => {
                self.decided(outcome);
                self.current = mem::take(&mut self.following);
                ticket.answer(())
            }
            smtp::Question::Failed(failure, ticket) => {
                self.failed = Some(failure);
                ticket.answer(())
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
        let name = &self.queue.peer.name;
        match self.session.secure(stream, &self.relay.tls, name, verify).await {
            Ok((stream, about)) => {
                self.tls = Some(about);
                Ok(stream)
            }
            Err(error) => {
                self.tls_failed = Some(self.no_tls(&error));
                Err(error)
            }
        }
    }
}
