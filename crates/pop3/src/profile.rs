//! What all sessions of a listener share.

use posta_mail::limits;
use std::time::Duration;

/// What all sessions of a listener share.
#[derive(Debug, Clone)]
pub struct Profile {
    /// The server's name for itself.
    pub hostname: String,
    /// Whether STLS is offered while the session is in plaintext.
    pub stls: bool,
    /// SASL mechanisms (RFC 5034) in plaintext, where a login in plaintext is allowed.
    pub mechanisms: Vec<&'static str>,
    /// SASL mechanisms in TLS.
    pub secured_mechanisms: Vec<&'static str>,
    /// SASL mechanisms that are accepted in TLS though they are not offered.
    pub unannounced: Vec<&'static str>,
    /// Days after which a retrieved message expires; `None` for never (RFC 2449 §6.7).
    pub expire: Option<u32>,
    /// How long an account must wait between two logins (RFC 2449 §6.6).
    pub login_delay: Duration,
    /// How long a session may wait for a command: at least ten minutes (RFC 1939 §3).
    pub patience: Duration,
}

impl Profile {
    /// Makes a profile that offers nothing beyond RFC 1939.
    #[must_use]
    pub fn new(hostname: String) -> Self {
        Self {
            hostname,
            stls: false,
            mechanisms: Vec::new(),
            secured_mechanisms: Vec::new(),
            unannounced: Vec::new(),
            expire: None,
            login_delay: Duration::ZERO,
            patience: limits::POP3_SERVER_PATIENCE,
        }
    }
}
