//! Hashes of a message's body, computed as it arrives: canonicalization in slices (RFC 6376 §3.4.3,
//! §3.4.4) and SHA-256.

use aws_lc_rs::digest::{Context, SHA256};

/// The maximal number of hashes of one body: one for each of [`crate::dkim::SIGNATURES`], one for the
/// ARC chain and one for signing.
pub const BODY_HASHES: usize = 10;

/// The number of octets examined at a time. Most text is already in canonical form, and is hashed in
/// long runs.
const BLOCK: usize = 4 * 1024;

/// The canonical form of a text, in which changes that servers commonly make do not matter (RFC 6376
/// §3.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Canonicalization {
    /// The text is unchanged, except for blank lines at the end of a body.
    #[default]
    Simple,
    /// Folded white space, and white space at the ends of lines, do not matter.
    Relaxed,
}

impl Canonicalization {
    /// Returns the name used in signatures.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Simple => "simple",
            Self::Relaxed => "relaxed",
        }
    }
}

/// The part of a body that a signature covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct BodyCover {
    /// The canonical form of the body.
    pub canonicalization: Canonicalization,
    /// The number of octets of that form that are covered (`l=`); all if none.
    pub length: Option<u64>,
}

impl BodyCover {
    /// The coverage of this server's own signatures: the whole body, in relaxed form.
    pub const OURS: Self = Self { canonicalization: Canonicalization::Relaxed, length: None };
}

/// The hash of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BodyHash {
    /// The SHA-256 hash of the covered part.
    pub sha256: [u8; 32],
    /// The number of octets in the canonical form, covered or not.
    pub octets: u64,
}

/// Hashes a body in each of the requested ways.
#[derive(Default)]
pub(crate) struct BodyHasher {
    hashes: Vec<(BodyCover, Form, Covered)>,
}

impl BodyHasher {
    /// Adds a hash, unless the same one exists or there are already [`BODY_HASHES`]. Must be called
    /// before the body arrives.
    pub(crate) fn add(&mut self, cover: BodyCover) {
        let is_known = self.hashes.iter().any(|(known, ..)| *known == cover);
        if !is_known && self.hashes.len() < BODY_HASHES {
            self.hashes.push((
                cover,
                Form::new(cover.canonicalization),
                Covered::new(cover.length),
            ));
        }
    }

    /// Takes the next slice of the body.
    pub(crate) fn write(&mut self, slice: &[u8]) {
        for (_, form, covered) in &mut self.hashes {
            form.push(slice, &mut |octets| covered.update(octets));
        }
    }

    pub(crate) fn finish(self) -> BodyHashes {
        let hashes = self.hashes.into_iter().map(|(cover, mut form, mut covered)| {
            form.finish(&mut |octets| covered.update(octets));
            (cover, covered.finish())
        });
        BodyHashes { hashes: hashes.collect() }
    }
}

/// The hashes of a body, by coverage.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BodyHashes {
    hashes: Vec<(BodyCover, BodyHash)>,
}

impl BodyHashes {
    /// Returns the hash with this coverage, if it was requested before the body arrived.
    #[must_use]
    pub fn get(&self, cover: BodyCover) -> Option<BodyHash> {
        self.hashes.iter().find(|(known, _)| *known == cover).map(|(_, hash)| *hash)
    }
}

/// The hash of the covered part of a canonical form.
struct Covered {
    context: Context,
    left: u64,
    octets: u64,
}

impl Covered {
    fn new(length: Option<u64>) -> Self {
        Self { context: Context::new(&SHA256), left: length.unwrap_or(u64::MAX), octets: 0 }
    }

    fn update(&mut self, octets: &[u8]) {
        self.octets += octets.len() as u64;
        let covered =
            usize::try_from(self.left).map_or(octets.len(), |left| left.min(octets.len()));
        self.left -= covered as u64;
        self.context.update(&octets[..covered]);
    }

    fn finish(self) -> BodyHash {
        let mut sha256 = [0; 32];
        sha256.copy_from_slice(self.context.finish().as_ref());
        BodyHash { sha256, octets: self.octets }
    }
}

/// Converts a body into canonical form, slice by slice. The result does not depend on where the slices
/// are split.
///
/// Octets that may turn out to be dropped are held back as a number: blank lines that may be the last,
/// and white space that may end a line. A body that consists of a gigabyte of CRLF therefore takes no
/// memory.
struct Form {
    canonicalization: Canonicalization,
    /// Whether the last octet was CR, which may be the first half of CRLF.
    after_cr: bool,
    /// Whether white space is held back (relaxed form only).
    after_space: bool,
    /// The number of CRLFs held back.
    ends: u64,
    /// Whether anything has been passed on.
    has_text: bool,
}

impl Form {
    const fn new(canonicalization: Canonicalization) -> Self {
        Self { canonicalization, after_cr: false, after_space: false, ends: 0, has_text: false }
    }

    fn push(&mut self, slice: &[u8], emit: &mut impl FnMut(&[u8])) {
        let mut rest = slice;
        while !rest.is_empty() {
            let block = &rest[..rest.len().min(BLOCK)];
            let plain = self.plain_text(block);
            match plain.is_empty() {
                false => {
                    self.text(plain, emit);
                    rest = &rest[plain.len()..];
                }
                true => {
                    // The output is gathered, since each piece may be as short as a word.
                    let mut gathered = Vec::with_capacity(2 * BLOCK);
                    self.mend(block, &mut |octets: &[u8]| {
                        if gathered.len() + octets.len() > 2 * BLOCK {
                            emit(&gathered);
                            gathered.clear();
                        }
                        gathered.extend_from_slice(octets);
                    });
                    emit(&gathered);
                    rest = &rest[block.len()..];
                }
            }
        }
    }

    /// Returns the beginning of a block that is in canonical form whatever comes after it, if that
    /// beginning is long. Each pair of neighbours is examined without a branch, so the compiler compares
    /// sixteen octets at a time.
    fn plain_text<'a>(&self, block: &'a [u8]) -> &'a [u8] {
        if self.after_cr || self.after_space {
            return b"";
        }
        let is_space = |octet: u8| (octet == b' ') | (octet == b'\t');
        let is_plain = match self.canonicalization {
            Canonicalization::Simple => true,
            Canonicalization::Relaxed => {
                let pairs = block.iter().zip(block.get(1..).unwrap_or_default());
                pairs.fold(0_u8, |bad, (&octet, &next)| {
                    let at_end = is_space(octet) & (is_space(next) | (next == b'\r'));
                    bad | u8::from(at_end | (octet == b'\t'))
                }) == 0
            }
        };
        // White space and line ends at the end cannot be passed on yet, since they may be the last.
        let held = |octet: &u8| matches!(octet, b' ' | b'\t' | b'\r' | b'\n');
        match block.iter().rposition(|octet| !held(octet)) {
            Some(last) if is_plain => &block[..=last],
            _ => b"",
        }
    }

    /// Takes the octets of a block word by word.
    fn mend(&mut self, block: &[u8], emit: &mut impl FnMut(&[u8])) {
        let mut at = 0;
        while at < block.len() {
            let octet = block[at];
            if self.after_cr {
                self.after_cr = false;
                if octet == b'\n' {
                    self.after_space = false;
                    self.ends += 1;
                    at += 1;
                    continue;
                }
                self.text(b"\r", emit);
            }
            match octet {
                b'\r' => {
                    self.after_cr = true;
                    at += 1;
                }
                b' ' | b'\t' if self.canonicalization == Canonicalization::Relaxed => {
                    self.after_space = true;
                    at += 1;
                }
                _ => {
                    let run = self.run(&block[at..]);
                    self.text(&block[at..at + run], emit);
                    at += run;
                }
            }
        }
    }

    /// Returns the length of the text at the beginning of a block: up to CR, and in relaxed form up to
    /// white space.
    fn run(&self, block: &[u8]) -> usize {
        let end = match self.canonicalization {
            Canonicalization::Simple => memchr::memchr(b'\r', block),
            Canonicalization::Relaxed => memchr::memchr3(b'\r', b' ', b'\t', block),
        };
        end.unwrap_or(block.len())
    }

    /// Passes on text, after everything that was held back.
    fn text(&mut self, text: &[u8], emit: &mut impl FnMut(&[u8])) {
        const ENDS: [u8; 64] = *b"\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\
                                 \r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n";
        while self.ends > 0 {
            let ends = self.ends.min(ENDS.len() as u64 / 2);
            // There are at most 32 of them.
            emit(&ENDS[..2 * ends as usize]);
            self.ends -= ends;
        }
        if std::mem::take(&mut self.after_space) {
            emit(b" ");
        }
        self.has_text = true;
        emit(text);
    }

    /// Ends the body: a single CRLF replaces all at its end (§3.4.3), and in relaxed form there is none
    /// if there is no text (§3.4.4).
    fn finish(&mut self, emit: &mut impl FnMut(&[u8])) {
        if std::mem::take(&mut self.after_cr) {
            self.text(b"\r", emit);
        }
        if self.has_text || self.canonicalization == Canonicalization::Simple {
            emit(b"\r\n");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn canonical(body: &[u8], canonicalization: Canonicalization, size: usize) -> Vec<u8> {
        let (mut form, mut output) = (Form::new(canonicalization), Vec::new());
        for piece in body.chunks(size) {
            form.push(piece, &mut |octets| output.extend_from_slice(octets));
        }
        form.finish(&mut |octets| output.extend_from_slice(octets));
        output
    }

    /// Canonicalizes slowly, exactly as described in the RFC.
    fn reference(body: &[u8], canonicalization: Canonicalization) -> Vec<u8> {
        let mut text = body.to_vec();
        if !text.ends_with(b"\r\n") && !text.is_empty() {
            text.extend_from_slice(b"\r\n");
        }
        if canonicalization == Canonicalization::Relaxed {
            let text_of = |octets: Vec<u8>| String::from_utf8(octets).unwrap();
            let lines = text_of(text).split("\r\n").map(reduced).collect::<Vec<_>>();
            text = lines.join("\r\n").into_bytes();
        }
        while text.ends_with(b"\r\n") {
            text.truncate(text.len() - 2);
        }
        if !text.is_empty() || canonicalization == Canonicalization::Simple {
            text.extend_from_slice(b"\r\n");
        }
        text
    }

    fn reduced(line: &str) -> String {
        let mut reduced = String::new();
        for character in line.trim_end_matches([' ', '\t']).chars() {
            match character {
                ' ' | '\t' if reduced.ends_with(' ') => {}
                '\t' => reduced.push(' '),
                other => reduced.push(other),
            }
        }
        reduced
    }

    /// RFC 6376 §3.4.5.
    #[test]
    fn the_example_of_the_rfc() {
        let body = b" C \r\nD \t E\r\n\r\n\r\n";
        assert_eq!(canonical(body, Canonicalization::Relaxed, 100), b" C\r\nD E\r\n");
        assert_eq!(canonical(body, Canonicalization::Simple, 100), b" C \r\nD \t E\r\n");
    }

    #[test]
    fn an_empty_body() {
        for body in [&b""[..], b"\r\n", b"\r\n\r\n\r\n"] {
            assert_eq!(canonical(body, Canonicalization::Relaxed, 1), b"");
            assert_eq!(canonical(body, Canonicalization::Simple, 1), b"\r\n");
        }
        assert_eq!(canonical(b" \t\r\n \r\n", Canonicalization::Relaxed, 3), b"");
    }

    /// RFC 6376 §3.4.3 and §3.4.4 give the hashes of an empty body.
    #[test]
    fn hashes_of_an_empty_body() {
        use base64::{Engine as _, engine::general_purpose::STANDARD};
        for (canonicalization, hash) in [
            (Canonicalization::Simple, "frcCV1k9oG9oKj3dpUqdJg1PxRT2RSN/XKdLCPjaYaY="),
            (Canonicalization::Relaxed, "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="),
        ] {
            let cover = BodyCover { canonicalization, length: None };
            let mut hasher = BodyHasher::default();
            hasher.add(cover);
            hasher.write(b"");
            assert_eq!(STANDARD.encode(hasher.finish().get(cover).unwrap().sha256), hash);
        }
    }

    /// The length counts octets of the canonical form (RFC 6376 §3.5, `l=`).
    #[test]
    fn a_length_covers_the_beginning_of_the_canonical_form() {
        let covers = [Some(0), Some(3), Some(4), Some(9), None]
            .map(|length| BodyCover { canonicalization: Canonicalization::Relaxed, length });
        let mut hasher = BodyHasher::default();
        covers.iter().for_each(|cover| hasher.add(*cover));
        hasher.write(b"a  \t b\r");
        hasher.write(b"\n\r\n");
        let hashes = hasher.finish();
        for (cover, text) in covers.iter().zip(["", "a b", "a b\r", "a b\r\n", "a b\r\n"]) {
            let hash = hashes.get(*cover).unwrap();
            let expected = aws_lc_rs::digest::digest(&SHA256, text.as_bytes());
            assert_eq!((&hash.sha256[..], hash.octets), (expected.as_ref(), 5), "{cover:?}");
        }
    }

    #[test]
    fn hashes_are_bounded_and_shared() {
        let mut hasher = BodyHasher::default();
        for length in (0..100).chain(0..100) {
            hasher.add(BodyCover {
                canonicalization: Canonicalization::Simple,
                length: Some(length),
            });
        }
        assert_eq!(hasher.hashes.len(), BODY_HASHES);
    }

    proptest! {
        #[test]
        fn any_body_has_one_form(
            parts in proptest::collection::vec(
                prop_oneof![
                    "[a \t\r\n]{0,9}",
                    "(\r\n){0,70}",
                    "[a-c ]{0,99}",
                    Just("x y\r\n".repeat(1500)),
                ],
                0..9,
            ),
            size in prop_oneof![1usize..9, Just(BLOCK - 1), Just(usize::MAX)],
        ) {
            let body = parts.concat().into_bytes();
            for canonicalization in [Canonicalization::Simple, Canonicalization::Relaxed] {
                let seen = canonical(&body, canonicalization, size);
                prop_assert_eq!(seen, reference(&body, canonicalization));
            }
        }
    }
}
