//! Content on its way in: decoded, counted, and judged at its end.

use crate::{
    chunk_decoder::ChunkDecoder,
    profile::{Profile, Service},
    words,
};
use posta_mail::{
    Reply,
    dots::{BareNewlines, Decoded, DotDecoder},
    envelope::Body,
};

/// The content of a transaction, decoded by `D`: of DATA by a [`DotDecoder`], of BDAT by a [`ChunkDecoder`].
#[derive(Debug)]
pub struct Incoming<D> {
    decoder: D,
    /// The octets so far, those over the limit included.
    octets: u64,
    limit: u64,
    /// Whether a bare newline refuses the message.
    strict: bool,
}

/// The result of decoding a piece of the content of DATA.
pub(crate) enum Taking<'i> {
    Content(&'i [u8]),
    NeedInput,
    End,
}

/// The part of decoding that DATA and BDAT have in common.
pub trait Decoder {
    /// Returns a decoder at the start of the content.
    fn new(bare_newlines: BareNewlines) -> Self;

    /// Returns whether a CR or LF came alone.
    fn saw_bare_newline(&self) -> bool;
}

impl Decoder for DotDecoder {
    fn new(bare_newlines: BareNewlines) -> Self {
        Self::new(bare_newlines)
    }

    fn saw_bare_newline(&self) -> bool {
        self.saw_bare_newline()
    }
}

impl Decoder for ChunkDecoder {
    fn new(bare_newlines: BareNewlines) -> Self {
        Self::new(bare_newlines)
    }

    fn saw_bare_newline(&self) -> bool {
        self.saw_bare_newline()
    }
}

impl<D: Decoder> Incoming<D> {
    pub(crate) fn new(profile: &Profile, body: Body) -> Self {
        // A neighbour that submits or delivers may have local line ends; between servers they are
        // the tool of smugglers. In binary content they are content.
        let is_binary = body == Body::BinaryMime;
        let refuses = profile.service == Service::Smtp && !profile.normalise_newlines;
        let strict = refuses && !is_binary;
        let bare_newlines =
            if strict || is_binary { BareNewlines::Note } else { BareNewlines::Normalise };
        Self { decoder: D::new(bare_newlines), octets: 0, limit: profile.message_size, strict }
    }

    /// Returns the octets so far, those over the limit included.
    pub(crate) const fn octets(&self) -> u64 {
        self.octets
    }

    /// Returns why the content is refused, as far as it came.
    pub(crate) fn objection(&self) -> Option<Reply> {
        if self.octets > self.limit {
            return Some(words::too_big(self.limit));
        }
        (self.strict && self.decoder.saw_bare_newline()).then(words::bare_newline)
    }

    /// Counts content. Returns the part of it that is within the limit, if any.
    fn within_limit<'i>(&mut self, content: &'i [u8]) -> Option<&'i [u8]> {
        let room = self.limit.saturating_sub(self.octets);
        self.octets += content.len() as u64;
        let room = usize::try_from(room).unwrap_or(usize::MAX);
        (room > 0).then(|| &content[..content.len().min(room)])
    }
}

impl Incoming<DotDecoder> {
    /// Decodes from the front of `input`. Content beyond the limit is counted and dropped, since the protocol
    /// has no reply for it before the end.
    pub(crate) fn take<'i>(&mut self, input: &mut &'i [u8]) -> Taking<'i> {
        loop {
            match self.decoder.next(input) {
                Decoded::NeedInput => return Taking::NeedInput,
                Decoded::End => return Taking::End,
                Decoded::Content(content) => {
                    if let Some(content) = self.within_limit(content) {
                        return Taking::Content(content);
                    }
                }
            }
        }
    }
}

impl Incoming<ChunkDecoder> {
    /// Decodes octets of a chunk from the front of `input`. Returns `None` when all of them are consumed. Content
    /// beyond the limit is counted and dropped, since the protocol has no reply for it before the end.
    pub(crate) fn take<'i>(&mut self, input: &mut &'i [u8]) -> Option<&'i [u8]> {
        loop {
            let content = self.decoder.next(input)?;
            if let Some(content) = self.within_limit(content) {
                return Some(content);
            }
        }
    }

    /// Returns the octets that were held back, if any, after the last ones of a BDAT came.
    pub(crate) fn finish(&mut self) -> Option<&'static [u8]> {
        let held = self.decoder.finish()?;
        self.within_limit(held)
    }
}
