//! The relay's certainty that it talks to the right server: the protection that each connection needs.
//!
//! `protection` decides from DANE, MTA-STS, REQUIRETLS and the operator's settings; [`mta_sts`] fetches
//! and stores the policies that domains publish on the web (RFC 8461).

pub mod mta_sts;
pub(crate) mod protection;
