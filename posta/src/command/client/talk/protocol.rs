//! What `posta talk` knows of a protocol, without any input or output: the meaning of each line, and whose turn it is
//! after that line.

use std::borrow::Cow;

/// The client's side of a protocol, as a person plays it. It starts before the server's greeting.
pub(super) trait Protocol: Send {
    /// Takes a line that the client sends, without its line end.
    fn sent(&mut self, line: &str) -> Line;

    /// Takes a line that the server sends, without its line end.
    fn received(&mut self, line: &str) -> Line;

    /// Takes note that TLS was negotiated.
    fn secured(&mut self);

    /// The commands of the protocol, each as a person would begin to type it.
    fn commands(&self) -> &'static [&'static str];

    /// The SASL mechanisms that the server offers, in upper case, as far as it has been asked.
    fn mechanisms(&self) -> &[String];

    /// Returns what a line of the server asks for in an exchange of AUTH, in base64; `None` if the line is no challenge.
    fn challenge<'a>(&self, line: &'a str) -> Option<&'a str>;
}

/// A line, understood.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Line {
    /// What the line means; empty if there is nothing to say.
    pub(super) meaning: Cow<'static, str>,
    /// Whose turn it is after the line.
    pub(super) turn: Turn,
}

/// Whose turn it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// The server sends the first or the next line of a reply.
    Server,
    /// The client sends a command.
    Command,
    /// The client sends the next line of a message, which is not answered.
    Content,
    /// The client responds to a challenge of AUTH.
    Response,
    /// Both sides negotiate TLS.
    Tls,
    /// Nobody's: the session is over.
    Over,
}

impl Line {
    pub(super) fn new(meaning: impl Into<Cow<'static, str>>, turn: Turn) -> Self {
        Self { meaning: meaning.into(), turn }
    }
}

/// Returns the first word of a command, in upper case, and the rest.
pub(super) fn verb(line: &str) -> (String, &str) {
    let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
    (verb.trim_end().to_ascii_uppercase(), rest)
}

/// Returns the mechanisms of a capability line such as `AUTH PLAIN LOGIN`; `None` if the line lists none.
pub(super) fn mechanisms(capability: &str, keyword: &str) -> Option<Vec<String>> {
    let (word, rest) = verb(capability);
    let rest = match word == keyword {
        true => rest,
        // An old form that some servers still send.
        false => word.strip_prefix(keyword)?.strip_prefix('=').map(|_| &capability[5..])?,
    };
    Some(rest.split_whitespace().map(str::to_ascii_uppercase).collect())
}

/// Returns the words of a challenge in base64, if they are short and readable.
pub(super) fn words(challenge: &str) -> Option<String> {
    use base64::{Engine, prelude::BASE64_STANDARD};
    let octets = BASE64_STANDARD.decode(challenge.trim()).ok()?;
    let text = String::from_utf8(octets).ok()?;
    let is_readable = (1..=80).contains(&text.len()) && !text.chars().any(char::is_control);
    is_readable.then_some(text)
}
