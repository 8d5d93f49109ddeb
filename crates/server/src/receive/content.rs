//! Content on its way into the store: completed, counted, and stored chunk by chunk, within a memory
//! budget that all sessions share (`limits/memory.rs`).
//!
//! A session may hold a little, [`FREE`] octets, without asking. For more it takes a share of the
//! budget, fills a chunk with it and gives both away. If no share is free, and whenever a sender stops
//! or is slow, the content so far is *set aside* instead: written to the store under a separate id, as
//! pieces that belong to no message. When these and the following content make a chunk, or the message
//! ends, they are read back and joined. A sender therefore holds memory only while it is quick; a
//! message that arrives at once is never set aside, and one that is set aside costs its octets twice on
//! the disk, but no more. The pieces are removed with the end of the message, accepted or not; those
//! that a crash leaves behind, at the next start.

mod header_count;

use crate::{
    deliver::Message,
    directory::store_failed,
    limits::memory::{Budget, ContentMemory, Crowded, EnvelopeMemory, Holding, MemoryOwner},
    sign::outgoing::Outgoing,
};
use header_count::HeaderCount;
use posta_mail::{MailId, Reply, ThreadId, Timestamp, crlf::CrlfLines};
use posta_mime::{
    convert::HeaderSections,
    header::HeaderCompleter,
    originators::{OriginatorError, Originators},
};
use posta_origin::{
    header::HEADER_SECTION,
    observer::{Needs, Observed, Observer},
    results::ResultsRemover,
};
use posta_store::{CHUNK, Envelope, Origin, Store, StoreError};
use std::time::Duration;
use tokio::{sync::OwnedSemaphorePermit, time::Instant};

/// The number of octets of a message that a session may hold without a share of the budget.
pub(crate) const FREE: usize = 32 * 1024;

/// The number of octets that a sender may leave in memory while it sends nothing, or little.
const KEPT: usize = 8 * 1024;

/// The time without input after which the content of a sender that holds more is set aside.
pub(crate) const LULL: Duration = Duration::from_secs(1);

/// The period over which the pace is judged, and the number of octets that must arrive in it. A sender
/// that sends a little from time to time thus holds memory no longer than one that stops.
const PACE: (Duration, usize) = (Duration::from_secs(2), FREE);

/// The reason why content could not be stored.
#[derive(Debug)]
pub(crate) enum ContentFailure {
    Store(StoreError),
    Crowded,
}

impl ContentFailure {
    /// Returns the reply to the end of the data.
    pub(crate) fn reply(&self) -> Reply {
        match self {
            Self::Store(error) => store_failed(error),
            Self::Crowded => {
                let words = "More mail arrives at once than can be written, try again later";
                Reply::new(452, (4, 3, 1), words)
            }
        }
    }
}

/// A message whose content is arriving.
pub(crate) struct Incoming {
    pub(crate) id: MailId,
    pub(crate) time: Timestamp,
    /// Observes the content as it was sent, if its origin is checked.
    observer: Option<Box<Observer>>,
    /// Counts the octets of the header section.
    header_count: HeaderCount,
    /// The memory of the observer's header section.
    header_memory: EnvelopeMemory,
    /// Removes forged results.
    remover: Option<ResultsRemover>,
    completer: Option<HeaderCompleter>,
    /// The number of servers that the message has passed through.
    pub(crate) hops: usize,
    /// Counts the octets of the content in the form of lines.
    lines: CrlfLines,
    /// Whether the content has octets outside ASCII.
    pub(crate) is_eight_bit: bool,
    /// Determines whether the message needs SMTPUTF8, if the client requested that.
    headers: Option<Box<HeaderSections>>,
    /// The value of the Message-ID field.
    pub(crate) message_id: Option<String>,
    /// The conversation that the header section determines.
    thread: Option<ThreadId>,
    /// The authors and the sender, if these matter.
    pub(crate) originators: Option<Box<Result<Originators, OriginatorError>>>,
    /// The watcher of the message in the form in which it will be sent, if it is to be signed.
    pub(crate) outgoing: Option<Box<Outgoing>>,
    /// The fields that sign or seal it, once it has come whole.
    pub(crate) signatures: String,
    /// The number of chunks that the store has.
    pub(crate) chunks: u32,
    /// The content that the store does not have yet.
    pub(crate) rest: Vec<u8>,
    pub(crate) failure: Option<ContentFailure>,
    owner: MemoryOwner,
    /// The share of the budget, while there is one.
    share: Option<Holding>,
    /// The content between the chunks and the rest, which is set aside.
    aside: Aside,
    pace: Option<Window>,
    /// Whether the sender was too slow for a share.
    is_slow: bool,
}

/// Pieces in the store that are not part of a message yet.
struct Aside {
    id: MailId,
    pieces: u32,
    octets: usize,
}

/// The time since which octets are counted, and their number.
struct Window {
    start: Instant,
    octets: usize,
}

impl Incoming {
    /// Returns a message that begins to arrive, with memory for this many octets. `aside` is an id that
    /// is used for nothing else.
    pub(crate) fn new(
        (id, aside): (MailId, MailId),
        time: Timestamp,
        owner: MemoryOwner,
        room: usize,
        completer: HeaderCompleter,
    ) -> Self {
        Self {
            id,
            time,
            observer: None,
            header_count: HeaderCount::default(),
            header_memory: EnvelopeMemory::default(),
            remover: None,
            completer: Some(completer),
            hops: 0,
            lines: CrlfLines::default(),
            is_eight_bit: false,
            headers: None,
            message_id: None,
            thread: None,
            originators: None,
            outgoing: None,
            signatures: String::new(),
            chunks: 0,
            rest: Vec::with_capacity(room),
            failure: None,
            owner,
            share: None,
            aside: Aside { id: aside, pieces: 0, octets: 0 },
            pace: None,
            is_slow: false,
        }
    }

    /// Makes the message one for which the client requested SMTPUTF8.
    pub(crate) fn saying_utf8(self) -> Self {
        Self { headers: Some(Box::default()), ..self }
    }

    /// Makes the message be observed for the checks of its origin.
    pub(crate) fn observing(self, needs: Needs) -> Self {
        Self { observer: Some(Box::new(Observer::new(needs))), ..self }
    }

    /// Makes a remover take fields out of the message.
    pub(crate) fn without_results(self, remover: Option<ResultsRemover>) -> Self {
        Self { remover, ..self }
    }

    /// Returns the observer, if there is one.
    pub(crate) fn observer(&self) -> Option<&Observer> {
        self.observer.as_deref()
    }

    /// Returns the observations, once the message has arrived completely.
    pub(crate) fn take_observed(&mut self) -> Option<Observed> {
        self.observer.take().map(|observer| observer.finish())
    }

    /// Returns whether the header sections so far can travel with SMTPUTF8 only.
    pub(crate) fn needs_utf8(&self) -> bool {
        self.headers.as_ref().is_some_and(|headers| headers.need_utf8())
    }

    /// Returns the conversation that the message belongs to, once its header section is over.
    pub(crate) fn thread(&self) -> ThreadId {
        self.thread.unwrap_or_else(|| ThreadId::alone(self.id))
    }

    /// Returns the number of octets of content so far.
    pub(crate) fn octets(&self) -> u64 {
        u64::from(self.chunks) * CHUNK as u64 + self.pending() as u64
    }

    /// Returns the number of octets that the content gains as lines ([`posta_store::Entry::added`]),
    /// once it is complete.
    pub(crate) fn added(&self) -> u64 {
        self.lines.octets().saturating_sub(self.octets())
    }

    /// Returns the message, which has come whole, in the form for delivery: with this head, and with the origin and the
    /// envelope that the caller knows.
    pub(crate) fn into_message(self, head: Vec<u8>, origin: Origin, envelope: Envelope) -> Message {
        Message {
            octets: self.octets() + head.len() as u64,
            added: self.added(),
            thread: self.thread(),
            id: self.id,
            time: self.time,
            head,
            chunks: self.chunks,
            rest: self.rest,
            hops: self.hops,
            message_id: self.message_id,
            origin,
            envelope,
            hold: None,
            refused: Vec::new(),
            is_submitted: false,
            checked: None,
            records: Vec::new(),
        }
    }

    /// Returns the number of octets that are in no chunk yet.
    fn pending(&self) -> usize {
        self.aside.octets + self.rest.len()
    }

    /// Takes content as it arrives.
    pub(crate) async fn push(&mut self, content: &[u8], store: &dyn Store, budget: &Budget) {
        if self.failure.is_some() {
            return;
        }
        self.observe(content, budget);
        if self.share.is_none() && self.rest.len() + content.len() > FREE {
            self.share = if self.is_slow { None } else { budget.share(self.owner) };
            if self.share.is_none() && !self.rest.is_empty() {
                // The content is set aside first, so that a session that waits for its turn to write
                // holds as little as possible.
                self.set_aside(store, budget).await;
            }
        }
        self.take(content);
        if self.share.is_some() {
            self.write_chunks(store).await;
        } else if self.rest.len() > FREE {
            self.set_aside(store, budget).await;
        }
        self.judge_pace(content.len(), store, budget).await;
        if self.share.is_some() && self.rest.len() <= FREE {
            self.rest.shrink_to(FREE);
            self.share = None;
        }
    }

    /// Returns whether the message holds more memory than it may while nothing arrives.
    pub(crate) fn holds_much(&self) -> bool {
        self.rest.len() > KEPT
    }

    /// Writes the content in memory to the store.
    pub(crate) async fn set_aside(&mut self, store: &dyn Store, budget: &Budget) {
        match budget.writing(self.owner).await {
            Ok(_turn) => {
                self.write_chunks(store).await;
                self.write_piece(store).await;
            }
            Err(Crowded) => self.fail(ContentFailure::Crowded),
        }
        self.share = None;
        self.pace = None;
    }

    /// Brings the end of the content into [`Incoming::rest`], to be accepted with it. The result must be
    /// held until then.
    pub(crate) async fn finish(
        &mut self,
        store: &dyn Store,
        budget: &Budget,
    ) -> Option<OwnedSemaphorePermit> {
        if self.failure.is_some() {
            return None;
        }
        let mut turn = None;
        if self.aside.pieces > 0 {
            match budget.writing(self.owner).await {
                Ok(permit) => turn = Some(permit),
                Err(Crowded) => self.fail(ContentFailure::Crowded),
            }
            self.take_back(store).await;
        }
        let before = self.rest.len();
        if let Some(mut remover) = self.remover.take() {
            remover.finish(&mut |octets| complete(&mut self.completer, octets, &mut self.rest));
        }
        if let Some(mut completer) = self.completer.take() {
            self.read(&mut completer);
            completer.finish(&mut self.rest);
        }
        // Binary content may lack the end of its last line, which is added whenever lines are required.
        self.note(before);
        self.lines.finish();
        self.write_chunks(store).await;
        turn
    }

    /// Returns its parts of the budget, given its turn to write, to be held for as long as its octets are in memory: that of
    /// the content, and that of the header section, whose signatures and seals the results of the checks have.
    pub(crate) fn take_memory(
        &mut self,
        turn: Option<OwnedSemaphorePermit>,
    ) -> (ContentMemory, EnvelopeMemory) {
        let content = match (self.share.take(), turn) {
            (Some(share), _) => ContentMemory::Share { _share: share },
            (None, Some(turn)) => ContentMemory::Turn { turn },
            (None, None) => ContentMemory::Free,
        };
        (content, std::mem::take(&mut self.header_memory))
    }

    /// Makes the store discard the content of a message that is not accepted.
    pub(crate) async fn abandon(&self, store: &dyn Store) {
        let parts = [(self.id, self.chunks), (self.aside.id, self.aside.pieces)];
        for (id, _) in parts.into_iter().filter(|(_, chunks)| *chunks > 0) {
            if let Err(error) = store.discard(id).await {
                tracing::error!(%error, "content that was abandoned could not be dropped");
            }
        }
    }

    fn take(&mut self, content: &[u8]) {
        let before = self.rest.len();
        match &mut self.remover {
            None => complete(&mut self.completer, content, &mut self.rest),
            Some(remover) => {
                let (completer, rest) = (&mut self.completer, &mut self.rest);
                remover.push(content, &mut |octets| complete(completer, octets, rest));
            }
        }
        self.remover.take_if(|remover| remover.is_done());
        if let Some(mut completer) = self.completer.take_if(|completer| completer.is_done()) {
            self.read(&mut completer);
        }
        self.note(before);
    }

    /// Reads the facts that a completer collected from the header section.
    fn read(&mut self, completer: &mut HeaderCompleter) {
        self.hops = completer.hops();
        self.message_id = completer.message_id();
        self.thread = completer.thread();
        self.originators = completer.take_originators().map(Box::new);
    }

    /// Lends the observer content as it was sent. A header section that is kept for the checks, or to be signed, counts
    /// against the budget.
    fn observe(&mut self, content: &[u8], budget: &Budget) {
        let is_observed = self.observer.as_ref().is_some_and(|it| it.header().is_none());
        if is_observed || self.outgoing.as_ref().is_some_and(|it| it.is_in_header()) {
            let octets = self.header_count.count(content).min(HEADER_SECTION);
            if !self.header_memory.add(octets, budget, self.owner) {
                (self.observer, self.outgoing) = (None, None);
                return self.fail(ContentFailure::Crowded);
            }
        }
        if let Some(observer) = &mut self.observer {
            observer.write(content);
        }
    }

    /// Records the facts about the octets that were added to the rest.
    fn note(&mut self, before: usize) {
        let added = &self.rest[before..];
        self.lines.count(added);
        self.is_eight_bit |= !added.is_ascii();
        if let Some(headers) = &mut self.headers {
            headers.push(added);
        }
        if let Some(outgoing) = &mut self.outgoing {
            outgoing.write(added);
        }
    }

    /// Sets aside the content of a slow sender, who gets no share for this message again.
    async fn judge_pace(&mut self, octets: usize, store: &dyn Store, budget: &Budget) {
        if !self.holds_much() {
            return;
        }
        let window = || Window { start: Instant::now(), octets: 0 };
        let window = self.pace.get_or_insert_with(window);
        window.octets += octets;
        let (within, enough) = PACE;
        if window.octets >= enough {
            self.pace = None;
        } else if window.start.elapsed() >= within {
            self.is_slow = true;
            self.set_aside(store, budget).await;
        }
    }

    /// Stores each full chunk. The last chunk is part of the acceptance, so a full one stays until more
    /// content arrives.
    async fn write_chunks(&mut self, store: &dyn Store) {
        while self.failure.is_none() && self.pending() > CHUNK {
            self.take_back(store).await;
            if self.failure.is_some() {
                return;
            }
            match store.append(self.id, self.chunks, &self.rest[..CHUNK]).await {
                Ok(()) => {
                    self.chunks += 1;
                    self.rest.drain(..CHUNK);
                }
                Err(error) => self.fail(ContentFailure::Store(error)),
            }
            // The time that the store takes is not the sender's.
            self.pace = None;
        }
    }

    async fn write_piece(&mut self, store: &dyn Store) {
        if self.rest.is_empty() {
            return;
        }
        match store.append(self.aside.id, self.aside.pieces, &self.rest).await {
            Ok(()) => {
                self.aside.pieces += 1;
                self.aside.octets += self.rest.len();
                self.rest = Vec::new();
            }
            Err(error) => self.fail(ContentFailure::Store(error)),
        }
    }

    /// Reads the content that was set aside back to the front of the rest.
    async fn take_back(&mut self, store: &dyn Store) {
        if self.failure.is_some() || self.aside.pieces == 0 {
            return;
        }
        match self.read_pieces(store).await {
            Ok(mut whole) => {
                whole.extend_from_slice(&self.rest);
                self.rest = whole;
                (self.aside.pieces, self.aside.octets) = (0, 0);
            }
            Err(error) => self.fail(ContentFailure::Store(error)),
        }
    }

    async fn read_pieces(&self, store: &dyn Store) -> Result<Vec<u8>, StoreError> {
        let Aside { id, pieces, octets } = self.aside;
        let mut whole = Vec::with_capacity(octets + self.rest.len());
        for index in 0..pieces {
            let piece = store.chunk(id, index).await?;
            whole.extend_from_slice(&piece.ok_or_else(missing)?);
        }
        if whole.len() != octets {
            return Err(missing());
        }
        store.discard(id).await?;
        Ok(whole)
    }

    /// Discards the content, and takes no more. The client is informed at the end.
    fn fail(&mut self, failure: ContentFailure) {
        self.failure = Some(failure);
        self.rest = Vec::new();
        self.share = None;
    }
}

/// Appends content, passing it through the completer as long as that needs it.
fn complete(completer: &mut Option<HeaderCompleter>, content: &[u8], rest: &mut Vec<u8>) {
    match completer {
        Some(completer) => completer.push(content, rest),
        None => rest.extend_from_slice(content),
    }
}

fn missing() -> StoreError {
    StoreError::Damaged("content that was set aside is missing".into())
}
