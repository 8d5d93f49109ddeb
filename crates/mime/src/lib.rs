//! Messages in MIME format (RFC 5322, RFC 2045): completing a header section, converting 8-bit content,
//! and writing and reading reports.
//!
//! The server's floors `receive`, `send` and `reports` call this crate. It consists of pure functions
//! and state machines over pieces of octets, as [`posta_mail`] does: no sockets, files, clock or
//! randomness. No message is ever held whole, but for one that may carry a report, up to a limit
//! ([`received`]); and the caller supplies the time, id and boundary of a report.

pub mod certificate_notice;
pub mod convert;
pub mod dmarc_report;
pub mod dsn;
mod encode;
pub mod header;
pub mod local;
pub mod note;
pub mod originators;
pub mod received;
mod report;
pub mod tls_report;
