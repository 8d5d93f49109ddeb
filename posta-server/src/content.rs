//! Content on its way into the store: completed, counted, given on chunk by chunk, within a budget
//! that all sessions share.

use posta_mail::{
    MailId, Timestamp,
    crlf::CrlfLines,
    header::HeaderCompleter,
    originators::{OriginatorError, Originators},
};
use posta_store::{CHUNK, Store, StoreError};
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Octets of content that may be in memory over all sessions. A session that holds more than
/// 32 KiB takes a whole chunk's worth and keeps it until that chunk is in the store, so one that has
/// its share can always go on, and those that have none wait, in their order, without being read.
#[derive(Debug, Clone)]
pub struct Budget(Arc<Semaphore>);

impl Budget {
    /// So many octets, and at least one chunk.
    #[must_use]
    pub fn new(octets: usize) -> Self {
        Self(Arc::new(Semaphore::new((octets / CHUNK).max(1))))
    }
}

/// Octets of a message that a session may hold without a share of the budget.
pub(crate) const FREE: usize = 32 * 1024;

/// A message whose content is arriving.
pub(crate) struct Incoming {
    pub(crate) id: MailId,
    pub(crate) time: Timestamp,
    completer: Option<HeaderCompleter>,
    /// Servers that it came through.
    pub(crate) hops: usize,
    /// Counts the octets that it has as lines.
    lines: CrlfLines,
    /// Whether it has octets outside ASCII.
    pub(crate) is_eight_bit: bool,
    /// Its Message-ID field.
    pub(crate) message_id: Option<String>,
    /// Who wrote and sent it, where that matters.
    pub(crate) originators: Option<Box<Result<Originators, OriginatorError>>>,
    /// Chunks that the store has.
    pub(crate) chunks: u32,
    /// What it does not have yet.
    pub(crate) rest: Vec<u8>,
    pub(crate) failed: Option<StoreError>,
    /// Its part of the budget, once it needs one.
    share: Option<OwnedSemaphorePermit>,
}

impl Incoming {
    /// A message that begins with its trace fields.
    pub(crate) fn new(
        id: MailId,
        time: Timestamp,
        trace: Vec<u8>,
        completer: HeaderCompleter,
    ) -> Self {
        let mut lines = CrlfLines::default();
        lines.count(&trace);
        Self {
            id,
            time,
            completer: Some(completer),
            lines,
            hops: 0,
            is_eight_bit: false,
            message_id: None,
            originators: None,
            chunks: 0,
            rest: trace,
            failed: None,
            share: None,
        }
    }

    /// Octets of the content so far.
    pub(crate) fn octets(&self) -> u64 {
        u64::from(self.chunks) * CHUNK as u64 + self.rest.len() as u64
    }

    /// Octets that it gains as lines ([`posta_store::Entry::added`]), once it is finished.
    pub(crate) fn added(&self) -> u64 {
        self.lines.octets().saturating_sub(self.octets())
    }

    pub(crate) async fn push(&mut self, content: &[u8], store: &dyn Store, budget: &Budget) {
        if self.share.is_none() && self.rest.len() + content.len() > FREE {
            // Closed only when the program ends.
            self.share = budget.0.clone().acquire_owned().await.ok();
        }
        self.is_eight_bit |= !content.is_ascii();
        let before = self.rest.len();
        match &mut self.completer {
            None => self.rest.extend_from_slice(content),
            Some(completer) => {
                completer.push(content, &mut self.rest);
                if completer.is_done() {
                    self.hops = completer.hops();
                    self.message_id = completer.message_id();
                    self.originators = completer.take_originators().map(Box::new);
                    self.completer = None;
                }
            }
        }
        self.lines.count(&self.rest[before..]);
        // The last chunk goes with the acceptance, so one that is full stays until more comes.
        while self.rest.len() > CHUNK && self.failed.is_none() {
            let chunk = &self.rest[..CHUNK];
            if let Err(error) = store.append(self.id, self.chunks, chunk).await {
                self.failed = Some(error);
            }
            self.chunks += 1;
            self.rest.drain(..CHUNK);
        }
        if self.failed.is_some() {
            self.rest.clear();
        }
        if self.share.is_some() && self.rest.len() <= FREE {
            // Behind the others for the next chunk: a slow sender must not hold up all.
            self.rest.shrink_to(FREE);
            self.share = None;
        }
    }

    pub(crate) fn finish(&mut self) {
        let before = self.rest.len();
        if let Some(mut completer) = self.completer.take() {
            self.hops = completer.hops();
            self.message_id = completer.message_id();
            self.originators = completer.take_originators().map(Box::new);
            completer.finish(&mut self.rest);
        }
        // Binary content may lack the end of its last line, which is added whenever lines are wanted.
        self.lines.count(&self.rest[before..]);
        self.lines.finish();
    }
}
