//! A server, and how it is talked to.

use super::settings::Smarthost;
use posta_net::tls::client::Verify;
use std::sync::Arc;

/// How a connection is protected.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Trust {
    /// In TLS if the server offers that, whoever it is (RFC 7435).
    Opportunistic,
    /// In plaintext.
    Plaintext,
    /// In TLS, with a server that is known to be the right one, or not known to be.
    Tls(Verify),
}

/// A server, and how it is talked to. Those that differ have connections of their own.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Peer {
    /// Its name, or its address in brackets.
    pub(crate) name: String,
    pub(crate) port: u16,
    pub(crate) trust: Trust,
    /// What else the operator says of it.
    pub(crate) smarthost: Option<Arc<Smarthost>>,
}
