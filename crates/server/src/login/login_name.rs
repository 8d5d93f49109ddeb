//! The name that a client gives to log in, and the account behind it. A name without an account is
//! treated like one with an account: in what is counted, in the replies, and in the time that they take.
//! So nobody learns which names exist.

use crate::{directory::canonical, login::principal::FoundAccount};
use posta_mail::Address;
use posta_net::scram::Verifier;
use posta_store::{Store, StoreError};

/// The name that a client gives to log in, and its account, if there is one.
#[derive(Debug, Clone)]
pub(crate) struct LoginName {
    /// The key under which failures are counted: the whole address in lower case, whether or not there
    /// is such an account.
    pub(crate) key: String,
    pub(crate) found: Option<FoundAccount>,
    /// The SCRAM verifier of one of several accounts that a local-part could mean. Such a name opens
    /// none of them, but the client must not be able to notice that.
    pub(crate) lookalike: Option<Verifier>,
}

impl LoginName {
    /// Finds the account of an address, or of a local-part that occurs in one domain only.
    pub(crate) async fn find(store: &dyn Store, name: &str) -> Result<Self, StoreError> {
        if let Ok(address) = name.parse::<Address>() {
            let found = FoundAccount::by_address(store, &address).await?;
            // An account has one key, whichever alias of its domain the client used.
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
        // The name is treated like that of an account in the first domain.
        let domains = store.domains().await?;
        let domain = domains.first().map(ToString::to_string).unwrap_or_default();
        let key = format!("{name}@{domain}").to_lowercase();
        Ok(Self { key, found: None, lookalike: None })
    }
}
