//! Logging in (RFC 4954): one mechanism after the other, until the server takes one.

use super::{Client, Failure, Stage, State};
use posta_mail::{Reply, sasl};
use std::io::Write as _;

/// What has been tried.
#[derive(Debug, Default)]
pub(super) struct Login {
    /// The mechanism under way.
    mechanism: String,
    /// The client gave up the exchange: the server is not who it should be.
    is_given_up: bool,
}

impl Client {
    pub(super) fn after_tls(&mut self) {
        match (self.options.login, self.capabilities.mechanisms.is_empty()) {
            (false, _) => self.begin_business(),
            (true, true) => self.fail(Failure::NoLogin),
            (true, false) => (self.state, self.stage) = (State::Login, Stage::Login),
        }
    }

    pub(super) fn send_auth(
        &mut self,
        mechanism: String,
        initial: Option<&[u8]>,
        output: &mut Vec<u8>,
    ) {
        let initial = initial.map(sasl::initial).unwrap_or_default();
        let _ = write!(output, "AUTH {mechanism}{initial}\r\n");
        self.login.mechanism = mechanism;
        self.state = State::Auth;
    }

    pub(super) fn respond(&mut self, response: Option<&[u8]>, output: &mut Vec<u8>) {
        self.login.is_given_up = response.is_none();
        let response = response.map_or("*".to_owned(), sasl::challenge);
        let _ = write!(output, "{response}\r\n");
        self.state = State::Auth;
    }

    pub(super) fn auth_reply(&mut self, reply: Reply) {
        if reply.code.get() == 334 {
            // RFC 4954 §4 has base64 here. Some servers say "go ahead" in plain words instead: whoever
            // needs a challenge finds none.
            let octets = match sasl::response(reply.text.trim().as_bytes()) {
                Ok(sasl::Exchange::Response(octets)) => octets,
                _ => Vec::new(),
            };
            self.state = State::Challenged(octets);
        } else if reply.code.is_positive() {
            self.begin_business();
        } else if reply.code.is_intermediate() {
            self.unexpected("AUTH", reply);
        } else if reply.code.is_transient() || self.login.is_given_up {
            // RFC 4954 §6: 454 is about the login, not about the mechanism. And a server that is an
            // impostor by one mechanism hears no password by another.
            self.fail(Failure::Login(reply));
        } else {
            // A server may offer what it does not take for this user (535), or at all (504).
            let Self { login, capabilities, .. } = self;
            capabilities.mechanisms.retain(|name| *name != login.mechanism);
            self.refusal = Some(reply);
            if capabilities.mechanisms.is_empty() {
                self.give_up_login();
            } else {
                self.state = State::Login;
            }
        }
    }

    /// Nothing of what the server offers is left.
    pub(super) fn give_up_login(&mut self) {
        let refusal = self.refusal.clone();
        self.fail(refusal.map_or(Failure::NoLogin, Failure::Login));
    }

    fn begin_business(&mut self) {
        self.refusal = None;
        (self.state, self.stage) = (State::Ready(None), Stage::Ready);
    }
}
