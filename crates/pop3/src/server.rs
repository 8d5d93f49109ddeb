//! The server's side of a POP3 session.
//!
//! # Theory
//!
//! RFC 1939 §3 names three states. AUTHORIZATION ends when the question [`Question::Login`] is
//! answered with a maildrop: one stable view of a mailbox, whose messages keep their numbers
//! whatever arrives or leaves meanwhile. In TRANSACTION the client reads, and marks messages as
//! deleted. Before each of its commands [`Question::Proceed`] asks whether the login still holds,
//! since a session can last longer than its account. QUIT enters UPDATE: the marked messages are removed in
//! one step by [`Question::Update`]. A session that ends in any other way removes nothing.
//!
//! | state           | waits for                | leaves it by |
//! |-----------------|--------------------------|--------------|
//! | `Greeting`      | nothing                  | sending +OK |
//! | `Authorization` | a command line           | a question, QUIT, STLS |
//! | `Sasl`          | a line of an AUTH        | a question; `*` or nonsense |
//! | `Transaction`   | a command line           | a question, QUIT |
//! | `Granted`       | nothing                  | the command that was read before the question |
//! | `Listing`       | room in the output       | the last line |
//! | `Reading`       | nothing                  | the question for the next piece of a message |
//! | `Asked`         | the answer to a question | the answer |
//! | `Closing`       | nothing                  | – |
//!
//! The states that belong to TRANSACTION hold the maildrop, so no command can reach one that is not open.
//! What a question interrupts, the maildrop included, travels in its ticket and comes back with the answer
//! (`server/asked.rs`). A ticket that is dropped leaves the engine in `Asked`, and the session closes.
//!
//! The commands that are valid before the login only, USER and PASS, APOP, AUTH, STLS and UTF8, are in
//! `server/authorization.rs`; those that are valid after it, in `server/transaction.rs`.
//!
//! A message is asked for piece by piece ([`Question::Read`]), and the status line is sent with the
//! first piece: by then it is sure that the message can be read. If a later piece fails, nothing in
//! the protocol can say so, and the connection is closed in the middle rather than ended with a dot
//! that would make a half message look whole. The pieces are those of the stored message; the client gets
//! it in lines ([`posta_mail::crlf`]), exactly as many octets as LIST announced.

mod asked;
mod authorization;
mod question;
mod reading;
mod transaction;

use crate::{
    command::{Nonsense, Pop3Command},
    view::View,
    words::{LANGUAGES, Language, Words},
};
use asked::{Answered, BrokenOff, Marked, Proceeding, ReadingFrom};
use posta_mail::{
    Engine, Interrupt, Pace, Step, limits,
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

/// The engine. See the module's theory.
#[derive(Debug)]
pub struct Server<M: Maildrop> {
    profile: Arc<Profile>,
    state: State<M>,
    /// The name that USER gave, for PASS.
    name: Option<String>,
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
enum State<M> {
    Greeting,
    Authorization,
    /// In an AUTH, after a challenge.
    Sasl,
    Transaction(Box<View<M>>),
    /// The session goes on with this command.
    Granted(Proceeding<M>),
    Listing(Listing<M>),
    /// Between two pieces of a message.
    Reading(ReadingFrom<M>),
    Asked {
        /// Whether messages are marked in the maildrop, which the ticket holds.
        has_marks: bool,
    },
    Closing,
}

/// A listing that is being sent.
#[derive(Debug)]
struct Listing<M> {
    view: Box<View<M>>,
    unique_ids: bool,
    /// The index of the next message.
    next: usize,
}

/// What a command line is.
enum Line {
    Command(Pop3Command),
    Nonsense(Nonsense),
    /// A line of HTTP, such as a browser sends that a web page sent here.
    Http,
}

impl Line {
    fn read(line: &[u8]) -> Self {
        match Pop3Command::parse(line) {
            // A method may have the name of a command.
            _ if http::ends_request(line) => Self::Http,
            Ok(command) => Self::Command(command),
            Err(_) if http::is_field(line) => Self::Http,
            Err(nonsense) => Self::Nonsense(nonsense),
        }
    }
}

type Taken<M> = Option<Step<'static, Question<M>>>;

impl<M: Maildrop> Server<M> {
    /// Makes an engine for a connection that was just opened. `plaintext_login` says whether USER and
    /// PASS are taken outside TLS.
    #[must_use]
    pub fn new(profile: Arc<Profile>, plaintext_login: bool) -> Self {
        Self {
            profile,
            state: State::Greeting,
            name: None,
            challenge: None,
            language: Language::default(),
            secured: false,
            plaintext_login,
            bad_commands: 0,
            failed_logins: 0,
            cutter: LineCutter::default(),
        }
    }

    /// Makes an engine for a connection that is in TLS from its start (RFC 8314 §3).
    #[must_use]
    pub fn new_secured(profile: Arc<Profile>) -> Self {
        Self { secured: true, ..Self::new(profile, true) }
    }

    /// Offers APOP if there is a challenge. It has the form of a Message-ID, angle brackets included, and
    /// is never used again (RFC 1939 §7).
    #[must_use]
    pub fn with_challenge(self, challenge: Option<String>) -> Self {
        Self { challenge: challenge.map(String::into_boxed_str), ..self }
    }

    const fn words(&self) -> &'static Words {
        self.language.words()
    }

    /// Takes a command line of the AUTHORIZATION state.
    fn authorization_line(&mut self, line: &[u8], output: &mut Vec<u8>) -> Taken<M> {
        self.state = State::Authorization;
        match Line::read(line) {
            Line::Http => self.not_pop3(output),
            Line::Nonsense(nonsense) => self.bad_command(nonsense.words(self.words()), output),
            Line::Command(Pop3Command::Capa) => self.capabilities(true, output),
            Line::Command(Pop3Command::Lang(tag)) => self.lang(tag.as_deref(), output),
            Line::Command(Pop3Command::Quit) => {
                ok(self.words().bye, output);
                self.state = State::Closing;
            }
            Line::Command(Pop3Command::Login(command)) => {
                return self.authorization(command, output);
            }
            Line::Command(Pop3Command::Maildrop(_)) => {
                self.bad_command(self.words().login_first, output);
            }
        }
        None
    }

    /// Takes a command line of the TRANSACTION state.
    fn transaction_line(
        &mut self,
        view: Box<View<M>>,
        line: &[u8],
        output: &mut Vec<u8>,
    ) -> Taken<M> {
        match Line::read(line) {
            Line::Http => self.not_pop3(output),
            Line::Nonsense(nonsense) => {
                self.state = State::Transaction(view);
                self.bad_command(nonsense.words(self.words()), output);
            }
            Line::Command(command) => {
                let has_marks = view.has_marks();
                let ticket = Ticket::new(Proceeding { view, command });
                return Some(self.ask_holding(has_marks, Question::Proceed(ticket)));
            }
        }
        None
    }

    /// Ends the session of a client that speaks HTTP, such as a browser that a web page sent here.
    fn not_pop3(&mut self, output: &mut Vec<u8>) {
        let _ = write!(output, "-ERR {}\r\n", self.words().not_http);
        self.state = State::Closing;
    }

    /// Asks a question of the AUTHORIZATION state.
    fn ask(&mut self, question: Question<M>) -> Step<'static, Question<M>> {
        self.ask_holding(false, question)
    }

    /// Asks a question whose ticket holds the maildrop.
    fn ask_holding(
        &mut self,
        has_marks: bool,
        question: Question<M>,
    ) -> Step<'static, Question<M>> {
        self.state = State::Asked { has_marks };
        Step::Ask(question)
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

    fn capabilities(&self, before_login: bool, output: &mut Vec<u8>) {
        ok(self.words().capabilities, output);
        output.extend_from_slice(b"TOP\r\n");
        if self.may_login() {
            output.extend_from_slice(b"USER\r\n");
        }
        if let mechanisms @ [_, ..] = self.mechanisms() {
            let _ = write!(output, "SASL {}\r\n", mechanisms.join(" "));
        }
        output.extend_from_slice(b"UIDL\r\nPIPELINING\r\nRESP-CODES\r\nAUTH-RESP-CODE\r\n");
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

    /// Takes LANG (RFC 6856 §3). The list has each language's name in the language itself.
    fn lang(&mut self, tag: Option<&str>, output: &mut Vec<u8>) {
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
            Some(None) => self.bad_command(self.words().no_such_language, output),
        }
    }

    /// Refuses a command that makes no sense, and closes a session that has too many of them.
    fn bad_command(&mut self, words: &str, output: &mut Vec<u8>) {
        self.bad_commands += 1;
        err(words, output);
        if self.bad_commands > BAD_COMMANDS {
            self.state = State::Closing;
        }
    }

    /// Refuses a line that is longer than any command.
    fn too_long(&mut self, state: State<M>, output: &mut Vec<u8>) -> Taken<M> {
        self.state = state;
        self.bad_command(self.words().too_long, output);
        None
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
            let taken = match std::mem::replace(&mut self.state, State::Closing) {
                State::Greeting => {
                    self.greet(output);
                    self.state = State::Authorization;
                    None
                }
                State::Authorization | State::Transaction(_)
                    if self.cutter.is_at_line_start() && http::begins_request(input) =>
                {
                    self.not_pop3(output);
                    None
                }
                State::Authorization => match self.cutter.next(input, limits::SASL_LINE) {
                    Cut::Line(line) => self.authorization_line(line, output),
                    Cut::Incomplete => {
                        self.state = State::Authorization;
                        return Step::NeedInput;
                    }
                    Cut::TooLong => self.too_long(State::Authorization, output),
                },
                State::Transaction(view) => match self.cutter.next(input, limits::SASL_LINE) {
                    Cut::Line(line) => self.transaction_line(view, line, output),
                    Cut::Incomplete => {
                        self.state = State::Transaction(view);
                        return Step::NeedInput;
                    }
                    Cut::TooLong => self.too_long(State::Transaction(view), output),
                },
                State::Sasl => match self.cutter.next(input, limits::SASL_LINE) {
                    Cut::Incomplete => {
                        self.state = State::Sasl;
                        return Step::NeedInput;
                    }
                    Cut::TooLong => Some(self.break_off(self.words().too_long)),
                    Cut::Line(line) => Some(self.sasl(line)),
                },
                State::Granted(proceeding) => self.granted(proceeding, output),
                State::Listing(listing) => self.list(listing, output),
                State::Reading(from) => Some(self.ask_for(from)),
                State::Asked { .. } | State::Closing => return Step::Close,
            };
            if let Some(step) = taken {
                return step;
            }
        }
    }

    fn answer(&mut self, Answer(answered): Answer<M>, output: &mut Vec<u8>) {
        if !matches!(self.state, State::Asked { .. }) {
            // Interrupted since it asked: there is nothing more to say.
            return;
        }
        match answered {
            Answered::Login(Ok(maildrop)) => self.open(maildrop, output),
            Answered::Login(Err(denial)) => self.deny(denial, output),
            Answered::Authentication(outcome) => self.authentication(outcome, output),
            Answered::BrokenOff(BrokenOff(words)) => self.broken_off(words, output),
            Answered::Standing(proceeding, Ok(())) => self.state = State::Granted(proceeding),
            Answered::Standing(_, Err(why)) => self.end(why, output),
            Answered::Piece(from, piece) => self.piece(from, piece, output),
            Answered::Update(Marked(messages), outcome) => {
                match outcome {
                    Ok(()) => {
                        let words = self.words();
                        let removed = words.removed(messages);
                        let _ = write!(output, "+OK {}, {removed}\r\n", words.bye);
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
        self.state = State::Authorization;
        self.name = None;
        self.cutter = LineCutter::default();
    }

    fn pace(&self) -> Pace {
        Pace::anything(self.profile.patience)
    }

    fn is_busy(&self) -> bool {
        // Marks would be lost: a client that has some gets the chance to say QUIT.
        match &self.state {
            State::Transaction(view)
            | State::Granted(Proceeding { view, .. })
            | State::Listing(Listing { view, .. })
            | State::Reading(ReadingFrom { view, .. }) => view.has_marks(),
            State::Asked { has_marks } => *has_marks,
            State::Greeting | State::Authorization | State::Sasl | State::Closing => false,
        }
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
