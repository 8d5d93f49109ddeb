//! How accounts, aliases and domains lie in their keyspaces.

use super::{RECORD_VERSION, Reader, Schema};
use crate::{
    error::{damaged, failed},
    tables::key_and_value,
};
use fjall::Guard;
use posta_mail::{Address, Domain, Secret, Timestamp};
use posta_store::{
    Account, AccountId, AddressOwner, Alias, AliasName, Credentials, RemovedAccount, Resolution,
    ResolvedAccount, SendAs, StoreError, TagSeparators, check_name,
};
use std::{collections::HashSet, ops::Bound};

/// A domain's record: it is local because something uses it, or because it was added by itself.
pub(crate) const USED: &[u8] = &[0];
pub(crate) const ADDED_BY_ITSELF: &[u8] = &[1];

/// First octet of a domain's record that stands for another, whose name follows.
const STANDS_FOR: u8 = 2;

/// What the keys of removed accounts begin with, among the records of the server's own.
const REMOVED_ACCOUNT: &[u8] = b"removed-account\0";

/// What the keys of two indexes of accounts begin with, there too: by id; and by domain, those whose mail is
/// read first, then in the order in which they were added. The value of both is the account's address.
const BY_ID: &[u8] = b"account-by-id\0";
const BY_DOMAIN: &[u8] = b"account-by-domain\0";

/// Words of an account's record.
const FORWARDS: &str = "forwards";
const DISABLED: &str = "disabled";
const MARKS_JUNK: &str = "marks-junk";
const SEND_ONLY: &str = "send-only";

/// An account, its key, and the times of its removal and purge.
pub(crate) type NextAccount = (Vec<u8>, Account, Option<(Timestamp, Timestamp)>);

/// Returns whether a record among those of the server's own is about accounts.
pub(crate) fn is_of_accounts(key: &[u8]) -> bool {
    [REMOVED_ACCOUNT, BY_ID, BY_DOMAIN].iter().any(|prefix| key.starts_with(prefix))
}

impl Schema {
    /// Resolves an address, the usage of its account aside.
    pub(crate) fn resolve(
        &self,
        address: &Address,
        tags: &TagSeparators,
    ) -> Result<Resolution, StoreError> {
        let domain = self.domain.get(address.domain()).map_err(failed)?;
        let is_local = domain.is_some();
        let stands_for = domain.map_or(Ok(None), |value| domain_alias_in(&value))?;
        let (address, untagged) = Resolution::names_by(address, stands_for.as_ref(), tags);
        let mut owner = self.owner(&address)?;
        if let (None, Some(untagged)) = (&owner, untagged) {
            owner = self.owner(&untagged)?;
        }
        let catch_all = match (&owner, address.domain().parse()) {
            (None, Ok(domain)) if is_local => self.targets(&AliasName::CatchAll(domain))?,
            _ => None,
        };
        Ok(Resolution { address, is_local, owner, catch_all })
    }

    /// Returns the account or alias of a name.
    fn owner(&self, name: &Address) -> Result<Option<AddressOwner>, StoreError> {
        let alias = || self.targets(&AliasName::Address(name.clone()));
        let Some(account) = self.account(name)? else {
            return Ok(alias()?.map(|targets| AddressOwner::Alias(name.clone(), targets)));
        };
        let forward = if account.forwards { alias()? } else { None };
        let resolved = ResolvedAccount { account, forward, usage: None };
        Ok(Some(AddressOwner::Account(Box::new(resolved))))
    }

    pub(crate) fn account(&self, folded: &Address) -> Result<Option<Account>, StoreError> {
        match self.account.get(folded.as_str()).map_err(failed)? {
            Some(value) => decode_account(folded.clone(), &value).map(Some),
            None => Ok(None),
        }
    }

    /// The account of an id.
    pub(crate) fn account_by_id(&self, id: AccountId) -> Result<Option<Account>, StoreError> {
        match self.kept.get(account_id_key(id)).map_err(failed)? {
            Some(address) => self.account(&decode_address(&address)?),
            None => Ok(None),
        }
    }

    /// The first account of a domain.
    pub(crate) fn first_account(&self, domain: &str) -> Result<Option<Account>, StoreError> {
        match self.kept.prefix(domain_prefix(domain)).next() {
            Some(guard) => self.account(&decode_address(&guard.value().map_err(failed)?)?),
            None => Ok(None),
        }
    }

    /// Whether a domain has accounts, one aside.
    fn has_account(&self, domain: &str, aside: Option<&Address>) -> Result<bool, StoreError> {
        for guard in self.kept.prefix(domain_prefix(domain)) {
            let address = guard.value().map_err(failed)?;
            if aside.is_none_or(|aside| *address != *aside.as_str().as_bytes()) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Returns the accounts whose addresses begin with `prefix`.
    pub(crate) fn accounts(&self, prefix: &str) -> Result<Vec<Account>, StoreError> {
        // The engine panics if asked for a key that is longer than keys can be.
        if check_name(prefix).is_err() {
            return Ok(Vec::new());
        }
        self.account.prefix(prefix).map(decode_listed_account).collect()
    }

    /// Reads all accounts, one after the other: there may be more than fit in memory.
    pub(crate) fn all_accounts(&self) -> impl Iterator<Item = Result<Account, StoreError>> + use<> {
        self.account.iter().map(decode_listed_account)
    }

    /// Returns accounts in the order of their addresses, those after `after`, at most `limit`.
    pub(crate) fn accounts_after(
        &self,
        after: Option<&Address>,
        limit: usize,
    ) -> Result<Vec<Account>, StoreError> {
        let after = after.map_or(Bound::Unbounded, |after| Bound::Excluded(after.as_str()));
        let some = self.account.range::<&str, _>((after, Bound::Unbounded)).take(limit);
        some.map(decode_listed_account).collect()
    }

    /// Returns the ids of all accounts. Of each account only its id is held in memory.
    pub(crate) fn account_ids(&self) -> Result<HashSet<AccountId>, StoreError> {
        let id = |guard: Guard| {
            let (_, value) = key_and_value(guard)?;
            let mut reader = Reader(&value);
            reader.version()?;
            Ok(AccountId(reader.u64()?))
        };
        self.account.iter().map(id).collect()
    }

    pub(crate) fn targets(&self, name: &AliasName) -> Result<Option<Vec<Address>>, StoreError> {
        let targets = self.alias.get(name.to_string()).map_err(failed)?;
        targets.map(|value| decode_targets(&value)).transpose()
    }

    pub(crate) fn aliases(&self) -> Result<Vec<Alias>, StoreError> {
        let mut aliases = Vec::new();
        for guard in self.alias.iter() {
            let (key, value) = key_and_value(guard)?;
            let text = str::from_utf8(&key).map_err(|_| damaged("an alias's key"))?;
            let name = text.parse().map_err(|_| damaged("an alias's name"))?;
            aliases.push(Alias { name, targets: decode_targets(&value)? });
        }
        Ok(aliases)
    }

    /// Returns the account behind a key: first those that are there, by their ids, then those that were removed, with
    /// the times of the removal and the purge.
    pub(crate) fn next_account(
        &self,
        after: Option<&[u8]>,
    ) -> Result<Option<NextAccount>, StoreError> {
        let after = after.unwrap_or(BY_ID);
        for (prefix, is_removed) in [(BY_ID, false), (REMOVED_ACCOUNT, true)] {
            let from = Bound::Excluded(after.max(prefix));
            let Some(guard) = self.kept.range::<&[u8], _>((from, Bound::Unbounded)).next() else {
                continue;
            };
            let (key, value) = key_and_value(guard)?;
            if !key.starts_with(prefix) {
                continue;
            }
            if is_removed {
                let RemovedAccount { account, time, purge } = decode_removed_account(&value)?;
                return Ok(Some((key.to_vec(), account, Some((time, purge)))));
            }
            let account = self.account(&decode_address(&value)?)?;
            let account = account.ok_or_else(|| damaged("an index of accounts"))?;
            return Ok(Some((key.to_vec(), account, None)));
        }
        Ok(None)
    }

    /// The accounts that were removed and are not purged.
    pub(crate) fn removed_accounts(&self) -> Result<Vec<RemovedAccount>, StoreError> {
        let mut removed = Vec::new();
        for guard in self.kept.prefix(REMOVED_ACCOUNT) {
            let (_, value) = key_and_value(guard)?;
            removed.push(decode_removed_account(&value)?);
        }
        Ok(removed)
    }

    /// Returns the removed accounts that are due to be purged, and whether there are messages in their folders.
    pub(crate) fn accounts_to_purge(
        &self,
        now: Timestamp,
    ) -> Result<Vec<(RemovedAccount, bool)>, StoreError> {
        let mut due = self.removed_accounts()?;
        due.retain(|removed| removed.purge <= now);
        let with_messages = |removed: RemovedAccount| {
            let mut entries = self.entry.prefix(removed.account.id.0.to_be_bytes());
            (removed, entries.next().is_some())
        };
        Ok(due.into_iter().map(with_messages).collect())
    }

    pub(crate) fn removed_account(
        &self,
        id: AccountId,
    ) -> Result<Option<RemovedAccount>, StoreError> {
        let value = self.kept.get(removed_account_key(id)).map_err(failed)?;
        value.map(|value| decode_removed_account(&value)).transpose()
    }

    /// What a domain stands for.
    pub(crate) fn domain_alias(&self, domain: &str) -> Result<Option<Domain>, StoreError> {
        let value = self.domain.get(domain).map_err(failed)?;
        value.map_or(Ok(None), |value| domain_alias_in(&value))
    }

    pub(crate) fn domain_aliases(&self) -> Result<Vec<(Domain, Domain)>, StoreError> {
        let mut aliases = Vec::new();
        for guard in self.domain.iter() {
            let (key, value) = key_and_value(guard)?;
            if let Some(of) = domain_alias_in(&value)? {
                aliases.push((decode_domain(&key)?, of));
            }
        }
        Ok(aliases)
    }

    /// Whether a domain has accounts or aliases, this account and this alias aside, or whether others
    /// stand for it.
    pub(crate) fn uses(
        &self,
        domain: &str,
        account: Option<&Address>,
        alias: Option<&AliasName>,
    ) -> Result<bool, StoreError> {
        if self.has_account(domain, account)? {
            return Ok(true);
        }
        let has_alias = self
            .aliases()?
            .iter()
            .any(|other| other.name.domain() == domain && Some(&other.name) != alias);
        let stands_for = self.domain_aliases()?.iter().any(|(_, of)| of.as_str() == domain);
        Ok(has_alias || stands_for)
    }
}

pub(crate) fn encode_account(account: &Account) -> Vec<u8> {
    let mut value = vec![RECORD_VERSION];
    value.extend_from_slice(&account.id.0.to_be_bytes());
    // A line each, none of which holds a newline; what is not there is empty.
    let scram = account.credentials.scram.as_deref().unwrap_or_default();
    let quota = account.quota.map(|octets| octets.to_string()).unwrap_or_default();
    // Only of earlier formats, until it is sealed. A password has no line ends.
    let apop = account.credentials.apop.as_ref().map(|secret| secret.expose().to_vec());
    let apop = apop.and_then(|secret| String::from_utf8(secret).ok()).unwrap_or_default();
    // An address has no tab.
    let send_as: Vec<_> = account.send_as.iter().map(SendAs::to_string).collect();
    let send_as = send_as.join("\t");
    let Account { forwards, disabled, marks_junk, send_only, .. } = *account;
    let flags = [
        (forwards, FORWARDS),
        (disabled, DISABLED),
        (marks_junk, MARKS_JUNK),
        (send_only, SEND_ONLY),
    ];
    let flags = flags.into_iter().filter_map(|(is_set, word)| is_set.then_some(word));
    let flags = flags.collect::<Vec<_>>().join(" ");
    let hash = account.credentials.password_hash.as_str();
    let lines = [hash, scram, &quota, &apop, &send_as, &flags];
    value.extend_from_slice(lines.join("\n").as_bytes());
    value
}

fn decode_listed_account(guard: Guard) -> Result<Account, StoreError> {
    let (key, value) = key_and_value(guard)?;
    listed_account(&key, &value)
}

/// Decodes an account's record with its key.
pub(crate) fn listed_account(key: &[u8], value: &[u8]) -> Result<Account, StoreError> {
    let text = str::from_utf8(key).map_err(|_| damaged("an account's key"))?;
    let address = text.parse().map_err(|_| damaged("an account's address"))?;
    decode_account(address, value)
}

fn decode_account(address: Address, value: &[u8]) -> Result<Account, StoreError> {
    let mut reader = Reader(value);
    reader.version()?;
    let id = AccountId(reader.u64()?);
    let text = str::from_utf8(reader.0).map_err(|_| damaged("an account's credentials"))?;
    let mut lines = text.split('\n').map(|line| Some(line).filter(|line| !line.is_empty()));
    let mut next = || lines.next().flatten();
    let password_hash = next().unwrap_or_default().to_owned();
    let scram = next().map(str::to_owned);
    let quota = next().map(str::parse).transpose().map_err(|_| damaged("an account's quota"))?;
    let apop = next().map(|secret| Secret::new(secret.as_bytes()));
    let send_as = next().unwrap_or_default().split('\t').filter(|text| !text.is_empty());
    let send_as: Result<_, _> = send_as.map(str::parse).collect();
    let send_as = send_as.map_err(|_| damaged("what an account may send as"))?;
    let flags = next().unwrap_or_default();
    let has = |flag| flags.split(' ').any(|word| word == flag);
    let (forwards, disabled, marks_junk) = (has(FORWARDS), has(DISABLED), has(MARKS_JUNK));
    let credentials = Credentials { password_hash, scram, apop };
    let send_only = has(SEND_ONLY);
    Ok(Account {
        id,
        address,
        credentials,
        quota,
        send_as,
        forwards,
        disabled,
        marks_junk,
        send_only,
    })
}

/// The keys of an account in the indexes.
pub(crate) fn index_keys(account: &Account) -> [Vec<u8>; 2] {
    let mut by_domain = domain_prefix(account.address.domain());
    by_domain.push(u8::from(!account.is_read()));
    by_domain.extend_from_slice(&account.id.0.to_be_bytes());
    [account_id_key(account.id), by_domain]
}

fn account_id_key(id: AccountId) -> Vec<u8> {
    [BY_ID, &id.0.to_be_bytes()].concat()
}

fn domain_prefix(domain: &str) -> Vec<u8> {
    [BY_DOMAIN, domain.as_bytes(), b"\0"].concat()
}

fn decode_address(value: &[u8]) -> Result<Address, StoreError> {
    let text = str::from_utf8(value).ok();
    text.and_then(|text| text.parse().ok()).ok_or_else(|| damaged("an index of accounts"))
}

/// What stands for an account among those that were removed.
pub(crate) fn removed_account_key(id: AccountId) -> Vec<u8> {
    [REMOVED_ACCOUNT, &id.0.to_be_bytes()].concat()
}

pub(crate) fn encode_removed_account(removed: &RemovedAccount) -> Vec<u8> {
    let RemovedAccount { account, time, purge } = removed;
    let address = account.address.as_str();
    [
        &[RECORD_VERSION][..],
        &time.as_microsecond().to_be_bytes(),
        &purge.as_microsecond().to_be_bytes(),
        &(address.len() as u64).to_be_bytes(),
        address.as_bytes(),
        &encode_account(account),
    ]
    .concat()
}

fn decode_removed_account(value: &[u8]) -> Result<RemovedAccount, StoreError> {
    let mut reader = Reader(value);
    reader.version()?;
    let (time, purge, length) = (reader.time()?, reader.time()?, reader.u64()?);
    let wrong = || damaged("a removed account's address");
    let split = usize::try_from(length).ok().and_then(|length| reader.0.split_at_checked(length));
    let (address, record) = split.ok_or_else(wrong)?;
    let address = str::from_utf8(address).ok().and_then(|text| text.parse().ok());
    let account = decode_account(address.ok_or_else(wrong)?, record)?;
    Ok(RemovedAccount { account, time, purge })
}

pub(crate) fn encode_domain_alias(of: &Domain) -> Vec<u8> {
    [&[STANDS_FOR][..], of.as_str().as_bytes()].concat()
}

/// Returns the domain that one stands for, from its record.
pub(crate) fn domain_alias_in(value: &[u8]) -> Result<Option<Domain>, StoreError> {
    match value.split_first() {
        Some((&STANDS_FOR, of)) => decode_domain(of).map(Some),
        _ => Ok(None),
    }
}

pub(crate) fn encode_targets(targets: &[Address]) -> Vec<u8> {
    let mut value = vec![RECORD_VERSION];
    let lines: Vec<_> = targets.iter().map(Address::as_str).collect();
    value.extend_from_slice(lines.join("\n").as_bytes());
    value
}

pub(crate) fn decode_targets(value: &[u8]) -> Result<Vec<Address>, StoreError> {
    let mut reader = Reader(value);
    reader.version()?;
    let text = str::from_utf8(reader.0).map_err(|_| damaged("an alias"))?;
    text.split('\n').map(|line| line.parse().map_err(|_| damaged("an alias's target"))).collect()
}

pub(crate) fn decode_domain(key: &[u8]) -> Result<Domain, StoreError> {
    let text = str::from_utf8(key).map_err(|_| damaged("a domain's key"))?;
    text.parse().map_err(|_| damaged("a domain's name"))
}
