//! The canonical form of an address: in the domain itself, if its domain is an alias of another one.

use posta_mail::Address;
use posta_store::{Store, StoreError};
use std::borrow::Cow;

/// Returns the address in the domain that its own is an alias of, or unchanged if its domain is not an
/// alias.
pub(crate) async fn canonical<'a>(
    store: &dyn Store,
    address: &'a Address,
) -> Result<Cow<'a, Address>, StoreError> {
    let domain = store.domain_alias(address.domain()).await?;
    let there = domain.and_then(|domain| Address::new(address.local_part(), &domain).ok());
    Ok(there.map_or(Cow::Borrowed(address), Cow::Owned))
}
