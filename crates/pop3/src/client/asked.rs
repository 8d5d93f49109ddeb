//! What the client was doing when it asked a question, and how that comes back with the answer: part of
//! the client's state machine.

use super::{
    Client,
    question::{LoginChoice, Pop3Request, SaslResponse},
};
use posta_mail::AnswerTo;

/// An answer to a [`Question`](super::Question), as its ticket made it.
#[derive(Debug)]
pub struct Answer(pub(super) Answered);

#[derive(Debug)]
pub(super) enum Answered {
    Login(Mechanisms, LoginChoice),
    Response(Mechanisms, SaslResponse),
    Request(Pop3Request),
    Acknowledged,
}

/// The SASL mechanisms that the server offers and has not refused yet.
#[derive(Debug)]
pub struct Mechanisms(pub(super) Vec<String>);

impl AnswerTo<Client> for LoginChoice {
    type Asked = Mechanisms;

    fn to(self, left: Mechanisms) -> Answer {
        Answer(Answered::Login(left, self))
    }
}

impl AnswerTo<Client> for SaslResponse {
    type Asked = Mechanisms;

    fn to(self, left: Mechanisms) -> Answer {
        Answer(Answered::Response(left, self))
    }
}

impl AnswerTo<Client> for Pop3Request {
    type Asked = ();

    fn to(self, (): ()) -> Answer {
        Answer(Answered::Request(self))
    }
}

impl AnswerTo<Client> for () {
    type Asked = ();

    fn to(self, (): ()) -> Answer {
        Answer(Answered::Acknowledged)
    }
}
