//! What all sessions of a listener share: the kind of service, and what it offers and allows.

use posta_mail::{Domain, limits};
use std::time::Duration;

/// What kind of service a listener offers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Service {
    /// Transfer between servers (RFC 5321).
    Smtp,
    /// Submission by mail programs (RFC 6409).
    Submission,
    /// Delivery by a neighbouring server (RFC 2033).
    Lmtp,
}

impl Service {
    /// Returns the service's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Smtp => "smtp",
            Self::Submission => "submission",
            Self::Lmtp => "lmtp",
        }
    }
}

/// What all sessions of a listener share.
#[derive(Debug, Clone)]
pub struct Profile {
    /// The server's name for itself.
    pub hostname: Domain,
    /// The kind of service.
    pub service: Service,
    /// The largest content that is accepted, in octets (RFC 1870).
    pub message_size: u64,
    /// The limits of a session.
    pub limits: Limits,
    /// Whether a bare CR or LF from another server becomes CRLF, rather than a reason to refuse the message.
    /// From a mail program and by LMTP it always becomes CRLF.
    pub normalise_newlines: bool,
    /// Whether STARTTLS is offered while the session is in plaintext.
    pub starttls: bool,
    /// The SASL mechanisms that are offered, in upper case, strongest first; none: no AUTH.
    pub mechanisms: Vec<&'static str>,
    /// SASL mechanisms that are accepted in TLS though they are not offered.
    pub unannounced: Vec<&'static str>,
    /// Whether the mechanisms are offered in plaintext too.
    pub plaintext_auth: bool,
    /// Whether VRFY and EXPN tell who exists.
    pub verify: bool,
}

impl Profile {
    /// Returns the profile of a service without TLS and without AUTH, for messages of at most `message_size`
    /// octets.
    #[must_use]
    pub fn new(hostname: Domain, service: Service, message_size: u64, limits: Limits) -> Self {
        Self {
            hostname,
            service,
            message_size,
            limits,
            normalise_newlines: false,
            starttls: false,
            mechanisms: Vec::new(),
            unannounced: Vec::new(),
            plaintext_auth: false,
            verify: false,
        }
    }
}

/// The limits of a session.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Recipients in one transaction (RFC 5321 §4.5.3.1.8: at least 100); then 452.
    pub recipients: usize,
    /// Commands in one session; then 421.
    pub commands: u32,
    /// Commands that make no sense, since a program that sends many of them is guessing or is no SMTP client;
    /// then 421.
    pub bad_commands: u32,
    /// How long a command may take to come (RFC 5321 §4.5.3.2.7: at least 5 minutes); then 421.
    pub command_time: Duration,
    /// Seconds for which a submitted message may be held (RFC 4865 §3).
    pub hold: u32,
    /// Octets of content a second, on average over five minutes; below that, 421.
    pub rate: u64,
}

impl Limits {
    /// Returns the limits, with the two values that the operator chose.
    #[must_use]
    pub const fn new(recipients: usize, hold: u32) -> Self {
        Self {
            recipients,
            commands: limits::SMTP_COMMANDS,
            bad_commands: limits::SMTP_BAD_COMMANDS,
            command_time: limits::SMTP_SERVER_PATIENCE,
            hold,
            rate: limits::SMTP_MINIMUM_RATE,
        }
    }
}
