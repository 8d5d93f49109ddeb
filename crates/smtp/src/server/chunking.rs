//! BDAT (RFC 3030 §2): content in chunks whose size the command tells.
//!
//! Whatever is wrong with a chunk, its octets are none of them commands: they are read and dropped, or
//! the connection is closed where nobody knows how many they are, or they are too many to be read for
//! nothing. Otherwise a client that is made to send a chunk (RFC 3030 §4.3 has it pipelined) would be
//! made to send commands.

use super::{Asked, Question, Server, State, Taken, Ticket};
use crate::{
    incoming::{Chunk, Incoming, Taking},
    reply, words,
};
use posta_mail::{Reply, Step};

/// How many times the size of a message is read of content that can only be refused.
const READ_FOR_NOTHING: u64 = 2;

/// Returns whether a line begins as the command does. It need not have come whole.
pub(super) fn begins_bdat(line: &[u8]) -> bool {
    let start = line.trim_ascii_start();
    let is_named = start.get(..4).is_some_and(|name| name.eq_ignore_ascii_case(b"BDAT"));
    is_named && start.get(4).is_none_or(|octet| !octet.is_ascii_alphanumeric())
}

impl Server {
    pub(super) fn bdat(&mut self, size: u64, last: bool, output: &mut Vec<u8>) -> Taken {
        let refusal = match &self.transaction {
            None => Some(words::out_of_order("MAIL and RCPT come first")),
            Some(open) if open.recipients == 0 => Some(words::no_recipients()),
            Some(_) => None,
        };
        let limit = self.profile.message_size;
        let incoming = self.transaction.as_ref().and_then(|open| open.incoming.as_ref());
        let octets = incoming.map_or(0, Incoming::octets).saturating_add(size);
        if octets > limit.saturating_mul(READ_FOR_NOTHING) {
            let refusal = refusal.unwrap_or_else(|| words::too_big(limit));
            self.close_with(&refusal, output);
            return None;
        }
        let begun = matches!(&self.transaction, Some(open) if open.incoming.is_some());
        if refusal.is_some() || begun {
            self.state = State::Chunk(Chunk { size, left: size, last, refusal });
            return None;
        }
        Some(self.ask(Question::Content(Ticket::new(Asked::FirstChunk { size, last }))))
    }

    /// Takes octets of the BDAT that is coming.
    pub(super) fn chunk<'i>(
        &mut self,
        input: &mut &'i [u8],
        output: &mut Vec<u8>,
    ) -> Option<Step<'i, Question>> {
        let State::Chunk(chunk) = &mut self.state else { return None };
        let whole: &'i [u8] = input;
        let here = usize::try_from(chunk.left).unwrap_or(usize::MAX).min(whole.len());
        let (mut octets, rest) = whole.split_at(here);
        let incoming = self.transaction.as_mut().and_then(|open| open.incoming.as_mut());
        match incoming.filter(|_| chunk.refusal.is_none()) {
            None => *input = rest,
            Some(incoming) => {
                let decoded = incoming.take(&mut octets);
                *input = &whole[here - octets.len()..];
                if let Taking::Content(content) = decoded {
                    chunk.left -= (here - octets.len()) as u64;
                    return Some(Step::Content(content));
                }
            }
        }
        chunk.left -= here as u64;
        if chunk.left > 0 {
            return Some(Step::NeedInput);
        }
        self.end_of_chunk(output)
    }

    fn end_of_chunk(&mut self, output: &mut Vec<u8>) -> Taken {
        let State::Chunk(chunk) = std::mem::replace(&mut self.state, State::Command) else {
            return None;
        };
        if let Some(refusal) = chunk.refusal {
            self.bad_command(&refusal, output);
            return None;
        }
        if chunk.last {
            let incoming = self.transaction.as_mut().and_then(|open| open.incoming.as_mut());
            // A CR at the very end was held back, and is content after all.
            if let Some(held) = incoming.and_then(Incoming::finish) {
                self.state = State::Chunk(Chunk { left: 0, ..chunk });
                return Some(Step::Content(held));
            }
            return self.end_of_content(output);
        }
        if let Some(refusal) = self.objection() {
            // RFC 3030 §2: a refused chunk ends the transaction.
            reply::write(&refusal, output);
            return self.abandon();
        }
        let words = format!("{} octets received", chunk.size);
        reply::write(&Reply::new(250, (2, 0, 0), words), output);
        None
    }
}
