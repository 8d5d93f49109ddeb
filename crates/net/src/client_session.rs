//! The steps that all protocols share on a connection to another server: negotiating TLS and logging in.
//!
//! The relay (for a smarthost), the collector and the program's own client hold a [`ClientSession`] for
//! each connection. Their engines ask for a login and list the mechanisms that the server offers. The
//! session chooses the strongest safe mechanism, answers the server's challenges, and says whether the
//! server has proved its identity.

use crate::{
    clock::Clock,
    scram::ScramClient,
    tls::client::{ClientTls, Verify},
    transport::Stream,
};
use posta_mail::{Secret, sasl::Opening};
use std::io;

/// The state of TLS and of the login on one connection to another server.
#[derive(Debug, Default)]
pub struct ClientSession {
    /// The channel binding, which ties a login to this connection (RFC 9266).
    exporter: Option<Vec<u8>>,
    /// Whether TLS has proved the server's identity.
    is_verified: bool,
    mechanism: Option<Mechanism>,
    is_password_shown: bool,
    is_impostor: bool,
}

/// The servers to which a password may be sent in the clear, by PLAIN or LOGIN.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plaintext {
    /// Servers whose certificate was verified, inside TLS only.
    ToVerified,
    /// Any server, because the operator who set up the login said so.
    ToAnyone,
}

/// The remaining steps of a SASL mechanism.
#[derive(Debug)]
enum Mechanism {
    /// The SCRAM exchange.
    Scram(ScramClient),
    /// The messages of PLAIN or LOGIN that are sent when the server asks, in reverse order. PLAIN sends
    /// its message with the command, and again to a server that ignores initial responses.
    Lines(Vec<Vec<u8>>),
}

impl ClientSession {
    /// Negotiates TLS with a server of this name. Returns the connection, and its version and cipher
    /// suite in words.
    ///
    /// # Errors
    /// When the handshake fails or takes too long, or the certificate does not satisfy `verify`.
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

    /// Begins a login with the strongest of the offered mechanisms. Returns the opening message; none if
    /// no mechanism is safe on this connection.
    pub fn begin_login(
        &mut self,
        offered: &[String],
        (user, password): (&str, &Secret),
        plaintext: Plaintext,
        clock: &dyn Clock,
    ) -> Option<Opening> {
        self.mechanism = None;
        self.is_password_shown = false;
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
            self.is_password_shown = true;
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
        let (response, is_last) = match self.mechanism.as_mut()? {
            Mechanism::Scram(proof) => (proof.respond(challenge), true),
            Mechanism::Lines(lines) => {
                let line = lines.pop();
                (line, lines.is_empty())
            }
        };
        self.is_password_shown |= is_last && response.is_some();
        self.is_impostor = response.is_none();
        response
    }

    /// Returns whether the server has all that it needs to check the password by the mechanism that was begun last.
    #[must_use]
    pub const fn is_password_shown(&self) -> bool {
        self.is_password_shown
    }

    /// Returns whether an exchange was cancelled because the server failed to prove that it knows the
    /// password (RFC 5802 §5).
    #[must_use]
    pub const fn is_impostor(&self) -> bool {
        self.is_impostor
    }

    /// Returns whether a server that has accepted the login can be trusted. With SCRAM, the server must
    /// have proved that it knows the password, too.
    #[must_use]
    pub const fn is_trusted(&self) -> bool {
        match &self.mechanism {
            Some(Mechanism::Scram(proof)) => proof.is_mutual(),
            Some(Mechanism::Lines(_)) | None => true,
        }
    }
}
