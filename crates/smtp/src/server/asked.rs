//! What the server was doing when it asked a question, and how that comes back with the answer: part of
//! the server's state machine.

use super::{
    Server,
    question::{Authentication, Commitment, Verdict, Verification},
    transaction::{MailPhase, MailTransaction},
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
    Verification(MailPhase, Verification),
    Commitment(Replies, Commitment),
    Acknowledged(Notice),
}

/// What waits for a verdict. A command that belongs to a mail transaction holds it.
#[derive(Debug)]
pub enum Asked {
    SpokeEarly,
    Hello(HelloVerb),
    Mail {
        body: Body,
        utf8: bool,
    },
    Recipient(MailTransaction),
    Forwarded {
        /// Whether the client for which another speaks has logged in.
        login: bool,
    },
    /// DATA.
    Content(MailTransaction),
    /// The first BDAT of a message.
    FirstChunk {
        transaction: MailTransaction,
        size: u64,
        last: bool,
    },
}

/// The number of replies to the end of the data: one, or in LMTP one for each recipient that was accepted
/// (RFC 2033 §4.2).
#[derive(Debug)]
pub struct Replies(pub(super) usize);

/// What happened already, and waits until the other side of the questions has acknowledged it.
#[derive(Debug)]
pub enum Notice {
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
    type Asked = MailPhase;

    fn to(self, phase: MailPhase) -> Answer {
        Answer(Answered::Verification(phase, self))
    }
}

impl AnswerTo<Server> for Commitment {
    type Asked = Replies;

    fn to(self, replies: Replies) -> Answer {
        Answer(Answered::Commitment(replies, self))
    }
}

impl AnswerTo<Server> for () {
    type Asked = Notice;

    fn to(self, notice: Notice) -> Answer {
        Answer(Answered::Acknowledged(notice))
    }
}
