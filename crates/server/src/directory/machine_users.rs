//! The addresses of this machine's users, whom its programs name without a domain: cron writes to `root`.

use super::{Directory, postmaster::domain_of_host};
use posta_mail::Address;
use posta_store::StoreError;

impl Directory {
    /// Returns the address of a user's name: in the domain of this server if somebody has that address, and otherwise at
    /// this server's name, whose mail goes to the postmaster. Returns none if the name cannot be part of an address.
    ///
    /// # Errors
    /// When the store fails.
    pub(crate) async fn address_of_user(&self, name: &str) -> Result<Option<Address>, StoreError> {
        let domain = domain_of_host(&*self.store, &self.hostname).await?;
        if let Some(address) = domain.and_then(|domain| Address::new(name, &domain).ok())
            && !self.follow(&address).await?.is_unknown()
        {
            return Ok(Some(address));
        }
        Ok(Address::new(name, &self.hostname).ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use posta_store::{Credentials, Directory as _, MemoryStore};
    use std::sync::Arc;

    #[tokio::test]
    async fn users_are_found_in_the_domain_of_the_server() {
        let store = Arc::new(MemoryStore::new());
        for account in ["zoe@a.test", "ana@x.test"] {
            store.add_account(&account.parse().unwrap(), Credentials::default()).await.unwrap();
        }
        let directory = Directory::new(store, "mail.x.test".parse().unwrap());
        for (name, address) in [
            ("ana", Some("ana@x.test")),
            ("zoe", Some("zoe@mail.x.test")),
            ("root", Some("root@mail.x.test")),
            ("two words", None),
        ] {
            let found = directory.address_of_user(name).await.unwrap();
            assert_eq!(found.as_ref().map(Address::as_str), address, "{name}");
        }
    }
}
