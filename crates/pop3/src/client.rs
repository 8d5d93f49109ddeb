//! The client's side of a POP3 session: the mirror of [`crate::server`].
//!
//! # Theory
//!
//! The client follows the server's greeting through STLS, where it is wanted, and the login to the
//! state in which it asks [`Question::Next`]; each question carries what the command before
//! brought. Commands go one at a time.
//!
//! | state      | waits for                       | then |
//! |------------|---------------------------------|------|
//! | `Greeting` | +OK                             | CAPA for STLS or SASL, or USER |
//! | `Capa`     | the capability list             | STLS, asks how to log in, or USER |
//! | `Stls`     | +OK                             | negotiates (`Securing`), CAPA or USER |
//! | `Choosing` | the caller's mechanism          | AUTH or USER |
//! | `Auth`     | a challenge, +OK, -ERR          | asks for a response, what to do, or how else to log in |
//! | `Challenged` | the caller's response         | sends it |
//! | `User`     | +OK                             | PASS |
//! | `Pass`     | +OK                             | asks what to do |
//! | `Ready`    | the caller's answer             | sends the command |
//! | `Sent`     | the status line of its response | asks again, or reads lines |
//! | `Lines`    | the lines of a listing          | asks again |
//! | `Message`  | a message                       | asks again |
//! | `Quit`     | +OK                             | closes |

use crate::UniqueIds;
use posta_mail::{
    Engine, Interrupt, Pace, Secret, Step, TlsUse,
    dots::{BareNewlines, Decoded, DotDecoder},
    limits,
    line::{Cut, cut_line},
    sasl,
};
use std::{borrow::Cow, io::Write as _};

/// How a client behaves.
#[derive(Debug, Clone)]
pub struct Options {
    /// The name to log in with.
    pub name: String,
    /// The password.
    pub password: Secret,
    /// Whether to use STLS.
    pub tls: TlsUse,
    /// Whether to ask which SASL mechanism to use ([`Question::Login`]), where there are any.
    pub sasl: bool,
}

/// What the caller wants sent. Message numbers count from 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// To [`Question::Login`]: USER and PASS.
    User,
    /// To [`Question::Login`]: AUTH with this mechanism, and perhaps an initial response.
    Auth(String, Option<Vec<u8>>),
    /// To [`Question::Challenge`]: this response; none to give up.
    Respond(Option<Vec<u8>>),
    /// STAT: brings [`Outcome::Status`].
    Stat,
    /// LIST: brings [`Outcome::Listing`].
    List,
    /// UIDL: brings [`Outcome::UniqueIds`].
    Uidl,
    /// RETR: brings [`Step::Content`], then [`Outcome::Done`].
    Retr(u32),
    /// TOP: brings [`Step::Content`], then [`Outcome::Done`].
    Top(u32, u64),
    /// DELE: brings [`Outcome::Done`].
    Dele(u32),
    /// NOOP: brings [`Outcome::Done`].
    Noop,
    /// RSET: brings [`Outcome::Done`].
    Rset,
    /// QUIT: brings [`Question::Quit`].
    Quit,
}

/// What the caller is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Question {
    /// How to log in.
    Login {
        /// The mechanisms that the server offers and has not refused yet, in upper case (RFC 5034 §3).
        offered: Vec<String>,
        /// With what words it refused the last one.
        refused: Option<String>,
    },
    /// What to answer to this challenge.
    Challenge(Vec<u8>),
    /// What to do next. Carries what the command before brought; [`Outcome::Done`] after the login.
    Next(Outcome),
    /// The server's answer to QUIT: whether the marked messages are removed. Any answer will do.
    Quit(Result<(), String>),
    /// The session is of no use. Any answer will do.
    Failed(Failure),
}

/// What a command brought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It is done.
    Done,
    /// The server refused it, with these words.
    Refused(String),
    /// Messages and octets.
    Status {
        /// Number of messages.
        messages: u32,
        /// Octets in all.
        octets: u64,
    },
    /// Message numbers and octets.
    Listing(Vec<(u32, u64)>),
    /// Message numbers and unique-ids.
    UniqueIds(UniqueIds),
}

/// Why a session cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// The server refuses to talk, or the login, with these words.
    Refused(String),
    /// The server does not offer STLS, which [`TlsUse::Required`] asks for.
    NoTls,
    /// The server sent something that is no response; what.
    Protocol(&'static str),
}

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
    Greeting,
    Capa {
        listing: bool,
        offered: Offered,
    },
    Choosing(Vec<String>, Option<String>),
    /// In an exchange of SASL; the mechanisms that are left should it fail.
    Auth(Vec<String>),
    Challenged(Vec<u8>, Vec<String>),
    Stls,
    Securing,
    User,
    Pass,
    Ready(Outcome),
    Sent(Answer),
    Lines(Outcome),
    Message(DotDecoder),
    Quit,
    Ended(Question),
    Closed,
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
    /// An engine for a connection that was just opened, in TLS already or not.
    #[must_use]
    pub fn new(options: Options, secured: bool) -> Self {
        Self { options, state: State::Greeting, listed: 0, secured }
    }

    fn line(&mut self, line: &[u8], output: &mut Vec<u8>) -> Result<(), Failure> {
        self.listed += line.len();
        match &mut self.state {
            State::Capa { listing: true, offered } => match line {
                b"." => {
                    let offered = std::mem::take(offered);
                    self.after_capabilities(offered, output)?;
                }
                _ if self.listed > limits::POP3_CAPABILITIES => {
                    return Err(Failure::Protocol("the list of capabilities does not end"));
                }
                line => offered.read(line),
            },
            State::Lines(_) if self.listed > limits::POP3_LISTING => {
                return Err(Failure::Protocol("a listing is too long"));
            }
            State::Lines(listing) => {
                if line == b"." {
                    let complete = std::mem::replace(listing, Outcome::Done);
                    self.state = State::Ready(complete);
                } else {
                    read_listing_line(line, listing)?;
                }
            }
            _ => self.status(line, output)?,
        }
        Ok(())
    }

    fn status(&mut self, line: &[u8], output: &mut Vec<u8>) -> Result<(), Failure> {
        self.listed = 0;
        let challenge = line.strip_prefix(b"+").filter(|rest| rest.is_empty() || rest[0] == b' ');
        if let (State::Auth(left), Some(challenge)) = (&mut self.state, challenge) {
            // RFC 5034 §4 has base64 here. Some servers say "go ahead" in plain words instead: whoever
            // needs a challenge finds none.
            let octets = match sasl::response(challenge.trim_ascii()) {
                Ok(sasl::Exchange::Response(octets)) => octets,
                _ => Vec::new(),
            };
            self.state = State::Challenged(octets, std::mem::take(left));
            return Ok(());
        }
        let (positive, words) = status(line)?;
        let words = &*words;
        match (std::mem::replace(&mut self.state, State::Closed), positive) {
            (State::Greeting, true) if self.wants_capabilities() => self.send_capa(output),
            (State::Greeting, true) => self.send_user(output),
            (State::Capa { offered, .. }, true) => {
                self.state = State::Capa { listing: true, offered };
            }
            (State::Capa { offered, .. }, false) => self.after_capabilities(offered, output)?,
            (State::Stls, true) => self.state = State::Securing,
            (State::User, true) => {
                output.extend_from_slice(b"PASS ");
                output.extend_from_slice(self.options.password.expose());
                output.extend_from_slice(b"\r\n");
                self.state = State::Pass;
            }
            (State::Pass | State::Auth(_), true) => self.state = State::Ready(Outcome::Done),
            // A server may offer what it does not take for this user.
            (State::Auth(left), false) => {
                self.state = State::Choosing(left, Some(words.to_owned()))
            }
            (State::Sent(command), true) => self.state = after(command, words)?,
            (State::Sent(_), false) => {
                self.state = State::Ready(Outcome::Refused(words.to_owned()))
            }
            (State::Quit, true) => self.state = State::Ended(Question::Quit(Ok(()))),
            (State::Quit, false) => {
                self.state = State::Ended(Question::Quit(Err(words.to_owned())));
            }
            (_, _) => return Err(Failure::Refused(words.to_owned())),
        }
        Ok(())
    }

    fn wants_tls(&self) -> bool {
        !self.secured && self.options.tls != TlsUse::Never
    }

    fn wants_capabilities(&self) -> bool {
        self.options.sasl || self.wants_tls()
    }

    fn send_capa(&mut self, output: &mut Vec<u8>) {
        output.extend_from_slice(b"CAPA\r\n");
        self.state = State::Capa { listing: false, offered: Offered::default() };
    }

    fn after_capabilities(
        &mut self,
        offered: Offered,
        output: &mut Vec<u8>,
    ) -> Result<(), Failure> {
        if self.wants_tls() && offered.stls {
            output.extend_from_slice(b"STLS\r\n");
            self.state = State::Stls;
        } else if self.wants_tls() && self.options.tls == TlsUse::Required {
            return Err(Failure::NoTls);
        } else if self.options.sasl && !offered.mechanisms.is_empty() {
            self.state = State::Choosing(offered.mechanisms, None);
        } else {
            self.send_user(output);
        }
        Ok(())
    }

    fn send_auth(&mut self, mechanism: &str, initial: Option<&[u8]>, output: &mut Vec<u8>) {
        let State::Choosing(left, _) = &mut self.state else { return };
        left.retain(|offered| offered != mechanism);
        let initial = initial.map(sasl::initial).unwrap_or_default();
        let _ = write!(output, "AUTH {mechanism}{initial}\r\n");
        self.state = State::Auth(std::mem::take(left));
    }

    fn send_user(&mut self, output: &mut Vec<u8>) {
        let _ = write!(output, "USER {}\r\n", self.options.name);
        self.state = State::User;
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

/// The state after a positive status line.
fn after(command: Answer, words: &str) -> Result<State, Failure> {
    Ok(match command {
        Answer::List => State::Lines(Outcome::Listing(Vec::new())),
        Answer::Uidl => State::Lines(Outcome::UniqueIds(UniqueIds::default())),
        Answer::Retr(_) | Answer::Top(..) => State::Message(DotDecoder::new(BareNewlines::Note)),
        Answer::Stat => {
            let mut numbers = words.split(' ');
            let messages = numbers.next().and_then(|word| word.parse().ok());
            let octets = numbers.next().and_then(|word| word.parse().ok());
            let (Some(messages), Some(octets)) = (messages, octets) else {
                return Err(Failure::Protocol("STAT brought no two numbers"));
            };
            // Whoever is told of four thousand million would make a list of them.
            if messages > limits::POP3_LISTING_LINES as u32 {
                return Err(Failure::Protocol("STAT brought more messages than there can be"));
            }
            State::Ready(Outcome::Status { messages, octets })
        }
        _ => State::Ready(Outcome::Done),
    })
}

/// Reads a line of a listing: a number and what the listing tells. A line that is malformed costs no
/// more than its message: without a number it tells nothing, and without a unique-id its message has
/// none.
fn read_listing_line(line: &[u8], listing: &mut Outcome) -> Result<(), Failure> {
    let text = str::from_utf8(line).map_or_else(|_| line.escape_ascii().to_string(), str::to_owned);
    let (number, value) = text.trim_start().split_once(' ').unwrap_or((&text, ""));
    let (number, value) = (number.parse().ok(), value.trim());
    let lines = match listing {
        Outcome::Listing(lines) => {
            let octets = value.split(' ').next().and_then(|word| word.parse().ok());
            lines.extend(number.zip(octets));
            lines.len()
        }
        Outcome::UniqueIds(lines) => {
            if let Some(number) = number {
                // Less than 4 GiB: limits::POP3_LISTING.
                lines.push(number, value);
            }
            lines.len()
        }
        _ => 0,
    };
    if lines > limits::POP3_LISTING_LINES {
        return Err(Failure::Protocol("a listing is too long"));
    }
    Ok(())
}

impl Engine for Client {
    type Question = Question;
    type Answer = Answer;

    fn next<'i>(&mut self, input: &mut &'i [u8], output: &mut Vec<u8>) -> Step<'i, Question> {
        loop {
            match &mut self.state {
                State::Ready(outcome) => {
                    let outcome = std::mem::replace(outcome, Outcome::Done);
                    return Step::Ask(Question::Next(outcome));
                }
                State::Ended(question) => return Step::Ask(question.clone()),
                State::Closed => return Step::Close,
                // What was offered in plaintext is forgotten (RFC 2595 §4).
                State::Securing if self.secured && self.options.sasl => self.send_capa(output),
                State::Securing if self.secured => self.send_user(output),
                State::Choosing(offered, refused) => {
                    let (offered, refused) = (offered.clone(), refused.take());
                    return Step::Ask(Question::Login { offered, refused });
                }
                State::Challenged(octets, _) => {
                    return Step::Ask(Question::Challenge(std::mem::take(octets)));
                }
                State::Securing => return Step::StartTls,
                State::Message(decoder) => match decoder.next(input) {
                    Decoded::Content(content) => return Step::Content(content),
                    Decoded::NeedInput => return Step::NeedInput,
                    Decoded::End => self.state = State::Ready(Outcome::Done),
                },
                _ => {
                    let read = match cut_line(input, limits::POP3_RESPONSE_LINE) {
                        Cut::Incomplete => return Step::NeedInput,
                        Cut::TooLong => Err(Failure::Protocol("a response line is too long")),
                        Cut::Line(line) => self.line(line, output),
                    };
                    if let Err(failure) = read {
                        self.state = State::Ended(Question::Failed(failure));
                    }
                }
            }
        }
    }

    fn answer(&mut self, answer: Answer, output: &mut Vec<u8>) {
        match (&mut self.state, &answer) {
            (State::Choosing(..), Answer::Auth(mechanism, initial)) => {
                return self.send_auth(mechanism, initial.as_deref(), output);
            }
            (State::Choosing(..), _) => return self.send_user(output),
            (State::Challenged(_, left), Answer::Respond(response)) => {
                let line = response.as_ref().map_or("*".to_owned(), |text| sasl::challenge(text));
                let _ = write!(output, "{line}\r\n");
                self.state = State::Auth(std::mem::take(left));
                return;
            }
            (State::Ready(_), _) => {}
            _ => {
                self.state = State::Closed;
                return;
            }
        }
        // Writing to a vector cannot fail.
        let _ = match answer {
            Answer::User | Answer::Auth(..) | Answer::Respond(_) => {
                self.state = State::Closed;
                return;
            }
            Answer::Stat => write!(output, "STAT\r\n"),
            Answer::List => write!(output, "LIST\r\n"),
            Answer::Uidl => write!(output, "UIDL\r\n"),
            Answer::Retr(number) => write!(output, "RETR {number}\r\n"),
            Answer::Top(number, lines) => write!(output, "TOP {number} {lines}\r\n"),
            Answer::Dele(number) => write!(output, "DELE {number}\r\n"),
            Answer::Noop => write!(output, "NOOP\r\n"),
            Answer::Rset => write!(output, "RSET\r\n"),
            Answer::Quit => write!(output, "QUIT\r\n"),
        };
        self.state = if answer == Answer::Quit { State::Quit } else { State::Sent(answer) };
    }

    fn secured(&mut self) {
        self.secured = true;
    }

    fn pace(&self) -> Pace {
        Pace::anything(limits::POP3_CLIENT_PATIENCE)
    }

    fn is_busy(&self) -> bool {
        matches!(self.state, State::Message(_) | State::Quit)
    }

    fn interrupt(&mut self, _why: Interrupt, _output: &mut Vec<u8>) {
        self.state = State::Closed;
    }
}
