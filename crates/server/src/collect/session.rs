//! One visit: the answers to a POP3 client's questions.

use super::{
    CollectContext, CollectError, Destination, FetchOutcome, VisitOutcome, listed::Listed,
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

/// Messages and octets that are made safe together.
const BATCH: u64 = 100;
const BATCH_OCTETS: u64 = 16 * 1024 * 1024;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Unique-ids that are forgotten together.
const FORGOTTEN: usize = 1_000;

/// Messages that are looked up between two turns of others: some hundred microseconds.
const LOOKED_UP: usize = 512;

/// Messages from which on unique-ids are compared on a thread of their own.
const MANY: usize = 10_000;

/// Has others go first, now and then on a walk over all messages.
async fn look_up(index: usize) {
    if index % LOOKED_UP == LOOKED_UP - 1 {
        yield_now().await;
    }
}

pub(super) struct Session<'v, D> {
    means: &'v CollectContext,
    pub(super) login: &'v Login,
    pub(super) password: &'v Secret,
    keep: Keep,
    destination: &'v mut D,
    pub(super) connection: ClientSession,
    /// With what words the server refused a mechanism: should it close, that is why.
    refusal: Option<String>,
    is_logged_in: bool,
    /// Whether the server said anything.
    pub(super) heard: bool,
    /// Whether the visit ends with the login.
    is_for_login: bool,
    known: BTreeMap<String, Timestamp>,
    /// What is on the server, and what became of it.
    listed: Listed,
    /// The index of the message that is looked at next: first whether it is to be fetched, then whether
    /// it is to be removed.
    next: usize,
    /// The index of the message that was asked for last.
    current: usize,
    /// Octets of the message that is coming.
    octets: u64,
    /// Messages and octets that are not safe yet.
    unsafe_messages: u64,
    unsafe_octets: u64,
    brought: VisitOutcome,
    ended: Option<Result<(), CollectError>>,
}

impl<'v, D: Destination> Session<'v, D> {
    pub(super) fn new(
        means: &'v CollectContext,
        (login, password): (&'v Login, &'v Secret),
        keep: Keep,
        destination: &'v mut D,
    ) -> Self {
        Self {
            means,
            login,
            password,
            keep,
            destination,
            connection: ClientSession::default(),
            refusal: None,
            is_logged_in: false,
            heard: false,
            is_for_login: false,
            known: BTreeMap::new(),
            listed: Listed::nothing(),
            next: 0,
            current: 0,
            octets: 0,
            unsafe_messages: 0,
            unsafe_octets: 0,
            brought: VisitOutcome::default(),
            ended: None,
        }
    }

    /// The same for a visit that ends with the login.
    pub(super) fn for_login(self) -> Self {
        Self { is_for_login: true, ..self }
    }

    /// Returns what the visit brought, and how it ended, if that is known.
    pub(super) fn ended(self) -> (VisitOutcome, Option<Result<(), CollectError>>) {
        let refusal = self.refusal.filter(|_| !self.is_logged_in);
        (self.brought, self.ended.or_else(|| Some(Err(CollectError::Refused(refusal?)))))
    }

    /// The strongest mechanism of those offered. A password in plaintext is for those who chose it.
    fn log_in(&mut self, offered: &[String]) -> pop3::LoginChoice {
        let credentials = (self.login.user.as_str(), self.password);
        let clock = &*self.means.clock;
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
                let compare = spawn_blocking(|| Listed::with_unique_ids(ids));
                let listed = compare.await.map_err(io::Error::other);
                self.choose(listed.map_err(CollectError::Destination)?).await
            }
            Ok(ids) => self.choose(Listed::with_unique_ids(ids)).await,
            Err(_) if self.needs_names() => Err(CollectError::NoUniqueIds),
            Err(_) => Ok(Pop3Request::Stat),
        }
    }

    async fn sizes(&mut self, sizes: &[(u32, u64)]) -> Result<Pop3Request, CollectError> {
        self.listed.limit(sizes, self.means.message_size);
        self.tell_what_stays();
        self.destination.expect(self.wanted());
        self.fetch().await
    }

    async fn retrieved(
        &mut self,
        retrieved: Result<(), String>,
    ) -> Result<Pop3Request, CollectError> {
        if let Err(words) = retrieved {
            // The others may come all the same.
            self.brought.refused += 1;
            self.brought.leave(&self.listed.name(self.current), &words);
            return self.fetch().await;
        }
        match self.destination.end().await.map_err(CollectError::Destination)? {
            FetchOutcome::Kept => {
                self.listed.fetched(self.current);
                self.unsafe_messages += 1;
            }
            FetchOutcome::Refused(words) => {
                self.brought.not_taken += 1;
                self.brought.leave(&self.listed.name(self.current), &words);
            }
        }
        if self.unsafe_messages >= BATCH || self.unsafe_octets >= BATCH_OCTETS {
            self.make_safe().await?;
        }
        self.fetch().await
    }

    async fn deleted(&mut self, deleted: Result<(), String>) -> Pop3Request {
        if deleted.is_ok() {
            self.listed.marked(self.current);
        }
        self.mark().await
    }

    /// What is sent next: after an error nothing of what was marked may be removed by QUIT.
    fn request(&mut self, next: Result<Pop3Request, CollectError>) -> Pop3Request {
        next.unwrap_or_else(|error| {
            self.ended = Some(Err(error));
            Pop3Request::Rset
        })
    }

    /// Begins to fetch what is not known, if there is anything.
    async fn choose(&mut self, listed: Listed) -> Result<Pop3Request, CollectError> {
        self.listed = listed;
        for index in 0..self.listed.len() {
            look_up(index).await;
            if self.is_here(index) {
                self.listed.known(index);
            }
        }
        if self.wanted() == 0 {
            self.tell_what_stays();
            return self.fetch().await;
        }
        Ok(Pop3Request::List)
    }

    /// Returns how many messages are to be fetched.
    fn wanted(&self) -> u64 {
        (0..self.listed.len()).filter(|&index| self.is_wanted(index)).count() as u64
    }

    /// Returns whether each message must have a unique-id: what stays there must be known the next time.
    fn needs_names(&self) -> bool {
        self.keep != Keep::Nothing && self.destination.remembers()
    }

    /// Returns whether a message is to be fetched: it is not known, it will be known if it stays, and it
    /// is not too large.
    fn is_wanted(&self, index: usize) -> bool {
        !self.listed.is_known(index) && !self.is_nameless(index) && !self.listed.is_too_large(index)
    }

    /// Looks up whether a message was fetched before.
    fn is_here(&self, index: usize) -> bool {
        let id = self.listed.unique_id(index).map(|id| self.destination.known_as(id));
        // What is to be removed must be here for certain.
        let is_certain = self.keep != Keep::Nothing || self.listed.is_unique(index);
        is_certain && id.is_some_and(|id| self.known.contains_key(&*id))
    }

    fn is_nameless(&self, index: usize) -> bool {
        self.needs_names() && self.listed.unique_id(index).is_none()
    }

    fn tell_what_stays(&mut self) {
        for index in 0..self.listed.len() {
            if self.listed.is_known(index) {
                continue;
            }
            let (count, why) = if self.is_nameless(index) {
                (&mut self.brought.nameless, "the server tells no unique-id of it")
            } else if self.listed.is_too_large(index) {
                (&mut self.brought.too_large, "it is too large")
            } else {
                continue;
            };
            *count += 1;
            self.brought.leave(&self.listed.name(index), why);
        }
    }

    async fn fetch(&mut self) -> Result<Pop3Request, CollectError> {
        while self.next < self.listed.len() {
            let index = self.next;
            self.next += 1;
            if !self.is_wanted(index) {
                continue;
            }
            // The first of those that share a unique-id stands for all where they stay there, so that
            // they do not come again and again. Each of them comes.
            let names = self.listed.is_unique(index)
                || self.keep != Keep::Nothing && !self.listed.repeats(index);
            let unique_id = self.listed.unique_id(index).filter(|_| names);
            let begun = self.destination.begin(unique_id).await;
            begun.map_err(CollectError::Destination)?;
            self.octets = 0;
            self.current = index;
            return Ok(Pop3Request::Retr(self.listed.number(index)));
        }
        self.make_safe().await?;
        self.next = 0;
        Ok(self.mark().await)
    }

    /// Returns whether a message is to go: it is safe here, and was kept there for long enough.
    fn is_doomed(&self, index: usize) -> bool {
        let days = match self.keep {
            Keep::All => return false,
            Keep::Nothing => 0,
            Keep::Days(days) => days,
        };
        let is_certain = self.listed.is_known(index) && self.listed.is_unique(index);
        let id = self.listed.unique_id(index).filter(|_| is_certain);
        let since = id.and_then(|id| self.known.get(&*self.destination.known_as(id)));
        let is_due = |since: &Timestamp| *since + DAY * days <= self.means.clock.now();
        self.listed.is_fetched(index) && days == 0 || since.is_some_and(is_due)
    }

    async fn mark(&mut self) -> Pop3Request {
        while self.next < self.listed.len() {
            let index = self.next;
            look_up(index).await;
            self.next += 1;
            if self.is_doomed(index) {
                self.current = index;
                return Pop3Request::Dele(self.listed.number(index));
            }
        }
        Pop3Request::Quit
    }

    async fn make_safe(&mut self) -> Result<(), CollectError> {
        if self.unsafe_messages > 0 {
            self.destination.sync().await.map_err(CollectError::Destination)?;
            self.brought.messages += mem::take(&mut self.unsafe_messages);
            self.unsafe_octets = 0;
        }
        Ok(())
    }

    /// Ends the visit for the destination: what came whole is safe, and of the rest nothing stays.
    pub(super) async fn close(&mut self) -> Result<(), CollectError> {
        if matches!(self.ended, Some(Ok(()))) {
            return Ok(());
        }
        self.destination.abandon().await.map_err(CollectError::Destination)?;
        self.make_safe().await
    }

    /// The server has removed what was marked: neither that nor what others removed is there any
    /// more.
    async fn forget(&mut self) -> Result<(), CollectError> {
        let (mut left, mut marked) = (HashSet::new(), Vec::new());
        for index in 0..self.listed.len() {
            look_up(index).await;
            let is_marked = self.listed.is_marked(index);
            self.brought.removed += u64::from(is_marked);
            match self.listed.unique_id(index) {
                Some(id) if is_marked => marked.push(id),
                Some(id) => _ = left.insert(id),
                None => {}
            }
        }
        let known = self.known.keys().map(String::as_str);
        let mut some = Vec::new();
        for (index, id) in known.chain(marked).enumerate() {
            look_up(index).await;
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
                self.refusal = refused;
                return ticket.answer(self.log_in(&offered));
            }
            pop3::Question::Challenge(challenge, ticket) => {
                return ticket.answer(self.connection.respond(&challenge));
            }
            pop3::Question::LoggedIn(ticket) => (self.logged_in().await, ticket),
            pop3::Question::UniqueIds(ids, ticket) => (self.unique_ids(ids).await, ticket),
            pop3::Question::Status(Ok(status), ticket) => {
                (self.choose(Listed::counted(status.messages)).await, ticket)
            }
            pop3::Question::Status(Err(words), ticket) => {
                (Err(CollectError::Refused(words)), ticket)
            }
            // A server that tells no sizes is not believed about them either.
            pop3::Question::Sizes(sizes, ticket) => {
                (self.sizes(&sizes.unwrap_or_default()).await, ticket)
            }
            pop3::Question::Retrieved(retrieved, ticket) => {
                (self.retrieved(retrieved).await, ticket)
            }
            pop3::Question::Deleted(deleted, ticket) => (Ok(self.deleted(deleted).await), ticket),
            // Nothing is marked any more, after an error.
            pop3::Question::Done(_, ticket) => (Ok(Pop3Request::Quit), ticket),
            pop3::Question::Quit(said, ticket) => {
                if self.ended.is_none() {
                    self.ended = Some(match said {
                        Ok(()) => self.forget().await,
                        Err(words) => Err(CollectError::Refused(words)),
                    });
                }
                return ticket.answer(());
            }
            pop3::Question::Failed(failure, ticket) => {
                self.ended.get_or_insert(Err(match failure {
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
        if self.octets > self.means.message_size {
            self.ended.get_or_insert(Err(CollectError::TooLong(self.means.message_size)));
        }
        if self.ended.is_none()
            && let Err(error) = self.destination.write(content).await
        {
            self.ended = Some(Err(CollectError::Destination(error)));
        }
    }

    /// What a message that cannot be kept still has may have no end.
    fn has_enough(&self) -> bool {
        self.ended.is_some()
    }

    async fn secure(&mut self, stream: Box<dyn Stream>) -> io::Result<Box<dyn Stream>> {
        debug_assert!(self.login.tls == LoginTls::Stls, "TLS is wanted");
        self.heard = true;
        let name = host_of(&self.login.server);
        let verify = super::verify(self.login);
        let (stream, _) = self.connection.secure(stream, &self.means.tls, name, &verify).await?;
        Ok(stream)
    }
}

/// The host of `host:port`.
pub(super) fn host_of(server: &str) -> &str {
    server.rsplit_once(':').map_or(server, |(host, _)| host)
}
