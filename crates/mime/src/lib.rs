//! Messages as MIME has them (RFC 5322, RFC 2045): completing a header section, converting 8-bit
//! content, and writing reports.
//!
//! Pure functions and state machines over pieces of octets, as in [`posta_mail`]: no sockets, no files,
//! no clock, no randomness. A message is never held whole; a report's time, id and boundary come from
//! the caller.

pub mod convert;
pub mod dsn;
mod encode;
pub mod header;
pub mod originators;
mod report;
pub mod tls_report;
