//! The server's replies, by what they answer: part of the client's state machine.

use super::{
    Capabilities, Client, Expected, Failure, State,
    framing::Framing,
    transaction::{Transaction, write_recipient},
};
use crate::command::HelloVerb;
use posta_mail::{Reply, TlsUse};

/// What a reply says of the command, by the first digit of its code (RFC 5321 §4.2.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ReplyKind {
    /// 2yz: the command is done.
    Positive,
    /// 3yz: the server waits for more.
    Intermediate,
    /// 4yz or 5yz: the command is refused.
    Negative,
}

impl ReplyKind {
    fn of(reply: &Reply) -> Self {
        match reply.code {
            code if code.is_positive() => Self::Positive,
            code if code.is_intermediate() => Self::Intermediate,
            _ => Self::Negative,
        }
    }
}

impl Client {
    /// Takes the reply to what was sent.
    pub(super) fn reply(&mut self, expected: Expected, reply: Reply, output: &mut Vec<u8>) {
        match (expected, ReplyKind::of(&reply)) {
            (Expected::Greeting, ReplyKind::Positive) => self.say_hello(self.options.hello, output),
            (Expected::Hello(_), ReplyKind::Positive) => {
                self.refusal = None;
                self.capabilities = Capabilities::read(&reply.text);
                self.after_hello(output);
            }
            // RFC 5321 §3.2: a server that does not know EHLO is greeted with HELO.
            (Expected::Hello(HelloVerb::Ehlo), ReplyKind::Negative)
                if reply.code.is_permanent() =>
            {
                self.refusal = Some(reply);
                self.say_hello(HelloVerb::Helo, output);
            }
            (Expected::Greeting | Expected::Hello(_), ReplyKind::Negative) => {
                self.fail(Failure::Refused(reply));
            }
            (Expected::Greeting, ReplyKind::Intermediate) => {
                self.unexpected("the connection", reply);
            }
            (Expected::Hello(_), ReplyKind::Intermediate) => self.unexpected("the hello", reply),
            (Expected::StartTls, _) => self.starttls_reply(reply),
            (Expected::Auth(attempt), _) => self.auth_reply(attempt, reply),
            // What follows on this connection is not answered any more.
            (
                Expected::Envelope(transaction) | Expected::Reset(transaction),
                ReplyKind::Negative,
            ) if reply.code.get() == 421 => {
                self.fail_within(&transaction, false, Failure::Closing(reply));
            }
            (Expected::Envelope(transaction), _) => self.envelope_reply(transaction, reply, output),
            (Expected::ChunkSent(transaction, next), ReplyKind::Positive) => {
                self.ask_content(transaction, Framing::Chunks { next: Some(next), sent: 0 });
            }
            (Expected::ChunkSent(mut transaction, _), ReplyKind::Negative) => {
                transaction.decide_round(&reply);
                self.round_is_over(transaction, true, output);
            }
            (Expected::ChunkSent(transaction, _), ReplyKind::Intermediate) => {
                self.unexpected_within(&transaction, false, "BDAT", reply);
            }
            (Expected::End { transaction, .. }, ReplyKind::Intermediate) => {
                self.unexpected_within(&transaction, true, "the end of the message", reply);
            }
            (
                Expected::End { transaction, chunks, follower },
                ReplyKind::Positive | ReplyKind::Negative,
            ) => {
                self.final_reply(transaction, chunks, follower, reply, output);
            }
            (Expected::Reset(transaction), _) => self.begin_round(transaction, output),
            (Expected::Quit, _) => self.state = State::Closed,
        }
    }

    fn starttls_reply(&mut self, reply: Reply) {
        if reply.code.get() == 220 {
            self.state = State::Securing;
        } else if self.options.tls == TlsUse::Required {
            self.fail(Failure::NoTls(Some(reply)));
        } else {
            self.after_tls();
        }
    }

    fn envelope_reply(
        &mut self,
        mut transaction: Box<Transaction>,
        reply: Reply,
        output: &mut Vec<u8>,
    ) {
        if std::mem::take(&mut transaction.resetting) {
            return self.expect(Expected::Envelope(transaction));
        }
        if transaction.has_all_recipients() {
            return self.data_reply(transaction, reply, output);
        }
        if reply.code.is_intermediate() {
            let to = if transaction.replies == 0 { "MAIL" } else { "RCPT" };
            return self.unexpected_within(&transaction, false, to, reply);
        }
        let answered = transaction.replies;
        transaction.replies += 1;
        match answered {
            0 if !reply.code.is_positive() => transaction.decide_all(&reply),
            0 => {}
            _ => transaction.recipient_reply(answered - 1, reply),
        }
        if transaction.has_all_recipients() && transaction.chunked {
            return match transaction.wants_content() {
                true => self.begin_content(transaction),
                false => self.round_is_over(transaction, true, output),
            };
        }
        if !transaction.pipelined {
            // Lock-step: nothing more is sent for a transaction that is decided.
            let is_over = transaction.has_all_recipients() && !transaction.wants_content();
            if is_over || answered == 0 && transaction.is_decided() {
                return self.round_is_over(transaction, true, output);
            }
            match transaction.recipient(answered) {
                Some(recipient) => write_recipient(recipient, &self.capabilities, output),
                None => output.extend_from_slice(b"DATA\r\n"),
            }
        }
        self.expect(Expected::Envelope(transaction));
    }

    fn data_reply(
        &mut self,
        mut transaction: Box<Transaction>,
        reply: Reply,
        output: &mut Vec<u8>,
    ) {
        if reply.code.is_transient() || reply.code.is_permanent() {
            transaction.decide_round(&reply);
            self.round_is_over(transaction, true, output);
        } else if reply.code.get() != 354 {
            // Whether it waits for content or for a command, nobody knows.
            self.unexpected_within(&transaction, false, "DATA", reply);
        } else if transaction.wants_content() {
            self.begin_content(transaction);
        } else {
            // RFC 2920 §3.1: the server wants content although it refused every recipient. It gets
            // none.
            output.extend_from_slice(b".\r\n");
            self.expect(Expected::End { transaction, chunks: 0, follower: None });
        }
    }
}
