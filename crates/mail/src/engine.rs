//! The shape that every protocol engine has, on either side of a connection.
//!
//! An engine is a pure state machine. Octets go in, steps come out, and whatever takes time or needs
//! the world (policy, the store, TLS) is asked for by a [`Step`] and answered later. So an engine
//! can be driven by a socket, by a test that splits its input at every octet, or by a simulation,
//! and behaves the same.
//!
//! Two departures from the usual `receive`/`next` pair keep it small and quick. Input is *lent*: the
//! caller keeps the buffer and the engine advances the slice past what it has consumed, so that
//! message content is handed on as slices of that buffer and an idle session holds no memory.
//! Output is *appended* to the caller's buffer, so that the replies to a pipelined group leave in
//! one write (RFC 2920 §3.2).
//!
//! # Questions carry the type of their answer
//!
//! A question comes with a [`EngineTicket`], which takes one answer of the right type and nothing else.
//! What the engine was doing when it asked travels in the ticket and comes back with the answer, so
//! neither side has to handle a pair that does not match: whoever answers writes a `match` without
//! a catch-all arm, and so does the engine. The engine itself only remembers that it waits.
//!
//! ```
//! # use posta_mail::{AnswerTo, Engine, Interrupt, Pace, Step, EngineTicket};
//! # use std::time::Duration;
//! /// Greets whoever is known.
//! enum Porter {
//!     Reading,
//!     Asked,
//! }
//!
//! /// What the porter cannot know.
//! enum Question {
//!     IsKnown(String, EngineTicket<Porter, bool>),
//!     /// How long the guest has to wait, in minutes.
//!     Delay(EngineTicket<Porter, u32>),
//! }
//!
//! /// Made by tickets only: its content is private.
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
//!             // The ticket was dropped: without an answer there is nothing to go on with.
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
//! // Whoever answers; here everybody is known.
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

/// What an engine needs next.
#[derive(Debug)]
pub enum Step<'i, Question> {
    /// Send what was appended to the output, then lend more input. What the engine left of the
    /// input so far must stand before it.
    NeedInput,
    /// Have this answered, and pass the answer to [`Engine::answer`] before calling [`Engine::next`]
    /// again. A question that nobody answers ends the session: the next step is [`Step::Close`].
    Ask(Question),
    /// The next piece of a message's content, dot-transparency undone. Needs no answer.
    Content(&'i [u8]),
    /// The output has grown to a size worth sending; send it and call [`Engine::next`] again.
    Flush,
    /// Send the output, *discard the input that is left* (it came in plaintext and may have been
    /// injected: RFC 3207 §4.2, RFC 2595 §4), negotiate TLS, then call [`Engine::secured`].
    StartTls,
    /// Send the output and close the connection.
    Close,
}

/// Why a session is ended from outside its protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interrupt {
    /// The other side was slower than [`Engine::pace`], or its session lasted too long.
    Idle,
    /// The program is stopping.
    Stopping,
    /// There are too many sessions, in all or from this client.
    Crowded,
}

/// Whether a client begins TLS by command: STARTTLS (RFC 3207), STLS (RFC 2595 §4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsUse {
    /// The connection stays as it is.
    Never,
    /// TLS is used if the server offers it.
    IfOffered,
    /// The session fails without TLS.
    Required,
}

/// How fast the other side must be: an engine must be able to consume so many octets within this
/// time. A beginning of a line is not consumed, so whoever sends a line an octet at a time gains
/// nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// The time; waiting for answers to our own questions does not count.
    pub within: Duration,
    /// The octets. At least one.
    pub octets: u64,
}

impl Pace {
    /// Returns a pace that any octet within this time keeps.
    #[must_use]
    pub const fn anything(within: Duration) -> Self {
        Self { within, octets: 1 }
    }
}

/// The right to answer one question of the engine `E`, with an `A`.
///
/// The ticket can be used once, and only where its question was asked. Whoever drops it gives the session
/// up.
#[must_use = "a question that is not answered ends its session"]
pub struct EngineTicket<E: Engine, A: AnswerTo<E>>(A::Asked, PhantomData<fn(A) -> E>);

impl<E: Engine, A: AnswerTo<E>> EngineTicket<E, A> {
    /// Makes a ticket for a question that the engine asks in the middle of this.
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

/// A type that some of an engine's questions have as their answer.
pub trait AnswerTo<E: Engine>: Sized {
    /// What the engine was doing when it asked: all that it needs, beside the answer, to go on. Only the
    /// engine can make one, so that only it can make tickets.
    type Asked;

    /// Joins the answer with what the engine was doing.
    fn to(self, asked: Self::Asked) -> E::Answer;
}

/// A protocol as one side of it sees it.
pub trait Engine {
    /// What only the outside can decide or supply, with a [`EngineTicket`] for the answer.
    type Question;
    /// An answer to any of the questions, as a ticket made it. Opaque to all but the engine.
    type Answer;

    /// Takes the next step: consumes from the front of `input`, appends to `output`.
    fn next<'i>(&mut self, input: &mut &'i [u8], output: &mut Vec<u8>) -> Step<'i, Self::Question>;

    /// Takes the answer to the question of the last [`Step::Ask`]. A session that was interrupted since
    /// then ignores it.
    fn answer(&mut self, answer: Self::Answer, output: &mut Vec<u8>);

    /// Tells the engine that TLS was negotiated after [`Step::StartTls`].
    fn secured(&mut self);

    /// Returns how fast the other side must be in the present state.
    fn pace(&self) -> Pace;

    /// Returns whether something is in hand that a stopping program should let end first.
    fn is_busy(&self) -> bool;

    /// Ends the session now: appends the parting words, if the protocol has any.
    fn interrupt(&mut self, why: Interrupt, output: &mut Vec<u8>);
}
