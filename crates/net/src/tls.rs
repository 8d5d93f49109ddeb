//! TLS on both sides of a connection: our own certificates ([`server`]), those of other servers ([`client`], and
//! [`dane`] where their owners publish them in DNS), and what can go wrong with either.
//!
//! [`fault`] describes what is wrong with a certificate, [`failure`] names it in the terms of TLS reports
//! (RFC 8460), and [`words`] explains a failed handshake to people.

pub mod client;
pub mod dane;
pub mod failure;
pub mod fault;
pub mod server;
pub mod words;
