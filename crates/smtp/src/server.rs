//! The server's side of an SMTP or LMTP session.
//!
//! # Theory
//!
//! A session is in one of seven states:
//!
//! | state      | waits for                     | leaves it by |
//! |------------|-------------------------------|--------------|
//! | `Greeting` | nothing                       | sending 220 |
//! | `Command`  | a command line                | a question, DATA's end, QUIT, STARTTLS |
//! | `Asked`    | the answer to a question      | the answer |
//! | `Content`  | the message's content         | CRLF `.` CRLF |
//! | `Chunk`    | the octets of a BDAT          | the last of them |
//! | `Sasl`     | a line of a SASL exchange     | that line |
//! | `Closing`  | nothing                       | – |
//!
//! Beside it stands what the client has achieved: whether it said hello, and its mail transaction
//! (RFC 5321 §3.3): none, after MAIL, or with so many accepted recipients. A command out of order is
//! 503. A transaction ends with the reply to the end of the data, whatever that is, with RSET, with
//! another hello and with STARTTLS; nothing of it survives. Whoever answers the questions is told by
//! [`Question::Commit`], [`Question::Abandon`] or [`Question::Hello`], and keeps no transaction
//! after any of them.
//!
//! What a question interrupts travels in its ticket and comes back with the answer
//! (`server/asked.rs`), so `Asked` has nothing to remember. A ticket that is dropped leaves the engine
//! there, and the session closes.
//!
//! Authentication (RFC 4954) is an exchange of octets whose meaning the engine does not know: it
//! does the framing, in base64, and asks what to say (`server/authentication.rs`).
//!
//! "Committed" is said by the answer to [`Question::Commit`] alone: the engine sends 250 to the end
//! of the data in no other case.

mod asked;
mod authentication;
mod chunking;
mod question;

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
    extension::{self, Standing},
    incoming::{Chunk, Framing, Incoming, Taking},
    reply, words,
};
use asked::{Answered, Asked, Told};
use chunking::begins_bdat;
use posta_mail::{
    Engine, ForwardPath, Interrupt, Pace, Reply, ReversePath, Step,
    envelope::{Body, MailParameters, RecipientParameters},
    limits,
    line::{Cut, LineCutter, http},
};
use std::{sync::Arc, time::Duration};

/// Over what time the rate of content is judged: long enough for a person to type a message.
const CONTENT_WINDOW: Duration = Duration::from_secs(5 * 60);

/// The engine. See the module's theory.
#[derive(Debug)]
pub struct Server {
    profile: Arc<Profile>,
    state: State,
    hello: Option<HelloVerb>,
    transaction: Option<Transaction>,
    secured: bool,
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
    Command,
    Sasl,
    Asked,
    Content,
    Chunk(Chunk),
    Closing,
}

#[derive(Debug)]
struct Transaction {
    body: Body,
    utf8: bool,
    /// How many were accepted.
    recipients: usize,
    /// The content, once it has begun to come.
    incoming: Option<Incoming>,
}

type Taken = Option<Step<'static, Question>>;

impl Server {
    /// An engine for a connection that was just opened.
    #[must_use]
    pub fn new(profile: Arc<Profile>) -> Self {
        Self {
            profile,
            state: State::Greeting,
            hello: None,
            transaction: None,
            secured: false,
            trusted: false,
            authenticated: false,
            failed_authentications: 0,
            commands: 0,
            bad_commands: 0,
            cutter: LineCutter::default(),
            is_chunk: false,
        }
    }

    /// An engine for a connection that is in TLS from its start (RFC 8314 §3).
    #[must_use]
    pub fn new_secured(profile: Arc<Profile>) -> Self {
        Self { secured: true, ..Self::new(profile) }
    }

    /// The same, for a client that may speak for others.
    #[must_use]
    pub fn trusting(self) -> Self {
        Self { trusted: true, ..self }
    }

    fn counted_line(&mut self, line: &[u8], output: &mut Vec<u8>) -> Taken {
        self.commands += 1;
        if self.commands > self.profile.limits.commands {
            let words = "Too many commands in one session, connect again";
            self.refuse(&Reply::new(421, (4, 7, 0), words), output);
            return None;
        }
        self.line(line, output)
    }

    fn line(&mut self, line: &[u8], output: &mut Vec<u8>) -> Taken {
        match SmtpCommand::parse(line) {
            // A method may have the name of a command.
            _ if http::ends_request(line) => self.not_smtp("speaks SMTP, not HTTP", output),
            // A message whose DATA was refused, or HTTP's.
            Err(_) if http::is_field(line) => {
                self.not_smtp("takes a message after DATA and 354 only", output);
            }
            // How many octets follow is not known.
            Err(refusal) if begins_bdat(line) => self.close_with(&refusal, output),
            Err(refusal) => self.bad_command(&refusal, output),
            Ok(SmtpCommand::Hello(verb, name)) => {
                return self.hello(verb, name.into_owned(), output);
            }
            Ok(SmtpCommand::Auth(mechanism, initial)) => {
                return self.auth(mechanism, initial, output);
            }
            Ok(SmtpCommand::Mail(path, parameters)) => return self.mail(path, parameters, output),
            Ok(SmtpCommand::Rcpt(path, parameters)) => return self.rcpt(path, parameters, output),
            Ok(SmtpCommand::Data) => return self.data(output),
            Ok(SmtpCommand::Bdat(size, last)) => return self.bdat(size, last, output),
            Ok(SmtpCommand::Rset) => {
                reply::write(&Reply::new(250, (2, 0, 0), "Ok"), output);
                return self.abandon();
            }
            Ok(SmtpCommand::StartTls) => return self.starttls(output),
            Ok(SmtpCommand::Noop) => reply::write(&Reply::new(250, (2, 0, 0), "Ok"), output),
            Ok(SmtpCommand::Vrfy(name) | SmtpCommand::Expn(name)) if self.profile.verify => {
                return Some(self.ask(Question::Verify(name.to_owned(), Ticket::new(()))));
            }
            Ok(SmtpCommand::Vrfy(_)) => reply::write(&words::ambiguous(), output),
            Ok(SmtpCommand::Expn(_)) => self.bad_command(&words::not_implemented(), output),
            Ok(SmtpCommand::Xclient(forwarded)) => return self.xclient(forwarded, output),
            Ok(SmtpCommand::Help) => reply::write_lines(214, &words::help(&self.profile), output),
            Ok(SmtpCommand::Quit) => {
                reply::write(&Reply::new(221, (2, 0, 0), "Bye"), output);
                self.state = State::Closing;
            }
        }
        None
    }

    /// Writes a refusal. The connection closes after a 421 (RFC 5321 §3.8).
    fn refuse(&mut self, refusal: &Reply, output: &mut Vec<u8>) {
        reply::write(refusal, output);
        self.close_after(refusal);
    }

    /// Writes a refusal, behind which nothing is read any more.
    fn close_with(&mut self, refusal: &Reply, output: &mut Vec<u8>) {
        reply::write(refusal, output);
        self.state = State::Closing;
    }

    /// Ends a session in which the client, or whoever makes it speak, does not speak SMTP.
    fn not_smtp(&mut self, what: &str, output: &mut Vec<u8>) {
        let words = format!("{} {what}", self.profile.hostname);
        self.close_with(&Reply::new(421, (4, 7, 0), words), output);
    }

    fn close_after(&mut self, refusal: &Reply) {
        if refusal.code.get() == 421 {
            self.state = State::Closing;
        }
    }

    fn bad_command(&mut self, refusal: &Reply, output: &mut Vec<u8>) {
        self.bad_commands += 1;
        if self.bad_commands > self.profile.limits.bad_commands {
            self.refuse(&Reply::new(421, (4, 7, 0), "Too many errors, goodbye"), output);
        } else {
            self.refuse(refusal, output);
        }
    }

    fn out_of_order(&mut self, text: &'static str, output: &mut Vec<u8>) {
        self.bad_command(&words::out_of_order(text), output);
    }

    fn hello(&mut self, verb: HelloVerb, name: String, output: &mut Vec<u8>) -> Taken {
        // RFC 2033 §4.1: LMTP knows LHLO only, and nothing else knows LHLO.
        if (verb == HelloVerb::Lhlo) != (self.profile.service == Service::Lmtp) {
            let refusal = match self.profile.service {
                Service::Lmtp => Reply::new(500, (5, 5, 1), "This is LMTP: say LHLO"),
                _ => Reply::new(500, (5, 5, 1), "This is SMTP: say EHLO"),
            };
            self.bad_command(&refusal, output);
            return None;
        }
        self.transaction = None;
        let ticket = Ticket::new(Asked::Hello(verb));
        Some(self.ask(Question::Hello(Hello { verb, name }, ticket)))
    }

    fn mail(
        &mut self,
        reverse_path: ReversePath,
        parameters: MailParameters,
        output: &mut Vec<u8>,
    ) -> Taken {
        if self.hello.is_none() {
            self.out_of_order("Say hello first", output);
            return None;
        }
        if self.transaction.is_some() {
            self.out_of_order("A transaction is open: RSET ends it", output);
            return None;
        }
        let (profile, standing) = (&self.profile, self.standing());
        match extension::objection(profile, standing, &reverse_path, &parameters) {
            Some(refusal) => reply::write(&refusal, output),
            None => {
                let MailParameters { body, utf8, .. } = parameters;
                let ticket = Ticket::new(Asked::Mail { body, utf8 });
                return Some(self.ask(Question::Mail(Mail { reverse_path, parameters }, ticket)));
            }
        }
        None
    }

    fn rcpt(
        &mut self,
        path: ForwardPath,
        parameters: RecipientParameters,
        output: &mut Vec<u8>,
    ) -> Taken {
        let Some(Transaction { recipients, utf8, incoming, .. }) = &self.transaction else {
            self.out_of_order("MAIL comes first", output);
            return None;
        };
        if incoming.is_some() {
            self.out_of_order("The content has begun", output);
        } else if *recipients >= self.profile.limits.recipients {
            // RFC 5321 §4.5.3.1.10: 452, and the client sends the rest in another transaction.
            reply::write(&Reply::new(452, (4, 5, 3), "Too many recipients"), output);
        } else if !utf8 && matches!(&path, ForwardPath::Address(a) if !a.is_ascii()) {
            reply::write(&words::needs_utf8(), output);
        } else {
            let ticket = Ticket::new(Asked::Recipient);
            return Some(
                self.ask(Question::Recipient(EnvelopeRecipient { path, parameters }, ticket)),
            );
        }
        None
    }

    fn data(&mut self, output: &mut Vec<u8>) -> Taken {
        match &self.transaction {
            None => self.out_of_order("MAIL and RCPT come first", output),
            Some(open) if open.incoming.is_some() => {
                self.out_of_order("BDAT has begun, and ends with BDAT LAST", output);
            }
            // RFC 3030 §3: binary content cannot come line by line.
            Some(Transaction { body: Body::BinaryMime, .. }) => {
                self.out_of_order("Binary content comes by BDAT", output);
            }
            // RFC 5321 §3.3: 554 when no recipient was valid.
            Some(open) if open.recipients == 0 => reply::write(&words::no_recipients(), output),
            Some(_) => return Some(self.ask(Question::Content(Ticket::new(Asked::Content)))),
        }
        None
    }

    fn starttls(&mut self, output: &mut Vec<u8>) -> Taken {
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

    fn xclient(&mut self, forwarded: Forwarded, output: &mut Vec<u8>) -> Taken {
        if !self.trusted {
            self.bad_command(&Reply::new(550, (5, 7, 0), "You speak for yourself only"), output);
        } else if self.transaction.is_some() {
            self.out_of_order("Not within a transaction", output);
        } else {
            let ticket = Ticket::new(Asked::Forwarded { login: forwarded.login.is_some() });
            return Some(self.ask(Question::Forwarded(forwarded, ticket)));
        }
        None
    }

    /// Goes on with what was asked for.
    fn granted(&mut self, asked: Asked, output: &mut Vec<u8>) {
        match asked {
            Asked::Hello(verb) => {
                self.hello = Some(verb);
                self.write_hello(verb, output);
            }
            Asked::Mail { body, utf8 } => {
                self.transaction = Some(Transaction { body, utf8, recipients: 0, incoming: None });
                reply::write(&Reply::new(250, (2, 1, 0), "Ok"), output);
            }
            Asked::Recipient => {
                if let Some(open) = &mut self.transaction {
                    open.recipients += 1;
                }
                reply::write(&Reply::new(250, (2, 1, 5), "Ok"), output);
            }
            Asked::Forwarded { login } => {
                // The session begins anew, as the other client's.
                self.authenticated = login;
                self.hello = None;
                self.state = State::Greeting;
            }
            Asked::Content => {
                reply::write(&Reply::plain(354, "End data with <CR><LF>.<CR><LF>"), output);
                self.begin_content(Framing::Dot);
                self.state = State::Content;
            }
            Asked::FirstChunk { size, last } => {
                self.begin_content(Framing::Length);
                self.state = State::Chunk(Chunk { size, left: size, last, refusal: None });
            }
        }
    }

    fn ask(&mut self, question: Question) -> Step<'static, Question> {
        self.state = State::Asked;
        Step::Ask(question)
    }

    /// Ends the transaction, and says so to whoever answers if there was one.
    fn abandon(&mut self) -> Taken {
        self.state = State::Command;
        let ticket = Ticket::new(Told::Abandoned);
        self.transaction.take().map(|_| self.ask(Question::Abandon(ticket)))
    }

    /// One reply, or in LMTP one for each recipient that was accepted (RFC 2033 §4.2).
    fn reply_to_content(&self, outcome: &Reply, output: &mut Vec<u8>) {
        let replies = match (self.profile.service, &self.transaction) {
            (Service::Lmtp, Some(open)) => open.recipients,
            _ => 1,
        };
        for _ in 0..replies {
            reply::write(outcome, output);
        }
    }

    fn begin_content(&mut self, framing: Framing) {
        if let Some(open) = &mut self.transaction {
            open.incoming = Some(Incoming::new(&self.profile, open.body, framing));
        }
    }

    /// What stands against the content, as far as it came.
    fn objection(&self) -> Option<Reply> {
        self.transaction.as_ref()?.incoming.as_ref()?.objection()
    }

    fn end_of_content(&mut self, output: &mut Vec<u8>) -> Taken {
        match self.objection() {
            None => Some(self.ask(Question::Commit(Ticket::new(())))),
            Some(refusal) => {
                self.reply_to_content(&refusal, output);
                self.abandon()
            }
        }
    }

    fn write_hello(&self, verb: HelloVerb, output: &mut Vec<u8>) {
        if verb == HelloVerb::Helo {
            reply::write(&Reply::plain(250, self.profile.hostname.to_string()), output);
            return;
        }
        reply::write_lines(250, &extension::offer(&self.profile, self.standing()), output);
    }

    fn standing(&self) -> Standing {
        Standing {
            secured: self.secured,
            may_authenticate: self.may_authenticate(),
            authenticated: self.authenticated,
            trusted: self.trusted,
        }
    }
}

impl Engine for Server {
    type Question = Question;
    type Answer = Answer;

    fn next<'i>(&mut self, input: &mut &'i [u8], output: &mut Vec<u8>) -> Step<'i, Question> {
        loop {
            let taken = match &mut self.state {
                State::Greeting => {
                    reply::write(&words::greeting(&self.profile), output);
                    self.state = State::Command;
                    None
                }
                State::Command | State::Sasl => {
                    let is_sasl = matches!(self.state, State::Sasl);
                    // RFC 4954 §4: a line of an exchange, and AUTH itself, may be longer.
                    let limit = if self.profile.mechanisms.is_empty() {
                        limits::SMTP_COMMAND_LINE
                    } else {
                        limits::SASL_LINE
                    };
                    if self.cutter.is_at_line_start() {
                        self.is_chunk = begins_bdat(input);
                        if http::begins_request(input) {
                            self.not_smtp("speaks SMTP, not HTTP", output);
                            continue;
                        }
                    }
                    match self.cutter.next(input, limit) {
                        Cut::Incomplete => return Step::NeedInput,
                        Cut::TooLong if is_sasl => Some(self.break_off(words::line_too_long())),
                        Cut::TooLong if self.is_chunk => {
                            self.close_with(&words::line_too_long(), output);
                            None
                        }
                        Cut::TooLong => {
                            self.bad_command(&words::line_too_long(), output);
                            None
                        }
                        Cut::Line(line) if is_sasl => Some(self.sasl(line)),
                        Cut::Line(line) => self.counted_line(line, output),
                    }
                }
                State::Content => {
                    let incoming =
                        self.transaction.as_mut().and_then(|open| open.incoming.as_mut());
                    let Some(incoming) = incoming else { return Step::Close };
                    match incoming.take(input) {
                        Taking::Content(content) => return Step::Content(content),
                        Taking::NeedInput => return Step::NeedInput,
                        Taking::End => self.end_of_content(output),
                    }
                }
                State::Chunk(_) => self.chunk(input, output),
                State::Asked | State::Closing => return Step::Close,
            };
            if let Some(step) = taken {
                return step;
            }
        }
    }

    fn answer(&mut self, Answer(answered): Answer, output: &mut Vec<u8>) {
        if !matches!(self.state, State::Asked) {
            // Interrupted since it asked: the parting words are the last.
            return;
        }
        self.state = State::Command;
        match answered {
            Answered::Verdict(Asked::FirstChunk { size, last }, Err(refusal)) => {
                self.state = State::Chunk(Chunk { size, left: size, last, refusal: Some(refusal) });
            }
            Answered::Verdict(_, Err(refusal)) | Answered::Verification(Err(refusal)) => {
                self.refuse(&refusal, output);
            }
            Answered::Verdict(asked, Ok(())) => self.granted(asked, output),
            Answered::Authentication(outcome) => self.authentication(outcome, output),
            Answered::Verification(Ok(found)) => reply::write_lines(250, &found, output),
            Answered::Commitment(Ok(Committed(id))) => {
                let safe = Reply::new(250, (2, 0, 0), format!("Ok: kept as {id}"));
                self.reply_to_content(&safe, output);
                self.transaction = None;
            }
            Answered::Commitment(Err(refusal)) => {
                self.reply_to_content(&refusal, output);
                self.transaction = None;
                self.close_after(&refusal);
            }
            Answered::Heard(Told::BrokenOff(reply)) => self.broken_off(&reply, output),
            Answered::Heard(Told::Abandoned) => {}
        }
    }

    fn secured(&mut self) {
        // RFC 3207 §4.2: whatever was learnt before TLS is forgotten.
        self.secured = true;
        self.authenticated = false;
        self.hello = None;
        self.transaction = None;
        self.cutter = LineCutter::default();
    }

    fn pace(&self) -> Pace {
        let limits = &self.profile.limits;
        match self.state {
            State::Content | State::Chunk(_) => Pace {
                within: CONTENT_WINDOW,
                octets: (limits.rate * CONTENT_WINDOW.as_secs()).max(1),
            },
            _ => Pace::anything(limits.command_time),
        }
    }

    fn is_busy(&self) -> bool {
        self.transaction.is_some()
    }

    fn interrupt(&mut self, why: Interrupt, output: &mut Vec<u8>) {
        reply::write(&words::parting(&self.profile, why), output);
        self.state = State::Closing;
    }
}
