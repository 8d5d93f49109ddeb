//! A message on its way to the client, piece by piece.

use super::ok;
use crate::{maildrop::Maildrop, subject_mark::SubjectMark, top::TopFilter, words::Words};
use posta_mail::dots::DotEncoder;
use std::io::Write as _;

/// Octets of a CRLF.
const LINE_END: u64 = 2;

/// A message that is being read.
#[derive(Debug)]
pub(super) struct Reading {
    index: usize,
    /// Octets that were read of the stored message.
    offset: u64,
    /// Octets of the message's lines, as LIST announced them.
    octets: u64,
    /// Marks the subject, if the message is shown with a mark.
    mark: Option<SubjectMark>,
    shown: Shown,
    /// There is no more to be read.
    is_over: bool,
}

/// What the client is shown of a message: all of it, or its top.
#[derive(Debug)]
struct Shown {
    encoder: DotEncoder,
    top: Option<TopFilter>,
}

impl Shown {
    fn push(&mut self, content: &[u8], output: &mut Vec<u8>) {
        match &mut self.top {
            None => self.encoder.push(content, output),
            Some(top) => top.push(content, |lines| self.encoder.push(lines, output)),
        }
    }

    /// Returns the octets of the lines so far.
    fn sent(&self) -> u64 {
        self.top.as_ref().map_or_else(|| self.encoder.octets(), TopFilter::octets)
    }
}

impl Reading {
    /// Begins to read a message of a maildrop; of its body, so many lines if a number is given.
    pub(super) fn new(maildrop: &impl Maildrop, index: usize, lines: Option<u64>) -> Self {
        let mark = maildrop.is_marked(index).then(SubjectMark::default);
        let shown = Shown { encoder: DotEncoder::default(), top: lines.map(TopFilter::new) };
        Self { index, offset: 0, octets: maildrop.octets(index), mark, shown, is_over: false }
    }

    pub(super) const fn has_nothing_to_read(&self) -> bool {
        self.octets == 0
    }

    pub(super) const fn is_at_start(&self) -> bool {
        self.offset == 0
    }

    /// Returns what is wanted next: the message's index, the offset, and whether all of it is wanted.
    pub(super) const fn wanted(&self) -> (usize, u64, bool) {
        (self.index, self.offset, self.shown.top.is_none())
    }

    /// Takes the next piece; an empty one ends the message. Returns whether it can be part of a message
    /// of that length: LIST's octets and RETR's must be the same (RFC 1939 §11).
    pub(super) fn take(&mut self, content: &[u8], output: &mut Vec<u8>) -> bool {
        self.offset += content.len() as u64;
        self.is_over |= content.is_empty();
        let Self { mark, shown, .. } = self;
        match mark {
            None => shown.push(content, output),
            Some(mark) => {
                mark.push(content, |lines| shown.push(lines, output));
                if content.is_empty() {
                    mark.finish(|lines| shown.push(lines, output));
                    return self.shown.sent() == self.octets;
                }
            }
        }
        if content.is_empty() {
            // The last line's end is sent, and counted, whether the message has it or not.
            return self.shown.encoder.lacks_end() && self.octets - self.shown.sent() == LINE_END;
        }
        self.shown.sent() <= self.octets
    }

    pub(super) fn is_complete(&self) -> bool {
        let top_is_shown = self.shown.top.as_ref().is_some_and(TopFilter::is_done);
        self.is_over || top_is_shown || self.shown.sent() == self.octets
    }

    pub(super) fn write_status(&self, words: &Words, output: &mut Vec<u8>) {
        match self.shown.top {
            None => {
                let _ = write!(output, "+OK {} {}\r\n", self.octets, words.octets);
            }
            Some(_) => ok(words.top, output),
        }
    }

    /// Appends the end of the message.
    pub(super) fn finish(self, output: &mut Vec<u8>) {
        self.shown.encoder.finish(output);
    }
}
