//! The client's side of an SMTP or LMTP session: the mirror of [`crate::server`].
//!
//! # Theory
//!
//! The client follows the server's greeting through its hello (and STARTTLS, where it is wanted) to
//! the state in which it asks [`Question::Next`]. Each transaction ends with that question again,
//! which carries the [`Outcome`]: one reply for each recipient, whatever the stage at which it was
//! decided. A session that cannot be used ends with [`Question::Failed`].
//!
//! | state       | waits for            | then |
//! |-------------|----------------------|------|
//! | `Greeting`  | 220                  | sends the hello |
//! | `Hello`     | 250                  | STARTTLS, or asks what to send |
//! | `StartTls`  | 220                  | negotiates (`Securing`), says hello again |
//! | `Envelope`  | the replies to MAIL, RCPT…, DATA | asks for content |
//! | `Content`   | the caller's content | sends the end |
//! | `End`       | the final reply (LMTP: one a recipient) | asks what to send |
//! | `Reset`     | 250                  | asks what to send |
//! | `Quit`      | 221                  | closes |
//!
//! With PIPELINING (RFC 2920) MAIL, every RCPT and DATA leave together; without it one by one. The
//! replies are read by the same code: `Envelope` counts replies, not round trips.

pub use crate::question::Recipient;

use crate::{
    command::HelloVerb,
    reply::{ReplyError, ReplyReader},
};
use bytes::Bytes;
use posta_mail::{
    Engine, ForwardPath, Interrupt, Pace, Reply, ReversePath, Step, TlsUse,
    dots::DotEncoder,
    envelope::{Body, Late, MailParameters, Return},
    limits,
};
use std::{io::Write as _, time::Duration};

/// How a client behaves.
#[derive(Debug, Clone)]
pub struct Options {
    /// Its name for itself, in the hello.
    pub name: String,
    /// HELO, EHLO or LHLO. After a refused EHLO it says HELO.
    pub hello: HelloVerb,
    /// Whether to use STARTTLS.
    pub tls: TlsUse,
    /// How long any wait for the server may last; below it the times of RFC 5321 §4.5.3.2 hold.
    pub patience: Duration,
}

impl Options {
    /// A client of this name, as patient as RFC 5321 §4.5.3.2 asks for.
    #[must_use]
    pub fn new(name: impl Into<String>, hello: HelloVerb, tls: TlsUse) -> Self {
        Self { name: name.into(), hello, tls, patience: limits::SMTP_CLIENT_END_PATIENCE }
    }
}

/// What goes on a message's envelope.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    /// Where reports go.
    pub reverse_path: ReversePath,
    /// Where the message goes. At least one.
    pub recipients: Vec<Recipient>,
    /// What else there is to say of it. What the server does not know is left out if nothing
    /// depends on it, as wishes for reports; else the message is refused here.
    pub parameters: MailParameters,
}

impl From<ForwardPath> for Recipient {
    fn from(path: ForwardPath) -> Self {
        Self { path, parameters: Default::default() }
    }
}

/// How a transaction ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The decisive reply for each recipient of the envelope, in its order.
    pub recipients: Vec<Reply>,
}

/// Why a session cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// The server refuses to talk.
    Refused(Reply),
    /// The server does not offer STARTTLS, which [`TlsUse::Required`] asks for.
    NoTls,
    /// The server does not speak the protocol.
    Protocol(ReplyError),
}

/// What the caller is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Question {
    /// What to do next. Answered by [`Answer::Send`] or [`Answer::Quit`]. Carries the outcome of
    /// the transaction before, if there was one.
    Next(Option<Outcome>),
    /// The next piece of the content: [`Answer::Content`], and [`Answer::EndOfContent`] at its end.
    Content,
    /// The session is of no use. Answered by [`Answer::Quit`].
    Failed(Failure),
}

/// The answer to a [`Question`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Send a message with this envelope.
    Send(Envelope),
    /// A piece of its content, as it is kept: without dot-transparency, lines ending in CRLF.
    Content(Bytes),
    /// There is no more.
    EndOfContent,
    /// End the session.
    Quit,
}

/// What the server offers (RFC 5321 §4.1.1.1).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// PIPELINING.
    pub pipelining: bool,
    /// 8BITMIME.
    pub eight_bit_mime: bool,
    /// SMTPUTF8.
    pub utf8: bool,
    /// STARTTLS.
    pub starttls: bool,
    /// DSN: wishes for reports are passed on.
    pub dsn: bool,
    /// REQUIRETLS.
    pub require_tls: bool,
    /// DELIVERBY.
    pub deliver_by: bool,
    /// MT-PRIORITY.
    pub priority: bool,
    /// SIZE, and its limit if it names one.
    pub size: Option<Option<u64>>,
}

/// The engine. See the module's theory.
#[derive(Debug)]
pub struct Client {
    options: Options,
    state: State,
    reader: ReplyReader,
    capabilities: Capabilities,
    secured: bool,
}

#[derive(Debug)]
enum State {
    Greeting,
    Hello(HelloVerb),
    StartTls,
    /// The server said 220 to STARTTLS.
    Securing,
    /// To be asked, or asked and not answered.
    Ready(Option<Outcome>),
    Failed(Failure),
    Envelope(Exchange),
    Content(Exchange, DotEncoder),
    End(Exchange),
    Reset(Outcome),
    Quit,
    Closed,
}

/// A transaction under way.
#[derive(Debug)]
struct Exchange {
    envelope: Envelope,
    pipelined: bool,
    /// Replies read: 0 waits for MAIL's, then one for each recipient, then DATA's.
    replies: usize,
    /// What is decided so far, recipient by recipient.
    decided: Vec<Option<Reply>>,
}

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
        }
    }

    /// What the server said it offers.
    #[must_use]
    pub const fn capabilities(&self) -> Capabilities {
        self.capabilities
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
            State::Hello(_) if positive => self.after_hello(&reply, output),
            // RFC 5321 §3.2: a server that does not know EHLO is greeted with HELO.
            State::Hello(HelloVerb::Ehlo) if reply.code.is_permanent() => {
                self.say_hello(HelloVerb::Helo, output);
            }
            State::StartTls if reply.code.get() == 220 => self.state = State::Securing,
            State::Greeting | State::Hello(_) | State::StartTls => {
                self.state = State::Failed(Failure::Refused(reply));
            }
            State::Envelope(exchange) => self.envelope_reply(exchange, reply, output),
            State::End(exchange) => self.final_reply(exchange, reply),
            State::Reset(outcome) => self.state = State::Ready(Some(outcome)),
            closed @ (State::Ready(_)
            | State::Failed(_)
            | State::Content(..)
            | State::Securing
            | State::Quit
            | State::Closed) => {
                debug_assert!(!matches!(closed, State::Ready(_) | State::Content(..)));
            }
        }
    }

    fn after_hello(&mut self, reply: &Reply, output: &mut Vec<u8>) {
        self.capabilities = Capabilities::read(&reply.text);
        let offered = self.capabilities.starttls;
        match self.options.tls {
            _ if self.secured => self.state = State::Ready(None),
            TlsUse::Required if !offered => self.state = State::Failed(Failure::NoTls),
            TlsUse::Required | TlsUse::IfOffered if offered => {
                output.extend_from_slice(b"STARTTLS\r\n");
                self.state = State::StartTls;
            }
            TlsUse::Never | TlsUse::IfOffered | TlsUse::Required => self.state = State::Ready(None),
        }
    }

    fn begin(&mut self, envelope: Envelope, output: &mut Vec<u8>) {
        let recipients = envelope.recipients.len();
        if let Some(refusal) = self.objection(&envelope) {
            self.state = State::Ready(Some(Outcome { recipients: vec![refusal; recipients] }));
            return;
        }
        let exchange = Exchange {
            pipelined: self.capabilities.pipelining,
            replies: 0,
            decided: vec![None; recipients],
            envelope,
        };
        self.write_mail(&exchange.envelope, output);
        if exchange.pipelined {
            for recipient in &exchange.envelope.recipients {
                self.write_recipient(recipient, output);
            }
            output.extend_from_slice(b"DATA\r\n");
        }
        self.state = State::Envelope(exchange);
    }

    /// Why the server would not do with the message as it must be done.
    fn objection(&self, envelope: &Envelope) -> Option<Reply> {
        let Capabilities { eight_bit_mime, utf8, require_tls, size, .. } = self.capabilities;
        let limit = size.flatten().filter(|&limit| limit > 0);
        let parameters = &envelope.parameters;
        match parameters.body {
            Body::EightBitMime if !eight_bit_mime => {
                return Some(Reply::new(554, (5, 6, 3), "The server does not take 8-bit content"));
            }
            Body::BinaryMime => {
                return Some(Reply::new(554, (5, 6, 3), "Binary content is not sent on"));
            }
            Body::EightBitMime | Body::SevenBit => {}
        }
        if !utf8 && (parameters.utf8 || !envelope.is_ascii()) {
            Some(Reply::new(553, (5, 6, 7), "The server takes no addresses outside ASCII"))
        } else if parameters.require_tls && !(self.secured && require_tls) {
            // RFC 8689 §4.2.1.
            Some(Reply::new(550, (5, 7, 30), "The server does not promise to keep to TLS"))
        } else if parameters.size.zip(limit).is_some_and(|(size, limit)| size > limit) {
            Some(Reply::new(552, (5, 3, 4), "The message exceeds what the server takes"))
        } else {
            None
        }
    }

    fn write_mail(&self, envelope: &Envelope, output: &mut Vec<u8>) {
        let _ = write!(output, "MAIL FROM:{}", envelope.reverse_path);
        let known = self.capabilities;
        let MailParameters {
            size, body, utf8, ret, envelope_id, require_tls, by, priority, ..
        } = &envelope.parameters;
        if let (Some(size), Some(_)) = (size, known.size) {
            let _ = write!(output, " SIZE={size}");
        }
        if *body == Body::EightBitMime {
            output.extend_from_slice(b" BODY=8BITMIME");
        }
        if *utf8 || !envelope.is_ascii() {
            output.extend_from_slice(b" SMTPUTF8");
        }
        if *require_tls {
            output.extend_from_slice(b" REQUIRETLS");
        }
        if known.dsn {
            if let Some(ret) = ret {
                let word = if *ret == Return::Full { "FULL" } else { "HDRS" };
                let _ = write!(output, " RET={word}");
            }
            if let Some(id) = envelope_id {
                let _ = write!(output, " ENVID={id}");
            }
        }
        if let (Some(by), true) = (by, known.deliver_by) {
            let mode = if by.late == Late::Return { 'R' } else { 'N' };
            let _ = write!(output, " BY={};{mode}", by.seconds);
        }
        if let (Some(priority), true) = (priority, known.priority) {
            let _ = write!(output, " MT-PRIORITY={priority}");
        }
        output.extend_from_slice(b"\r\n");
    }

    fn write_recipient(&self, recipient: &Recipient, output: &mut Vec<u8>) {
        let _ = write!(output, "RCPT TO:{}", recipient.path);
        if self.capabilities.dsn {
            if let Some(notify) = recipient.parameters.notify {
                let _ = write!(output, " NOTIFY={notify}");
            }
            if let Some(original) = &recipient.parameters.original {
                let _ = write!(output, " ORCPT={original}");
            }
        }
        output.extend_from_slice(b"\r\n");
    }

    fn envelope_reply(&mut self, mut exchange: Exchange, reply: Reply, output: &mut Vec<u8>) {
        let recipients = exchange.envelope.recipients.len();
        let answered = exchange.replies;
        exchange.replies += 1;
        match answered {
            0 if !reply.code.is_positive() => exchange.decide_all(&reply),
            0 => {}
            _ if answered <= recipients => {
                if !reply.code.is_positive() {
                    exchange.decided[answered - 1].get_or_insert(reply);
                }
            }
            _ => return self.data_reply(exchange, reply, output),
        }
        if !exchange.pipelined {
            // Lock-step: nothing more is sent for a transaction that is decided.
            if exchange.is_decided() && (answered == 0 || answered == recipients) {
                output.extend_from_slice(b"RSET\r\n");
                self.state = State::Reset(exchange.outcome());
                return;
            }
            match exchange.envelope.recipients.get(answered) {
                Some(recipient) => self.write_recipient(recipient, output),
                None => output.extend_from_slice(b"DATA\r\n"),
            }
        }
        self.state = State::Envelope(exchange);
    }

    fn data_reply(&mut self, mut exchange: Exchange, reply: Reply, output: &mut Vec<u8>) {
        if reply.code.get() != 354 {
            // The transaction is still open over there, and must not reach into the next one.
            exchange.decide_all(&reply);
            output.extend_from_slice(b"RSET\r\n");
            self.state = State::Reset(exchange.outcome());
        } else if exchange.is_decided() {
            // RFC 2920 §3.1: the server wants content although it refused every recipient. It gets
            // none.
            output.extend_from_slice(b".\r\n");
            self.state = State::End(exchange);
        } else {
            self.state = State::Content(exchange, DotEncoder::default());
        }
    }

    fn final_reply(&mut self, mut exchange: Exchange, reply: Reply) {
        if self.options.hello == HelloVerb::Lhlo {
            // RFC 2033 §4.2: a reply for each recipient that was accepted, in their order.
            let undecided = |decided: &Option<Reply>| decided.is_none();
            if let Some(at) = exchange.decided.iter().position(undecided) {
                exchange.decided[at] = Some(reply);
            }
            if !exchange.is_decided() {
                self.state = State::End(exchange);
                return;
            }
        } else {
            exchange.decide_all(&reply);
        }
        self.state = State::Ready(Some(exchange.outcome()));
    }
}

impl Envelope {
    /// Whether its addresses can travel without SMTPUTF8.
    fn is_ascii(&self) -> bool {
        let recipient = |recipient: &Recipient| match &recipient.path {
            ForwardPath::Postmaster => true,
            ForwardPath::Address(address) => address.is_ascii(),
        };
        let sender = match &self.reverse_path {
            ReversePath::Null => true,
            ReversePath::Address(address) => address.is_ascii(),
        };
        sender && self.recipients.iter().all(recipient)
    }
}

impl Exchange {
    fn is_decided(&self) -> bool {
        self.decided.iter().all(Option::is_some)
    }

    fn decide_all(&mut self, reply: &Reply) {
        for decided in &mut self.decided {
            decided.get_or_insert_with(|| reply.clone());
        }
    }

    fn outcome(self) -> Outcome {
        Outcome { recipients: self.decided.into_iter().flatten().collect() }
    }
}

impl Capabilities {
    /// Reads the lines of the reply to EHLO; the first is the server's name.
    fn read(text: &str) -> Self {
        let mut known = Self::default();
        for line in text.lines().skip(1) {
            let mut words = line.split_ascii_whitespace();
            match words.next().unwrap_or_default().to_ascii_uppercase().as_str() {
                "PIPELINING" => known.pipelining = true,
                "8BITMIME" => known.eight_bit_mime = true,
                "SMTPUTF8" => known.utf8 = true,
                "STARTTLS" => known.starttls = true,
                "DSN" => known.dsn = true,
                "REQUIRETLS" => known.require_tls = true,
                "DELIVERBY" => known.deliver_by = true,
                "MT-PRIORITY" => known.priority = true,
                "SIZE" => known.size = Some(words.next().and_then(|limit| limit.parse().ok())),
                _ => {}
            }
        }
        known
    }
}

impl Engine for Client {
    type Question = Question;
    type Answer = Answer;

    fn next<'i>(&mut self, input: &mut &'i [u8], output: &mut Vec<u8>) -> Step<'i, Question> {
        loop {
            match &mut self.state {
                State::Ready(outcome) => return Step::Ask(Question::Next(outcome.take())),
                State::Failed(failure) => return Step::Ask(Question::Failed(failure.clone())),
                State::Content(..) => return Step::Ask(Question::Content),
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
                Err(error) => self.state = State::Failed(Failure::Protocol(error)),
            }
        }
    }

    fn answer(&mut self, answer: Answer, output: &mut Vec<u8>) {
        match (std::mem::replace(&mut self.state, State::Closed), answer) {
            (State::Content(exchange, mut encoder), Answer::Content(content)) => {
                encoder.push(&content, output);
                self.state = State::Content(exchange, encoder);
            }
            (State::Content(exchange, encoder), Answer::EndOfContent) => {
                encoder.finish(output);
                self.state = State::End(exchange);
            }
            (State::Ready(_), Answer::Send(envelope)) => self.begin(envelope, output),
            // Quitting in the middle of the content must not end it: the connection just closes.
            (State::Content(..), _) => {}
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
        let patience = match self.state {
            State::Envelope(_) => limits::SMTP_CLIENT_DATA_PATIENCE,
            State::End(_) => limits::SMTP_CLIENT_END_PATIENCE,
            _ => limits::SMTP_CLIENT_PATIENCE,
        };
        Pace::anything(patience.min(self.options.patience))
    }

    fn is_busy(&self) -> bool {
        matches!(self.state, State::Envelope(_) | State::Content(..) | State::End(_))
    }

    fn interrupt(&mut self, _why: Interrupt, _output: &mut Vec<u8>) {
        self.state = State::Closed;
    }
}
