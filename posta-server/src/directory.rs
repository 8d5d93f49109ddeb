//! Which mailboxes an address means.

use crate::{clock::Clock, srs::Srs};
use posta_mail::{Address, Domain, ForwardPath, Reply, ReversePath, envelope::Notify};
use posta_store::{Account, AccountId, AliasName, Store, StoreError};
use std::{collections::HashSet, sync::Arc};

/// Aliases that lead to aliases, at most so many deep.
const DEPTH: usize = 10;

/// Mailboxes and other addresses that one address may mean.
const TARGETS: usize = 1_000;

/// What separates a user from a tag: `ana+shopping` is `ana` (RFC 5233).
const TAG: char = '+';

/// Resolves recipients, when they are named: an unknown user is refused there, and no report has to
/// be written later.
#[derive(Clone)]
pub struct Directory {
    store: Arc<dyn Store>,
    hostname: Domain,
    /// For what is forwarded; none where nothing is.
    forwarding: Option<(Srs, Arc<dyn Clock>)>,
}

/// A recipient that was accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipient {
    /// As it was named.
    pub address: Address,
    /// What it means.
    pub resolved: Resolved,
    /// What the sender wants to hear of.
    pub notify: Notify,
    /// Whom the sender named first: `type;xtext`.
    pub original: Option<String>,
}

impl Recipient {
    /// Octets that it takes in memory, about: in a list that grows by doubling, and each text with
    /// what an allocation costs.
    #[must_use]
    pub fn octets(&self) -> usize {
        let text = |octets: usize| octets + 16;
        let elsewhere = self.resolved.elsewhere.iter();
        let elsewhere = elsewhere.map(|to| size_of::<Address>() + text(to.as_str().len()));
        2 * size_of::<Self>()
            + text(self.address.as_str().len())
            + text(self.resolved.accounts.len() * size_of::<AccountId>())
            + elsewhere.sum::<usize>()
            + self.original.as_ref().map_or(0, |original| text(original.len()))
    }
}

/// What an address means.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Resolved {
    /// Mailboxes here.
    pub accounts: Vec<AccountId>,
    /// Addresses on other servers.
    pub elsewhere: Vec<Address>,
    /// Whether the address stands for a sender of forwarded mail, to whom it leads back.
    pub leads_back: bool,
}

impl Resolved {
    /// Whether it leads nowhere.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        self.accounts.is_empty() && self.elsewhere.is_empty()
    }

    /// Whether it leads to several.
    #[must_use]
    pub fn is_list(&self) -> bool {
        self.accounts.len() + self.elsewhere.len() > 1
    }
}

/// What an address leads to, followed to its end.
#[derive(Debug, Default)]
struct Followed {
    accounts: Vec<Account>,
    elsewhere: Vec<Address>,
}

impl Directory {
    /// The directory of a store, on a server of this name.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, hostname: Domain) -> Self {
        Self { store, hostname, forwarding: None }
    }

    /// The same, where senders of mail that is forwarded are rewritten.
    #[must_use]
    pub fn rewriting(self, srs: Srs, clock: Arc<dyn Clock>) -> Self {
        Self { forwarding: Some((srs, clock)), ..self }
    }

    /// Whom an address stands for that we made for a sender of forwarded mail.
    #[must_use]
    pub fn original(&self, address: &Address) -> Option<Address> {
        let (srs, clock) = self.forwarding.as_ref()?;
        srs.back(address, clock.now())
    }

    /// Where mail comes from that is forwarded to another server: from us, unless it does anyway.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn forwarder(&self, sender: &ReversePath) -> Result<ReversePath, StoreError> {
        let (ReversePath::Address(address), Some((srs, clock))) = (sender, &self.forwarding) else {
            return Ok(sender.clone());
        };
        if self.store.is_local(address.domain()).await? {
            return Ok(sender.clone());
        }
        let ours = srs.forward(address, clock.now());
        Ok(ours.map_or_else(|| sender.clone(), ReversePath::Address))
    }

    /// What a forward-path means, or the reply that refuses it. A mailbox that is full, or has no
    /// room for the octets that were announced, refuses it too. Whoever may relay reaches every
    /// domain.
    ///
    /// # Errors
    /// The refusal.
    pub async fn resolve(
        &self,
        path: &ForwardPath,
        announced: Option<u64>,
        may_relay: bool,
    ) -> Result<(Address, Resolved), Reply> {
        let address = match path {
            ForwardPath::Address(address) => address.clone(),
            // RFC 5321 §4.5.1: the postmaster of this server.
            ForwardPath::Postmaster => Address::new("postmaster", &self.hostname)
                .map_err(|_| Reply::new(550, (5, 1, 1), "No such user here"))?,
        };
        if let Some(original) = self.original(&address) {
            let elsewhere = vec![original];
            return Ok((address, Resolved { elsewhere, leads_back: true, ..Resolved::default() }));
        }
        if self.forwarding.as_ref().is_some_and(|(srs, _)| srs.is_like_ours(&address)) {
            return Err(Reply::new(550, (5, 1, 1), "That address leads to nobody any more"));
        }
        let Followed { accounts, elsewhere } =
            self.follow(&address).await.map_err(|error| store_failed(&error))?;
        if accounts.is_empty() && elsewhere.is_empty() {
            let resolved = self.unknown(&address, may_relay).await?;
            return Ok((address, resolved));
        }
        for account in &accounts {
            self.has_room(account, announced.unwrap_or_default()).await?;
        }
        let accounts = accounts.iter().map(|account| account.id).collect();
        Ok((address, Resolved { accounts, elsewhere, leads_back: false }))
    }

    /// Where mail of our own for an address goes: anywhere.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn destination(&self, address: &Address) -> Result<Resolved, StoreError> {
        let original = self.original(address);
        let address = original.as_ref().unwrap_or(address);
        let Followed { accounts, mut elsewhere } = self.follow(address).await?;
        if accounts.is_empty()
            && elsewhere.is_empty()
            && !self.store.is_local(address.domain()).await?
        {
            elsewhere.push(address.clone());
        }
        let accounts = accounts.iter().map(|account| account.id).collect();
        Ok(Resolved { accounts, elsewhere, leads_back: false })
    }

    /// The mailboxes that an address means, each once; none if it means nothing. An account comes
    /// before an alias of the same name, both before the same address without its tag, and all of
    /// them before the domain's catch-all.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn accounts(&self, address: &Address) -> Result<Vec<Account>, StoreError> {
        self.follow(address).await.map(|followed| followed.accounts)
    }

    /// What VRFY and EXPN tell of a name: the addresses that it leads to.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn expand(&self, name: &str) -> Result<Vec<Address>, StoreError> {
        let Ok(address) = name.parse::<Address>() else {
            let named = self.store.accounts_named(name).await?;
            return Ok(named.into_iter().map(|account| account.address).collect());
        };
        let Followed { accounts, elsewhere } = self.follow(&address).await?;
        Ok(accounts.into_iter().map(|account| account.address).chain(elsewhere).collect())
    }

    async fn follow(&self, address: &Address) -> Result<Followed, StoreError> {
        let mut followed = Followed::default();
        // The common case, without more ado.
        if let Some(account) = self.store.account(address).await? {
            followed.accounts.push(account);
            return Ok(followed);
        }
        let mut seen = HashSet::new();
        let mut level = vec![address.clone()];
        for depth in 0..DEPTH {
            let mut next = Vec::new();
            for address in level {
                let full = followed.accounts.len() + followed.elsewhere.len() >= TARGETS;
                if full || !seen.insert(address.folded()) {
                    continue;
                }
                match self.look_up(&address.folded()).await? {
                    Meaning::Account(account) if !followed.accounts.contains(&account) => {
                        followed.accounts.push(*account);
                    }
                    Meaning::Alias(targets) => next.extend(targets),
                    // An alias may lead out of here, the address itself not.
                    Meaning::Nothing
                        if depth > 0 && !self.store.is_local(address.domain()).await? =>
                    {
                        followed.elsewhere.push(address);
                    }
                    Meaning::Account(_) | Meaning::Nothing => {}
                }
            }
            if next.is_empty() {
                break;
            }
            level = next;
        }
        Ok(followed)
    }

    async fn look_up(&self, address: &Address) -> Result<Meaning, StoreError> {
        let untagged = untagged(address);
        for candidate in [Some(address), untagged.as_ref()].into_iter().flatten() {
            if let Some(account) = self.store.account(candidate).await? {
                return Ok(Meaning::Account(Box::new(account)));
            }
            let name = AliasName::Address(candidate.clone());
            if let Some(targets) = self.store.alias(&name).await? {
                return Ok(Meaning::Alias(targets));
            }
        }
        let Ok(domain) = address.domain().parse() else { return Ok(Meaning::Nothing) };
        let catch_all = self.store.alias(&AliasName::CatchAll(domain)).await?;
        Ok(catch_all.map_or(Meaning::Nothing, Meaning::Alias))
    }

    /// RFC 5321 §4.2.2: 452 while the mailbox is full; 552 for a message that would never fit.
    async fn has_room(&self, account: &Account, announced: u64) -> Result<(), Reply> {
        let Some(quota) = account.quota else { return Ok(()) };
        if announced > quota {
            let words = format!("The mailbox may hold {quota} octets");
            return Err(Reply::new(552, (5, 2, 3), words));
        }
        match self.store.usage(account.id).await {
            Ok(usage) if usage.octets.saturating_add(announced.max(1)) > quota => {
                Err(Reply::new(452, (4, 2, 2), "The mailbox is full"))
            }
            Ok(_) => Ok(()),
            Err(error) => Err(store_failed(&error)),
        }
    }

    async fn unknown(&self, address: &Address, may_relay: bool) -> Result<Resolved, Reply> {
        match self.store.is_local(address.domain()).await {
            Ok(true) => Err(Reply::new(550, (5, 1, 1), "No such user here")),
            Ok(false) if may_relay => {
                Ok(Resolved { elsewhere: vec![address.clone()], ..Resolved::default() })
            }
            Ok(false) => Err(Reply::new(
                550,
                (5, 7, 1),
                "That domain is not served here; to send elsewhere, log in",
            )),
            Err(error) => Err(store_failed(&error)),
        }
    }
}

/// What an address is by itself.
enum Meaning {
    Account(Box<Account>),
    Alias(Vec<Address>),
    Nothing,
}

/// The address without its tag, if it has one.
fn untagged(address: &Address) -> Option<Address> {
    let (user, _) = address.local_part().split_once(TAG)?;
    Address::new(user, &address.domain().parse().ok()?).ok()
}

/// The reply when the store fails: the client keeps the message and tries again. What failed is for
/// the log, not for strangers.
pub(crate) fn store_failed(error: &StoreError) -> Reply {
    tracing::error!(%error, "the store failed");
    if matches!(error, StoreError::Full) {
        return Reply::new(452, (4, 3, 1), "The disk is full, try again later");
    }
    Reply::new(451, (4, 3, 0), "Local error, try again later")
}

#[cfg(test)]
mod tests {
    use super::*;
    use posta_store::{Alias, Credentials, MemoryStore};

    async fn means(directory: &Directory, address: &str) -> Vec<u64> {
        let accounts = directory.accounts(&address.parse().unwrap()).await.unwrap();
        accounts.into_iter().map(|account| account.id.0).collect()
    }

    #[tokio::test]
    async fn addresses_mean_mailboxes() {
        let store = Arc::new(MemoryStore::new());
        for account in ["ana@x.test", "bob@x.test", "a+b@x.test"] {
            let address = account.parse().unwrap();
            store.add_account(&address, Credentials::default()).await.unwrap();
        }
        for (name, targets) in [
            ("info@x.test", &["ana@x.test", "bob+work@x.test", "ANA@x.test"][..]),
            ("all@x.test", &["info@x.test", "a+b@x.test", "gone@x.test"]),
            ("loop@x.test", &["pool@x.test"]),
            ("pool@x.test", &["loop@x.test", "ana@x.test"]),
            ("deep0@x.test", &["deep1@x.test"]),
            ("out@x.test", &["Ana@z.test", "ana@x.test", "nobody@x.test"]),
        ] {
            let targets = targets.iter().map(|target| target.parse().unwrap()).collect();
            store.set_alias(Alias { name: name.parse().unwrap(), targets }).await.unwrap();
        }
        let directory = Directory::new(store.clone(), "mail.x.test".parse().unwrap());
        for (address, accounts) in [
            ("Ana@X.test", &[1][..]),
            ("ana+shopping@x.test", &[1]),
            ("a+b@x.test", &[3]),
            ("INFO+x@x.test", &[1, 2]),
            ("all@x.test", &[3, 1, 2]),
            ("loop@x.test", &[1]),
            ("deep0@x.test", &[]),
            ("nobody@x.test", &[]),
            ("ana@y.test", &[]),
        ] {
            assert_eq!(means(&directory, address).await, accounts, "{address}");
        }
        let out = directory.destination(&"out@x.test".parse().unwrap()).await.unwrap();
        assert_eq!(out.accounts, [AccountId(1)]);
        assert_eq!(out.elsewhere, ["Ana@z.test".parse().unwrap()], "as it was written");
        let foreign = "bob@z.test".parse().unwrap();
        assert!(directory.accounts(&foreign).await.unwrap().is_empty());
        assert_eq!(directory.destination(&foreign).await.unwrap().elsewhere, [foreign]);
        let catch_all = Alias {
            name: "@x.test".parse().unwrap(),
            targets: vec!["bob@x.test".parse().unwrap()],
        };
        store.set_alias(catch_all).await.unwrap();
        assert_eq!(means(&directory, "nobody@x.test").await, [2]);
        assert_eq!(means(&directory, "ana@x.test").await, [1]);
    }
}
