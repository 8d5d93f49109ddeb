//! Logging in to a server elsewhere: which SASL mechanism is used, and what is said in it. The relay at a smarthost,
//! what collects mail and the program's own client all log in by it.

use crate::{clock::Clock, scram::ScramClient};
use posta_mail::{Secret, sasl::Opening};

/// How we log in elsewhere.
#[derive(Debug)]
pub enum ClientLogin {
    /// SCRAM.
    Scram(ScramClient),
    /// PLAIN or LOGIN: what is to be said when the server asks, from the back. PLAIN is said at once, and
    /// again to a server that takes no initial response.
    Lines(Vec<Vec<u8>>),
}

impl ClientLogin {
    /// Returns how to begin with the strongest mechanism of those offered, and what follows. A password is
    /// said only where it may be said.
    #[must_use]
    pub fn strongest(
        offered: &[String],
        user: &str,
        password: &Secret,
        exporter: Option<&[u8]>,
        may_say_password: bool,
        clock: &dyn Clock,
    ) -> Option<(Opening, Self)> {
        let has = |name: &str| offered.iter().any(|offered| offered == name);
        let exporter = exporter.filter(|_| has("SCRAM-SHA-256-PLUS"));
        if exporter.is_some() || has("SCRAM-SHA-256") {
            let (first, proof) = ScramClient::new(user, password.clone(), exporter, clock);
            let plus = if exporter.is_some() { "-PLUS" } else { "" };
            let mechanism = format!("SCRAM-SHA-256{plus}");
            return Some((Opening { mechanism, initial: Some(first) }, Self::Scram(proof)));
        }
        if has("PLAIN") && may_say_password {
            let message = [b"\0", user.as_bytes(), b"\0", password.expose()].concat();
            let initial = Some(message.clone());
            let opening = Opening { mechanism: "PLAIN".to_owned(), initial };
            return Some((opening, Self::Lines(vec![message])));
        }
        if has("LOGIN") && may_say_password {
            let lines = vec![password.expose().to_vec(), user.as_bytes().to_vec()];
            let opening = Opening { mechanism: "LOGIN".to_owned(), initial: None };
            return Some((opening, Self::Lines(lines)));
        }
        None
    }

    /// What to answer to a challenge; none to give up.
    pub fn respond(&mut self, challenge: &[u8]) -> Option<Vec<u8>> {
        match self {
            Self::Scram(proof) => proof.respond(challenge),
            Self::Lines(lines) => lines.pop(),
        }
    }

    /// Whether the server has proved that it knows the password, where the mechanism asks for that.
    #[must_use]
    pub const fn is_trusted(&self) -> bool {
        match self {
            Self::Scram(proof) => proof.is_mutual(),
            Self::Lines(_) => true,
        }
    }
}
