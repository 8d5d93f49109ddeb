//! Settings that can change while the server runs (`Server::reload`).

use std::sync::Arc;

use parking_lot::RwLock;

/// A setting that is replaced as a whole. A reader gets the current value, and can keep using it after a
/// replacement.
#[derive(Debug, Default)]
pub struct Adjustable<T>(RwLock<Arc<T>>);

impl<T> Adjustable<T> {
    /// Returns a setting with this initial value.
    #[must_use]
    pub fn new(value: T) -> Self {
        Self(RwLock::new(Arc::new(value)))
    }

    /// Returns the current value.
    #[must_use]
    pub fn get(&self) -> Arc<T> {
        self.0.read().clone()
    }

    /// Replaces the value.
    pub fn set(&self, value: T) {
        *self.0.write() = Arc::new(value);
    }
}

/// The number of things allowed: limited or unlimited.
#[derive(Debug, Default)]
pub struct Limit(Adjustable<Option<u32>>);

impl Limit {
    /// Allows `limit` things; 0 for any number.
    #[must_use]
    pub fn new(limit: u32) -> Self {
        Self(Adjustable::new(Some(limit).filter(|&limit| limit > 0)))
    }

    /// Returns the number allowed; `None` for any number.
    #[must_use]
    pub fn get(&self) -> Option<u32> {
        *self.0.get()
    }

    /// Allows `limit` things from now on; 0 for any number.
    pub fn set(&self, limit: u32) {
        self.0.set(Some(limit).filter(|&limit| limit > 0));
    }
}
