//! TLS on both sides of a connection: the server's own certificates ([`server`]), those of other servers
//! ([`client`], and [`dane`] where their owners publish them in DNS), and the failures of either.
//!
//! [`fault`] describes faults of a certificate, [`failure`] names them in the terms of TLS reports (RFC
//! 8460), and [`words`] explains a failed handshake to people. [`summary`] reads the
//! contents of one of our certificates for the operator, and `version_1.rs` certificates that are too old for
//! the library.

pub mod client;
pub mod dane;
pub mod failure;
pub mod fault;
pub mod server;
pub mod summary;
mod version_1;
pub mod words;

#[cfg(test)]
mod tests;
