//! The AUTHORIZATION state: part of the server's state machine.

use super::{
    Authentication, BrokenOff, Denial, Maildrop, Question, Server, State, Taken, Ticket, coded,
    err, ok,
};
use crate::{command::LoginCommand, view::View};
use posta_mail::{
    Step,
    sasl::{self, Exchange, NoResponse, Progress},
};
use std::io::Write as _;

/// Failed logins, after which a session is closed.
const FAILED_LOGINS: u32 = 3;

impl<M: Maildrop> Server<M> {
    pub(super) fn greet(&self, output: &mut Vec<u8>) {
        let (hostname, words) = (&self.profile.hostname, self.words().greeting);
        let _ = match &self.challenge {
            None => write!(output, "+OK {hostname} {words}\r\n"),
            Some(challenge) => write!(output, "+OK {hostname} {words} {challenge}\r\n"),
        };
    }

    /// Returns whether a password may be sent.
    pub(super) const fn may_login(&self) -> bool {
        self.secured || self.plaintext_login
    }

    /// Returns the mechanisms that are offered now.
    pub(super) fn mechanisms(&self) -> &[&'static str] {
        match (self.secured, self.plaintext_login) {
            (true, _) => &self.profile.secured_mechanisms,
            (false, true) => &self.profile.mechanisms,
            (false, false) => &[],
        }
    }

    /// Takes a command of the AUTHORIZATION state.
    pub(super) fn authorization(
        &mut self,
        command: LoginCommand,
        output: &mut Vec<u8>,
    ) -> Taken<M> {
        let (words, may_login) = (self.words(), self.may_login());
        match command {
            LoginCommand::Stls if self.secured => self.bad_command(words.tls_on, output),
            LoginCommand::Stls if self.profile.stls => {
                ok(words.go_ahead, output);
                return Some(Step::StartTls);
            }
            LoginCommand::Stls => self.bad_command(words.no_tls, output),
            LoginCommand::User(_) | LoginCommand::Pass(_) if !may_login => {
                err(words.needs_tls, output);
            }
            LoginCommand::User(given) => {
                // The same answer whether the name exists or not (RFC 1939 §13).
                self.name = Some(given);
                ok(words.password_please, output);
            }
            LoginCommand::Pass(password) => match self.name.take() {
                Some(name) => {
                    let ticket = Ticket::new(());
                    return Some(self.ask(Question::Login { name, password, ticket }));
                }
                None => self.bad_command(words.user_first, output),
            },
            LoginCommand::Apop(name, digest) => match self.challenge.clone() {
                Some(challenge) => {
                    let (challenge, ticket) = (challenge.into_string(), Ticket::new(()));
                    return Some(self.ask(Question::Apop { name, challenge, digest, ticket }));
                }
                None => self.bad_command(words.no_apop, output),
            },
            LoginCommand::Auth(None, _) => {
                ok(words.mechanisms, output);
                for mechanism in self.mechanisms() {
                    let _ = write!(output, "{mechanism}\r\n");
                }
                output.extend_from_slice(b".\r\n");
            }
            LoginCommand::Auth(Some(_), _) if !may_login => err(words.needs_tls, output),
            LoginCommand::Auth(Some(mechanism), initial) => {
                return self.auth(mechanism, initial.as_deref(), output);
            }
            // Names and passwords are taken as UTF-8 in any case, and messages are sent as they are.
            LoginCommand::Utf8 => ok(words.utf8, output),
        }
        None
    }

    /// Begins a SASL exchange (RFC 5034 §4).
    fn auth(
        &mut self,
        mechanism: String,
        initial: Option<&[u8]>,
        output: &mut Vec<u8>,
    ) -> Taken<M> {
        let unannounced = if self.secured { &self.profile.unannounced[..] } else { &[] };
        let mut taken = self.mechanisms().iter().chain(unannounced);
        if !taken.any(|known| *known == mechanism) {
            self.bad_command(self.words().no_mechanism, output);
            return None;
        }
        match sasl::start(mechanism, initial) {
            Ok(exchange) => {
                return Some(self.ask(Question::Authenticate(exchange, Ticket::new(()))));
            }
            Err(_) => self.bad_command(self.words().no_base64, output),
        }
        None
    }

    /// Takes a line of a SASL exchange.
    pub(super) fn sasl(&mut self, line: &[u8]) -> Step<'static, Question<M>> {
        match sasl::response(line) {
            Ok(response) => {
                self.ask(Question::Authenticate(Exchange::Response(response), Ticket::new(())))
            }
            Err(NoResponse::Cancelled) => self.break_off(self.words().cancelled),
            Err(NoResponse::NoBase64) => self.break_off(self.words().no_base64),
        }
    }

    /// Ends an exchange that proved nothing. The host learns of it before the client gets these words, and may
    /// take its time.
    pub(super) fn break_off(&mut self, words: &'static str) -> Step<'static, Question<M>> {
        self.ask(Question::BrokenOff(Ticket::new(BrokenOff(words))))
    }

    /// Replies to a client that gave up, which counts as a failed login.
    pub(super) fn broken_off(&mut self, words: &str, output: &mut Vec<u8>) {
        self.state = State::Authorization;
        self.bad_command(words, output);
        self.count_failed_login();
    }

    fn count_failed_login(&mut self) {
        self.failed_logins += 1;
        if self.failed_logins >= FAILED_LOGINS {
            self.state = State::Closing;
        }
    }

    /// Takes the answer to [`Question::Authenticate`].
    pub(super) fn authentication(&mut self, outcome: Authentication<M>, output: &mut Vec<u8>) {
        match outcome {
            Ok(Progress::Challenge(octets)) => {
                let _ = write!(output, "+ {}\r\n", sasl::challenge(&octets));
                self.state = State::Sasl;
            }
            Ok(Progress::Done(maildrop)) => self.open(maildrop, output),
            Err(denial) => self.deny(denial, output),
        }
    }

    /// Enters the TRANSACTION state.
    pub(super) fn open(&mut self, maildrop: M, output: &mut Vec<u8>) {
        let view = View::new(maildrop);
        super::transaction::count(&view, self.words(), output);
        self.state = State::Transaction(Box::new(view));
    }

    /// Tells the client why it is not logged in. RFC 3206 §4 tells those whose password is wrong from
    /// those who should wait.
    pub(super) fn deny(&mut self, denial: Denial, output: &mut Vec<u8>) {
        let words = self.words();
        self.state = State::Authorization;
        match denial {
            Denial::Credentials => coded("AUTH", words.wrong, output),
            Denial::Disabled => coded("AUTH", words.disabled, output),
            Denial::SendOnly => coded("SYS/PERM", words.send_only, output),
            Denial::Locked => coded("SYS/TEMP", words.locked, output),
            Denial::TooMany => coded("SYS/TEMP", words.too_many, output),
            Denial::Unavailable => coded("SYS/TEMP", words.unavailable, output),
            Denial::TooSoon => {
                let delay = self.profile.login_delay.as_secs();
                let _ = write!(output, "-ERR [LOGIN-DELAY] {delay} {}\r\n", words.too_soon);
            }
        }
        self.count_failed_login();
    }
}
