//! What the lines of SMTP mean (RFC 5321 and its extensions).

use super::protocol::{Line, Protocol, Turn, mechanisms, verb, words};
use crate::command::explain;
use std::borrow::Cow;

/// Commands and their meaning.
const COMMANDS: &[(&str, &str)] = &[
    ("EHLO", "the client says who it is, and asks what the server can do"),
    ("HELO", "the client says who it is"),
    ("LHLO", "the client of LMTP says who it is"),
    ("MAIL", "a transaction begins: where reports go"),
    ("RCPT", "where the message goes; once for each recipient"),
    ("DATA", "the content is about to come"),
    ("BDAT", "a piece of the content follows, of that many octets (RFC 3030)"),
    ("RSET", "the transaction is given up; the session goes on"),
    ("NOOP", "nothing but a sign of life"),
    ("VRFY", "is there such a user?"),
    ("EXPN", "who is on that list?"),
    ("HELP", "the server may tell what it knows"),
    ("STARTTLS", "TLS is about to begin (RFC 3207)"),
    ("AUTH", "the client logs in (RFC 4954); /login does it for you"),
    ("ETRN", "the server is asked to send what waits for a domain"),
    ("QUIT", "the client has no more to say"),
];

/// The same, as a person begins to type them.
const BEGINNINGS: &[&str] = &[
    "EHLO ",
    "HELO ",
    "MAIL FROM:<",
    "RCPT TO:<",
    "DATA",
    "BDAT ",
    "RSET",
    "NOOP",
    "VRFY ",
    "EXPN ",
    "HELP",
    "STARTTLS",
    "AUTH ",
    "QUIT",
];

/// Extensions that a server announces, and their meaning.
const EXTENSIONS: &[(&str, &str)] = &[
    ("SIZE", "the largest message, in octets; MAIL may announce a size (RFC 1870)"),
    ("PIPELINING", "commands may be sent without waiting for each reply (RFC 2920)"),
    ("8BITMIME", "content may have octets above 127: MAIL … BODY=8BITMIME (RFC 6152)"),
    ("BINARYMIME", "content may be binary, sent by BDAT (RFC 3030)"),
    ("CHUNKING", "content may come in counted pieces, by BDAT (RFC 3030)"),
    ("ENHANCEDSTATUSCODES", "replies have a second, more exact code (RFC 2034)"),
    ("STARTTLS", "TLS can begin here (RFC 3207)"),
    ("AUTH", "these ways to log in are offered (RFC 4954)"),
    ("DSN", "reports about delivery can be asked for (RFC 3461)"),
    ("SMTPUTF8", "addresses may have letters of any script (RFC 6531)"),
    ("REQUIRETLS", "a message may demand TLS on its whole way (RFC 8689)"),
    ("DELIVERBY", "a message may have a deadline (RFC 2852)"),
    ("FUTURERELEASE", "a message may wait for its time (RFC 4865)"),
    ("MT-PRIORITY", "a message may have a priority (RFC 6710)"),
    ("LIMITS", "how much a session or transaction may have (RFC 9422)"),
    ("ETRN", "mail that waits can be called for"),
    ("VRFY", "users can be asked about"),
    ("EXPN", "lists can be asked about"),
    ("HELP", "the server knows HELP"),
    ("XCLIENT", "a proxy may say whose connection it is"),
];

/// An SMTP session, seen from the client.
#[derive(Default)]
pub(super) struct Smtp {
    /// The command that the server answers; empty before the first one.
    command: String,
    state: State,
    /// Whether a line of the reply has come already.
    is_continued: bool,
    mechanisms: Vec<String>,
}

/// What the next line of the client is.
#[derive(Default, Clone, Copy, PartialEq, Eq)]
enum State {
    #[default]
    Command,
    /// Content, up to a dot.
    Content,
    /// Content of a piece, of which so many octets are missing.
    Piece(u64),
    /// A response of AUTH.
    Response,
}

impl Protocol for Smtp {
    fn sent(&mut self, line: &str) -> Line {
        match self.state {
            State::Command => self.command(line),
            State::Content if line == "." => {
                self.state = State::Command;
                ".".clone_into(&mut self.command);
                Line::new("a single dot ends the content", Turn::Server)
            }
            State::Content if line.starts_with('.') => {
                Line::new("content; the server removes the first dot", Turn::Content)
            }
            State::Content => Line::new("content", Turn::Content),
            State::Piece(missing) => self.piece(missing.saturating_sub(line.len() as u64 + 2)),
            State::Response if line == "*" => Line::new("the exchange is cancelled", Turn::Server),
            State::Response => Line::new("the response, in base64", Turn::Server),
        }
    }

    fn received(&mut self, line: &str) -> Line {
        let code = line.get(..3).and_then(|code| code.parse::<u16>().ok());
        let Some(code) = code.filter(|code| (200..600).contains(code)) else {
            return Line::new("this is no reply of SMTP (RFC 5321 §4.2)", Turn::Command);
        };
        let text = line.get(4..).unwrap_or_default();
        let is_first = !std::mem::replace(&mut self.is_continued, line[3..].starts_with('-'));
        let meaning = self.meaning(code, text, is_first);
        if self.is_continued {
            return Line::new(meaning, Turn::Server);
        }
        Line::new(meaning, self.after(code))
    }

    fn secured(&mut self) {
        // What was said before is forgotten (RFC 3207 §4.2).
        *self = Self { command: "EHLO".to_owned(), ..Self::default() };
    }

    fn commands(&self) -> &'static [&'static str] {
        BEGINNINGS
    }

    fn mechanisms(&self) -> &[String] {
        &self.mechanisms
    }

    fn challenge<'a>(&self, line: &'a str) -> Option<&'a str> {
        line.strip_prefix("334").map(str::trim)
    }
}

impl Smtp {
    fn command(&mut self, line: &str) -> Line {
        let (verb, rest) = verb(line);
        let meaning = COMMANDS.iter().find(|(known, _)| *known == verb).map_or("", |known| known.1);
        if matches!(verb.as_str(), "EHLO" | "LHLO" | "HELO") {
            self.mechanisms.clear();
        }
        let octets = rest.split(' ').next().and_then(|octets| octets.parse().ok());
        self.command = verb;
        match octets {
            Some(octets) if self.command == "BDAT" => {
                Line { meaning: meaning.into(), ..self.piece(octets) }
            }
            _ => Line::new(meaning, Turn::Server),
        }
    }

    /// Goes on after a line of a piece of which so many octets are missing.
    fn piece(&mut self, missing: u64) -> Line {
        let (state, turn) = match missing {
            0 => (State::Command, Turn::Server),
            _ => (State::Piece(missing), Turn::Content),
        };
        self.state = state;
        Line::new("content", turn)
    }

    /// Returns whose turn it is after a reply, and remembers what comes next.
    fn after(&mut self, code: u16) -> Turn {
        let (state, turn) = match (self.command.as_str(), code) {
            ("DATA", 354) => (State::Content, Turn::Content),
            (_, 334) => (State::Response, Turn::Response),
            ("STARTTLS", 220) => (State::Command, Turn::Tls),
            (_, 221 | 421) => (State::Command, Turn::Over),
            _ => (State::Command, Turn::Command),
        };
        self.state = state;
        turn
    }

    fn meaning(&mut self, code: u16, text: &str, is_first: bool) -> Cow<'static, str> {
        if matches!(self.command.as_str(), "EHLO" | "LHLO") && code == 250 && !is_first {
            return self.extension(text);
        }
        if !is_first {
            return "".into();
        }
        let general = explain::reply_meaning(code).unwrap_or_default();
        match (self.command.as_str(), code) {
            ("", 220) => "220 service ready: the server names itself".into(),
            ("EHLO" | "LHLO" | "HELO", 250) => "250 done: the server names itself in return".into(),
            ("MAIL", 250) => "250 done: the sender is accepted".into(),
            ("RCPT", 250) => "250 done: the recipient is accepted".into(),
            ("DATA", 354) => "354 go on: everything up to a single dot is content".into(),
            ("." | "BDAT", 250) => "250 done: the message is now the server's duty".into(),
            ("STARTTLS", 220) => "220 go on: TLS begins".into(),
            ("QUIT", 221) => "221 closing: both sides hang up".into(),
            (_, 334) => match words(text) {
                Some(words) => format!("334 challenge: {words:?}").into(),
                None => "334 challenge: the response comes next, in base64".into(),
            },
            (_, 400..) => explained(code, text, general),
            _ => {
                format!("{code} {}", general.to_lowercase()).trim_end_matches('.').to_owned().into()
            }
        }
    }

    fn extension(&mut self, text: &str) -> Cow<'static, str> {
        if let Some(offered) = mechanisms(text, "AUTH") {
            self.mechanisms.extend(offered);
        }
        let (keyword, _) = verb(text);
        let keyword = keyword.split('=').next().unwrap_or_default();
        let known = EXTENSIONS.iter().find(|(known, _)| *known == keyword);
        known.map_or("an extension", |(_, meaning)| meaning).into()
    }
}

/// Returns what a refusal means: its enhanced status code says more than its code (RFC 3463).
fn explained(code: u16, text: &str, general: &'static str) -> Cow<'static, str> {
    let kind = match code {
        400..500 => "not now, try later",
        _ => "no, and trying again will not help",
    };
    let detail = text.split(' ').next().and_then(|status| status.split_once('.'));
    let detail = detail.and_then(|(_, detail)| explain::status_meaning(detail));
    let meaning = detail.unwrap_or(general);
    format!("{code} {kind}. {meaning}").trim_end().to_owned().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Plays a dialogue in the form of a transcript, and returns the turn after each line.
    fn turns(protocol: &mut dyn Protocol, dialogue: &str) -> Vec<Turn> {
        let line = |line: &str| match line.trim_start().split_once(": ") {
            Some(("C", line)) => protocol.sent(line).turn,
            Some(("S", line)) => protocol.received(line).turn,
            _ => panic!("{line}"),
        };
        dialogue.lines().map(line).collect()
    }

    #[test]
    fn turns_follow_the_dialogue() {
        use Turn::{Command, Content, Over, Response, Server, Tls};
        let mut smtp = Smtp::default();
        let dialogue = "S: 220 mail.example.net ESMTP
            C: ehlo pc
            S: 250-mail.example.net
            S: 250-AUTH PLAIN LOGIN
            S: 250 STARTTLS
            C: AUTH LOGIN
            S: 334 VXNlcm5hbWU6
            C: *
            S: 501 5.7.0 cancelled
            C: DATA
            S: 354 go on
            C: QUIT
            C: .
            S: 250 OK
            C: BDAT 10
            C: 12345678
            S: 250 OK
            C: STARTTLS
            S: 220 go on";
        let expected = [
            Command, Server, Server, Server, Command, Server, Response, Server, Command, Server,
            Content, Content, Server, Command, Content, Server, Command, Server, Tls,
        ];
        assert_eq!(turns(&mut smtp, dialogue), expected);
        assert_eq!(smtp.mechanisms(), ["PLAIN", "LOGIN"]);
        smtp.secured();
        assert!(smtp.mechanisms().is_empty());
        assert_eq!(turns(&mut smtp, "C: QUIT\nS: 221 bye"), [Server, Over]);
    }

    #[test]
    fn lines_are_explained() {
        let mut smtp = Smtp::default();
        smtp.sent("RCPT TO:<x@example.net>");
        let refused = smtp.received("550 5.1.1 no such user").meaning;
        assert!(refused.starts_with("550 no, and trying again will not help. "), "{refused}");
        smtp.sent("AUTH LOGIN");
        assert_eq!(smtp.received("334 VXNlcm5hbWU6").meaning, "334 challenge: \"Username:\"");
        for hostile in ["", "2", "25", "250", "999 x", "ü50 x", "25ü", "250\u{fc}", "+OK"] {
            smtp.received(hostile);
        }
    }
}
