//! The client's side of the milter protocol, version 6, for one message.
//!
//! # Theory
//!
//! A filter is asked when the content of a message is complete, so the connection passes it everything in one go:
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
//! Macros (`D`) precede each packet that has some. In the negotiation the filter names the steps that it does not
//! want, and those that it does not answer. After each other step the engine expects an answer. *Continue* leads to
//! the next step; *accept*, *reject*, *tempfail*, *discard* and a reply of the filter's own end the conversation,
//! except at a recipient, where a refusal concerns that recipient alone; *skip* ends the body early.
//!
//! The engine asks for content piece by piece ([`Question::Content`]) while it sends fields and body, and no more of it
//! than the filter wants. The caller reads [`Milter::outcome`] when the connection has ended.
//!
//! No filter may change the body, the recipients or the sender. These changes are not offered in the negotiation,
//! so a filter that depends on them gives up there; a filter that asks for one all the same does not get it, and
//! its verdict says so.

mod answers;
mod macros;
mod negotiation;
mod packet;
mod telling;

pub use negotiation::NegotiationError;
pub use packet::PacketError;

use crate::{
    changes::{CHANGES, HeaderChanges, OCTETS},
    facts::MessageFacts,
    fields::FieldReader,
    verdict::{FilterAction, FilterVerdict},
};
use bytes::Bytes;
use negotiation::Steps;
use posta_mail::{AnswerTo, Engine, EngineTicket, Interrupt, Pace, Reply, Step};
use std::{fmt, sync::Arc, time::Duration};

/// Octets of output that are sent before more is made.
const OUTPUT: usize = 64 * 1024;

/// The longest silence of a filter, if the caller sets no shorter limit.
const PATIENCE: Duration = Duration::from_secs(10 * 60);

/// A step of the conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// The two sides agree on steps and changes.
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
    /// The header section is complete.
    EndOfFields,
    /// A piece of the body.
    Body,
    /// The message is complete.
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

/// The question of the engine.
#[derive(Debug)]
pub enum Question {
    /// The next piece of the message's content, not empty; `None` at its end. A dropped ticket, as when the store
    /// cannot be read, ends the conversation.
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

/// The reason why a filter gave no verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MilterError {
    /// The connection ended before the verdict.
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
    /// The filter sent something that is not a packet.
    #[error(transparent)]
    Packet(#[from] PacketError),
    /// The filter sent a packet that does not belong there.
    #[error("at the {1} stage it answered {0:?}, which is no answer there")]
    Unexpected(char, Stage),
    /// The filter's answers exceed their limit.
    #[error("it wants more than {CHANGES} changes, or more than {OCTETS} octets of fields")]
    TooMuch,
}

/// The engine. See the module's theory.
#[derive(Debug)]
pub struct Milter {
    facts: Arc<MessageFacts>,
    state: State,
    stage: Stage,
    /// The index of the next recipient.
    recipient: usize,
    steps: Steps,
    content: Content,
    changes: HeaderChanges,
    quarantine: Option<String>,
    refused: Vec<(usize, Reply)>,
    ignored: Vec<String>,
    /// The number of packets that came at the end.
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

    /// Returns the filter's verdict.
    ///
    /// # Errors
    /// When the conversation ended without one.
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

    fn go_on(&mut self, stage: Stage) {
        (self.stage, self.state) = (stage, State::Sending);
    }
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
