//! The client's side of a POP3 session: the mirror of [`crate::server`].
//!
//! # Theory
//!
//! The client follows the server's greeting through STLS, where it is wanted, and the login to
//! [`Question::LoggedIn`]. From then on each question carries what the request before brought, and asks
//! for the next one. Requests go one at a time.
//!
//! | expected by     | the status line       | then |
//! |-----------------|-----------------------|------|
//! | `Greeting`      | +OK                   | CAPA for STLS or SASL, or USER |
//! | `Capa`          | +OK                   | reads the list (`Capabilities`): STLS, asks how to log in, or USER |
//! | `Stls`          | +OK                   | negotiates (`Securing`), CAPA or USER |
//! | `Auth`          | a challenge, +OK, -ERR | asks for a response, what to do, or how else to log in |
//! | `User`          | +OK                   | PASS |
//! | `Pass`          | +OK                   | asks what to do |
//! | `Request`       | +OK, -ERR             | asks what to do, or reads `Sizes`, `UniqueIds`, a `Message` first |
//!
//! A question that is due stands in the state `Ask` until the next step; then the client is in `Asked`.
//! What the question interrupts travels in its ticket and comes back with the answer
//! (`client/asked.rs`). A ticket that is dropped leaves the client there, and the session closes.

mod asked;
mod question;

pub use asked::Answer;
pub use question::{
    Failure, LoginChoice, Options, Pop3Request, Question, SaslResponse, Status, Ticket,
};

use crate::UniqueIds;
use asked::{Answered, Mechanisms};
use posta_mail::{
    Engine, Interrupt, Pace, Step, TlsUse,
    dots::{BareNewlines, Decoded, DotDecoder},
    limits,
    line::{Cut, cut_line},
    sasl::{self, Opening},
};
use std::{borrow::Cow, io::Write as _};

/// The engine. See the module's theory.
#[derive(Debug)]
pub struct Client {
    options: Options,
    state: State,
    /// Octets of the list that is being read.
    listed: usize,
    secured: bool,
}

#[derive(Debug)]
enum State {
    Reading(Reading),
    Message(DotDecoder),
    /// The server said +OK to STLS.
    Securing,
    /// The next step asks this question.
    Ask(Question),
    Asked,
    Closed,
}

/// What the next line is.
#[derive(Debug)]
enum Reading {
    Status(Expected),
    Capabilities(Offered),
    Sizes(Vec<(u32, u64)>),
    UniqueIds(UniqueIds),
}

/// What the next status line answers.
#[derive(Debug)]
enum Expected {
    Greeting,
    Capa,
    Stls,
    /// A line of a SASL exchange; with the mechanisms that are left should it fail.
    Auth(Mechanisms),
    User,
    Pass,
    Request(Pop3Request),
}

/// What the server's capabilities say.
#[derive(Debug, Default)]
struct Offered {
    stls: bool,
    mechanisms: Vec<String>,
}

impl Offered {
    fn read(&mut self, line: &[u8]) {
        let text = String::from_utf8_lossy(line).to_ascii_uppercase();
        let mut words = text.split_ascii_whitespace();
        match words.next() {
            Some("STLS") => self.stls = true,
            Some("SASL") => self.mechanisms = words.map(str::to_owned).collect(),
            _ => {}
        }
    }
}

impl Client {
    /// Makes an engine for a connection that was just opened, in TLS already or not.
    #[must_use]
    pub fn new(options: Options, secured: bool) -> Self {
        Self {
            options,
            state: State::Reading(Reading::Status(Expected::Greeting)),
            listed: 0,
            secured,
        }
    }

    fn expect(&mut self, expected: Expected) {
        self.listed = 0;
        self.state = State::Reading(Reading::Status(expected));
    }

    fn ask(&mut self, question: Question) {
        self.state = State::Ask(question);
    }

    fn capability(
        &mut self,
        mut offered: Offered,
        line: &[u8],
        output: &mut Vec<u8>,
    ) -> Result<(), Failure> {
        if line == b"." {
            return self.after_capabilities(offered, output);
        }
        let endless = Failure::Protocol("the list of capabilities does not end");
        self.count(line, limits::POP3_CAPABILITIES, endless)?;
        offered.read(line);
        self.state = State::Reading(Reading::Capabilities(offered));
        Ok(())
    }

    fn size(&mut self, mut sizes: Vec<(u32, u64)>, line: &[u8]) -> Result<(), Failure> {
        if line == b"." {
            self.ask(Question::Sizes(Ok(sizes), Ticket::new(())));
            return Ok(());
        }
        self.count(line, limits::POP3_LISTING, LISTING_TOO_LONG)?;
        let (number, value) = listed(line);
        let octets = value.split(' ').next().and_then(|word| word.parse().ok());
        sizes.extend(number.zip(octets));
        check_listing(sizes.len())?;
        self.state = State::Reading(Reading::Sizes(sizes));
        Ok(())
    }

    fn unique_id(&mut self, mut unique_ids: UniqueIds, line: &[u8]) -> Result<(), Failure> {
        if line == b"." {
            self.ask(Question::UniqueIds(Ok(unique_ids), Ticket::new(())));
            return Ok(());
        }
        self.count(line, limits::POP3_LISTING, LISTING_TOO_LONG)?;
        match listed(line) {
            // Less than 4 GiB: limits::POP3_LISTING.
            (Some(number), value) => unique_ids.push(number, &value),
            (None, _) => unique_ids.push_nameless(&text_of(line)),
        }
        check_listing(unique_ids.len())?;
        self.state = State::Reading(Reading::UniqueIds(unique_ids));
        Ok(())
    }

    /// Counts a line of a list.
    fn count(&mut self, line: &[u8], limit: usize, excess: Failure) -> Result<(), Failure> {
        self.listed += line.len();
        if self.listed > limit { Err(excess) } else { Ok(()) }
    }

    fn status(
        &mut self,
        expected: Expected,
        line: &[u8],
        output: &mut Vec<u8>,
    ) -> Result<(), Failure> {
        let challenge = line.strip_prefix(b"+").filter(|rest| rest.is_empty() || rest[0] == b' ');
        let expected = match (expected, challenge) {
            (Expected::Auth(left), Some(challenge)) => {
                // RFC 5034 §4 has base64 here. Some servers say "go ahead" in plain words instead: that is a
                // challenge without octets.
                let octets = sasl::response(challenge.trim_ascii()).unwrap_or_default();
                self.ask(Question::Challenge(octets, Ticket::new(left)));
                return Ok(());
            }
            (expected, _) => expected,
        };
        let (positive, words) = status(line)?;
        match (expected, positive) {
            (Expected::Greeting, true) if self.wants_capabilities() => self.send_capa(output),
            (Expected::Greeting, true) => self.send_user(output),
            (Expected::Capa, true) => {
                self.state = State::Reading(Reading::Capabilities(Offered::default()))
            }
            (Expected::Capa, false) => self.after_capabilities(Offered::default(), output)?,
            (Expected::Stls, true) => self.state = State::Securing,
            (Expected::User, true) => {
                output.extend_from_slice(b"PASS ");
                output.extend_from_slice(self.options.password.expose());
                output.extend_from_slice(b"\r\n");
                self.expect(Expected::Pass);
            }
            (Expected::Pass | Expected::Auth(_), true) => {
                self.ask(Question::LoggedIn(Ticket::new(())));
            }
            // A server may offer what it does not take for this user.
            (Expected::Auth(left), false) => self.ask_login(left, Some(words.into_owned())),
            (Expected::Request(request), true) => self.after(request, &words)?,
            (Expected::Request(request), false) => self.refused(request, words.into_owned()),
            (Expected::Greeting | Expected::Stls | Expected::User | Expected::Pass, false) => {
                return Err(Failure::Refused(words.into_owned()));
            }
        }
        Ok(())
    }

    /// Goes on after +OK to a request.
    fn after(&mut self, request: Pop3Request, words: &str) -> Result<(), Failure> {
        match request {
            Pop3Request::List => self.state = State::Reading(Reading::Sizes(Vec::new())),
            Pop3Request::Uidl => {
                self.state = State::Reading(Reading::UniqueIds(UniqueIds::default()))
            }
            Pop3Request::Retr(_) | Pop3Request::Top(..) => {
                self.state = State::Message(DotDecoder::new(BareNewlines::Note));
            }
            Pop3Request::Stat => {
                let status = read_status(words)?;
                self.ask(Question::Status(Ok(status), Ticket::new(())));
            }
            Pop3Request::Dele(_) => self.ask(Question::Deleted(Ok(()), Ticket::new(()))),
            Pop3Request::Noop | Pop3Request::Rset => {
                self.ask(Question::Done(Ok(()), Ticket::new(())))
            }
            Pop3Request::Quit => self.ask(Question::Quit(Ok(()), Ticket::new(()))),
        }
        Ok(())
    }

    /// Tells of -ERR to a request, in the server's words.
    fn refused(&mut self, request: Pop3Request, words: String) {
        let ticket = Ticket::new(());
        self.ask(match request {
            Pop3Request::List => Question::Sizes(Err(words), ticket),
            Pop3Request::Uidl => Question::UniqueIds(Err(words), ticket),
            Pop3Request::Retr(_) | Pop3Request::Top(..) => Question::Retrieved(Err(words), ticket),
            Pop3Request::Stat => Question::Status(Err(words), ticket),
            Pop3Request::Dele(_) => Question::Deleted(Err(words), ticket),
            Pop3Request::Noop | Pop3Request::Rset => Question::Done(Err(words), ticket),
            Pop3Request::Quit => Question::Quit(Err(words), Ticket::new(())),
        });
    }

    fn wants_tls(&self) -> bool {
        !self.secured && self.options.tls != TlsUse::Never
    }

    fn wants_capabilities(&self) -> bool {
        self.options.sasl || self.wants_tls()
    }

    fn send_capa(&mut self, output: &mut Vec<u8>) {
        output.extend_from_slice(b"CAPA\r\n");
        self.expect(Expected::Capa);
    }

    fn after_capabilities(
        &mut self,
        offered: Offered,
        output: &mut Vec<u8>,
    ) -> Result<(), Failure> {
        if self.wants_tls() && offered.stls {
            output.extend_from_slice(b"STLS\r\n");
            self.expect(Expected::Stls);
        } else if self.wants_tls() && self.options.tls == TlsUse::Required {
            return Err(Failure::NoTls);
        } else if self.options.sasl && !offered.mechanisms.is_empty() {
            self.ask_login(Mechanisms(offered.mechanisms), None);
        } else {
            self.send_user(output);
        }
        Ok(())
    }

    fn ask_login(&mut self, left: Mechanisms, refused: Option<String>) {
        let offered = left.0.clone();
        self.ask(Question::Login { offered, refused, ticket: Ticket::new(left) });
    }

    fn send_auth(&mut self, mut left: Mechanisms, opening: Opening, output: &mut Vec<u8>) {
        let Opening { mechanism, initial } = opening;
        left.0.retain(|offered| *offered != mechanism);
        let initial = initial.as_deref().map(sasl::initial).unwrap_or_default();
        let _ = write!(output, "AUTH {mechanism}{initial}\r\n");
        self.expect(Expected::Auth(left));
    }

    fn send_user(&mut self, output: &mut Vec<u8>) {
        let _ = write!(output, "USER {}\r\n", self.options.name);
        self.expect(Expected::User);
    }

    fn send(&mut self, request: Pop3Request, output: &mut Vec<u8>) {
        // Writing to a vector cannot fail.
        let _ = match request {
            Pop3Request::Stat => write!(output, "STAT\r\n"),
            Pop3Request::List => write!(output, "LIST\r\n"),
            Pop3Request::Uidl => write!(output, "UIDL\r\n"),
            Pop3Request::Retr(number) => write!(output, "RETR {number}\r\n"),
            Pop3Request::Top(number, lines) => write!(output, "TOP {number} {lines}\r\n"),
            Pop3Request::Dele(number) => write!(output, "DELE {number}\r\n"),
            Pop3Request::Noop => write!(output, "NOOP\r\n"),
            Pop3Request::Rset => write!(output, "RSET\r\n"),
            Pop3Request::Quit => write!(output, "QUIT\r\n"),
        };
        self.expect(Expected::Request(request));
    }

    /// Reads the next line, if it has come whole.
    fn read(
        &mut self,
        reading: Reading,
        input: &mut &[u8],
        output: &mut Vec<u8>,
    ) -> Option<Step<'static, Question>> {
        let read = match cut_line(input, limits::POP3_RESPONSE_LINE) {
            Cut::Incomplete => {
                self.state = State::Reading(reading);
                return Some(Step::NeedInput);
            }
            Cut::TooLong => Err(Failure::Protocol("a response line is too long")),
            Cut::Line(line) => match reading {
                Reading::Status(expected) => self.status(expected, line, output),
                Reading::Capabilities(offered) => self.capability(offered, line, output),
                Reading::Sizes(sizes) => self.size(sizes, line),
                Reading::UniqueIds(unique_ids) => self.unique_id(unique_ids, line),
            },
        };
        if let Err(failure) = read {
            self.ask(Question::Failed(failure, Ticket::new(())));
        }
        None
    }
}

/// `+OK words` or `-ERR words` (RFC 1939 §3: the indicators are in upper case). The words are for
/// people, in whatever character set.
fn status(line: &[u8]) -> Result<(bool, Cow<'_, str>), Failure> {
    let end = line.iter().position(|&octet| octet == b' ').unwrap_or(line.len());
    let words = String::from_utf8_lossy(line.get(end + 1..).unwrap_or_default());
    match &line[..end] {
        b"+OK" => Ok((true, words)),
        b"-ERR" => Ok((false, words)),
        _ => Err(Failure::Protocol("a response begins with neither +OK nor -ERR")),
    }
}

/// Reads what STAT brings: `messages octets`.
fn read_status(words: &str) -> Result<Status, Failure> {
    let mut numbers = words.split(' ');
    let messages = numbers.next().and_then(|word| word.parse().ok());
    let octets = numbers.next().and_then(|word| word.parse().ok());
    let (Some(messages), Some(octets)) = (messages, octets) else {
        return Err(Failure::Protocol("STAT brought no two numbers"));
    };
    // A caller might make room for as many as the server claims.
    if messages > limits::POP3_LISTING_LINES as u32 {
        return Err(Failure::Protocol("STAT brought more messages than there can be"));
    }
    Ok(Status { messages, octets })
}

/// Reads a line of a listing: a message's number and what the listing tells of it. A line that is
/// malformed costs no more than its message: without a number it tells nothing, and without a unique-id
/// its message has none.
fn listed(line: &[u8]) -> (Option<u32>, String) {
    let text = text_of(line);
    let (number, value) = text.trim_start().split_once(' ').unwrap_or((&text, ""));
    (number.parse().ok(), value.trim().to_owned())
}

fn text_of(line: &[u8]) -> Cow<'_, str> {
    str::from_utf8(line).map_or_else(|_| line.escape_ascii().to_string().into(), Cow::Borrowed)
}

fn check_listing(lines: usize) -> Result<(), Failure> {
    if lines > limits::POP3_LISTING_LINES { Err(LISTING_TOO_LONG) } else { Ok(()) }
}

const LISTING_TOO_LONG: Failure = Failure::Protocol("a listing is too long");

impl Engine for Client {
    type Question = Question;
    type Answer = Answer;

    fn next<'i>(&mut self, input: &mut &'i [u8], output: &mut Vec<u8>) -> Step<'i, Question> {
        loop {
            match std::mem::replace(&mut self.state, State::Closed) {
                State::Ask(question) => {
                    self.state = State::Asked;
                    return Step::Ask(question);
                }
                State::Asked | State::Closed => return Step::Close,
                // What was offered in plaintext is forgotten (RFC 2595 §4).
                State::Securing if self.secured && self.options.sasl => self.send_capa(output),
                State::Securing if self.secured => self.send_user(output),
                State::Securing => {
                    self.state = State::Securing;
                    return Step::StartTls;
                }
                State::Message(mut decoder) => match decoder.next(input) {
                    Decoded::Content(content) => {
                        self.state = State::Message(decoder);
                        return Step::Content(content);
                    }
                    Decoded::NeedInput => {
                        self.state = State::Message(decoder);
                        return Step::NeedInput;
                    }
                    Decoded::End => self.ask(Question::Retrieved(Ok(()), Ticket::new(()))),
                },
                State::Reading(reading) => {
                    if let Some(step) = self.read(reading, input, output) {
                        return step;
                    }
                }
            }
        }
    }

    fn answer(&mut self, Answer(answered): Answer, output: &mut Vec<u8>) {
        if !matches!(self.state, State::Asked) {
            // Interrupted since it asked.
            return;
        }
        match answered {
            Answered::Login(left, LoginChoice::Auth(opening)) => {
                self.send_auth(left, opening, output)
            }
            Answered::Login(_, LoginChoice::User) => self.send_user(output),
            Answered::Login(_, LoginChoice::GiveUp) => self.send(Pop3Request::Quit, output),
            Answered::Response(left, response) => {
                let line = response.as_deref().map_or("*".to_owned(), sasl::challenge);
                let _ = write!(output, "{line}\r\n");
                self.expect(Expected::Auth(left));
            }
            Answered::Request(request) => self.send(request, output),
            Answered::Acknowledged => self.state = State::Closed,
        }
    }

    fn secured(&mut self) {
        self.secured = true;
    }

    fn pace(&self) -> Pace {
        Pace::anything(limits::POP3_CLIENT_PATIENCE)
    }

    fn is_busy(&self) -> bool {
        use Expected::Request as Sent;
        matches!(
            self.state,
            State::Message(_) | State::Reading(Reading::Status(Sent(Pop3Request::Quit)))
        )
    }

    fn interrupt(&mut self, _why: Interrupt, _output: &mut Vec<u8>) {
        self.state = State::Closed;
    }
}
