//! The embedded store: [`posta_store::Store`] on a log of its own, which holds the contents, and on
//! fjall, a log-structured merge tree, which holds the small records that show them.
//!
//! All changes go through one thread, the committer (`commit.rs`), which gathers those that wait at the same
//! moment into one batch and one sync. So transactions are serial without a lock, unique-ids are
//! drawn without one, and the cost of a sync is shared. Reads go straight to the engine from any
//! thread; they never wait for a commit.
//!
//! What a crash leaves: the log is replayed at the next start, each group whole or not at all.
//! Chunks of messages that were still arriving are found by their entry in the `arriving` keyspace
//! and dropped.

mod closed;
mod commit;
mod disk;
mod error;
mod key_file;
mod log;
mod meters;
mod salvage;
mod store;
mod tables;

pub use log::Missing;
pub use salvage::{Checked, Damage, LostMessage, Repaired, check, repair};
pub use store::FjallStore;
