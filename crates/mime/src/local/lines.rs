//! Text with local line ends, made lines that end in CRLF.

/// Makes CRLF of local line ends, piece by piece.
///
/// A CR that ends no line is a line's end in the body, where programs write it to draw over a line (`curl` does), but a
/// space in the header section: a program that removes LF from what strangers give it, and forgets CR, must not let
/// them add fields.
#[derive(Debug)]
pub struct LocalLines {
    /// Whether a line with nothing but a dot ends the text.
    ends_at_dot: bool,
    in_header: bool,
    /// The octets of the current line so far, as far as it matters: none, one, or more.
    line: Line,
    /// Whether the last octets were CR.
    after_cr: bool,
    is_done: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Line {
    Empty,
    /// A dot, which is held back.
    Dot,
    Begun,
}

impl LocalLines {
    /// Returns what converts a message from its beginning.
    #[must_use]
    pub fn new(ends_at_dot: bool) -> Self {
        Self { ends_at_dot, in_header: true, line: Line::Empty, after_cr: false, is_done: false }
    }

    /// Returns whether the dot that ends the text was read. What follows is ignored.
    #[must_use]
    pub const fn is_done(&self) -> bool {
        self.is_done
    }

    /// Converts a piece, and appends it to `output`.
    pub fn push(&mut self, mut text: &[u8], output: &mut Vec<u8>) {
        while !text.is_empty() && !self.is_done {
            let run = memchr::memchr2(b'\r', b'\n', text).unwrap_or(text.len());
            if run > 0 {
                self.end_cr(output);
                self.pass(&text[..run], output);
                text = &text[run..];
                continue;
            }
            match text[0] {
                // Of several CR before LF, as careless programs write them, one is meant.
                b'\r' => self.after_cr = true,
                _ => {
                    self.after_cr = false;
                    self.end_line(output);
                }
            }
            text = &text[1..];
        }
    }

    /// Ends the text, and its last line.
    pub fn finish(mut self, output: &mut Vec<u8>) {
        self.end_cr(output);
        if !self.is_done && self.line != Line::Empty {
            self.end_line(output);
        }
    }

    /// Takes octets that end no line.
    fn pass(&mut self, run: &[u8], output: &mut Vec<u8>) {
        let mut run = run;
        if self.line == Line::Empty && self.ends_at_dot && run[0] == b'.' {
            self.line = Line::Dot;
            run = &run[1..];
        }
        if !run.is_empty() {
            if self.line == Line::Dot {
                output.push(b'.');
            }
            self.line = Line::Begun;
            output.extend_from_slice(run);
        }
    }

    /// Decides about a CR that was not followed by LF.
    fn end_cr(&mut self, output: &mut Vec<u8>) {
        if std::mem::take(&mut self.after_cr) {
            match self.in_header {
                true => self.pass(b" ", output),
                false => self.end_line(output),
            }
        }
    }

    fn end_line(&mut self, output: &mut Vec<u8>) {
        match self.line {
            Line::Dot => {
                self.is_done = true;
                return;
            }
            Line::Empty => self.in_header = false,
            Line::Begun => {}
        }
        self.line = Line::Empty;
        output.extend_from_slice(b"\r\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn converted(text: &str, piece: usize, ends_at_dot: bool) -> String {
        let mut lines = LocalLines::new(ends_at_dot);
        let mut output = Vec::new();
        for piece in text.as_bytes().chunks(piece) {
            lines.push(piece, &mut output);
        }
        lines.finish(&mut output);
        String::from_utf8(output).unwrap()
    }

    #[test]
    fn line_ends_become_crlf() {
        for (text, ends_at_dot, expected) in [
            ("", true, ""),
            ("a: b\n\nc", true, "a: b\r\n\r\nc\r\n"),
            ("a: b\r\n\r\nc\r\n", true, "a: b\r\n\r\nc\r\n"),
            ("a: b\r\r\n\r\r\nc\n", true, "a: b\r\n\r\nc\r\n"),
            ("a: b\rBcc: x\n\nc", true, "a: b Bcc: x\r\n\r\nc\r\n"),
            ("a: b\n\n1 %\r2 %\r3 %\n", true, "a: b\r\n\r\n1 %\r\n2 %\r\n3 %\r\n"),
            ("a: b\n\nc\n.\nd\n", true, "a: b\r\n\r\nc\r\n"),
            ("a: b\n\nc\n.\nd\n", false, "a: b\r\n\r\nc\r\n.\r\nd\r\n"),
            ("a: b\n\nc\n.", true, "a: b\r\n\r\nc\r\n"),
            ("a: b\n\n..\n.c\n.\r\nd\n", true, "a: b\r\n\r\n..\r\n.c\r\n"),
            ("a: b\n\nc\r", true, "a: b\r\n\r\nc\r\n"),
        ] {
            for piece in [1, 2, 3, 99] {
                assert_eq!(converted(text, piece, ends_at_dot), expected, "{text:?} by {piece}");
            }
        }
    }
}
