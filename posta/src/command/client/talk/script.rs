//! A dialogue in a file, such as the ones of webmail.home: what each side says, line by line.
//!
//! `C:` begins a line of the client, `S:` one of the server, `#` a comment.

use super::{
    protocol::{Protocol, Turn},
    screen::{Who, show},
};
use crate::fault::fail;
use anyhow::Result;

/// The longest file that is read, in octets.
pub(super) const FILE: u64 = 1 << 20;

/// The lines of a dialogue, in their order.
#[derive(Debug)]
pub(super) struct Script {
    lines: Vec<(Who, String)>,
    next: usize,
}

impl Script {
    /// Reads a dialogue.
    ///
    /// # Errors
    /// When a line has no mark that says who speaks.
    pub(super) fn parse(text: &str) -> Result<Self> {
        let mut lines = Vec::new();
        for (number, line) in text.lines().enumerate() {
            let line = line.trim_end_matches('\r');
            let content = line.get(2..).unwrap_or_default();
            let content = content.strip_prefix(' ').unwrap_or(content);
            match line.as_bytes() {
                [] | [b'#', ..] => {}
                [b'C', b':', ..] => lines.push((Who::Client, content.to_owned())),
                [b'S', b':', ..] => lines.push((Who::Server, content.to_owned())),
                _ => fail!(
                    "invalid-script",
                    "line {} begins with neither C: (the client says), S: (the server says) nor #",
                    number + 1
                ),
            }
        }
        Ok(Self { lines, next: 0 })
    }

    /// Returns a dialogue without lines.
    pub(super) const fn empty() -> Self {
        Self { lines: Vec::new(), next: 0 }
    }

    /// Returns the next line if this side says it.
    fn take(&mut self, who: Who) -> Option<String> {
        let (speaker, line) = self.lines.get(self.next)?;
        (*speaker == who).then(|| {
            self.next += 1;
            line.clone()
        })
    }

    /// Returns the next line of the client, after those of the server that were not taken.
    pub(super) fn client(&mut self) -> Option<String> {
        while self.take(Who::Server).is_some() {}
        self.take(Who::Client)
    }

    /// Returns the next line of the server, if it speaks next.
    pub(super) fn server(&mut self) -> Option<String> {
        self.take(Who::Server)
    }

    /// Shows the dialogue with the meaning of each line, without any server.
    pub(super) fn show(&self, protocol: &mut dyn Protocol) {
        for (who, line) in &self.lines {
            let understood = match who {
                Who::Client => protocol.sent(line),
                Who::Server => protocol.received(line),
            };
            show(*who, line, &understood.meaning);
            if understood.turn == Turn::Tls {
                protocol.secured();
            }
        }
    }
}

/// Compares the lines of a server with those of a script.
#[derive(Debug, Default)]
pub(super) struct Comparison {
    /// Whether words count as well as codes.
    pub(super) is_exact: bool,
    pub(super) replies: usize,
    pub(super) differences: Vec<String>,
}

impl Comparison {
    /// Takes note of a reply, and of the one that the script has in its place. Only the first line counts, and of that
    /// the code, unless the comparison is exact.
    pub(super) fn reply(&mut self, expected: &[String], found: &[String]) {
        self.replies += 1;
        let code = |line: &String| match line.get(..3) {
            Some("-ER") => "-ERR".to_owned(),
            Some(code) => code.to_owned(),
            None => line.clone(),
        };
        let is_same = match self.is_exact {
            true => expected == found,
            false => expected.first().map(code) == found.first().map(code),
        };
        if !is_same {
            let shown =
                |lines: &[String]| lines.first().cloned().unwrap_or_else(|| "nothing".to_owned());
            let (wanted, got) = (shown(expected), shown(found));
            let where_ = expected.iter().zip(found).position(|(expected, found)| expected != found);
            self.differences.push(match where_ {
                Some(line) if line > 0 => {
                    format!(
                        "line {} of the reply {got:?} is {:?}, not {:?}",
                        line + 1,
                        found[line],
                        expected[line]
                    )
                }
                _ if wanted == got => {
                    format!("the reply {got:?} has {} lines, not {}", found.len(), expected.len())
                }
                _ => format!("the server says {got:?}, the script {wanted:?}"),
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_is_read_line_by_line() {
        let mut script = Script::parse("# hello\n\nS: 220 x\r\nC: QUIT\nS:221 y\nS:\n").unwrap();
        assert_eq!(script.client(), Some("QUIT".to_owned()));
        assert_eq!(script.server(), Some("221 y".to_owned()));
        assert_eq!(script.server(), Some(String::new()));
        assert_eq!((script.server(), script.client()), (None, None));
        for wrong in ["QUIT", "ü: x", "X: y", "C"] {
            let error = Script::parse(&format!("C: NOOP\n{wrong}")).unwrap_err().to_string();
            assert!(error.starts_with("line 2 "), "{error}");
        }
    }

    #[test]
    fn codes_count_and_words_only_if_asked() {
        let lines = |lines: &[&str]| lines.iter().map(|&line| line.to_owned()).collect::<Vec<_>>();
        let compare = |is_exact, expected: &[&str], found: &[&str]| {
            let mut comparison = Comparison { is_exact, ..Comparison::default() };
            comparison.reply(&lines(expected), &lines(found));
            comparison.differences.pop()
        };
        assert_eq!(compare(false, &["250 OK"], &["250-mail", "250 SIZE"]), None);
        assert_eq!(compare(false, &["-ERR no"], &["-ERR [AUTH] no"]), None);
        let refused = compare(false, &["250 OK"], &["550 no"]).unwrap();
        assert_eq!(refused, "the server says \"550 no\", the script \"250 OK\"");
        assert!(compare(false, &["+OK"], &["-ERR"]).is_some());
        assert!(compare(false, &[], &["250 OK"]).is_some());
        assert!(compare(true, &["250 OK"], &["250 ok"]).is_some());
        assert_eq!(
            compare(true, &["+OK", "x"], &["+OK", "y"]).unwrap(),
            "line 2 of the reply \"+OK\" is \"y\", not \"x\""
        );
    }
}
