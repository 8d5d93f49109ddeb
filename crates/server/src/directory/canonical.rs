//! The forms of an address that name the same mailbox: in the domain that its own stands for, and without a tag.

use posta_mail::Address;
use posta_store::{Store, StoreError};
use std::borrow::Cow;

/// What separates a user from a tag: `ana+shopping` is `ana` (RFC 5233).
const TAG: char = '+';

/// Returns the address in the domain that its own stands for; itself where that stands for none.
pub(crate) async fn canonical<'a>(
    store: &dyn Store,
    address: &'a Address,
) -> Result<Cow<'a, Address>, StoreError> {
    let domain = store.domain_alias(address.domain()).await?;
    let there = domain.and_then(|domain| Address::new(address.local_part(), &domain).ok());
    Ok(there.map_or(Cow::Borrowed(address), Cow::Owned))
}

/// Returns the address without its tag, if it has one.
pub(crate) fn untagged(address: &Address) -> Option<Address> {
    let (user, _) = address.local_part().split_once(TAG)?;
    Address::new(user, &address.domain().parse().ok()?).ok()
}
