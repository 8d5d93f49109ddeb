//! Replies on the wire (RFC 5321 §4.2): writing ours, reading theirs.

use posta_mail::{
    EnhancedStatus, Reply, ReplyCode, limits,
    line::{Cut, cut_reply_line},
    visible::or_space,
};
use std::io::Write as _;

/// Appends a reply of one line.
pub fn write(reply: &Reply, output: &mut Vec<u8>) {
    // Writing to a vector cannot fail.
    let _ = write!(output, "{reply}\r\n");
}

/// Appends a reply of several lines, each with the same code and status.
pub fn write_lines<T: std::fmt::Display>(code: u16, lines: &[T], output: &mut Vec<u8>) {
    for (index, line) in lines.iter().enumerate() {
        let separator = if index + 1 == lines.len() { ' ' } else { '-' };
        let _ = write!(output, "{code}{separator}{line}\r\n");
    }
}

/// Why something that the other side sent is no reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReplyError {
    /// A line does not begin with a code of three digits, or its code differs from the first's.
    Malformed,
    /// The reply exceeds [`limits::SMTP_REPLY_LINE`], [`limits::SMTP_REPLY_LINES`] or [`limits::SMTP_REPLY`].
    TooLong,
}

/// Collects the lines of one reply.
#[derive(Debug, Default)]
pub struct ReplyReader {
    code: Option<ReplyCode>,
    lines: usize,
    octets: usize,
    text: String,
}

impl ReplyReader {
    /// Takes the next reply off the front of `input`; returns `None` until it has come whole.
    ///
    /// # Errors
    /// Fails when the input is no reply.
    pub fn next(&mut self, input: &mut &[u8]) -> Result<Option<Reply>, ReplyError> {
        loop {
            match cut_reply_line(input, limits::SMTP_REPLY_LINE) {
                Cut::Incomplete => return Ok(None),
                Cut::TooLong => return Err(ReplyError::TooLong),
                Cut::Line(line) => {
                    if let Some(reply) = self.line(line)? {
                        return Ok(Some(reply));
                    }
                }
            }
        }
    }

    fn line(&mut self, line: &[u8]) -> Result<Option<Reply>, ReplyError> {
        let code = line
            .get(..3)
            .filter(|digits| digits.iter().all(u8::is_ascii_digit))
            .map(|d| {
                u16::from(d[0] - b'0') * 100 + u16::from(d[1] - b'0') * 10 + u16::from(d[2] - b'0')
            })
            .and_then(ReplyCode::new)
            .ok_or(ReplyError::Malformed)?;
        if self.code.is_some_and(|first| first != code) {
            return Err(ReplyError::Malformed);
        }
        self.code = Some(code);
        self.lines += 1;
        self.octets += line.len();
        if self.lines > limits::SMTP_REPLY_LINES || self.octets > limits::SMTP_REPLY {
            return Err(ReplyError::TooLong);
        }
        let last = match line.get(3) {
            None | Some(b' ') => true,
            Some(b'-') => false,
            Some(_) => return Err(ReplyError::Malformed),
        };
        self.keep(&String::from_utf8_lossy(line.get(4..).unwrap_or_default()));
        if !last {
            return Ok(None);
        }
        let Self { code: _, text, .. } = std::mem::take(self);
        Ok(Some(whole(code, text)))
    }

    /// Keeps a line's words, as far as there is room for them.
    fn keep(&mut self, words: &str) {
        if self.lines > 1 {
            self.text.push('\n');
        }
        let room = limits::SMTP_REPLY_WORDS.saturating_sub(self.text.len());
        let words = &words[..words.floor_char_boundary(room)];
        // A terminal's escape, a CR that would begin a line of a report.
        self.text.extend(words.chars().map(or_space));
    }
}

/// Splits the enhanced status code, if there is one, off the words.
fn whole(code: ReplyCode, text: String) -> Reply {
    let (first, rest) = text.split_once(' ').unwrap_or((&text, ""));
    match enhanced(first) {
        Some(status) => {
            let again = format!("\n{first} ");
            let words = rest.replace(&again, "\n");
            Reply { code, status: Some(status), text: words.into() }
        }
        None => Reply { code, status: None, text: text.into() },
    }
}

fn enhanced(word: &str) -> Option<EnhancedStatus> {
    let mut parts = word.split('.');
    let class = parts.next()?.parse().ok().filter(|class| matches!(class, 2 | 4 | 5))?;
    let subject = parts.next()?.parse().ok()?;
    let detail = parts.next()?.parse().ok()?;
    parts.next().is_none().then_some(EnhancedStatus { class, subject, detail })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(wire: &str) -> Result<Option<Reply>, ReplyError> {
        ReplyReader::default().next(&mut wire.as_bytes())
    }

    #[test]
    fn replies_of_every_shape() {
        for (wire, code, status, text) in [
            ("250 Ok\r\n", 250, None, "Ok"),
            ("250\r\n", 250, None, ""),
            ("250 2.1.0 Ok\r\n", 250, Some((2, 1, 0)), "Ok"),
            ("250-one\r\n250 two\r\n", 250, None, "one\ntwo"),
            ("550-5.1.1 No\r\n550 5.1.1 such user\r\n", 550, Some((5, 1, 1)), "No\nsuch user"),
            ("220 10.0.0.1 ready\r\n", 220, None, "10.0.0.1 ready"),
            ("354 go\r\n", 354, None, "go"),
            // What steers a terminal, or would begin a line of a report.
            ("550 \u{1b}[2Jgo\rFinal-Recipient: x\0\r\n", 550, None, " [2Jgo Final-Recipient: x "),
            // Lines that end in LF alone, or here in the one and there in the other.
            ("250 Ok\n", 250, None, "Ok"),
            ("250\r\r\n", 250, None, ""),
            ("250-one\n250-two\r\n250 three\n", 250, None, "one\ntwo\nthree"),
            // What turns the direction of the text, or is not seen.
            ("550 \u{202e}\u{2066}o\u{200b}k\u{feff}\u{2028}\r\n", 550, None, "  o k  "),
        ] {
            let reply = read(wire).unwrap().unwrap();
            assert_eq!(reply.code.get(), code, "{wire}");
            assert_eq!(reply.status.map(|s| (s.class, s.subject, s.detail)), status, "{wire}");
            assert_eq!(reply.text, text, "{wire}");
        }
    }

    #[test]
    fn absurd_replies_are_refused() {
        for wire in
            ["hello\r\n", "25\r\n", "250-a\r\n251 b\r\n", "250x\r\n", "099 a\r\n", "600 a\r\n"]
        {
            assert_eq!(read(wire), Err(ReplyError::Malformed), "{wire}");
        }
        assert_eq!(read(&format!("250 {}\r\n", "a".repeat(5000))), Err(ReplyError::TooLong));
        assert_eq!(read(&"250-a\r\n".repeat(1000)), Err(ReplyError::TooLong));
        let line = format!("250-{}\r\n", "a".repeat(1000));
        assert_eq!(read(&line.repeat(limits::SMTP_REPLY / 1000 + 1)), Err(ReplyError::TooLong));
        assert_eq!(read(&"a".repeat(5000)), Err(ReplyError::TooLong), "before its end");
        assert_eq!(read("250-a\r\n"), Ok(None));
    }

    #[test]
    fn no_more_words_are_kept_than_are_worth_it() {
        let line = "\u{219}".repeat(1_500);
        let reply =
            read(&format!("550-{line}\r\n{}550 end\r\n", format!("550-{line}\r\n").repeat(19)));
        let reply = reply.unwrap().unwrap();
        let octets = reply.text.trim_end().len();
        assert!(
            (limits::SMTP_REPLY_WORDS - 4..=limits::SMTP_REPLY_WORDS).contains(&octets),
            "{octets}"
        );
        assert!(reply.text.len() <= limits::SMTP_REPLY_WORDS + limits::SMTP_REPLY_LINES);
    }

    proptest! {
        #[test]
        fn ours_are_read_as_they_were_written(code in 200u16..600, text in "[a-zA-Z<>@ ]{0,40}") {
            let reply = Reply::new(code, (5, 1, 1), text);
            let mut wire = Vec::new();
            write(&reply, &mut wire);
            prop_assert_eq!(ReplyReader::default().next(&mut &wire[..]), Ok(Some(reply)));
        }

        #[test]
        fn any_octets_are_survived(wire: Vec<u8>) {
            let _ = ReplyReader::default().next(&mut &wire[..]);
        }
    }
}
