//! The end of the content, by DATA or by BDAT, and of its transaction: part of the server's state machine.

use super::{
    Question, Server, Service, Ticket,
    asked::{Notice, Replies},
    transaction::Receiving,
};
use crate::{incoming::Decoder, reply};
use posta_mail::{Reply, Step};

impl Replies {
    /// Writes the reply to the end of the data, as often as the client waits for it.
    pub(super) fn write(&self, reply: &Reply, output: &mut Vec<u8>) {
        for _ in 0..self.0 {
            reply::write(reply, output);
        }
    }

    /// Writes the reply to the end of the data, and other ones for the recipients at these positions.
    pub(super) fn write_each(
        &self,
        reply: &Reply,
        others: &[(usize, Reply)],
        output: &mut Vec<u8>,
    ) {
        for position in 0..self.0 {
            let other = others.iter().find(|(at, _)| *at == position);
            reply::write(other.map_or(reply, |(_, other)| other), output);
        }
    }
}

impl Server {
    /// Asks for the commit, or refuses a message against which something stands.
    pub(super) fn end_of_content<D: Decoder>(
        &mut self,
        receiving: Receiving<D>,
        output: &mut Vec<u8>,
    ) -> Step<'static, Question> {
        let replies = Replies(match self.profile.service {
            Service::Lmtp => receiving.recipients,
            Service::Smtp | Service::Submission => 1,
        });
        match receiving.objection() {
            None => self.ask_within(Question::Commit(Ticket::new(replies))),
            Some(refusal) => {
                replies.write(&refusal, output);
                self.abandon()
            }
        }
    }

    /// Tells the other side of the questions that the transaction ended without a commit.
    pub(super) fn abandon(&mut self) -> Step<'static, Question> {
        self.ask_outside(Question::Abandon(Ticket::new(Notice::Abandoned)))
    }
}
