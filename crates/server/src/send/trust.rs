//! How the relay makes sure that it talks to the right server: which protection each connection needs.
//!
//! `protection` decides from DANE, MTA-STS, REQUIRETLS and the operator's settings; [`mta_sts`] fetches and keeps
//! the policies that domains publish on the web (RFC 8461).

pub mod mta_sts;
pub(crate) mod protection;
