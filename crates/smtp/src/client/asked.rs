//! What the client was doing when it asked a question, and how that comes back with the answer: part of
//! the client's state machine.

use super::{
    Client, Envelope,
    framing::{Follower, Framing},
    login::LoginAttempt,
    question::{Conversion, LoginChoice, Next, Piece, SaslResponse},
    transaction::Transaction,
};
use posta_mail::AnswerTo;

/// An answer to a [`Question`](super::Question), as its ticket made it.
#[derive(Debug)]
pub struct Answer(pub(super) Answered);

#[derive(Debug)]
pub(super) enum Answered {
    Login(LoginChoice),
    Response(LoginAttempt, SaslResponse),
    Next(Next),
    Conversion(ToConvert, Conversion),
    Piece(Writing, Piece),
    Ahead(Ending, Option<Envelope>),
    Acknowledged(Continuation),
}

/// A message that would have to be converted.
#[derive(Debug)]
pub struct ToConvert(pub(super) Envelope);

/// A transaction whose content is being sent.
#[derive(Debug)]
pub struct Writing {
    pub(super) transaction: Box<Transaction>,
    pub(super) framing: Framing,
}

/// A transaction whose content was sent.
#[derive(Debug)]
pub struct Ending {
    pub(super) transaction: Box<Transaction>,
    /// Replies to chunks that come before the final one.
    pub(super) chunks: usize,
}

/// What the client does once the caller has acknowledged an outcome or a failure.
#[derive(Debug)]
pub enum Continuation {
    /// It goes on with the next message.
    Follow(Follower),
    /// It says QUIT.
    Quit,
    /// It closes the connection: the server would not understand QUIT, or would take it for content.
    Close,
}

impl AnswerTo<Client> for LoginChoice {
    type Asked = ();

    fn to(self, (): ()) -> Answer {
        Answer(Answered::Login(self))
    }
}

impl AnswerTo<Client> for SaslResponse {
    type Asked = LoginAttempt;

    fn to(self, attempt: LoginAttempt) -> Answer {
        Answer(Answered::Response(attempt, self))
    }
}

impl AnswerTo<Client> for Next {
    type Asked = ();

    fn to(self, (): ()) -> Answer {
        Answer(Answered::Next(self))
    }
}

impl AnswerTo<Client> for Conversion {
    type Asked = ToConvert;

    fn to(self, message: ToConvert) -> Answer {
        Answer(Answered::Conversion(message, self))
    }
}

impl AnswerTo<Client> for Piece {
    type Asked = Writing;

    fn to(self, writing: Writing) -> Answer {
        Answer(Answered::Piece(writing, self))
    }
}

impl AnswerTo<Client> for Option<Envelope> {
    type Asked = Ending;

    fn to(self, ending: Ending) -> Answer {
        Answer(Answered::Ahead(ending, self))
    }
}

impl AnswerTo<Client> for () {
    type Asked = Continuation;

    fn to(self, continuation: Continuation) -> Answer {
        Answer(Answered::Acknowledged(continuation))
    }
}
