//! Puts collected messages into a mailbox, each in one transaction with the unique-id by which it is known, so that a
//! crash neither loses nor duplicates one.

use super::{Destination, FetchOutcome, said::Said};
use crate::deliver::{self, Message, To, Undelivered};
use aws_lc_rs::digest::{SHA256, digest};
use posta_mail::{MailId, ThreadId, Timestamp, crlf::CrlfLines, id::is_unique_id};
use posta_net::clock::Clock;
use posta_store::{Account, CHUNK, Collected, Envelope, Origin, SourceId, Store, StoreError};
use std::{
    borrow::Cow,
    collections::{BTreeMap, HashSet},
    fmt::Write as _,
    io, mem,
    sync::Arc,
    time::Duration,
};
use tokio::time::sleep;

/// Chunks of a message that are stored as fast as they arrive: 1 MiB, more than most messages have.
const UNHURRIED: u32 = 4;

/// The wait after each chunk that follows, which makes 16 MiB a second at most. Without it, what another server
/// sends without an end would stand unwritten before each message that arrives here and waits for its sync.
const PACE: Duration = Duration::from_micros(15_625);

/// A mailbox into which mail is collected.
pub struct StoreDestination {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    account: Account,
    /// Where the mail is from, for the history, and how it came from there.
    server: String,
    protocol: &'static str,
    purpose: Purpose,
    /// Unique-ids that are taken in the mailbox.
    taken: HashSet<String>,
    id: MailId,
    chunks: u32,
    rest: Vec<u8>,
    /// What the message says of itself, once its beginning is in the store.
    said: Option<Said>,
    /// Counts the octets that the message has as lines.
    lines: CrlfLines,
    /// Octets that the mailbox has room for.
    room: u64,
    unique_id: Option<String>,
}

/// Why mail is collected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Again and again, into a mailbox that has mail of its own.
    Source(SourceId),
    /// Once: the mailbox moves here, and its messages bring their unique-ids along, so that no mail
    /// program collects any of them twice.
    Move,
}

impl StoreDestination {
    /// A mailbox, and why mail is collected into it; `server` is where from, for the history.
    #[must_use]
    pub fn new(
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        account: Account,
        server: String,
        purpose: Purpose,
    ) -> Self {
        let id = clock.mail_id();
        let (chunks, rest, lines, room) = (0, Vec::new(), CrlfLines::default(), u64::MAX);
        let (unique_id, taken) = (None, HashSet::new());
        Self {
            store,
            clock,
            account,
            server,
            protocol: "POP3",
            purpose,
            taken,
            id,
            chunks,
            rest,
            said: None,
            lines,
            room,
            unique_id,
        }
    }

    /// The same for mail that was in files; `server` was their directory.
    #[must_use]
    pub fn of_files(self) -> Self {
        Self { protocol: "Maildir", ..self }
    }

    async fn begin_message(&mut self, unique_id: Option<&str>) -> Result<(), StoreError> {
        self.drop_partial().await?;
        self.id = self.clock.mail_id();
        self.unique_id = unique_id.map(str::to_owned);
        Ok(())
    }

    /// Drops what there is of a message that did not end.
    async fn drop_partial(&mut self) -> Result<(), StoreError> {
        self.rest.clear();
        self.said = None;
        self.lines = CrlfLines::default();
        if mem::take(&mut self.chunks) > 0 {
            self.store.discard(self.id).await?;
        }
        Ok(())
    }

    async fn accept(&mut self) -> io::Result<()> {
        let (id, time) = (self.id, self.clock.now());
        let (chunks, mut rest) = (mem::take(&mut self.chunks), mem::take(&mut self.rest));
        let mut lines = mem::take(&mut self.lines);
        if chunks == 0 && rest.is_empty() {
            // A message of no octets: RFC 1939 has no other way to say that there is one.
            rest.extend_from_slice(b"\r\n");
            lines.count(&rest);
        }
        lines.finish();
        let octets = u64::from(chunks) * CHUNK as u64 + rest.len() as u64;
        let added = lines.octets() - octets;
        let there = self.unique_id.take();
        let collected = match (&self.purpose, &there) {
            (Purpose::Source(source), Some(unique_id)) => {
                Some(Collected { source: *source, unique_id: unique_id.clone() })
            }
            _ => None,
        };
        let moves = matches!(self.purpose, Purpose::Move);
        let unique_id = there.filter(|_| moves).map(|id| self.known_as(&id).into_owned());
        let unique_id = unique_id.filter(|id| self.taken.insert(id.clone()));
        let Said { from, message_id, thread } =
            self.said.take().unwrap_or_else(|| Said::read(&rest));
        let message = Message {
            id,
            time,
            head: Vec::new(),
            chunks,
            rest,
            octets,
            added,
            thread: thread.unwrap_or_else(|| ThreadId::alone(id)),
            // What is collected has arrived: how many servers it came through no longer matters.
            hops: 0,
            message_id,
            origin: self.origin(),
            envelope: Envelope::from_sender(from),
            hold: None,
            refused: Vec::new(),
        };
        let to = To::Mailbox { account: &self.account, unique_id, collected };
        match deliver::deliver(&*self.store, message, to).await {
            Ok(()) => Ok(()),
            Err(Undelivered::Refused(reply, _)) => Err(io::Error::other(reply.to_string())),
            Err(Undelivered::Store(error)) => Err(io::Error::other(error)),
        }
    }

    fn origin(&self) -> Origin {
        Origin {
            hello: self.server.clone(),
            protocol: self.protocol.to_owned(),
            account: Some(self.account.address.clone()),
            ..Origin::default()
        }
    }
}

impl Destination for StoreDestination {
    async fn known(&mut self) -> io::Result<BTreeMap<String, Timestamp>> {
        match self.purpose {
            Purpose::Source(source) => self.store.collected(source).await.map_err(io::Error::other),
            Purpose::Move => {
                let maildrop = self.store.maildrop(self.account.id).await;
                let maildrop = maildrop.map_err(io::Error::other)?;
                self.taken = maildrop.imported_ids().map(str::to_owned).collect();
                let now = self.clock.now();
                Ok(self.taken.iter().map(|unique_id| (unique_id.clone(), now)).collect())
            }
        }
    }

    async fn begin(&mut self, unique_id: Option<&str>) -> io::Result<()> {
        if let Some(quota) = self.account.quota {
            let usage = self.store.usage(self.account.id).await.map_err(io::Error::other)?;
            self.room = quota.saturating_sub(usage.octets);
            if self.room == 0 {
                return Err(io::Error::other("the mailbox is full (`posta account quota`)"));
            }
        }
        self.begin_message(unique_id).await.map_err(io::Error::other)
    }

    async fn write(&mut self, mut content: &[u8]) -> io::Result<()> {
        self.lines.count(content);
        if self.lines.octets() > self.room {
            let words = "the mailbox has no room for the message (`posta account quota`)";
            return Err(io::Error::other(words));
        }
        while !content.is_empty() {
            // The last chunk comes with the acceptance, so a full one goes only when more comes.
            if self.rest.len() == CHUNK {
                if self.chunks == 0 {
                    self.said = Some(Said::read(&self.rest));
                }
                let kept = self.store.append(self.id, self.chunks, &self.rest).await;
                kept.map_err(io::Error::other)?;
                self.chunks += 1;
                self.rest.clear();
                if self.chunks > UNHURRIED {
                    sleep(PACE).await;
                }
            }
            let (now, later) = content.split_at(content.len().min(CHUNK - self.rest.len()));
            self.rest.extend_from_slice(now);
            content = later;
        }
        Ok(())
    }

    async fn end(&mut self) -> io::Result<FetchOutcome> {
        self.accept().await.map(|()| FetchOutcome::Kept)
    }

    /// A mailbox that moves here has unique-ids that POP3 can tell.
    fn known_as<'i>(&self, unique_id: &'i str) -> Cow<'i, str> {
        match self.purpose {
            Purpose::Move if !is_unique_id(unique_id) => derived(unique_id.as_bytes()).into(),
            _ => unique_id.into(),
        }
    }

    async fn abandon(&mut self) -> io::Result<()> {
        self.drop_partial().await.map_err(io::Error::other)
    }

    /// Each message is safe when it ends.
    async fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }

    async fn forget(&mut self, unique_ids: Vec<String>) -> io::Result<()> {
        match self.purpose {
            Purpose::Source(source) => {
                let forgotten = self.store.forget_collected(source, unique_ids).await;
                forgotten.map_err(io::Error::other)
            }
            Purpose::Move => Ok(()),
        }
    }
}

/// Returns a unique-id made from a name that cannot be one, for its length, its blanks, its line ends or
/// its letters (RFC 1939 §7): the same each time, so that what has the name comes once.
#[must_use]
pub fn derived(name: &[u8]) -> String {
    digest(&SHA256, name).as_ref().iter().fold(String::new(), |mut text, octet| {
        let _ = write!(text, "{octet:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use posta_net::clock::SystemClock;
    use posta_store::{Credentials, Directory as _, MemoryStore};
    use tokio::time::Instant;

    /// A message of ordinary size waits for nothing; one that goes on and on comes at 16 MiB a second.
    #[tokio::test(start_paused = true)]
    async fn an_endless_message_has_a_pace() {
        let store = Arc::new(MemoryStore::new());
        let address = "ana@x.test".parse().unwrap();
        store.add_account(&address, Credentials::default()).await.unwrap();
        let account = store.account(&address).await.unwrap().unwrap();
        let clock = Arc::new(SystemClock);
        let server = "pop.y.test:110".to_owned();
        let mut mailbox = StoreDestination::new(store, clock, account, server, Purpose::Move);
        for (mebibytes, least, most) in [(1, 0, 0), (17, 980, 1_060), (33, 1_960, 2_120)] {
            let began = Instant::now();
            mailbox.begin(None).await.unwrap();
            for _ in 0..mebibytes {
                mailbox.write(&[b'x'; 1 << 20]).await.unwrap();
            }
            let took = began.elapsed().as_millis();
            assert!((least..=most).contains(&took), "{mebibytes} MiB: {took} ms");
            mailbox.end().await.unwrap();
        }
    }
}
