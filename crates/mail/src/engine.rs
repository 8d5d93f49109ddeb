//! The shape that every protocol engine has, on either side of a connection.
//!
//! An engine is a pure state machine. Bytes go in, steps come out, and whatever takes time or needs
//! the world (policy, the store, TLS) is asked for as a [`Step`] and answered later. So an engine
//! can be driven by a socket, by a test that splits its input at every octet, or by a simulation,
//! and behaves the same.
//!
//! Two departures from the usual `receive`/`next` pair keep it small and quick. Input is *lent*: the
//! caller keeps the buffer and the engine advances the slice past what it has consumed, so that
//! message content is handed on as slices of that buffer and an idle session holds no memory.
//! Output is *appended* to the caller's buffer, so that the replies to a pipelined group leave in
//! one write (RFC 2920 §3.2).

use std::time::Duration;

/// What an engine needs next.
#[derive(Debug, PartialEq, Eq)]
pub enum Step<'i, Question> {
    /// Send what was appended to the output, then lend more input. What the engine left of the
    /// input so far must stand before it.
    NeedInput,
    /// Answer this with [`Engine::answer`] before calling [`Engine::next`] again.
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
    /// Stay as the connection is.
    Never,
    /// If the server offers it.
    IfOffered,
    /// Or fail.
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
    /// Anything at all within this time.
    #[must_use]
    pub const fn anything(within: Duration) -> Self {
        Self { within, octets: 1 }
    }
}

/// A protocol as one side of it sees it.
pub trait Engine {
    /// What only the outside can decide or supply.
    type Question;
    /// Its answer.
    type Answer;

    /// Takes the next step: consumes from the front of `input`, appends to `output`.
    fn next<'i>(&mut self, input: &mut &'i [u8], output: &mut Vec<u8>) -> Step<'i, Self::Question>;

    /// Answers the question of the last [`Step::Ask`].
    fn answer(&mut self, answer: Self::Answer, output: &mut Vec<u8>);

    /// TLS has been negotiated after [`Step::StartTls`].
    fn secured(&mut self);

    /// How fast the other side must be in the present state.
    fn pace(&self) -> Pace;

    /// Whether something is in hand that a stopping program should let end first.
    fn is_busy(&self) -> bool;

    /// The session ends now: appends the parting words, if the protocol has any.
    fn interrupt(&mut self, why: Interrupt, output: &mut Vec<u8>);
}
