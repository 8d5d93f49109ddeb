//! What the lines of POP3 mean (RFC 1939 and its extensions).

use super::protocol::{Line, Protocol, Turn, mechanisms, verb, words};
use std::borrow::Cow;

/// Commands and their meaning.
const COMMANDS: &[(&str, &str)] = &[
    ("USER", "AUTHORIZATION state: whose maildrop"),
    ("PASS", "the proof"),
    ("APOP", "name and proof in one line, without the password itself"),
    ("AUTH", "the client logs in by SASL (RFC 5034); /login does it for you"),
    ("STLS", "TLS is about to begin (RFC 2595)"),
    ("CAPA", "what can the server do? (RFC 2449)"),
    ("STAT", "how many messages, how many octets in all"),
    ("LIST", "which messages, how large"),
    ("UIDL", "the unique-id of each message, the same in every session"),
    ("RETR", "send a whole message"),
    ("TOP", "send the header section, and so many lines of the body"),
    ("DELE", "the message is to be removed"),
    ("RSET", "nothing is to be removed after all"),
    ("NOOP", "nothing but a sign of life"),
    ("UTF8", "header fields may have letters of any script (RFC 6856)"),
    ("LANG", "in which language the server answers (RFC 6856)"),
    ("QUIT", "UPDATE state: now remove what is to be removed"),
];

/// The same, as a person begins to type them.
const BEGINNINGS: &[&str] = &[
    "CAPA", "STLS", "USER ", "PASS ", "APOP ", "AUTH ", "STAT", "LIST", "UIDL", "RETR ", "TOP ",
    "DELE ", "RSET", "NOOP", "UTF8", "QUIT",
];

/// Capabilities, and their meaning.
const CAPABILITIES: &[(&str, &str)] = &[
    ("TOP", "the server knows TOP"),
    ("USER", "USER and PASS are accepted"),
    ("SASL", "these ways to log in are offered, by AUTH (RFC 5034)"),
    ("RESP-CODES", "refusals may begin with a code in brackets (RFC 2449)"),
    ("AUTH-RESP-CODE", "a refused login says whether the password was at fault (RFC 3206)"),
    ("LOGIN-DELAY", "seconds between two logins"),
    ("PIPELINING", "commands may be sent without waiting for each response"),
    ("EXPIRE", "the days for which messages are kept"),
    ("UIDL", "the server knows UIDL"),
    ("STLS", "TLS can begin here (RFC 2595)"),
    ("UTF8", "header fields may have letters of any script (RFC 6856)"),
    ("LANG", "responses may be in other languages (RFC 6856)"),
    ("IMPLEMENTATION", "the server's program"),
];

/// Codes in a refusal, and their meaning.
const CODES: &[(&str, &str)] = &[
    ("[IN-USE]", "another session has the maildrop open"),
    ("[LOGIN-DELAY]", "the last login was too short a time ago"),
    ("[AUTH]", "name or password is wrong"),
    ("[SYS/TEMP]", "the server cannot do it now: try later"),
    ("[SYS/PERM]", "the server cannot do it: somebody has to look"),
];

/// A POP3 session, seen from the client.
#[derive(Default)]
pub(super) struct Pop3 {
    /// The command that the server answers; empty before the first one.
    command: String,
    /// The part of a response of many lines that comes next.
    part: Option<Part>,
    /// Whether the client responds to a challenge.
    is_challenged: bool,
    mechanisms: Vec<String>,
}

#[derive(Clone, Copy)]
enum Part {
    Capabilities,
    Listing,
    Header,
    Body,
}

impl Protocol for Pop3 {
    fn sent(&mut self, line: &str) -> Line {
        if std::mem::take(&mut self.is_challenged) {
            let meaning =
                if line == "*" { "the exchange is cancelled" } else { "the response, in base64" };
            return Line::new(meaning, Turn::Server);
        }
        let (verb, rest) = verb(line);
        let meaning = COMMANDS.iter().find(|(known, _)| *known == verb).map_or("", |known| known.1);
        // With a number, LIST and UIDL are answered by a single line.
        self.command = match verb.as_str() {
            "LIST" | "UIDL" if !rest.trim().is_empty() => format!("{verb} n"),
            _ => verb,
        };
        Line::new(meaning, Turn::Server)
    }

    fn received(&mut self, line: &str) -> Line {
        match self.part {
            Some(_) if line == "." => {
                self.part = None;
                Line::new("a single dot ends the response", Turn::Command)
            }
            Some(Part::Capabilities) => Line::new(self.capability(line), Turn::Server),
            Some(Part::Listing) if self.command == "UIDL" => {
                Line::new("message number and unique-id", Turn::Server)
            }
            Some(Part::Listing) => Line::new("message number and octets", Turn::Server),
            Some(Part::Header) if line.is_empty() => {
                self.part = Some(Part::Body);
                Line::new("a blank line ends the header section", Turn::Server)
            }
            Some(Part::Header) => Line::new(header_field(line), Turn::Server),
            Some(Part::Body) => Line::new("", Turn::Server),
            None => self.status(line),
        }
    }

    fn secured(&mut self) {
        *self = Self { command: "STLS".to_owned(), ..Self::default() };
    }

    fn commands(&self) -> &'static [&'static str] {
        BEGINNINGS
    }

    fn mechanisms(&self) -> &[String] {
        &self.mechanisms
    }

    fn challenge<'a>(&self, line: &'a str) -> Option<&'a str> {
        line.strip_prefix('+')
            .filter(|rest| rest.is_empty() || rest.starts_with(' '))
            .map(str::trim)
    }
}

impl Pop3 {
    /// Understands the first line of a response.
    fn status(&mut self, line: &str) -> Line {
        if let Some(challenge) = self.challenge(line) {
            self.is_challenged = true;
            let meaning = match words(challenge) {
                Some(words) => format!("+ challenge: {words:?}").into(),
                None => Cow::from("+ challenge: the response comes next, in base64"),
            };
            return Line::new(meaning, Turn::Response);
        }
        let ends = self.command == "QUIT";
        if let Some(refusal) = line.strip_prefix("-ERR") {
            let code = CODES.iter().find(|(code, _)| refusal.to_ascii_uppercase().contains(code));
            let meaning =
                code.map_or("-ERR: no".into(), |(_, meaning)| format!("-ERR: {meaning}").into());
            return Line { meaning, turn: if ends { Turn::Over } else { Turn::Command } };
        }
        if !line.starts_with("+OK") {
            return Line::new("this is no response of POP3 (RFC 1939 §3)", Turn::Command);
        }
        let (part, meaning) = match self.command.as_str() {
            "" => (None, "+OK: the server is ready"),
            "USER" => {
                (None, "+OK: most servers say so to any name, so that nobody learns who exists")
            }
            "PASS" | "APOP" | "AUTH" => {
                (None, "+OK: the maildrop is open, and will not change under the client")
            }
            "CAPA" => (Some(Part::Capabilities), "+OK: a list of capabilities follows"),
            "LIST" | "UIDL" => (Some(Part::Listing), "+OK: a listing follows"),
            "STAT" => (None, "+OK: number of messages, and their octets"),
            "LIST n" => (None, "+OK: message number and octets"),
            "UIDL n" => (None, "+OK: message number and unique-id"),
            "RETR" | "TOP" => (Some(Part::Header), "+OK: the message follows"),
            "DELE" => (None, "+OK: it goes when the client says QUIT, not before"),
            "STLS" => (None, "+OK: TLS begins"),
            "QUIT" => (None, "+OK: what was to be removed is removed"),
            _ => (None, "+OK"),
        };
        self.part = part;
        let turn = match self.command.as_str() {
            _ if part.is_some() => Turn::Server,
            "STLS" => Turn::Tls,
            _ if ends => Turn::Over,
            _ => Turn::Command,
        };
        Line::new(meaning, turn)
    }

    fn capability(&mut self, line: &str) -> &'static str {
        if let Some(offered) = mechanisms(line, "SASL") {
            self.mechanisms = offered;
        }
        let (keyword, _) = verb(line);
        CAPABILITIES
            .iter()
            .find(|(known, _)| *known == keyword)
            .map_or("a capability", |known| known.1)
    }
}

/// Returns the origin of a header field that servers add.
fn header_field(line: &str) -> &'static str {
    match line.split(':').next().unwrap_or_default().to_ascii_lowercase().as_str() {
        "return-path" => "where reports go: from MAIL",
        "delivered-to" => "whose mailbox: from RCPT",
        "received" => "who brought it, to whom, when",
        "authentication-results" => "what the server found out about the sender",
        "dkim-signature" => "a domain answers for the message",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_follow_the_dialogue() {
        use Turn::{Command, Over, Response, Server, Tls};
        let mut pop3 = Pop3::default();
        assert_eq!(pop3.received("+OK ready").turn, Command);
        pop3.sent("capa");
        let lines = ["+OK", "SASL PLAIN SCRAM-SHA-256", "."].map(|line| pop3.received(line).turn);
        assert_eq!(lines, [Server, Server, Command]);
        assert_eq!(pop3.mechanisms(), ["PLAIN", "SCRAM-SHA-256"]);
        pop3.sent("AUTH PLAIN");
        assert_eq!(pop3.received("+ ").turn, Response);
        pop3.sent("AGEA");
        assert_eq!(pop3.received("-ERR [AUTH] no").meaning, "-ERR: name or password is wrong");
        pop3.sent("LIST 1");
        assert_eq!(pop3.received("+OK 1 478").turn, Command);
        pop3.sent("RETR 1");
        let message = ["+OK", "From: x", "", "+OK is text here", "."];
        let turns = message.map(|line| pop3.received(line).turn);
        assert_eq!(turns, [Server, Server, Server, Server, Command]);
        pop3.sent("STLS");
        assert_eq!(pop3.received("+OK").turn, Tls);
        pop3.secured();
        assert!(pop3.mechanisms().is_empty());
        pop3.sent("QUIT");
        assert_eq!(pop3.received("+OK bye").turn, Over);
        for hostile in ["", "+", "+OKx", "-", "ü", "-ERR"] {
            pop3.received(hostile);
        }
    }
}
