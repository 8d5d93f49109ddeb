//! One visit to a POP3 server: the answers to the client engine's questions. `collect` makes one for
//! each visit.

use super::{
    CollectContext, CollectError, Destination, FetchOutcome, VisitOutcome,
    remote_messages::RemoteMessages,
};
use posta_mail::{Secret, Timestamp};
use posta_net::{
    client_session::{ClientSession, Plaintext},
    driver::Host,
    transport::Stream,
};
use posta_pop3::{
    UniqueIds,
    client::{self as pop3, Pop3Request},
};
use posta_store::{Keep, Login, LoginTls};
use std::{
    collections::{BTreeMap, HashSet},
    io, mem,
    time::Duration,
};
use tokio::task::{spawn_blocking, yield_now};

/// The numbers of messages and of octets after which collected mail is made durable.
const BATCH: u64 = 100;
const BATCH_OCTETS: u64 = 16 * 1024 * 1024;

/// The mechanisms by which a server may find the password wrong before no other is tried.
const WRONG_PASSWORDS: usize = 2;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// The number of unique-ids that are forgotten together.
const FORGOTTEN: usize = 1_000;

/// The number of messages that are looked up before other tasks have a turn: some hundred microseconds.
const LOOKED_UP: usize = 512;

/// The number of messages above which unique-ids are compared on a thread of their own.
const MANY: usize = 10_000;

/// Lets other tasks run from time to time during a walk over all messages.
async fn yield_sometimes(index: usize) {
    if index % LOOKED_UP == LOOKED_UP - 1 {
        yield_now().await;
    }
}

pub(super) struct Session<'v, D> {
    context: &'v CollectContext,
    pub(super) login: &'v Login,
    pub(super) password: &'v Secret,
    keep: Keep,
    destination: &'v mut D,
    pub(super) connection: ClientSession,
    /// The server's text when it refused a mechanism. If the server then closes the connection, this is
    /// the reason.
    refusal: Option<String>,
    /// The number of mechanisms by which the server has found the password wrong.
    wrong_passwords: usize,
    is_logged_in: bool,
    /// Whether the server has sent anything.
    pub(super) heard: bool,
    /// Whether the visit ends after the login.
    is_for_login: bool,
    known: BTreeMap<String, Timestamp>,
    /// The messages on the server, and the state of each.
    messages: RemoteMessages,
    /// The index of the next message to decide about: first whether to fetch it, then whether to remove
    /// it.
    next: usize,
    /// The index of the message that was requested last.
    current: usize,
    /// The number of octets of the current message so far.
    octets: u64,
    /// The numbers of messages and octets that are not durable yet.
    unsafe_messages: u64,
    unsafe_octets: u64,
    outcome: VisitOutcome,
    end: Option<Result<(), CollectError>>,
}

impl<'v, D: Destination> Session<'v, D> {
    pub(super) fn new(
        context: &'v CollectContext,
        (login, password): (&'v Login, &'v Secret),
        keep: Keep,
        destination: &'v mut D,
    ) -> Self {
        Self {
            context,
            login,
            password,
            keep,
            destination,
            connection: ClientSession::default(),
            refusal: None,
            wrong_passwords: 0,
            is_logged_in: false,
            heard: false,
            is_for_login: false,
            known: BTreeMap::new(),
            messages: RemoteMessages::nothing(),
            next: 0,
            current: 0,
            octets: 0,
            unsafe_messages: 0,
            unsafe_octets: 0,
            outcome: VisitOutcome::default(),
            end: None,
        }
    }

    /// Makes the visit end after the login.
    pub(super) fn for_login(self) -> Self {
        Self { is_for_login: true, ..self }
    }

    /// Returns the result of the visit, and how it ended, if that is known.
    pub(super) fn ended(self) -> (VisitOutcome, Option<Result<(), CollectError>>) {
        let refusal = self.refusal.filter(|_| !self.is_logged_in);
        (self.outcome, self.end.or_else(|| Some(Err(CollectError::Refused(refusal?)))))
    }

    /// Chooses the strongest mechanism of those offered that the server has not refused yet, in the end USER. A
    /// password in plaintext is allowed, since the user chose a connection without TLS.
    ///
    /// A server may refuse by one mechanism what it accepts by another, but a password that two have found wrong is
    /// wrong. Each further one would be another failed login, and too many of these lock the client out.
    fn log_in(&mut self, offered: &[String], refused: Option<String>) -> pop3::LoginChoice {
        if self.connection.is_impostor() {
            self.end = Some(Err(CollectError::Impostor));
            return pop3::LoginChoice::GiveUp;
        }
        if let Some(words) = &refused
            && is_about_credentials(words)
            && self.connection.is_password_shown()
        {
            self.wrong_passwords += 1;
        }
        self.refusal = refused;
        if self.wrong_passwords >= WRONG_PASSWORDS {
            let words = self.refusal.clone().unwrap_or_default();
            self.end = Some(Err(CollectError::Refused(words)));
            return pop3::LoginChoice::GiveUp;
        }
        let credentials = (self.login.user.as_str(), self.password);
        let clock = &*self.context.clock;
        let begun = self.connection.begin_login(offered, credentials, Plaintext::ToAnyone, clock);
        begun.map_or(pop3::LoginChoice::User, pop3::LoginChoice::Auth)
    }

    async fn logged_in(&mut self) -> Result<Pop3Request, CollectError> {
        if !self.connection.is_trusted() {
            return Err(CollectError::Impostor);
        }
        self.is_logged_in = true;
        if self.is_for_login {
            return Ok(Pop3Request::Quit);
        }
        self.known = self.destination.known().await.map_err(CollectError::Destination)?;
        Ok(Pop3Request::Uidl)
    }

    async fn unique_ids(
        &mut self,
        ids: Result<UniqueIds, String>,
    ) -> Result<Pop3Request, CollectError> {
        match ids {
            Ok(ids) if ids.len() >= MANY => {
                let compare = spawn_blocking(|| RemoteMessages::with_unique_ids(ids));
                let messages = compare.await.map_err(io::Error::other);
                self.choose(messages.map_err(CollectError::Destination)?).await
            }
            Ok(ids) => self.choose(RemoteMessages::with_unique_ids(ids)).await,
            Err(_) if self.needs_names() => Err(CollectError::NoUniqueIds),
            Err(_) => Ok(Pop3Request::Stat),
        }
    }

    async fn sizes(&mut self, sizes: &[(u32, u64)]) -> Result<Pop3Request, CollectError> {
        self.messages.limit(sizes, self.context.message_size);
        self.record_left_messages();
        self.destination.expect(self.wanted());
        self.fetch().await
    }

    async fn retrieved(
        &mut self,
        retrieved: Result<(), String>,
    ) -> Result<Pop3Request, CollectError> {
        if let Err(words) = retrieved {
            // The other messages can still be fetched.
            self.outcome.refused += 1;
            self.outcome.leave(&self.messages.name(self.current), &words);
            return self.fetch().await;
        }
        match self.destination.end().await.map_err(CollectError::Destination)? {
            FetchOutcome::Kept => {
                self.messages.fetched(self.current);
                self.unsafe_messages += 1;
            }
            FetchOutcome::Refused(words) => {
                self.outcome.not_taken += 1;
                self.outcome.leave(&self.messages.name(self.current), &words);
            }
        }
        if self.unsafe_messages >= BATCH || self.unsafe_octets >= BATCH_OCTETS {
            self.make_safe().await?;
        }
        self.fetch().await
    }

    async fn deleted(&mut self, deleted: Result<(), String>) -> Pop3Request {
        if deleted.is_ok() {
            self.messages.marked(self.current);
        }
        self.mark().await
    }

    /// Returns the next request. After an error the marks are reset, so that QUIT removes nothing.
    fn request(&mut self, next: Result<Pop3Request, CollectError>) -> Pop3Request {
        next.unwrap_or_else(|error| {
            self.end = Some(Err(error));
            Pop3Request::Rset
        })
    }

    /// Begins to fetch the messages that are not known, if there are any.
    async fn choose(&mut self, messages: RemoteMessages) -> Result<Pop3Request, CollectError> {
        self.messages = messages;
        for index in 0..self.messages.len() {
            yield_sometimes(index).await;
            if self.is_here(index) {
                self.messages.known(index);
            }
        }
        if self.wanted() == 0 {
            self.record_left_messages();
            return self.fetch().await;
        }
        Ok(Pop3Request::List)
    }

    /// Returns the number of messages to fetch.
    fn wanted(&self) -> u64 {
        (0..self.messages.len()).filter(|&index| self.is_wanted(index)).count() as u64
    }

    /// Returns whether each message must have a unique-id, because a message that stays on the server
    /// must be known at the next visit.
    fn needs_names(&self) -> bool {
        self.keep != Keep::Nothing && self.destination.remembers()
    }

    /// Returns whether to fetch a message: it is not known yet, it will be known if it stays on the
    /// server, and it is not too large.
    fn is_wanted(&self, index: usize) -> bool {
        !self.messages.is_known(index)
            && !self.is_nameless(index)
            && !self.messages.is_too_large(index)
    }

    /// Returns whether a message was fetched before.
    fn is_here(&self, index: usize) -> bool {
        let id = self.messages.unique_id(index).map(|id| self.destination.known_as(id));
        // A message that will be removed must certainly have been fetched.
        let is_certain = self.keep != Keep::Nothing || self.messages.is_unique(index);
        is_certain && id.is_some_and(|id| self.known.contains_key(&*id))
    }

    fn is_nameless(&self, index: usize) -> bool {
        self.needs_names() && self.messages.unique_id(index).is_none()
    }

    fn record_left_messages(&mut self) {
        let (count, lines) = self.messages.nameless_lines();
        self.outcome.nameless += count;
        for line in lines {
            self.outcome
                .leave("a line of the server's list", &format!("{line:?} names no message"));
        }
        for index in 0..self.messages.len() {
            if self.messages.is_known(index) {
                continue;
            }
            let (count, why) = if self.is_nameless(index) {
                (&mut self.outcome.nameless, "the server gives it no unique-id")
            } else if self.messages.is_too_large(index) {
                (&mut self.outcome.too_large, "it is too large")
            } else {
                continue;
            };
            *count += 1;
            self.outcome.leave(&self.messages.name(index), why);
        }
    }

    async fn fetch(&mut self) -> Result<Pop3Request, CollectError> {
        while self.next < self.messages.len() {
            let index = self.next;
            self.next += 1;
            if !self.is_wanted(index) {
                continue;
            }
            // If messages stay on the server, only the first of those that share a unique-id is fetched,
            // so that the others do not come again and again. Otherwise all are fetched.
            let names = self.messages.is_unique(index)
                || self.keep != Keep::Nothing && !self.messages.repeats(index);
            let unique_id = self.messages.unique_id(index).filter(|_| names);
            let begun = self.destination.begin(unique_id).await;
            begun.map_err(CollectError::Destination)?;
            self.octets = 0;
            self.current = index;
            return Ok(Pop3Request::Retr(self.messages.number(index)));
        }
        self.make_safe().await?;
        self.next = 0;
        Ok(self.mark().await)
    }

    /// Returns whether a message is to be removed: it is durable here, and has stayed on the server long
    /// enough.
    fn is_doomed(&self, index: usize) -> bool {
        let days = match self.keep {
            Keep::All => return false,
            Keep::Nothing => 0,
            Keep::Days(days) => days,
        };
        let is_certain = self.messages.is_known(index) && self.messages.is_unique(index);
        let id = self.messages.unique_id(index).filter(|_| is_certain);
        let since = id.and_then(|id| self.known.get(&*self.destination.known_as(id)));
        let is_due = |since: &Timestamp| *since + DAY * days <= self.context.clock.now();
        self.messages.is_fetched(index) && days == 0 || since.is_some_and(is_due)
    }

    async fn mark(&mut self) -> Pop3Request {
        while self.next < self.messages.len() {
            let index = self.next;
            yield_sometimes(index).await;
            self.next += 1;
            if self.is_doomed(index) {
                self.current = index;
                return Pop3Request::Dele(self.messages.number(index));
            }
        }
        Pop3Request::Quit
    }

    async fn make_safe(&mut self) -> Result<(), CollectError> {
        if self.unsafe_messages > 0 {
            self.destination.sync().await.map_err(CollectError::Destination)?;
            self.outcome.messages += mem::take(&mut self.unsafe_messages);
            self.unsafe_octets = 0;
        }
        Ok(())
    }

    /// Ends the visit for the destination: complete messages become durable, an incomplete one is
    /// dropped.
    pub(super) async fn close(&mut self) -> Result<(), CollectError> {
        if matches!(self.end, Some(Ok(()))) {
            return Ok(());
        }
        self.destination.abandon().await.map_err(CollectError::Destination)?;
        self.make_safe().await
    }

    /// Forgets the unique-ids of messages that are gone: those that the server has removed now, and
    /// those that others have removed. A malformed line may stand for a message that is still there, so
    /// none counts as removed by others if there is such a line.
    async fn forget(&mut self) -> Result<(), CollectError> {
        let (mut left, mut marked) = (HashSet::new(), Vec::new());
        let mut is_complete = self.messages.nameless_lines().0 == 0;
        for index in 0..self.messages.len() {
            yield_sometimes(index).await;
            let is_marked = self.messages.is_marked(index);
            self.outcome.removed += u64::from(is_marked);
            match self.messages.unique_id(index) {
                Some(id) if is_marked => marked.push(id),
                Some(id) => _ = left.insert(id),
                None => is_complete = false,
            }
        }
        let known = self.known.keys().map(String::as_str).filter(|_| is_complete);
        let mut some = Vec::new();
        for (index, id) in known.chain(marked).enumerate() {
            yield_sometimes(index).await;
            if !left.contains(id) {
                some.push(id.to_owned());
            }
            if some.len() == FORGOTTEN {
                let forgotten = self.destination.forget(mem::take(&mut some)).await;
                forgotten.map_err(CollectError::Destination)?;
            }
        }
        match some.is_empty() {
            true => Ok(()),
            false => self.destination.forget(some).await.map_err(CollectError::Destination),
        }
    }
}

impl<D: Destination> Host<pop3::Client> for Session<'_, D> {
    async fn answer(&mut self, question: pop3::Question) -> pop3::Answer {
        self.heard = true;
        let (next, ticket) = match question {
            pop3::Question::Login { offered, refused, ticket } => {
                return ticket.answer(self.log_in(&offered, refused));
            }
            pop3::Question::Challenge(challenge, ticket) => {
                return ticket.answer(self.connection.respond(&challenge));
            }
            pop3::Question::LoggedIn(ticket) => (self.logged_in().await, ticket),
            pop3::Question::UniqueIds(ids, ticket) => (self.unique_ids(ids).await, ticket),
            pop3::Question::Status(Ok(status), ticket) => {
                (self.choose(RemoteMessages::counted(status.messages)).await, ticket)
            }
            pop3::Question::Status(Err(words), ticket) => {
                (Err(CollectError::Refused(words)), ticket)
            }
            // A server that announces no sizes is not believed about them either.
            pop3::Question::Sizes(sizes, ticket) => {
                (self.sizes(&sizes.unwrap_or_default()).await, ticket)
            }
            pop3::Question::Retrieved(retrieved, ticket) => {
                (self.retrieved(retrieved).await, ticket)
            }
            pop3::Question::Deleted(deleted, ticket) => (Ok(self.deleted(deleted).await), ticket),
            // After an error, no message is marked any more.
            pop3::Question::Done(_, ticket) => (Ok(Pop3Request::Quit), ticket),
            pop3::Question::Quit(reply, ticket) => {
                if self.end.is_none() {
                    self.end = Some(match reply {
                        Ok(()) => self.forget().await,
                        Err(words) => Err(CollectError::Refused(words)),
                    });
                }
                return ticket.answer(());
            }
            pop3::Question::Failed(failure, ticket) => {
                self.end.get_or_insert(Err(match failure {
                    pop3::Failure::Refused(words) => CollectError::Refused(words),
                    pop3::Failure::NoTls => CollectError::NoTls,
                    pop3::Failure::Protocol(what) => CollectError::Protocol(what),
                }));
                return ticket.answer(());
            }
        };
        ticket.answer(self.request(next))
    }

    async fn content(&mut self, content: &[u8]) {
        self.unsafe_octets += content.len() as u64;
        self.octets += content.len() as u64;
        if self.octets > self.context.message_size {
            self.end.get_or_insert(Err(CollectError::TooLong(self.context.message_size)));
        }
        if self.end.is_none()
            && let Err(error) = self.destination.write(content).await
        {
            self.end = Some(Err(CollectError::Destination(error)));
        }
    }

    /// A message that cannot be kept may have no end.
    fn has_enough(&self) -> bool {
        self.end.is_some()
    }

    async fn secure(&mut self, stream: Box<dyn Stream>) -> io::Result<Box<dyn Stream>> {
        debug_assert!(self.login.tls == LoginTls::Stls, "TLS is wanted");
        self.heard = true;
        let name = host_of(&self.login.server);
        let verify = super::verify(self.login);
        let (stream, _) = self.connection.secure(stream, &self.context.tls, name, &verify).await?;
        Ok(stream)
    }
}

/// Returns whether a server's refusal says that the name or the password is wrong (RFC 3206 §4).
fn is_about_credentials(words: &str) -> bool {
    words.get(..6).is_some_and(|code| code.eq_ignore_ascii_case("[AUTH]"))
}

/// Returns the host in `host:port`.
pub(super) fn host_of(server: &str) -> &str {
    server.rsplit_once(':').map_or(server, |(host, _)| host)
}
