//! What a name that somebody logs in with means. A name that means nothing is treated as one that does,
//! in what is counted, in what is told and in how long that takes.

use crate::{directory::canonical, login::principal::Found};
use posta_mail::Address;
use posta_net::scram::Verifier;
use posta_store::{Store, StoreError};

/// A name, and the account that it means, if any.
#[derive(Debug, Clone)]
pub(crate) struct Named {
    /// What the name is counted under: the whole address in lower case, whether there is such an
    /// account or not.
    pub(crate) key: String,
    pub(crate) found: Option<Found>,
    /// What one of several accounts that a name could mean would tell: an account more than one domain
    /// has is none, and must not look otherwise than one.
    pub(crate) lookalike: Option<Verifier>,
}

impl Named {
    /// Finds the account of an address, or of a local-part that only one domain has.
    pub(crate) async fn find(store: &dyn Store, name: &str) -> Result<Self, StoreError> {
        if let Ok(address) = name.parse::<Address>() {
            let found = Found::by_address(store, &address).await?;
            // One account has one key, whatever domains stand for its own.
            let key = match &found {
                Some(found) => found.address.to_string(),
                None => canonical(store, &address).await?.folded().to_string(),
            };
            return Ok(Self { key, found, lookalike: None });
        }
        if let Some(found) = Found::by_local_part(store, name).await? {
            return Ok(Self {
                key: found.address.to_string(),
                found: Some(found),
                lookalike: None,
            });
        }
        if let Some(first) = store.accounts_named(name).await?.into_iter().next() {
            let lookalike = first.credentials.scram.as_deref().and_then(|text| text.parse().ok());
            return Ok(Self { key: first.address.to_string(), found: None, lookalike });
        }
        // As if it were an account of the first domain.
        let domains = store.domains().await?;
        let domain = domains.first().map(ToString::to_string).unwrap_or_default();
        let key = format!("{name}@{domain}").to_lowercase();
        Ok(Self { key, found: None, lookalike: None })
    }
}
