//! Content on its way to the server, by DATA or by BDAT, and the envelope that leaves with its end.

use super::{Client, Envelope, State, transaction::Transaction};
use crate::command::HelloVerb;
use bytes::Bytes;
use posta_mail::{Reply, dots::DotEncoder};
use std::io::Write as _;

/// How content travels.
#[derive(Debug)]
pub(super) enum Framing {
    /// To the line with a single dot.
    Dots(DotEncoder),
    /// In chunks whose lengths are said. The next to be sent is kept back until it is known whether
    /// it is the last.
    Chunks { next: Option<Bytes>, sent: usize },
}

/// The message after the one under way.
#[derive(Debug)]
pub(super) enum Following {
    Nothing,
    /// Its envelope is on its way.
    Begun(Box<Transaction>),
    /// It has to wait.
    Later(Envelope),
}

impl Client {
    pub(super) fn begin_content(&mut self, transaction: Box<Transaction>) {
        let framing = match transaction.chunked {
            true => Framing::Chunks { next: None, sent: 0 },
            false => Framing::Dots(DotEncoder::default()),
        };
        self.state = State::Content(transaction, framing);
    }

    pub(super) fn content(
        &mut self,
        transaction: Box<Transaction>,
        framing: Framing,
        content: Bytes,
        output: &mut Vec<u8>,
    ) {
        let framing = match framing {
            framing if content.is_empty() => framing,
            Framing::Dots(mut encoder) => {
                encoder.push(&content, output);
                Framing::Dots(encoder)
            }
            Framing::Chunks { next: None, sent } => Framing::Chunks { next: Some(content), sent },
            Framing::Chunks { next: Some(chunk), sent } => {
                write_chunk(&chunk, "", output);
                if !transaction.pipelined {
                    self.state = State::ChunkSent(transaction, content);
                    return;
                }
                Framing::Chunks { next: Some(content), sent: sent + 1 }
            }
        };
        self.state = State::Content(transaction, framing);
    }

    pub(super) fn end_of_content(
        &mut self,
        transaction: Box<Transaction>,
        framing: Framing,
        output: &mut Vec<u8>,
    ) {
        let chunks = match framing {
            Framing::Dots(encoder) => {
                encoder.finish(output);
                0
            }
            Framing::Chunks { next, sent } => {
                write_chunk(&next.unwrap_or_default(), " LAST", output);
                sent
            }
        };
        // What would be sent ahead of a second round would have to wait for it.
        self.state = if transaction.pipelined && transaction.is_last_round() && self.may_begin() {
            State::Ahead(transaction, chunks)
        } else {
            State::End { transaction, chunks, following: Following::Nothing }
        };
    }

    /// Sends an envelope together with the end of the content before it.
    pub(super) fn follow(&mut self, envelope: Envelope, output: &mut Vec<u8>) -> Following {
        if self.capabilities.objection(&envelope, self.secured).is_some()
            || self.capabilities.must_convert(&envelope)
        {
            return Following::Later(envelope);
        }
        let mut transaction = Transaction::new(envelope, &self.capabilities, false);
        if transaction.chunked {
            // RFC 3030 §2: if a chunk is refused, nothing else ends that transaction.
            output.extend_from_slice(b"RSET\r\n");
            transaction.resetting = true;
        }
        self.write_round(&transaction, output);
        Following::Begun(transaction)
    }

    pub(super) fn final_reply(
        &mut self,
        mut transaction: Box<Transaction>,
        chunks: usize,
        following: Following,
        reply: Reply,
        output: &mut Vec<u8>,
    ) {
        let is_refused = !reply.code.is_positive();
        if let Some(chunks) = chunks.checked_sub(1) {
            if is_refused {
                transaction.decide_round(&reply);
            }
            self.state = State::End { transaction, chunks, following };
            return;
        }
        if self.options.hello == HelloVerb::Lhlo {
            transaction.decide_next(reply);
            if transaction.wants_content() {
                self.state = State::End { transaction, chunks, following };
                return;
            }
        } else {
            transaction.decide_round(&reply);
        }
        match following {
            Following::Nothing => {
                let is_open = is_refused && transaction.chunked;
                self.round_is_over(transaction, is_open, output);
            }
            following => {
                self.state = State::Done(transaction.outcome(&self.capabilities), following)
            }
        }
    }
}

fn write_chunk(chunk: &[u8], last: &str, output: &mut Vec<u8>) {
    let _ = write!(output, "BDAT {}{last}\r\n", chunk.len());
    output.extend_from_slice(chunk);
}
