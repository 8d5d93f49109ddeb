//! The reason why a server could not even be asked to accept a message, in the form that the settlement
//! of an attempt needs.

use posta_mail::Reply;
use posta_net::tls::failure::TlsFailure;
use posta_smtp::client::Decision;

/// The failure of one server of a destination. Another server may still accept the message.
#[derive(Debug, Clone)]
pub(crate) struct HostFailure {
    /// The reply that describes the failure: the server's, or one made by this server.
    pub(crate) decision: Decision,
    /// The failure of TLS, if that is the reason.
    pub(crate) tls: Option<TlsFailure>,
    /// Whether the server's name has no address.
    pub(crate) has_no_address: bool,
    /// Whether a connection to the server was made.
    pub(crate) was_connected: bool,
}

impl HostFailure {
    /// Returns a failure described by a reply of this server's own.
    pub(crate) const fn new(reply: Reply) -> Self {
        let decision = Decision::ours(reply);
        Self { decision, tls: None, has_no_address: false, was_connected: false }
    }

    /// Returns the failure of a server that refused the session with this reply.
    pub(crate) const fn answered(reply: Reply) -> Self {
        let decision = Decision::answered(reply);
        Self { decision, tls: None, has_no_address: false, was_connected: true }
    }

    /// Returns the failure of a server that has no address (RFC 3463 §3.5: 5.4.4).
    pub(crate) fn no_address(name: &str) -> Self {
        let words = format!("The server {name} has no address");
        Self { has_no_address: true, ..Self::new(Reply::new(550, (5, 4, 4), words)) }
    }

    /// Returns a failure of TLS (RFC 3463 §3.8): 4.7.4 if it is not offered, otherwise 4.7.5.
    pub(crate) fn tls(failure: TlsFailure, words: String) -> Self {
        let detail = if failure == TlsFailure::StarttlsNotSupported { 4 } else { 5 };
        Self { tls: Some(failure), ..Self::new(Reply::new(451, (4, 7, detail), words)) }
    }
}
