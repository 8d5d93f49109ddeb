//! Settings that can change while the server runs (`Server::reload`).

use std::sync::Arc;

use parking_lot::RwLock;

/// A setting that changes as a whole: whoever asks gets what holds now, and keeps it while it works.
#[derive(Debug, Default)]
pub struct Adjustable<T>(RwLock<Arc<T>>);

impl<T> Adjustable<T> {
    /// A setting, as it is at first.
    #[must_use]
    pub fn new(value: T) -> Self {
        Self(RwLock::new(Arc::new(value)))
    }

    /// Returns what holds now.
    #[must_use]
    pub fn get(&self) -> Arc<T> {
        self.0.read().clone()
    }

    /// Changes it.
    pub fn set(&self, value: T) {
        *self.0.write() = Arc::new(value);
    }
}

/// A number of things that is allowed, or any.
#[derive(Debug, Default)]
pub struct Limit(Adjustable<Option<u32>>);

impl Limit {
    /// Allows so many; 0 for any number.
    #[must_use]
    pub fn new(limit: u32) -> Self {
        Self(Adjustable::new(Some(limit).filter(|&limit| limit > 0)))
    }

    /// Returns how many are allowed; none for any number.
    #[must_use]
    pub fn get(&self) -> Option<u32> {
        *self.0.get()
    }

    /// Allows so many from now on; 0 for any number.
    pub fn set(&self, limit: u32) {
        self.0.set(Some(limit).filter(|&limit| limit > 0));
    }
}
