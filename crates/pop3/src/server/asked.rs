//! What the server was doing when it asked a question, and how that comes back with the answer: part of
//! the server's state machine.

use super::{
    Reading, Server,
    question::{Authentication, LoginOutcome, MessagePiece, Standing, Update},
};
use crate::{command::Pop3Command, maildrop::Maildrop};
use posta_mail::AnswerTo;

/// An answer to a [`Question`](super::Question), as its ticket made it.
#[derive(Debug)]
pub struct Answer<M>(pub(super) Answered<M>);

#[derive(Debug)]
pub(super) enum Answered<M> {
    Login(LoginOutcome<M>),
    Authentication(Authentication<M>),
    BrokenOff(BrokenOff),
    /// With the command that was read before the question.
    Standing(Pop3Command, Standing),
    Piece(Reading, MessagePiece),
    Update(Marked, Update),
}

/// The client gave up an exchange, and gets these words.
#[derive(Debug)]
pub struct BrokenOff(pub(super) &'static str);

/// How many messages are to be removed.
#[derive(Debug)]
pub struct Marked(pub(super) usize);

impl<M: Maildrop> AnswerTo<Server<M>> for LoginOutcome<M> {
    type Asked = ();

    fn to(self, (): ()) -> Answer<M> {
        Answer(Answered::Login(self))
    }
}

impl<M: Maildrop> AnswerTo<Server<M>> for Authentication<M> {
    type Asked = ();

    fn to(self, (): ()) -> Answer<M> {
        Answer(Answered::Authentication(self))
    }
}

impl<M: Maildrop> AnswerTo<Server<M>> for () {
    type Asked = BrokenOff;

    fn to(self, asked: BrokenOff) -> Answer<M> {
        Answer(Answered::BrokenOff(asked))
    }
}

impl<M: Maildrop> AnswerTo<Server<M>> for Standing {
    type Asked = Pop3Command;

    fn to(self, command: Pop3Command) -> Answer<M> {
        Answer(Answered::Standing(command, self))
    }
}

impl<M: Maildrop> AnswerTo<Server<M>> for MessagePiece {
    type Asked = Reading;

    fn to(self, reading: Reading) -> Answer<M> {
        Answer(Answered::Piece(reading, self))
    }
}

impl<M: Maildrop> AnswerTo<Server<M>> for Update {
    type Asked = Marked;

    fn to(self, marked: Marked) -> Answer<M> {
        Answer(Answered::Update(marked, self))
    }
}
