//! ARC (RFC 8617): the findings of the servers that a message has passed through, each under a seal.
//!
//! Each sealing server adds a set of three fields: its results, a signature over the message, and a seal
//! over all sets so far. An intact chain proves what its sealers found, not that they are honest: the
//! operator decides whom to trust.

mod chain;
mod seal;
mod verify;

pub use chain::{ArcSet, Chain, INSTANCES};
pub use seal::seal;
pub use verify::{ArcResult, ArcVerified, verify};
