//! The server's side of an SMTP or LMTP session.
//!
//! # Theory
//!
//! A session is in one of nine states:
//!
//! | state          | waits for                     | leaves it by |
//! |----------------|-------------------------------|--------------|
//! | `Greeting`     | nothing                       | sending 220, or a pause before it |
//! | `Silence`      | the end of that pause         | sending 220, or a question if the client speaks |
//! | `Command`      | a command line                | a question, BDAT, QUIT, STARTTLS |
//! | `Asked`        | the answer to a question      | the answer |
//! | `Content`      | the message's content         | CRLF `.` CRLF |
//! | `Chunk`        | the octets of a BDAT          | the last of them |
//! | `DroppedChunk` | the octets of a refused BDAT  | the last of them, and the refusal |
//! | `Sasl`         | a line of a SASL exchange     | that line |
//! | `Closing`      | nothing                       | – |
//!
//! The states that a mail transaction (RFC 5321 §3.3) can be open in hold it (`server/transaction.rs`):
//! `Command` as a `MailPhase`, the others with the content that is coming. A command takes the phase it
//! was read in, and says which one the next command is read in, so that a command out of order is 503
//! and nothing of a transaction survives its end. A transaction ends with the reply to the end of the
//! data, whatever that is, with RSET, with another hello and with STARTTLS. The host learns of that by
//! [`Question::Commit`], [`Question::Abandon`] or [`Question::Hello`], and has no transaction after any
//! of them.
//!
//! What a question interrupts, the transaction included, travels in its ticket and comes back with the
//! answer (`server/asked.rs`), so `Asked` has nothing to remember but whether there is one. A ticket
//! that is dropped leaves the engine there, and the session closes.
//!
//! The commands before any mail are in `server/opening.rs`, those of the envelope in `server/envelope.rs`, the end of the content and what follows it
//! in `server/content.rs`, BDAT in `server/chunking.rs`. Authentication (RFC 4954) is an exchange of
//! octets whose meaning the engine does not know: it does the framing, in base64, and asks what to say
//! (`server/authentication.rs`).
//!
//! A client waits for the greeting (RFC 5321 §4.3.1). Most programs that send spam do not, so the engine can keep the
//! greeting back for a while ([`Server::greeting_after`]); what comes before it leads to [`Question::SpokeEarly`].
//!
//! "Committed" is said by the answer to [`Question::Commit`] alone: the engine sends 250 to the end
//! of the data in no other case.

mod asked;
mod authentication;
mod chunking;
mod content;
mod envelope;
mod opening;
mod question;
mod transaction;

pub use crate::{
    command::{EnvelopeRecipient, Forwarded, Hello, Mail},
    profile::{Limits, Profile, Service},
};
pub use asked::Answer;
pub use question::{
    Authentication, Commitment, Committed, Question, Ticket, Verdict, Verification,
};

use crate::{
    command::{HelloVerb, SmtpCommand},
    incoming::Taking,
    reply, words,
};
use asked::{Answered, Asked, Notice};
use chunking::{Chunk, DroppedChunk, begins_bdat};
use posta_mail::{
    Engine, Interrupt, Pace, Reply, Step, limits,
    line::{Cut, LineCutter, http},
};
use std::{sync::Arc, time::Duration};
use transaction::{MailPhase, MailTransaction, ReceivingData};

/// Over what time the rate of content is judged: long enough for a person to type a message.
const CONTENT_WINDOW: Duration = Duration::from_secs(5 * 60);

/// The engine. See the module's theory.
#[derive(Debug)]
pub struct Server {
    profile: Arc<Profile>,
    state: State,
    hello: Option<HelloVerb>,
    secured: bool,
    /// How long the greeting is kept back.
    pause: Duration,
    /// Whether the client may speak for others.
    trusted: bool,
    authenticated: bool,
    failed_authentications: u32,
    commands: u32,
    bad_commands: u32,
    cutter: LineCutter,
    /// The line that is being read begins as BDAT does.
    is_chunk: bool,
}

#[derive(Debug)]
enum State {
    Greeting,
    Silence,
    Command(MailPhase),
    Sasl,
    Asked {
        /// Whether the ticket holds a mail transaction.
        in_transaction: bool,
    },
    Content(ReceivingData),
    Chunk(Chunk),
    DroppedChunk(DroppedChunk),
    Closing,
}

type Taken = Option<Step<'static, Question>>;

impl Server {
    /// Makes an engine for a connection that was just opened.
    #[must_use]
    pub fn new(profile: Arc<Profile>) -> Self {
        Self {
            profile,
            state: State::Greeting,
            hello: None,
            secured: false,
            pause: Duration::ZERO,
            trusted: false,
            authenticated: false,
            failed_authentications: 0,
            commands: 0,
            bad_commands: 0,
            cutter: LineCutter::default(),
            is_chunk: false,
        }
    }

    /// Makes an engine for a connection that is in TLS from its start (RFC 8314 §3).
    #[must_use]
    pub fn new_secured(profile: Arc<Profile>) -> Self {
        Self { secured: true, ..Self::new(profile) }
    }

    /// Lets the client speak for others, by XCLIENT.
    #[must_use]
    pub fn trusting(self) -> Self {
        Self { trusted: true, ..self }
    }

    /// The same, with a greeting that comes so much later. A client that speaks before it is a matter for
    /// [`Question::SpokeEarly`].
    #[must_use]
    pub fn greeting_after(self, pause: Duration) -> Self {
        Self { pause, ..self }
    }

    /// Takes a command line, or refuses it because the session has had too many.
    fn counted_line(&mut self, phase: MailPhase, line: &[u8], output: &mut Vec<u8>) -> Taken {
        self.commands += 1;
        if self.commands > self.profile.limits.commands {
            let words = "Too many commands in one session, connect again";
            self.close_with(&Reply::new(421, (4, 7, 0), words), output);
            return None;
        }
        self.line(phase, line, output)
    }

    fn line(&mut self, phase: MailPhase, line: &[u8], output: &mut Vec<u8>) -> Taken {
        match SmtpCommand::parse(line) {
            // A method may have the name of a command.
            _ if http::ends_request(line) => self.not_smtp("speaks SMTP, not HTTP", output),
            // A message whose DATA was refused, or HTTP's.
            Err(_) if http::is_field(line) => {
                self.not_smtp("takes a message after DATA and 354 only", output);
            }
            // How many octets follow is not known.
            Err(refusal) if begins_bdat(line) => self.close_with(&refusal, output),
            Err(refusal) => self.bad_command(phase, &refusal, output),
            Ok(SmtpCommand::Hello(verb, name)) => {
                return self.hello(phase, verb, name.into_owned(), output);
            }
            Ok(SmtpCommand::Auth(mechanism, initial)) => {
                return self.auth(phase, mechanism, initial, output);
            }
            Ok(SmtpCommand::Mail(path, parameters)) => {
                return self.mail(phase, path, parameters, output);
            }
            Ok(SmtpCommand::Rcpt(path, parameters)) => {
                return self.rcpt(phase, path, parameters, output);
            }
            Ok(SmtpCommand::Data) => return self.data(phase, output),
            Ok(SmtpCommand::Bdat(size, last)) => return self.bdat(phase, size, last, output),
            Ok(SmtpCommand::Rset) => return self.rset(&phase, output),
            Ok(SmtpCommand::StartTls) => return self.starttls(phase, output),
            Ok(SmtpCommand::Noop) => self.reply(phase, &Reply::new(250, (2, 0, 0), "Ok"), output),
            Ok(SmtpCommand::Vrfy(name) | SmtpCommand::Expn(name)) if self.profile.verify => {
                let in_transaction = phase.is_open();
                let question = Question::Verify(name.to_owned(), Ticket::new(phase));
                return Some(self.ask(in_transaction, question));
            }
            Ok(SmtpCommand::Vrfy(_)) => self.reply(phase, &words::ambiguous(), output),
            Ok(SmtpCommand::Expn(_)) => self.bad_command(phase, &words::not_implemented(), output),
            Ok(SmtpCommand::Xclient(forwarded)) => return self.xclient(phase, forwarded, output),
            Ok(SmtpCommand::Help) => {
                reply::write_lines(214, &words::help(&self.profile), output);
                self.state = State::Command(phase);
            }
            Ok(SmtpCommand::Quit) => self.close_with(&Reply::new(221, (2, 0, 0), "Bye"), output),
        }
        None
    }

    /// Writes a reply, and goes on to the next command.
    fn reply(&mut self, phase: MailPhase, reply: &Reply, output: &mut Vec<u8>) {
        reply::write(reply, output);
        self.next_command(phase, reply);
    }

    /// Reads the next command in this phase, unless the reply is a 421, which closes the connection
    /// (RFC 5321 §3.8).
    fn next_command(&mut self, phase: MailPhase, reply: &Reply) {
        self.state = match reply.code.get() {
            421 => State::Closing,
            _ => State::Command(phase),
        };
    }

    /// Writes a reply and closes the connection: nothing is read after it.
    fn close_with(&mut self, reply: &Reply, output: &mut Vec<u8>) {
        reply::write(reply, output);
        self.state = State::Closing;
    }

    /// Ends the session of a client that does not speak SMTP, such as a browser that a web page sent here.
    fn not_smtp(&mut self, what: &str, output: &mut Vec<u8>) {
        let words = format!("{} {what}", self.profile.hostname);
        self.close_with(&Reply::new(421, (4, 7, 0), words), output);
    }

    /// Refuses a command that makes no sense, and closes a session that has had too many of them.
    fn bad_command(&mut self, phase: MailPhase, refusal: &Reply, output: &mut Vec<u8>) {
        self.bad_commands += 1;
        if self.bad_commands > self.profile.limits.bad_commands {
            self.close_with(&Reply::new(421, (4, 7, 0), "Too many errors, goodbye"), output);
        } else {
            self.reply(phase, refusal, output);
        }
    }

    fn out_of_order(&mut self, phase: MailPhase, text: &'static str, output: &mut Vec<u8>) {
        self.bad_command(phase, &words::out_of_order(text), output);
    }

    /// Goes on with the command that waited for a verdict.
    fn verdict(&mut self, asked: Asked, verdict: Verdict, output: &mut Vec<u8>) {
        match (asked, verdict) {
            (Asked::SpokeEarly, Err(refusal)) => self.close_with(&refusal, output),
            (Asked::SpokeEarly, Ok(())) => self.greet(output),
            (Asked::Hello(_) | Asked::Mail { .. } | Asked::Forwarded { .. }, Err(refusal)) => {
                self.reply(MailPhase::Idle, &refusal, output);
            }
            (Asked::Recipient(transaction) | Asked::Content(transaction), Err(refusal)) => {
                self.reply(MailPhase::Envelope(transaction), &refusal, output);
            }
            (Asked::FirstChunk { transaction, size, .. }, Err(refusal)) => {
                self.drop_chunk(MailPhase::Envelope(transaction), size, refusal, output);
            }
            (Asked::Hello(verb), Ok(())) => {
                self.hello = Some(verb);
                self.write_hello(verb, output);
                self.state = State::Command(MailPhase::Idle);
            }
            (Asked::Mail { body, utf8 }, Ok(())) => {
                let phase = MailPhase::Envelope(MailTransaction { body, utf8, recipients: 0 });
                self.reply(phase, &Reply::new(250, (2, 1, 0), "Ok"), output);
            }
            (Asked::Recipient(mut transaction), Ok(())) => {
                transaction.recipients += 1;
                let phase = MailPhase::Envelope(transaction);
                self.reply(phase, &Reply::new(250, (2, 1, 5), "Ok"), output);
            }
            (Asked::Forwarded { login }, Ok(())) => {
                // The session begins again from its greeting, as the other client's.
                self.authenticated = login;
                self.hello = None;
                self.state = State::Greeting;
            }
            (Asked::Content(transaction), Ok(())) => {
                reply::write(&Reply::plain(354, "End data with <CR><LF>.<CR><LF>"), output);
                self.state = State::Content(transaction.receive(&self.profile));
            }
            (Asked::FirstChunk { transaction, size, last }, Ok(())) => {
                let receiving = transaction.receive(&self.profile);
                self.state = State::Chunk(Chunk { receiving, size, left: size, last });
            }
        }
    }

    /// Asks a question outside a mail transaction, or one that ends it.
    fn ask_outside(&mut self, question: Question) -> Step<'static, Question> {
        self.ask(false, question)
    }

    /// Asks a question whose ticket holds the mail transaction.
    fn ask_within(&mut self, question: Question) -> Step<'static, Question> {
        self.ask(true, question)
    }

    fn ask(&mut self, in_transaction: bool, question: Question) -> Step<'static, Question> {
        self.state = State::Asked { in_transaction };
        Step::Ask(question)
    }

    /// Takes the next line; none where an HTTP request begins instead.
    fn cut<'i>(&mut self, input: &mut &'i [u8]) -> Option<Cut<'i>> {
        // RFC 4954 §4: a line of an exchange, and AUTH itself, may be longer.
        let limit = if self.profile.mechanisms.is_empty() {
            limits::SMTP_COMMAND_LINE
        } else {
            limits::SASL_LINE
        };
        if self.cutter.is_at_line_start() {
            self.is_chunk = begins_bdat(input);
            if http::begins_request(input) {
                return None;
            }
        }
        Some(self.cutter.next(input, limit))
    }

    /// Refuses a line that is longer than any command.
    fn too_long(&mut self, phase: MailPhase, output: &mut Vec<u8>) {
        if self.is_chunk {
            // How many octets follow is not known.
            self.close_with(&words::line_too_long(), output);
        } else {
            self.bad_command(phase, &words::line_too_long(), output);
        }
    }
}

impl Engine for Server {
    type Question = Question;
    type Answer = Answer;

    fn next<'i>(&mut self, input: &mut &'i [u8], output: &mut Vec<u8>) -> Step<'i, Question> {
        loop {
            let taken = match std::mem::replace(&mut self.state, State::Closing) {
                State::Greeting if !self.pause.is_zero() => {
                    self.state = State::Silence;
                    return Step::Pause(std::mem::take(&mut self.pause));
                }
                State::Silence if !input.is_empty() => {
                    Some(self.ask_outside(Question::SpokeEarly(Ticket::new(Asked::SpokeEarly))))
                }
                State::Greeting | State::Silence => {
                    self.greet(output);
                    None
                }
                State::Command(phase) => match self.cut(input) {
                    None => {
                        self.not_smtp("speaks SMTP, not HTTP", output);
                        None
                    }
                    Some(Cut::Incomplete) => {
                        self.state = State::Command(phase);
                        return Step::NeedInput;
                    }
                    Some(Cut::TooLong) => {
                        self.too_long(phase, output);
                        None
                    }
                    Some(Cut::Line(line)) => self.counted_line(phase, line, output),
                },
                State::Sasl => match self.cut(input) {
                    None => {
                        self.not_smtp("speaks SMTP, not HTTP", output);
                        None
                    }
                    Some(Cut::Incomplete) => {
                        self.state = State::Sasl;
                        return Step::NeedInput;
                    }
                    Some(Cut::TooLong) => Some(self.break_off(words::line_too_long())),
                    Some(Cut::Line(line)) => Some(self.sasl(line)),
                },
                State::Content(mut receiving) => match receiving.incoming.take(input) {
                    Taking::Content(content) => {
                        self.state = State::Content(receiving);
                        return Step::Content(content);
                    }
                    Taking::NeedInput => {
                        self.state = State::Content(receiving);
                        return Step::NeedInput;
                    }
                    Taking::End => Some(self.end_of_content(receiving, output)),
                },
                State::Chunk(chunk) => self.chunk(chunk, input, output),
                State::DroppedChunk(chunk) => self.dropped_chunk(chunk, input, output),
                State::Asked { .. } | State::Closing => return Step::Close,
            };
            if let Some(step) = taken {
                return step;
            }
        }
    }

    fn answer(&mut self, Answer(answered): Answer, output: &mut Vec<u8>) {
        if !matches!(self.state, State::Asked { .. }) {
            // Interrupted since it asked: the parting words are the last.
            return;
        }
        match answered {
            Answered::Verdict(asked, verdict) => self.verdict(asked, verdict, output),
            Answered::Authentication(outcome) => self.authentication(outcome, output),
            Answered::Verification(phase, Ok(found)) => {
                reply::write_lines(250, &found, output);
                self.state = State::Command(phase);
            }
            Answered::Verification(phase, Err(refusal)) => self.reply(phase, &refusal, output),
            Answered::Commitment(replies, Ok(Committed { id, refused })) => {
                let safe = Reply::new(250, (2, 0, 0), format!("Ok: kept as {id}"));
                replies.write_each(&safe, &refused, output);
                self.state = State::Command(MailPhase::Idle);
            }
            Answered::Commitment(replies, Err(refusal)) => {
                replies.write(&refusal, output);
                self.next_command(MailPhase::Idle, &refusal);
            }
            Answered::Acknowledged(Notice::BrokenOff(reply)) => self.broken_off(&reply, output),
            Answered::Acknowledged(Notice::Abandoned) => {
                self.state = State::Command(MailPhase::Idle);
            }
        }
    }

    fn secured(&mut self) {
        // RFC 3207 §4.2: whatever was learnt before TLS is forgotten. The transaction ended with STARTTLS.
        self.secured = true;
        self.authenticated = false;
        self.hello = None;
        self.cutter = LineCutter::default();
    }

    fn pace(&self) -> Pace {
        let limits = &self.profile.limits;
        match self.state {
            State::Content(_) | State::Chunk(_) | State::DroppedChunk(_) => Pace {
                within: CONTENT_WINDOW,
                octets: (limits.rate * CONTENT_WINDOW.as_secs()).max(1),
            },
            State::Greeting
            | State::Silence
            | State::Command(_)
            | State::Sasl
            | State::Asked { .. }
            | State::Closing => Pace::anything(limits.command_time),
        }
    }

    fn is_busy(&self) -> bool {
        match &self.state {
            State::Command(phase) | State::DroppedChunk(DroppedChunk { phase, .. }) => {
                phase.is_open()
            }
            State::Asked { in_transaction } => *in_transaction,
            State::Content(_) | State::Chunk(_) => true,
            State::Greeting | State::Silence | State::Sasl | State::Closing => false,
        }
    }

    fn interrupt(&mut self, why: Interrupt, output: &mut Vec<u8>) {
        self.close_with(&words::parting(&self.profile, why), output);
    }
}
