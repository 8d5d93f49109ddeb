//! What the server was doing when it asked a question, and how that comes back with the answer: part of
//! the server's state machine.

use super::{
    Server,
    question::{Authentication, Commitment, Verdict, Verification},
};
use crate::command::HelloVerb;
use posta_mail::{AnswerTo, Reply, envelope::Body};

/// An answer to a [`Question`](super::Question), as its ticket made it.
#[derive(Debug)]
pub struct Answer(pub(super) Answered);

#[derive(Debug)]
pub(super) enum Answered {
    Verdict(Asked, Verdict),
    Authentication(Authentication),
    Verification(Verification),
    Commitment(Commitment),
    Heard(Told),
}

/// What waits for a verdict.
#[derive(Debug)]
pub enum Asked {
    Hello(HelloVerb),
    Mail {
        body: Body,
        utf8: bool,
    },
    Recipient,
    Forwarded {
        login: bool,
    },
    /// DATA.
    Content,
    /// The first BDAT of a message.
    FirstChunk {
        size: u64,
        last: bool,
    },
}

/// What happened anyway, and waits until whoever answers knows of it.
#[derive(Debug)]
pub enum Told {
    /// The client gave up an authentication, and gets this reply.
    BrokenOff(Reply),
    /// A transaction ended without a commit.
    Abandoned,
}

impl AnswerTo<Server> for Verdict {
    type Asked = Asked;

    fn to(self, asked: Asked) -> Answer {
        Answer(Answered::Verdict(asked, self))
    }
}

impl AnswerTo<Server> for Authentication {
    type Asked = ();

    fn to(self, (): ()) -> Answer {
        Answer(Answered::Authentication(self))
    }
}

impl AnswerTo<Server> for Verification {
    type Asked = ();

    fn to(self, (): ()) -> Answer {
        Answer(Answered::Verification(self))
    }
}

impl AnswerTo<Server> for Commitment {
    type Asked = ();

    fn to(self, (): ()) -> Answer {
        Answer(Answered::Commitment(self))
    }
}

impl AnswerTo<Server> for () {
    type Asked = Told;

    fn to(self, told: Told) -> Answer {
        Answer(Answered::Heard(told))
    }
}
