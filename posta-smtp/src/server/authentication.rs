//! The framing of an authentication exchange (RFC 4954): part of the server's state machine.

use super::{Asked, Server, State, Taken, chunking::begins_bdat};
use crate::{
    command::HelloVerb,
    question::{Answer, Question},
    reply, words,
};
use posta_mail::{Reply, sasl};

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
        } else if !matches!(self.hello, Some(HelloVerb::Ehlo)) {
            self.out_of_order("Say EHLO first", output);
        } else if self.authenticated {
            self.out_of_order("You are authenticated already", output);
        } else if self.transaction.is_some() {
            self.out_of_order("Not within a transaction", output);
        } else if !self.may_authenticate() {
            self.bad_command(&words::needs_encryption(), output);
        } else if !profile.mechanisms.iter().any(|known| *known == mechanism) {
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

    pub(super) fn may_authenticate(&self) -> bool {
        self.secured || self.profile.plaintext_auth
    }

    /// A line of a SASL exchange.
    pub(super) fn sasl(&mut self, line: &[u8], output: &mut Vec<u8>) -> Taken {
        self.state = State::Command;
        match sasl::response(line) {
            Ok(Some(response)) => {
                return Some(self.ask(Asked::Authentication, Question::Authenticate(response)));
            }
            Ok(None) => {
                self.bad_command(&Reply::new(501, (5, 7, 0), "Authentication cancelled"), output);
            }
            // Its octets would be read as commands.
            Err(_) if begins_bdat(line) => self.close_with(&words::no_base64(), output),
            Err(_) => self.bad_command(&words::no_base64(), output),
        }
        None
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
                self.failed_authentications += 1;
                if self.failed_authentications >= FAILED_AUTHENTICATIONS {
                    self.state = State::Closing;
                }
            }
            other => debug_assert!(false, "{other:?} is no answer to AUTH"),
        }
    }
}
