//! The networks from which each account has been used. A name under attack stays open to its owner from these, and
//! hashes for clients from other networks run at a lower priority. The store keeps them, so that a restart forgets none.

use parking_lot::Mutex;
use posta_mail::Timestamp;
use posta_net::{client_network::ClientNetwork, clock::Clock};
use posta_store::{AccountId, Store, StoreError};
use serde::{Deserialize, Serialize};
use std::{collections::HashMap, sync::Arc};

/// The maximal number of networks remembered for an account: the most recent ones.
const KNOWN: usize = 32;

/// The number of days after which the use of a network is recorded again.
const RECORDED_EVERY: i64 = 7;

/// The maximal number of entries cached in memory; beyond it, all are dropped.
const CACHED: usize = 100_000;

/// The kind of the store's records that hold known networks, by the account's id.
pub(in crate::login) const KIND: &str = "known-networks";

/// Records the networks from which accounts are used.
pub(super) struct KnownNetworks {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    /// The networks from which accounts were used, each with the day since 1970 of the record.
    cache: Mutex<HashMap<(ClientNetwork, AccountId), i64>>,
}

/// A network from which an account was used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Known {
    network: String,
    /// The day of the record, counted from 1970.
    day: i64,
}

impl KnownNetworks {
    pub(super) fn new(store: Arc<dyn Store>, clock: Arc<dyn Clock>) -> Self {
        Self { store, clock, cache: Mutex::default() }
    }

    /// Returns whether an account has been used from a network before.
    ///
    /// # Errors
    /// When the store fails.
    pub(super) async fn contains(
        &self,
        network: ClientNetwork,
        account: AccountId,
    ) -> Result<bool, StoreError> {
        if self.cache.lock().contains_key(&(network, account)) {
            return Ok(true);
        }
        let name = network.to_string();
        Ok(self.read(account).await?.iter().any(|known| known.network == name))
    }

    /// Records that an account is used from a network, unless that was recorded in the last days.
    ///
    /// # Errors
    /// When the store fails.
    pub(super) async fn record(
        &self,
        network: ClientNetwork,
        account: AccountId,
    ) -> Result<(), StoreError> {
        let today = day(self.clock.now());
        let is_recent = |day: i64| today < day + RECORDED_EVERY;
        if self.cache.lock().get(&(network, account)).is_some_and(|&day| is_recent(day)) {
            return Ok(());
        }
        let mut known = self.read(account).await?;
        let name = network.to_string();
        let recorded = known.iter().find(|known| known.network == name).map(|known| known.day);
        let recorded = recorded.filter(|&day| is_recent(day));
        if recorded.is_none() {
            known.retain(|known| known.network != name);
            known.insert(0, Known { network: name, day: today });
            known.truncate(KNOWN);
            let record = serde_json::to_vec(&known).unwrap_or_default();
            self.store.keep(KIND, &account.0.to_string(), Some(record)).await?;
        }
        let mut cache = self.cache.lock();
        if cache.len() >= CACHED {
            cache.clear();
        }
        cache.insert((network, account), recorded.unwrap_or(today));
        Ok(())
    }

    /// Reads the networks from which an account was used, the most recent first.
    async fn read(&self, account: AccountId) -> Result<Vec<Known>, StoreError> {
        let record = self.store.kept_one(KIND, &account.0.to_string()).await?;
        // A record that cannot be parsed costs the owner only this exception.
        Ok(record.and_then(|record| serde_json::from_slice(&record).ok()).unwrap_or_default())
    }
}

fn day(time: Timestamp) -> i64 {
    time.as_second().div_euclid(24 * 60 * 60)
}
