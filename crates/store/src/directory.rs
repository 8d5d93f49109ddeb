//! The directory: the accounts with mailboxes here, and the places that other addresses lead to.

mod resolution;
mod tags;

pub use resolution::{AddressOwner, Resolution, ResolvedAccount, untagged};
pub use tags::{TagSeparators, TagSeparatorsError};

use crate::{
    error::Pending,
    names::{AccountId, AliasName},
};
use posta_mail::{Address, AddressError, Domain, Secret, Timestamp};
use std::{fmt, str::FromStr};

/// Accounts, aliases and local domains.
pub trait Directory: Send + Sync + 'static {
    /// Returns the characters that separate users from tags, by which addresses are resolved.
    fn tags(&self) -> TagSeparators {
        TagSeparators::default()
    }

    /// Resolves an address: returns everything that the reply to a RCPT command needs, in one call.
    fn resolve(&self, address: &Address) -> Pending<'_, Resolution>;

    /// Resolves several addresses, such as the members of an alias, in one call. Returns a resolution
    /// for each, in the same order. The caller limits their number.
    fn resolve_all(&self, addresses: &[Address]) -> Pending<'_, Vec<Resolution>>;

    /// Returns the account of an address, without regard to case.
    fn account(&self, address: &Address) -> Pending<'_, Option<Account>>;

    /// Returns the accounts with this local-part in any domain, without regard to case.
    fn accounts_named(&self, local_part: &str) -> Pending<'_, Vec<Account>>;

    /// Returns the account with this id.
    fn account_by_id(&self, id: AccountId) -> Pending<'_, Option<Account>>;

    /// Returns the oldest account of a domain, whose name is given in lower case: the oldest whose mail somebody
    /// reads ([`Account::is_read`]), if there is one.
    fn first_account(&self, domain: &str) -> Pending<'_, Option<Account>>;

    /// Returns accounts in the order of their addresses, after `after`, at most `limit`. A caller that
    /// needs all accounts reads them in pages; finding a single one never takes that.
    fn accounts(&self, after: Option<&Address>, limit: usize) -> Pending<'_, Vec<Account>>;

    /// Adds an account, and its domain to the local ones. If there is an alias of the same name, it must
    /// contain the address itself; it then forwards the account's mail.
    ///
    /// # Errors
    /// [`StoreError::AccountExists`](crate::StoreError::AccountExists);
    /// [`StoreError::IsAlias`](crate::StoreError::IsAlias);
    /// [`StoreError::DomainIsAlias`](crate::StoreError::DomainIsAlias);
    /// [`StoreError::Sealed`](crate::StoreError::Sealed) when a password for APOP cannot be sealed.
    fn add_account(&self, address: &Address, credentials: Credentials) -> Pending<'_, AccountId>;

    /// Replaces an account's password. The password for APOP is replaced as well, or removed if there is none.
    ///
    /// # Errors
    /// [`StoreError::NoSuchAccount`](crate::StoreError::NoSuchAccount); [`StoreError::Sealed`](crate::StoreError::Sealed) when a password for APOP cannot be sealed.
    fn set_password(&self, address: &Address, credentials: Credentials) -> Pending<'_, ()>;

    /// Replaces an account's password as [`Directory::set_password`] does, if its hash is still `old`. Returns whether it
    /// was.
    ///
    /// # Errors
    /// [`StoreError::NoSuchAccount`](crate::StoreError::NoSuchAccount).
    fn replace_password(
        &self,
        address: &Address,
        old: String,
        credentials: Credentials,
    ) -> Pending<'_, bool>;

    /// Sets the maximal number of octets in an account's mailbox; `None` for any number. The store only
    /// keeps the number; the code that accepts mail enforces it.
    ///
    /// # Errors
    /// [`StoreError::NoSuchAccount`](crate::StoreError::NoSuchAccount).
    fn set_quota(&self, address: &Address, quota: Option<u64>) -> Pending<'_, ()>;

    /// Replaces the list of senders that an account may use besides its own addresses.
    ///
    /// # Errors
    /// [`StoreError::NoSuchAccount`](crate::StoreError::NoSuchAccount).
    fn set_send_as(&self, address: &Address, send_as: Vec<SendAs>) -> Pending<'_, ()>;

    /// Disables or enables logins to an account ([`Account::disabled`]).
    ///
    /// # Errors
    /// [`StoreError::NoSuchAccount`](crate::StoreError::NoSuchAccount).
    fn set_disabled(&self, address: &Address, disabled: bool) -> Pending<'_, ()>;

    /// Sets whether POP3 shows an account's junk ([`Account::marks_junk`]).
    ///
    /// # Errors
    /// [`StoreError::NoSuchAccount`](crate::StoreError::NoSuchAccount).
    fn set_marks_junk(&self, address: &Address, marks_junk: bool) -> Pending<'_, ()>;

    /// Sets whether an account only sends mail ([`Account::send_only`]).
    ///
    /// # Errors
    /// [`StoreError::NoSuchAccount`](crate::StoreError::NoSuchAccount).
    fn set_send_only(&self, address: &Address, send_only: bool) -> Pending<'_, ()>;

    /// Gives an account another address, whose domain becomes local. Its mailbox, unique-ids and
    /// credentials stay. The same transaction removes an alias of the old name, and sets `aliases`. The
    /// old domain stays local under the same conditions as after [`Directory::remove_account`].
    ///
    /// # Errors
    /// [`StoreError::NoSuchAccount`](crate::StoreError::NoSuchAccount);
    /// [`StoreError::AccountExists`](crate::StoreError::AccountExists);
    /// [`StoreError::IsAlias`](crate::StoreError::IsAlias) if an alias has the new name;
    /// [`StoreError::DomainIsAlias`](crate::StoreError::DomainIsAlias).
    fn rename_account(&self, old: &Address, new: &Address, aliases: Vec<Alias>) -> Pending<'_, ()>;

    /// Removes an account, and its messages as [`Mailboxes::remove`](crate::Mailboxes::remove) does: it
    /// can be restored with them until `purge`. Its domain stays local only if the domain was added
    /// separately, or is used by an account, an alias, or a domain alias.
    ///
    /// # Errors
    /// [`StoreError::NoSuchAccount`](crate::StoreError::NoSuchAccount).
    fn remove_account(
        &self,
        address: &Address,
        now: Timestamp,
        purge: Timestamp,
    ) -> Pending<'_, ()>;

    /// Returns the accounts that were removed and are not purged yet, in the order in which they were
    /// added.
    fn removed_accounts(&self) -> Pending<'_, Vec<RemovedAccount>>;

    /// Restores a removed account, with the messages that it had at its removal, their unique-ids and
    /// its credentials. Returns the number of messages. Many messages are restored in several steps, and
    /// the account in the last of them. If that is interrupted, another call continues.
    ///
    /// # Errors
    /// [`StoreError::NoSuchAccount`](crate::StoreError::NoSuchAccount) if the account is not among the
    /// removed ones; [`StoreError::AccountExists`](crate::StoreError::AccountExists) if another account
    /// has its address now; [`StoreError::DomainIsAlias`](crate::StoreError::DomainIsAlias).
    fn restore_account(&self, account: AccountId) -> Pending<'_, usize>;

    /// Returns the members of an alias.
    fn alias(&self, name: &AliasName) -> Pending<'_, Option<Vec<Address>>>;

    /// Returns all aliases, by name.
    fn aliases(&self) -> Pending<'_, Vec<Alias>>;

    /// Adds or replaces an alias. If there is an account of the same name, the alias forwards the
    /// account's mail ([`Account::forwards`]).
    ///
    /// # Errors
    /// [`StoreError::NoSuchDomain`](crate::StoreError::NoSuchDomain) if its domain is not local;
    /// [`StoreError::DomainIsAlias`](crate::StoreError::DomainIsAlias).
    fn set_alias(&self, alias: Alias) -> Pending<'_, ()>;

    /// Removes an alias.
    ///
    /// # Errors
    /// [`StoreError::NoSuchAlias`](crate::StoreError::NoSuchAlias).
    fn remove_alias(&self, name: &AliasName) -> Pending<'_, ()>;

    /// Returns whether a domain, given in lower case, is local.
    fn is_local(&self, domain: &str) -> Pending<'_, bool>;

    /// Returns all local domains, by name.
    fn domains(&self) -> Pending<'_, Vec<Domain>>;

    /// Returns the domain that a domain, given in lower case, is an alias of; `None` if it is not an
    /// alias.
    fn domain_alias(&self, domain: &str) -> Pending<'_, Option<Domain>>;

    /// Returns all domain aliases, by name, each with its domain.
    fn domain_aliases(&self) -> Pending<'_, Vec<(Domain, Domain)>>;

    /// Makes a domain an alias of a local one: every address in `alias` is equivalent to the same
    /// address in `domain`.
    ///
    /// # Errors
    /// [`StoreError::NoSuchDomain`](crate::StoreError::NoSuchDomain) if `domain` is not local;
    /// [`StoreError::DomainIsAlias`](crate::StoreError::DomainIsAlias) if it is an alias itself;
    /// [`StoreError::DomainInUse`](crate::StoreError::DomainInUse) while `alias` has accounts, aliases
    /// or domain aliases.
    fn set_domain_alias(&self, alias: &Domain, domain: &Domain) -> Pending<'_, ()>;

    /// Makes a domain local. Does nothing if it is local already.
    ///
    /// # Errors
    /// [`StoreError::DomainIsAlias`](crate::StoreError::DomainIsAlias).
    fn add_domain(&self, domain: &Domain) -> Pending<'_, ()>;

    /// Makes a domain no longer local; also removes a domain alias.
    ///
    /// # Errors
    /// [`StoreError::NoSuchDomain`](crate::StoreError::NoSuchDomain);
    /// [`StoreError::DomainInUse`](crate::StoreError::DomainInUse) while the domain has accounts,
    /// aliases or domain aliases.
    fn remove_domain(&self, domain: &Domain) -> Pending<'_, ()>;
}

/// An account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// The account's id, which it keeps when it is renamed.
    pub id: AccountId,
    /// The address, in lower case.
    pub address: Address,
    /// The data for checking a password.
    pub credentials: Credentials,
    /// The maximal number of octets in the mailbox; `None` for any number.
    pub quota: Option<u64>,
    /// The senders that the account may use besides its own addresses.
    pub send_as: Vec<SendAs>,
    /// Whether an alias of the same name decides where the account's mail goes: to the alias's members,
    /// and into the mailbox only if the account's own address is among them. The store maintains this
    /// flag, which informs the code that delivers mail that there is such an alias.
    pub forwards: bool,
    /// Whether logins are refused. Mail is still accepted.
    pub disabled: bool,
    /// Whether POP3 shows the messages of the folder Junk among those of the inbox, with a mark.
    pub marks_junk: bool,
    /// Whether the account belongs to a program that only sends mail: it has no mailbox, and mail for it is refused
    /// unless the account forwards it.
    pub send_only: bool,
}

impl Account {
    /// Returns a new account, without a quota or additional rights.
    #[must_use]
    pub const fn new(id: AccountId, address: Address, credentials: Credentials) -> Self {
        let (forwards, disabled, marks_junk, send_only) = (false, false, false, false);
        let quota = None;
        Self {
            id,
            address,
            credentials,
            quota,
            send_as: Vec::new(),
            forwards,
            disabled,
            marks_junk,
            send_only,
        }
    }

    /// Returns whether somebody can read the account's mail: logins are not disabled, and it has a mailbox.
    #[must_use]
    pub const fn is_read(&self) -> bool {
        !self.disabled && !self.send_only
    }
}

/// A removed account that can be restored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemovedAccount {
    /// The account as it was at its removal.
    pub account: Account,
    /// The time of removal.
    pub time: Timestamp,
    /// The time when the account is purged, and can no longer be restored.
    pub purge: Timestamp,
}

/// A sender that an account may use besides its own addresses.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum SendAs {
    /// Any sender: `any`.
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

/// The data for checking an account's password.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Credentials {
    /// The password's hash, as a PHC string.
    pub password_hash: String,
    /// The password's SCRAM verifier (RFC 5803), if there is one.
    pub scram: Option<String>,
    /// The password itself, for APOP (RFC 1939 §7), on its way into the store, if the account's owner
    /// asked for that. It is stored separately, as [`SecretOf::Apop`](crate::SecretOf::Apop), so an
    /// account read from the store has none here.
    pub apop: Option<Secret>,
}

/// An alias: the members to which mail for an address, or for all other addresses of a domain, is
/// forwarded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alias {
    /// The address, or the domain for a catch-all.
    pub name: AliasName,
    /// The members, at least one.
    pub targets: Vec<Address>,
}

/// Returns whether an address is among the members of its own alias, so that its account keeps a copy of
/// forwarded mail.
#[must_use]
pub fn keeps_copy(address: &Address, targets: &[Address]) -> bool {
    let address = address.folded();
    targets.iter().any(|target| target.folded() == address)
}
