//! Why a message passes or fails the checks of its origin: each check, with what it is about and why it ended so.
//!
//! [`MessageReader`] takes the message in pieces, as a file has it, and [`examine`] asks DNS as it is now: what was
//! published when the message came may have been something else. The program's `posta check message` calls it.

mod arrival;
mod checks;

pub use arrival::Arrival;

use super::finding::Severity;
use posta_mail::Timestamp;
use posta_origin::{
    dns::Lookup,
    observer::{Needs, Observed, Observer},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// The line by which an mbox begins a message (RFC 4155).
const MBOX: &[u8] = b"From ";

/// Takes a message in pieces.
pub struct MessageReader {
    observer: Observer,
    /// The last octet was CR.
    after_cr: bool,
    /// The beginning of the first line, until it is known to be none of an mbox.
    first: Option<Vec<u8>>,
    /// Whether the first line is one of an mbox, whose end has not come yet.
    in_mbox_line: bool,
    has_bare_lf: bool,
}

impl Default for MessageReader {
    fn default() -> Self {
        Self {
            observer: Observer::new(Needs { verify: true, sign: false }),
            after_cr: false,
            first: Some(Vec::new()),
            in_mbox_line: false,
            has_bare_lf: false,
        }
    }
}

impl MessageReader {
    /// Takes the next piece. A line may end with LF alone, as in files: it stands for CRLF.
    pub fn write(&mut self, piece: &[u8]) {
        let mut piece = piece;
        if let Some(mut first) = self.first.take() {
            let (begin, rest) = piece.split_at(piece.len().min(MBOX.len() - first.len()));
            first.extend_from_slice(begin);
            piece = rest;
            if first == MBOX {
                self.in_mbox_line = true;
            } else if first.len() < MBOX.len() && MBOX.starts_with(&first) {
                self.first = Some(first);
            } else {
                self.lines(&first);
            }
        }
        if self.in_mbox_line {
            let Some(end) = memchr::memchr(b'\n', piece) else { return };
            self.in_mbox_line = false;
            piece = &piece[end + 1..];
        }
        self.lines(piece);
    }

    /// Hands lines on, each with CRLF at its end.
    fn lines(&mut self, piece: &[u8]) {
        let mut from = 0;
        for at in memchr::memchr_iter(b'\n', piece) {
            let before = if at == 0 { self.after_cr } else { piece[at - 1] == b'\r' };
            if !before {
                self.has_bare_lf = true;
                self.observer.write(&piece[from..at]);
                self.observer.write(b"\r\n");
                from = at + 1;
            }
        }
        self.observer.write(&piece[from..]);
        if let Some(last) = piece.last() {
            self.after_cr = *last == b'\r';
        }
    }

    /// Ends the message.
    #[must_use]
    pub fn finish(mut self) -> ReadMessage {
        if let Some(first) = self.first.take() {
            self.lines(&first);
        }
        ReadMessage { observed: self.observer.finish(), has_bare_lf: self.has_bare_lf }
    }
}

/// A message that was read, before DNS is asked.
pub struct ReadMessage {
    observed: Observed,
    /// Whether lines ended with LF alone, and CRLF was taken for it.
    pub has_bare_lf: bool,
}

impl ReadMessage {
    /// Returns how the message came, as its fields tell.
    #[must_use]
    pub fn arrival(&self) -> Arrival {
        Arrival::told_by(self.observed.header())
    }
}

/// What came of all checks of a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Examination {
    /// How the message came.
    pub arrival: Arrival,
    /// What is wrong with the form of the header section, for which a stranger's message is refused whatever the checks
    /// find, in words.
    pub form: Vec<String>,
    /// The checks, in the order in which they are made.
    pub checks: Vec<OriginCheck>,
    /// What it comes to.
    pub severity: Severity,
    /// What it comes to, in words.
    pub says: String,
}

/// One check of a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct OriginCheck {
    /// The method, as RFC 8601 §2.7 names it.
    pub method: Cow<'static, str>,
    /// The result, as RFC 8601 §2.7 names it.
    pub result: String,
    /// How the result is to be taken.
    pub severity: Severity,
    /// What it is about, as a property of RFC 8601 §2.3 and its value.
    pub about: Vec<(Cow<'static, str>, String)>,
    /// Why it ended so, in words.
    pub why: Vec<String>,
}

/// Checks a message that came so, with DNS as it is now. `receiver` is the name of this host.
pub async fn examine(
    message: &ReadMessage,
    arrival: Arrival,
    dns: &dyn Lookup,
    receiver: &str,
    now: Timestamp,
) -> Examination {
    checks::all(&message.observed, arrival, dns, receiver, now).await
}

#[cfg(test)]
mod tests;
