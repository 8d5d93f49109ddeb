//! The framing of an authentication exchange (RFC 4954): part of the server's state machine.

use super::{
    Authentication, Question, Server, State, Taken, Ticket, asked::Notice, transaction::MailPhase,
};
use crate::{command::HelloVerb, reply, words};
use posta_mail::{
    Reply, Step,
    sasl::{self, Exchange, NoResponse, Progress},
};

/// Failed authentications, after which a session is closed.
const FAILED_AUTHENTICATIONS: u32 = 3;

impl Server {
    /// Takes AUTH.
    pub(super) fn auth(
        &mut self,
        phase: MailPhase,
        mechanism: String,
        initial: Option<&[u8]>,
        output: &mut Vec<u8>,
    ) -> Taken {
        let profile = &self.profile;
        if profile.mechanisms.is_empty() {
            let refusal = Reply::new(502, (5, 5, 1), "AUTH is not offered here");
            self.bad_command(phase, &refusal, output);
        } else if !matches!(self.hello, Some(HelloVerb::Ehlo | HelloVerb::Helo)) {
            self.out_of_order(phase, "Say EHLO first", output);
        } else if self.authenticated {
            self.out_of_order(phase, "You are authenticated already", output);
        } else if phase.is_open() {
            self.out_of_order(phase, "Not within a transaction", output);
        } else if !self.may_authenticate() {
            self.bad_command(phase, &words::needs_encryption(), output);
        } else if !self.takes(&mechanism) {
            let refusal = Reply::new(504, (5, 5, 4), "Mechanism not offered");
            self.bad_command(phase, &refusal, output);
        } else {
            match sasl::start(mechanism, initial) {
                Ok(exchange) => {
                    let question = Question::Authenticate(exchange, Ticket::new(()));
                    return Some(self.ask_outside(question));
                }
                Err(_) => self.bad_command(phase, &words::no_base64(), output),
            }
        }
        None
    }

    fn takes(&self, mechanism: &str) -> bool {
        let profile = &self.profile;
        let unannounced = if self.secured { &profile.unannounced[..] } else { &[] };
        profile.mechanisms.iter().chain(unannounced).any(|known| *known == mechanism)
    }

    pub(super) fn may_authenticate(&self) -> bool {
        self.secured || self.profile.plaintext_auth
    }

    /// Takes a line of a SASL exchange.
    pub(super) fn sasl(&mut self, line: &[u8]) -> Step<'static, Question> {
        match sasl::response(line) {
            Ok(response) => {
                let exchange = Exchange::Response(response);
                self.ask_outside(Question::Authenticate(exchange, Ticket::new(())))
            }
            // RFC 4954 §4.
            Err(NoResponse::Cancelled) => {
                self.break_off(Reply::new(501, (5, 7, 0), "Authentication cancelled"))
            }
            Err(NoResponse::NoBase64) => self.break_off(words::no_base64()),
        }
    }

    /// Ends an exchange that proved nothing. The host learns of it before the client gets this reply, and may
    /// take its time.
    pub(super) fn break_off(&mut self, reply: Reply) -> Step<'static, Question> {
        self.ask_outside(Question::BrokenOff(Ticket::new(Notice::BrokenOff(reply))))
    }

    /// Replies to a client that gave up, which counts as a failed authentication.
    pub(super) fn broken_off(&mut self, reply: &Reply, output: &mut Vec<u8>) {
        if self.is_chunk {
            // The octets behind BDAT would be read as commands.
            return self.close_with(reply, output);
        }
        self.bad_command(MailPhase::Idle, reply, output);
        self.count_failed_authentication();
    }

    fn count_failed_authentication(&mut self) {
        self.failed_authentications += 1;
        if self.failed_authentications >= FAILED_AUTHENTICATIONS {
            self.state = State::Closing;
        }
    }

    /// Takes the answer to [`Question::Authenticate`].
    pub(super) fn authentication(&mut self, outcome: Authentication, output: &mut Vec<u8>) {
        match outcome {
            Ok(Progress::Challenge(octets)) => {
                reply::write(&Reply::plain(334, sasl::challenge(&octets)), output);
                self.state = State::Sasl;
            }
            Ok(Progress::Done(())) => {
                self.authenticated = true;
                let words = "Authenticated";
                self.reply(MailPhase::Idle, &Reply::new(235, (2, 7, 0), words), output);
            }
            Err(refusal) => {
                self.reply(MailPhase::Idle, &refusal, output);
                self.count_failed_authentication();
            }
        }
    }
}
