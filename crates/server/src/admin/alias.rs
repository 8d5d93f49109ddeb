//! The operator's requests about aliases.
//!
//! An account's address counts as an alias of its own mailbox unless an alias has that name. So `add` makes an
//! account forward its mail and keep a copy, `set` names exactly who gets its mail, and `remove` directs the mail to
//! the mailbox again.

use super::{Admin, AdminError, Response, parse_address};
use crate::directory::{DeadEnd, Fault, TARGETS, canonical, faults, problems::problems};
use posta_mail::Address;
use posta_store::{Alias, AliasName, StoreError, keeps_copy};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The number of aliases in a page of the list.
const PAGE: usize = 1_000;

/// An alias in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AliasLine {
    /// The alias's name.
    pub name: String,
    /// The members.
    pub targets: Vec<String>,
    /// Problems, in words: members that lead nowhere.
    #[serde(default)]
    pub problems: Vec<String>,
}

/// An alias after a change.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct AliasState {
    /// The members; empty if the alias does not exist any more.
    pub members: Vec<String>,
    /// Whether the name is an account's address. Without members, mail then goes to the mailbox.
    pub is_account: bool,
    /// Other aliases that still lead to this name although it does not exist any more.
    pub leading: Vec<String>,
}

/// The reason why an alias cannot be changed.
#[derive(Debug, thiserror::Error)]
pub enum AliasError {
    /// The alias would have no members.
    #[error("an alias needs an address that its mail goes to")]
    NoMember,
    /// A member does not exist.
    #[error(
        "{0} does not exist here, so its copy would be lost: correct the address, or make it first \
         (`posta account add {0}`, or `posta alias add {0} MEMBER`)"
    )]
    NoSuchAddress(Address),
    /// A member takes no mail.
    #[error(
        "{0} only sends mail, so its copy would be lost: name an address that somebody reads, or give it a          mailbox (`posta account send-only {0} --off`)"
    )]
    SendOnly(Address),
    /// The alias would be its own member.
    #[error(
        "{0} would lead back to itself: only an account keeps a copy of what it forwards, and there \
         is no account {0} (`posta account add {0}` adds one)"
    )]
    Itself(AliasName),
    /// The alias would be part of a loop.
    #[error(
        "{member} leads back to {alias}: mail would go round in a loop; `posta alias list` shows the \
         way, `posta alias remove {alias} {member}` ends it where that is set already"
    )]
    Loop {
        /// The last alias of the loop.
        alias: AliasName,
        /// The member that closes the loop.
        member: Address,
    },
    /// The chain of aliases would be too long.
    #[error("{0}; name the addresses behind them instead")]
    TooMuch(DeadEnd),
    /// The alias would have too many members.
    #[error("{0} may have {TARGETS} members at most; divide them among several aliases")]
    TooMany(AliasName),
    /// The address is not one of the members.
    #[error("{0} does not lead to {1}; `posta alias list` shows where it leads")]
    NoSuchMember(AliasName, Address),
}

impl AliasError {
    fn of(name: &AliasName, broken: DeadEnd) -> Self {
        let DeadEnd { alias, member, fault } = &broken;
        let is_itself = matches!(name, AliasName::Address(own) if *own == member.folded());
        match fault {
            Fault::Missing => Self::NoSuchAddress(member.clone()),
            Fault::SendOnly => Self::SendOnly(member.clone()),
            Fault::Loop if alias == name && is_itself => Self::Itself(name.clone()),
            Fault::Loop => Self::Loop { alias: alias.clone(), member: member.clone() },
            Fault::TooDeep | Fault::TooMany => Self::TooMuch(broken),
        }
    }
}

impl Admin {
    /// Adds members to an alias, or creates it.
    pub(super) async fn add_alias(
        &self,
        name: String,
        targets: Vec<String>,
    ) -> Result<Response, AdminError> {
        let added = parse_alias(name, targets)?;
        let _changing = self.changing.lock().await;
        let mut targets = match self.store.alias(&added.name).await? {
            Some(members) => members,
            None => self.own_address(&added.name).await?.into_iter().collect(),
        };
        for member in &added.targets {
            if !keeps_copy(member, &targets) {
                targets.push(member.clone());
            }
        }
        let alias = Alias { name: added.name, targets };
        // A member that has vanished since it was added does not prevent adding others.
        self.check_alias(&alias, &added.targets).await?;
        self.put_alias(alias).await
    }

    /// Creates an alias or replaces its members.
    pub(super) async fn set_alias(
        &self,
        name: String,
        targets: Vec<String>,
    ) -> Result<Response, AdminError> {
        let mut alias = parse_alias(name, targets)?;
        let mut seen: Vec<Address> = Vec::with_capacity(alias.targets.len());
        alias.targets.retain(|target| {
            let is_new = !keeps_copy(target, &seen);
            seen.push(target.clone());
            is_new
        });
        let _changing = self.changing.lock().await;
        self.check_alias(&alias, &alias.targets).await?;
        self.put_alias(alias).await
    }

    /// Removes an alias, or some of its members.
    pub(super) async fn remove_alias(
        &self,
        name: String,
        members: Vec<String>,
    ) -> Result<Response, AdminError> {
        let name: AliasName = name.parse().map_err(|error| AdminError::Name(name, error))?;
        let _changing = self.changing.lock().await;
        let Some(mut targets) = self.store.alias(&name).await? else {
            return Err(StoreError::NoSuchAlias(name).into());
        };
        for member in &members {
            let member = parse_address(member.clone())?;
            let before = targets.len();
            targets.retain(|target| target.folded() != member.folded());
            if targets.len() == before {
                return Err(AliasError::NoSuchMember(name, member).into());
            }
        }
        if members.is_empty() || targets.is_empty() {
            self.store.remove_alias(&name).await?;
            self.forget_alias(&name).await?;
            return self.alias_state(&name).await;
        }
        self.put_alias(Alias { name, targets }).await
    }

    pub(super) async fn aliases(&self, after: Option<String>) -> Result<Response, AdminError> {
        let mut aliases = self.store.aliases().await?;
        aliases.sort_unstable_by_key(|alias| alias.name.to_string());
        if let Some(after) = after {
            aliases.retain(|alias| alias.name.to_string() > after);
        }
        let is_last = aliases.len() <= PAGE;
        aliases.truncate(PAGE);
        let mut lines = Vec::with_capacity(aliases.len());
        for alias in aliases {
            lines.push(AliasLine {
                problems: problems(&*self.store, &alias).await?,
                name: alias.name.to_string(),
                targets: alias.targets.iter().map(Address::to_string).collect(),
            });
        }
        let next = lines.last().filter(|_| !is_last).map(|last| last.name.clone());
        Ok(Response::Aliases { lines, next })
    }

    /// Returns the aliases that have an address as a member.
    pub(super) async fn leading_to(&self, address: &Address) -> Result<Vec<String>, StoreError> {
        let address = address.folded();
        let tags = self.store.tags();
        let mut leading = Vec::new();
        for alias in self.store.aliases().await? {
            for target in &alias.targets {
                let target = canonical(&*self.store, target).await?.folded();
                if target == address || tags.untagged(&target).is_some_and(|user| user == address) {
                    leading.push(alias.name.to_string());
                    break;
                }
            }
        }
        Ok(leading)
    }

    /// Returns the address itself, if it is an account's.
    async fn own_address(&self, name: &AliasName) -> Result<Option<Address>, StoreError> {
        let AliasName::Address(address) = name else { return Ok(None) };
        Ok(self.store.account(address).await?.map(|account| account.address))
    }

    pub(super) async fn check_alias(
        &self,
        alias: &Alias,
        members: &[Address],
    ) -> Result<(), AdminError> {
        if alias.targets.len() > TARGETS {
            return Err(AliasError::TooMany(alias.name.clone()).into());
        }
        let broken = faults(&*self.store, alias, members).await?.into_iter().next();
        broken.map_or(Ok(()), |broken| Err(AliasError::of(&alias.name, broken).into()))
    }

    /// Writes an alias. One whose only member is its own mailbox is removed, since it has no effect.
    async fn put_alias(&self, alias: Alias) -> Result<Response, AdminError> {
        let name = alias.name.clone();
        let own = self.own_address(&name).await?;
        if let ([only], Some(own)) = (&alias.targets[..], own)
            && only.folded() == own
        {
            if self.store.alias(&name).await?.is_some() {
                self.store.remove_alias(&name).await?;
                self.forget_alias(&name).await?;
            }
        } else {
            self.store.set_alias(alias).await?;
        }
        self.alias_state(&name).await
    }

    async fn alias_state(&self, name: &AliasName) -> Result<Response, AdminError> {
        let members = self.store.alias(name).await?.unwrap_or_default();
        let is_account = self.own_address(name).await?.is_some();
        let leading = match name {
            AliasName::Address(address) if members.is_empty() && !is_account => {
                self.leading_to(address).await?
            }
            _ => Vec::new(),
        };
        let members = members.iter().map(Address::to_string).collect();
        Ok(Response::Alias(AliasState { members, is_account, leading }))
    }
}

fn parse_alias(name: String, targets: Vec<String>) -> Result<Alias, AdminError> {
    let name = name.parse().map_err(|error| AdminError::Name(name, error))?;
    Ok(Alias { name, targets: parse_targets(targets)? })
}

/// Returns the members of an alias, at least one.
pub(super) fn parse_targets(targets: Vec<String>) -> Result<Vec<Address>, AdminError> {
    let targets = targets.into_iter().map(parse_address).collect::<Result<Vec<_>, _>>()?;
    if targets.is_empty() { Err(AliasError::NoMember.into()) } else { Ok(targets) }
}
