//! The directory: who has a mailbox here, and where other addresses lead.

mod resolution;

pub use resolution::{AddressOwner, Resolution, ResolvedAccount, untagged};

use crate::{
    error::Pending,
    names::{AccountId, AliasName},
};
use posta_mail::{Address, AddressError, Domain, Secret, Timestamp};
use std::{fmt, str::FromStr};

/// Accounts, aliases and the domains that are local.
pub trait Directory: Send + Sync + 'static {
    /// Resolves an address: returns everything that the reply to a RCPT command needs, in one call.
    fn resolve(&self, address: &Address) -> Pending<'_, Resolution>;

    /// Resolves many addresses, such as the members of an alias, in one call. Returns a resolution for each, in
    /// their order. The caller bounds their number.
    fn resolve_all(&self, addresses: &[Address]) -> Pending<'_, Vec<Resolution>>;

    /// Returns the account of an address, without regard to case.
    fn account(&self, address: &Address) -> Pending<'_, Option<Account>>;

    /// Returns the accounts with this local-part in any domain, without regard to case.
    fn accounts_named(&self, local_part: &str) -> Pending<'_, Vec<Account>>;

    /// Returns the account of an id.
    fn account_by_id(&self, id: AccountId) -> Pending<'_, Option<Account>>;

    /// Returns the oldest account of a domain, whose name is given in lower case: the oldest that can log in, if
    /// any can.
    fn first_account(&self, domain: &str) -> Pending<'_, Option<Account>>;

    /// Returns accounts in the order of their addresses, those after `after`, at most `limit`: whoever goes over
    /// all of them does so in pieces, and nobody has to in order to find one.
    fn accounts(&self, after: Option<&Address>, limit: usize) -> Pending<'_, Vec<Account>>;

    /// Adds an account, and its domain to those that are local. An alias of its name has to name the
    /// address itself as a target: it forwards the account's mail then.
    ///
    /// # Errors
    /// [`StoreError::AccountExists`](crate::StoreError::AccountExists); [`StoreError::IsAlias`](crate::StoreError::IsAlias); [`StoreError::DomainIsAlias`](crate::StoreError::DomainIsAlias); [`StoreError::Sealed`](crate::StoreError::Sealed) when a password for APOP cannot be sealed.
    fn add_account(&self, address: &Address, credentials: Credentials) -> Pending<'_, AccountId>;

    /// Replaces an account's password. The password for APOP is replaced as well, or removed if there is none.
    ///
    /// # Errors
    /// [`StoreError::NoSuchAccount`](crate::StoreError::NoSuchAccount); [`StoreError::Sealed`](crate::StoreError::Sealed) when a password for APOP cannot be sealed.
    fn set_password(&self, address: &Address, credentials: Credentials) -> Pending<'_, ()>;

    /// Sets how many octets an account's mailbox may hold; `None` for any number. The store only keeps the number:
    /// whoever accepts mail enforces it.
    ///
    /// # Errors
    /// [`StoreError::NoSuchAccount`](crate::StoreError::NoSuchAccount).
    fn set_quota(&self, address: &Address, quota: Option<u64>) -> Pending<'_, ()>;

    /// Replaces the list of senders that an account may use beside its own addresses.
    ///
    /// # Errors
    /// [`StoreError::NoSuchAccount`](crate::StoreError::NoSuchAccount).
    fn set_send_as(&self, address: &Address, send_as: Vec<SendAs>) -> Pending<'_, ()>;

    /// Disables or enables logins to an account ([`Account::disabled`]).
    ///
    /// # Errors
    /// [`StoreError::NoSuchAccount`](crate::StoreError::NoSuchAccount).
    fn set_disabled(&self, address: &Address, disabled: bool) -> Pending<'_, ()>;

    /// Gives an account another address, whose domain becomes local; its mailbox, unique-ids and
    /// credentials stay. In the same transaction an alias of the old name goes, and `aliases` are set.
    /// The old domain stays local as after [`Directory::remove_account`].
    ///
    /// # Errors
    /// [`StoreError::NoSuchAccount`](crate::StoreError::NoSuchAccount); [`StoreError::AccountExists`](crate::StoreError::AccountExists); [`StoreError::IsAlias`](crate::StoreError::IsAlias) where an
    /// alias has the new name; [`StoreError::DomainIsAlias`](crate::StoreError::DomainIsAlias).
    fn rename_account(&self, old: &Address, new: &Address, aliases: Vec<Alias>) -> Pending<'_, ()>;

    /// Removes an account, and its messages as [`Mailboxes::remove`](crate::Mailboxes::remove) does: it can be brought back with them
    /// until `purge`. Its domain stays local only if it was added by itself or something uses it: an
    /// account, an alias, another domain that stands for it.
    ///
    /// # Errors
    /// [`StoreError::NoSuchAccount`](crate::StoreError::NoSuchAccount).
    fn remove_account(
        &self,
        address: &Address,
        now: Timestamp,
        purge: Timestamp,
    ) -> Pending<'_, ()>;

    /// Returns the accounts that were removed and are not purged yet, in the order in which they were added.
    fn removed_accounts(&self) -> Pending<'_, Vec<RemovedAccount>>;

    /// Brings a removed account back, with the messages that it had when it was removed, their
    /// unique-ids and its credentials. Returns the number of messages. Many messages come back some at a time,
    /// and the account with the last of them: should that be cut off, call it again for the rest.
    ///
    /// # Errors
    /// [`StoreError::NoSuchAccount`](crate::StoreError::NoSuchAccount) if it is not among those that were removed;
    /// [`StoreError::AccountExists`](crate::StoreError::AccountExists) where another has its address now; [`StoreError::DomainIsAlias`](crate::StoreError::DomainIsAlias).
    fn restore_account(&self, account: AccountId) -> Pending<'_, usize>;

    /// Returns the targets of an alias.
    fn alias(&self, name: &AliasName) -> Pending<'_, Option<Vec<Address>>>;

    /// Returns all aliases, by name.
    fn aliases(&self) -> Pending<'_, Vec<Alias>>;

    /// Adds an alias, or replaces it. Where there is an account of its name, it forwards the account's
    /// mail ([`Account::forwards`]).
    ///
    /// # Errors
    /// [`StoreError::NoSuchDomain`](crate::StoreError::NoSuchDomain) when its domain is not local; [`StoreError::DomainIsAlias`](crate::StoreError::DomainIsAlias).
    fn set_alias(&self, alias: Alias) -> Pending<'_, ()>;

    /// Removes an alias.
    ///
    /// # Errors
    /// [`StoreError::NoSuchAlias`](crate::StoreError::NoSuchAlias).
    fn remove_alias(&self, name: &AliasName) -> Pending<'_, ()>;

    /// Returns whether mail for a domain, given in lower case, is ours to keep.
    fn is_local(&self, domain: &str) -> Pending<'_, bool>;

    /// Returns all local domains, by name.
    fn domains(&self) -> Pending<'_, Vec<Domain>>;

    /// Returns the domain that a domain, given in lower case, stands for; `None` if it stands for itself.
    fn domain_alias(&self, domain: &str) -> Pending<'_, Option<Domain>>;

    /// Returns all domains that stand for others, by name, each with the domain that it stands for.
    fn domain_aliases(&self) -> Pending<'_, Vec<(Domain, Domain)>>;

    /// Makes a domain stand for a local one: every address in `alias` is the same address in `domain`.
    ///
    /// # Errors
    /// [`StoreError::NoSuchDomain`](crate::StoreError::NoSuchDomain) when the other is not local; [`StoreError::DomainIsAlias`](crate::StoreError::DomainIsAlias) when it
    /// stands for another itself; [`StoreError::DomainInUse`](crate::StoreError::DomainInUse) while the first has accounts or aliases,
    /// or others stand for it.
    fn set_domain_alias(&self, alias: &Domain, domain: &Domain) -> Pending<'_, ()>;

    /// Makes a domain local. A domain that is local already stays so.
    ///
    /// # Errors
    /// [`StoreError::DomainIsAlias`](crate::StoreError::DomainIsAlias).
    fn add_domain(&self, domain: &Domain) -> Pending<'_, ()>;

    /// Makes a domain no longer local; also one that stands for another.
    ///
    /// # Errors
    /// [`StoreError::NoSuchDomain`](crate::StoreError::NoSuchDomain); [`StoreError::DomainInUse`](crate::StoreError::DomainInUse) while it has accounts or aliases, or
    /// others stand for it.
    fn remove_domain(&self, domain: &Domain) -> Pending<'_, ()>;
}

/// An account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// The account's id, which it keeps when it is renamed.
    pub id: AccountId,
    /// The address, in lower case.
    pub address: Address,
    /// What a password is checked against.
    pub credentials: Credentials,
    /// How many octets the mailbox may hold; `None` for any number.
    pub quota: Option<u64>,
    /// The senders that the account may use beside its own addresses.
    pub send_as: Vec<SendAs>,
    /// Whether an alias of its name says where its mail goes: to the alias's targets, and into its
    /// mailbox where its own address is one of them. The store keeps it: it tells whoever delivers
    /// mail to look for the alias.
    pub forwards: bool,
    /// Whether nobody may log in. Mail is taken all the same.
    pub disabled: bool,
}

impl Account {
    /// Returns a new account: no quota, no rights beyond its own.
    #[must_use]
    pub const fn new(id: AccountId, address: Address, credentials: Credentials) -> Self {
        let (forwards, disabled) = (false, false);
        Self { id, address, credentials, quota: None, send_as: Vec::new(), forwards, disabled }
    }
}

/// An account that was removed and can be brought back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemovedAccount {
    /// The account as it was when it was removed.
    pub account: Account,
    /// When it was removed.
    pub time: Timestamp,
    /// When it is purged, and cannot be brought back any more.
    pub purge: Timestamp,
}

/// Whom an account may name as a message's author or sender beside itself.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum SendAs {
    /// Anybody: `any`.
    Anybody,
    /// Every address of a domain: `@domain`.
    Domain(Domain),
    /// One address, folded.
    Address(Address),
}

impl SendAs {
    /// Returns whether this includes an address.
    #[must_use]
    pub fn includes(&self, address: &Address) -> bool {
        match self {
            Self::Anybody => true,
            Self::Domain(domain) => address.domain() == domain.as_str(),
            Self::Address(allowed) => *allowed == address.folded(),
        }
    }
}

impl fmt::Display for SendAs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Anybody => f.write_str("any"),
            Self::Domain(domain) => write!(f, "@{domain}"),
            Self::Address(address) => address.fmt(f),
        }
    }
}

impl FromStr for SendAs {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        match text.strip_prefix('@') {
            Some(domain) => domain.parse().map(Self::Domain),
            None if text == "any" => Ok(Self::Anybody),
            None => text.parse().map(|address: Address| Self::Address(address.folded())),
        }
    }
}

/// What the password of an account is checked against.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Credentials {
    /// The password's hash, as a PHC string.
    pub password_hash: String,
    /// The password's SCRAM verifier (RFC 5803), if there is one.
    pub scram: Option<String>,
    /// The password itself, for APOP (RFC 1939 §7), on its way into the store: only where the
    /// account's owner asked for it. It is kept apart, as [`SecretOf::Apop`](crate::SecretOf::Apop), and an
    /// account that is read has none here.
    pub apop: Option<Secret>,
}

/// Where mail for one address, or for all other addresses of a domain, goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alias {
    /// The address, or the domain for a catch-all.
    pub name: AliasName,
    /// The addresses to which mail goes on: at least one.
    pub targets: Vec<Address>,
}

/// Returns whether an alias of an address is among its own targets: the address's account then keeps
/// a copy of what is forwarded.
#[must_use]
pub fn keeps_copy(address: &Address, targets: &[Address]) -> bool {
    let address = address.folded();
    targets.iter().any(|target| target.folded() == address)
}
