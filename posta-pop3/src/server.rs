//! The server's side of a POP3 session.
//!
//! # Theory
//!
//! RFC 1939 §3 names three states. AUTHORIZATION ends when the question [`Question::Login`] is
//! answered with a maildrop: one stable view of a mailbox, whose messages keep their numbers
//! whatever arrives or leaves meanwhile. In TRANSACTION the client reads, and marks messages as
//! deleted. QUIT enters UPDATE: the marked messages are removed in one step by
//! [`Question::Update`]. A session that ends in any other way removes nothing.
//!
//! | state     | waits for                | leaves it by |
//! |-----------|--------------------------|--------------|
//! | `Greeting`| nothing                  | sending +OK |
//! | `Command` | a command line           | a question, a listing, QUIT, STLS |
//! | `Asked`   | the answer to a question | the answer |
//! | `Listing` | room in the output       | the last line |
//! | `Closing` | nothing                  | – |
//!
//! A message is asked for piece by piece ([`Question::Read`]), and the status line is sent with the
//! first piece: by then it is sure that the message can be read. If a later piece fails, nothing in
//! the protocol can say so, and the connection is closed in the middle rather than ended with a dot
//! that would make a half message look whole.

use crate::{command::Command, top::TopFilter};
use bytes::Bytes;
use posta_mail::{
    Engine, Interrupt, Pace, Secret, Step,
    dots::DotEncoder,
    limits,
    line::{Cut, LineCutter},
};
use std::{fmt::Write as _, io::Write as _, sync::Arc};

/// Commands that make no sense, after which a session is closed.
const BAD_COMMANDS: u32 = 50;

/// Failed logins, after which a session is closed.
const FAILED_LOGINS: u32 = 3;

/// Octets of a listing that are gathered before they are sent.
const LISTING_PIECE: usize = 16 * 1024;

/// One stable view of a mailbox. Indices count from 0.
pub trait Maildrop {
    /// Number of messages.
    fn len(&self) -> usize;
    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// The octets that RETR sends of a message, before dot-transparency.
    fn octets(&self, index: usize) -> u64;
    /// Appends the unique-id of a message: 1 to 70 octets of 0x21 to 0x7E (RFC 1939 §7).
    fn write_unique_id(&self, index: usize, text: &mut String);
}

/// What all sessions of a listener share.
#[derive(Debug, Clone)]
pub struct Profile {
    /// The server's name for itself.
    pub hostname: String,
    /// Whether STLS is offered while the session is in plaintext.
    pub stls: bool,
}

/// What only the outside can decide or supply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Question {
    /// Open the maildrop of this user. Answered by [`Answer::Opened`] or [`Answer::Denied`].
    Login {
        /// As the client gave it.
        name: String,
        /// As the client gave it.
        password: Secret,
    },
    /// The octets of a message from `offset` on, as many as are convenient, at least one.
    Read {
        /// Which message, from 0.
        index: usize,
        /// From where. Below the message's octets.
        offset: u64,
    },
    /// Remove these messages, all or none. Answered by [`Answer::Updated`] or [`Answer::Failed`].
    Update(Vec<usize>),
}

/// The answer to a [`Question`].
#[derive(Debug)]
pub enum Answer<M> {
    /// The login is good, and this is the maildrop.
    Opened(M),
    /// It is not.
    Denied(Denial),
    /// A piece of the message.
    Content(Bytes),
    /// The messages are removed.
    Updated,
    /// The message could not be read, or nothing was removed.
    Failed,
}

/// Why a login is denied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Denial {
    /// Name or password are wrong, which of them is not told (RFC 3206 §4: `AUTH`).
    Credentials,
    /// The server cannot tell now (RFC 3206 §4: `SYS/TEMP`).
    Unavailable,
}

/// The engine. See the module's theory.
#[derive(Debug)]
pub struct Server<M> {
    profile: Arc<Profile>,
    state: State,
    session: Session<M>,
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

/// A maildrop with the marks of this session.
#[derive(Debug)]
struct View<M> {
    maildrop: M,
    /// Empty until the first DELE.
    deleted: Vec<bool>,
    /// Messages and octets that are not marked.
    messages: usize,
    octets: u64,
}

#[derive(Debug)]
enum State {
    Greeting,
    Command,
    Asked(Asked),
    Listing {
        unique_ids: bool,
        next: usize,
    },
    /// Between two pieces of a message.
    Reading(Reading),
    Closing,
}

#[derive(Debug)]
enum Asked {
    Login,
    Read(Reading),
    Update { messages: usize },
}

#[derive(Debug)]
struct Reading {
    index: usize,
    offset: u64,
    octets: u64,
    encoder: DotEncoder,
    top: Option<TopFilter>,
}

type Taken = Option<Step<'static, Question>>;

impl<M: Maildrop> Server<M> {
    /// An engine for a connection that was just opened. `plaintext_login` says whether USER and
    /// PASS are taken outside TLS.
    #[must_use]
    pub fn new(profile: Arc<Profile>, plaintext_login: bool) -> Self {
        Self {
            profile,
            state: State::Greeting,
            session: Session::Authorization { name: None },
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

    fn line(&mut self, line: &[u8], output: &mut Vec<u8>) -> Taken {
        let command = match Command::parse(line) {
            Ok(command) => command,
            Err(words) => return self.bad_command(words, output),
        };
        match (command, &mut self.session) {
            (Command::Capa, _) => self.capabilities(output),
            (Command::Quit, Session::Authorization { .. }) => {
                ok("bye", output);
                self.state = State::Closing;
            }
            (command, Session::Authorization { .. }) => return self.authorization(command, output),
            (Command::Quit, Session::Transaction(_)) => return self.quit(output),
            (command, Session::Transaction(_)) => return self.transaction(command, output),
        }
        None
    }

    fn authorization(&mut self, command: Command, output: &mut Vec<u8>) -> Taken {
        let may_login = self.secured || self.plaintext_login;
        let Session::Authorization { name } = &mut self.session else { return None };
        match command {
            Command::Stls if self.secured => return self.bad_command("TLS is on already", output),
            Command::Stls if self.profile.stls => {
                ok("go ahead", output);
                return Some(Step::StartTls);
            }
            Command::Stls => return self.bad_command("TLS is not offered here", output),
            Command::User(_) | Command::Pass(_) if !may_login => {
                err("a password may not travel in plaintext: use STLS first", output);
            }
            Command::User(given) => {
                // The same answer whether the name exists or not (RFC 1939 §13).
                *name = Some(given);
                ok("password, please", output);
            }
            Command::Pass(password) => {
                let Some(name) = name.take() else {
                    return self.bad_command("USER comes first", output);
                };
                self.state = State::Asked(Asked::Login);
                return Some(Step::Ask(Question::Login { name, password }));
            }
            _ => return self.bad_command("log in first", output),
        }
        None
    }

    fn transaction(&mut self, command: Command, output: &mut Vec<u8>) -> Taken {
        let Session::Transaction(view) = &mut self.session else { return None };
        match command {
            Command::Stat => {
                let _ = write!(output, "+OK {} {}\r\n", view.messages, view.octets);
            }
            Command::List(None) => {
                let (messages, octets) = (view.messages, view.octets);
                let _ = write!(output, "+OK {messages} messages ({octets} octets)\r\n");
                self.state = State::Listing { unique_ids: false, next: 0 };
            }
            Command::Uidl(None) => {
                ok("unique-ids follow", output);
                self.state = State::Listing { unique_ids: true, next: 0 };
            }
            Command::List(Some(number)) => match view.index(number) {
                Some(index) => {
                    let _ = write!(output, "+OK {number} {}\r\n", view.maildrop.octets(index));
                }
                None => no_such_message(output),
            },
            Command::Uidl(Some(number)) => match view.index(number) {
                Some(index) => view.write_unique_id("+OK ", index, output),
                None => no_such_message(output),
            },
            Command::Retr(number) => return self.read(number, None, output),
            Command::Top(number, lines) => return self.read(number, Some(lines), output),
            Command::Dele(number) => match view.index(number) {
                Some(index) => {
                    view.delete(index);
                    ok("marked as deleted", output);
                }
                None => no_such_message(output),
            },
            Command::Noop => ok("here", output),
            Command::Rset => {
                view.reset();
                let (messages, octets) = (view.messages, view.octets);
                let _ = write!(output, "+OK {messages} messages ({octets} octets)\r\n");
            }
            Command::User(_) | Command::Pass(_) | Command::Stls => {
                return self.bad_command("that belongs before the login", output);
            }
            Command::Capa | Command::Quit => debug_assert!(false, "valid in both states"),
        }
        None
    }

    fn read(&mut self, number: u32, lines: Option<u64>, output: &mut Vec<u8>) -> Taken {
        let Session::Transaction(view) = &self.session else { return None };
        let Some(index) = view.index(number) else {
            no_such_message(output);
            return None;
        };
        let octets = view.maildrop.octets(index);
        let encoder = DotEncoder::default();
        let reading = Reading { index, offset: 0, octets, encoder, top: lines.map(TopFilter::new) };
        if octets == 0 {
            reading.write_status(output);
            reading.encoder.finish(output);
            return None;
        }
        Some(self.ask_for(reading))
    }

    fn ask_for(&mut self, reading: Reading) -> Step<'static, Question> {
        let question = Question::Read { index: reading.index, offset: reading.offset };
        self.state = State::Asked(Asked::Read(reading));
        Step::Ask(question)
    }

    fn piece(&mut self, mut reading: Reading, answer: Answer<M>, output: &mut Vec<u8>) {
        let first = reading.offset == 0;
        let left = reading.octets - reading.offset;
        match answer {
            Answer::Content(content) if !content.is_empty() && content.len() as u64 <= left => {
                if first {
                    reading.write_status(output);
                }
                reading.offset += content.len() as u64;
                let shown = reading.top.as_mut().map_or(content.len(), |top| top.push(&content));
                reading.encoder.push(&content[..shown], output);
                let complete = reading.top.as_ref().is_some_and(TopFilter::is_done);
                if complete || reading.offset == reading.octets {
                    reading.encoder.finish(output);
                } else {
                    self.state = State::Reading(reading);
                }
            }
            _ if first => err("[SYS/TEMP] the message cannot be read now", output),
            _ => self.state = State::Closing,
        }
    }

    fn quit(&mut self, output: &mut Vec<u8>) -> Taken {
        let Session::Transaction(view) = &self.session else { return None };
        let marked = view.marked();
        if marked.is_empty() {
            ok("bye", output);
            self.state = State::Closing;
            return None;
        }
        self.state = State::Asked(Asked::Update { messages: marked.len() });
        Some(Step::Ask(Question::Update(marked)))
    }

    fn opened(&mut self, answer: Answer<M>, output: &mut Vec<u8>) {
        let words = match answer {
            Answer::Opened(maildrop) => {
                let view = View::new(maildrop);
                let (messages, octets) = (view.messages, view.octets);
                let _ = write!(output, "+OK {messages} messages ({octets} octets)\r\n");
                self.session = Session::Transaction(Box::new(view));
                return;
            }
            Answer::Denied(Denial::Credentials) => "[AUTH] name or password is wrong",
            _ => "[SYS/TEMP] the maildrop cannot be opened now",
        };
        err(words, output);
        self.failed_logins += 1;
        if self.failed_logins >= FAILED_LOGINS {
            self.state = State::Closing;
        }
    }

    fn capabilities(&self, output: &mut Vec<u8>) {
        ok("capabilities follow", output);
        output.extend_from_slice(b"TOP\r\n");
        if self.secured || self.plaintext_login {
            output.extend_from_slice(b"USER\r\n");
        }
        output.extend_from_slice(b"UIDL\r\nPIPELINING\r\nRESP-CODES\r\nAUTH-RESP-CODE\r\n");
        let before_login = matches!(self.session, Session::Authorization { .. });
        if self.profile.stls && !self.secured && before_login {
            output.extend_from_slice(b"STLS\r\n");
        }
        output.extend_from_slice(b"EXPIRE NEVER\r\nIMPLEMENTATION Posta\r\n.\r\n");
    }

    fn bad_command(&mut self, words: &str, output: &mut Vec<u8>) -> Taken {
        self.bad_commands += 1;
        err(words, output);
        if self.bad_commands > BAD_COMMANDS {
            self.state = State::Closing;
        }
        None
    }

    /// Appends lines of the listing until it ends or the output is worth sending.
    fn list(&mut self, output: &mut Vec<u8>) -> Taken {
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

impl<M: Maildrop> View<M> {
    fn new(maildrop: M) -> Self {
        let mut view = Self { maildrop, deleted: Vec::new(), messages: 0, octets: 0 };
        view.reset();
        view
    }

    fn reset(&mut self) {
        self.deleted = Vec::new();
        self.messages = self.maildrop.len();
        self.octets = (0..self.messages).map(|index| self.maildrop.octets(index)).sum();
    }

    fn is_deleted(&self, index: usize) -> bool {
        self.deleted.get(index).copied().unwrap_or_default()
    }

    /// The index of a message that exists and is not marked.
    fn index(&self, number: u32) -> Option<usize> {
        let index = usize::try_from(number).ok()?.checked_sub(1)?;
        (index < self.maildrop.len() && !self.is_deleted(index)).then_some(index)
    }

    fn delete(&mut self, index: usize) {
        self.deleted.resize(self.maildrop.len(), false);
        self.deleted[index] = true;
        self.messages -= 1;
        self.octets -= self.maildrop.octets(index);
    }

    fn marked(&self) -> Vec<usize> {
        let marked = self.deleted.iter().enumerate().filter(|&(_, &deleted)| deleted);
        marked.map(|(index, _)| index).collect()
    }

    fn write_unique_id(&self, status: &str, index: usize, output: &mut Vec<u8>) {
        let mut line = String::with_capacity(limits::UNIQUE_ID + 16);
        let _ = write!(line, "{status}{} ", index + 1);
        self.maildrop.write_unique_id(index, &mut line);
        line.push_str("\r\n");
        output.extend_from_slice(line.as_bytes());
    }
}

impl Reading {
    fn write_status(&self, output: &mut Vec<u8>) {
        match self.top {
            None => {
                let _ = write!(output, "+OK {} octets\r\n", self.octets);
            }
            Some(_) => ok("top follows", output),
        }
    }
}

fn ok(words: &str, output: &mut Vec<u8>) {
    let _ = write!(output, "+OK {words}\r\n");
}

fn err(words: &str, output: &mut Vec<u8>) {
    let _ = write!(output, "-ERR {words}\r\n");
}

fn no_such_message(output: &mut Vec<u8>) {
    err("no such message", output);
}

impl<M: Maildrop> Engine for Server<M> {
    type Question = Question;
    type Answer = Answer<M>;

    fn next<'i>(&mut self, input: &mut &'i [u8], output: &mut Vec<u8>) -> Step<'i, Question> {
        loop {
            let taken = match std::mem::replace(&mut self.state, State::Command) {
                State::Greeting => {
                    let _ = write!(output, "+OK {} POP3 Posta\r\n", self.profile.hostname);
                    None
                }
                State::Command => match self.cutter.next(input, limits::POP3_COMMAND_LINE) {
                    Cut::Incomplete => return Step::NeedInput,
                    Cut::TooLong => self.bad_command("line too long", output),
                    Cut::Line(line) => self.line(line, output),
                },
                listing @ State::Listing { .. } => {
                    self.state = listing;
                    self.list(output)
                }
                State::Reading(reading) => Some(self.ask_for(reading)),
                State::Asked(asked) => {
                    debug_assert!(false, "{asked:?} was not answered");
                    return Step::Close;
                }
                State::Closing => {
                    self.state = State::Closing;
                    return Step::Close;
                }
            };
            if let Some(step) = taken {
                return step;
            }
        }
    }

    fn answer(&mut self, answer: Answer<M>, output: &mut Vec<u8>) {
        match std::mem::replace(&mut self.state, State::Command) {
            State::Asked(Asked::Login) => self.opened(answer, output),
            State::Asked(Asked::Read(reading)) => self.piece(reading, answer, output),
            State::Asked(Asked::Update { messages }) => {
                match answer {
                    Answer::Updated => {
                        let _ = write!(output, "+OK bye, {messages} messages removed\r\n");
                    }
                    // RFC 1939 §6: the server must not remove any when it says this.
                    _ => err("[SYS/TEMP] nothing was removed, try again later", output),
                }
                self.state = State::Closing;
            }
            _ => debug_assert!(false, "nothing was asked"),
        }
    }

    fn secured(&mut self) {
        // RFC 2595 §4: back to the beginning, with nothing of what was said in plaintext.
        self.secured = true;
        self.session = Session::Authorization { name: None };
        self.cutter = LineCutter::default();
    }

    fn pace(&self) -> Pace {
        Pace::anything(limits::POP3_SERVER_PATIENCE)
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
                Interrupt::Crowded => "[SYS/TEMP] too many sessions from you, try again later",
                Interrupt::Idle | Interrupt::Stopping => "[SYS/TEMP] stopping, try again soon",
            };
            err(words, output);
        }
        self.state = State::Closing;
    }
}
