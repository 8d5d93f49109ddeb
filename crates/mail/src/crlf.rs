//! Conversion of arbitrary octets into lines that end in CRLF and in nothing else.
//!
//! Binary content (RFC 3030), a file, or a message fetched from another server can contain CR or LF on
//! their own. Within the framing of [`crate::dots`] such octets are dangerous: a program that ends lines
//! at LF takes LF `.` CRLF for the end of the message, and the text after it for the server's next reply
//! or the client's next command. Therefore every lone CR or LF is sent as CRLF, and a missing line end
//! is added to the last line (RFC 5321 §2.3.8, RFC 1939 §3). The stored original is not changed.

use memchr::memchr2;

/// The number of octets examined at a time. Most content needs no change and is passed on in long runs.
const BLOCK: usize = 4 * 1024;

/// Passes octets on, piece by piece, and replaces each lone CR or LF with CRLF. The result does not
/// depend on where the pieces are split.
#[derive(Debug, Clone, Default)]
pub struct CrlfLines {
    /// Whether the last octet was a CR, for which CRLF was passed on. A LF that follows belongs to that
    /// CR.
    after_cr: bool,
    /// Whether the last line has no end yet.
    open: bool,
    /// The number of octets passed on.
    octets: u64,
}

impl CrlfLines {
    /// Takes the next piece and hands on lines: slices of the piece wherever possible, and never half of
    /// a CRLF.
    pub fn push(&mut self, piece: &[u8], mut emit: impl FnMut(&[u8])) {
        let mut at = usize::from(self.after_cr && piece.first() == Some(&b'\n'));
        if piece.is_empty() {
            return;
        }
        self.after_cr = piece.last() == Some(&b'\r');
        // The start of the octets that are not passed on yet.
        let mut from = at;
        while at < piece.len() {
            let end = piece.len().min(at + BLOCK);
            if is_paired(&piece[at.saturating_sub(1).max(from)..end]) && piece[from] != b'\n' {
                // A CR at the end of the block is examined again together with the octet after it.
                at = end - usize::from(end < piece.len() && piece[end - 1] == b'\r');
            } else {
                at = self.mend(piece, &mut from, at, end, &mut emit);
            }
        }
        match self.after_cr && from < piece.len() {
            true => {
                self.emit(&piece[from..piece.len() - 1], &mut emit);
                self.emit(b"\r\n", &mut emit);
            }
            false => self.emit(&piece[from..], &mut emit),
        }
    }

    /// Passes on the octets before each lone CR or LF of `piece[at..end]`, and CRLF in place of that
    /// octet. Returns the position to continue from: one octet beyond `end` if `end` would split a CRLF.
    /// A CR at the end of the piece is left for later, since the octet after it is not known yet.
    fn mend(
        &mut self,
        piece: &[u8],
        from: &mut usize,
        mut at: usize,
        end: usize,
        emit: &mut impl FnMut(&[u8]),
    ) -> usize {
        while let Some(found) = piece.get(at..end).and_then(|block| memchr2(b'\r', b'\n', block)) {
            let found = at + found;
            at = match piece[found..] {
                [b'\r', b'\n', ..] => found + 2,
                [b'\r'] => found + 1,
                _ => {
                    self.emit(&piece[*from..found], emit);
                    self.emit(b"\r\n", emit);
                    *from = found + 1;
                    found + 1
                }
            };
        }
        at.max(end)
    }

    fn emit(&mut self, lines: &[u8], emit: &mut impl FnMut(&[u8])) {
        if !lines.is_empty() {
            self.octets += lines.len() as u64;
            self.open = !lines.ends_with(b"\r\n");
            emit(lines);
        }
    }

    /// Counts a piece without passing it on.
    pub fn count(&mut self, piece: &[u8]) {
        self.push(piece, |_| {});
    }

    /// Ends the content. Returns the line end that the last line lacks: CRLF, or nothing.
    pub fn finish(&mut self) -> &'static [u8] {
        let end: &[u8] = if self.open { b"\r\n" } else { b"" };
        self.emit(end, &mut |_| {});
        end
    }

    /// Returns the number of octets in the lines so far.
    #[must_use]
    pub const fn octets(&self) -> u64 {
        self.octets
    }
}

/// Converts all of `octets` into lines.
#[must_use]
pub fn lines_of(octets: &[u8]) -> Vec<u8> {
    let mut lines = CrlfLines::default();
    let mut converted = Vec::with_capacity(octets.len() + 2);
    lines.push(octets, |piece| converted.extend_from_slice(piece));
    converted.extend_from_slice(lines.finish());
    converted
}

/// Returns whether every CR is followed by LF and every LF preceded by CR, without regard to the
/// neighbours of the slice. The loop has no branch, so the compiler compares sixteen octets at a time.
fn is_paired(octets: &[u8]) -> bool {
    let pairs = octets.iter().zip(octets.get(1..).unwrap_or_default());
    let broken = |(&before, &after): (&u8, &u8)| (before == b'\r') ^ (after == b'\n');
    pairs.fold(0, |sum, pair| sum | u8::from(broken(pair))) == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Returns the converted octets and the number of octets counted.
    fn converted(octets: &[u8], sizes: &[usize]) -> (Vec<u8>, u64) {
        let (mut lines, mut passed) = (CrlfLines::default(), Vec::new());
        let (mut rest, mut sizes) = (octets, sizes.iter().cycle());
        while !rest.is_empty() {
            let size = sizes.next().map_or(1, |&size| size.clamp(1, rest.len()));
            lines.push(&rest[..size], |piece| {
                assert!(!piece.is_empty() && !piece.starts_with(b"\n"), "no half of a CRLF");
                passed.extend_from_slice(piece);
            });
            rest = &rest[size..];
        }
        passed.extend_from_slice(lines.finish());
        (passed, lines.octets())
    }

    #[test]
    fn each_bare_newline_becomes_crlf() {
        for (octets, expected) in [
            (&b""[..], &b""[..]),
            (b"a", b"a\r\n"),
            (b"a\r\n", b"a\r\n"),
            (b"a\nb\r", b"a\r\nb\r\n"),
            (b"\n", b"\r\n"),
            (b"\r", b"\r\n"),
            (b"\n\r", b"\r\n\r\n"),
            (b"\r\r\n", b"\r\n\r\n"),
            (b"\r\n\n", b"\r\n\r\n"),
            (b"a\n.\r\n-ERR\r\n", b"a\r\n.\r\n-ERR\r\n"),
            (b"\0\r\0\n\xff", b"\0\r\n\0\r\n\xff\r\n"),
        ] {
            for sizes in [&[100][..], &[1], &[2], &[3, 1]] {
                let (passed, counted) = converted(octets, sizes);
                assert_eq!(passed, expected, "{} in {sizes:?}", octets.escape_ascii());
                assert_eq!(counted, expected.len() as u64);
            }
        }
    }

    /// Covers the boundaries between blocks, too.
    #[test]
    fn long_pieces_are_looked_at_in_blocks() {
        for before in BLOCK - 3..BLOCK + 3 {
            for (middle, expected) in [
                ("\r\n", "\r\n"),
                ("\r\n\r\n", "\r\n\r\n"),
                ("\n", "\r\n"),
                ("\r", "\r\n"),
                ("\r\r\n\n", "\r\n\r\n\r\n"),
                ("\n\r", "\r\n\r\n"),
            ] {
                for after in [0, 1, 2 * BLOCK] {
                    let [text, lines] = [middle, expected].map(|middle| {
                        [&"a".repeat(before), middle, &"b".repeat(after), "\r\n"].concat()
                    });
                    let (passed, _) = converted(text.as_bytes(), &[usize::MAX]);
                    assert!(passed == lines.as_bytes(), "{before} {middle:?} {after}");
                }
            }
        }
    }

    /// Converts octet by octet: slow, but obviously correct.
    fn reference(octets: &[u8]) -> Vec<u8> {
        let mut lines = Vec::new();
        let mut rest = octets;
        while let Some((&first, after)) = rest.split_first() {
            rest = match (first, after) {
                (b'\r', [b'\n', after @ ..]) => after,
                _ => after,
            };
            match first {
                b'\r' | b'\n' => lines.extend_from_slice(b"\r\n"),
                octet => lines.push(octet),
            }
        }
        if !lines.is_empty() && !lines.ends_with(b"\r\n") {
            lines.extend_from_slice(b"\r\n");
        }
        lines
    }

    proptest! {
        #[test]
        fn any_octets_become_lines(
            octets in prop_oneof![any::<Vec<u8>>(), "[a.\0\r\n]{0,80}".prop_map(String::into_bytes)],
            sizes in proptest::collection::vec(1usize..9, 1..9),
        ) {
            let expected = reference(&octets);
            for sizes in [&sizes[..], &[usize::MAX]] {
                let (passed, counted) = converted(&octets, sizes);
                prop_assert_eq!(&passed, &expected);
                prop_assert_eq!(counted, expected.len() as u64);
            }
            prop_assert_eq!(lines_of(&octets), expected);
        }
    }
}
