//! The AUTHORIZATION state: part of the server's state machine.

use super::{Asked, Server, Session, State, Taken, coded, err, ok};
use crate::{
    command::Command,
    question::{Answer, Denial, Maildrop, Question},
    view::View,
};
use posta_mail::{
    Step,
    sasl::{self, Exchange},
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

    /// Whether a password may travel.
    pub(super) const fn may_login(&self) -> bool {
        self.secured || self.plaintext_login
    }

    /// The mechanisms that are offered now.
    pub(super) fn mechanisms(&self) -> &[&'static str] {
        match (self.secured, self.plaintext_login) {
            (true, _) => &self.profile.secured_mechanisms,
            (false, true) => &self.profile.mechanisms,
            (false, false) => &[],
        }
    }

    pub(super) fn authorization(&mut self, command: Command, output: &mut Vec<u8>) -> Taken {
        let (words, may_login) = (self.words(), self.may_login());
        let Session::Authorization { name } = &mut self.session else { return None };
        match command {
            Command::Stls if self.secured => return self.bad_command(words.tls_on, output),
            Command::Stls if self.profile.stls => {
                ok(words.go_ahead, output);
                return Some(Step::StartTls);
            }
            Command::Stls => return self.bad_command(words.no_tls, output),
            Command::User(_) | Command::Pass(_) if !may_login => err(words.needs_tls, output),
            Command::User(given) => {
                // The same answer whether the name exists or not (RFC 1939 §13).
                *name = Some(given);
                ok(words.password_please, output);
            }
            Command::Pass(password) => {
                let Some(name) = name.take() else {
                    return self.bad_command(words.user_first, output);
                };
                return Some(self.ask_login(Question::Login { name, password }));
            }
            Command::Apop(name, digest) => match self.challenge.clone() {
                Some(challenge) => {
                    let challenge = challenge.into_string();
                    return Some(self.ask_login(Question::Apop { name, challenge, digest }));
                }
                None => return self.bad_command(words.no_apop, output),
            },
            Command::Auth(None, _) => {
                ok(words.mechanisms, output);
                for mechanism in self.mechanisms() {
                    let _ = write!(output, "{mechanism}\r\n");
                }
                output.extend_from_slice(b".\r\n");
            }
            Command::Auth(Some(_), _) if !may_login => err(words.needs_tls, output),
            Command::Auth(Some(mechanism), initial) => {
                return self.auth(mechanism, initial.as_deref(), output);
            }
            // Names and passwords are taken as UTF-8 in any case, and messages are sent as they are.
            Command::Utf8 => ok(words.utf8, output),
            _ => return self.bad_command(words.login_first, output),
        }
        None
    }

    fn ask_login(&mut self, question: Question) -> Step<'static, Question> {
        self.state = State::Asked(Asked::Login);
        Step::Ask(question)
    }

    /// RFC 5034 §4.
    fn auth(&mut self, mechanism: String, initial: Option<&[u8]>, output: &mut Vec<u8>) -> Taken {
        let unannounced = if self.secured { &self.profile.unannounced[..] } else { &[] };
        let mut taken = self.mechanisms().iter().chain(unannounced);
        if !taken.any(|known| *known == mechanism) {
            return self.bad_command(self.words().no_mechanism, output);
        }
        match sasl::start(mechanism, initial) {
            Ok(exchange) => Some(self.ask_login(Question::Authenticate(exchange))),
            Err(_) => self.bad_command(self.words().no_base64, output),
        }
    }

    /// A line of a SASL exchange.
    pub(super) fn sasl(&mut self, line: &[u8]) -> Step<'static, Question> {
        match sasl::response(line) {
            Ok(Exchange::Cancel) => self.cancel(self.words().cancelled),
            Ok(response) => self.ask_login(Question::Authenticate(response)),
            Err(_) => self.cancel(self.words().no_base64),
        }
    }

    /// Ends an exchange that proved nothing. Whoever answers the questions hears of it first, and
    /// may take a while to answer.
    pub(super) fn cancel(&mut self, words: &'static str) -> Step<'static, Question> {
        self.state = State::Asked(Asked::Cancellation(words));
        Step::Ask(Question::Authenticate(Exchange::Cancel))
    }

    /// The end of an exchange that was cancelled: a failed login like any other.
    pub(super) fn cancelled(&mut self, words: &str, output: &mut Vec<u8>) {
        self.bad_command(words, output);
        self.count_failed_login();
    }

    fn count_failed_login(&mut self) {
        self.failed_logins += 1;
        if self.failed_logins >= FAILED_LOGINS {
            self.state = State::Closing;
        }
    }

    pub(super) fn login(&mut self, answer: Answer<M>, output: &mut Vec<u8>) {
        let words = self.words();
        match answer {
            Answer::Opened(maildrop) => {
                let view = View::new(maildrop);
                super::count(&view, words, output);
                self.session = Session::Transaction(Box::new(view));
                return;
            }
            Answer::Challenge(octets) => {
                let _ = write!(output, "+ {}\r\n", sasl::challenge(&octets));
                self.state = State::Sasl;
                return;
            }
            // RFC 3206 §4 tells those whose password is wrong from those who should wait.
            Answer::Denied(Denial::Credentials) => coded("AUTH", words.wrong, output),
            Answer::Denied(Denial::Locked) => coded("SYS/TEMP", words.locked, output),
            Answer::Denied(Denial::Disabled) => coded("AUTH", words.disabled, output),
            Answer::Denied(Denial::TooMany) => coded("SYS/TEMP", words.too_many, output),
            Answer::Denied(Denial::TooSoon) => {
                let delay = self.profile.login_delay.as_secs();
                let _ = write!(output, "-ERR [LOGIN-DELAY] {delay} {}\r\n", words.too_soon);
            }
            _ => coded("SYS/TEMP", words.unavailable, output),
        }
        self.count_failed_login();
    }
}
