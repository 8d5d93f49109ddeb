//! The server's side of an SMTP or LMTP session.
//!
//! # Theory
//!
//! A session is in one of five states:
//!
//! | state      | waits for                     | leaves it by |
//! |------------|-------------------------------|--------------|
//! | `Greeting` | nothing                       | sending 220 |
//! | `Command`  | a command line                | a question, DATA's end, QUIT, STARTTLS |
//! | `Asked`    | the answer to a question      | the answer |
//! | `Content`  | the message's content         | CRLF `.` CRLF |
//! | `Closing`  | nothing                       | – |
//!
//! Beside it stands what the client has achieved: whether it said hello, and its mail transaction
//! (RFC 5321 §3.3): none, after MAIL, or with so many accepted recipients. A command out of order is
//! 503. A transaction ends with the reply to the end of the data, whatever that is, with RSET, with
//! another hello and with STARTTLS; nothing of it survives. Whoever answers the questions is told by
//! [`Question::Commit`], [`Question::Abandon`] or [`Question::Hello`], and keeps no transaction
//! after any of them.
//!
//! "Committed" is said by the answer to [`Question::Commit`] alone: the engine sends 250 to the end
//! of the data in no other case.

use crate::{
    command::{self, Body, Command, HelloVerb, MailParameters},
    reply,
};
use posta_mail::{
    Domain, Engine, ForwardPath, Interrupt, MailId, Reply, ReversePath, Step,
    dots::{BareNewlines, Decoded, DotDecoder},
    limits,
    line::{Cut, LineCutter},
};
use std::{sync::Arc, time::Duration};

/// Commands that make no sense, after which a session is closed: a program that sends so many is
/// guessing, or is no SMTP client at all.
const BAD_COMMANDS: u32 = 20;

/// What kind of service a listener offers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Service {
    /// Transfer between servers (RFC 5321).
    Smtp,
    /// Submission by mail programs (RFC 6409).
    Submission,
    /// Delivery by a neighbouring server (RFC 2033).
    Lmtp,
}

/// What all sessions of a listener share.
#[derive(Debug, Clone)]
pub struct Profile {
    /// The server's name for itself.
    pub hostname: Domain,
    /// The kind of service.
    pub service: Service,
    /// Octets of content that are accepted at most (RFC 1870).
    pub message_size: u64,
    /// Whether STARTTLS is offered while the session is in plaintext.
    pub starttls: bool,
}

/// The client's hello.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hello {
    /// The command it used.
    pub verb: HelloVerb,
    /// Its name for itself. Letters, digits, `.-_[]:` only.
    pub name: String,
}

/// The beginning of a mail transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mail {
    /// Where reports go.
    pub reverse_path: ReversePath,
    /// Octets announced.
    pub size: Option<u64>,
    /// What the content may hold.
    pub body: Body,
}

/// What only the outside can decide.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Question {
    /// May this client speak? Ends any transaction.
    Hello(Hello),
    /// May this transaction begin?
    Mail(Mail),
    /// Is there a mailbox for it, or a way?
    Recipient(ForwardPath),
    /// May the content come?
    Content,
    /// The content is complete: make it safe. Answered by [`Answer::Committed`] or
    /// [`Answer::Refuse`]; either ends the transaction.
    Commit,
    /// The transaction ended without a commit.
    Abandon,
}

/// The answer to a [`Question`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Yes.
    Accept,
    /// No, for this reason.
    Refuse(Reply),
    /// The message is durable, and in the mailbox of every local recipient.
    Committed(MailId),
}

/// The engine. See the module's theory.
#[derive(Debug)]
pub struct Server {
    profile: Arc<Profile>,
    state: State,
    hello: Option<HelloVerb>,
    transaction: Transaction,
    secured: bool,
    bad_commands: u32,
    cutter: LineCutter,
}

#[derive(Debug)]
enum State {
    Greeting,
    Command,
    Asked(Asked),
    Content { decoder: DotDecoder, octets: u64 },
    Closing,
}

/// The question that is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    Hello(HelloVerb),
    Mail,
    Recipient,
    Content,
    Commit,
    Abandon,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Transaction {
    None,
    /// After MAIL, with this many accepted recipients.
    Open {
        recipients: usize,
    },
}

impl Server {
    /// An engine for a connection that was just opened.
    #[must_use]
    pub fn new(profile: Arc<Profile>) -> Self {
        Self {
            profile,
            state: State::Greeting,
            hello: None,
            transaction: Transaction::None,
            secured: false,
            bad_commands: 0,
            cutter: LineCutter::default(),
        }
    }

    /// An engine for a connection that is in TLS from its start (RFC 8314 §3).
    #[must_use]
    pub fn new_secured(profile: Arc<Profile>) -> Self {
        Self { secured: true, ..Self::new(profile) }
    }

    fn line(&mut self, line: &[u8], output: &mut Vec<u8>) -> Option<Step<'static, Question>> {
        match Command::parse(line) {
            Err(refusal) => self.bad_command(&refusal, output),
            Ok(Command::Hello(verb, name)) => return self.hello(verb, name, output),
            Ok(Command::Mail(path, parameters)) => return self.mail(path, parameters, output),
            Ok(Command::Rcpt(path)) => return self.rcpt(path, output),
            Ok(Command::Data) => return self.data(output),
            Ok(Command::Rset) => {
                reply::write(&Reply::new(250, (2, 0, 0), "Ok"), output);
                return self.abandon();
            }
            Ok(Command::StartTls) => return self.starttls(output),
            Ok(Command::Noop) => reply::write(&Reply::new(250, (2, 0, 0), "Ok"), output),
            // RFC 5321 §7.3: telling who exists helps those who collect addresses.
            Ok(Command::Vrfy) => reply::write(
                &Reply::new(252, (2, 1, 5), "Send some mail, and you will see"),
                output,
            ),
            Ok(Command::Help) => self.help(output),
            Ok(Command::Quit) => {
                reply::write(&Reply::new(221, (2, 0, 0), "Bye"), output);
                self.state = State::Closing;
            }
        }
        None
    }

    fn bad_command(&mut self, refusal: &Reply, output: &mut Vec<u8>) {
        self.bad_commands += 1;
        if self.bad_commands > BAD_COMMANDS {
            reply::write(&Reply::new(421, (4, 7, 0), "Too many errors, goodbye"), output);
            self.state = State::Closing;
        } else {
            reply::write(refusal, output);
        }
    }

    fn out_of_order(&mut self, text: &'static str, output: &mut Vec<u8>) {
        self.bad_command(&Reply::new(503, (5, 5, 1), text), output);
    }

    fn hello(
        &mut self,
        verb: HelloVerb,
        name: &str,
        output: &mut Vec<u8>,
    ) -> Option<Step<'static, Question>> {
        // RFC 2033 §4.1: LMTP knows LHLO only, and nothing else knows LHLO.
        if (verb == HelloVerb::Lhlo) != (self.profile.service == Service::Lmtp) {
            let refusal = match self.profile.service {
                Service::Lmtp => Reply::new(500, (5, 5, 1), "This is LMTP: say LHLO"),
                _ => Reply::new(500, (5, 5, 1), "This is SMTP: say EHLO"),
            };
            self.bad_command(&refusal, output);
            return None;
        }
        self.transaction = Transaction::None;
        let question = Question::Hello(Hello { verb, name: name.to_owned() });
        Some(self.ask(Asked::Hello(verb), question))
    }

    fn mail(
        &mut self,
        reverse_path: ReversePath,
        parameters: MailParameters,
        output: &mut Vec<u8>,
    ) -> Option<Step<'static, Question>> {
        let limit = self.profile.message_size;
        match (self.hello, self.transaction) {
            (None, _) => self.out_of_order("Say hello first", output),
            (_, Transaction::Open { .. }) => {
                self.out_of_order("A transaction is open: RSET ends it", output);
            }
            (Some(HelloVerb::Helo), _) if parameters.extended => {
                reply::write(&command::unknown_parameter(), output);
            }
            _ if parameters.size.is_some_and(|size| size > limit) => {
                reply::write(&too_big(limit), output);
            }
            _ => {
                let MailParameters { size, body, .. } = parameters;
                let question = Question::Mail(Mail { reverse_path, size, body });
                return Some(self.ask(Asked::Mail, question));
            }
        }
        None
    }

    fn rcpt(&mut self, path: ForwardPath, output: &mut Vec<u8>) -> Option<Step<'static, Question>> {
        match self.transaction {
            Transaction::None => self.out_of_order("MAIL comes first", output),
            // RFC 5321 §4.5.3.1.10: 452, and the client sends the rest in another transaction.
            Transaction::Open { recipients } if recipients >= limits::RECIPIENTS => {
                reply::write(&Reply::new(452, (4, 5, 3), "Too many recipients"), output);
            }
            Transaction::Open { .. } => {
                return Some(self.ask(Asked::Recipient, Question::Recipient(path)));
            }
        }
        None
    }

    fn data(&mut self, output: &mut Vec<u8>) -> Option<Step<'static, Question>> {
        match self.transaction {
            Transaction::None => self.out_of_order("MAIL and RCPT come first", output),
            // RFC 5321 §3.3: 554 when no recipient was valid.
            Transaction::Open { recipients: 0 } => {
                reply::write(&Reply::new(554, (5, 5, 1), "No valid recipients"), output);
            }
            Transaction::Open { .. } => return Some(self.ask(Asked::Content, Question::Content)),
        }
        None
    }

    fn starttls(&mut self, output: &mut Vec<u8>) -> Option<Step<'static, Question>> {
        if self.secured {
            self.out_of_order("TLS is on already", output);
            return None;
        }
        if !self.profile.starttls {
            self.bad_command(&Reply::new(502, (5, 5, 1), "TLS is not offered here"), output);
            return None;
        }
        reply::write(&Reply::new(220, (2, 0, 0), "Go ahead"), output);
        Some(Step::StartTls)
    }

    fn help(&self, output: &mut Vec<u8>) {
        let hello = if self.profile.service == Service::Lmtp { "LHLO" } else { "HELO EHLO" };
        let tls = if self.profile.starttls { " STARTTLS" } else { "" };
        let lines = [
            format!("2.0.0 Commands: {hello} MAIL RCPT DATA RSET NOOP VRFY HELP QUIT{tls}"),
            "2.0.0 RFC 5321 says what they do".to_owned(),
        ];
        reply::write_lines(214, &lines, output);
    }

    fn ask(&mut self, asked: Asked, question: Question) -> Step<'static, Question> {
        self.state = State::Asked(asked);
        Step::Ask(question)
    }

    /// Ends the transaction, and says so to whoever answers if there was one.
    fn abandon(&mut self) -> Option<Step<'static, Question>> {
        self.state = State::Command;
        match std::mem::replace(&mut self.transaction, Transaction::None) {
            Transaction::None => None,
            Transaction::Open { .. } => Some(self.ask(Asked::Abandon, Question::Abandon)),
        }
    }

    /// One reply, or in LMTP one for each recipient that was accepted (RFC 2033 §4.2).
    fn reply_to_content(&self, outcome: &Reply, output: &mut Vec<u8>) {
        let replies = match (self.profile.service, self.transaction) {
            (Service::Lmtp, Transaction::Open { recipients }) => recipients,
            _ => 1,
        };
        for _ in 0..replies {
            reply::write(outcome, output);
        }
    }

    fn end_of_content(&mut self, output: &mut Vec<u8>) -> Option<Step<'static, Question>> {
        let State::Content { decoder, octets } = &self.state else { return None };
        let limit = self.profile.message_size;
        let refusal = if *octets > limit {
            too_big(limit)
        } else if decoder.saw_bare_newline() && self.profile.service == Service::Smtp {
            Reply::new(550, (5, 6, 0), "A line ended in CR or LF alone; lines end in CRLF")
        } else {
            return Some(self.ask(Asked::Commit, Question::Commit));
        };
        self.reply_to_content(&refusal, output);
        self.abandon()
    }

    fn begin_content(&mut self) {
        // A neighbour that submits or delivers may have local line ends; between servers they are
        // the tool of smugglers.
        let bare_newlines = match self.profile.service {
            Service::Smtp => BareNewlines::Note,
            Service::Submission | Service::Lmtp => BareNewlines::Normalise,
        };
        self.state = State::Content { decoder: DotDecoder::new(bare_newlines), octets: 0 };
    }

    fn write_hello(&self, verb: HelloVerb, output: &mut Vec<u8>) {
        let profile = &self.profile;
        if verb == HelloVerb::Helo {
            reply::write(&Reply::plain(250, profile.hostname.to_string()), output);
            return;
        }
        let mut lines = vec![
            profile.hostname.to_string(),
            "PIPELINING".to_owned(),
            format!("SIZE {}", profile.message_size),
            "8BITMIME".to_owned(),
            "ENHANCEDSTATUSCODES".to_owned(),
        ];
        if profile.starttls && !self.secured {
            lines.push("STARTTLS".to_owned());
        }
        reply::write_lines(250, &lines, output);
    }
}

fn too_big(limit: u64) -> Reply {
    Reply::new(552, (5, 3, 4), format!("Messages may have {limit} octets at most"))
}

impl Engine for Server {
    type Question = Question;
    type Answer = Answer;

    fn next<'i>(&mut self, input: &mut &'i [u8], output: &mut Vec<u8>) -> Step<'i, Question> {
        loop {
            match &mut self.state {
                State::Greeting => {
                    let protocol =
                        if self.profile.service == Service::Lmtp { "LMTP" } else { "ESMTP" };
                    let words = format!("{} {protocol} Posta", self.profile.hostname);
                    reply::write(&Reply::plain(220, words), output);
                    self.state = State::Command;
                }
                State::Command => match self.cutter.next(input, limits::SMTP_COMMAND_LINE) {
                    Cut::Incomplete => return Step::NeedInput,
                    Cut::TooLong => {
                        self.bad_command(&Reply::new(500, (5, 5, 2), "Line too long"), output);
                    }
                    Cut::Line(line) => {
                        if let Some(step) = self.line(line, output) {
                            return step;
                        }
                    }
                },
                State::Content { decoder, octets } => match decoder.next(input) {
                    Decoded::NeedInput => return Step::NeedInput,
                    Decoded::Content(content) => {
                        let room = self.profile.message_size.saturating_sub(*octets);
                        *octets += content.len() as u64;
                        // Beyond the limit the rest is read and dropped: the client hears of it
                        // at the end, where the protocol has a place for it.
                        let room = usize::try_from(room).unwrap_or(usize::MAX);
                        let content = &content[..content.len().min(room)];
                        if !content.is_empty() {
                            return Step::Content(content);
                        }
                    }
                    Decoded::End => {
                        if let Some(step) = self.end_of_content(output) {
                            return step;
                        }
                    }
                },
                State::Asked(asked) => {
                    debug_assert!(false, "{asked:?} was not answered");
                    return Step::Close;
                }
                State::Closing => return Step::Close,
            }
        }
    }

    fn answer(&mut self, answer: Answer, output: &mut Vec<u8>) {
        let State::Asked(asked) = self.state else {
            debug_assert!(false, "nothing was asked");
            return;
        };
        self.state = State::Command;
        match (asked, answer) {
            (Asked::Abandon, _) => {}
            (Asked::Commit, Answer::Committed(id)) => {
                let safe = Reply::new(250, (2, 0, 0), format!("Ok: kept as {id}"));
                self.reply_to_content(&safe, output);
                self.transaction = Transaction::None;
            }
            (Asked::Commit, refused) => {
                let refusal = match refused {
                    Answer::Refuse(refusal) => refusal,
                    _ => Reply::new(451, (4, 3, 0), "The message could not be kept"),
                };
                self.reply_to_content(&refusal, output);
                self.transaction = Transaction::None;
            }
            (_, Answer::Refuse(refusal)) => reply::write(&refusal, output),
            (Asked::Hello(verb), _) => {
                self.hello = Some(verb);
                self.write_hello(verb, output);
            }
            (Asked::Mail, _) => {
                self.transaction = Transaction::Open { recipients: 0 };
                reply::write(&Reply::new(250, (2, 1, 0), "Ok"), output);
            }
            (Asked::Recipient, _) => {
                if let Transaction::Open { recipients } = &mut self.transaction {
                    *recipients += 1;
                }
                reply::write(&Reply::new(250, (2, 1, 5), "Ok"), output);
            }
            (Asked::Content, _) => {
                reply::write(&Reply::plain(354, "End data with <CR><LF>.<CR><LF>"), output);
                self.begin_content();
            }
        }
    }

    fn secured(&mut self) {
        // RFC 3207 §4.2: whatever was learnt before TLS is forgotten.
        self.secured = true;
        self.hello = None;
        self.transaction = Transaction::None;
        self.cutter = LineCutter::default();
    }

    fn patience(&self) -> Duration {
        limits::SMTP_SERVER_PATIENCE
    }

    fn is_busy(&self) -> bool {
        self.transaction != Transaction::None
    }

    fn interrupt(&mut self, why: Interrupt, output: &mut Vec<u8>) {
        let host = &self.profile.hostname;
        let (status, words) = match why {
            Interrupt::Idle => ((4, 4, 2), "waited too long, goodbye"),
            Interrupt::Stopping => ((4, 3, 2), "is stopping, try again soon"),
            Interrupt::Crowded => ((4, 7, 0), "has too many sessions from you, try again later"),
        };
        reply::write(&Reply::new(421, status, format!("{host} {words}")), output);
        self.state = State::Closing;
    }
}
