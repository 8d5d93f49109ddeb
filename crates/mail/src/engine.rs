//! The interface of every protocol engine, on either side of a connection.
//!
//! An engine is a pure state machine. Octets go in, steps come out. Anything that takes time or needs
//! the outside world (policy, the store, TLS) is requested with a [`Step`] and answered later. An engine
//! therefore behaves the same whether a socket drives it, a test that splits the input at every octet,
//! or a simulation.
//!
//! Two departures from the usual pair of `receive` and `next` keep engines small and quick. Input is
//! *lent*: the caller keeps the buffer and the engine advances the slice past the octets it has
//! consumed. Message content is passed on as slices of that buffer, and an idle session holds no memory.
//! Output is *appended* to the caller's buffer, so the replies to a pipelined group leave in one write
//! (RFC 2920 §3.2).
//!
//! # Questions carry the type of their answer
//!
//! A question comes with an [`EngineTicket`], which accepts one answer of the right type and nothing
//! else. The engine's state at the time of the question travels in the ticket and comes back with the
//! answer. Neither side has to handle a mismatched pair: the `match` of the caller has no catch-all arm,
//! and neither has the engine's. The engine itself remembers only that it is waiting.
//!
//! ```
//! # use posta_mail::{AnswerTo, Engine, Interrupt, Pace, Step, EngineTicket};
//! # use std::time::Duration;
//! /// Greets the guests that are known.
//! enum Porter {
//!     Reading,
//!     Asked,
//! }
//!
//! /// A question about something that the porter cannot know.
//! enum Question {
//!     IsKnown(String, EngineTicket<Porter, bool>),
//!     /// The time that the guest has to wait, in minutes.
//!     Delay(EngineTicket<Porter, u32>),
//! }
//!
//! /// Its content is private, so that only tickets can make one.
//! pub struct Answer(Answered);
//!
//! enum Answered {
//!     /// The guest's name, and whether it is known.
//!     Known(String, bool),
//!     Delay(u32),
//! }
//!
//! impl AnswerTo<Porter> for bool {
//!     type Asked = String;
//!     fn to(self, name: String) -> Answer {
//!         Answer(Answered::Known(name, self))
//!     }
//! }
//!
//! impl AnswerTo<Porter> for u32 {
//!     type Asked = ();
//!     fn to(self, (): ()) -> Answer {
//!         Answer(Answered::Delay(self))
//!     }
//! }
//!
//! impl Engine for Porter {
//!     type Question = Question;
//!     type Answer = Answer;
//!
//!     fn next<'i>(&mut self, input: &mut &'i [u8], _: &mut Vec<u8>) -> Step<'i, Question> {
//!         match self {
//!             Self::Reading if input.is_empty() => Step::NeedInput,
//!             Self::Reading => {
//!                 let name = String::from_utf8_lossy(std::mem::take(input)).into_owned();
//!                 *self = Self::Asked;
//!                 Step::Ask(Question::IsKnown(name.clone(), EngineTicket::new(name)))
//!             }
//!             // The ticket was dropped: without an answer the engine cannot continue.
//!             Self::Asked => Step::Close,
//!         }
//!     }
//!
//!     fn answer(&mut self, Answer(answered): Answer, output: &mut Vec<u8>) {
//!         *self = Self::Reading;
//!         match answered {
//!             Answered::Known(name, true) => output.extend(format!("Welcome, {name}").bytes()),
//!             Answered::Known(_, false) => output.extend(b"Who are you?"),
//!             Answered::Delay(minutes) => output.extend(format!("{minutes} minutes").bytes()),
//!         }
//!     }
//! #   fn secured(&mut self) {}
//! #   fn pace(&self) -> Pace { Pace::anything(Duration::MAX) }
//! #   fn is_busy(&self) -> bool { false }
//! #   fn interrupt(&mut self, _: Interrupt, _: &mut Vec<u8>) {}
//! }
//!
//! // The caller answers; in this example every guest is known.
//! let (mut porter, mut said) = (Porter::Reading, Vec::new());
//! let Step::Ask(question) = porter.next(&mut &b"Ana"[..], &mut said) else { panic!() };
//! let answer = match question {
//!     Question::IsKnown(name, ticket) => ticket.answer(!name.is_empty()),
//!     Question::Delay(ticket) => ticket.answer(5),
//! };
//! porter.answer(answer, &mut said);
//! assert_eq!(said, b"Welcome, Ana");
//! ```
//!
//! The wrong answer does not compile:
//!
//! ```compile_fail,E0308
//! # use posta_mail::{AnswerTo, Engine, EngineTicket};
//! fn decide<E: Engine>(ticket: EngineTicket<E, bool>) -> E::Answer
//! # where bool: AnswerTo<E>
//! {
//!     ticket.answer(5)
//! }
//! ```

use std::{fmt, marker::PhantomData, time::Duration};

/// The engine's next need.
#[derive(Debug)]
pub enum Step<'i, Question> {
    /// Send the appended output, then lend more input. Any input that the engine left unconsumed must be
    /// lent again, before the new octets.
    NeedInput,
    /// Send the appended output, then wait for input for this long. If octets arrive sooner, lend them; otherwise call
    /// [`Engine::next`] with no more input than before.
    Pause(Duration),
    /// Answer this question, and pass the answer to [`Engine::answer`] before the next call of
    /// [`Engine::next`]. A question left unanswered ends the session: the next step is [`Step::Close`].
    Ask(Question),
    /// Take the next piece of a message's content, with dot-transparency undone. No answer is needed.
    Content(&'i [u8]),
    /// Send the output, which is large enough to be worth a write, and call [`Engine::next`] again.
    Flush,
    /// Send the output, *discard the remaining input* (sent in plaintext, it may have been injected: RFC
    /// 3207 §4.2, RFC 2595 §4), negotiate TLS, then call [`Engine::secured`].
    StartTls,
    /// Send the output and close the connection.
    Close,
}

/// The reason for ending a session from outside its protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interrupt {
    /// The other side was slower than [`Engine::pace`], or its session lasted too long.
    Idle,
    /// The program is stopping.
    Stopping,
    /// There are too many sessions, in total or from this client.
    Crowded,
}

/// Whether a client starts TLS by a command: STARTTLS (RFC 3207) or STLS (RFC 2595 §4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsUse {
    /// The client never starts TLS.
    Never,
    /// The client starts TLS if the server offers it.
    IfOffered,
    /// The session fails unless the server offers TLS.
    Required,
}

/// The required speed of the other side: the engine must be able to consume `octets` octets within the
/// time `within`. The incomplete beginning of a line does not count as consumed, so sending a line one
/// octet at a time gains nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// The time allowed, not counting the time spent waiting for answers to the engine's own questions.
    pub within: Duration,
    /// The number of octets required, at least one.
    pub octets: u64,
}

impl Pace {
    /// Returns a pace that a single octet within this time satisfies.
    #[must_use]
    pub const fn anything(within: Duration) -> Self {
        Self { within, octets: 1 }
    }
}

/// The right to answer one question of the engine `E`, with an `A`.
///
/// A ticket can be used once, and only for the question that it came with. Dropping the ticket ends the
/// session.
#[must_use = "a question that is not answered ends its session"]
pub struct EngineTicket<E: Engine, A: AnswerTo<E>>(A::Asked, PhantomData<fn(A) -> E>);

impl<E: Engine, A: AnswerTo<E>> EngineTicket<E, A> {
    /// Makes a ticket for a question. `asked` is the engine's state at that moment.
    pub const fn new(asked: A::Asked) -> Self {
        Self(asked, PhantomData)
    }

    /// Answers the question.
    pub fn answer(self, answer: A) -> E::Answer {
        answer.to(self.0)
    }
}

impl<E: Engine, A: AnswerTo<E>> fmt::Debug for EngineTicket<E, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EngineTicket")
    }
}

/// A type that is the answer to some of an engine's questions.
pub trait AnswerTo<E: Engine>: Sized {
    /// The engine's state when the question was asked: everything, besides the answer, that the engine
    /// needs to continue. Only the engine can make a value of this type, so only the engine can make
    /// tickets.
    type Asked;

    /// Combines the answer with the engine's state.
    fn to(self, asked: Self::Asked) -> E::Answer;
}

/// One side of a protocol.
pub trait Engine {
    /// A decision that only the caller can make, or data that only the caller can supply, with an
    /// [`EngineTicket`] for the answer.
    type Question;
    /// An answer to any of the questions, made by a ticket. Opaque to all code but the engine.
    type Answer;

    /// Takes the next step: consumes from the front of `input`, appends to `output`.
    fn next<'i>(&mut self, input: &mut &'i [u8], output: &mut Vec<u8>) -> Step<'i, Self::Question>;

    /// Takes the answer to the question of the last [`Step::Ask`]. If the session has been interrupted
    /// since then, the answer is ignored.
    fn answer(&mut self, answer: Self::Answer, output: &mut Vec<u8>);

    /// Tells the engine that TLS was negotiated after [`Step::StartTls`].
    fn secured(&mut self);

    /// Returns the required speed of the other side in the present state.
    fn pace(&self) -> Pace;

    /// Returns whether the session is in the middle of work that a stopping program should wait for.
    fn is_busy(&self) -> bool;

    /// Ends the session now: appends the protocol's closing words, if there are any.
    fn interrupt(&mut self, why: Interrupt, output: &mut Vec<u8>);
}
