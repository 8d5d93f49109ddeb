//! ARC (RFC 8617): what servers on the way found when they checked a message, each under a seal.
//!
//! Each server that seals adds a set of three fields: its results, a signature over the message, and a seal over all
//! sets so far. A chain that is whole proves what its sealers say, not that they are honest: whom to believe is up to
//! the operator.

mod chain;
mod seal;
mod verify;

pub use chain::{ArcSet, Chain, INSTANCES};
pub use seal::seal;
pub use verify::{ArcResult, ArcVerified, verify};
