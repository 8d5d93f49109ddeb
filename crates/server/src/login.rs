//! Who may open a mailbox: checks passwords against argon2id hashes, and asks about tokens.
//!
//! `access` and `receive` log their clients in here, through `sasl.rs` or with a name and a password.
//!
//! A hash costs tens of milliseconds and megabytes on purpose, so that a stolen store gives nothing away; but a
//! mail program that polls every minute must not cost that each time. So passwords that were right are remembered
//! for a while, as a keyed hash whose key lives only as long as the process. It also covers the stored hash, so it
//! no longer matches when the password changes. Hashing runs off the async threads (`hashers.rs`).

mod denied;
pub(crate) mod hashers;
pub mod lockout;
pub(crate) mod login_log;
pub(crate) mod named;
pub mod oauth;
pub mod principal;
pub mod sasl;
pub mod sessions;

pub use denied::{FailedLogin, LoginError};

use crate::login::{
    hashers::{Acquaintance, FreeThread, Hashers, Memory},
    lockout::Guard,
    named::Named,
    oauth::{Rejection, TokenError, Tokens},
    principal::{FoundAccount, Principal},
};
use aws_lc_rs::{constant_time, hmac};
use md5::{Digest, Md5};
use parking_lot::Mutex;
use posta_mail::{Address, ClientAddress, Secret, Timestamp};
use posta_net::{clock::Clock, scram::Verifier};
use posta_store::{AccountId, Credentials, SecretOf, Store, StoreError};
use std::{
    collections::HashMap, future::Future, sync::Arc, thread::available_parallelism, time::Duration,
};

/// How long a password that was right is remembered.
const REMEMBERED: Duration = Duration::from_secs(10 * 60);

/// The most accounts whose passwords are remembered; beyond it all are forgotten.
const REMEMBERED_ACCOUNTS: usize = 100_000;

/// The most octets of a password: what fits in a PASS command (RFC 2449 §4). Hashing more would be work that anybody
/// could cause.
pub const PASSWORD: usize = 240;

/// The kind and the name of the store's record of a key.
const DECOYS: (&str, &str) = ("key", "decoys");

/// The id of no account: the first one has 1.
const NOBODY: AccountId = AccountId(0);

/// Octets of salt (RFC 9106 §3.1).
const SALT: usize = 16;

/// The error of a password that cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a password has 1 to 240 octets, and no line ends or NUL")]
pub struct PasswordError;

/// Checks passwords.
pub struct Authenticator {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    key: hmac::Key,
    remembered: Mutex<HashMap<AccountId, Remembered>>,
    hashers: Arc<Hashers>,
    /// Makes what SCRAM says of accounts that do not exist. The key is kept in the store, so that a restart does not
    /// change it and thereby give them away.
    decoys: hmac::Key,
    /// The hash that is checked for an account that does not exist, so that the time does not tell which do.
    nobody: String,
    /// Checks tokens; `None` where they are not accepted.
    tokens: Option<Tokens>,
    guard: Arc<Guard>,
    offers_binding: bool,
}

struct Remembered {
    tag: hmac::Tag,
    until: Timestamp,
}

impl Authenticator {
    /// Returns an authenticator for the accounts of a store.
    ///
    /// # Errors
    /// Fails when the store does, in which a key is kept.
    pub async fn open(store: Arc<dyn Store>, clock: Arc<dyn Clock>) -> Result<Self, StoreError> {
        // Half of the cores, so that a crowd of logins does not hold up the mail.
        let threads = available_parallelism().map_or(1, usize::from).div_ceil(2);
        let hashers = Arc::new(Hashers::new(threads));
        let mut octets = [0; 32];
        clock.random(&mut octets);
        let source = clock.clone();
        let nobody = move |memory: &mut Memory| hash(&octets, &*source, memory).unwrap_or_default();
        let nobody = hashers.run(nobody).await;
        clock.random(&mut octets);
        let decoys = store.keep_if(DECOYS.0, DECOYS.1, None, Some(octets.to_vec())).await?;
        let decoys = decoys.unwrap_or_else(|| octets.to_vec());
        clock.random(&mut octets);
        let guard = Guard::new(store.clone(), clock.clone(), 0, Duration::ZERO);
        Ok(Self {
            store,
            clock,
            guard: Arc::new(guard),
            key: hmac::Key::new(hmac::HMAC_SHA256, &octets),
            decoys: hmac::Key::new(hmac::HMAC_SHA256, &decoys),
            remembered: Mutex::default(),
            hashers,
            nobody: nobody.unwrap_or_default(),
            tokens: None,
            offers_binding: false,
        })
    }

    /// Accepts tokens as well.
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

    /// Returns the threads that hash passwords.
    pub(crate) const fn hashers(&self) -> &Arc<Hashers> {
        &self.hashers
    }

    /// The same, guarded against those who guess.
    #[must_use]
    pub fn with_guard(self, guard: Guard) -> Self {
        Self { guard: Arc::new(guard), ..self }
    }

    /// Against those who guess.
    #[must_use]
    pub const fn guard(&self) -> &Arc<Guard> {
        &self.guard
    }

    /// Lets a client make an attempt, unless it failed too often lately.
    ///
    /// # Errors
    /// Returns [`LoginError::Locked`], or the error of the attempt.
    pub async fn attempt<T>(
        &self,
        client: ClientAddress,
        attempt: impl Future<Output = Result<T, LoginError>>,
    ) -> Result<T, LoginError> {
        if self.guard.locks(client) {
            self.guard.failed_logins().count(client);
            // Without the delay, a client that is locked out would ask as fast as it gets answers.
            self.guard.delay().await;
            return Err(LoginError::Locked(FailedLogin::unnamed("the client is locked out")));
        }
        let outcome = attempt.await;
        match &outcome {
            Err(LoginError::Credentials(denied)) => self.guard.failed(client, &denied.name).await,
            Err(LoginError::Locked(_)) => {
                self.guard.failed_logins().count(client);
                self.guard.delay().await;
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

    /// Returns the account that a token opens. If the client names an account, it must be that one.
    ///
    /// # Errors
    /// Fails when the token opens none, or cannot be checked.
    pub async fn login_with_token(
        &self,
        client: ClientAddress,
        name: Option<&str>,
        token: &str,
    ) -> Result<Principal, LoginError> {
        let account = self.account_of_token(client, name, token).await;
        if let Err(LoginError::Credentials(denied)) = &account {
            self.guard.failed_logins().tell(client, &denied.name, denied.why);
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
            // The token is real, so one side or the other may be misconfigured: tell the operator.
            TokenError::Rejected(_) => {
                tracing::warn!("a login with a token was refused: {error}");
                opens_nothing()
            }
            TokenError::Unavailable(_) => LoginError::Tokens(error.to_string()),
        })?;
        let account = FoundAccount::by_address(&*self.store, &grant.address).await?;
        let account = account.ok_or_else(opens_nothing)?;
        if let Some(name) = name {
            let named = self.find(name).await?;
            if named.is_none_or(|named| named.id != account.id) {
                return Err(refused("the token is of another account"));
            }
        }
        let account = self.welcomed(client, grant.address.as_str(), account).await?;
        Ok(Principal::from(account).ending(grant.until))
    }

    /// Returns the account that a name and a password open. The name is an address, or a local part that only one
    /// domain has.
    ///
    /// # Errors
    /// Fails when they open none, or cannot be checked.
    pub async fn login(
        &self,
        client: ClientAddress,
        name: &str,
        password: &Secret,
    ) -> Result<Principal, LoginError> {
        let named = self.find_open(client, name).await?;
        let account = &named.found;
        let stored =
            account.as_ref().map_or(&self.nobody, |account| &account.credentials.password_hash);
        let tag = self.tag(stored, password);
        if let Some(known) = self.remembered(account, &tag) {
            return Ok(self.welcomed(client, &named.key, known).await?.into());
        }
        let is_known = match account {
            Some(account) => self.guard.is_known(client, account.id).await?,
            None => false,
        };
        let standing = if is_known { Acquaintance::Known } else { Acquaintance::Stranger };
        // There is always one until the program ends.
        let Some(place) = self.hashers.place(standing).await else {
            return Err(LoginError::Credentials(FailedLogin::new(&named.key, "the server stops")));
        };
        // Of many logins that waited here at once, the first may have done the work for all.
        if let Some(known) = self.remembered(account, &tag) {
            return Ok(self.welcomed(client, &named.key, known).await?.into());
        }
        // Hashing more is work that anybody could cause.
        let is_right = password.expose().len() <= PASSWORD
            && check(place, stored.clone(), password.clone()).await;
        let account = self.judged(client, named, is_right).await?;
        self.remember(account.id, tag);
        Ok(account.into())
    }

    /// Completes a login under this name: refuses a disabled account, and notes from where it was used.
    async fn welcomed(
        &self,
        client: ClientAddress,
        name: &str,
        account: FoundAccount,
    ) -> Result<FoundAccount, LoginError> {
        let account = self.enabled(client, account)?;
        self.guard.succeeded(client, name, account.id).await?;
        Ok(account)
    }

    /// Returns the account that an APOP digest opens: that of the greeting's challenge and the shared secret
    /// (RFC 1939 §7).
    ///
    /// # Errors
    /// Fails when it opens none, or cannot be checked.
    pub async fn login_with_digest(
        &self,
        client: ClientAddress,
        name: &str,
        challenge: &str,
        digest: &[u8; 16],
    ) -> Result<Principal, LoginError> {
        let named = self.find_open(client, name).await?;
        // The same work for an account that does not exist.
        let id = named.found.as_ref().map_or(NOBODY, |account| account.id);
        let secret = match self.store.secret(SecretOf::Apop(id)).await {
            // A distinct error would tell strangers which accounts exist.
            Err(StoreError::Sealed(why)) => {
                tracing::error!("nobody can log in by APOP: {why}");
                None
            }
            secret => secret?,
        };
        let mut hash = Md5::new();
        hash.update(challenge.as_bytes());
        // The same work for an account that does not exist, or has no secret.
        hash.update(secret.as_ref().map_or(self.nobody.as_bytes(), Secret::expose));
        let is_same = constant_time::verify_slices_are_equal(&hash.finalize(), digest).is_ok();
        Ok(self.judged(client, named, is_same && secret.is_some()).await?.into())
    }

    /// Looks up the account of a name, unless the name is locked for this client.
    pub(crate) async fn find_open(
        &self,
        client: ClientAddress,
        name: &str,
    ) -> Result<Named, LoginError> {
        let named = Named::find(&*self.store, name).await?;
        let account = named.found.as_ref().map(|found| found.id);
        if self.guard.locks_name(client, &named.key, account).await? {
            let why = "the name is locked after too many failed logins";
            return Err(LoginError::Locked(FailedLogin::new(&named.key, why)));
        }
        Ok(named)
    }

    /// Counts an attempt on a name. Returns the account if it exists and the attempt was right.
    pub(crate) async fn judged(
        &self,
        client: ClientAddress,
        named: Named,
        is_right: bool,
    ) -> Result<FoundAccount, LoginError> {
        let why = if named.found.is_some() { "wrong password" } else { "no such account" };
        match named.found.filter(|_| is_right) {
            Some(account) => {
                let account = self.welcomed(client, &named.key, account).await?;
                Ok(account)
            }
            None => {
                self.guard.failed_for(client, &named.key);
                self.guard.failed_logins().tell(client, &named.key, why);
                Err(LoginError::Credentials(FailedLogin::new(&named.key, why)))
            }
        }
    }

    /// Refuses a disabled account. Only a client that knows its password learns that it is disabled.
    fn enabled(
        &self,
        client: ClientAddress,
        account: FoundAccount,
    ) -> Result<FoundAccount, LoginError> {
        if account.disabled {
            let denied = FailedLogin::new(account.address.as_str(), "the account is disabled");
            self.guard.failed_logins().tell(client, &denied.name, denied.why);
            return Err(LoginError::Disabled(denied));
        }
        Ok(account)
    }

    /// Looks up the account of a name, an address or a local part.
    ///
    /// # Errors
    /// Fails when the store does.
    pub async fn find(&self, name: &str) -> Result<Option<FoundAccount>, StoreError> {
        match name.parse::<Address>() {
            Ok(address) => FoundAccount::by_address(&*self.store, &address).await,
            Err(_) => FoundAccount::by_local_part(&*self.store, name).await,
        }
    }

    /// Returns the verifier for a name that has no account: it looks like that of an account, the same each time.
    pub(crate) fn decoy(&self, named: &Named) -> Verifier {
        match &named.lookalike {
            Some(verifier) => verifier.without_keys(),
            None => Verifier::decoy(hmac::sign(&self.decoys, named.key.as_bytes()).as_ref()),
        }
    }

    /// Returns the source of time and randomness.
    #[must_use]
    pub fn clock(&self) -> &dyn Clock {
        &*self.clock
    }

    fn tag(&self, stored: &str, password: &Secret) -> hmac::Tag {
        let mut context = hmac::Context::with_key(&self.key);
        // The stored hash holds the salt, which no two accounts share, and no NUL.
        context.update(stored.as_bytes());
        context.update(&[0]);
        context.update(password.expose());
        context.sign()
    }

    /// Returns the account if this password was right for it a short time ago.
    fn remembered(&self, account: &Option<FoundAccount>, tag: &hmac::Tag) -> Option<FoundAccount> {
        let account = account.as_ref()?;
        let remembered = self.remembered.lock();
        let known = remembered.get(&account.id)?;
        let same = constant_time::verify_slices_are_equal(known.tag.as_ref(), tag.as_ref());
        (same.is_ok() && self.clock.now() < known.until).then(|| account.clone())
    }

    fn remember(&self, account: AccountId, tag: hmac::Tag) {
        let until = self.clock.now() + REMEMBERED;
        let mut remembered = self.remembered.lock();
        if remembered.len() >= REMEMBERED_ACCOUNTS {
            remembered.clear();
        }
        remembered.insert(account, Remembered { tag, until });
    }
}

/// Compares a password with a hash, off the async threads.
async fn check(place: FreeThread<'_>, stored: String, password: Secret) -> bool {
    let verify = move |memory: &mut Memory| memory.verify(password.expose(), &stored);
    place.run(verify).await.unwrap_or_default()
}

/// Hashes a password with a salt of its own.
fn hash(password: &[u8], clock: &dyn Clock, memory: &mut Memory) -> Result<String, PasswordError> {
    let mut salt = [0; SALT];
    clock.random(&mut salt);
    memory.hash(password, &salt).map_err(|_| PasswordError)
}

/// Returns the credentials to store for a password that a person chose.
///
/// # Errors
/// Fails when the password cannot be used, as with a line end in it: POP3 sends it in a line.
pub(crate) fn credentials(
    password: &Secret,
    clock: &dyn Clock,
    memory: &mut Memory,
) -> Result<Credentials, PasswordError> {
    let octets = password.expose();
    let unusable = |octet: &u8| matches!(octet, b'\r' | b'\n' | 0);
    if octets.is_empty() || octets.len() > PASSWORD || octets.iter().any(unusable) {
        return Err(PasswordError);
    }
    let scram = Some(Verifier::new(octets, clock).to_string());
    Ok(Credentials { password_hash: hash(octets, clock, memory)?, scram, apop: None })
}

#[cfg(test)]
mod tests {
    use super::*;
    use posta_net::clock::SimulatedClock;
    use posta_store::{Directory as _, MemoryStore};

    struct Case {
        store: Arc<MemoryStore>,
        clock: Arc<SimulatedClock>,
        authenticator: Authenticator,
    }

    async fn case() -> Case {
        let clock = Arc::new(SimulatedClock::new(Timestamp::UNIX_EPOCH, 1));
        let store = Arc::new(MemoryStore::new());
        let hash = hash(b"right", &*clock, &mut Memory::default()).unwrap();
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
    async fn what_is_remembered_ends_with_time_and_with_the_password() {
        let case = case().await;
        assert!(login(&case, "bob", "right").await.is_some());
        assert!(login(&case, "bob", "right").await.is_some());
        assert!(login(&case, "bob", "wrong").await.is_none(), "a memory opens for no other");
        let bob = case.authenticator.find("bob").await.unwrap();
        let right = Secret::new(b"right");
        let tag = case.authenticator.tag(&bob.as_ref().unwrap().credentials.password_hash, &right);
        assert!(case.authenticator.remembered(&bob, &tag).is_some());
        case.clock.set(Timestamp::UNIX_EPOCH + REMEMBERED);
        assert!(case.authenticator.remembered(&bob, &tag).is_none(), "time ends it");
        let bob = "bob@x.test".parse().unwrap();
        let password_hash = hash(b"other", &*case.clock, &mut Memory::default()).unwrap();
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

    #[test]
    fn unusable_passwords_are_refused() {
        let clock = SimulatedClock::new(Timestamp::UNIX_EPOCH, 1);
        for password in ["", "a\nb", "a\0", &"x".repeat(241)] {
            let password = Secret::new(password.as_bytes());
            let refused = credentials(&password, &clock, &mut Memory::default());
            assert_eq!(refused, Err(PasswordError));
        }
    }
}
