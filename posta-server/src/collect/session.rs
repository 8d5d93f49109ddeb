//! One visit: the answers to a POP3 client's questions.

use super::{Brought, CollectError, Destination, Means};
use crate::{drive::Host, net::Stream, sasl::ClientLogin};
use posta_mail::{Secret, Timestamp};
use posta_pop3::{
    Client,
    client::{Answer, Failure, Outcome, Question},
};
use posta_store::{Keep, Login, LoginTls};
use std::{
    collections::{BTreeMap, HashSet, VecDeque},
    io, mem,
    time::Duration,
};

/// Messages and octets that are made safe together.
const BATCH: u64 = 100;
const BATCH_OCTETS: u64 = 16 * 1024 * 1024;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// A message on the server: its number, and its unique-id if it has one.
type Listed = (u32, Option<String>);

pub(super) struct Session<'v, D> {
    means: &'v Means,
    login: &'v Login,
    keep: Keep,
    destination: &'v mut D,
    /// What binds a login to the connection.
    pub(super) exporter: Option<Vec<u8>>,
    proof: Option<ClientLogin>,
    phase: Phase,
    known: BTreeMap<String, Timestamp>,
    /// What is on the server.
    listed: Vec<Listed>,
    /// What is to be fetched, from the front.
    wanted: VecDeque<Listed>,
    /// What was fetched: all that may be removed.
    fetched: HashSet<u32>,
    /// What is to be removed, from the front.
    doomed: VecDeque<u32>,
    marked: Vec<u32>,
    /// Messages and octets that are not safe yet.
    unsafe_messages: u64,
    unsafe_octets: u64,
    brought: Brought,
    ended: Option<Result<(), CollectError>>,
}

/// What was asked for last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    LogIn,
    UniqueIds,
    Count,
    Fetch(u32),
    Mark(u32),
    Quit,
}

impl<'v, D: Destination> Session<'v, D> {
    pub(super) fn new(
        means: &'v Means,
        login: &'v Login,
        keep: Keep,
        destination: &'v mut D,
    ) -> Self {
        Self {
            means,
            login,
            keep,
            destination,
            exporter: None,
            proof: None,
            phase: Phase::LogIn,
            known: BTreeMap::new(),
            listed: Vec::new(),
            wanted: VecDeque::new(),
            fetched: HashSet::new(),
            doomed: VecDeque::new(),
            marked: Vec::new(),
            unsafe_messages: 0,
            unsafe_octets: 0,
            brought: Brought::default(),
            ended: None,
        }
    }

    pub(super) fn ended(self) -> (Brought, Option<Result<(), CollectError>>) {
        (self.brought, self.ended)
    }

    /// The strongest mechanism of those offered. A password in plaintext is for those who chose it.
    fn log_in(&mut self, offered: &[String]) -> Answer {
        let Login { user, password, .. } = self.login;
        let (password, exporter) = (Secret::new(password.as_bytes()), self.exporter.as_deref());
        let clock = &*self.means.clock;
        match ClientLogin::strongest(offered, user, &password, exporter, true, clock) {
            Some((mechanism, initial, login)) => {
                self.proof = Some(login);
                Answer::Auth(mechanism, initial)
            }
            None => Answer::User,
        }
    }

    async fn next(&mut self, outcome: Outcome) -> Result<Answer, CollectError> {
        match (self.phase, outcome) {
            (Phase::LogIn, _) => {
                if self.proof.as_ref().is_some_and(|proof| !proof.is_trusted()) {
                    return Err(CollectError::Impostor);
                }
                self.known = self.destination.known().await.map_err(CollectError::Destination)?;
                self.phase = Phase::UniqueIds;
                Ok(Answer::Uidl)
            }
            (Phase::UniqueIds, Outcome::UniqueIds(listed)) => {
                let listed = listed.into_iter().map(|(number, id)| (number, Some(id)));
                self.listed = listed.collect();
                self.choose();
                self.fetch().await
            }
            (Phase::UniqueIds, _) if self.keep != Keep::Nothing => Err(CollectError::NoUniqueIds),
            (Phase::UniqueIds, _) => {
                self.phase = Phase::Count;
                Ok(Answer::Stat)
            }
            (Phase::Count, Outcome::Status { messages, .. }) => {
                self.listed = (1..=messages).map(|number| (number, None)).collect();
                self.choose();
                self.fetch().await
            }
            (Phase::Fetch(_), Outcome::Refused(_)) => {
                // The others may come all the same.
                self.brought.refused += 1;
                self.fetch().await
            }
            (Phase::Fetch(number), _) => {
                self.destination.end().await.map_err(CollectError::Destination)?;
                self.fetched.insert(number);
                self.unsafe_messages += 1;
                if self.unsafe_messages >= BATCH || self.unsafe_octets >= BATCH_OCTETS {
                    self.make_safe().await?;
                }
                self.fetch().await
            }
            (Phase::Mark(number), outcome) => {
                if !matches!(outcome, Outcome::Refused(_)) {
                    self.marked.push(number);
                }
                Ok(self.mark())
            }
            (_, Outcome::Refused(words)) => Err(CollectError::Refused(words)),
            _ => Err(CollectError::Protocol("an answer to another question")),
        }
    }

    /// What is not known is wanted.
    fn choose(&mut self) {
        let is_new =
            |id: &Option<String>| id.as_ref().is_none_or(|id| !self.known.contains_key(id));
        let wanted = self.listed.iter().filter(|(_, id)| is_new(id));
        self.wanted = wanted.cloned().collect();
        self.destination.expect(self.wanted.len() as u64);
    }

    async fn fetch(&mut self) -> Result<Answer, CollectError> {
        if let Some((number, unique_id)) = self.wanted.pop_front() {
            let begun = self.destination.begin(unique_id.as_deref()).await;
            begun.map_err(CollectError::Destination)?;
            self.phase = Phase::Fetch(number);
            return Ok(Answer::Retr(number));
        }
        self.make_safe().await?;
        self.doomed = self.listed.iter().filter_map(|listed| self.is_doomed(listed)).collect();
        Ok(self.mark())
    }

    /// The number of a message that is to go: it is safe here, and was kept there for long enough.
    fn is_doomed(&self, (number, unique_id): &Listed) -> Option<u32> {
        let days = match self.keep {
            Keep::All => return None,
            Keep::Nothing => 0,
            Keep::Days(days) => days,
        };
        let since = unique_id.as_ref().and_then(|id| self.known.get(id));
        let is_due = |since: &Timestamp| *since + DAY * days <= self.means.clock.now();
        let is_fetched = self.fetched.contains(number);
        (is_fetched && days == 0 || since.is_some_and(is_due)).then_some(*number)
    }

    fn mark(&mut self) -> Answer {
        match self.doomed.pop_front() {
            Some(number) => {
                self.phase = Phase::Mark(number);
                Answer::Dele(number)
            }
            None => {
                self.phase = Phase::Quit;
                Answer::Quit
            }
        }
    }

    async fn make_safe(&mut self) -> Result<(), CollectError> {
        if self.unsafe_messages > 0 {
            self.destination.sync().await.map_err(CollectError::Destination)?;
            self.brought.messages += mem::take(&mut self.unsafe_messages);
            self.unsafe_octets = 0;
        }
        Ok(())
    }

    /// The server has removed what was marked: neither that nor what others removed is there any
    /// more.
    async fn forget(&mut self) -> Result<(), CollectError> {
        self.brought.removed = self.marked.len() as u64;
        let marked: HashSet<u32> = self.marked.iter().copied().collect();
        let left: HashSet<&String> = self
            .listed
            .iter()
            .filter(|(number, _)| !marked.contains(number))
            .filter_map(|(_, id)| id.as_ref())
            .collect();
        let listed = self.listed.iter().filter_map(|(_, id)| id.as_ref());
        let known = self.known.keys().chain(listed);
        let gone: HashSet<String> = known.filter(|id| !left.contains(id)).cloned().collect();
        let forgotten = self.destination.forget(gone.into_iter().collect()).await;
        forgotten.map_err(CollectError::Destination)
    }
}

impl<D: Destination> Host<Client> for Session<'_, D> {
    async fn answer(&mut self, question: Question) -> Answer {
        match question {
            Question::Login(offered) => return self.log_in(&offered),
            Question::Challenge(challenge) => {
                let response = self.proof.as_mut().and_then(|proof| proof.respond(&challenge));
                return Answer::Respond(response);
            }
            Question::Next(outcome) if self.ended.is_none() => match self.next(outcome).await {
                Ok(answer) => return answer,
                Err(error) => {
                    self.ended = Some(Err(error));
                    // What was marked is forgotten, so that QUIT removes nothing.
                    return Answer::Rset;
                }
            },
            Question::Next(_) => {}
            Question::Quit(said) if self.ended.is_none() => {
                self.ended = Some(match said {
                    Ok(()) => self.forget().await,
                    Err(words) => Err(CollectError::Refused(words)),
                });
            }
            Question::Quit(_) => {}
            Question::Failed(failure) => {
                self.ended.get_or_insert(Err(match failure {
                    Failure::Refused(words) => CollectError::Refused(words),
                    Failure::NoTls => CollectError::NoTls,
                    Failure::Protocol(what) => CollectError::Protocol(what),
                }));
            }
        }
        Answer::Quit
    }

    async fn content(&mut self, content: &[u8]) {
        self.unsafe_octets += content.len() as u64;
        if self.ended.is_none()
            && let Err(error) = self.destination.write(content).await
        {
            self.ended = Some(Err(CollectError::Destination(error)));
        }
    }

    async fn secure(&mut self, stream: Box<dyn Stream>) -> io::Result<Box<dyn Stream>> {
        debug_assert!(self.login.tls == LoginTls::Stls, "TLS is wanted");
        let name = host_of(&self.login.server);
        let verify = super::verify(self.login);
        let (stream, negotiated) = self.means.tls.connect(stream, name, &verify).await?;
        self.exporter = negotiated.exporter;
        Ok(stream)
    }
}

/// The host of `host:port`.
pub(super) fn host_of(server: &str) -> &str {
    server.rsplit_once(':').map_or(server, |(host, _)| host)
}
