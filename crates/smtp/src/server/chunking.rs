//! BDAT (RFC 3030 §2): content in chunks whose size the command tells.
//!
//! Whatever is wrong with a chunk, none of its octets are commands: they are read and dropped. Where their number
//! is unknown, or too large to read for nothing, the connection is closed. Otherwise somebody who makes a client send
//! a chunk (RFC 3030 §4.3 pipelines it) could make it send commands.

use super::{
    Question, Server, State, Taken, Ticket,
    asked::Asked,
    transaction::{MailPhase, ReceivingChunks},
};
use crate::{reply, words};
use posta_mail::{Reply, Step};

/// How many times the size of a message is read of content that can only be refused.
const READ_FOR_NOTHING: u64 = 2;

/// A BDAT whose octets are coming, and belong to the message.
#[derive(Debug)]
pub(super) struct Chunk {
    pub(super) receiving: ReceivingChunks,
    /// The size that the command told.
    pub(super) size: u64,
    /// The octets that are still to come.
    pub(super) left: u64,
    pub(super) last: bool,
}

/// A BDAT that is refused, and whose octets are dropped as they come.
#[derive(Debug)]
pub(super) struct DroppedChunk {
    pub(super) phase: MailPhase,
    /// The octets that are still to come.
    left: u64,
    refusal: Reply,
}

/// Returns whether a line begins as the command does. It need not have come whole.
pub(super) fn begins_bdat(line: &[u8]) -> bool {
    let start = line.trim_ascii_start();
    let is_named = start.get(..4).is_some_and(|name| name.eq_ignore_ascii_case(b"BDAT"));
    is_named && start.get(4).is_none_or(|octet| !octet.is_ascii_alphanumeric())
}

impl Server {
    pub(super) fn bdat(
        &mut self,
        phase: MailPhase,
        size: u64,
        last: bool,
        output: &mut Vec<u8>,
    ) -> Taken {
        let octets = phase.octets().saturating_add(size);
        match phase {
            MailPhase::Idle => {
                let refusal = words::out_of_order("MAIL and RCPT come first");
                self.drop_chunk(MailPhase::Idle, size, refusal, output);
            }
            MailPhase::Envelope(transaction) if transaction.recipients == 0 => {
                let phase = MailPhase::Envelope(transaction);
                self.drop_chunk(phase, size, words::no_recipients(), output);
            }
            MailPhase::Envelope(_) | MailPhase::BetweenChunks(_)
                if octets > self.read_for_nothing() =>
            {
                self.close_with(&words::too_big(self.profile.message_size), output);
            }
            MailPhase::Envelope(transaction) => {
                let ticket = Ticket::new(Asked::FirstChunk { transaction, size, last });
                return Some(self.ask_within(Question::Content(ticket)));
            }
            MailPhase::BetweenChunks(receiving) => {
                self.state = State::Chunk(Chunk { receiving, size, left: size, last });
            }
        }
        None
    }

    /// Returns the octets of content that are read at most, though they can only be refused.
    fn read_for_nothing(&self) -> u64 {
        self.profile.message_size.saturating_mul(READ_FOR_NOTHING)
    }

    /// Refuses a chunk: once its octets came, or at once and for good where they are too many.
    pub(super) fn drop_chunk(
        &mut self,
        phase: MailPhase,
        size: u64,
        refusal: Reply,
        output: &mut Vec<u8>,
    ) {
        if size > self.read_for_nothing() {
            return self.close_with(&refusal, output);
        }
        self.state = State::DroppedChunk(DroppedChunk { phase, left: size, refusal });
    }

    /// Takes octets of the BDAT that is coming.
    pub(super) fn chunk<'i>(
        &mut self,
        mut chunk: Chunk,
        input: &mut &'i [u8],
        output: &mut Vec<u8>,
    ) -> Option<Step<'i, Question>> {
        let (mut octets, rest) = input.split_at(at_most(chunk.left, input));
        let before = octets.len();
        if let Some(content) = chunk.receiving.incoming.take(&mut octets) {
            let taken = before - octets.len();
            *input = &input[taken..];
            chunk.left -= taken as u64;
            self.state = State::Chunk(chunk);
            return Some(Step::Content(content));
        }
        *input = rest;
        chunk.left -= before as u64;
        if chunk.left > 0 {
            self.state = State::Chunk(chunk);
            return Some(Step::NeedInput);
        }
        self.end_of_chunk(chunk, output)
    }

    fn end_of_chunk(&mut self, mut chunk: Chunk, output: &mut Vec<u8>) -> Taken {
        if chunk.last {
            // A CR at the very end was held back, and is content after all.
            if let Some(held) = chunk.receiving.incoming.finish() {
                self.state = State::Chunk(chunk);
                return Some(Step::Content(held));
            }
            return Some(self.end_of_content(chunk.receiving, output));
        }
        if let Some(refusal) = chunk.receiving.objection() {
            // RFC 3030 §2: a refused chunk ends the transaction.
            reply::write(&refusal, output);
            return Some(self.abandon());
        }
        let words = format!("{} octets received", chunk.size);
        reply::write(&Reply::new(250, (2, 0, 0), words), output);
        self.state = State::Command(MailPhase::BetweenChunks(chunk.receiving));
        None
    }

    /// Drops octets of the BDAT that is coming, and refuses it after the last of them.
    pub(super) fn dropped_chunk(
        &mut self,
        mut chunk: DroppedChunk,
        input: &mut &[u8],
        output: &mut Vec<u8>,
    ) -> Taken {
        let here = at_most(chunk.left, input);
        *input = &input[here..];
        chunk.left -= here as u64;
        if chunk.left > 0 {
            self.state = State::DroppedChunk(chunk);
            return Some(Step::NeedInput);
        }
        self.bad_command(chunk.phase, &chunk.refusal, output);
        None
    }
}

/// Returns how many octets of the input belong to a chunk of which so many are left.
fn at_most(left: u64, input: &[u8]) -> usize {
    usize::try_from(left).unwrap_or(usize::MAX).min(input.len())
}
