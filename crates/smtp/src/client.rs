//! The client's side of an SMTP or LMTP session: the mirror of [`crate::server`].
//!
//! # Theory
//!
//! The client follows the server's greeting through its hello (and STARTTLS and AUTH, where they are
//! wanted) to the state in which it asks [`Question::Next`]. Each transaction ends with that question
//! again, which carries the [`Outcome`]: one [`Decision`] for each recipient, whatever the stage at which it
//! was decided. A session that cannot be used ends with [`Question::Failed`].
//!
//! | state        | waits for            | then |
//! |--------------|----------------------|------|
//! | `Greeting`   | 220                  | sends the hello |
//! | `Hello`      | 250                  | STARTTLS, AUTH, or asks what to send |
//! | `StartTls`   | 220                  | negotiates (`Securing`), says hello again |
//! | `Login`      | the caller's mechanism | AUTH |
//! | `Auth`       | 334, 235, a refusal  | asks for a response (`Challenged`), what to send, or how else to log in |
//! | `Converting` | whether the content can become ASCII | the envelope, or refuses |
//! | `Envelope`   | the replies to MAIL, RCPT…, DATA | asks for content |
//! | `Content`    | the caller's content | sends the end, or a chunk (`ChunkSent`) |
//! | `Ahead`      | the next message, if there is one | sends its envelope with the end |
//! | `End`        | the final reply (LMTP: one a recipient) | asks what to send (or `Done`) |
//! | `Reset`      | 250                  | sends the envelope |
//! | `Quit`       | 221                  | closes |
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

mod capabilities;
mod content;
mod login;
mod question;
mod transaction;

pub use crate::question::Recipient;
pub use capabilities::Capabilities;
pub use question::{Answer, Decision, Envelope, Failure, Fate, Options, Outcome, Question, Stage};

use crate::{command::HelloVerb, reply::ReplyReader};
use bytes::Bytes;
use content::{Following, Framing};
use login::Login;
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
    login: Login,
    stage: Stage,
    /// A refusal that the client tries to get around: of EHLO, by HELO.
    refusal: Option<Reply>,
    /// Transactions begun.
    begun: usize,
    /// Whether the server still has the last one open.
    must_reset: bool,
    /// What a session left that ended in the middle of a transaction.
    left: Option<Vec<Fate>>,
}

#[derive(Debug)]
enum State {
    Greeting,
    Hello(HelloVerb),
    StartTls,
    /// The server said 220 to STARTTLS.
    Securing,
    Login,
    Auth,
    Challenged(Vec<u8>),
    /// To be asked, or asked and not answered.
    Ready(Option<Outcome>),
    Failed(Failure),
    Converting(Envelope),
    Envelope(Box<Transaction>),
    Content(Box<Transaction>, Framing),
    /// A chunk was sent, without PIPELINING; and the one that follows it.
    ChunkSent(Box<Transaction>, Bytes),
    Ahead(Box<Transaction>, usize),
    End {
        transaction: Box<Transaction>,
        /// Replies to chunks that come before the final one.
        chunks: usize,
        following: Following,
    },
    Done(Outcome, Following),
    Reset(Box<Transaction>),
    Quit,
    Closed,
}

/// How long to wait for the answer to QUIT: nothing depends on it.
const GOODBYE: Duration = Duration::from_secs(10);

/// How long to wait for the answer to RSET: there is nothing to be done for it.
const RESET: Duration = Duration::from_secs(30);

impl Client {
    /// An engine for a connection that was just opened, in TLS already or not.
    #[must_use]
    pub fn new(options: Options, secured: bool) -> Self {
        Self {
            options,
            state: State::Greeting,
            reader: ReplyReader::default(),
            capabilities: Capabilities::default(),
            secured,
            login: Login::default(),
            stage: Stage::Greeting,
            refusal: None,
            begun: 0,
            must_reset: false,
            left: None,
        }
    }

    /// What the server said it offers.
    #[must_use]
    pub const fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    /// How far the session has come.
    #[must_use]
    pub const fn stage(&self) -> Stage {
        self.stage
    }

    /// Whether it is in TLS.
    #[must_use]
    pub const fn is_secured(&self) -> bool {
        self.secured
    }

    /// The refusal at this stage that the client tried to get around, before the session ended.
    #[must_use]
    pub const fn refusal(&self) -> Option<&Reply> {
        self.refusal.as_ref()
    }

    /// What is known of each recipient of the transaction under way, if the session ended in the middle
    /// of one.
    pub fn unfinished(&mut self) -> Option<Vec<Fate>> {
        self.fates().or_else(|| self.left.take())
    }

    fn fates(&self) -> Option<Vec<Fate>> {
        match &self.state {
            State::Envelope(transaction)
            | State::Content(transaction, _)
            | State::ChunkSent(transaction, _)
            | State::Reset(transaction) => Some(transaction.fates(false)),
            State::Ahead(transaction, _) | State::End { transaction, .. } => {
                Some(transaction.fates(true))
            }
            _ => None,
        }
    }

    fn say_hello(&mut self, verb: HelloVerb, output: &mut Vec<u8>) {
        let word = match verb {
            HelloVerb::Helo => "HELO",
            HelloVerb::Ehlo => "EHLO",
            HelloVerb::Lhlo => "LHLO",
        };
        let _ = write!(output, "{word} {}\r\n", self.options.name);
        (self.state, self.stage) = (State::Hello(verb), Stage::Hello);
    }

    fn reply(&mut self, reply: Reply, output: &mut Vec<u8>) {
        let positive = reply.code.is_positive();
        let is_refusal = !positive && !reply.code.is_intermediate();
        match std::mem::replace(&mut self.state, State::Closed) {
            State::Greeting if positive => self.say_hello(self.options.hello, output),
            State::Hello(_) if positive => {
                self.refusal = None;
                self.capabilities = Capabilities::read(&reply.text);
                self.after_hello(output);
            }
            // RFC 5321 §3.2: a server that does not know EHLO is greeted with HELO.
            State::Hello(HelloVerb::Ehlo) if reply.code.is_permanent() => {
                self.refusal = Some(reply);
                self.say_hello(HelloVerb::Helo, output);
            }
            State::Greeting | State::Hello(_) if is_refusal => self.fail(Failure::Refused(reply)),
            State::Greeting => self.unexpected("the connection", reply),
            State::Hello(_) => self.unexpected("the hello", reply),
            State::StartTls if reply.code.get() == 220 => self.state = State::Securing,
            State::StartTls if self.options.tls == TlsUse::Required => {
                self.fail(Failure::NoTls(Some(reply)));
            }
            State::StartTls => self.after_tls(),
            State::Auth => self.auth_reply(reply),
            // What follows on this connection is not answered any more.
            State::Envelope(transaction) | State::Reset(transaction) if reply.code.get() == 421 => {
                self.fail_within(&transaction, false, Failure::Closing(reply));
            }
            State::Envelope(transaction) => self.envelope_reply(transaction, reply, output),
            State::ChunkSent(transaction, _) if !positive && !is_refusal => {
                self.unexpected_within(&transaction, false, "BDAT", reply);
            }
            State::ChunkSent(mut transaction, _) if is_refusal => {
                transaction.decide_round(&reply);
                self.round_is_over(transaction, true, output);
            }
            State::ChunkSent(transaction, next) => {
                self.state =
                    State::Content(transaction, Framing::Chunks { next: Some(next), sent: 0 });
            }
            State::End { transaction, .. } if !positive && !is_refusal => {
                self.unexpected_within(&transaction, true, "the end of the message", reply);
            }
            State::End { transaction, chunks, following } => {
                self.final_reply(transaction, chunks, following, reply, output);
            }
            State::Reset(transaction) => self.begin_round(transaction, output),
            // Nothing is read in the others: they wait for an answer, or for nothing.
            _ => {}
        }
    }

    fn fail(&mut self, failure: Failure) {
        self.left = self.fates().or_else(|| self.left.take());
        self.state = State::Failed(failure);
    }

    /// The session fails in the middle of a transaction, before or after all of its content was sent.
    fn fail_within(&mut self, transaction: &Transaction, is_sent: bool, failure: Failure) {
        self.left = Some(transaction.fates(is_sent));
        self.state = State::Failed(failure);
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
                (self.state, self.stage) = (State::StartTls, Stage::StartTls);
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
            self.state = State::Converting(envelope);
        } else {
            let transaction = Transaction::new(envelope, &self.capabilities, false);
            self.begin_round(transaction, output);
        }
    }

    fn refuse(&mut self, envelope: &Envelope, refusal: &Reply) {
        let recipients = vec![Decision::ours(refusal.clone()); envelope.recipients.len()];
        self.state = State::Ready(Some(Outcome { recipients, reports: false }));
    }

    fn begin_round(&mut self, mut transaction: Box<Transaction>, output: &mut Vec<u8>) {
        // What is open over there must not reach into this one.
        if std::mem::take(&mut self.must_reset) {
            output.extend_from_slice(b"RSET\r\n");
            transaction.resetting = transaction.pipelined;
            if !transaction.pipelined {
                self.state = State::Reset(transaction);
                return;
            }
        }
        self.write_round(&transaction, output);
        self.state = State::Envelope(transaction);
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

    /// Whether the server takes another transaction in this session.
    fn may_begin(&self) -> bool {
        self.capabilities.mail_max.is_none_or(|most| self.begun < most)
    }

    fn envelope_reply(
        &mut self,
        mut transaction: Box<Transaction>,
        reply: Reply,
        output: &mut Vec<u8>,
    ) {
        if std::mem::take(&mut transaction.resetting) {
            self.state = State::Envelope(transaction);
            return;
        }
        if transaction.has_all_recipients() {
            return self.data_reply(transaction, reply, output);
        }
        if reply.code.is_intermediate() {
            let to = if transaction.replies == 0 { "MAIL" } else { "RCPT" };
            return self.unexpected_within(&transaction, false, to, reply);
        }
        let answered = transaction.replies;
        transaction.replies += 1;
        match answered {
            0 if !reply.code.is_positive() => transaction.decide_all(&reply),
            0 => {}
            _ => transaction.recipient_reply(answered - 1, reply),
        }
        if transaction.has_all_recipients() && transaction.chunked {
            return match transaction.wants_content() {
                true => self.begin_content(transaction),
                false => self.round_is_over(transaction, true, output),
            };
        }
        if !transaction.pipelined {
            // Lock-step: nothing more is sent for a transaction that is decided.
            let is_over = transaction.has_all_recipients() && !transaction.wants_content();
            if is_over || answered == 0 && transaction.is_decided() {
                return self.round_is_over(transaction, true, output);
            }
            match transaction.recipient(answered) {
                Some(recipient) => write_recipient(recipient, &self.capabilities, output),
                None => output.extend_from_slice(b"DATA\r\n"),
            }
        }
        self.state = State::Envelope(transaction);
    }

    fn data_reply(
        &mut self,
        mut transaction: Box<Transaction>,
        reply: Reply,
        output: &mut Vec<u8>,
    ) {
        if reply.code.is_transient() || reply.code.is_permanent() {
            transaction.decide_round(&reply);
            self.round_is_over(transaction, true, output);
        } else if reply.code.get() != 354 {
            // Whether it waits for content or for a command, nobody knows.
            self.unexpected_within(&transaction, false, "DATA", reply);
        } else if transaction.wants_content() {
            self.begin_content(transaction);
        } else {
            // RFC 2920 §3.1: the server wants content although it refused every recipient. It gets
            // none.
            output.extend_from_slice(b".\r\n");
            self.state = State::End { transaction, chunks: 0, following: Following::Nothing };
        }
    }

    /// A round is decided; `is_open` if the server has not ended the transaction itself.
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
        self.state = State::Ready(Some(transaction.outcome(&self.capabilities)));
    }

    /// The question of the state, if it has one.
    fn question(&mut self) -> Option<Question> {
        let may_begin = self.may_begin();
        Some(match &mut self.state {
            State::Login => Question::Login(self.capabilities.mechanisms.clone()),
            State::Challenged(challenge) => Question::Challenge(std::mem::take(challenge)),
            State::Ready(outcome) if may_begin => Question::Next(outcome.take()),
            State::Ready(outcome) => Question::Last(outcome.take()),
            State::Failed(failure) => Question::Failed(failure.clone()),
            State::Converting(_) => Question::Converting,
            State::Content(transaction, _) => {
                let first = !std::mem::replace(&mut transaction.has_content, true);
                Question::Content { first, converted: transaction.converted }
            }
            State::Ahead(..) => Question::Ahead,
            State::Done(outcome, _) => Question::Done(outcome.clone()),
            _ => return None,
        })
    }
}

impl Engine for Client {
    type Question = Question;
    type Answer = Answer;

    fn next<'i>(&mut self, input: &mut &'i [u8], output: &mut Vec<u8>) -> Step<'i, Question> {
        loop {
            if let Some(question) = self.question() {
                return Step::Ask(question);
            }
            match &self.state {
                State::Closed => return Step::Close,
                State::Securing if self.secured => self.say_hello(self.options.hello, output),
                _ => {}
            }
            match self.reader.next(input) {
                Ok(None) => return Step::NeedInput,
                Ok(Some(reply)) => {
                    self.reply(reply, output);
                    if matches!(self.state, State::Securing) {
                        return Step::StartTls;
                    }
                }
                Err(_) if matches!(self.state, State::Quit) => self.state = State::Closed,
                Err(error) => self.fail(Failure::Protocol(error)),
            }
        }
    }

    fn answer(&mut self, answer: Answer, output: &mut Vec<u8>) {
        match (std::mem::replace(&mut self.state, State::Closed), answer) {
            (State::Content(transaction, framing), Answer::Content(content)) => {
                self.content(transaction, framing, content, output);
            }
            (State::Content(transaction, framing), Answer::EndOfContent) => {
                self.end_of_content(transaction, framing, output);
            }
            (State::Ahead(transaction, chunks), answer) => {
                let following = match answer {
                    Answer::Send(envelope) => self.follow(envelope, output),
                    _ => Following::Nothing,
                };
                self.state = State::End { transaction, chunks, following };
            }
            (State::Done(_, Following::Begun(transaction)), _) => {
                self.state = State::Envelope(transaction);
            }
            (State::Done(_, Following::Later(envelope)), _) => self.begin(envelope, output),
            (State::Ready(_), Answer::Send(envelope)) if self.may_begin() => {
                self.begin(envelope, output);
            }
            (State::Converting(envelope), Answer::Convert) => {
                let transaction = Transaction::new(envelope, &self.capabilities, true);
                self.begin_round(transaction, output);
            }
            (State::Converting(envelope), Answer::Refuse(refusal)) => {
                self.refuse(&envelope, &refusal);
            }
            (State::Login, Answer::Auth(mechanism, initial)) => {
                self.send_auth(mechanism, initial.as_deref(), output);
            }
            (State::Login, _) => self.give_up_login(),
            (State::Challenged(_), Answer::Respond(response)) => {
                self.respond(response.as_deref(), output);
            }
            // Quitting in the middle of the content must not end it: the connection just closes. And
            // whoever does not speak the protocol would not say goodbye either, or take it for content.
            (State::Content(transaction, _), _) => self.left = Some(transaction.fates(false)),
            (State::Failed(Failure::Protocol(_) | Failure::Unexpected { .. }), _) => {}
            (_, _) => {
                output.extend_from_slice(b"QUIT\r\n");
                self.state = State::Quit;
            }
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
            State::Reset(_) => RESET,
            State::Envelope(transaction) if transaction.resetting => RESET,
            State::Envelope(transaction) if transaction.has_all_recipients() => {
                limits::SMTP_CLIENT_DATA_PATIENCE
            }
            State::End { .. } => limits::SMTP_CLIENT_END_PATIENCE,
            State::Quit => GOODBYE,
            _ => limits::SMTP_CLIENT_PATIENCE,
        };
        Pace::anything(patience.min(self.options.patience))
    }

    fn is_busy(&self) -> bool {
        matches!(self.state, State::Envelope(_) | State::Content(..) | State::End { .. })
    }

    fn interrupt(&mut self, _why: Interrupt, _output: &mut Vec<u8>) {
        self.left = self.fates();
        self.state = State::Closed;
    }
}
