//! `/login`: logs in with the strongest mechanism that the server offers, so that nobody has to compute base64 or SCRAM
//! by hand.

use super::{
    Protocols,
    protocol::{Protocol, verb},
};
use anyhow::Result;
use base64::{Engine, prelude::BASE64_STANDARD};
use posta_net::{
    client_session::{ClientSession, Plaintext},
    clock::SystemClock,
};

/// What is shown of a secret.
pub(super) const HIDDEN: &str = "••••";

/// An exchange of AUTH that this program carries out.
#[derive(Default)]
pub(super) struct Login {
    challenge: Vec<u8>,
}

impl Login {
    /// Asks for a name and a password. Returns the exchange, the command that begins it, and what is shown of that;
    /// `None` if the server offers no mechanism that is safe here.
    ///
    /// # Errors
    /// When the terminal cannot be read.
    pub(super) async fn ask(
        which: Protocols,
        protocol: &dyn Protocol,
        session: &mut ClientSession,
    ) -> Result<Option<(Self, String, String)>> {
        if protocol.mechanisms().is_empty() {
            return Ok(None);
        }
        let asked = tokio::task::spawn_blocking(|| {
            eprint!("Name: ");
            let name = super::input::piped()?.unwrap_or_default();
            anyhow::Ok((name, crate::command::read_password(false, "Password: ")?))
        });
        let (name, password) = asked.await??;
        let login = (name.as_str(), &password);
        let opening =
            session.begin_login(protocol.mechanisms(), login, Plaintext::ToVerified, &SystemClock);
        Ok(opening.map(|opening| {
            let command = format!("AUTH {}", opening.mechanism);
            let initial = opening.initial.map(|initial| match initial.is_empty() {
                true => "=".to_owned(),
                false => BASE64_STANDARD.encode(initial),
            });
            // A server of POP3 may refuse longer command lines (RFC 5034 §4, RFC 2449 §4).
            match initial.filter(|initial| which == Protocols::Smtp || initial.len() < 200) {
                Some(initial) => {
                    (Self::default(), format!("{command} {initial}"), format!("{command} {HIDDEN}"))
                }
                None => (Self::default(), command.clone(), command),
            }
        }))
    }

    /// Takes a challenge of the server, in base64.
    pub(super) fn challenged(&mut self, challenge: &str) {
        // What is not base64 cannot be answered, and cancels the exchange.
        self.challenge = BASE64_STANDARD.decode(challenge).unwrap_or_else(|_| challenge.into());
    }

    /// Returns the response to the challenge.
    pub(super) fn response(&mut self, session: &mut ClientSession) -> String {
        let response = session.respond(&std::mem::take(&mut self.challenge));
        response.map_or_else(|| "*".to_owned(), |response| BASE64_STANDARD.encode(response))
    }
}

/// Returns what to do when `/login` finds no mechanism.
pub(super) fn impossible(which: Protocols) -> String {
    let (ask, begin) = match which {
        Protocols::Smtp => ("EHLO", "STARTTLS"),
        Protocols::Pop3 => ("CAPA", "STLS"),
    };
    format!("no safe way to log in is known here: ask with {ask}, or begin TLS with {begin} first")
}

/// Returns a command without the secret that it may hold.
pub(super) fn without_secret(line: &str) -> String {
    let (verb, rest) = verb(line);
    match (verb.as_str(), rest.split_once(' ')) {
        ("PASS", _) => format!("PASS {HIDDEN}"),
        ("AUTH", Some((mechanism, _))) => format!("AUTH {mechanism} {HIDDEN}"),
        _ => line.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_not_shown() {
        for (line, shown) in [
            ("PASS parola", "PASS ••••"),
            ("pass a b", "PASS ••••"),
            ("AUTH PLAIN AGEAYg==", "AUTH PLAIN ••••"),
            ("AUTH LOGIN", "AUTH LOGIN"),
            ("USER ana", "USER ana"),
        ] {
            assert_eq!(without_secret(line), shown);
        }
    }
}
