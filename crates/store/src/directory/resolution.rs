//! The result of resolving an address in one call: everything that the reply to a RCPT command needs.

use super::{Account, Alias, TagSeparators};
use crate::{mailboxes::Usage, names::AliasName};
use posta_mail::{Address, Domain};

/// The directory's information about an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolution {
    /// The address in lower case; if its domain is an alias, in the domain itself.
    pub address: Address,
    /// Whether the address's domain is local.
    pub is_local: bool,
    /// The account or alias with this address, otherwise the one with the address without its tag. An
    /// account takes precedence over an alias of the same name, which forwards its mail.
    pub owner: Option<AddressOwner>,
    /// The members of the domain's catch-all. Stores look for it only if the address has no owner.
    pub catch_all: Option<Vec<Address>>,
}

/// The owner of an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AddressOwner {
    /// An account.
    Account(Box<ResolvedAccount>),
    /// An alias, with its name and its members.
    Alias(Address, Vec<Address>),
}

/// An account, with the data that decides whether it accepts a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResolvedAccount {
    /// The account.
    pub account: Account,
    /// The addresses to which the account's mail is forwarded, if [`Account::forwards`] is set.
    pub forward: Option<Vec<Address>>,
    /// The usage of the mailbox, if the account has a quota.
    pub usage: Option<Usage>,
}

impl AddressOwner {
    /// Returns the address of the account or alias.
    #[must_use]
    pub const fn name(&self) -> &Address {
        match self {
            Self::Account(resolved) => &resolved.account.address,
            Self::Alias(name, _) => name,
        }
    }
}

impl Resolution {
    /// Returns the names under which an address may have an owner, in order of precedence: the address
    /// in lower case and in the domain `stands_for`, and the same without its tag, where `+` separates it.
    #[must_use]
    pub fn names(address: &Address, stands_for: Option<&Domain>) -> (Address, Option<Address>) {
        Self::names_by(address, stands_for, &TagSeparators::default())
    }

    /// Returns the names under which an address may have an owner, where these characters separate tags.
    #[must_use]
    pub fn names_by(
        address: &Address,
        stands_for: Option<&Domain>,
        tags: &TagSeparators,
    ) -> (Address, Option<Address>) {
        let there = stands_for.and_then(|domain| Address::new(address.local_part(), domain).ok());
        let address = there.map_or_else(|| address.folded(), |there| there.folded());
        let untagged = tags.untagged(&address);
        (address, untagged)
    }

    /// Returns whether mail for the address leads anywhere: to an account, an alias, or the domain's catch-all.
    #[must_use]
    pub const fn exists(&self) -> bool {
        self.owner.is_some() || self.catch_all.is_some()
    }

    /// Returns the addresses to which mail is forwarded, if it is: the members of the alias, of the
    /// account's forward, or of the catch-all.
    #[must_use]
    pub fn targets(&self) -> &[Address] {
        match &self.owner {
            Some(AddressOwner::Account(resolved)) => resolved.forward.as_deref(),
            Some(AddressOwner::Alias(_, targets)) => Some(&targets[..]),
            None => self.catch_all.as_deref(),
        }
        .unwrap_or_default()
    }

    /// Returns the resolution if `alias` were stored as well, in place of an alias with the same name.
    #[must_use]
    pub fn with_alias(mut self, alias: &Alias, tags: &TagSeparators) -> Self {
        let name = match &alias.name {
            AliasName::Address(name) => name,
            AliasName::CatchAll(domain) => {
                if self.owner.is_none() && self.address.domain() == domain.as_str() {
                    self.catch_all = Some(alias.targets.clone());
                }
                return self;
            }
        };
        let is_whole = *name == self.address;
        if !is_whole && tags.untagged(&self.address).as_ref() != Some(name) {
            return self;
        }
        match &mut self.owner {
            Some(AddressOwner::Account(resolved)) if resolved.account.address == *name => {
                resolved.account.forwards = true;
                resolved.forward = Some(alias.targets.clone());
            }
            // An owner of the whole address precedes an owner of the address without its tag.
            Some(owner) if !is_whole && *owner.name() == self.address => {}
            _ => self.owner = Some(AddressOwner::Alias(name.clone(), alias.targets.clone())),
        }
        self
    }
}

/// Returns an address without its tag, if it has one that `+` separates.
#[must_use]
pub fn untagged(address: &Address) -> Option<Address> {
    TagSeparators::default().untagged(address)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{AccountId, Credentials};

    fn address(text: &str) -> Address {
        text.parse().unwrap()
    }

    #[test]
    fn an_alias_that_is_not_stored_yet_is_seen() {
        let alias = |name: &str| Alias {
            name: name.parse().unwrap(),
            targets: vec![address("eva@x.test")],
        };
        let account = |name: &str| {
            let account = Account::new(AccountId(1), address(name), Credentials::default());
            AddressOwner::Account(Box::new(ResolvedAccount { account, forward: None, usage: None }))
        };
        let resolution = |owner| Resolution {
            address: address("ana+a@x.test"),
            is_local: true,
            owner,
            catch_all: None,
        };
        for (owner, name, is_seen) in [
            (None, "ana+a@x.test", true),
            (None, "ana@x.test", true),
            (None, "@x.test", true),
            (None, "@y.test", false),
            (None, "bob@x.test", false),
            (Some("ana@x.test"), "ana@x.test", true),
            (Some("ana@x.test"), "ana+a@x.test", true),
            (Some("ana+a@x.test"), "ana@x.test", false),
            (Some("ana+a@x.test"), "@x.test", false),
        ] {
            let seen =
                resolution(owner.map(account)).with_alias(&alias(name), &TagSeparators::default());
            assert_eq!(seen.targets().len(), usize::from(is_seen), "{owner:?} {name}");
            let still_account = matches!(seen.owner, Some(AddressOwner::Account(_)));
            assert_eq!(
                still_account,
                owner.is_some() && name != "ana+a@x.test",
                "{owner:?} {name}"
            );
        }
    }
}
