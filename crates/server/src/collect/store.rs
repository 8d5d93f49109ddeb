//! Storing collected messages in a mailbox. Each message is stored in one transaction together with the
//! unique-id under which it is known, so that a crash neither loses nor duplicates one.

use super::{
    Destination, FetchOutcome,
    header_facts::HeaderFacts,
    unique_ids::{HeldMailbox, UniqueIdsInUse, derived},
};
use crate::deliver::{self, Message, Placement, To, Undelivered};
use posta_mail::{Domain, MailId, ThreadId, Timestamp, crlf::CrlfLines, id::is_unique_id};
use posta_net::clock::Clock;
use posta_origin::results::ResultsRemover;
use posta_store::{
    Account, CHUNK, Collected, Envelope, FolderId, Origin, SourceId, Store, StoreError,
};
use std::{borrow::Cow, collections::BTreeMap, io, mem, sync::Arc, time::Duration};
use tokio::time::sleep;

/// The number of chunks of a message that are stored as fast as they arrive: 1 MiB, more than most
/// messages have.
const UNHURRIED: u32 = 4;

/// The pause after each further chunk, which limits the speed to 16 MiB a second. Without the pause, an
/// endless message from another server would keep the disk so busy that each message arriving here would
/// wait for its sync.
const PACE: Duration = Duration::from_micros(15_625);

/// A mailbox into which mail is collected.
pub struct StoreDestination {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    account: Account,
    /// The server or directory that the mail comes from, for the history, and the protocol.
    server: String,
    protocol: &'static str,
    purpose: Purpose,
    /// The unique-ids in use in mailboxes, for a mailbox that moves here.
    unique_ids: Option<Arc<UniqueIdsInUse>>,
    id: MailId,
    chunks: u32,
    rest: Vec<u8>,
    /// The facts from the header section, once the beginning of the message is stored.
    facts: Option<HeaderFacts>,
    /// Counts the octets of the message in the form of lines.
    lines: CrlfLines,
    /// The number of octets for which the mailbox has room.
    room: u64,
    unique_id: Option<String>,
    /// Where an imported message goes, and under which name it is remembered.
    placement: Option<(Placement, Collected)>,
    /// Our own name, where fields that claim to tell what we found are taken out.
    authserv_id: Option<String>,
    /// Takes them out of the message that comes.
    remover: Option<ResultsRemover>,
}

/// The purpose of collecting mail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Regular visits to a source, for a mailbox that also has mail of its own.
    Source(SourceId),
    /// The move of a mailbox to this server, once. Its messages keep their unique-ids, so that no mail
    /// program collects any of them twice.
    Move,
}

impl StoreDestination {
    /// Returns a destination for a mailbox. `server` is the origin of the mail, for the history.
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
        Self {
            store,
            clock,
            account,
            server,
            protocol: "POP3",
            purpose,
            unique_ids: None,
            id,
            chunks,
            rest,
            facts: None,
            lines,
            room,
            unique_id: None,
            placement: None,
            authserv_id: None,
            remover: None,
        }
    }

    /// The same, without the fields that claim to tell what this host found: whoever wrote to the mailbox elsewhere
    /// could write them (RFC 8601 §5).
    pub(super) fn without_results_of(self, hostname: &Domain) -> Self {
        Self { authserv_id: Some(hostname.to_string()), ..self }
    }

    /// The same for a mailbox that moves here: its messages keep their unique-ids, as far as no other message has them.
    pub(super) fn keeping(self, unique_ids: Arc<UniqueIdsInUse>) -> Self {
        Self { unique_ids: Some(unique_ids), ..self }
    }

    /// Makes the destination record that the mail comes from files of this format; `server` was their place.
    pub(super) fn of_files(self, format: &'static str) -> Self {
        Self { protocol: format, ..self }
    }

    /// Limits the octets of the current message, as lines.
    pub(super) fn limit(&mut self, room: u64) {
        self.room = room;
    }

    /// Returns the octets of the current message so far, as lines.
    pub(super) const fn octets(&self) -> u64 {
        self.lines.octets()
    }

    /// Says where the current message, which is imported, goes, and under which name it is remembered.
    pub(super) fn place(&mut self, placement: Placement, collected: Collected) {
        self.placement = Some((placement, collected));
    }

    async fn begin_message(&mut self, unique_id: Option<&str>) -> Result<(), StoreError> {
        self.drop_partial().await?;
        self.id = self.clock.mail_id();
        self.unique_id = unique_id.map(str::to_owned);
        self.placement = None;
        self.remover = self.authserv_id.clone().map(ResultsRemover::new);
        Ok(())
    }

    /// Drops the parts of an incomplete message.
    async fn drop_partial(&mut self) -> Result<(), StoreError> {
        self.rest.clear();
        self.facts = None;
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
            // The message has no octets, which RFC 1939 cannot represent.
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
        let (mut mailbox, unique_id) = self.hold(unique_id).await?;
        let HeaderFacts { from, message_id, thread, received } =
            self.facts.take().unwrap_or_else(|| HeaderFacts::read(&rest));
        let date = received.filter(|_| moves);
        let message = Message {
            id,
            time,
            head: Vec::new(),
            chunks,
            rest,
            octets,
            added,
            thread: thread.unwrap_or_else(|| ThreadId::alone(id)),
            // A collected message has reached its goal, so the number of servers on its way does not
            // matter.
            hops: 0,
            message_id,
            origin: self.origin(),
            envelope: Envelope::from_sender(from),
            hold: None,
            refused: Vec::new(),
            is_submitted: false,
            checked: None,
            records: Vec::new(),
        };
        let date = date.filter(|date| *date <= time);
        let (placement, collected) = match self.placement.take() {
            Some((placement, collected)) => {
                let known = placement.date.filter(|date| *date <= time);
                (Placement { date: known.or(date), ..placement }, Some(collected))
            }
            None => (Placement { unique_id, date, ..Placement::default() }, collected),
        };
        let to = To::Mailbox { account: &self.account, placement, collected };
        let delivered = deliver::deliver(&*self.store, message, to).await;
        if let (Some(mailbox), Err(_)) = (&mut mailbox, &delivered) {
            mailbox.forget();
        }
        match delivered {
            Ok(_) => Ok(()),
            Err(Undelivered::Refused { reply, .. }) => Err(io::Error::other(reply.to_string())),
            Err(Undelivered::Store(error)) => Err(io::Error::other(error)),
        }
    }

    /// Holds the mailbox for a message with a unique-id of its own. Returns none for one that another message has.
    async fn hold(
        &self,
        wanted: Option<String>,
    ) -> io::Result<(Option<HeldMailbox>, Option<String>)> {
        let (Some(wanted), Some(unique_ids)) = (wanted, &self.unique_ids) else {
            return Ok((None, None));
        };
        let mut held = unique_ids.hold(self.account.id).await;
        let is_free = held.is_free(&wanted).await.map_err(io::Error::other)?;
        if is_free {
            held.take(&wanted);
        }
        Ok((Some(held), Some(wanted).filter(|_| is_free)))
    }

    /// Keeps what came of a message.
    async fn keep(&mut self, mut content: &[u8]) -> io::Result<()> {
        self.lines.count(content);
        if self.lines.octets() > self.room {
            let words = "the mailbox has no room for the message (`posta account quota`)";
            return Err(io::Error::other(words));
        }
        while !content.is_empty() {
            // The last chunk comes with the acceptance, so a full one goes only when more comes.
            if self.rest.len() == CHUNK {
                if self.chunks == 0 {
                    self.facts = Some(HeaderFacts::read(&self.rest));
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
                let (mut known, now) = (BTreeMap::new(), self.clock.now());
                for folder in [FolderId::INBOX, FolderId::JUNK] {
                    let listed = self.store.listed(self.account.id, folder).await;
                    let listed = listed.map_err(io::Error::other)?;
                    known.extend(listed.imported_ids().map(|id| (id.to_owned(), now)));
                }
                Ok(known)
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

    async fn write(&mut self, content: &[u8]) -> io::Result<()> {
        let Some(remover) = &mut self.remover else { return self.keep(content).await };
        let mut staying = Vec::with_capacity(content.len());
        remover.push(content, &mut |octets| staying.extend_from_slice(octets));
        self.remover.take_if(|remover| remover.is_done());
        self.keep(&staying).await
    }

    async fn end(&mut self) -> io::Result<FetchOutcome> {
        if let Some(mut remover) = self.remover.take() {
            let mut staying = Vec::new();
            remover.finish(&mut |octets| staying.extend_from_slice(octets));
            self.keep(&staying).await?;
        }
        self.accept().await.map(|()| FetchOutcome::Kept)
    }

    /// In a mailbox that moves here, the unique-ids must be valid in POP3.
    fn known_as<'i>(&self, unique_id: &'i str) -> Cow<'i, str> {
        match self.purpose {
            Purpose::Move if !is_unique_id(unique_id) => derived(unique_id.as_bytes()).into(),
            _ => unique_id.into(),
        }
    }

    async fn abandon(&mut self) -> io::Result<()> {
        self.drop_partial().await.map_err(io::Error::other)
    }

    /// Each message is durable as soon as it ends.
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

#[cfg(test)]
mod tests {
    use super::*;
    use posta_net::clock::SystemClock;
    use posta_store::{
        Contents as _, Credentials, Directory as _, FolderId, Mailboxes as _, MemoryStore,
    };
    use tokio::time::Instant;

    /// A message of ordinary size never waits; an endless one is limited to 16 MiB a second.
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

    /// Whoever writes to a mailbox elsewhere could write in our name, and whoever moves his own files here may.
    #[tokio::test]
    async fn results_in_our_name_are_not_collected() {
        let ours: Domain = "mail.x.test".parse().unwrap();
        let forged = "Authentication-Results: mail.x.test; dmarc=pass\r\n";
        for (is_elsewhere, expected) in [(true, ""), (false, forged)] {
            let store = Arc::new(MemoryStore::new());
            let address = "ana@x.test".parse().unwrap();
            store.add_account(&address, Credentials::default()).await.unwrap();
            let account = store.account(&address).await.unwrap().unwrap();
            let (clock, server) = (Arc::new(SystemClock), "pop.y.test:110".to_owned());
            let mut mailbox =
                StoreDestination::new(store.clone(), clock, account.clone(), server, Purpose::Move);
            if is_elsewhere {
                mailbox = mailbox.without_results_of(&ours);
            }
            for end in ["A: b\r\n\r\nbody\r\n", ""] {
                mailbox.begin(None).await.unwrap();
                for piece in format!("Subject: s\r\n{forged}{end}").as_bytes().chunks(7) {
                    mailbox.write(piece).await.unwrap();
                }
                mailbox.end().await.unwrap();
            }
            let maildrop = store.maildrop(account.id).await.unwrap();
            assert_eq!(maildrop.len(), 2);
            for (listed, end) in maildrop.iter().zip(["A: b\r\n\r\nbody\r\n", ""]) {
                let entry = store.entry(account.id, FolderId::INBOX, listed.uid).await.unwrap();
                let chunk = store.chunk(entry.unwrap().content, 0).await.unwrap().unwrap();
                let content = String::from_utf8(chunk.to_vec()).unwrap();
                assert_eq!(content, format!("Subject: s\r\n{expected}{end}"));
            }
        }
    }
}
