//! One SMTP session with another server, in which one message after the other is handed over. It answers
//! the questions of the SMTP client engine: what to send next, how to log in, how to convert.
//! `connection.rs` starts it.

mod outgoing_content;

use super::{
    Relay,
    connection_failure::ConnectionFailure,
    host_failure::HostFailure,
    host_queue::{HostQueue, Job},
    offer::OfferOutcome,
    peer::Protection,
    seconds_until,
    settings::SmarthostTls,
};
use crate::limits::term::Term;
use outgoing_content::{DAMAGED, OutgoingContent, ReadFailure};
use posta_mail::{
    ForwardPath, Reply, TlsUse,
    envelope::{DeliverBy, Late, MailParameters, RecipientParameters},
};
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
use posta_store::{Destination, Item};
use std::{collections::HashSet, io, mem, sync::Arc, time::Duration};
use tokio::time::timeout;

/// The maximal duration of a connection, since a server could send one octet a minute for ever.
const LIFETIME: Duration = Duration::from_secs(2 * 60 * 60);

/// The maximal number of messages on one connection: several servers may share the name, and each should
/// get its part.
const MESSAGES: usize = 1_000;

/// The features with which a session is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ConnectionMode {
    pub(super) hello: HelloVerb,
    pub(super) tls: TlsUse,
    /// The failure of TLS, if TLS was tried and is now left out.
    pub(super) tls_failed: Option<TlsFailure>,
}

/// The way in which a session ended after mail could be offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Departure {
    /// With QUIT. Another connection could take its place from that moment.
    Announced,
    /// The connection broke.
    Sudden,
}

/// The host of one session: answers the engine's questions.
pub(super) struct Conversation<'a> {
    relay: &'a Arc<Relay>,
    queue: &'a Arc<HostQueue>,
    /// The current message: its items for this server.
    current: Option<Vec<Job>>,
    /// The next message, whose envelope was already sent (pipelined).
    following: Option<Vec<Job>>,
    /// Reads the current message, and converts it if the server needs that.
    content: OutgoingContent<'a>,
    /// The number of messages that were handed over on this connection.
    handed_over: usize,
    /// The destinations whose mail was handed over on this connection.
    destinations: HashSet<Destination>,
    /// Whether the session has reached the point where mail can be offered.
    is_ready: bool,
    /// Whether the server accepted or rejected the last message, rather than deferring it; true before
    /// the first message.
    went_well: bool,
    departure: Departure,
    /// Whether this server ended the session, since it could not read the message: that is no fault of the other's.
    is_broken_off: bool,
    manner: ConnectionMode,
    failed: Option<smtp::Failure>,
    tls: Option<String>,
    tls_failed: Option<ConnectionFailure>,
    session: ClientSession,
    /// Whether the server failed to prove that it knows the password.
    is_impostor: bool,
}

impl<'a> Conversation<'a> {
    pub(super) fn new(
        queue: &'a Arc<HostQueue>,
        relay: &'a Arc<Relay>,
        manner: ConnectionMode,
    ) -> Self {
        Self {
            relay,
            queue,
            current: None,
            following: None,
            content: OutgoingContent::new(relay),
            handed_over: 0,
            destinations: HashSet::new(),
            is_ready: false,
            went_well: true,
            departure: Departure::Sudden,
            is_broken_off: false,
            manner,
            failed: None,
            tls: None,
            tls_failed: None,
            session: ClientSession::default(),
            is_impostor: false,
        }
    }

    /// Holds the session until no mail waits for this server.
    ///
    /// # Errors
    /// When no mail could be offered.
    pub(super) async fn hold(
        mut self,
        stream: Box<dyn Stream>,
        place: &str,
    ) -> Result<Departure, ConnectionFailure> {
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
            // A smarthost is where the operator says, and may be another server on this machine with the
            // same name.
            refuse_namesake: smarthost.is_none(),
            login: smarthost.is_some_and(|smarthost| smarthost.login.is_some()),
            ..smtp::Options::new(name, self.manner.hello, self.manner.tls)
        };
        let mut engine = smtp::Client::new(options, is_secure);
        let relay = self.relay.clone();
        let term = Term::present(&relay.store);
        let driven = tokio::select! {
            biased;
            // Not another octet of what may be on its way from another node.
            () = term.ended() => None,
            driven = timeout(LIFETIME, relay.driver.drive(stream, &mut engine, &mut self)) => Some(driven.ok()),
        };
        let Some(driven) = driven else {
            self.give_up();
            return Ok(Departure::Sudden);
        };
        let broken = match (self.failed.take(), self.tls_failed.take()) {
            (None, Some(broken)) => broken,
            (Some(smtp::Failure::Login(_)), _) if self.is_impostor => ConnectionFailure::impostor(),
            (Some(failure), _) => ConnectionFailure::failed(failure, &engine),
            (None, None) => ConnectionFailure::ended(driven, &engine),
        };
        if !self.is_ready {
            return Err(broken);
        }
        self.clear_up(broken.host_failure(place), engine.unfinished().unwrap_or_default());
        Ok(self.departure)
    }

    /// Returns the failure of TLS and, if the server is a smarthost, the operator's remedy.
    fn no_tls(&self, error: &io::Error) -> ConnectionFailure {
        let failure = words::failure(error);
        let cure = match (&self.queue.peer.smarthost, failure.is_unknown_issuer()) {
            (Some(_), true) => "; if it is the right one, list it in `tls.authorities`",
            _ => "",
        };
        ConnectionFailure::Tls(failure, format!("{error}{cure}"))
    }

    /// Drops the messages that may be another node's by now: those of this session, and those that wait for one.
    fn give_up(&mut self) {
        (self.current, self.following) = (None, None);
        self.queue.drop_lost();
    }

    /// Handles the messages that were on a connection when it ended. They go back to the queue, or are
    /// decided by what is known of each recipient.
    fn clear_up(&mut self, trouble: HostFailure, fates: Vec<Fate>) {
        let (current, following) = (self.current.take(), self.following.take());
        if current.is_none() && following.is_none() {
            return;
        }
        if !self.is_broken_off {
            self.queue.allow_fewer();
        }
        // A connection that was used before may simply have been idle for too long.
        let is_fresh = self.handed_over == 0;
        let mut back = Vec::new();
        let mut fates = fates.into_iter();
        for job in current.into_iter().flatten() {
            let fates: Vec<_> = fates.by_ref().take(job.item.recipients.len()).collect();
            if fates.iter().any(|fate| *fate != Fate::Open) {
                let found = self.cut_off(&trouble, fates);
                job.finish(Ok(found));
            } else if job.retried || is_fresh {
                let found = match self.is_broken_off {
                    true => Ok(OfferOutcome::unreadable(&job.item)),
                    false => Err(trouble.clone()),
                };
                job.finish(found);
            } else {
                back.push(job.retry());
            }
        }
        for job in following.into_iter().flatten() {
            match (self.is_broken_off, job.retried) {
                // It has nothing to do with the message that could not be read.
                (true, _) => back.push(job),
                (false, true) => job.finish(Err(trouble.clone())),
                (false, false) => back.push(job.retry()),
            }
        }
        self.queue.give_back(back);
    }

    /// Returns what is known of each recipient after the connection broke in the middle of a message.
    fn cut_off(&self, trouble: &HostFailure, fates: Vec<Fate>) -> OfferOutcome {
        // The server may have accepted these recipients, so trying other servers at once gains nothing
        // (RFC 1047).
        let in_doubt: Vec<bool> = fates.iter().map(|fate| *fate == Fate::Unknown).collect();
        let decisions = fates.into_iter().map(|fate| match fate {
            Fate::Decided(decision) => decision,
            Fate::Open => trouble.decision.clone(),
            Fate::Unknown => {
                let Reply { text, .. } = &trouble.decision.reply;
                let words = format!("{text}, before it said whether it had accepted the message");
                Decision::ours(Reply::new(451, (4, 4, 2), words))
            }
        });
        let mut found = self.found(decisions.collect(), false);
        found.elsewhere.retain(|&index| !in_doubt[index]);
        found
    }

    fn found(&self, decisions: Vec<Decision>, reports: bool) -> OfferOutcome {
        let name = self.queue.peer.name.clone();
        // Another server may accept what this one refuses for now, or have an extension that this one
        // lacks (RFC 8689 §4.2.1 requires that attempt where REQUIRETLS is missing).
        let is_open = |(_, decision): &(usize, &Decision)| {
            decision.code().is_transient() || !decision.is_answer
        };
        let elsewhere = decisions.iter().enumerate().filter(is_open).map(|(index, _)| index);
        OfferOutcome {
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

    /// Ends the jobs of the current message with the server's decisions.
    fn decided(&mut self, outcome: smtp::Outcome) {
        let Some(jobs) = self.current.take() else { return };
        self.handed_over += 1;
        let is_put_off = outcome.recipients.iter().all(|decision| decision.code().is_transient());
        self.went_well = !is_put_off;
        if is_put_off {
            self.queue.allow_fewer();
        } else {
            self.queue.allow_more(self.relay);
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
        // No connection is held open to a server that defers everything.
        let jobs = match self.went_well {
            true => self.queue.next(self.relay, self.handed_over == 0).await,
            false => self.queue.try_next(self.relay),
        };
        match jobs {
            Some(jobs) => self.begin(jobs),
            None => {
                self.leave();
                smtp::Next::Quit
            }
        }
    }

    /// Ends the session with QUIT. Its place is free at once, whether or not the server answers.
    fn leave(&mut self) {
        self.queue.leave(self.relay);
        self.departure = Departure::Announced;
    }

    fn ahead(&mut self) -> Option<smtp::Envelope> {
        if self.handed_over + 1 >= MESSAGES {
            return None;
        }
        let jobs = self.queue.try_next(self.relay)?;
        let envelope = envelope(&jobs, self.relay);
        self.following = Some(jobs);
        Some(envelope)
    }

    /// Returns one of the items of the current message; all have the same content.
    fn item(&self) -> Option<Arc<Item>> {
        let first = self.current.as_ref().and_then(|jobs| jobs.first());
        first.map(|job| job.item.clone())
    }

    /// Ends the connection before or in the middle of the content, so that the server does not take a
    /// part for the whole. A damaged message fails at once, since neither another server nor a later
    /// attempt would help.
    fn break_off(&mut self, why: ReadFailure) -> smtp::Piece {
        self.is_broken_off = true;
        if why == ReadFailure::Damaged {
            for job in self.current.take().into_iter().flatten() {
                let decision = Decision::ours(Reply::new(554, (5, 3, 0), DAMAGED));
                let decisions = vec![decision; job.item.recipients.len()];
                job.finish(Ok(OfferOutcome::decided_here(decisions)));
            }
        }
        smtp::Piece::BreakOff
    }

    /// Returns the next piece of the current message. `first`: the message begins. `converted`: as ASCII.
    async fn content(&mut self, first: bool, converted: bool) -> smtp::Piece {
        if first {
            self.content.begin(converted);
        }
        let Some(item) = self.item() else { return smtp::Piece::BreakOff };
        match self.content.next(&item).await {
            Ok(piece) => piece,
            Err(why) => self.break_off(why),
        }
    }

    /// Finds out whether the current message can be converted to ASCII.
    async fn survey(&mut self) -> smtp::Conversion {
        let item = self.item().ok_or_else(|| Reply::new(451, (4, 3, 0), "It cannot be read"))?;
        self.content.survey(&item).await
    }

    fn log_in(&mut self, offered: &[String]) -> smtp::LoginChoice {
        let smarthost = self.queue.peer.smarthost.as_ref();
        let Some((user, password)) = smarthost.and_then(|smarthost| smarthost.login.as_ref())
        else {
            return smtp::LoginChoice::GiveUp;
        };
        let clock = &*self.relay.clock;
        let begun =
            self.session.begin_login(offered, (user, password), Plaintext::ToVerified, clock);
        // The engine reports why no mechanism can be used.
        begun.map_or(smtp::LoginChoice::GiveUp, smtp::LoginChoice::Auth)
    }
}

/// Returns the envelope of a message, with all the recipients for this server.
fn envelope(jobs: &[Job], relay: &Relay) -> smtp::Envelope {
    let Item { envelope, octets, .. } = &*jobs[0].item;
    let now = relay.clock.now();
    let by = envelope
        .deadline
        .map(|(at, late)| DeliverBy { seconds: seconds_until(at, now), late })
        // RFC 2852 §4: a message that has to be returned when late is not sent on without time left.
        .filter(|by| by.seconds > 0 || by.late == Late::Notify);
    let waiting = jobs.iter().flat_map(|job| &job.item.recipients);
    smtp::Envelope {
        reverse_path: envelope.reverse_path.clone(),
        recipients: waiting
            .map(|waiting| smtp::EnvelopeRecipient {
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

    /// An SMTP client receives no content.
    async fn content(&mut self, _content: &[u8]) {}

    async fn secure(&mut self, stream: Box<dyn Stream>) -> io::Result<Box<dyn Stream>> {
        let verify = match &self.queue.peer.protection {
            Protection::Tls(verify) => verify,
            Protection::Opportunistic | Protection::Plaintext => &Verify::Anyone,
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
