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
//! | `Reset`      | 250                  | the next round, or asks what to send |
//! | `Quit`       | 221                  | closes |
//!
//! With PIPELINING (RFC 2920) MAIL, every RCPT and DATA leave together, and those of the next message
//! with the end of this one's content; without it one by one. The replies are read by the same code:
//! `Envelope` counts replies, not round trips. With CHUNKING (RFC 3030) BDAT takes DATA's place.
//!
//! A message goes in several *rounds* where the server takes only so many recipients at once (452,
//! or LIMITS, RFC 9422); the caller is asked for its content once for each.

mod capabilities;
mod login;
mod question;
mod transaction;

pub use crate::question::Recipient;
pub use capabilities::Capabilities;
pub use question::{Answer, Decision, Envelope, Failure, Options, Outcome, Question};

use crate::{command::HelloVerb, reply::ReplyReader};
use bytes::Bytes;
use login::Login;
use posta_mail::{Engine, Interrupt, Pace, Reply, Step, TlsUse, dots::DotEncoder, limits};
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
    /// Transactions begun.
    begun: usize,
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

/// How content travels.
#[derive(Debug)]
enum Framing {
    /// To the line with a single dot.
    Dots(DotEncoder),
    /// In chunks whose lengths are said. The next to be sent is kept back until it is known whether
    /// it is the last.
    Chunks { next: Option<Bytes>, sent: usize },
}

/// The message after the one under way.
#[derive(Debug)]
enum Following {
    Nothing,
    /// Its envelope is on its way.
    Begun(Box<Transaction>),
    /// It has to wait.
    Later(Envelope),
}

/// How long to wait for the answer to QUIT: nothing depends on it.
const GOODBYE: Duration = Duration::from_secs(10);

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
            begun: 0,
        }
    }

    /// What the server said it offers.
    #[must_use]
    pub const fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    fn say_hello(&mut self, verb: HelloVerb, output: &mut Vec<u8>) {
        let word = match verb {
            HelloVerb::Helo => "HELO",
            HelloVerb::Ehlo => "EHLO",
            HelloVerb::Lhlo => "LHLO",
        };
        let _ = write!(output, "{word} {}\r\n", self.options.name);
        self.state = State::Hello(verb);
    }

    fn reply(&mut self, reply: Reply, output: &mut Vec<u8>) {
        let positive = reply.code.is_positive();
        match std::mem::replace(&mut self.state, State::Closed) {
            State::Greeting if positive => self.say_hello(self.options.hello, output),
            State::Hello(_) if positive => {
                self.capabilities = Capabilities::read(&reply.text);
                self.after_hello(output);
            }
            // RFC 5321 §3.2: a server that does not know EHLO is greeted with HELO.
            State::Hello(HelloVerb::Ehlo) if reply.code.is_permanent() => {
                self.say_hello(HelloVerb::Helo, output);
            }
            State::StartTls if reply.code.get() == 220 => self.state = State::Securing,
            State::StartTls if self.options.tls == TlsUse::Required => {
                self.state = State::Failed(Failure::NoTls);
            }
            State::StartTls => self.after_tls(),
            State::Greeting | State::Hello(_) => self.fail(Failure::Refused(reply)),
            State::Auth => self.auth_reply(reply),
            // What follows on this connection is not answered any more.
            State::Envelope(_) | State::Reset(_) if reply.code.get() == 421 => {
                self.fail(Failure::Closing(reply));
            }
            State::Envelope(transaction) => self.envelope_reply(transaction, reply, output),
            State::ChunkSent(mut transaction, next) => {
                if !positive {
                    transaction.decide_round(&reply);
                    return self.reset(transaction, output);
                }
                self.state =
                    State::Content(transaction, Framing::Chunks { next: Some(next), sent: 0 });
            }
            State::End { transaction, chunks, following } => {
                self.final_reply(transaction, chunks, following, reply, output);
            }
            State::Reset(transaction) => self.round_is_over(transaction, output),
            // Nothing is read in the others: they wait for an answer, or for nothing.
            _ => {}
        }
    }

    fn fail(&mut self, failure: Failure) {
        self.state = State::Failed(failure);
    }

    fn after_hello(&mut self, output: &mut Vec<u8>) {
        let offered = self.capabilities.starttls;
        match self.options.tls {
            _ if self.options.refuse_namesake && self.is_namesake() => self.fail(Failure::Namesake),
            _ if self.secured => self.after_tls(),
            TlsUse::Required if !offered => self.fail(Failure::NoTls),
            TlsUse::Required | TlsUse::IfOffered if offered => {
                output.extend_from_slice(b"STARTTLS\r\n");
                self.state = State::StartTls;
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

    fn begin_round(&mut self, transaction: Box<Transaction>, output: &mut Vec<u8>) {
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
            return self.data_reply(transaction, &reply, output);
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
                false => self.reset(transaction, output),
            };
        }
        if !transaction.pipelined {
            // Lock-step: nothing more is sent for a transaction that is decided.
            let is_over = transaction.has_all_recipients() && !transaction.wants_content();
            if is_over || answered == 0 && transaction.is_decided() {
                return self.reset(transaction, output);
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
        reply: &Reply,
        output: &mut Vec<u8>,
    ) {
        if reply.code.get() != 354 {
            transaction.decide_round(reply);
            self.reset(transaction, output);
        } else if transaction.wants_content() {
            self.begin_content(transaction);
        } else {
            // RFC 2920 §3.1: the server wants content although it refused every recipient. It gets
            // none.
            output.extend_from_slice(b".\r\n");
            self.state = State::End { transaction, chunks: 0, following: Following::Nothing };
        }
    }

    fn begin_content(&mut self, transaction: Box<Transaction>) {
        let framing = match transaction.chunked {
            true => Framing::Chunks { next: None, sent: 0 },
            false => Framing::Dots(DotEncoder::default()),
        };
        self.state = State::Content(transaction, framing);
    }

    fn content(
        &mut self,
        transaction: Box<Transaction>,
        framing: Framing,
        content: Bytes,
        output: &mut Vec<u8>,
    ) {
        let framing = match framing {
            framing if content.is_empty() => framing,
            Framing::Dots(mut encoder) => {
                encoder.push(&content, output);
                Framing::Dots(encoder)
            }
            Framing::Chunks { next: None, sent } => Framing::Chunks { next: Some(content), sent },
            Framing::Chunks { next: Some(chunk), sent } => {
                write_chunk(&chunk, "", output);
                if !transaction.pipelined {
                    self.state = State::ChunkSent(transaction, content);
                    return;
                }
                Framing::Chunks { next: Some(content), sent: sent + 1 }
            }
        };
        self.state = State::Content(transaction, framing);
    }

    fn end_of_content(
        &mut self,
        transaction: Box<Transaction>,
        framing: Framing,
        output: &mut Vec<u8>,
    ) {
        let chunks = match framing {
            Framing::Dots(encoder) => {
                encoder.finish(output);
                0
            }
            Framing::Chunks { next, sent } => {
                write_chunk(&next.unwrap_or_default(), " LAST", output);
                sent
            }
        };
        // What would be sent ahead of a second round would have to wait for it.
        self.state = if transaction.pipelined && transaction.is_last_round() && self.may_begin() {
            State::Ahead(transaction, chunks)
        } else {
            State::End { transaction, chunks, following: Following::Nothing }
        };
    }

    /// Sends an envelope together with the end of the content before it.
    fn follow(&mut self, envelope: Envelope, output: &mut Vec<u8>) -> Following {
        if self.capabilities.objection(&envelope, self.secured).is_some()
            || self.capabilities.must_convert(&envelope)
        {
            return Following::Later(envelope);
        }
        let mut transaction = Transaction::new(envelope, &self.capabilities, false);
        if transaction.chunked {
            // RFC 3030 §2: if a chunk is refused, nothing else ends that transaction.
            output.extend_from_slice(b"RSET\r\n");
            transaction.resetting = true;
        }
        self.write_round(&transaction, output);
        Following::Begun(transaction)
    }

    fn final_reply(
        &mut self,
        mut transaction: Box<Transaction>,
        chunks: usize,
        following: Following,
        reply: Reply,
        output: &mut Vec<u8>,
    ) {
        let is_refused = !reply.code.is_positive();
        if let Some(chunks) = chunks.checked_sub(1) {
            if is_refused {
                transaction.decide_round(&reply);
            }
            self.state = State::End { transaction, chunks, following };
            return;
        }
        if self.options.hello == HelloVerb::Lhlo {
            transaction.decide_next(reply);
            if transaction.wants_content() {
                self.state = State::End { transaction, chunks, following };
                return;
            }
        } else {
            transaction.decide_round(&reply);
        }
        match following {
            Following::Nothing if is_refused && transaction.chunked => {
                self.reset(transaction, output);
            }
            Following::Nothing => self.round_is_over(transaction, output),
            following => {
                self.state = State::Done(transaction.outcome(&self.capabilities), following)
            }
        }
    }

    /// The transaction is still open over there, and must not reach into the next one.
    fn reset(&mut self, transaction: Box<Transaction>, output: &mut Vec<u8>) {
        output.extend_from_slice(b"RSET\r\n");
        self.state = State::Reset(transaction);
    }

    fn round_is_over(&mut self, mut transaction: Box<Transaction>, output: &mut Vec<u8>) {
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

fn write_chunk(chunk: &[u8], last: &str, output: &mut Vec<u8>) {
    let _ = write!(output, "BDAT {}{last}\r\n", chunk.len());
    output.extend_from_slice(chunk);
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
            // whoever does not speak the protocol would not say goodbye either.
            (State::Content(..) | State::Failed(Failure::Protocol(_)), _) => {}
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
        self.state = State::Closed;
    }
}
