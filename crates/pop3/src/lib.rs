//! POP3 (RFC 1939, RFC 2449, RFC 2595, RFC 5034, RFC 6856) as pure state machines: [`server::Server`] and its mirror,
//! [`client::Client`]. Neither knows a socket, a file, a clock or a random number; see
//! [`posta_mail::engine`] for how they are driven.

pub mod client;
pub mod command;
mod maildrop;
mod marks;
mod profile;
pub mod server;
mod subject_mark;
pub mod top;
mod unique_ids;
mod view;
mod words;

pub use client::Client;
pub use marks::Marks;
pub use server::Server;
pub use subject_mark::SubjectMark;
pub use unique_ids::UniqueIds;
