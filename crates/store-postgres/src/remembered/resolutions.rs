//! What addresses lead to, as this node was told lately, so that a RCPT command seldom waits for the database.
//!
//! A resolution is good for as long as nothing of the directory has changed ([`posta_store::Watch::directory_version`]), and
//! for half a minute at most, since a node that is cut off hears of nothing. A mailbox with a quota is counted each time.

use parking_lot::Mutex;
use posta_mail::Address;
use posta_store::{AddressOwner, Resolution};
use std::{collections::HashMap, time::Duration};
use tokio::time::Instant;

/// The number of addresses that are remembered.
const ADDRESSES: usize = 20_000;

/// The time for which they are.
const AGE: Duration = Duration::from_secs(30);

/// The addresses that were resolved since the directory changed last.
#[derive(Debug, Default)]
pub(crate) struct Resolutions(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    version: u64,
    by_address: HashMap<Address, (Instant, Resolution)>,
}

impl Resolutions {
    /// Returns what is known of an address in this version of the directory.
    pub(crate) fn get(&self, version: u64, address: &Address) -> Option<Resolution> {
        let known = self.0.lock();
        let (time, resolution) = known.by_address.get(address)?;
        (known.version == version && time.elapsed() < AGE).then(|| resolution.clone())
    }

    /// Remembers a resolution that was read after this version of the directory was known.
    pub(crate) fn keep(&self, version: u64, address: Address, resolution: &Resolution) {
        if let Some(AddressOwner::Account(account)) = &resolution.owner
            && account.usage.is_some()
        {
            return;
        }
        let mut known = self.0.lock();
        if known.version != version || known.by_address.len() >= ADDRESSES {
            // What was read before a change is no news.
            if known.version > version {
                return;
            }
            known.version = version;
            known.by_address.clear();
        }
        known.by_address.insert(address, (Instant::now(), resolution.clone()));
    }
}
