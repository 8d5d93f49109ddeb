//! SMTP (RFC 5321) and LMTP (RFC 2033) as pure state machines: [`server::Server`] and its mirror,
//! [`client::Client`]. Neither knows a socket, a file, a clock or a random number; see
//! [`posta_mail::engine`] for how they are driven.

mod chunk_decoder;
pub mod client;
pub mod command;
mod extension;
mod incoming;
mod parameters;
mod profile;
pub mod reply;
pub mod server;
mod words;

pub use client::Client;
pub use server::Server;
