//! Why a server did not take a message.

use posta_mail::Reply;
use posta_net::tls::failure::TlsFailure;
use posta_smtp::client::Decision;

/// A server did not take a message, and another may.
#[derive(Debug, Clone)]
pub(crate) struct Trouble {
    /// The reply that stands for it: its own, or ours.
    pub(crate) decision: Decision,
    /// What was wrong with TLS, if that was it.
    pub(crate) tls: Option<TlsFailure>,
    /// Whether the server has no address at all.
    pub(crate) is_nobody: bool,
    /// Whether it came to talking with it.
    pub(crate) is_met: bool,
}

impl Trouble {
    /// Anything but TLS.
    pub(crate) const fn new(reply: Reply) -> Self {
        Self { decision: Decision::ours(reply), tls: None, is_nobody: false, is_met: false }
    }

    /// The server itself refused to talk.
    pub(crate) const fn answered(reply: Reply) -> Self {
        Self { decision: Decision::answered(reply), tls: None, is_nobody: false, is_met: true }
    }

    /// The server has no address (RFC 3463 §3.5: 5.4.4).
    pub(crate) fn no_address(name: &str) -> Self {
        let words = format!("The server {name} has no address");
        Self { is_nobody: true, ..Self::new(Reply::new(550, (5, 4, 4), words)) }
    }

    /// TLS (RFC 3463 §3.8): 4.7.4 where it is not offered, else 4.7.5.
    pub(crate) fn tls(failure: TlsFailure, words: String) -> Self {
        let detail = if failure == TlsFailure::StarttlsNotSupported { 4 } else { 5 };
        Self { tls: Some(failure), ..Self::new(Reply::new(451, (4, 7, detail), words)) }
    }
}
