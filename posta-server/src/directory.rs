//! Which mailbox an address means.

use posta_mail::{Address, Domain, ForwardPath, Reply};
use posta_store::{Account, Store, StoreError};
use std::sync::Arc;

/// Resolves recipients, when they are named: an unknown user is refused there, and no report has to
/// be written later.
#[derive(Clone)]
pub struct Directory {
    store: Arc<dyn Store>,
    hostname: Domain,
}

impl Directory {
    /// The directory of a store, on a server of this name.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, hostname: Domain) -> Self {
        Self { store, hostname }
    }

    /// The address and the account that a forward-path means, or the reply that refuses it.
    ///
    /// # Errors
    /// The refusal.
    pub async fn resolve(&self, path: ForwardPath) -> Result<(Address, Account), Reply> {
        let address = match path {
            ForwardPath::Address(address) => address,
            // RFC 5321 §4.5.1: the postmaster of this server.
            ForwardPath::Postmaster => Address::new("postmaster", &self.hostname)
                .map_err(|_| Reply::new(550, (5, 1, 1), "No such user here"))?,
        };
        match self.store.account(&address).await {
            Ok(Some(account)) => Ok((address, account)),
            Ok(None) => Err(self.unknown(&address).await),
            Err(error) => Err(store_failed(&error)),
        }
    }

    async fn unknown(&self, address: &Address) -> Reply {
        match self.store.is_local(address.domain()).await {
            Ok(true) => Reply::new(550, (5, 1, 1), "No such user here"),
            Ok(false) => Reply::new(550, (5, 7, 1), "That domain is not served here"),
            Err(error) => store_failed(&error),
        }
    }
}

/// The reply when the store fails: the client keeps the message and tries again. What failed is for
/// the log, not for strangers.
pub(crate) fn store_failed(error: &StoreError) -> Reply {
    tracing::error!(%error, "the store failed");
    Reply::new(451, (4, 3, 0), "Local error, try again later")
}
