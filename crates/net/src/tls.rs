//! TLS on both sides of a connection: our own certificates ([`server`]), those of other servers ([`client`], and
//! [`dane`] where their owners publish them in DNS), and what goes wrong with either.
//!
//! [`fault`] says what is wrong with a certificate, [`failure`] names it as TLS reports do (RFC 8460), and [`words`] says
//! to people what went wrong in a handshake.

pub mod client;
pub mod dane;
pub mod failure;
pub mod fault;
pub mod server;
pub mod words;
