//! Content on its way to the server, by DATA or by BDAT, and the envelope that leaves with its end.

use super::{
    Client, Envelope, Expected, Question, State, Ticket,
    asked::{Continuation, Ending, Writing},
    framing::{Follower, Framing},
    transaction::Transaction,
};
use crate::command::HelloVerb;
use bytes::Bytes;
use posta_mail::{Reply, dots::DotEncoder};
use std::io::Write as _;

impl Client {
    pub(super) fn begin_content(&mut self, transaction: Box<Transaction>) {
        let framing = match transaction.chunked {
            true => Framing::Chunks { next: None, sent: 0 },
            false => Framing::Dots(DotEncoder::default()),
        };
        self.ask_content(transaction, framing);
    }

    pub(super) fn ask_content(&mut self, mut transaction: Box<Transaction>, framing: Framing) {
        let first = !std::mem::replace(&mut transaction.has_content, true);
        let converted = transaction.converted;
        self.left = Some(transaction.fates(false));
        let ticket = Ticket::new(Writing { transaction, framing });
        self.state = State::Ask(Question::Content { first, converted, ticket });
    }

    pub(super) fn content(&mut self, writing: Writing, content: Bytes, output: &mut Vec<u8>) {
        let Writing { transaction, framing } = writing;
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
                    self.left = None;
                    return self.expect(Expected::ChunkSent(transaction, content));
                }
                Framing::Chunks { next: Some(content), sent: sent + 1 }
            }
        };
        self.ask_content(transaction, framing);
    }

    pub(super) fn end_of_content(&mut self, writing: Writing, output: &mut Vec<u8>) {
        let Writing { transaction, framing } = writing;
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
        if transaction.pipelined && transaction.is_last_round() && self.may_begin() {
            self.left = Some(transaction.fates(true));
            let ticket = Ticket::new(Ending { transaction, chunks });
            self.state = State::Ask(Question::Ahead(ticket));
        } else {
            self.left = None;
            self.expect(Expected::End { transaction, chunks, follower: None });
        }
    }

    /// Sends an envelope together with the end of the content before it.
    pub(super) fn follow(&mut self, envelope: Envelope, output: &mut Vec<u8>) -> Follower {
        if self.capabilities.objection(&envelope, self.secured).is_some()
            || self.capabilities.must_convert(&envelope)
        {
            return Follower::Waiting(envelope);
        }
        let mut transaction = Transaction::new(envelope, &self.capabilities, false);
        if transaction.chunked {
            // RFC 3030 §2: if a chunk is refused, nothing else ends that transaction.
            output.extend_from_slice(b"RSET\r\n");
            transaction.resetting = true;
        }
        self.write_round(&transaction, output);
        Follower::Begun(transaction)
    }

    pub(super) fn final_reply(
        &mut self,
        mut transaction: Box<Transaction>,
        chunks: usize,
        follower: Option<Follower>,
        reply: Reply,
        output: &mut Vec<u8>,
    ) {
        let is_refused = !reply.code.is_positive();
        if let Some(chunks) = chunks.checked_sub(1) {
            if is_refused {
                transaction.decide_round(&reply);
            }
            return self.expect(Expected::End { transaction, chunks, follower });
        }
        if self.options.hello == HelloVerb::Lhlo {
            transaction.decide_next(reply);
            if transaction.wants_content() {
                return self.expect(Expected::End { transaction, chunks, follower });
            }
        } else {
            transaction.decide_round(&reply);
        }
        match follower {
            None => {
                let is_open = is_refused && transaction.chunked;
                self.round_is_over(transaction, is_open, output);
            }
            Some(follower) => {
                let outcome = transaction.outcome(&self.capabilities);
                let ticket = Ticket::new(Continuation::Follow(follower));
                self.state = State::Ask(Question::Done(outcome, ticket));
            }
        }
    }
}

fn write_chunk(chunk: &[u8], last: &str, output: &mut Vec<u8>) {
    let _ = write!(output, "BDAT {}{last}\r\n", chunk.len());
    output.extend_from_slice(chunk);
}
