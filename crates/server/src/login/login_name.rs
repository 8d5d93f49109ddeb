//! The account behind the name with which a client logs in. A name without an account is treated like one that has
//! one: in what is counted, in what is answered, and in how long that takes. So nobody learns which names exist.

use crate::{directory::canonical, login::principal::FoundAccount};
use posta_mail::Address;
use posta_net::scram::Verifier;
use posta_store::{Store, StoreError};

/// A name with which a client logs in, and its account, if there is one.
#[derive(Debug, Clone)]
pub(crate) struct Named {
    /// The key under which failures are counted: the whole address in lower case, whether or not there is such an
    /// account.
    pub(crate) key: String,
    pub(crate) found: Option<FoundAccount>,
    /// The verifier of one of several accounts that a local part could mean. Such a name opens none of them, but must
    /// look to the client as if it did.
    pub(crate) lookalike: Option<Verifier>,
}

impl Named {
    /// Finds the account of an address, or of a local part that only one domain has.
    pub(crate) async fn find(store: &dyn Store, name: &str) -> Result<Self, StoreError> {
        if let Ok(address) = name.parse::<Address>() {
            let found = FoundAccount::by_address(store, &address).await?;
            // An account has one key, whichever of its domain's aliases the client used.
            let key = match &found {
                Some(found) => found.address.to_string(),
                None => canonical(store, &address).await?.folded().to_string(),
            };
            return Ok(Self { key, found, lookalike: None });
        }
        if let Some(found) = FoundAccount::by_local_part(store, name).await? {
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
        // Treat the name as if it were an account of the first domain.
        let domains = store.domains().await?;
        let domain = domains.first().map(ToString::to_string).unwrap_or_default();
        let key = format!("{name}@{domain}").to_lowercase();
        Ok(Self { key, found: None, lookalike: None })
    }
}
