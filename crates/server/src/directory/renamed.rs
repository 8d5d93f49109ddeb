//! The former addresses of renamed accounts, for mail that was accepted for one of them and waits here: held messages
//! (RFC 4865) and messages in quarantine. When such a message is released and its recipient leads to nobody any more,
//! `directory.rs` asks here.

use super::canonical::canonical;
use posta_mail::{Address, Timestamp};
use posta_store::{AccountId, Store, StoreError};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The kind of the store's records that hold the renamings, by the former address.
const KIND: &str = "renamed-accounts";

/// How long a renaming is remembered: longer than mail waits here.
const REMEMBERED: Duration = Duration::from_secs(400 * 24 * 60 * 60);

/// The loss of an address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Renaming {
    /// The account that had the address.
    account: AccountId,
    /// When it lost the address.
    time: Timestamp,
}

/// Records that an account loses an address, and forgets what is long past.
///
/// # Errors
/// When the store fails.
pub(crate) async fn record(
    store: &dyn Store,
    old: &Address,
    account: AccountId,
    now: Timestamp,
) -> Result<(), StoreError> {
    for (name, record) in store.kept(KIND).await? {
        if decode(&record).iter().all(|renaming| renaming.time + REMEMBERED < now) {
            store.keep(KIND, &name, None).await?;
        }
    }
    let mut renamings = renamings(store, old).await?;
    renamings.push(Renaming { account, time: now });
    // A list of numbers and times can be written.
    let record = serde_json::to_vec(&renamings).unwrap_or_default();
    store.keep(KIND, old.as_str(), Some(record)).await
}

/// Returns the present address of the account that had an address when a message was accepted for it, if that account
/// has been renamed since.
///
/// # Errors
/// When the store fails.
pub(super) async fn present_address(
    store: &dyn Store,
    address: &Address,
    accepted: Timestamp,
) -> Result<Option<Address>, StoreError> {
    let address = canonical(store, address).await?.folded();
    for name in [Some(address.clone()), store.tags().untagged(&address)].into_iter().flatten() {
        // Others may have had the address later.
        let lost = renamings(store, &name).await?.into_iter().find(|it| it.time >= accepted);
        if let Some(Renaming { account, .. }) = lost {
            return Ok(store.account_by_id(account).await?.map(|account| account.address));
        }
    }
    Ok(None)
}

/// Returns the renamings of an address, the first one first.
async fn renamings(store: &dyn Store, address: &Address) -> Result<Vec<Renaming>, StoreError> {
    let record = store.kept_one(KIND, address.as_str()).await?;
    Ok(record.as_deref().map(decode).unwrap_or_default())
}

fn decode(record: &[u8]) -> Vec<Renaming> {
    serde_json::from_slice(record).unwrap_or_default()
}
