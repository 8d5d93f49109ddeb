//! The client's side of the milter protocol, version 6, for one message.
//!
//! # Theory
//!
//! A filter is asked once the content of a message has come whole, so the connection tells it everything in a row:
//!
//! | stage         | packet | what follows |
//! |---------------|--------|--------------|
//! | `Negotiation` | `O`    | the steps and changes that both sides know |
//! | `Connect`     | `C`    | the client's name and address |
//! | `Hello`       | `H`    | |
//! | `Mail`        | `M`    | the reverse-path |
//! | `Recipient`   | `R`    | once for each recipient |
//! | `Data`        | `T`    | |
//! | `Field`       | `L`    | once for each field of the header section |
//! | `EndOfFields` | `N`    | |
//! | `Body`        | `B`    | once for each 65,535 octets |
//! | `End`         | `E`    | changes, then the answer |
//!
//! Macros (`D`) go before each packet that has some. In the negotiation the filter says which steps it does not want,
//! and which it does not answer. After each other step the engine expects an answer. *Continue* leads to the next
//! step; *accept*, *reject*, *tempfail*, *discard* and a reply of the filter's own end the conversation, except at a
//! recipient, where refusing is about that one alone; *skip* ends the body early.
//!
//! The engine asks for content piece by piece ([`Question::Content`]) while it sends fields and body, and no more of it
//! than the filter wants. Whoever drives it reads [`Milter::outcome`] when the connection has ended.
//!
//! What no filter gets: a new body, other recipients, another sender. They are not offered in the negotiation, so a
//! filter that cannot do without gives up there; one that asks all the same is not obeyed, and its verdict says so.

mod macros;
mod negotiation;
mod packet;

pub use negotiation::NegotiationError;
pub use packet::PacketError;

use crate::{
    changes::{CHANGES, HeaderChanges, OCTETS},
    facts::MessageFacts,
    fields::{FIELD, FieldReader, NextField, field_name, field_value},
    verdict::{FilterAction, FilterVerdict, one_line},
};
use bytes::Bytes;
use negotiation::Steps;
use packet::{CHUNK, MilterResponse, Modification};
use posta_mail::{AnswerTo, Engine, EngineTicket, Interrupt, Pace, Reply, Step};
use std::{fmt, net::IpAddr, sync::Arc, time::Duration};

/// Octets of output that are sent before more is made.
const OUTPUT: usize = 64 * 1024;

/// Octets of a field that a filter is shown: a packet of libmilter has no room for more.
const SHOWN: usize = FIELD - 1_024;

/// How long a filter may be silent, where whoever drives the engine sets no shorter limit.
const PATIENCE: Duration = Duration::from_secs(10 * 60);

/// Packets that a filter may answer with at the end of a message, against one that never ends.
const PACKETS: usize = 10 * CHANGES;

/// A step of the conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// The two sides agree on what they know.
    Negotiation,
    /// The client has connected.
    Connect,
    /// The client has named itself.
    Hello,
    /// The sender.
    Mail,
    /// A recipient.
    Recipient,
    /// The content begins.
    Data,
    /// A field of the header section.
    Field,
    /// The header section is over.
    EndOfFields,
    /// A piece of the body.
    Body,
    /// The message is over.
    End,
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Negotiation => "negotiation",
            Self::Connect => "connect",
            Self::Hello => "helo",
            Self::Mail => "mail",
            Self::Recipient => "rcpt",
            Self::Data => "data",
            Self::Field => "header",
            Self::EndOfFields => "end of header",
            Self::Body => "body",
            Self::End => "end of message",
        })
    }
}

/// What the engine needs from outside.
#[derive(Debug)]
pub enum Question {
    /// The next piece of the message's content, not empty; `None` if it is over. A ticket that is dropped, as when
    /// the store cannot be read, ends the conversation.
    Content(EngineTicket<Milter, Option<Bytes>>),
}

/// An answer to a [`Question`], as its ticket made it.
#[derive(Debug)]
pub struct Answer(Option<Bytes>);

impl AnswerTo<Milter> for Option<Bytes> {
    type Asked = ();

    fn to(self, (): ()) -> Answer {
        Answer(self)
    }
}

/// Why a filter came to no verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MilterError {
    /// The connection ended before.
    #[error("it closed the connection at the {0} stage")]
    Closed(Stage),
    /// The connection ended in the negotiation.
    #[error(
        "it closed the connection at once: it may want to change bodies or recipients, which no filter may"
    )]
    Unwilling,
    /// The two sides do not agree.
    #[error(transparent)]
    Negotiation(#[from] NegotiationError),
    /// Something came that is no packet.
    #[error(transparent)]
    Packet(#[from] PacketError),
    /// A packet came that does not belong there.
    #[error("at the {1} stage it answered {0:?}, which is no answer there")]
    Unexpected(char, Stage),
    /// The filter's answers do not end.
    #[error("it wants more than {CHANGES} changes, or more than {OCTETS} octets of fields")]
    TooMuch,
}

/// The engine. See the module's theory.
#[derive(Debug)]
pub struct Milter {
    facts: Arc<MessageFacts>,
    state: State,
    stage: Stage,
    /// The recipient that is told of next.
    recipient: usize,
    steps: Steps,
    content: Content,
    changes: HeaderChanges,
    quarantine: Option<String>,
    refused: Vec<(usize, Reply)>,
    ignored: Vec<String>,
    /// Packets that came at the end.
    packets: usize,
    outcome: Option<Result<FilterVerdict, MilterError>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// An answer of the filter; if it is to go on, this stage is next.
    Expecting(Stage),
    /// The stage's next packet is to be made.
    Sending,
    /// Content is being asked for.
    Asked,
    Closed,
}

/// The content, as far as it has been asked for.
#[derive(Debug)]
struct Content {
    /// None once the header section is over.
    reader: Option<FieldReader>,
    piece: Bytes,
    is_over: bool,
}

impl Milter {
    /// Returns an engine for a new connection, about one message.
    #[must_use]
    pub fn new(facts: Arc<MessageFacts>) -> Self {
        Self {
            facts,
            state: State::Sending,
            stage: Stage::Negotiation,
            recipient: 0,
            steps: Steps::default(),
            content: Content {
                reader: Some(FieldReader::default()),
                piece: Bytes::new(),
                is_over: false,
            },
            changes: HeaderChanges::default(),
            quarantine: None,
            refused: Vec::new(),
            ignored: Vec::new(),
            packets: 0,
            outcome: None,
        }
    }

    /// Returns what the filter decided.
    ///
    /// # Errors
    /// When the conversation ended before the filter had decided.
    pub fn outcome(self) -> Result<FilterVerdict, MilterError> {
        let closed = match self.stage {
            Stage::Negotiation => MilterError::Unwilling,
            stage => MilterError::Closed(stage),
        };
        self.outcome.unwrap_or(Err(closed))
    }

    fn end(&mut self, outcome: Result<FilterVerdict, MilterError>, output: &mut Vec<u8>) {
        packet::put(output, b'Q', |_| ());
        self.outcome = Some(outcome);
        self.state = State::Closed;
    }

    fn decide(&mut self, action: FilterAction, said: &str, output: &mut Vec<u8>) {
        let mut verdict = FilterVerdict::new(action, said);
        verdict.ignored = std::mem::take(&mut self.ignored);
        self.end(Ok(verdict), output);
    }

    /// Takes an answer of the filter.
    fn take(&mut self, letter: u8, data: &[u8], then: Stage, output: &mut Vec<u8>) {
        if self.stage == Stage::Negotiation {
            let chosen = match letter {
                b'O' => negotiation::chosen(data).map_err(MilterError::from),
                other => Err(MilterError::Unexpected(other.into(), self.stage)),
            };
            match chosen {
                Ok(steps) => {
                    self.steps = steps;
                    self.go_on(then);
                }
                Err(error) => self.end(Err(error), output),
            }
            return;
        }
        let unexpected = MilterError::Unexpected(letter.into(), self.stage);
        match packet::response(letter, data) {
            Some(MilterResponse::Continue) if self.stage == Stage::End => self.accept(output),
            Some(MilterResponse::Continue) => self.go_on(then),
            Some(MilterResponse::Accept) => self.accept(output),
            Some(MilterResponse::Progress) => self.count(output),
            Some(MilterResponse::Skip) if self.stage == Stage::Body => self.go_on(Stage::End),
            Some(MilterResponse::Discard) => {
                self.decide(FilterAction::Junk, "discard: it goes to Junk", output);
            }
            Some(MilterResponse::Refuse(reply)) if self.stage == Stage::Recipient => {
                self.refuse_recipient(reply, output);
            }
            Some(MilterResponse::Refuse(reply)) => self.refuse(reply, output),
            Some(MilterResponse::Modification(it)) if self.stage == Stage::End => {
                self.modify(it, output)
            }
            Some(MilterResponse::Skip | MilterResponse::Modification(_)) | None => {
                self.end(Err(unexpected), output);
            }
        }
    }

    fn refuse(&mut self, reply: Reply, output: &mut Vec<u8>) {
        let said = format!("refused: {reply}");
        self.decide(FilterAction::Refuse(reply), &said, output);
    }

    /// Notes that a recipient is refused. Where all are, the message is.
    fn refuse_recipient(&mut self, reply: Reply, output: &mut Vec<u8>) {
        // To a sender that tries again, each recipient may be told something else then.
        if reply.code.is_transient() || self.refused.len() + 1 == self.facts.recipients.len() {
            return self.refuse(reply, output);
        }
        self.refused.push((self.recipient - 1, reply));
        self.state = State::Sending;
    }

    fn modify(&mut self, modification: Modification, output: &mut Vec<u8>) {
        match modification {
            Modification::Add(field) => self.changes.added.push(field),
            Modification::Insert(field) => self.changes.added.insert(0, field),
            Modification::Edit(edit) => self.changes.edits.push(edit),
            Modification::Quarantine(reason) => self.quarantine = Some(one_line(&reason)),
            Modification::Ignored(words) => self.ignored.push(words),
        }
        self.count(output);
    }

    fn count(&mut self, output: &mut Vec<u8>) {
        self.packets += 1;
        let is_much = self.changes.are_too_many() || self.ignored.len() > CHANGES;
        if is_much || self.packets > PACKETS {
            self.end(Err(MilterError::TooMuch), output);
        }
    }

    /// The filter has nothing against the message.
    fn accept(&mut self, output: &mut Vec<u8>) {
        let (action, said) = match self.quarantine.take() {
            Some(reason) => {
                let said = format!("quarantine: {reason}");
                (FilterAction::Quarantine(reason), said)
            }
            None => (FilterAction::Accept, "accepted".to_owned()),
        };
        let recipient = |at: usize| self.facts.recipients.get(at).cloned();
        let refused = std::mem::take(&mut self.refused).into_iter();
        let verdict = FilterVerdict {
            changes: std::mem::take(&mut self.changes),
            refused: refused.filter_map(|(at, reply)| Some((recipient(at)?, reply))).collect(),
            ignored: std::mem::take(&mut self.ignored),
            ..FilterVerdict::new(action, said)
        };
        self.end(Ok(verdict), output);
    }

    fn go_on(&mut self, stage: Stage) {
        (self.stage, self.state) = (stage, State::Sending);
    }

    /// Makes the packet of the present stage, or goes on to the next stage. Returns whether content is needed first.
    fn send(&mut self, output: &mut Vec<u8>) -> bool {
        let facts = self.facts.clone();
        match self.stage {
            Stage::Negotiation => {
                negotiation::offer(output);
                self.state = State::Expecting(Stage::Connect);
            }
            Stage::Connect => {
                self.step((b'C', Stage::Hello), output, |output| connect(&facts, output))
            }
            Stage::Hello => self.step((b'H', Stage::Mail), output, |output| {
                packet::put_text(output, facts.hello.as_bytes());
            }),
            Stage::Mail => self.step((b'M', Stage::Recipient), output, |output| {
                packet::put_text(output, format!("<{}>", facts.sender_address()).as_bytes());
                packet::put_text(output, format!("SIZE={}", facts.octets).as_bytes());
            }),
            Stage::Recipient => match facts.recipients.get(self.recipient) {
                None => self.go_on(Stage::Data),
                Some(address) => {
                    self.step((b'R', Stage::Recipient), output, |output| {
                        packet::put_text(output, format!("<{address}>").as_bytes());
                    });
                    self.recipient += 1;
                }
            },
            Stage::Data => self.step((b'T', Stage::Field), output, |_| ()),
            Stage::Field => return self.send_field(output),
            Stage::EndOfFields => self.step((b'N', Stage::Body), output, |_| ()),
            Stage::Body => return self.send_body(output),
            Stage::End => self.step((b'E', Stage::End), output, |_| ()),
        }
        false
    }

    /// Makes a packet of the present stage, if the filter wants it. The stage `then` follows, at once where the filter
    /// does not answer.
    fn step(
        &mut self,
        (letter, then): (u8, Stage),
        output: &mut Vec<u8>,
        write: impl FnOnce(&mut Vec<u8>),
    ) {
        if !self.steps.has(self.stage) {
            return self.go_on(then);
        }
        let recipient = self.facts.recipients.get(self.recipient);
        macros::put(output, self.stage, letter, &self.facts, recipient);
        packet::put(output, letter, write);
        match self.steps.is_answered(self.stage) {
            true => self.state = State::Expecting(then),
            false => self.go_on(then),
        }
    }

    fn send_field(&mut self, output: &mut Vec<u8>) -> bool {
        let Some(reader) = &mut self.content.reader else {
            self.go_on(Stage::EndOfFields);
            return false;
        };
        let mut piece = &self.content.piece[..];
        let next = match self.content.is_over {
            true => reader.finish(),
            false => reader.next(&mut piece),
        };
        let taken = self.content.piece.len() - piece.len();
        let _ = self.content.piece.split_to(taken);
        match next {
            NextField::More => return true,
            NextField::Field(field) => {
                let keeps_space = self.steps.keeps_space();
                self.step((b'L', Stage::Field), output, |output| {
                    put_field(&field, keeps_space, output)
                });
            }
            NextField::Body(body) => {
                self.content.reader = None;
                if !body.beginning.is_empty() {
                    self.content.piece = [&body.beginning[..], &self.content.piece].concat().into();
                }
                self.go_on(Stage::EndOfFields);
            }
        }
        false
    }

    fn send_body(&mut self, output: &mut Vec<u8>) -> bool {
        if !self.steps.has(Stage::Body) {
            self.go_on(Stage::End);
            return false;
        }
        if self.content.piece.is_empty() {
            if self.content.is_over {
                self.go_on(Stage::End);
            }
            return !self.content.is_over;
        }
        let length = self.content.piece.len().min(CHUNK);
        let chunk = self.content.piece.split_to(length);
        self.step((b'B', Stage::Body), output, |output| output.extend_from_slice(&chunk));
        false
    }
}

/// Writes who the client is: the name, the family of the address, the port and the address.
fn connect(facts: &MessageFacts, output: &mut Vec<u8>) {
    packet::put_text(output, facts.client_host().as_bytes());
    let Some(ip) = facts.client.ip() else { return output.push(b'U') };
    output.push(if ip.is_ipv4() { b'4' } else { b'6' });
    // The port is known to nobody any more; filters only print it.
    output.extend_from_slice(&0_u16.to_be_bytes());
    let address = match ip {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("IPv6:{ip}"),
    };
    packet::put_text(output, address.as_bytes());
}

/// Writes a field: its lines end in LF, as sendmail has it.
fn put_field(field: &[u8], keeps_space: bool, output: &mut Vec<u8>) {
    packet::put_text(output, field_name(field).unwrap_or_default());
    let value = field_value(field);
    let value = if keeps_space { value } else { value.strip_prefix(b" ").unwrap_or(value) };
    let value = &value[..value.len().min(SHOWN)];
    let mut lines = Vec::with_capacity(value.len());
    for (at, &octet) in value.iter().enumerate() {
        if octet != b'\r' || value.get(at + 1) != Some(&b'\n') {
            lines.push(octet);
        }
    }
    packet::put_text(output, &lines);
}

impl Engine for Milter {
    type Question = Question;
    type Answer = Answer;

    fn next<'i>(&mut self, input: &mut &'i [u8], output: &mut Vec<u8>) -> Step<'i, Question> {
        loop {
            if output.len() >= OUTPUT {
                return Step::Flush;
            }
            match self.state {
                State::Sending => {
                    if self.send(output) {
                        self.state = State::Asked;
                        return Step::Ask(Question::Content(EngineTicket::new(())));
                    }
                }
                State::Expecting(then) => match packet::take(input) {
                    Ok(None) => return Step::NeedInput,
                    Ok(Some((letter, data))) => self.take(letter, data, then, output),
                    Err(error) => self.end(Err(error.into()), output),
                },
                // The ticket was dropped.
                State::Asked | State::Closed => return Step::Close,
            }
        }
    }

    fn answer(&mut self, Answer(piece): Answer, _: &mut Vec<u8>) {
        if self.state != State::Asked {
            return;
        }
        self.content.is_over = piece.is_none();
        self.content.piece = piece.unwrap_or_default();
        self.state = State::Sending;
    }

    fn secured(&mut self) {}

    fn pace(&self) -> Pace {
        Pace::anything(PATIENCE)
    }

    fn is_busy(&self) -> bool {
        self.state != State::Closed
    }

    fn interrupt(&mut self, _: Interrupt, _: &mut Vec<u8>) {
        self.state = State::Closed;
    }
}

#[cfg(test)]
mod tests;
