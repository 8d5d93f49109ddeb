//! A server to which mail is sent, and how the connection to it is protected: the key by which connections are
//! shared.

use super::settings::Smarthost;
use posta_net::tls::client::Verify;
use std::sync::Arc;

/// How a connection is protected.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Protection {
    /// By TLS if the server offers it, with any certificate (RFC 7435).
    Opportunistic,
    /// Not at all: plaintext.
    Plaintext,
    /// By TLS, with the server verified like this.
    Tls(Verify),
}

/// A server, and how connections to it are protected. Peers that differ in anything do not share connections.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Peer {
    /// The server's name, or its address in brackets.
    pub(crate) name: String,
    pub(crate) port: u16,
    pub(crate) protection: Protection,
    /// The operator's settings, if it is a smarthost.
    pub(crate) smarthost: Option<Arc<Smarthost>>,
}
