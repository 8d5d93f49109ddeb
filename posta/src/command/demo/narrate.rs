//! The two dialogues as sequence diagrams in a terminal: who says what, and what it means.

use crate::{command::client::talk::screen::show, output::say_styled};
use anstyle::Style;

pub(super) use crate::command::client::talk::screen::Who;

const TITLE: Style = Style::new().bold();

/// Knows what a line of its protocol means, from those before it.
pub(super) trait Story: Send {
    /// What the line means; empty if there is nothing new to say.
    fn meaning(&mut self, who: Who, line: &str) -> &'static str;
}

/// Prints lines with their meaning.
pub(super) struct Narrator {
    story: Box<dyn Story>,
}

impl Narrator {
    pub(super) fn new(story: impl Story + 'static) -> Self {
        Self { story: Box::new(story) }
    }

    pub(super) fn line(&mut self, who: Who, line: &str) {
        let meaning = self.story.meaning(who, line);
        show(who, line, meaning);
    }
}

pub(super) fn title(protocol: &str, meaning: &str) {
    say_styled!("\n{TITLE}{protocol}{TITLE:#}: {meaning}\n");
}

pub(super) fn verdict(words: &str) {
    say_styled!("\n{TITLE}{words}{TITLE:#}");
}

/// SMTP (RFC 5321).
#[derive(Default)]
pub(super) struct SmtpStory {
    last: Verb,
}

#[derive(Default, Clone, Copy, PartialEq, Eq)]
enum Verb {
    #[default]
    None,
    Hello,
    Mail,
    Rcpt,
    Data,
    Content,
    End,
    Quit,
}

impl Story for SmtpStory {
    fn meaning(&mut self, who: Who, line: &str) -> &'static str {
        match who {
            Who::Client => self.command(line),
            Who::Server => self.reply(line),
        }
    }
}

impl SmtpStory {
    fn command(&mut self, line: &str) -> &'static str {
        if self.last == Verb::Content {
            return match line {
                "." => {
                    self.last = Verb::End;
                    "a single dot ends the content"
                }
                _ => "content",
            };
        }
        let (verb, meaning) = match line.get(..4).unwrap_or(line) {
            "HELO" => (Verb::Hello, "the client says who it is"),
            "MAIL" => (Verb::Mail, "a transaction begins: where reports go"),
            "RCPT" => (Verb::Rcpt, "where the message goes; once for each recipient"),
            "DATA" => (Verb::Data, "the content is about to come"),
            "QUIT" => (Verb::Quit, "the client has no more to say"),
            _ => (Verb::None, ""),
        };
        self.last = verb;
        meaning
    }

    fn reply(&mut self, line: &str) -> &'static str {
        match (self.last, line.get(..3).unwrap_or(line)) {
            (Verb::None, "220") => "220 service ready: the server names itself",
            (Verb::Hello, "250") => "250 done: the server names itself in return",
            (Verb::Mail, "250") => "250 done: the sender is accepted",
            (Verb::Rcpt, "250") => "250 done: there is such a mailbox here",
            (Verb::Data, "354") => {
                self.last = Verb::Content;
                "354 go on: everything up to the dot is content"
            }
            (Verb::End, "250") => {
                "250 done: on disk and in the mailbox; now it is the server's duty"
            }
            (Verb::Quit, "221") => "221 closing: both sides hang up",
            (_, code) if code.starts_with('4') => "4yz: not now, try later",
            (_, code) if code.starts_with('5') => "5yz: no, and trying again will not help",
            _ => "",
        }
    }
}

/// POP3 (RFC 1939).
#[derive(Default)]
pub(super) struct Pop3Story {
    last: String,
    /// Whether the line belongs to a multi-line response.
    lines: Option<Lines>,
}

#[derive(Clone, Copy)]
enum Lines {
    Listing,
    Header,
    Body,
}

impl Story for Pop3Story {
    fn meaning(&mut self, who: Who, line: &str) -> &'static str {
        match who {
            Who::Client => self.command(line),
            Who::Server => self.response(line),
        }
    }
}

impl Pop3Story {
    fn command(&mut self, line: &str) -> &'static str {
        self.last = line.get(..4).unwrap_or(line).to_owned();
        match self.last.as_str() {
            "USER" => "AUTHORIZATION state: whose mailbox",
            "PASS" => "the proof",
            "LIST" => "TRANSACTION state: which messages, how large",
            "RETR" => "send message 1",
            "DELE" => "mark message 1 as deleted",
            "QUIT" => "UPDATE state: now remove what is marked",
            _ => "",
        }
    }

    fn response(&mut self, line: &str) -> &'static str {
        match self.lines {
            Some(_) if line == "." => {
                self.lines = None;
                "a single dot ends the response"
            }
            Some(Lines::Listing) => "message number and octets",
            Some(Lines::Header) if line.is_empty() => {
                self.lines = Some(Lines::Body);
                "a blank line ends the header section"
            }
            Some(Lines::Header) => header_field(line),
            Some(Lines::Body) => "the body, as it was sent",
            None => self.status(line),
        }
    }

    fn status(&mut self, line: &str) -> &'static str {
        if line.starts_with("-ERR") {
            return "-ERR: no";
        }
        match self.last.as_str() {
            "" => "+OK: the server is ready",
            "USER" => "+OK: said to any name, so that nobody learns who exists",
            "PASS" => "+OK: the maildrop is open, and will not change under the client",
            "LIST" => {
                self.lines = Some(Lines::Listing);
                "+OK: a listing follows"
            }
            "RETR" => {
                self.lines = Some(Lines::Header);
                "+OK: the message follows"
            }
            "DELE" => "+OK: it goes when the client says QUIT, not before",
            "QUIT" => "+OK: removed; it can be brought back for a week",
            _ => "+OK",
        }
    }
}

fn header_field(line: &str) -> &'static str {
    match line.split(':').next().unwrap_or_default() {
        "Return-Path" => "where reports go: from MAIL",
        "Delivered-To" => "whose mailbox: from RCPT",
        "Received" => "who brought it, to whom, when",
        "Message-ID" => "added, for the client gave none",
        "Date" => "added, for the client gave none",
        "From" => "added, for the client gave none",
        _ => "",
    }
}
