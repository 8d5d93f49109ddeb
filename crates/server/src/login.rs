//! Logging in: checks passwords against argon2id hashes, and asks an identity server about tokens.
//!
//! `access` and `receive` log their clients in here, through `sasl.rs` or with a name and a password.
//!
//! A hash costs tens of milliseconds and megabytes on purpose, so that a stolen store reveals no passwords. Therefore
//! hashing runs off the asynchronous threads (`hashers.rs`), and correct passwords are remembered for a while
//! (`verified_passwords.rs`). Guessing is slowed down and stopped by `lockout.rs`.

pub mod api_tokens;
pub(crate) mod app_passwords;
pub mod foreign;
pub(crate) mod hashers;
pub mod lockout;
mod login_error;
pub(crate) mod login_log;
pub(crate) mod login_name;
pub mod oauth;
mod password;
pub mod principal;
pub mod sasl;
pub mod sessions;
mod verified_passwords;

pub use app_passwords::{APP_PASSWORDS_EACH, AppPassword, AppPasswordError};
pub use login_error::{FailedLogin, LoginError};
pub(crate) use password::credentials;
pub use password::{PASSWORD, PasswordError};

use crate::{
    limits::metrics::{LoginCount, Metrics},
    login::{
        app_passwords::UsedAppPassword,
        hashers::{Familiarity, Hashers, Memory},
        lockout::Lockouts,
        login_name::LoginName,
        oauth::{Rejection, TokenError, Tokens},
        principal::{FoundAccount, Principal},
        verified_passwords::{PasswordTag, VerifiedPasswords},
    },
};
use aws_lc_rs::{constant_time, hmac};
use md5::{Digest, Md5};
use posta_mail::{Address, ClientAddress, Secret};
use posta_net::{clock::Clock, scram::Verifier};
use posta_store::{APP_PASSWORDS, AccountId, SecretOf, Store, StoreError};
use std::{future::Future, sync::Arc, thread::available_parallelism, time::Duration};

/// The kinds of this floor's records whose names begin with an account's id. They go when the account is purged.
pub(crate) const OF_ACCOUNTS: [&str; 4] =
    [APP_PASSWORDS, app_passwords::USED, foreign::KIND, lockout::known_networks::KIND];

/// The kind and the name of the record with the key for decoys.
const DECOYS: (&str, &str) = ("key", "decoys");

/// An id that no account has: the first account has 1.
const NOBODY: AccountId = AccountId(0);

/// Checks the passwords and tokens of clients that log in.
pub struct Authenticator {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    verified: VerifiedPasswords,
    hashers: Arc<Hashers>,
    /// The key of the salts that SCRAM sends for accounts that do not exist. The store keeps the key, since salts that
    /// change with a restart would reveal these names.
    decoy_key: hmac::Key,
    /// The hash that is checked for an account that does not exist, so that the time taken reveals nothing.
    decoy_hash: String,
    /// Checks tokens; `None` if tokens are not accepted.
    tokens: Option<Tokens>,
    lockouts: Arc<Lockouts>,
    offers_binding: bool,
    metrics: Arc<Metrics>,
    offers_scram: bool,
}

impl Authenticator {
    /// Returns an authenticator for the accounts of a store.
    ///
    /// # Errors
    /// When the store fails, which keeps a key.
    pub async fn open(store: Arc<dyn Store>, clock: Arc<dyn Clock>) -> Result<Self, StoreError> {
        // Half of the cores, so that many simultaneous logins do not delay mail.
        let threads = available_parallelism().map_or(1, usize::from).div_ceil(2);
        let hashers = Arc::new(Hashers::new(threads));
        let mut octets = [0; 32];
        clock.random(&mut octets);
        let source = clock.clone();
        let hash = move |memory: &mut Memory| {
            password::hash(&octets, &*source, memory).unwrap_or_default()
        };
        let decoy_hash = hashers.run(hash).await;
        clock.random(&mut octets);
        let decoys = store.keep_if(DECOYS.0, DECOYS.1, None, Some(octets.to_vec())).await?;
        let decoys = decoys.unwrap_or_else(|| octets.to_vec());
        let lockouts = Lockouts::new(store.clone(), clock.clone(), 0, Duration::ZERO);
        let offers_scram = !foreign::any(&*store).await?;
        Ok(Self {
            verified: VerifiedPasswords::new(clock.clone()),
            store,
            clock,
            lockouts: Arc::new(lockouts),
            decoy_key: hmac::Key::new(hmac::HMAC_SHA256, &decoys),
            hashers,
            decoy_hash: decoy_hash.unwrap_or_default(),
            tokens: None,
            offers_binding: false,
            metrics: Arc::default(),
            offers_scram,
        })
    }

    /// Sets how tokens are checked; `None` if they are not accepted.
    #[must_use]
    pub fn with_tokens(self, tokens: Option<Tokens>) -> Self {
        Self { tokens, ..self }
    }

    /// Sets whether SCRAM-SHA-256-PLUS is offered.
    #[must_use]
    pub fn with_binding(self, offers_binding: bool) -> Self {
        Self { offers_binding, ..self }
    }

    /// Returns whether SCRAM-SHA-256-PLUS is offered in TLS.
    #[must_use]
    pub const fn offers_binding(&self) -> bool {
        self.offers_binding
    }

    /// Returns whether SCRAM is offered: not while an account has only the hash of another server.
    #[must_use]
    pub const fn offers_scram(&self) -> bool {
        self.offers_scram
    }

    /// Returns the threads that hash passwords.
    pub(crate) const fn hashers(&self) -> &Arc<Hashers> {
        &self.hashers
    }

    /// Sets the protection against guessing.
    #[must_use]
    pub fn with_lockouts(self, lockouts: Lockouts) -> Self {
        Self { lockouts: Arc::new(lockouts), ..self }
    }

    /// Makes failed logins count there, for the operator.
    #[must_use]
    pub fn with_metrics(self, metrics: Arc<Metrics>) -> Self {
        Self { metrics, ..self }
    }

    /// Returns the protection against guessing.
    #[must_use]
    pub const fn lockouts(&self) -> &Arc<Lockouts> {
        &self.lockouts
    }

    /// Lets a client attempt to log in, unless the client is locked out.
    ///
    /// # Errors
    /// [`LoginError::Locked`], or the error of the attempt.
    pub async fn attempt<T>(
        &self,
        client: ClientAddress,
        attempt: impl Future<Output = Result<T, LoginError>>,
    ) -> Result<T, LoginError> {
        if self.lockouts.locks(client) {
            self.metrics.login(LoginCount::Locked);
            self.lockouts.failed_logins().count(client);
            // Without the delay, a client that is locked out would try again as fast as it gets replies.
            self.lockouts.delay().await;
            return Err(LoginError::Locked(FailedLogin::unnamed("the client is locked out")));
        }
        let outcome = attempt.await;
        match &outcome {
            Err(LoginError::Credentials(denied)) => {
                self.metrics.login(LoginCount::Failed);
                self.lockouts.failed(client, &denied.name).await
            }
            Err(LoginError::Locked(_)) => {
                self.metrics.login(LoginCount::Locked);
                self.lockouts.failed_logins().count(client);
                self.lockouts.delay().await;
            }
            _ => {}
        }
        outcome
    }

    /// Returns whether tokens can be checked.
    #[must_use]
    pub const fn knows_tokens(&self) -> bool {
        self.tokens.is_some()
    }

    /// Returns the account that a token opens. If the client names an account, the token must be for that one.
    ///
    /// # Errors
    /// When the token opens no account, or cannot be checked.
    pub async fn login_with_token(
        &self,
        client: ClientAddress,
        name: Option<&str>,
        token: &str,
    ) -> Result<Principal, LoginError> {
        let account = self.account_of_token(client, name, token).await;
        if let Err(LoginError::Credentials(denied)) = &account {
            self.lockouts.failed_logins().log(client, &denied.name, denied.why);
        }
        account
    }

    async fn account_of_token(
        &self,
        client: ClientAddress,
        name: Option<&str>,
        token: &str,
    ) -> Result<Principal, LoginError> {
        let refused =
            |why| LoginError::Credentials(FailedLogin::new(name.unwrap_or_default(), why));
        let opens_nothing = || refused("the token opens nothing here");
        let tokens = self.tokens.as_ref().ok_or_else(opens_nothing)?;
        let grant = tokens.check(token, self.clock.now()).await.map_err(|error| match error {
            TokenError::Malformed | TokenError::Rejected(Rejection::Inactive) => {
                refused("the token is not valid")
            }
            // The token is genuine, so one side may be misconfigured, and the operator should know.
            TokenError::Rejected(_) => {
                tracing::warn!("a login with a token was refused: {error}");
                opens_nothing()
            }
            TokenError::Unavailable(_) => LoginError::Tokens(error.to_string()),
        })?;
        let account = FoundAccount::by_address(&*self.store, &grant.address).await?;
        let account = account.ok_or_else(opens_nothing)?;
        if let Some(name) = name {
            let wanted = self.find(name).await?;
            if wanted.is_none_or(|wanted| wanted.id != account.id) {
                return Err(refused("the token is for another account"));
            }
        }
        let account = self.complete(client, grant.address.as_str(), account).await?;
        Ok(Principal::from(account).ending(grant.until))
    }

    /// Returns the account that a name and a password open: the account's own, or an app password. The name is an
    /// address, or a local-part that occurs in one domain only.
    ///
    /// # Errors
    /// When they open no account, or cannot be checked.
    pub async fn login(
        &self,
        client: ClientAddress,
        name: &str,
        password: &Secret,
    ) -> Result<Principal, LoginError> {
        let name = self.find_unlocked(client, name).await?;
        // An account that does not exist costs the same work.
        let id = name.found.as_ref().map_or(NOBODY, |account| account.id);
        let app_password = app_passwords::matching(&*self.store, id, password).await?;
        match (app_password, &name.found) {
            (Some(app_password), Some(account)) => {
                let account = self.complete(client, &name.key, account.clone()).await?;
                Ok(self.opened_by(account, app_password).await)
            }
            _ => self.login_by_password(client, name, password).await,
        }
    }

    /// Returns the account of a person who shows that it is theirs: with its own password, not with an app password.
    ///
    /// # Errors
    /// When the password is not the account's, or cannot be checked.
    pub async fn owner(&self, name: &str, password: &Secret) -> Result<Principal, LoginError> {
        let client = ClientAddress::Local;
        let login = async {
            let name = self.find_unlocked(client, name).await?;
            self.login_by_password(client, name, password).await
        };
        self.attempt(client, Box::pin(login)).await
    }

    /// Returns the session of an account that an app password has opened, and records its use.
    pub(crate) async fn opened_by(
        &self,
        account: FoundAccount,
        app_password: UsedAppPassword,
    ) -> Principal {
        let now = self.clock.now();
        app_passwords::note_use(&*self.store, account.id, &app_password, now).await;
        Principal::from(account).by_app_password(app_password)
    }

    async fn login_by_password(
        &self,
        client: ClientAddress,
        name: LoginName,
        password: &Secret,
    ) -> Result<Principal, LoginError> {
        let account = &name.found;
        let stored =
            account.as_ref().map_or(&self.decoy_hash, |account| &account.credentials.password_hash);
        let tag = self.verified.tag(stored, password);
        if let Some(account) = self.verified_account(account, &tag) {
            return Ok(self.complete(client, &name.key, account).await?.into());
        }
        let is_known = match account {
            Some(account) => self.lockouts.is_known(client, account.id).await?,
            None => false,
        };
        let familiarity = if is_known { Familiarity::Known } else { Familiarity::Stranger };
        // There is always a thread until the program ends.
        let Some(thread) = self.hashers.free_thread(familiarity).await else {
            return Err(LoginError::Credentials(FailedLogin::new(
                &name.key,
                "the server is stopping",
            )));
        };
        // Of several logins that waited here, the first may have done the work for all.
        if let Some(account) = self.verified_account(account, &tag) {
            return Ok(self.complete(client, &name.key, account).await?.into());
        }
        let (stored, decoy) = (stored.clone(), self.decoy_hash.clone());
        let is_right = password::matches(thread, stored, decoy, password.clone()).await;
        let account = self.settle_attempt(client, name, is_right).await?;
        if foreign::is_foreign(&account.credentials.password_hash) {
            return Ok(self.hash_anew(account, password).await?.into());
        }
        self.verified.insert(account.id, tag);
        Ok(account.into())
    }

    /// Replaces another server's hash by those of this server, now that the password is known. Returns the account as
    /// it is then.
    async fn hash_anew(
        &self,
        account: FoundAccount,
        password: &Secret,
    ) -> Result<FoundAccount, LoginError> {
        let (clock, octets) = (self.clock.clone(), password.clone());
        // The app passwords of an account have the salt of its own password.
        let salt_of = app_passwords::salt_of(&*self.store, &account).await?;
        let hash = move |memory: &mut Memory| {
            password::credentials(&octets, &*clock, memory, salt_of.as_ref())
        };
        let hashed = self.hashers.run(hash).await;
        let Some(Ok(credentials)) = hashed else { return Ok(account) };
        let (address, old) = (&account.address, account.credentials.password_hash.clone());
        match self.store.replace_password(address, old, credentials).await {
            Ok(_) => {}
            // A disk that is full keeps nobody from reading mail.
            Err(error) => {
                tracing::warn!(%address, %error, "the old hash of a password is still kept");
                return Ok(account);
            }
        }
        foreign::note(&*self.store, account.id, false).await?;
        // Another login with the same password may have come first, or the operator may have set another password.
        let Some(now) = FoundAccount::by_address(&*self.store, address).await? else {
            return Ok(account);
        };
        let (stored, octets) = (now.credentials.password_hash.clone(), password.clone());
        let verify = move |memory: &mut Memory| memory.verify(octets.expose(), &stored);
        let is_same = now.id == account.id && self.hashers.run(verify).await.unwrap_or_default();
        Ok(if is_same { now } else { account })
    }

    /// Returns the account if the password with this tag was correct a short time ago.
    fn verified_account(
        &self,
        account: &Option<FoundAccount>,
        tag: &PasswordTag,
    ) -> Option<FoundAccount> {
        account.as_ref().filter(|account| self.verified.contains(account.id, tag)).cloned()
    }

    /// Completes a login under this name: refuses a disabled account, and records the network that it was used from.
    async fn complete(
        &self,
        client: ClientAddress,
        name: &str,
        account: FoundAccount,
    ) -> Result<FoundAccount, LoginError> {
        let account = self.refuse_disabled(client, account)?;
        self.lockouts.succeeded(client, name, account.id).await?;
        Ok(account)
    }

    /// Returns the account that an APOP digest opens, the digest of the greeting's challenge and the shared secret
    /// (RFC 1939 §7).
    ///
    /// # Errors
    /// When the digest opens no account, or cannot be checked.
    pub async fn login_with_digest(
        &self,
        client: ClientAddress,
        name: &str,
        challenge: &str,
        digest: &[u8; 16],
    ) -> Result<Principal, LoginError> {
        let name = self.find_unlocked(client, name).await?;
        // An account that does not exist costs the same work.
        let id = name.found.as_ref().map_or(NOBODY, |account| account.id);
        let secret = match self.store.secret(SecretOf::Apop(id)).await {
            // A distinct error would tell strangers which accounts exist.
            Err(StoreError::Sealed(why)) => {
                tracing::error!("nobody can log in with APOP: {why}");
                None
            }
            secret => secret?,
        };
        let mut hash = Md5::new();
        hash.update(challenge.as_bytes());
        // An account that does not exist, or has no secret, costs the same work.
        hash.update(secret.as_ref().map_or(self.decoy_hash.as_bytes(), Secret::expose));
        let is_same = constant_time::verify_slices_are_equal(&hash.finalize(), digest).is_ok();
        Ok(self.settle_attempt(client, name, is_same && secret.is_some()).await?.into())
    }

    /// Looks up the account of a name, unless the name is locked for this client.
    pub(crate) async fn find_unlocked(
        &self,
        client: ClientAddress,
        name: &str,
    ) -> Result<LoginName, LoginError> {
        let name = LoginName::find(&*self.store, name).await?;
        let account = name.found.as_ref().map(|found| found.id);
        if self.lockouts.locks_name(client, &name.key, account).await? {
            let why = "the name is locked after too many failed logins";
            return Err(LoginError::Locked(FailedLogin::new(&name.key, why)));
        }
        Ok(name)
    }

    /// Settles an attempt to log in. Returns the account if it exists and the credentials were right; otherwise counts
    /// and logs the failure.
    pub(crate) async fn settle_attempt(
        &self,
        client: ClientAddress,
        name: LoginName,
        is_right: bool,
    ) -> Result<FoundAccount, LoginError> {
        let why = if name.found.is_some() { "wrong password" } else { "no such account" };
        match name.found.filter(|_| is_right) {
            Some(account) => self.complete(client, &name.key, account).await,
            None => {
                self.lockouts.failed_for(client, &name.key);
                self.lockouts.failed_logins().log(client, &name.key, why);
                Err(LoginError::Credentials(FailedLogin::new(&name.key, why)))
            }
        }
    }

    /// Refuses a disabled account. Only a client that knows the password learns that the account is disabled.
    fn refuse_disabled(
        &self,
        client: ClientAddress,
        account: FoundAccount,
    ) -> Result<FoundAccount, LoginError> {
        if account.disabled {
            let denied = FailedLogin::new(account.address.as_str(), "the account is disabled");
            self.lockouts.failed_logins().log(client, &denied.name, denied.why);
            return Err(LoginError::Disabled(denied));
        }
        Ok(account)
    }

    /// Returns the account of a name, which is an address or a local-part.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn find(&self, name: &str) -> Result<Option<FoundAccount>, StoreError> {
        match name.parse::<Address>() {
            Ok(address) => FoundAccount::by_address(&*self.store, &address).await,
            Err(_) => FoundAccount::by_local_part(&*self.store, name).await,
        }
    }

    /// Returns a SCRAM verifier for a name that has no account. It looks like a real one, and is always the same.
    pub(crate) fn decoy(&self, name: &LoginName) -> Verifier {
        match &name.lookalike {
            Some(verifier) => verifier.without_keys(),
            None => Verifier::decoy(hmac::sign(&self.decoy_key, name.key.as_bytes()).as_ref()),
        }
    }

    /// Returns the SCRAM verifiers of an account's app passwords, each with the password that it belongs to.
    pub(crate) async fn app_verifiers(
        &self,
        account: AccountId,
    ) -> Result<Vec<(Verifier, UsedAppPassword)>, StoreError> {
        app_passwords::verifiers(&*self.store, account).await
    }

    /// Returns the source of time and randomness.
    #[must_use]
    pub fn clock(&self) -> &dyn Clock {
        &*self.clock
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use posta_mail::Timestamp;
    use posta_net::clock::SimulatedClock;
    use posta_store::{Credentials, Directory as _, MemoryStore};
    use verified_passwords::REMEMBERED;

    struct Case {
        store: Arc<MemoryStore>,
        clock: Arc<SimulatedClock>,
        authenticator: Authenticator,
    }

    async fn case() -> Case {
        let clock = Arc::new(SimulatedClock::new(Timestamp::UNIX_EPOCH, 1));
        let store = Arc::new(MemoryStore::new());
        let hash = password::hash(b"right", &*clock, &mut Memory::default()).unwrap();
        for address in ["ana@x.test", "ana@y.test", "bob@x.test"] {
            let credentials = Credentials { password_hash: hash.clone(), ..Credentials::default() };
            store.add_account(&address.parse().unwrap(), credentials).await.unwrap();
        }
        let authenticator = Authenticator::open(store.clone(), clock.clone()).await.unwrap();
        Case { store, clock, authenticator }
    }

    async fn login(case: &Case, name: &str, password: &str) -> Option<String> {
        let password = Secret::new(password.as_bytes());
        let account = case.authenticator.login(ClientAddress::Local, name, &password).await;
        account.ok().map(|account| account.address.to_string())
    }

    #[tokio::test]
    async fn names_are_addresses_or_unique_local_parts() {
        let case = case().await;
        assert_eq!(login(&case, "Ana@x.test", "right").await.as_deref(), Some("ana@x.test"));
        assert_eq!(login(&case, "BOB", "right").await.as_deref(), Some("bob@x.test"));
        assert_eq!(login(&case, "ana", "right").await, None, "two domains have her");
        assert_eq!(login(&case, "cid", "right").await, None);
        assert_eq!(login(&case, "cid@x.test", "right").await, None);
        assert_eq!(login(&case, "bob", "wrong").await, None);
        assert_eq!(login(&case, "bob", &"x".repeat(2_000)).await, None);
    }

    #[tokio::test]
    async fn a_password_is_remembered_for_a_time_and_until_it_changes() {
        let case = case().await;
        assert!(login(&case, "bob", "right").await.is_some());
        assert!(login(&case, "bob", "right").await.is_some());
        assert!(login(&case, "bob", "wrong").await.is_none(), "another password is not accepted");
        let bob = case.authenticator.find("bob").await.unwrap();
        let right = Secret::new(b"right");
        let bob = bob.unwrap();
        let verified = &case.authenticator.verified;
        let tag = verified.tag(&bob.credentials.password_hash, &right);
        assert!(verified.contains(bob.id, &tag));
        case.clock.set(Timestamp::UNIX_EPOCH + REMEMBERED);
        assert!(!verified.contains(bob.id, &tag), "time ends it");
        let bob = "bob@x.test".parse().unwrap();
        let password_hash = password::hash(b"other", &*case.clock, &mut Memory::default()).unwrap();
        let changed = Credentials { password_hash, ..Credentials::default() };
        case.store.set_password(&bob, changed).await.unwrap();
        assert!(
            login(&case, "bob", "right").await.is_none(),
            "the old password is dropped at once"
        );
        assert!(login(&case, "bob", "other").await.is_some());
    }

    /// A thousand mail programs that come back after a restart must not cost a thousand hashes.
    #[tokio::test]
    async fn logins_that_wait_together_are_checked_once() {
        let case = Arc::new(case().await);
        let started = tokio::time::Instant::now();
        assert!(login(&case, "ana@x.test", "right").await.is_some());
        let one = started.elapsed();
        let started = tokio::time::Instant::now();
        let mut logins = tokio::task::JoinSet::new();
        for _ in 0..100 {
            let case = case.clone();
            logins.spawn(async move { login(&case, "bob", "right").await.is_some() });
        }
        assert!(logins.join_all().await.into_iter().all(|good| good));
        assert!(started.elapsed() < one * 20, "{one:?} for one, {:?} for 100", started.elapsed());
    }
}
