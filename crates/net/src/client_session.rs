//! A connection of ours to a server elsewhere, as far as all protocols have it in common: negotiating TLS and logging in.
//!
//! The relay at a smarthost, what collects mail and the program's own client each hold a [`ClientSession`] for a connection.
//! Their engines ask for a login with the mechanisms that the server offers; the session chooses the strongest
//! that is safe, answers the server's challenges, and says whether the server has proved to be the right one.

use crate::{
    clock::Clock,
    scram::ScramClient,
    tls::client::{ClientTls, Verify},
    transport::Stream,
};
use posta_mail::{Secret, sasl::Opening};
use std::io;

/// TLS and the login on one connection to a server elsewhere.
#[derive(Debug, Default)]
pub struct ClientSession {
    /// What binds a login to this connection (RFC 9266).
    exporter: Option<Vec<u8>>,
    /// Whether TLS has shown that the server is the right one.
    is_verified: bool,
    mechanism: Option<Mechanism>,
    is_impostor: bool,
}

/// When a password may be sent as it is, by PLAIN or LOGIN.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plaintext {
    /// In TLS with a server whose certificate was checked.
    ToVerified,
    /// To whatever answers: whoever set up the login chose so.
    ToAnyone,
}

/// A SASL mechanism's next steps.
#[derive(Debug)]
enum Mechanism {
    /// SCRAM.
    Scram(ScramClient),
    /// PLAIN or LOGIN: what is sent when the server asks, last first. PLAIN sends its message with the command, and
    /// again to a server that takes no initial response.
    Lines(Vec<Vec<u8>>),
}

impl ClientSession {
    /// Negotiates TLS with a server of this name. Returns the connection, and its version and cipher suite in words.
    ///
    /// # Errors
    /// When the handshake fails or takes too long, or the certificate is not what `verify` demands.
    pub async fn secure(
        &mut self,
        stream: Box<dyn Stream>,
        tls: &ClientTls,
        name: &str,
        verify: &Verify,
    ) -> io::Result<(Box<dyn Stream>, String)> {
        let (stream, negotiated) = tls.connect(stream, name, verify).await?;
        self.exporter = negotiated.exporter;
        self.is_verified = *verify != Verify::Anyone;
        Ok((stream, negotiated.about))
    }

    /// Begins a login with the strongest mechanism of those offered. Returns its opening; none if no mechanism is safe
    /// here.
    pub fn begin_login(
        &mut self,
        offered: &[String],
        (user, password): (&str, &Secret),
        plaintext: Plaintext,
        clock: &dyn Clock,
    ) -> Option<Opening> {
        self.mechanism = None;
        let has = |name: &str| offered.iter().any(|offered| offered == name);
        let exporter = self.exporter.as_deref().filter(|_| has("SCRAM-SHA-256-PLUS"));
        if exporter.is_some() || has("SCRAM-SHA-256") {
            let (first, proof) = ScramClient::new(user, password.clone(), exporter, clock);
            let plus = if exporter.is_some() { "-PLUS" } else { "" };
            self.mechanism = Some(Mechanism::Scram(proof));
            let mechanism = format!("SCRAM-SHA-256{plus}");
            return Some(Opening { mechanism, initial: Some(first) });
        }
        if plaintext == Plaintext::ToVerified && !self.is_verified {
            return None;
        }
        if has("PLAIN") {
            let message = [b"\0", user.as_bytes(), b"\0", password.expose()].concat();
            self.mechanism = Some(Mechanism::Lines(vec![message.clone()]));
            return Some(Opening { mechanism: "PLAIN".to_owned(), initial: Some(message) });
        }
        if has("LOGIN") {
            let lines = vec![password.expose().to_vec(), user.as_bytes().to_vec()];
            self.mechanism = Some(Mechanism::Lines(lines));
            return Some(Opening { mechanism: "LOGIN".to_owned(), initial: None });
        }
        None
    }

    /// Returns the response to a server's challenge; none to cancel the exchange.
    pub fn respond(&mut self, challenge: &[u8]) -> Option<Vec<u8>> {
        let response = match self.mechanism.as_mut()? {
            Mechanism::Scram(proof) => proof.respond(challenge),
            Mechanism::Lines(lines) => lines.pop(),
        };
        self.is_impostor = response.is_none();
        response
    }

    /// Whether an exchange was cancelled because the server could not prove that it knows the password (RFC 5802 §5).
    #[must_use]
    pub const fn is_impostor(&self) -> bool {
        self.is_impostor
    }

    /// Whether a server that has accepted the login is to be trusted: by SCRAM it has to prove, too, that it knows the
    /// password.
    #[must_use]
    pub const fn is_trusted(&self) -> bool {
        match &self.mechanism {
            Some(Mechanism::Scram(proof)) => proof.is_mutual(),
            Some(Mechanism::Lines(_)) | None => true,
        }
    }
}
