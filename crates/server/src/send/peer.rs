//! A server to which mail is sent, and the protection of the connection to it. Connections are shared by
//! this key.

use super::settings::Smarthost;
use posta_net::tls::client::Verify;
use std::sync::Arc;

/// The protection of a connection.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Protection {
    /// TLS if the server offers it, with any certificate (RFC 7435).
    Opportunistic,
    /// None: plaintext.
    Plaintext,
    /// TLS, with this verification of the server.
    Tls(Verify),
}

/// A server, and the protection of connections to it. Peers that differ in anything do not share
/// connections.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Peer {
    /// The server's name, or its address in brackets.
    pub(crate) name: String,
    pub(crate) port: u16,
    pub(crate) protection: Protection,
    /// The operator's settings, if the server is a smarthost.
    pub(crate) smarthost: Option<Arc<Smarthost>>,
}
