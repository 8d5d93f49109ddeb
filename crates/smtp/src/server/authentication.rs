//! The framing of an authentication exchange (RFC 4954): part of the server's state machine.

use super::{Authentication, Question, Server, State, Taken, Ticket, Told};
use crate::{command::HelloVerb, reply, words};
use posta_mail::{
    Reply, Step,
    sasl::{self, Exchange, NoResponse, Progress},
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
                    return Some(self.ask(Question::Authenticate(exchange, Ticket::new(()))));
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

    /// Takes a line of a SASL exchange.
    pub(super) fn sasl(&mut self, line: &[u8]) -> Step<'static, Question> {
        match sasl::response(line) {
            Ok(response) => {
                self.ask(Question::Authenticate(Exchange::Response(response), Ticket::new(())))
            }
            // RFC 4954 §4.
            Err(NoResponse::Cancelled) => {
                self.break_off(Reply::new(501, (5, 7, 0), "Authentication cancelled"))
            }
            Err(NoResponse::NoBase64) => self.break_off(words::no_base64()),
        }
    }

    /// Ends an exchange that proved nothing. Whoever answers the questions hears of it before the
    /// client gets its reply, and may take a while.
    pub(super) fn break_off(&mut self, reply: Reply) -> Step<'static, Question> {
        self.ask(Question::BrokenOff(Ticket::new(Told::BrokenOff(reply))))
    }

    /// Replies to a client that gave up: a failed authentication like any other.
    pub(super) fn broken_off(&mut self, reply: &Reply, output: &mut Vec<u8>) {
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

    /// Takes the answer to [`Question::Authenticate`].
    pub(super) fn authentication(&mut self, outcome: Authentication, output: &mut Vec<u8>) {
        match outcome {
            Ok(Progress::Challenge(octets)) => {
                reply::write(&Reply::plain(334, sasl::challenge(&octets)), output);
                self.state = State::Sasl;
            }
            Ok(Progress::Done(())) => {
                self.authenticated = true;
                reply::write(&Reply::new(235, (2, 7, 0), "Authenticated"), output);
            }
            Err(refusal) => {
                reply::write(&refusal, output);
                self.count_failed_authentication();
            }
        }
    }
}
