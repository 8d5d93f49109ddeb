//! Content on its way into the store: completed, counted, given on chunk by chunk, within a budget
//! that all sessions share (`budget.rs`).
//!
//! A session holds a little without asking, [`FREE`] octets. For more it takes a share, fills a
//! chunk with it and gives both away. Where no share is free, and whenever a sender stops or is
//! slow, what has come is *set aside* instead: written to the store under an id of its own, as
//! pieces that no message shows. When they and what follows make a chunk, or the message ends, they
//! are read back and put together. So a sender holds memory only while it is quick, a message that
//! comes at once is never set aside, and one that is costs its octets twice on the disk, no more.
//! Pieces go with the message, accepted or not; what a crash leaves of them goes at the next start.

use crate::{
    directory::store_failed,
    limits::memory::{Budget, Crowded, EnvelopeMemory, Holding, MemoryOwner},
    sign::outgoing::Outgoing,
};
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
use posta_store::{CHUNK, Store, StoreError};
use std::time::Duration;
use tokio::{sync::OwnedSemaphorePermit, time::Instant};

/// Octets of a message that a session may hold without a share of the budget.
pub(crate) const FREE: usize = 32 * 1024;

/// Octets that a sender may leave in memory while it sends nothing, or little.
const KEPT: usize = 8 * 1024;

/// How long a sender that holds more may send nothing, after which it is set aside.
pub(crate) const LULL: Duration = Duration::from_secs(1);

/// Over what time its pace is judged, and the octets that have to come in it: whoever sends a little
/// again and again holds memory no longer than whoever stops.
const PACE: (Duration, usize) = (Duration::from_secs(2), FREE);

/// Why content could not be kept.
#[derive(Debug)]
pub(crate) enum ContentFailure {
    Store(StoreError),
    Crowded,
}

impl ContentFailure {
    /// The reply to the end of the data.
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
    /// Watches it as it is sent, where its origin is checked.
    observer: Option<Box<Observer>>,
    /// What the observer's header section takes.
    header_memory: EnvelopeMemory,
    /// Takes forged results out.
    remover: Option<ResultsRemover>,
    completer: Option<HeaderCompleter>,
    /// Servers that it came through.
    pub(crate) hops: usize,
    /// Counts the octets that it has as lines.
    lines: CrlfLines,
    /// Whether it has octets outside ASCII.
    pub(crate) is_eight_bit: bool,
    /// Tells whether it needs SMTPUTF8, where the client says so.
    headers: Option<Box<HeaderSections>>,
    /// Its Message-ID field.
    pub(crate) message_id: Option<String>,
    /// The conversation that its header section names.
    thread: Option<ThreadId>,
    /// Who wrote and sent it, where that matters.
    pub(crate) originators: Option<Box<Result<Originators, OriginatorError>>>,
    /// The watcher of the message in the form in which it will be sent, if it is to be signed.
    pub(crate) outgoing: Option<Box<Outgoing>>,
    /// The fields that sign or seal it, once it has come whole.
    pub(crate) signatures: String,
    /// Chunks that the store has.
    pub(crate) chunks: u32,
    /// What it does not have yet.
    pub(crate) rest: Vec<u8>,
    pub(crate) failure: Option<ContentFailure>,
    owner: MemoryOwner,
    /// Its part of the budget, while it has one.
    share: Option<Holding>,
    /// What stands between the chunks and the rest.
    aside: Aside,
    pace: Option<Window>,
    /// Whether its sender was too slow for a share.
    is_slow: bool,
}

/// Pieces in the store that are not part of a message yet.
struct Aside {
    id: MailId,
    pieces: u32,
    octets: usize,
}

/// Since when octets are counted, and how many came.
struct Window {
    start: Instant,
    octets: usize,
}

impl Incoming {
    /// A message that begins to arrive, with memory for so many octets. `aside` is an id that nothing else has.
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

    /// The same, of a client that says SMTPUTF8.
    pub(crate) fn saying_utf8(self) -> Self {
        Self { headers: Some(Box::default()), ..self }
    }

    /// The same, watched for the checks of its origin.
    pub(crate) fn observing(self, needs: Needs) -> Self {
        Self { observer: Some(Box::new(Observer::new(needs))), ..self }
    }

    /// The same, without the fields that a remover takes out.
    pub(crate) fn without_results(self, remover: Option<ResultsRemover>) -> Self {
        Self { remover, ..self }
    }

    /// Returns what watches it, if anything does.
    pub(crate) fn observer(&self) -> Option<&Observer> {
        self.observer.as_deref()
    }

    /// Hands out what there was to see of it, once it has come whole.
    pub(crate) fn take_observed(&mut self) -> Option<Observed> {
        self.observer.take().map(|observer| observer.finish())
    }

    /// Whether its header sections can travel by SMTPUTF8 only, as far as they have come.
    pub(crate) fn needs_utf8(&self) -> bool {
        self.headers.as_ref().is_some_and(|headers| headers.need_utf8())
    }

    /// Returns the conversation that it belongs to, once its header section is over.
    pub(crate) fn thread(&self) -> ThreadId {
        self.thread.unwrap_or_else(|| ThreadId::alone(self.id))
    }

    /// Octets of the content so far.
    pub(crate) fn octets(&self) -> u64 {
        u64::from(self.chunks) * CHUNK as u64 + self.pending() as u64
    }

    /// Octets that it gains as lines ([`posta_store::Entry::added`]), once it is finished.
    pub(crate) fn added(&self) -> u64 {
        self.lines.octets().saturating_sub(self.octets())
    }

    /// Octets that are in no chunk yet.
    fn pending(&self) -> usize {
        self.aside.octets + self.rest.len()
    }

    /// Takes content that came.
    pub(crate) async fn push(&mut self, content: &[u8], store: &dyn Store, budget: &Budget) {
        if self.failure.is_some() {
            return;
        }
        self.observe(content, budget);
        if self.share.is_none() && self.rest.len() + content.len() > FREE {
            self.share = if self.is_slow { None } else { budget.share(self.owner) };
            if self.share.is_none() && !self.rest.is_empty() {
                // Before more comes: whoever waits for a turn to write holds as little as may be.
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

    /// Whether what it holds is more than it may keep while nothing comes.
    pub(crate) fn holds_much(&self) -> bool {
        self.rest.len() > KEPT
    }

    /// Writes what it holds to the store, out of memory.
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

    /// Brings the end of the content into [`Incoming::rest`], to be accepted with it. What it
    /// returns is to be held until then.
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
        // Binary content may lack the end of its last line, which is added whenever lines are wanted.
        self.note(before);
        self.lines.finish();
        self.write_chunks(store).await;
        turn
    }

    /// Returns its part of the budget, to be held for as long as its octets are in memory.
    pub(crate) fn take_share(&mut self) -> Option<Holding> {
        self.share.take()
    }

    /// Has the store drop what it holds of a message that is not accepted.
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

    /// Reads what a completer gathered of the header section.
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
            let octets = content.len().min(HEADER_SECTION);
            if !self.header_memory.add(octets, budget, self.owner) {
                (self.observer, self.outgoing) = (None, None);
                return self.fail(ContentFailure::Crowded);
            }
        }
        if let Some(observer) = &mut self.observer {
            observer.write(content);
        }
    }

    /// Notes what there is to know of the octets that were added to the rest.
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

    /// Sets aside what a slow sender holds. It gets no share for this message again.
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

    /// Gives the store each chunk that is full. The last goes with the acceptance, so one that is
    /// full stays until more comes.
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
            // What the store takes is not the sender's time.
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

    /// Reads back what was set aside, to the front of the rest.
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

    /// Keeps nothing any more, and takes nothing: the client hears of it at the end.
    fn fail(&mut self, failure: ContentFailure) {
        self.failure = Some(failure);
        self.rest = Vec::new();
        self.share = None;
    }
}

/// Appends content, by way of the completer while that is interested.
fn complete(completer: &mut Option<HeaderCompleter>, content: &[u8], rest: &mut Vec<u8>) {
    match completer {
        Some(completer) => completer.push(content, rest),
        None => rest.extend_from_slice(content),
    }
}

fn missing() -> StoreError {
    StoreError::Damaged("content that was set aside is missing".into())
}
