//! The reader of mail for a domain's postmaster and abuse addresses, which must reach a person (RFC 5321
//! §4.5.1, RFC 2142 §2, §4): the account or alias of that name; otherwise the address that the operator
//! chose; otherwise the domain's catch-all; otherwise the domain's first account. `follow.rs` asks here.

use super::canonical::canonical;
use posta_mail::{Address, Domain};
use posta_store::{Store, StoreError};

/// The kind of the store's records that hold the operator's choices, by domain.
const KIND: &str = "postmaster";

/// The local-parts that every domain must have.
pub(crate) const DUTIES: [&str; 2] = ["postmaster", "abuse"];

/// Returns whether a local-part is one of [`DUTIES`].
pub(super) fn is_duty(local_part: &str) -> bool {
    DUTIES.iter().any(|duty| local_part.eq_ignore_ascii_case(duty))
}

/// Returns the address that the operator chose for a domain.
pub(super) async fn named(store: &dyn Store, domain: &str) -> Result<Option<Address>, StoreError> {
    let record = store.kept_one(KIND, domain).await?;
    let text = record.and_then(|record| String::from_utf8(record).ok());
    Ok(text.and_then(|text| Address::try_from(text).ok()))
}

/// Stores the operator's choice of a reader for a domain's postmaster and abuse addresses; `None`
/// removes the choice.
///
/// # Errors
/// When the store fails.
pub(crate) async fn name(
    store: &dyn Store,
    domain: &Domain,
    address: Option<&Address>,
) -> Result<(), StoreError> {
    let record = address.map(|address| address.as_str().as_bytes().to_vec());
    store.keep(KIND, domain.as_str(), record).await
}

/// Returns the domains for which the operator chose this address.
///
/// # Errors
/// When the store fails.
pub(crate) async fn named_for(
    store: &dyn Store,
    address: &Address,
) -> Result<Vec<Domain>, StoreError> {
    let mut domains = Vec::new();
    for (domain, record) in store.kept(KIND).await? {
        let reader = String::from_utf8(record).ok().and_then(|text| Address::try_from(text).ok());
        let (Some(reader), Ok(domain)) = (reader, domain.parse()) else { continue };
        if canonical(store, &reader).await?.folded() == address.folded() {
            domains.push(domain);
        }
    }
    Ok(domains)
}

/// Returns the domain whose postmaster is also the server's, if the server's name is not a local domain:
/// its parent domain if that is local, otherwise the first local domain.
pub(super) async fn domain_of_host(
    store: &dyn Store,
    hostname: &Domain,
) -> Result<Option<Domain>, StoreError> {
    if let Some((_, parent)) = hostname.as_str().split_once('.')
        && store.is_local(parent).await?
    {
        return Ok(parent.parse().ok());
    }
    Ok(store.domains().await?.into_iter().next())
}
