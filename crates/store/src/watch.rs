//! Watching: what changed, whoever changed it.

/// Tells what changed, whoever changed it.
pub trait Watch: Send + Sync + 'static {
    /// Returns a number that grows after every change of an account, whoever made it. Reading it
    /// costs no more than a look into memory, so that a session can ask at each command whether
    /// what it knows of its account may be out of date. Where accounts are read after it, they are
    /// at least as new.
    fn directory_version(&self) -> u64;
}
