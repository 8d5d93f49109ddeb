//! Content on its way in: decoded, counted, and judged at its end.

use crate::{
    profile::{Profile, Service},
    words,
};
use posta_mail::{
    Reply,
    dots::{BareNewlines, Decoded, DotDecoder},
    envelope::Body,
};

/// How the end of the content is marked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    /// By CRLF `.` CRLF: DATA.
    Dot,
    /// By the length that goes before it: BDAT.
    Length,
}

/// The content of a transaction.
#[derive(Debug)]
pub struct Incoming {
    decoder: DotDecoder,
    /// Octets so far, those over the limit included.
    octets: u64,
    limit: u64,
    /// Whether a bare newline refuses the message.
    strict: bool,
}

/// The result of decoding a piece of input.
pub(crate) enum Taking<'i> {
    Content(&'i [u8]),
    NeedInput,
    End,
}

impl Incoming {
    pub(crate) fn new(profile: &Profile, body: Body, framing: Framing) -> Self {
        // A neighbour that submits or delivers may have local line ends; between servers they are
        // the tool of smugglers. In binary content they are content.
        let is_binary = body == Body::BinaryMime;
        let refuses = profile.service == Service::Smtp && !profile.normalise_newlines;
        let strict = refuses && !is_binary;
        let bare_newlines =
            if strict || is_binary { BareNewlines::Note } else { BareNewlines::Normalise };
        let decoder = match framing {
            Framing::Dot => DotDecoder::new(bare_newlines),
            Framing::Length => DotDecoder::without_dots(bare_newlines),
        };
        Self { decoder, octets: 0, limit: profile.message_size, strict }
    }

    /// Decodes from the front of `input`. Content beyond the limit is counted and dropped, since the protocol
    /// has no reply for it before the end.
    pub(crate) fn take<'i>(&mut self, input: &mut &'i [u8]) -> Taking<'i> {
        loop {
            match self.decoder.next(input) {
                Decoded::NeedInput => return Taking::NeedInput,
                Decoded::End => return Taking::End,
                Decoded::Content(content) => {
                    let room = self.limit.saturating_sub(self.octets);
                    self.octets += content.len() as u64;
                    let room = usize::try_from(room).unwrap_or(usize::MAX);
                    if room > 0 {
                        return Taking::Content(&content[..content.len().min(room)]);
                    }
                }
            }
        }
    }

    /// Returns the octets so far, those over the limit included.
    pub(crate) const fn octets(&self) -> u64 {
        self.octets
    }

    /// Returns the octets that were held back, if any, after the last ones of a BDAT came.
    pub(crate) fn finish(&mut self) -> Option<&'static [u8]> {
        self.decoder.finish()
    }

    /// Returns why the content is refused, as far as it came.
    pub(crate) fn objection(&self) -> Option<Reply> {
        if self.octets > self.limit {
            return Some(words::too_big(self.limit));
        }
        (self.strict && self.decoder.saw_bare_newline()).then(words::bare_newline)
    }
}
