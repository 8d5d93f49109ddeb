//! What is arranged for the mail of somebody who is not there: a note to senders while its owner is away, and a forward
//! that ends on a day or is told to senders.
//!
//! Arrangements belong to an account, whatever its name becomes, or to an alias. They are one small record of the store,
//! so a message costs one look-up for each recipient. Where mail is forwarded to says the alias of that name, as
//! always.

use crate::directory::Directory;
use posta_mail::{Address, Timestamp};
use posta_store::{AccountId, AddressOwner, AliasName, Store, StoreError};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The kind of the records.
pub(super) const KIND: &str = "arrangements";

/// How often a change is tried again because another one came in between.
const ATTEMPTS: usize = 16;

/// The number of records read at a time.
const PAGE: usize = 1_000;

/// Whose arrangements they are.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ArrangementOwner {
    /// An account.
    Account(AccountId),
    /// An alias, by its address in lower case.
    Alias(Address),
}

impl ArrangementOwner {
    /// Returns the owner of the mail for an address: the account or the alias that it names, without a tag.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn of(store: &dyn Store, address: &Address) -> Result<Option<Self>, StoreError> {
        Ok(store.resolve(address).await?.owner.map(|owner| match owner {
            AddressOwner::Account(resolved) => Self::Account(resolved.account.id),
            AddressOwner::Alias(name, _) => Self::Alias(name.folded()),
        }))
    }

    /// Returns the name of the record, which also names the owner in other records.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Self::Account(id) => format!("account {}", id.0),
            Self::Alias(address) => format!("alias {address}"),
        }
    }

    fn named(name: &str) -> Option<Self> {
        match name.split_once(' ')? {
            ("account", id) => Some(Self::Account(AccountId(id.parse().ok()?))),
            ("alias", address) => Some(Self::Alias(address.parse().ok()?)),
            _ => None,
        }
    }

    /// Returns the owner's address; none if the account does not exist any more.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn address(&self, store: &dyn Store) -> Result<Option<Address>, StoreError> {
        Ok(match self {
            Self::Account(id) => store.account_by_id(*id).await?.map(|account| account.address),
            Self::Alias(address) => Some(address.clone()),
        })
    }
}

/// The arrangements of an account or an alias.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct Arrangements {
    /// The note that senders get while the owner is away.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub away: Option<Away>,
    /// More about the forward of the same name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub forward: Option<Forwarded>,
}

/// A note that senders get while somebody is away.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Away {
    /// The time when it was set: whom an earlier note was sent to gets this one, too.
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub set: Timestamp,
    /// The time from which it is sent; none for at once.
    #[serde(default)]
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub from: Option<Timestamp>,
    /// The time until which it is sent; none until it is ended.
    #[serde(default)]
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub until: Option<Timestamp>,
    /// The subject; none for that of the message.
    #[serde(default)]
    pub subject: Option<String>,
    /// The text.
    pub text: String,
}

/// What is arranged about a forward, besides its members.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Forwarded {
    /// The time when it was set.
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub set: Timestamp,
    /// The time when it ends; none for never.
    #[serde(default)]
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub until: Option<Timestamp>,
    /// The text of a note to senders, if they get one.
    #[serde(default)]
    pub note: Option<String>,
}

/// A note that is sent now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DueNote<'a> {
    pub(crate) set: Timestamp,
    pub(crate) subject: Option<&'a str>,
    pub(crate) text: &'a str,
}

impl Away {
    /// Returns whether the note is sent at this time.
    #[must_use]
    pub fn is_sent(&self, now: Timestamp) -> bool {
        self.from.is_none_or(|from| from <= now) && self.until.is_none_or(|until| now < until)
    }
}

impl Arrangements {
    /// Returns the note that senders get now: that of an absence, otherwise that of the forward.
    pub(crate) fn note(&self, now: Timestamp) -> Option<DueNote<'_>> {
        if let Some(away) = self.away.as_ref().filter(|away| away.is_sent(now)) {
            let Away { set, subject, text, .. } = away;
            return Some(DueNote { set: *set, subject: subject.as_deref(), text });
        }
        let forward = self.forward.as_ref()?;
        if forward.until.is_some_and(|until| until <= now) {
            return None;
        }
        Some(DueNote { set: forward.set, subject: None, text: forward.note.as_deref()? })
    }
}

impl Directory {
    /// Returns the arrangements of an account or an alias; empty ones if there are none.
    ///
    /// # Errors
    /// When the store fails.
    pub(crate) async fn arrangements(
        &self,
        owner: &ArrangementOwner,
    ) -> Result<Arrangements, StoreError> {
        read(&*self.store, owner).await
    }
}

/// Returns the arrangements of an account or an alias; empty ones if there are none.
///
/// # Errors
/// When the store fails.
pub async fn read(store: &dyn Store, owner: &ArrangementOwner) -> Result<Arrangements, StoreError> {
    parsed(store.kept_one(KIND, &owner.name()).await?.as_deref())
}

fn parsed(record: Option<&[u8]>) -> Result<Arrangements, StoreError> {
    let Some(record) = record else { return Ok(Arrangements::default()) };
    serde_json::from_slice(record)
        .map_err(|error| StoreError::Damaged(format!("arrangements: {error}")))
}

/// Changes the arrangements of an account or an alias. Returns those that hold afterwards.
///
/// # Errors
/// When the store fails, or others change them all the time.
pub async fn change(
    store: &dyn Store,
    owner: &ArrangementOwner,
    change: impl Fn(&mut Arrangements),
) -> Result<Arrangements, StoreError> {
    let name = owner.name();
    for _ in 0..ATTEMPTS {
        let before = store.kept_one(KIND, &name).await?;
        let mut arrangements = parsed(before.as_deref())?;
        change(&mut arrangements);
        let after = match arrangements == Arrangements::default() {
            true => None,
            false => Some(
                serde_json::to_vec(&arrangements)
                    .map_err(|error| StoreError::Failed(error.to_string()))?,
            ),
        };
        if store.keep_if(KIND, &name, before, after.clone()).await? == after {
            return Ok(arrangements);
        }
    }
    Err(StoreError::Failed("others change the arrangements all the time: try again".to_owned()))
}

/// Ends the forwards whose time is over: their mail goes to the mailbox again, or is refused where there is none. Returns
/// the number of forwards that ended.
///
/// # Errors
/// When the store fails.
pub(crate) async fn end_forwards(store: &dyn Store, now: Timestamp) -> Result<usize, StoreError> {
    let is_over = |arrangements: &Arrangements| {
        let until = arrangements.forward.as_ref().and_then(|forward| forward.until);
        until.is_some_and(|until| until <= now)
    };
    let (mut after, mut ended) = (None::<String>, 0);
    loop {
        let page = store.kept_page(KIND, "", after.as_deref(), PAGE).await?;
        let Some((last, _)) = page.last() else { return Ok(ended) };
        after = Some(last.clone());
        for (name, record) in &page {
            let Some(owner) = ArrangementOwner::named(name) else { continue };
            // It may have been set anew since the page was read.
            if !is_over(&parsed(Some(record))?) || !is_over(&read(store, &owner).await?) {
                continue;
            }
            if let Some(address) = owner.address(store).await? {
                let alias = AliasName::Address(address);
                match store.remove_alias(&alias).await {
                    Ok(()) => tracing::info!(%alias, "its forward has ended"),
                    Err(StoreError::NoSuchAlias(_)) => {}
                    Err(error) => return Err(error),
                }
            }
            change(store, &owner, |arrangements| arrangements.forward = None).await?;
            ended += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use posta_store::{Alias, Credentials, Directory as _, MemoryStore};

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn away(from: Option<i64>, until: Option<i64>) -> Away {
        let (from, until) = (from.map(at), until.map(at));
        Away { set: at(0), from, until, subject: None, text: "away".to_owned() }
    }

    fn forwarded(until: Option<i64>, note: Option<&str>) -> Forwarded {
        Forwarded { set: at(0), until: until.map(at), note: note.map(str::to_owned) }
    }

    #[test]
    fn a_note_is_sent_in_its_time() {
        for (from, until, expected) in [
            (None, None, true),
            (Some(10), None, true),
            (Some(11), None, false),
            (None, Some(10), false),
            (None, Some(11), true),
            (Some(10), Some(11), true),
        ] {
            assert_eq!(away(from, until).is_sent(at(10)), expected, "{from:?} {until:?}");
        }
        let both = |away, forward| Arrangements { away, forward };
        for (arrangements, expected) in [
            (both(None, None), None),
            (both(Some(away(None, None)), Some(forwarded(None, Some("left")))), Some("away")),
            (both(Some(away(Some(11), None)), Some(forwarded(None, Some("left")))), Some("left")),
            (both(None, Some(forwarded(Some(10), Some("left")))), None),
            (both(None, Some(forwarded(None, None))), None),
        ] {
            assert_eq!(arrangements.note(at(10)).map(|note| note.text), expected);
        }
    }

    #[tokio::test]
    async fn forwards_end_and_nothing_else_does() {
        let store = MemoryStore::new();
        let ana: Address = "ana@x.test".parse().unwrap();
        let id = store.add_account(&ana, Credentials::default()).await.unwrap();
        let left: Address = "left@x.test".parse().unwrap();
        for name in [&ana, &left] {
            let name = AliasName::Address(name.clone());
            let targets = vec!["bob@y.test".parse().unwrap()];
            store.set_alias(Alias { name, targets }).await.unwrap();
        }
        let owners = [ArrangementOwner::Account(id), ArrangementOwner::Alias(left.clone())];
        for owner in &owners {
            assert_eq!(ArrangementOwner::named(&owner.name()).as_ref(), Some(owner));
            change(&store, owner, |it| {
                it.forward = Some(forwarded(Some(10), None));
                it.away = Some(away(None, None));
            })
            .await
            .unwrap();
        }
        assert_eq!(ArrangementOwner::of(&store, &ana).await.unwrap().as_ref(), owners.first());
        let tagged = "Left+tag@x.test".parse().unwrap();
        assert_eq!(ArrangementOwner::of(&store, &tagged).await.unwrap().as_ref(), owners.last());
        assert_eq!(end_forwards(&store, at(9)).await.unwrap(), 0);
        assert_eq!(store.aliases().await.unwrap().len(), 2);
        assert_eq!(end_forwards(&store, at(10)).await.unwrap(), 2);
        assert!(store.aliases().await.unwrap().is_empty());
        for owner in &owners {
            let now = read(&store, owner).await.unwrap();
            assert!(now.forward.is_none() && now.away.is_some());
        }
        assert_eq!(end_forwards(&store, at(10)).await.unwrap(), 0);
    }
}
