//! The passwords of an account's programs ("app passwords"). Each opens the account for one program, and is withdrawn
//! alone, so that a lost telephone costs nobody a new password everywhere.
//!
//! The server makes them, with 120 bits of randomness. Nobody can guess such a password or find it from its hash, so
//! SHA-256 protects it as well as argon2id does a password that a person chose. Checking all of an account's takes
//! microseconds, no thread for hashing and no memory, however many there are. A password of another form is not even
//! looked up here.
//!
//! They read mail and send it. They do not change the account's password, which takes the password itself, and are
//! what remains usable in mail programs where a second factor is asked for at other doors.

use aws_lc_rs::{constant_time, digest};
use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use posta_mail::{Secret, Timestamp};
use posta_net::{clock::Clock, scram::Verifier};
use posta_store::{APP_PASSWORDS, Account, AccountId, Store, StoreError};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The most app passwords of one account.
pub const APP_PASSWORDS_EACH: usize = 20;

/// The kind of the records that tell on which day each was used last. They are apart from the passwords, whose changes
/// make every session look its account up again.
pub(super) const USED: &str = "app-passwords-used";

/// The most characters of a name.
const NAME: usize = 64;

/// The number of characters of a password, each of which has 5 bits, and of those in a group.
const CHARACTERS: usize = 24;
const GROUP: usize = 4;

/// The characters of passwords: none that looks like another.
const ALPHABET: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";

/// How often a change is tried again because another one came in between.
const ATTEMPTS: usize = 16;

const DAY: i64 = 24 * 60 * 60;

/// An app password, as its record has it.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Stored {
    number: u32,
    name: String,
    made: Timestamp,
    /// The SHA-256 of its characters, without the hyphens, in base64.
    hash: String,
    /// The SCRAM verifiers of the password with its hyphens and without them.
    scram: Vec<String>,
}

/// An app password, as its owner sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AppPassword {
    /// The name of the program or device that has it.
    pub name: String,
    /// The time when it was made.
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub made: Timestamp,
    /// The beginning of the day on which it was last used to log in; none if it never was.
    #[serde(default)]
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub used: Option<Timestamp>,
}

/// The app password that opened a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct UsedAppPassword {
    number: u32,
    hash: String,
    /// Its name.
    pub(crate) name: String,
}

/// The reason why an app password cannot be added or removed.
#[derive(Debug, thiserror::Error)]
pub enum AppPasswordError {
    /// The name cannot be used.
    #[error(
        "the name of an app password has 1 to 64 characters and no line ends: name the program or device that \
         will have it"
    )]
    Name,
    /// The account has one of this name.
    #[error(
        "there is an app password {0:?} already: choose another name, or remove that one first"
    )]
    Taken(String),
    /// The account has none of this name.
    #[error(
        "there is no app password {0:?}; `posta account app-password list` names those there are"
    )]
    Missing(String),
    /// The account has as many as it may have.
    #[error(
        "an account has {APP_PASSWORDS_EACH} app passwords at most: remove those that nothing uses"
    )]
    TooMany,
    /// Others changed the list again and again.
    #[error("others change the app passwords all the time: try again")]
    Busy,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A new app password: as it is shown, once, and as it is stored.
pub(crate) struct NewAppPassword {
    shown: String,
    hash: String,
    scram: Vec<String>,
}

impl NewAppPassword {
    /// Makes a password. `salt_of` is the verifier of another password of the account, if there is one. This takes
    /// tens of milliseconds for SCRAM.
    pub(crate) fn make(clock: &dyn Clock, salt_of: Option<&Verifier>) -> Self {
        let mut octets = [0; CHARACTERS];
        clock.random(&mut octets);
        let characters = octets.map(|octet| ALPHABET[usize::from(octet & 31)]);
        let groups: Vec<_> = characters.chunks(GROUP).map(String::from_utf8_lossy).collect();
        let shown = groups.join("-");
        let verifier = match salt_of {
            Some(other) => other.of_other_password(shown.as_bytes()),
            None => Verifier::new(shown.as_bytes(), clock),
        };
        let bare = verifier.of_other_password(&characters);
        let scram = vec![verifier.to_string(), bare.to_string()];
        Self { shown, hash: hash(&characters), scram }
    }
}

/// Returns the SCRAM verifier whose salt a new app password of an account has to have.
///
/// # Errors
/// When the store fails.
pub(crate) async fn salt_of(
    store: &dyn Store,
    account: &Account,
) -> Result<Option<Verifier>, StoreError> {
    let own = account.credentials.scram.as_deref().and_then(|text| text.parse().ok());
    let mut others = verifiers(store, account.id).await?.into_iter();
    Ok(own.or_else(|| others.next().map(|(verifier, _)| verifier)))
}

/// Returns the app passwords of an account, in the order in which they were made.
///
/// # Errors
/// When the store fails.
pub(crate) async fn list(
    store: &dyn Store,
    account: AccountId,
) -> Result<Vec<AppPassword>, StoreError> {
    let mut listed = Vec::new();
    for stored in read(store, account).await?.1 {
        let used = store.kept_one(USED, &used_name(account, stored.number)).await?;
        let used = used.and_then(|day| String::from_utf8(day).ok()?.parse::<i64>().ok());
        let used = used.and_then(|day| Timestamp::from_second(day.checked_mul(DAY)?).ok());
        listed.push(AppPassword { name: stored.name, made: stored.made, used });
    }
    Ok(listed)
}

/// Adds an app password. Returns it as it is shown.
///
/// # Errors
/// When the name cannot be used, the account has too many, or the store fails.
pub(crate) async fn add(
    store: &dyn Store,
    account: AccountId,
    name: &str,
    now: Timestamp,
    new: NewAppPassword,
) -> Result<String, AppPasswordError> {
    let name = name.trim();
    let is_usable = (1..=NAME).contains(&name.chars().count());
    if !is_usable || name.chars().any(char::is_control) {
        return Err(AppPasswordError::Name);
    }
    let NewAppPassword { shown, hash, scram } = new;
    change(store, account, |list| {
        if list.iter().any(|stored| is_called(stored, name)) {
            return Err(AppPasswordError::Taken(name.to_owned()));
        }
        if list.len() >= APP_PASSWORDS_EACH {
            return Err(AppPasswordError::TooMany);
        }
        let number = list.iter().map(|stored| stored.number).max().unwrap_or_default() + 1;
        let (name, hash, scram) = (name.to_owned(), hash.clone(), scram.clone());
        list.push(Stored { number, name, made: now, hash, scram });
        Ok(())
    })
    .await?;
    Ok(shown)
}

/// Removes an app password. Sessions that it has opened end.
///
/// # Errors
/// When there is none of this name, or the store fails.
pub(crate) async fn remove(
    store: &dyn Store,
    account: AccountId,
    name: &str,
) -> Result<(), AppPasswordError> {
    let mut number = 0;
    change(store, account, |list| {
        let position = list.iter().position(|stored| is_called(stored, name.trim()));
        let position = position.ok_or_else(|| AppPasswordError::Missing(name.to_owned()))?;
        number = list.remove(position).number;
        Ok(())
    })
    .await?;
    Ok(store.keep(USED, &used_name(account, number), None).await?)
}

/// Returns the app password that a client has given, if it is one of the account's. For an account that does not
/// exist the same is looked up.
///
/// # Errors
/// When the store fails.
pub(crate) async fn matching(
    store: &dyn Store,
    account: AccountId,
    given: &Secret,
) -> Result<Option<UsedAppPassword>, StoreError> {
    let Some(characters) = characters(given.expose()) else { return Ok(None) };
    let given = hash(&characters);
    let same = |stored: &Stored| {
        constant_time::verify_slices_are_equal(stored.hash.as_bytes(), given.as_bytes()).is_ok()
    };
    Ok(read(store, account).await?.1.into_iter().find(same).map(used))
}

/// Returns the SCRAM verifiers of an account's app passwords, each with the password that it belongs to.
///
/// # Errors
/// When the store fails.
pub(crate) async fn verifiers(
    store: &dyn Store,
    account: AccountId,
) -> Result<Vec<(Verifier, UsedAppPassword)>, StoreError> {
    let mut verifiers = Vec::new();
    for stored in read(store, account).await?.1 {
        let parsed: Vec<Verifier> =
            stored.scram.iter().filter_map(|text| text.parse().ok()).collect();
        let used = used(stored);
        verifiers.extend(parsed.into_iter().map(|verifier| (verifier, used.clone())));
    }
    Ok(verifiers)
}

/// Returns whether an account still has an app password that opened a session.
///
/// # Errors
/// When the store fails.
pub(crate) async fn has(
    store: &dyn Store,
    account: AccountId,
    opened: &UsedAppPassword,
) -> Result<bool, StoreError> {
    let list = read(store, account).await?.1;
    Ok(list.iter().any(|it| it.number == opened.number && it.hash == opened.hash))
}

/// Records the day on which a session was opened with an app password, unless that is recorded already.
pub(crate) async fn note_use(
    store: &dyn Store,
    account: AccountId,
    opened: &UsedAppPassword,
    now: Timestamp,
) {
    let day = now.as_second().div_euclid(DAY).to_string().into_bytes();
    let name = used_name(account, opened.number);
    let noted = async {
        if store.kept_one(USED, &name).await?.as_ref() != Some(&day) {
            store.keep(USED, &name, Some(day)).await?;
        }
        Ok::<_, StoreError>(())
    };
    // A full disk keeps nobody out.
    if let Err(error) = noted.await {
        tracing::warn!(%error, "the use of an app password could not be recorded");
    }
}

fn used(stored: Stored) -> UsedAppPassword {
    let Stored { number, name, hash, .. } = stored;
    UsedAppPassword { number, hash, name }
}

fn is_called(stored: &Stored, name: &str) -> bool {
    stored.name.to_lowercase() == name.to_lowercase()
}

fn used_name(account: AccountId, number: u32) -> String {
    format!("{} {number}", account.0)
}

/// Returns the characters of an app password, however they are grouped; none if the text is no app password.
fn characters(given: &[u8]) -> Option<[u8; CHARACTERS]> {
    let mut characters = [0; CHARACTERS];
    let mut given = given.iter().filter(|&&octet| octet != b'-' && octet != b' ');
    for character in &mut characters {
        *character = given.next()?.to_ascii_lowercase();
    }
    let is_whole = given.next().is_none();
    (is_whole && characters.iter().all(|octet| ALPHABET.contains(octet))).then_some(characters)
}

fn hash(characters: &[u8; CHARACTERS]) -> String {
    BASE64.encode(digest::digest(&digest::SHA256, characters))
}

/// Reads the record of an account, and the list in it.
async fn read(
    store: &dyn Store,
    account: AccountId,
) -> Result<(Option<Vec<u8>>, Vec<Stored>), StoreError> {
    let record = store.kept_one(APP_PASSWORDS, &account.0.to_string()).await?;
    let list = match &record {
        Some(record) => serde_json::from_slice(record)
            .map_err(|error| StoreError::Damaged(format!("app passwords: {error}")))?,
        None => Vec::new(),
    };
    Ok((record, list))
}

async fn change(
    store: &dyn Store,
    account: AccountId,
    mut change: impl FnMut(&mut Vec<Stored>) -> Result<(), AppPasswordError>,
) -> Result<(), AppPasswordError> {
    let name = account.0.to_string();
    for _ in 0..ATTEMPTS {
        let (before, mut list) = read(store, account).await?;
        change(&mut list)?;
        let after = match list.is_empty() {
            true => None,
            false => Some(
                serde_json::to_vec(&list).map_err(|error| StoreError::Failed(error.to_string()))?,
            ),
        };
        if store.keep_if(APP_PASSWORDS, &name, before, after.clone()).await? == after {
            return Ok(());
        }
    }
    Err(AppPasswordError::Busy)
}

#[cfg(test)]
mod tests {
    use super::*;
    use posta_net::clock::SimulatedClock;
    use posta_store::MemoryStore;

    const ANA: AccountId = AccountId(1);

    async fn added(store: &MemoryStore, clock: &SimulatedClock, name: &str) -> String {
        let new = NewAppPassword::make(clock, None);
        add(store, ANA, name, clock.now(), new).await.unwrap()
    }

    #[tokio::test]
    async fn passwords_are_made_found_and_removed() {
        let (store, clock) = (MemoryStore::new(), SimulatedClock::new(Timestamp::UNIX_EPOCH, 1));
        let (phone, laptop) =
            (added(&store, &clock, "phone").await, added(&store, &clock, " laptop").await);
        assert_ne!(phone, laptop);
        assert_eq!(phone.len(), 29, "{phone}");
        let found = async |given: &str| {
            let given = Secret::new(given.as_bytes());
            matching(&store, ANA, &given).await.unwrap().map(|found| found.name)
        };
        for given in [phone.clone(), phone.replace('-', ""), phone.replace('-', " ").to_uppercase()]
        {
            assert_eq!(found(&given).await.as_deref(), Some("phone"), "{given}");
        }
        assert_eq!(found(&laptop).await.as_deref(), Some("laptop"));
        for wrong in [&phone[1..], "", "-", &format!("{phone}a"), &phone.replace('-', "l")] {
            assert_eq!(found(wrong).await, None, "{wrong}");
        }
        let other = Secret::new(phone.as_bytes());
        assert_eq!(matching(&store, AccountId(2), &other).await.unwrap(), None);
        let opened = matching(&store, ANA, &other).await.unwrap().unwrap();
        assert!(has(&store, ANA, &opened).await.unwrap());
        remove(&store, ANA, "PHONE").await.unwrap();
        assert!(!has(&store, ANA, &opened).await.unwrap());
        let again = added(&store, &clock, "phone").await;
        assert!(!has(&store, ANA, &opened).await.unwrap(), "another of the same name");
        assert_eq!(found(&phone).await, None);
        assert_eq!(found(&again).await.as_deref(), Some("phone"));
        let names: Vec<_> =
            list(&store, ANA).await.unwrap().into_iter().map(|it| it.name).collect();
        assert_eq!(names, ["laptop", "phone"]);
    }

    #[tokio::test]
    async fn names_and_numbers_are_bounded() {
        let (store, clock) = (MemoryStore::new(), SimulatedClock::new(Timestamp::UNIX_EPOCH, 1));
        let try_add = async |name: &str| {
            let new = NewAppPassword { shown: name.into(), hash: name.into(), scram: Vec::new() };
            add(&store, ANA, name, clock.now(), new).await
        };
        for name in ["", "  ", "a\nb", &"x".repeat(65)] {
            assert!(matches!(try_add(name).await, Err(AppPasswordError::Name)), "{name:?}");
        }
        for number in 0..APP_PASSWORDS_EACH {
            try_add(&number.to_string()).await.unwrap();
        }
        assert!(matches!(try_add("7").await, Err(AppPasswordError::Taken(_))));
        assert!(matches!(try_add("more").await, Err(AppPasswordError::TooMany)));
        let missing = remove(&store, ANA, "more").await;
        assert!(matches!(missing, Err(AppPasswordError::Missing(_))));
    }
}
