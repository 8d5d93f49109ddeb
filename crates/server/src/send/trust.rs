//! Whom the relay believes: which protection a connection to another server needs, and what a domain's owner says of it.
//!
//! `protection` decides from DANE, MTA-STS, REQUIRETLS and the operator's settings; [`mta_sts`] fetches and keeps the policies that
//! domains publish on the web (RFC 8461).

pub mod mta_sts;
pub(crate) mod protection;
