//! The account of a session that is logged in, and whether the login still holds.
//!
//! A session may last a day. Meanwhile its account can be removed or get another password, perhaps
//! because a thief who holds this very session has stolen the old one. So each step of a mail
//! transaction and each command on a maildrop checks whether the account is still the same as at the
//! login. The check compares one number,
//! [`Watch::directory_version`](posta_store::Watch::directory_version), until some account changes; then
//! each session looks up its own account once. A login with a token ends when the token expires.

use crate::{
    directory::canonical,
    login::app_passwords::{self, UsedAppPassword},
};
use aws_lc_rs::digest;
use posta_mail::{Address, Timestamp};
use posta_net::clock::Clock;
use posta_store::{Account, AccountId, Credentials, SendAs, Store, StoreError};
use std::ops::Deref;

/// An account as of some version of the directory.
#[derive(Debug, Clone)]
pub struct FoundAccount {
    account: Account,
    version: u64,
}

impl FoundAccount {
    /// Looks up an account by its address, in its own domain or an alias of that.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn by_address(
        store: &dyn Store,
        address: &Address,
    ) -> Result<Option<Self>, StoreError> {
        // The version is read before the account, so that a change in between is noticed the next time.
        let version = store.directory_version();
        let mut account = store.account(address).await?;
        if account.is_none() {
            let there = canonical(store, address).await?;
            if *there != *address {
                account = store.account(&there).await?;
            }
        }
        Ok(account.map(|account| Self { account, version }))
    }

    /// Looks up an account by its local-part, if that occurs in one domain only.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn by_local_part(store: &dyn Store, name: &str) -> Result<Option<Self>, StoreError> {
        let version = store.directory_version();
        let mut named = store.accounts_named(name).await?;
        let only = if named.len() == 1 { named.pop() } else { None };
        Ok(only.map(|account| Self { account, version }))
    }
}

impl Deref for FoundAccount {
    type Target = Account;

    fn deref(&self) -> &Account {
        &self.account
    }
}

/// The account of a session that is logged in. There are many sessions, so only a digest of the
/// credentials is kept.
#[derive(Debug, Clone)]
pub struct Principal {
    /// The account.
    pub id: AccountId,
    /// The account's address, in lower case.
    pub address: Address,
    /// The addresses that the account may send as, besides its own.
    pub send_as: Vec<SendAs>,
    /// Whether POP3 shows its junk ([`Account::marks_junk`]).
    pub marks_junk: bool,
    /// Whether it has no mailbox ([`Account::send_only`]).
    pub send_only: bool,
    credentials: Fingerprint,
    /// The app password that the client gave, if it was not the account's own password.
    app_password: Option<Box<UsedAppPassword>>,
    version: u64,
    /// The time when the login ends, if a token limits it.
    until: Option<Timestamp>,
}

impl From<FoundAccount> for Principal {
    fn from(FoundAccount { account, version }: FoundAccount) -> Self {
        let credentials = fingerprint(&account.credentials);
        let Account { id, address, send_as, marks_junk, send_only, .. } = account;
        let (app_password, until) = (None, None);
        Self {
            id,
            address,
            send_as,
            marks_junk,
            send_only,
            credentials,
            app_password,
            version,
            until,
        }
    }
}

impl Principal {
    /// Limits the login to the time until a token expires.
    #[must_use]
    pub fn ending(self, until: Option<Timestamp>) -> Self {
        Self { until, ..self }
    }

    /// Makes the login one with an app password: it lasts as long as that, whatever becomes of the account's own.
    #[must_use]
    pub(crate) fn by_app_password(self, app_password: UsedAppPassword) -> Self {
        Self { app_password: Some(Box::new(app_password)), ..self }
    }

    /// Returns the app password of the login, if it was not the account's own password or a token.
    pub(crate) fn app_password(&self) -> Option<&UsedAppPassword> {
        self.app_password.as_deref()
    }

    /// Returns whether the token with which the session logged in has expired.
    #[must_use]
    pub fn has_expired(&self, clock: &dyn Clock) -> bool {
        self.until.is_some_and(|until| until <= clock.now())
    }

    /// Returns whether the account exists, is not disabled, and has the same credentials as at the
    /// login. Updates the addresses that it may send as.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn is_current(&mut self, store: &dyn Store) -> Result<bool, StoreError> {
        if store.directory_version() == self.version {
            return Ok(true);
        }
        // The look-up is boxed, so that waiting sessions hold no memory for it.
        Box::pin(self.look_up(store)).await
    }

    async fn look_up(&mut self, store: &dyn Store) -> Result<bool, StoreError> {
        let Some(found) = FoundAccount::by_address(store, &self.address).await? else {
            return Ok(false);
        };
        let is_disabled = found.disabled;
        let now = Self::from(found);
        // An account that was removed and added again has another id.
        let is_password_same = match &self.app_password {
            Some(opened) => app_passwords::has(store, self.id, opened).await?,
            None => now.credentials == self.credentials,
        };
        let is_same = !is_disabled && now.id == self.id && is_password_same;
        if is_same {
            let app_password = self.app_password.take();
            *self = Self { app_password, ..now.ending(self.until) };
        }
        Ok(is_same)
    }
}

/// A digest of credentials, to tell whether they have changed.
type Fingerprint = [u8; digest::SHA256_OUTPUT_LEN];

fn fingerprint(credentials: &Credentials) -> Fingerprint {
    // The APOP secret is stored separately, and never changes without the hash, which then has a new
    // salt.
    let Credentials { password_hash, scram, .. } = credentials;
    let parts = [Some(password_hash.as_bytes()), scram.as_deref().map(str::as_bytes)];
    let mut context = digest::Context::new(&digest::SHA256);
    for part in parts {
        // The length separates the parts unambiguously; u64::MAX represents a missing part.
        context.update(&part.map_or(u64::MAX, |part| part.len() as u64).to_be_bytes());
        context.update(part.unwrap_or_default());
    }
    let mut fingerprint = Fingerprint::default();
    fingerprint.copy_from_slice(context.finish().as_ref());
    fingerprint
}

#[cfg(test)]
mod tests {
    use super::*;
    use posta_mail::Timestamp;
    use posta_store::{Directory as _, MemoryStore, Watch as _};

    fn credentials(password_hash: &str, scram: Option<&str>) -> Credentials {
        let (password_hash, scram) = (password_hash.to_owned(), scram.map(str::to_owned));
        Credentials { password_hash, scram, apop: None }
    }

    #[tokio::test]
    async fn a_login_lasts_as_long_as_its_account_and_its_credentials() {
        let store = MemoryStore::new();
        let [ana, bob]: [Address; 2] = ["ana@x.test", "bob@x.test"].map(|a| a.parse().unwrap());
        for address in [&ana, &bob] {
            store.add_account(address, credentials("old", None)).await.unwrap();
        }
        let log_in = async || {
            Principal::from(FoundAccount::by_address(&store, &ana).await.unwrap().unwrap())
        };
        let mut session = log_in().await;
        store.set_password(&bob, credentials("new", None)).await.unwrap();
        store.set_send_as(&ana, vec![SendAs::Anybody]).await.unwrap();
        assert!(session.is_current(&store).await.unwrap(), "neither concerns the login");
        assert_eq!(session.send_as, [SendAs::Anybody], "what it may send as is known");
        assert_eq!(session.version, store.directory_version(), "it is not looked up again");
        for (hash, scram) in [("old", Some("keys")), ("new", Some("keys")), ("new", None)] {
            let mut session = log_in().await;
            store.set_password(&ana, credentials(hash, scram)).await.unwrap();
            assert!(!session.is_current(&store).await.unwrap(), "{hash} {scram:?}");
            assert!(!session.is_current(&store).await.unwrap(), "an end is an end");
        }
        let mut session = log_in().await;
        store.set_disabled(&ana, true).await.unwrap();
        assert!(!session.is_current(&store).await.unwrap(), "disabled");
        store.set_disabled(&ana, false).await.unwrap();
        let mut session = log_in().await;
        let now = Timestamp::UNIX_EPOCH;
        store.remove_account(&ana, now, now).await.unwrap();
        assert!(!session.is_current(&store).await.unwrap());
        store.add_account(&ana, credentials("new", None)).await.unwrap();
        assert!(!session.is_current(&store).await.unwrap(), "another account of the same name");
    }
}
