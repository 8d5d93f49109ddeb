//! MAIL, RCPT, DATA and RSET (RFC 5321 §3.3): part of the server's state machine.

use super::{
    EnvelopeRecipient, Mail, Question, Server, State, Taken, Ticket, asked::Asked,
    transaction::MailPhase,
};
use crate::{extension, reply, words};
use posta_mail::{
    ForwardPath, Reply, ReversePath,
    envelope::{Body, MailParameters, RecipientParameters},
};

impl Server {
    pub(super) fn mail(
        &mut self,
        phase: MailPhase,
        reverse_path: ReversePath,
        parameters: MailParameters,
        output: &mut Vec<u8>,
    ) -> Taken {
        if self.hello.is_none() {
            self.out_of_order(phase, "Say hello first", output);
            return None;
        }
        if phase.is_open() {
            self.out_of_order(phase, "A transaction is open: RSET ends it", output);
            return None;
        }
        let (profile, standing) = (&self.profile, self.standing());
        if let Some(refusal) = extension::objection(profile, standing, &reverse_path, &parameters) {
            self.reply(phase, &refusal, output);
            return None;
        }
        let MailParameters { body, utf8, .. } = parameters;
        let ticket = Ticket::new(Asked::Mail { body, utf8 });
        Some(self.ask_outside(Question::Mail(Mail { reverse_path, parameters }, ticket)))
    }

    pub(super) fn rcpt(
        &mut self,
        phase: MailPhase,
        path: ForwardPath,
        parameters: RecipientParameters,
        output: &mut Vec<u8>,
    ) -> Taken {
        let transaction = match phase {
            MailPhase::Idle => {
                self.out_of_order(phase, "MAIL comes first", output);
                return None;
            }
            MailPhase::BetweenChunks(_) => {
                self.out_of_order(phase, "The content has begun", output);
                return None;
            }
            MailPhase::Envelope(transaction) => transaction,
        };
        if transaction.recipients >= self.profile.limits.recipients {
            // RFC 5321 §4.5.3.1.10: 452, and the client sends the rest in another transaction.
            let refusal = Reply::new(452, (4, 5, 3), "Too many recipients");
            self.reply(MailPhase::Envelope(transaction), &refusal, output);
        } else if !transaction.utf8 && matches!(&path, ForwardPath::Address(a) if !a.is_ascii()) {
            self.reply(MailPhase::Envelope(transaction), &words::needs_utf8(), output);
        } else {
            let ticket = Ticket::new(Asked::Recipient(transaction));
            let recipient = EnvelopeRecipient { path, parameters };
            return Some(self.ask_within(Question::Recipient(recipient, ticket)));
        }
        None
    }

    pub(super) fn data(&mut self, phase: MailPhase, output: &mut Vec<u8>) -> Taken {
        let transaction = match phase {
            MailPhase::Idle => {
                self.out_of_order(phase, "MAIL and RCPT come first", output);
                return None;
            }
            MailPhase::BetweenChunks(_) => {
                self.out_of_order(phase, "BDAT has begun, and ends with BDAT LAST", output);
                return None;
            }
            MailPhase::Envelope(transaction) => transaction,
        };
        if transaction.body == Body::BinaryMime {
            // RFC 3030 §3: binary content cannot come line by line.
            let phase = MailPhase::Envelope(transaction);
            self.out_of_order(phase, "Binary content comes by BDAT", output);
        } else if transaction.recipients == 0 {
            // RFC 5321 §3.3: 554 when no recipient was valid.
            self.reply(MailPhase::Envelope(transaction), &words::no_recipients(), output);
        } else {
            return Some(
                self.ask_within(Question::Content(Ticket::new(Asked::Content(transaction)))),
            );
        }
        None
    }

    pub(super) fn rset(&mut self, phase: &MailPhase, output: &mut Vec<u8>) -> Taken {
        reply::write(&Reply::new(250, (2, 0, 0), "Ok"), output);
        if phase.is_open() {
            return Some(self.abandon());
        }
        self.state = State::Command(MailPhase::Idle);
        None
    }
}
