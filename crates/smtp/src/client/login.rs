//! Logging in (RFC 4954): one mechanism after the other, until the server takes one.

use super::{Client, Expected, Failure, Question, Stage, State, Ticket};
use posta_mail::{
    Reply,
    sasl::{self, Opening},
};
use std::io::Write as _;

/// A login under way.
#[derive(Debug)]
pub struct LoginAttempt {
    mechanism: String,
    /// Whether the client gave up the exchange, since the server is an impostor.
    is_given_up: bool,
    /// Whether the server has what it needs to judge the password.
    is_proved: bool,
}

impl Client {
    pub(super) fn after_tls(&mut self) {
        match (self.options.login, self.capabilities.mechanisms.is_empty()) {
            (false, _) => self.begin_business(),
            (true, true) => self.fail(Failure::NoLogin),
            (true, false) => self.ask_login(),
        }
    }

    fn ask_login(&mut self) {
        self.stage = Stage::Login;
        let offered = self.capabilities.mechanisms.clone();
        self.state = State::Ask(Question::Login(offered, Ticket::new(())));
    }

    pub(super) fn send_auth(&mut self, opening: Opening, output: &mut Vec<u8>) {
        let Opening { mechanism, initial } = opening;
        // SCRAM begins with a name; the proof follows.
        let is_proved = initial.is_some() && !mechanism.starts_with("SCRAM");
        let initial = initial.as_deref().map(sasl::initial).unwrap_or_default();
        let _ = write!(output, "AUTH {mechanism}{initial}\r\n");
        self.expect(Expected::Auth(LoginAttempt { mechanism, is_given_up: false, is_proved }));
    }

    pub(super) fn respond(
        &mut self,
        attempt: LoginAttempt,
        response: Option<&[u8]>,
        output: &mut Vec<u8>,
    ) {
        let is_given_up = response.is_none();
        let response = response.map_or("*".to_owned(), sasl::challenge);
        let _ = write!(output, "{response}\r\n");
        self.expect(Expected::Auth(LoginAttempt { is_given_up, is_proved: true, ..attempt }));
    }

    pub(super) fn auth_reply(&mut self, attempt: LoginAttempt, reply: Reply) {
        if reply.code.get() == 334 {
            // RFC 4954 §4 has base64 here. Some servers say "go ahead" in plain words instead: that is a
            // challenge without octets.
            let octets = sasl::response(reply.text.trim().as_bytes()).unwrap_or_default();
            self.state = State::Ask(Question::Challenge(octets, Ticket::new(attempt)));
        } else if reply.code.is_positive() {
            self.begin_business();
        } else if reply.code.is_intermediate() {
            self.unexpected("AUTH", reply);
        } else if reply.code.is_transient()
            || attempt.is_given_up
            || is_about_password(&attempt, &reply)
        {
            // RFC 4954 §6: 454 is about the login, not about the mechanism. A server that proved to be an impostor by
            // one mechanism gets no password by another. And a password that is wrong is so by any mechanism: trying
            // them all would count as several failures, and servers lock accounts out for a few.
            self.fail(Failure::Login(reply));
        } else {
            // A server may offer what it does not take for this user, or at all (504, 534).
            let left = &mut self.capabilities.mechanisms;
            left.retain(|name| *name != attempt.mechanism);
            self.refusal = Some(reply);
            if left.is_empty() {
                self.give_up_login();
            } else {
                self.ask_login();
            }
        }
    }

    /// Ends a session in which no mechanism of the server is left to try.
    pub(super) fn give_up_login(&mut self) {
        let refusal = self.refusal.clone();
        self.fail(refusal.map_or(Failure::NoLogin, Failure::Login));
    }

    fn begin_business(&mut self) {
        self.refusal = None;
        self.stage = Stage::Ready;
        self.ask_next(None);
    }
}

/// Returns whether a refusal is about the password (RFC 4954 §6: 535), which the server has seen or could check.
fn is_about_password(attempt: &LoginAttempt, reply: &Reply) -> bool {
    attempt.is_proved && reply.code.get() == 535
}
