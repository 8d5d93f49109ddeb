//! The server's side of a POP3 session.
//!
//! # Theory
//!
//! RFC 1939 §3 names three states. AUTHORIZATION ends when the question [`Question::Login`] is
//! answered with a maildrop: one stable view of a mailbox, whose messages keep their numbers
//! whatever arrives or leaves meanwhile. In TRANSACTION the client reads, and marks messages as
//! deleted. Before each of its commands [`Question::Proceed`] asks whether the login still holds,
//! since a session can last longer than its account. QUIT enters UPDATE: the marked messages are removed in one step by
//! [`Question::Update`]. A session that ends in any other way removes nothing.
//!
//! | state     | waits for                | leaves it by |
//! |-----------|--------------------------|--------------|
//! | `Greeting`| nothing                  | sending +OK |
//! | `Command` | a command line           | a question, a listing, QUIT, STLS |
//! | `Asked`   | the answer to a question | the answer |
//! | `Granted` | nothing                  | the command that was read before the question |
//! | `Sasl`    | a line of an AUTH        | a question; `*` or nonsense |
//! | `Listing` | room in the output       | the last line |
//! | `Closing` | nothing                  | – |
//!
//! What a question interrupts travels in its ticket and comes back with the answer
//! (`server/asked.rs`), so `Asked` has nothing to remember. A ticket that is dropped leaves the engine
//! there, and the session closes.
//!
//! What belongs to AUTHORIZATION stands in `server/authorization.rs`: USER and PASS, APOP, AUTH, STLS,
//! UTF8.
//!
//! A message is asked for piece by piece ([`Question::Read`]), and the status line is sent with the
//! first piece: by then it is sure that the message can be read. If a later piece fails, nothing in
//! the protocol can say so, and the connection is closed in the middle rather than ended with a dot
//! that would make a half message look whole. The pieces are of the message as it is kept; what is sent
//! of it is lines ([`posta_mail::crlf`]), and exactly as many octets of them as LIST told.

mod asked;
mod authorization;
mod question;

use crate::{
    command::{Nonsense, Pop3Command},
    top::TopFilter,
    view::View,
    words::{LANGUAGES, Language, Words},
};
use asked::{Answered, BrokenOff, Marked};
use posta_mail::{
    Engine, Interrupt, Pace, Step,
    dots::DotEncoder,
    limits,
    line::{Cut, LineCutter, http},
};
use std::{io::Write as _, sync::Arc, time::Duration};

pub use crate::{maildrop::Maildrop, profile::Profile};
pub use asked::Answer;
pub use question::{
    Authentication, Denial, Lapse, LoginOutcome, MessagePiece, NotRemoved, Question, Standing,
    Ticket, Unreadable, Update,
};

/// Commands that make no sense, after which a session is closed.
const BAD_COMMANDS: u32 = 50;

/// Octets of a CRLF.
const LINE_END: u64 = 2;

/// Octets of a listing that are gathered before they are sent.
const LISTING_PIECE: usize = 16 * 1024;

/// The engine. See the module's theory.
#[derive(Debug)]
pub struct Server<M: Maildrop> {
    profile: Arc<Profile>,
    state: State,
    session: Session<M>,
    /// The greeting's challenge, where APOP is offered.
    challenge: Option<Box<str>>,
    language: Language,
    secured: bool,
    plaintext_login: bool,
    bad_commands: u32,
    failed_logins: u32,
    cutter: LineCutter,
}

#[derive(Debug)]
enum Session<M> {
    Authorization { name: Option<String> },
    Transaction(Box<View<M>>),
}

#[derive(Debug)]
enum State {
    Greeting,
    Command,
    Asked,
    /// The session goes on with this command.
    Granted(Pop3Command),
    /// In an AUTH, after a challenge.
    Sasl,
    Listing {
        unique_ids: bool,
        next: usize,
    },
    /// Between two pieces of a message.
    Reading(Reading),
    Closing,
}

/// A message that is being read.
#[derive(Debug)]
pub struct Reading {
    index: usize,
    /// Octets read, of the message as it is kept.
    offset: u64,
    /// Octets of its lines, as they were told.
    octets: u64,
    encoder: DotEncoder,
    top: Option<TopFilter>,
    /// There is no more to be read.
    is_over: bool,
}

type Taken<M> = Option<Step<'static, Question<M>>>;

impl<M: Maildrop> Server<M> {
    /// An engine for a connection that was just opened. `plaintext_login` says whether USER and
    /// PASS are taken outside TLS.
    #[must_use]
    pub fn new(profile: Arc<Profile>, plaintext_login: bool) -> Self {
        Self {
            profile,
            state: State::Greeting,
            session: Session::Authorization { name: None },
            challenge: None,
            language: Language::default(),
            secured: false,
            plaintext_login,
            bad_commands: 0,
            failed_logins: 0,
            cutter: LineCutter::default(),
        }
    }

    /// An engine for a connection that is in TLS from its start (RFC 8314 §3).
    #[must_use]
    pub fn new_secured(profile: Arc<Profile>) -> Self {
        Self { secured: true, ..Self::new(profile, true) }
    }

    /// The same, with APOP. The challenge has the form of a Message-ID, angle brackets included, and
    /// is never used again (RFC 1939 §7).
    #[must_use]
    pub fn with_challenge(self, challenge: Option<String>) -> Self {
        Self { challenge: challenge.map(String::into_boxed_str), ..self }
    }

    const fn words(&self) -> &'static Words {
        self.language.words()
    }

    fn line(&mut self, line: &[u8], output: &mut Vec<u8>) -> Taken<M> {
        let command = match Pop3Command::parse(line) {
            // A method may have the name of a command.
            _ if http::ends_request(line) => return self.not_pop3(output),
            Ok(command) => command,
            Err(_) if http::is_field(line) => {
                return self.not_pop3(output);
            }
            Err(nonsense) => return self.bad_command(nonsense.words(self.words()), output),
        };
        if matches!(self.session, Session::Transaction(_)) {
            return Some(self.ask(Question::Proceed(Ticket::new(command))));
        }
        self.command(command, output)
    }

    /// Ends a session in which a browser, or whoever makes it speak, speaks HTTP.
    fn not_pop3(&mut self, output: &mut Vec<u8>) -> Taken<M> {
        let _ = write!(output, "-ERR {}\r\n", self.words().not_http);
        self.state = State::Closing;
        None
    }

    fn command(&mut self, command: Pop3Command, output: &mut Vec<u8>) -> Taken<M> {
        match (command, &mut self.session) {
            (Pop3Command::Capa, _) => self.capabilities(output),
            (Pop3Command::Lang(tag), _) => return self.lang(tag.as_deref(), output),
            (Pop3Command::Quit, Session::Authorization { .. }) => {
                ok(self.words().bye, output);
                self.state = State::Closing;
            }
            (command, Session::Authorization { .. }) => return self.authorization(command, output),
            (Pop3Command::Quit, Session::Transaction(_)) => return self.quit(output),
            (command, Session::Transaction(_)) => return self.transaction(command, output),
        }
        None
    }

    fn transaction(&mut self, command: Pop3Command, output: &mut Vec<u8>) -> Taken<M> {
        let words = self.words();
        let Session::Transaction(view) = &mut self.session else { return None };
        match command {
            Pop3Command::Stat => {
                let _ = write!(output, "+OK {} {}\r\n", view.messages, view.octets);
            }
            Pop3Command::List(None) => {
                count(view, words, output);
                self.state = State::Listing { unique_ids: false, next: 0 };
            }
            Pop3Command::Uidl(None) => {
                ok(words.unique_ids, output);
                self.state = State::Listing { unique_ids: true, next: 0 };
            }
            Pop3Command::List(Some(number)) => match view.index(number) {
                Some(index) => {
                    let _ = write!(output, "+OK {number} {}\r\n", view.maildrop.octets(index));
                }
                None => err(words.no_such_message, output),
            },
            Pop3Command::Uidl(Some(number)) => match view.index(number) {
                Some(index) => view.write_unique_id("+OK ", index, output),
                None => err(words.no_such_message, output),
            },
            Pop3Command::Retr(number) => return self.read(number, None, output),
            Pop3Command::Top(number, lines) => return self.read(number, Some(lines), output),
            Pop3Command::Dele(number) => match view.index(number) {
                Some(index) => {
                    view.delete(index);
                    ok(words.marked, output);
                }
                None => err(words.no_such_message, output),
            },
            Pop3Command::Noop => ok(words.here, output),
            Pop3Command::Rset => {
                view.reset();
                count(view, words, output);
            }
            Pop3Command::User(_)
            | Pop3Command::Pass(_)
            | Pop3Command::Apop(..)
            | Pop3Command::Auth(..)
            | Pop3Command::Utf8
            | Pop3Command::Stls => return self.bad_command(words.before_login, output),
            Pop3Command::Capa | Pop3Command::Lang(_) | Pop3Command::Quit => {
                debug_assert!(false, "valid in both states")
            }
        }
        None
    }

    fn read(&mut self, number: u32, lines: Option<u64>, output: &mut Vec<u8>) -> Taken<M> {
        let Session::Transaction(view) = &self.session else { return None };
        let Some(index) = view.index(number) else {
            err(self.words().no_such_message, output);
            return None;
        };
        let octets = view.maildrop.octets(index);
        let encoder = DotEncoder::default();
        let top = lines.map(TopFilter::new);
        let reading = Reading { index, offset: 0, octets, encoder, top, is_over: false };
        if octets == 0 {
            reading.write_status(self.words(), output);
            reading.encoder.finish(output);
            return None;
        }
        Some(self.ask_for(reading))
    }

    fn ask_for(&mut self, reading: Reading) -> Step<'static, Question<M>> {
        let (index, offset, whole) = (reading.index, reading.offset, reading.top.is_none());
        self.ask(Question::Read { index, offset, whole, ticket: Ticket::new(reading) })
    }

    fn ask(&mut self, question: Question<M>) -> Step<'static, Question<M>> {
        self.state = State::Asked;
        Step::Ask(question)
    }

    fn piece(&mut self, mut reading: Reading, piece: MessagePiece, output: &mut Vec<u8>) {
        let (words, before) = (self.words(), output.len());
        let first = reading.offset == 0;
        let taken = piece.and_then(|content| {
            if first {
                reading.write_status(words, output);
            }
            let is_sound = reading.take(&content, output) && !(first && content.is_empty());
            if is_sound { Ok(()) } else { Err(Unreadable::ForNow) }
        });
        match taken {
            Ok(()) if reading.is_complete() => reading.encoder.finish(output),
            Ok(()) => self.state = State::Reading(reading),
            Err(why) => {
                output.truncate(before);
                match (first, why) {
                    // RFC 3206 §4: a person has to do something; asking again does not help. The session
                    // goes on, so that a client which fetches one message after the other gets past this
                    // one.
                    (true, Unreadable::Damaged) => coded("SYS/PERM", words.damaged, output),
                    (true, Unreadable::ForNow) => coded("SYS/TEMP", words.unreadable, output),
                    (false, Unreadable::Damaged | Unreadable::ForNow) => {
                        self.state = State::Closing;
                    }
                }
            }
        }
    }

    /// Ends a session whose login no longer holds, or cannot be checked. Nothing is removed, whatever
    /// is marked: RFC 1939 §3 has a session that ends without QUIT's UPDATE state remove nothing.
    fn end(&mut self, why: Lapse, output: &mut Vec<u8>) {
        match why {
            // RFC 3206 §4 has AUTH in the answers to a login. What it tells a program, to have the
            // person look at the credentials, is what is needed here.
            Lapse::Ended => coded("AUTH", self.words().ended, output),
            Lapse::Expired => coded("AUTH", self.words().expired, output),
            Lapse::Unavailable => coded("SYS/TEMP", self.words().unavailable, output),
        }
        self.state = State::Closing;
    }

    fn quit(&mut self, output: &mut Vec<u8>) -> Taken<M> {
        let Session::Transaction(view) = &mut self.session else { return None };
        let marked = view.take_marked();
        if marked.is_empty() {
            ok(self.words().bye, output);
            self.state = State::Closing;
            return None;
        }
        let ticket = Ticket::new(Marked(marked.len()));
        Some(self.ask(Question::Update(marked, ticket)))
    }

    fn capabilities(&self, output: &mut Vec<u8>) {
        ok(self.words().capabilities, output);
        output.extend_from_slice(b"TOP\r\n");
        if self.may_login() {
            output.extend_from_slice(b"USER\r\n");
        }
        if let mechanisms @ [_, ..] = self.mechanisms() {
            let _ = write!(output, "SASL {}\r\n", mechanisms.join(" "));
        }
        output.extend_from_slice(b"UIDL\r\nPIPELINING\r\nRESP-CODES\r\nAUTH-RESP-CODE\r\n");
        let before_login = matches!(self.session, Session::Authorization { .. });
        if self.profile.stls && !self.secured && before_login {
            output.extend_from_slice(b"STLS\r\n");
        }
        if self.profile.login_delay > Duration::ZERO {
            let _ = write!(output, "LOGIN-DELAY {}\r\n", self.profile.login_delay.as_secs());
        }
        let _ = match self.profile.expire {
            None => write!(output, "EXPIRE NEVER\r\n"),
            Some(days) => write!(output, "EXPIRE {days}\r\n"),
        };
        output.extend_from_slice(b"UTF8 USER\r\nLANG\r\nIMPLEMENTATION Posta\r\n.\r\n");
    }

    /// RFC 6856 §3. The list tells each language's name in itself.
    fn lang(&mut self, tag: Option<&str>, output: &mut Vec<u8>) -> Taken<M> {
        match tag.map(Language::find) {
            None => {
                ok(self.words().languages, output);
                for (_, tag, name) in LANGUAGES {
                    let _ = write!(output, "{tag} {name}\r\n");
                }
                output.extend_from_slice(b".\r\n");
            }
            Some(Some(language)) => {
                self.language = language;
                let _ = write!(output, "+OK {} {}\r\n", language.tag(), self.words().here);
            }
            Some(None) => return self.bad_command(self.words().no_such_language, output),
        }
        None
    }

    fn bad_command(&mut self, words: &str, output: &mut Vec<u8>) -> Taken<M> {
        self.bad_commands += 1;
        err(words, output);
        if self.bad_commands > BAD_COMMANDS {
            self.state = State::Closing;
        }
        None
    }

    /// Appends lines of the listing until it ends or the output is worth sending.
    fn list(&mut self, output: &mut Vec<u8>) -> Taken<M> {
        let State::Listing { unique_ids, next } = &mut self.state else { return None };
        let Session::Transaction(view) = &self.session else { return None };
        while *next < view.maildrop.len() {
            let index = *next;
            *next += 1;
            if view.is_deleted(index) {
                continue;
            }
            if *unique_ids {
                view.write_unique_id("", index, output);
            } else {
                let _ = write!(output, "{} {}\r\n", index + 1, view.maildrop.octets(index));
            }
            if output.len() >= LISTING_PIECE {
                return Some(Step::Flush);
            }
        }
        output.extend_from_slice(b".\r\n");
        self.state = State::Command;
        None
    }
}

impl Reading {
    /// Takes the next piece; an empty one ends the message. Returns whether it can be part of a message
    /// of that length: what LIST told and RETR sends must be the same (RFC 1939 §11).
    fn take(&mut self, content: &[u8], output: &mut Vec<u8>) -> bool {
        self.offset += content.len() as u64;
        match &mut self.top {
            None => self.encoder.push(content, output),
            Some(top) => top.push(content, |lines| self.encoder.push(lines, output)),
        }
        if content.is_empty() {
            self.is_over = true;
            // The last line's end is sent, and counted, whether the message has it or not.
            return self.encoder.lacks_end() && self.octets - self.sent() == LINE_END;
        }
        self.sent() <= self.octets
    }

    /// Octets of the lines so far.
    fn sent(&self) -> u64 {
        self.top.as_ref().map_or_else(|| self.encoder.octets(), TopFilter::octets)
    }

    fn is_complete(&self) -> bool {
        let top_is_shown = self.top.as_ref().is_some_and(TopFilter::is_done);
        self.is_over || top_is_shown || self.sent() == self.octets
    }

    fn write_status(&self, words: &Words, output: &mut Vec<u8>) {
        match self.top {
            None => {
                let _ = write!(output, "+OK {} {}\r\n", self.octets, words.octets);
            }
            Some(_) => ok(words.top, output),
        }
    }
}

fn ok(words: &str, output: &mut Vec<u8>) {
    let _ = write!(output, "+OK {words}\r\n");
}

fn err(words: &str, output: &mut Vec<u8>) {
    let _ = write!(output, "-ERR {words}\r\n");
}

/// An error with a response code (RFC 2449 §8).
fn coded(code: &str, words: &str, output: &mut Vec<u8>) {
    let _ = write!(output, "-ERR [{code}] {words}\r\n");
}

fn count<M>(view: &View<M>, words: &Words, output: &mut Vec<u8>) {
    let View { messages, octets, .. } = view;
    let _ = write!(output, "+OK {messages} {} ({octets} {})\r\n", words.messages, words.octets);
}

impl Nonsense {
    const fn words(self, words: &Words) -> &'static str {
        match self {
            Self::Unknown => words.unknown_command,
            Self::TooLong => words.too_long,
            Self::NoName => words.name_needed,
            Self::NoText => words.name_no_text,
            Self::Argument => words.no_argument,
            Self::NoNumber => words.number_needed,
            Self::Top => words.top_usage,
            Self::Apop => words.apop_usage,
            Self::Auth => words.auth_usage,
        }
    }
}

impl<M: Maildrop> Engine for Server<M> {
    type Question = Question<M>;
    type Answer = Answer<M>;

    fn next<'i>(&mut self, input: &mut &'i [u8], output: &mut Vec<u8>) -> Step<'i, Question<M>> {
        loop {
            let taken = match std::mem::replace(&mut self.state, State::Command) {
                State::Greeting => {
                    self.greet(output);
                    None
                }
                State::Command if self.cutter.is_at_line_start() && http::begins_request(input) => {
                    self.not_pop3(output)
                }
                State::Command => match self.cutter.next(input, limits::SASL_LINE) {
                    Cut::Incomplete => return Step::NeedInput,
                    Cut::TooLong => self.bad_command(self.words().too_long, output),
                    Cut::Line(line) => self.line(line, output),
                },
                State::Sasl => match self.cutter.next(input, limits::SASL_LINE) {
                    Cut::Incomplete => {
                        self.state = State::Sasl;
                        return Step::NeedInput;
                    }
                    Cut::TooLong => Some(self.break_off(self.words().too_long)),
                    Cut::Line(line) => Some(self.sasl(line)),
                },
                State::Granted(command) => self.command(command, output),
                listing @ State::Listing { .. } => {
                    self.state = listing;
                    self.list(output)
                }
                State::Reading(reading) => Some(self.ask_for(reading)),
                State::Asked | State::Closing => {
                    self.state = State::Closing;
                    return Step::Close;
                }
            };
            if let Some(step) = taken {
                return step;
            }
        }
    }

    fn answer(&mut self, Answer(answered): Answer<M>, output: &mut Vec<u8>) {
        if !matches!(self.state, State::Asked) {
            // Interrupted since it asked: there is nothing more to say.
            return;
        }
        self.state = State::Command;
        match answered {
            Answered::Login(Ok(maildrop)) => self.open(maildrop, output),
            Answered::Login(Err(denial)) => self.deny(denial, output),
            Answered::Authentication(outcome) => self.authentication(outcome, output),
            Answered::BrokenOff(BrokenOff(words)) => self.broken_off(words, output),
            Answered::Standing(command, Ok(())) => self.state = State::Granted(command),
            Answered::Standing(_, Err(why)) => self.end(why, output),
            Answered::Piece(reading, piece) => self.piece(reading, piece, output),
            Answered::Update(Marked(messages), outcome) => {
                match outcome {
                    Ok(()) => {
                        let Words { bye, removed, .. } = self.words();
                        let _ = write!(output, "+OK {bye}, {messages} {removed}\r\n");
                    }
                    // RFC 1939 §6: the server must not remove any when it says this.
                    Err(NotRemoved) => coded("SYS/TEMP", self.words().nothing_removed, output),
                }
                self.state = State::Closing;
            }
        }
    }

    fn secured(&mut self) {
        // RFC 2595 §4: back to the beginning, with nothing of what was said in plaintext.
        self.secured = true;
        self.session = Session::Authorization { name: None };
        self.cutter = LineCutter::default();
    }

    fn pace(&self) -> Pace {
        Pace::anything(self.profile.patience)
    }

    fn is_busy(&self) -> bool {
        // Marks would be lost: a client that has some gets the chance to say QUIT.
        matches!(&self.session, Session::Transaction(view) if view.messages < view.maildrop.len())
    }

    fn interrupt(&mut self, why: Interrupt, output: &mut Vec<u8>) {
        // Unasked words would be taken for the answer to the next command; only in place of the
        // greeting is there room for them.
        if matches!(self.state, State::Greeting) {
            let words = match why {
                Interrupt::Crowded => self.words().crowded,
                Interrupt::Idle | Interrupt::Stopping => self.words().stopping,
            };
            coded("SYS/TEMP", words, output);
        }
        self.state = State::Closing;
    }
}
