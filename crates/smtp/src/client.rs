//! The client's side of an SMTP or LMTP session: the mirror of [`crate::server`].
//!
//! # Theory
//!
//! The client follows the server's greeting through its hello (and STARTTLS and AUTH, where they are
//! wanted) to [`Question::Next`]. Each transaction ends with that question again, which carries the
//! [`Outcome`]: one [`Decision`] for each recipient, whatever the stage at which it was decided. A session
//! that cannot be used ends with [`Question::Failed`].
//!
//! The client either expects a reply, or has a question:
//!
//! | expected by  | the reply                   | then |
//! |--------------|-----------------------------|------|
//! | `Greeting`   | 220                         | sends the hello |
//! | `Hello`      | 250                         | STARTTLS, or asks how to log in or what to send |
//! | `StartTls`   | 220                         | negotiates (`Securing`), says hello again |
//! | `Auth`       | 334, 235, a refusal         | asks for a response, what to send, or how else to log in |
//! | `Envelope`   | to MAIL, RCPT…, DATA        | asks for content |
//! | `ChunkSent`  | to a BDAT, without PIPELINING | asks for more content |
//! | `End`        | the final one (LMTP: one a recipient) | asks what to send, or tells what became of it |
//! | `Reset`      | 250                         | sends the envelope |
//! | `Quit`       | 221                         | closes |
//!
//! | question     | with the answer             |
//! |--------------|-----------------------------|
//! | `Login`      | sends AUTH |
//! | `Challenge`  | sends the response |
//! | `Next`       | sends the envelope, or QUIT; or asks `Convert` first |
//! | `Convert`    | sends the envelope, or refuses the message itself |
//! | `Content`    | sends it, and asks for more; or sends the end |
//! | `Ahead`      | sends the next message's envelope with the end |
//! | `Done`       | goes on with the next message |
//! | `Last`, `Failed` | sends QUIT, or closes |
//!
//! A question that is due stands in the state `Ask` until the next step; then the client is in `Asked`.
//! What the question interrupts travels in its ticket and comes back with the answer
//! (`client/asked.rs`). A ticket that is dropped leaves the client there, and the session closes.
//!
//! With PIPELINING (RFC 2920) MAIL, every RCPT and DATA leave together, and those of the next message
//! with the end of this one's content; without it one by one. The replies are read by the same code:
//! `Envelope` counts replies, not round trips. With CHUNKING (RFC 3030) BDAT takes DATA's place.
//!
//! A transaction that the server has not ended itself, as after refused recipients, is ended by the RSET
//! that comes before the next one. Its outcome does not wait for that: a server that does not answer
//! RSET would hold it back. What is neither a yes nor a no, as 250 to DATA, ends the session
//! ([`Failure::Unexpected`]). Where a session ends in the middle of a transaction, [`Client::unfinished`]
//! tells what is known of each recipient.
//!
//! A message goes in several *rounds* where the server takes only so many recipients at once (452,
//! or LIMITS, RFC 9422); the caller is asked for its content once for each.

mod asked;
mod capabilities;
mod content;
mod framing;
mod login;
mod question;
mod replies;
mod transaction;

pub use crate::command::EnvelopeRecipient;
pub use asked::Answer;
pub use capabilities::Capabilities;
pub use question::{
    Conversion, Decision, Envelope, Failure, Fate, LoginChoice, Next, Options, Outcome, Piece,
    Question, SaslResponse, Stage, Ticket,
};

use crate::{command::HelloVerb, reply::ReplyReader};
use asked::{Answered, Continuation, Ending, ToConvert};
use bytes::Bytes;
use framing::Follower;
use login::LoginAttempt;
use posta_mail::{Engine, Interrupt, Pace, Reply, Step, TlsUse, limits};
use std::{io::Write as _, time::Duration};
use transaction::{Transaction, write_recipient};

/// The engine. See the module's theory.
#[derive(Debug)]
pub struct Client {
    options: Options,
    state: State,
    reader: ReplyReader,
    capabilities: Capabilities,
    secured: bool,
    stage: Stage,
    /// A refusal that the client tries to get around, such as that of EHLO by HELO.
    refusal: Option<Reply>,
    /// The number of transactions begun in this session.
    begun: usize,
    /// Whether the last one is still open at the server.
    must_reset: bool,
    /// What is known of each recipient of a transaction whose content is asked for, or that the end of the
    /// session cut off.
    left: Option<Vec<Fate>>,
}

#[derive(Debug)]
enum State {
    Expecting(Expected),
    /// The server said 220 to STARTTLS.
    Securing,
    /// The next step asks this question.
    Ask(Question),
    Asked,
    Closed,
}

/// What the next reply answers.
#[derive(Debug)]
enum Expected {
    Greeting,
    Hello(HelloVerb),
    StartTls,
    Auth(LoginAttempt),
    Envelope(Box<Transaction>),
    /// A chunk that was sent without PIPELINING. The octets are the next chunk.
    ChunkSent(Box<Transaction>, Bytes),
    End {
        transaction: Box<Transaction>,
        /// Replies to chunks that come before the final one.
        chunks: usize,
        follower: Option<Follower>,
    },
    Reset(Box<Transaction>),
    Quit,
}

/// How long to wait for the answer to QUIT: nothing depends on it.
const GOODBYE: Duration = Duration::from_secs(10);

/// How long to wait for the answer to RSET, which costs a server no work.
const RESET: Duration = Duration::from_secs(30);

impl Client {
    /// Makes an engine for a connection that was just opened, in TLS already or not.
    #[must_use]
    pub fn new(options: Options, secured: bool) -> Self {
        Self {
            options,
            state: State::Expecting(Expected::Greeting),
            reader: ReplyReader::default(),
            capabilities: Capabilities::default(),
            secured,
            stage: Stage::Greeting,
            refusal: None,
            begun: 0,
            must_reset: false,
            left: None,
        }
    }

    /// Returns what the server offers, by its reply to the last hello.
    #[must_use]
    pub const fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    /// Returns how far the session has come.
    #[must_use]
    pub const fn stage(&self) -> Stage {
        self.stage
    }

    /// Returns whether the session is in TLS.
    #[must_use]
    pub const fn is_secured(&self) -> bool {
        self.secured
    }

    /// Returns the refusal at this stage that the client tried to get around before the session ended.
    #[must_use]
    pub const fn refusal(&self) -> Option<&Reply> {
        self.refusal.as_ref()
    }

    /// Returns what is known of each recipient of the transaction under way, if the session ended in the
    /// middle of one.
    pub fn unfinished(&mut self) -> Option<Vec<Fate>> {
        self.fates().or_else(|| self.left.take())
    }

    fn fates(&self) -> Option<Vec<Fate>> {
        match &self.state {
            State::Expecting(expected) => expected.fates(),
            State::Securing | State::Ask(_) | State::Asked | State::Closed => None,
        }
    }

    fn expect(&mut self, expected: Expected) {
        self.state = State::Expecting(expected);
    }

    fn say_hello(&mut self, verb: HelloVerb, output: &mut Vec<u8>) {
        let word = match verb {
            HelloVerb::Helo => "HELO",
            HelloVerb::Ehlo => "EHLO",
            HelloVerb::Lhlo => "LHLO",
        };
        let _ = write!(output, "{word} {}\r\n", self.options.name);
        self.stage = Stage::Hello;
        self.expect(Expected::Hello(verb));
    }

    fn fail(&mut self, failure: Failure) {
        // Whoever does not speak the protocol would not say goodbye either, or take it for content.
        let is_lost = matches!(failure, Failure::Protocol(_) | Failure::Unexpected { .. });
        let then = if is_lost { Continuation::Close } else { Continuation::Quit };
        self.state = State::Ask(Question::Failed(failure, Ticket::new(then)));
    }

    /// Ends the session in the middle of a transaction, of which all content was sent or not.
    fn fail_within(&mut self, transaction: &Transaction, is_sent: bool, failure: Failure) {
        self.left = Some(transaction.fates(is_sent));
        self.fail(failure);
    }

    fn unexpected(&mut self, to: &'static str, reply: Reply) {
        self.fail(Failure::Unexpected { to, reply });
    }

    fn unexpected_within(
        &mut self,
        transaction: &Transaction,
        is_sent: bool,
        to: &'static str,
        reply: Reply,
    ) {
        self.fail_within(transaction, is_sent, Failure::Unexpected { to, reply });
    }

    fn after_hello(&mut self, output: &mut Vec<u8>) {
        let offered = self.capabilities.starttls;
        match self.options.tls {
            _ if self.options.refuse_namesake && self.is_namesake() => self.fail(Failure::Namesake),
            _ if self.secured => self.after_tls(),
            TlsUse::Required if !offered => self.fail(Failure::NoTls(None)),
            TlsUse::Required | TlsUse::IfOffered if offered => {
                output.extend_from_slice(b"STARTTLS\r\n");
                self.stage = Stage::StartTls;
                self.expect(Expected::StartTls);
            }
            TlsUse::Never | TlsUse::IfOffered | TlsUse::Required => self.after_tls(),
        }
    }

    fn is_namesake(&self) -> bool {
        self.capabilities.name.eq_ignore_ascii_case(&self.options.name)
    }

    fn begin(&mut self, envelope: Envelope, output: &mut Vec<u8>) {
        if let Some(refusal) = self.capabilities.objection(&envelope, self.secured) {
            self.refuse(&envelope, &refusal);
        } else if self.capabilities.must_convert(&envelope) {
            let ticket = Ticket::new(ToConvert(envelope));
            self.state = State::Ask(Question::Convert(ticket));
        } else {
            let transaction = Transaction::new(envelope, &self.capabilities, false);
            self.begin_round(transaction, output);
        }
    }

    fn refuse(&mut self, envelope: &Envelope, refusal: &Reply) {
        let recipients = vec![Decision::ours(refusal.clone()); envelope.recipients.len()];
        self.ask_next(Some(Outcome { recipients, reports: false }));
    }

    fn ask_next(&mut self, outcome: Option<Outcome>) {
        self.state = State::Ask(match self.may_begin() {
            true => Question::Next(outcome, Ticket::new(())),
            false => Question::Last(outcome, Ticket::new(Continuation::Quit)),
        });
    }

    fn begin_round(&mut self, mut transaction: Box<Transaction>, output: &mut Vec<u8>) {
        // What is open over there must not reach into this one.
        if std::mem::take(&mut self.must_reset) {
            output.extend_from_slice(b"RSET\r\n");
            transaction.resetting = transaction.pipelined;
            if !transaction.pipelined {
                return self.expect(Expected::Reset(transaction));
            }
        }
        self.write_round(&transaction, output);
        self.expect(Expected::Envelope(transaction));
    }

    fn write_round(&mut self, transaction: &Transaction, output: &mut Vec<u8>) {
        self.begun += 1;
        transaction.write_mail(&self.capabilities, output);
        if transaction.pipelined {
            for recipient in transaction.recipients() {
                write_recipient(recipient, &self.capabilities, output);
            }
            if !transaction.chunked {
                output.extend_from_slice(b"DATA\r\n");
            }
        }
    }

    /// Returns whether the server takes another transaction in this session.
    fn may_begin(&self) -> bool {
        self.capabilities.mail_max.is_none_or(|most| self.begun < most)
    }

    /// Goes on after a round that is decided. `is_open` says that the server has not ended the transaction
    /// itself.
    fn round_is_over(
        &mut self,
        mut transaction: Box<Transaction>,
        is_open: bool,
        output: &mut Vec<u8>,
    ) {
        self.must_reset = is_open;
        if !transaction.is_decided() && self.may_begin() {
            transaction.next_round(&self.capabilities);
            return self.begin_round(transaction, output);
        }
        transaction.end();
        self.ask_next(Some(transaction.outcome(&self.capabilities)));
    }

    /// Goes on after the caller has acknowledged what it was told.
    fn go_on(&mut self, continuation: Continuation, output: &mut Vec<u8>) {
        match continuation {
            Continuation::Follow(Follower::Begun(transaction)) => {
                self.expect(Expected::Envelope(transaction));
            }
            Continuation::Follow(Follower::Waiting(envelope)) => self.begin(envelope, output),
            Continuation::Quit => self.quit(output),
            Continuation::Close => self.state = State::Closed,
        }
    }

    fn quit(&mut self, output: &mut Vec<u8>) {
        output.extend_from_slice(b"QUIT\r\n");
        self.expect(Expected::Quit);
    }
}

impl Expected {
    /// Returns what is known of each recipient of the transaction under way, if the session ends here.
    fn fates(&self) -> Option<Vec<Fate>> {
        match self {
            Self::Envelope(transaction)
            | Self::ChunkSent(transaction, _)
            | Self::Reset(transaction) => Some(transaction.fates(false)),
            Self::End { transaction, .. } => Some(transaction.fates(true)),
            Self::Greeting | Self::Hello(_) | Self::StartTls | Self::Auth(_) | Self::Quit => None,
        }
    }

    /// Returns how long the server may take for the reply (RFC 5321 §4.5.3.2).
    fn patience(&self) -> Duration {
        match self {
            Self::Reset(_) => RESET,
            Self::Envelope(transaction) if transaction.resetting => RESET,
            Self::Envelope(transaction) if transaction.has_all_recipients() => {
                limits::SMTP_CLIENT_DATA_PATIENCE
            }
            Self::End { .. } => limits::SMTP_CLIENT_END_PATIENCE,
            Self::Quit => GOODBYE,
            Self::Greeting
            | Self::Hello(_)
            | Self::StartTls
            | Self::Auth(_)
            | Self::Envelope(_)
            | Self::ChunkSent(..) => limits::SMTP_CLIENT_PATIENCE,
        }
    }
}

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
                State::Securing if self.secured => self.say_hello(self.options.hello, output),
                State::Securing => {
                    self.state = State::Securing;
                    return Step::StartTls;
                }
                State::Expecting(expected) => match self.reader.next(input) {
                    Ok(None) => {
                        self.expect(expected);
                        return Step::NeedInput;
                    }
                    Ok(Some(reply)) => self.reply(expected, reply, output),
                    // Nothing depends on what is said to QUIT.
                    Err(_) if matches!(expected, Expected::Quit) => {}
                    Err(error) => {
                        self.left = expected.fates().or_else(|| self.left.take());
                        self.fail(Failure::Protocol(error));
                    }
                },
            }
        }
    }

    fn answer(&mut self, Answer(answered): Answer, output: &mut Vec<u8>) {
        if !matches!(self.state, State::Asked) {
            // Interrupted since it asked.
            return;
        }
        match answered {
            Answered::Login(LoginChoice::Auth(opening)) => self.send_auth(opening, output),
            Answered::Login(LoginChoice::GiveUp) => self.give_up_login(),
            Answered::Response(attempt, response) => {
                self.respond(attempt, response.as_deref(), output);
            }
            Answered::Next(Next::Send(envelope)) => self.begin(envelope, output),
            Answered::Next(Next::Quit) => self.quit(output),
            Answered::Conversion(ToConvert(envelope), Ok(())) => {
                let transaction = Transaction::new(envelope, &self.capabilities, true);
                self.begin_round(transaction, output);
            }
            Answered::Conversion(ToConvert(envelope), Err(refusal)) => {
                self.refuse(&envelope, &refusal);
            }
            // Quitting in the middle of the content must not end it: the connection just closes.
            Answered::Piece(_, Piece::BreakOff) => self.state = State::Closed,
            Answered::Piece(writing, Piece::Content(content)) => {
                self.content(writing, content, output);
            }
            Answered::Piece(writing, Piece::End) => self.end_of_content(writing, output),
            Answered::Ahead(Ending { transaction, chunks }, next) => {
                self.left = None;
                let follower = next.map(|envelope| self.follow(envelope, output));
                self.expect(Expected::End { transaction, chunks, follower });
            }
            Answered::Acknowledged(continuation) => self.go_on(continuation, output),
        }
    }

    fn secured(&mut self) {
        // What the server offered in plaintext may have been forged: ask again (RFC 3207 §4.2).
        self.secured = true;
        self.capabilities = Capabilities::default();
        self.reader = ReplyReader::default();
    }

    fn pace(&self) -> Pace {
        let patience = match &self.state {
            State::Expecting(expected) => expected.patience(),
            State::Securing | State::Ask(_) | State::Asked | State::Closed => {
                limits::SMTP_CLIENT_PATIENCE
            }
        };
        Pace::anything(patience.min(self.options.patience))
    }

    fn is_busy(&self) -> bool {
        use Expected::{ChunkSent, End, Envelope};
        matches!(self.state, State::Expecting(Envelope(_) | ChunkSent(..) | End { .. }))
    }

    fn interrupt(&mut self, _why: Interrupt, _output: &mut Vec<u8>) {
        self.left = self.fates().or_else(|| self.left.take());
        self.state = State::Closed;
    }
}
