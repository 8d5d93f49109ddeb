//! The origin of a message and its proof: iprev (RFC 8601 §3), SPF (RFC 7208), DKIM (RFC 6376), DMARC
//! (RFC 9989) and ARC (RFC 8617), and the field with the results (RFC 8601).
//!
//! Nothing in this crate opens a socket or reads a clock: DNS is asked through [`dns::Lookup`], time is
//! an argument, and content is lent in pieces as it arrives. Everything that a stranger can make large,
//! such as a record, a chain of includes or a list of signatures, has a named limit.

pub mod arc;
pub mod body;
pub mod dkim;
pub mod dmarc;
pub mod dns;
pub mod header;
pub mod iprev;
mod late_from;
pub mod observer;
pub mod results;
pub mod spf;
