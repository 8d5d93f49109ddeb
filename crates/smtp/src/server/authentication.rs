//! The framing of an authentication exchange (RFC 4954): part of the server's state machine.

use super::{Asked, Server, State, Taken};
use crate::{
    command::HelloVerb,
    question::{Answer, Question},
    reply, words,
};
use posta_mail::{
    Reply, Step,
    sasl::{self, Exchange},
};

/// Failed authentications, after which a session is closed.
const FAILED_AUTHENTICATIONS: u32 = 3;

impl Server {
    pub(super) fn auth(
        &mut self,
        mechanism: String,
        initial: Option<&[u8]>,
        output: &mut Vec<u8>,
    ) -> Taken {
        let profile = &self.profile;
        if profile.mechanisms.is_empty() {
            self.bad_command(&Reply::new(502, (5, 5, 1), "AUTH is not offered here"), output);
        } else if !matches!(self.hello, Some(HelloVerb::Ehlo | HelloVerb::Helo)) {
            self.out_of_order("Say EHLO first", output);
        } else if self.authenticated {
            self.out_of_order("You are authenticated already", output);
        } else if self.transaction.is_some() {
            self.out_of_order("Not within a transaction", output);
        } else if !self.may_authenticate() {
            self.bad_command(&words::needs_encryption(), output);
        } else if !self.takes(&mechanism) {
            self.bad_command(&Reply::new(504, (5, 5, 4), "Mechanism not offered"), output);
        } else {
            match sasl::start(mechanism, initial) {
                Ok(exchange) => {
                    return Some(self.ask(Asked::Authentication, Question::Authenticate(exchange)));
                }
                Err(_) => self.bad_command(&words::no_base64(), output),
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

    /// A line of a SASL exchange.
    pub(super) fn sasl(&mut self, line: &[u8]) -> Step<'static, Question> {
        match sasl::response(line) {
            Ok(Exchange::Cancel) => {
                // RFC 4954 §4.
                self.cancel(Reply::new(501, (5, 7, 0), "Authentication cancelled"))
            }
            Ok(response) => self.ask(Asked::Authentication, Question::Authenticate(response)),
            Err(_) => self.cancel(words::no_base64()),
        }
    }

    /// Ends an exchange that proved nothing. Whoever answers the questions hears of it first, and
    /// may take a while to answer.
    pub(super) fn cancel(&mut self, reply: Reply) -> Step<'static, Question> {
        self.ask(Asked::Cancellation(reply), Question::Authenticate(Exchange::Cancel))
    }

    /// The end of an exchange that was cancelled: a failed authentication like any other.
    pub(super) fn cancelled(&mut self, reply: &Reply, output: &mut Vec<u8>) {
        if self.is_chunk {
            // The octets behind BDAT would be read as commands.
            return self.close_with(reply, output);
        }
        self.bad_command(reply, output);
        self.count_failed_authentication();
    }

    fn count_failed_authentication(&mut self) {
        self.failed_authentications += 1;
        if self.failed_authentications >= FAILED_AUTHENTICATIONS {
            self.state = State::Closing;
        }
    }

    pub(super) fn authentication(&mut self, answer: Answer, output: &mut Vec<u8>) {
        match answer {
            Answer::Challenge(octets) => {
                reply::write(&Reply::plain(334, sasl::challenge(&octets)), output);
                self.state = State::Sasl;
            }
            Answer::Accept => {
                self.authenticated = true;
                reply::write(&Reply::new(235, (2, 7, 0), "Authenticated"), output);
            }
            Answer::Refuse(refusal) => {
                reply::write(&refusal, output);
                self.count_failed_authentication();
            }
            other => debug_assert!(false, "{other:?} is no answer to AUTH"),
        }
    }
}
