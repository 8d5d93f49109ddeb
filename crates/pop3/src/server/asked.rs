//! What the server was doing when it asked a question, and how that comes back with the answer: part of
//! the server's state machine.

use super::{
    Server,
    question::{Authentication, LoginOutcome, MessagePiece, Standing, Update},
    reading::Reading,
};
use crate::{command::Pop3Command, maildrop::Maildrop, view::View};
use posta_mail::AnswerTo;

/// An answer to a [`Question`](super::Question), as its ticket made it.
#[derive(Debug)]
pub struct Answer<M>(pub(super) Answered<M>);

#[derive(Debug)]
pub(super) enum Answered<M> {
    Login(LoginOutcome<M>),
    Authentication(Authentication<M>),
    BrokenOff(BrokenOff),
    Standing(Proceeding<M>, Standing),
    Piece(ReadingFrom<M>, MessagePiece),
    Update(Marked, Update),
}

/// A command of the TRANSACTION state that was read before the question, and the maildrop it is for.
#[derive(Debug)]
pub struct Proceeding<M> {
    pub(super) view: Box<View<M>>,
    pub(super) command: Pop3Command,
}

/// A message that is being read, and the maildrop that has it.
#[derive(Debug)]
pub struct ReadingFrom<M> {
    pub(super) view: Box<View<M>>,
    pub(super) reading: Reading,
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
    type Asked = Proceeding<M>;

    fn to(self, proceeding: Proceeding<M>) -> Answer<M> {
        Answer(Answered::Standing(proceeding, self))
    }
}

impl<M: Maildrop> AnswerTo<Server<M>> for MessagePiece {
    type Asked = ReadingFrom<M>;

    fn to(self, from: ReadingFrom<M>) -> Answer<M> {
        Answer(Answered::Piece(from, self))
    }
}

impl<M: Maildrop> AnswerTo<Server<M>> for Update {
    type Asked = Marked;

    fn to(self, marked: Marked) -> Answer<M> {
        Answer(Answered::Update(marked, self))
    }
}
