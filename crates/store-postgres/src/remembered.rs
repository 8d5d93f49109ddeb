//! What a node remembers, so that it need not ask the database: the lists of maildrops, what addresses lead to, the
//! mod-sequences that it gave out, and the lanes of the queue that it leaves alone.

mod listings;
mod mod_seqs;
mod pauses;
mod resolutions;
mod shared_counts;

pub(crate) use listings::Listings;
pub(crate) use mod_seqs::ModSeqs;
pub(crate) use pauses::Pauses;
pub(crate) use resolutions::Resolutions;
pub(crate) use shared_counts::{SharedCounts, cleared};
