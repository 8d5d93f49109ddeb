//! What a node remembers, so that it need not ask the database: the lists of maildrops, what addresses lead to, and the
//! mod-sequences that it gave out.

mod listings;
mod mod_seqs;
mod resolutions;
mod shared_counts;

pub(crate) use listings::Listings;
pub(crate) use mod_seqs::ModSeqs;
pub(crate) use resolutions::Resolutions;
pub(crate) use shared_counts::{SharedCounts, cleared};
