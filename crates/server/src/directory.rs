//! Resolving addresses: to local mailboxes, through aliases and forwards, or to other servers.
//!
//! `receive` resolves each recipient while the client waits for the reply to RCPT, so an unknown user is refused at once.
//! `deliver`, `send` and `reports` resolve the addresses that they write to.

pub mod arrangements;
mod canonical;
mod follow;
mod machine_users;
pub(crate) mod postmaster;
pub(crate) mod problems;
mod recipient;
pub(crate) mod renamed;
pub mod senders;
pub mod srs;

pub(crate) use canonical::canonical;
pub use follow::{DeadEnd, Fault};
pub(crate) use follow::{Follower, TARGETS, faults};
pub use recipient::{Recipient, RefusedRecipient, Resolved};

use crate::directory::srs::Srs;
use follow::Followed;
use posta_mail::{Address, Domain, ForwardPath, Reply, ReversePath, Timestamp};
use posta_net::clock::Clock;
use posta_store::{Account, AccountId, ResolvedAccount, SendAs, Store, StoreError};
use postmaster::{DUTIES, domain_of_host, is_duty};
use recipient::{dead_end, has_room};
use std::{borrow::Cow, sync::Arc};

/// The kinds of this floor's records whose names begin with an account's id. They go when the account is purged.
pub(crate) const OF_ACCOUNTS: [&str; 2] = [arrangements::KIND, senders::KIND];

/// The refusal of a recipient on another server, for clients that may not relay.
pub(crate) const NOT_SERVED: &str = "That domain is not served here; to send elsewhere, log in";

/// Resolves addresses with the accounts, aliases and domains of the store.
#[derive(Clone)]
pub struct Directory {
    store: Arc<dyn Store>,
    hostname: Domain,
    /// Rewrites the senders of forwarded mail; `None` if they are not rewritten.
    forwarding: Option<(Srs, Arc<dyn Clock>)>,
}

impl Directory {
    /// Returns the directory of a store, for the server `hostname`.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, hostname: Domain) -> Self {
        Self { store, hostname, forwarding: None }
    }

    /// Turns on the rewriting of senders of forwarded mail.
    #[must_use]
    pub fn rewriting(self, srs: Srs, clock: Arc<dyn Clock>) -> Self {
        Self { forwarding: Some((srs, clock)), ..self }
    }

    /// Returns the original sender behind an address that this server made for forwarded mail.
    #[must_use]
    pub fn original(&self, address: &Address) -> Option<Address> {
        let (srs, clock) = self.forwarding.as_ref()?;
        srs.back(address, clock.now())
    }

    /// Returns the reverse-path for mail that is forwarded to another server: an SRS address, unless the sender is local
    /// anyway.
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

    /// Returns whether a sender is local: in a local domain, or at this server's name, which programs on this machine
    /// use.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn is_local_sender(&self, sender: &ReversePath) -> Result<bool, StoreError> {
        let ReversePath::Address(address) = sender else { return Ok(false) };
        Ok(self.is_of_host(address) || self.store.is_local(address.domain()).await?)
    }

    /// Returns the name of this server.
    #[must_use]
    pub const fn hostname(&self) -> &Domain {
        &self.hostname
    }

    fn is_of_host(&self, address: &Address) -> bool {
        address.domain() == self.hostname.as_str()
    }

    /// Follows an address at this server's name to the postmaster. Programs on this machine send mail from and to `root@`
    /// that name, and someone has to read it.
    async fn of_host(&self, address: &Address) -> Result<Followed, StoreError> {
        if !self.is_of_host(address) {
            return Ok(Followed::default());
        }
        match Address::new(DUTIES[0], &self.hostname) {
            Ok(postmaster) => self.follow(&postmaster).await,
            Err(_) => Ok(Followed::default()),
        }
    }

    /// Resolves a recipient of a client's message. A client that `may_relay` reaches every domain.
    ///
    /// # Errors
    /// The refusal: of an unknown user, or of a mailbox that is full or has no room for the octets `announced`.
    pub async fn resolve(
        &self,
        path: &ForwardPath,
        announced: Option<u64>,
        may_relay: bool,
    ) -> Result<(Address, Resolved), RefusedRecipient> {
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
            return Err(Reply::new(550, (5, 1, 1), "That address is no longer valid").into());
        }
        let followed = self.follow(&address).await.map_err(|error| store_failed(&error))?;
        if followed.reaches_nobody() {
            if let Some(first) = followed.broken.first() {
                return Err(dead_end(first).into());
            }
            let resolved = self.unknown(&address, followed.is_local, may_relay).await?;
            return Ok((address, resolved));
        }
        for account in &followed.accounts {
            has_room(account, announced.unwrap_or_default())
                .map_err(|reply| RefusedRecipient::of_mailbox(&account.account, &address, reply))?;
        }
        let resolved = Resolved::new(&address, followed);
        Ok((address, resolved))
    }

    /// Resolves an address to which this server itself sends mail, on any domain and regardless of quotas.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn destination(&self, address: &Address) -> Result<Resolved, StoreError> {
        let original = self.original(address);
        let address = original.as_ref().unwrap_or(address);
        let mut followed = self.follow(address).await?;
        let is_local = followed.is_local;
        if followed.is_unknown() && !is_local {
            followed = self.of_host(address).await?;
        }
        if followed.reaches_nobody() && !is_local {
            followed.elsewhere.push(address.clone());
        }
        Ok(Resolved::new(address, followed))
    }

    /// Resolves a recipient of a message that was accepted at a time and has waited here since, as
    /// [`destination`](Self::destination) does. If the account that had the address then has been renamed, and nobody
    /// has the address now, the message goes to the account all the same.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn later_destination(
        &self,
        address: &Address,
        accepted: Timestamp,
    ) -> Result<Resolved, StoreError> {
        if self.store.resolve(address).await?.owner.is_none()
            && let Some(present) = renamed::present_address(&*self.store, address, accepted).await?
        {
            let resolved = self.destination(&present).await?;
            // The history names the mailbox.
            let is_own = resolved.names.is_empty() && !resolved.accounts.is_empty();
            let names = if is_own { vec![present] } else { resolved.names.clone() };
            return Ok(Resolved { names, ..resolved });
        }
        self.destination(address).await
    }

    /// Returns the accounts whose mailboxes receive mail for an address, each once.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn accounts(&self, address: &Address) -> Result<Vec<Account>, StoreError> {
        Ok(accounts_of(self.follow(address).await?.accounts))
    }

    /// Returns the accounts that own an address: those that it leads to. An account that forwards its mail still owns the
    /// addresses that lead to it.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn owners(&self, address: &Address) -> Result<Vec<Account>, StoreError> {
        let follower = Follower { forwards: false, ..Follower::new(&*self.store) };
        Ok(accounts_of(follower.follow(&*self.at_home(address).await?).await?.accounts))
    }

    /// Returns whether an account may send from an address: the address leads to it, or is among those that the operator
    /// has permitted to it.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn may_send_from(
        &self,
        (account, send_as): (AccountId, &[SendAs]),
        address: &Address,
    ) -> Result<bool, StoreError> {
        if send_as.iter().any(|allowed| allowed.includes(address)) {
            return Ok(true);
        }
        Ok(self.owners(address).await?.iter().any(|owner| owner.id == account))
    }

    /// Returns the addresses that a name leads to, for VRFY and EXPN.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn expand(&self, name: &str) -> Result<Vec<Address>, StoreError> {
        let Ok(address) = name.parse::<Address>() else {
            let accounts = self.store.accounts_named(name).await?;
            return Ok(accounts.into_iter().map(|account| account.address).collect());
        };
        let Followed { accounts, elsewhere, .. } = self.follow(&address).await?;
        Ok(accounts.into_iter().map(|resolved| resolved.account.address).chain(elsewhere).collect())
    }

    async fn follow(&self, address: &Address) -> Result<Followed, StoreError> {
        Follower::new(&*self.store).follow(&*self.at_home(address).await?).await
    }

    /// Replaces the server's own postmaster and abuse addresses by those of one of its domains, if the server's name is not
    /// a local domain itself (RFC 5321 §4.5.1). Returns every other address unchanged.
    async fn at_home<'a>(&self, address: &'a Address) -> Result<Cow<'a, Address>, StoreError> {
        let same = Cow::Borrowed(address);
        if !is_duty(address.local_part())
            || !self.is_of_host(address)
            || self.store.is_local(address.domain()).await?
        {
            return Ok(same);
        }
        let domain = domain_of_host(&*self.store, &self.hostname).await?;
        let ours = domain.and_then(|domain| Address::new(address.local_part(), &domain).ok());
        Ok(ours.map_or(same, Cow::Owned))
    }

    /// Resolves an address that no local account or alias has.
    async fn unknown(
        &self,
        address: &Address,
        is_local: bool,
        may_relay: bool,
    ) -> Result<Resolved, Reply> {
        if is_local {
            return Err(Reply::new(550, (5, 1, 1), "No such user here"));
        }
        if !may_relay {
            return Err(Reply::new(550, (5, 7, 1), NOT_SERVED));
        }
        if !self.is_of_host(address) {
            return Ok(Resolved { elsewhere: vec![address.clone()], ..Resolved::default() });
        }
        let followed = self.of_host(address).await.map_err(|error| store_failed(&error))?;
        if followed.is_unknown() {
            return Err(Reply::new(550, (5, 1, 1), "No such user here"));
        }
        Ok(Resolved::new(address, followed))
    }
}

fn accounts_of(resolved: Vec<ResolvedAccount>) -> Vec<Account> {
    resolved.into_iter().map(|resolved| resolved.account).collect()
}

/// Logs a failure of the store, and returns the reply for the client. The client keeps the message and tries again
/// later, but does not learn what failed.
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
    use posta_store::{AccountId, Alias, Credentials, Directory as _, MemoryStore};

    async fn accounts_of_address(directory: &Directory, address: &str) -> Vec<u64> {
        let accounts = directory.accounts(&address.parse().unwrap()).await.unwrap();
        accounts.into_iter().map(|account| account.id.0).collect()
    }

    #[tokio::test]
    async fn addresses_lead_to_mailboxes() {
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
            ("all@x.test", &[1, 2, 3]),
            ("loop@x.test", &[1]),
            ("deep0@x.test", &[]),
            ("nobody@x.test", &[]),
            ("ana@y.test", &[]),
        ] {
            assert_eq!(accounts_of_address(&directory, address).await, accounts, "{address}");
        }
        let out = directory.destination(&"out@x.test".parse().unwrap()).await.unwrap();
        assert_eq!(out.accounts, [AccountId(1)]);
        assert_eq!(
            out.elsewhere,
            ["Ana@z.test".parse().unwrap()],
            "the case of a local-part is kept"
        );
        let foreign = "bob@z.test".parse().unwrap();
        assert!(directory.accounts(&foreign).await.unwrap().is_empty());
        assert_eq!(directory.destination(&foreign).await.unwrap().elsewhere, [foreign]);
        let catch_all = Alias {
            name: "@x.test".parse().unwrap(),
            targets: vec!["bob@x.test".parse().unwrap()],
        };
        store.set_alias(catch_all).await.unwrap();
        assert_eq!(accounts_of_address(&directory, "nobody@x.test").await, [2]);
        assert_eq!(accounts_of_address(&directory, "ana@x.test").await, [1]);
    }

    /// The operator chooses what separates tags, for accounts, aliases and the postmaster alike.
    #[tokio::test]
    async fn tags_are_separated_as_configured() {
        for (separators, found) in [
            ("+", [Some(1), None, Some(1), None, Some(1)]),
            ("+-", [Some(1), Some(1), Some(1), Some(1), Some(1)]),
            ("", [None, None, None, None, None]),
        ] {
            let store = MemoryStore::new().with_tags(separators.parse().unwrap());
            let store = Arc::new(store);
            let ana = "ana@x.test".parse().unwrap();
            store.add_account(&ana, Credentials::default()).await.unwrap();
            store.set_alias(alias_of(&("info@x.test", &["ana@x.test"]))).await.unwrap();
            let directory = Directory::new(store, "mail.x.test".parse().unwrap());
            let names = [
                "ana+a@x.test",
                "ana-a@x.test",
                "info+a@x.test",
                "info-a@x.test",
                "abuse+a@x.test",
            ];
            for (name, account) in names.into_iter().zip(found) {
                let accounts = accounts_of_address(&directory, name).await;
                assert_eq!(accounts.first().copied(), account, "{separators:?} {name}");
                let owners = directory.owners(&name.parse().unwrap()).await.unwrap();
                assert_eq!(!owners.is_empty(), account.is_some(), "{separators:?} {name}");
            }
        }
    }

    async fn store_of(accounts: &[&str], aliases: &[(&str, &[&str])]) -> Arc<MemoryStore> {
        let store = Arc::new(MemoryStore::new());
        for account in accounts {
            store.add_account(&account.parse().unwrap(), Credentials::default()).await.unwrap();
        }
        for alias in aliases {
            store.set_alias(alias_of(alias)).await.unwrap();
        }
        store
    }

    fn alias_of((name, targets): &(&str, &[&str])) -> Alias {
        let targets = targets.iter().map(|target| target.parse().unwrap()).collect();
        Alias { name: name.parse().unwrap(), targets }
    }

    /// An account's mail is forwarded, and also goes into the account's mailbox if the alias contains the account.
    #[tokio::test]
    async fn accounts_forward_their_mail() {
        let store = store_of(
            &["ana@x.test", "bob@x.test", "eva@x.test"],
            &[
                ("ana@x.test", &["bob@x.test", "Out@z.test"]),
                ("eva@x.test", &["bob@x.test", "EVA@x.test"]),
                ("bob@x.test", &["bob@x.test", "eva@x.test"]),
                ("info@x.test", &["ana+info@x.test"]),
            ],
        )
        .await;
        let directory = Directory::new(store, "mail.x.test".parse().unwrap());
        for (address, accounts, elsewhere) in [
            ("ana@x.test", &[2, 3][..], 1),
            ("ana+work@x.test", &[2, 3], 1),
            ("info@x.test", &[2, 3], 1),
            ("eva@x.test", &[3, 2], 0),
            ("bob@x.test", &[2, 3], 0),
        ] {
            let followed = directory.follow(&address.parse().unwrap()).await.unwrap();
            let ids: Vec<_> = followed.accounts.iter().map(|it| it.account.id.0).collect();
            assert_eq!((&ids[..], followed.elsewhere.len()), (accounts, elsewhere), "{address}");
            assert_eq!(
                followed.broken,
                [],
                "two accounts that send each other copies are not a loop"
            );
        }
        for (address, owner) in [("ana@x.test", 1), ("info@x.test", 1), ("eva+x@x.test", 3)] {
            let owners = directory.owners(&address.parse().unwrap()).await.unwrap();
            let owners: Vec<_> = owners.iter().map(|account| account.id.0).collect();
            assert_eq!(owners, [owner], "{address} stays its owner's");
        }
    }

    /// Members that lead to nobody are reported, and the others get their mail all the same.
    #[tokio::test]
    async fn ways_that_lead_to_nobody_are_known() {
        let many: Vec<String> = (0..1_200).map(|number| format!("m{number}@z.test")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        let mut aliases: Vec<(String, String)> = Vec::new();
        for depth in 0..12 {
            aliases.push((format!("deep{depth}@x.test"), format!("deep{}@x.test", depth + 1)));
        }
        let store = store_of(
            &["ana@x.test", "bob@x.test"],
            &[
                ("half@x.test", &["gone@x.test", "ana@x.test"]),
                ("outer@x.test", &["half@x.test", "bob@x.test", "half@x.test"]),
                ("none@x.test", &["gone@x.test"]),
                ("loop@x.test", &["pool@x.test"]),
                ("pool@x.test", &["ana@x.test", "loop@x.test"]),
                ("tick@x.test", &["tock+x@x.test"]),
                ("tock@x.test", &["tick@x.test"]),
                ("cross@x.test", &["tick@x.test", "tock@x.test", "ana@x.test"]),
                ("self@x.test", &["self@x.test"]),
                ("twice@x.test", &["a@x.test", "b@x.test"]),
                ("a@x.test", &["ana@x.test"]),
                ("b@x.test", &["a@x.test"]),
                ("many@x.test", &many),
            ],
        )
        .await;
        store.add_domain(&"y.test".parse().unwrap()).await.unwrap();
        store.set_alias(alias_of(&("@y.test", &["who@y.test", "ana@x.test"]))).await.unwrap();
        for (name, target) in &aliases {
            store.set_alias(alias_of(&(name.as_str(), &[target.as_str()]))).await.unwrap();
        }
        store.set_alias(alias_of(&("deep12@x.test", &["ana@x.test"]))).await.unwrap();
        let directory = Directory::new(store, "mail.x.test".parse().unwrap());
        for (address, reached, broken) in [
            ("half@x.test", 1, &[("half@x.test", "gone@x.test", Fault::Missing)][..]),
            ("outer@x.test", 2, &[("half@x.test", "gone@x.test", Fault::Missing)]),
            ("none@x.test", 0, &[("none@x.test", "gone@x.test", Fault::Missing)]),
            ("loop@x.test", 1, &[("pool@x.test", "loop@x.test", Fault::Loop)]),
            ("tick@x.test", 0, &[("tock@x.test", "tick@x.test", Fault::Loop)]),
            ("cross@x.test", 1, &[("tock@x.test", "tick@x.test", Fault::Loop)]),
            ("self@x.test", 0, &[("self@x.test", "self@x.test", Fault::Loop)]),
            ("who@y.test", 1, &[("@y.test", "who@y.test", Fault::Missing)]),
            ("twice@x.test", 1, &[]),
            ("deep0@x.test", 0, &[("deep9@x.test", "deep10@x.test", Fault::TooDeep)]),
            ("deep3@x.test", 1, &[]),
            ("many@x.test", 1_000, &[("many@x.test", "m1000@z.test", Fault::TooMany)]),
            ("nobody@x.test", 0, &[]),
        ] {
            let followed = directory.follow(&address.parse().unwrap()).await.unwrap();
            let found = followed.accounts.len() + followed.elsewhere.len();
            let faults = followed.broken.iter();
            let faults = faults
                .map(|broken| (broken.alias.to_string(), broken.member.to_string(), broken.fault));
            let faults: Vec<_> = faults.collect();
            let faults: Vec<_> =
                faults.iter().map(|(name, to, fault)| (&name[..], &to[..], *fault)).collect();
            assert_eq!((found, &faults[..]), (reached, broken), "{address}");
        }
    }

    /// An RCPT costs one call of the store; an alias of many members costs few more, however they are nested.
    #[tokio::test]
    async fn a_recipient_costs_one_call() {
        let members: Vec<String> = (0..500).map(|number| format!("m{number}@x.test")).collect();
        let nested: Vec<String> = (0..500).map(|number| format!("n{number}@x.test")).collect();
        let texts = |all: &[String]| all.iter().map(|it| it.parse().unwrap()).collect::<Vec<_>>();
        let store = store_of(&["ana@x.test", "eva@x.test", "abuse@x.test"], &[]).await;
        for (member, nested) in members.iter().zip(&nested) {
            store.add_account(&member.parse().unwrap(), Credentials::default()).await.unwrap();
            store.set_alias(alias_of(&(nested, &[member]))).await.unwrap();
        }
        for (name, targets) in [
            ("one@x.test", texts(&["ana@x.test".to_owned()])),
            ("all@x.test", texts(&members)),
            ("deep@x.test", texts(&nested)),
        ] {
            store.set_alias(Alias { name: name.parse().unwrap(), targets }).await.unwrap();
        }
        store.set_alias(alias_of(&("eva@x.test", &["eva@x.test", "out@z.test"]))).await.unwrap();
        store.set_quota(&"ana@x.test".parse().unwrap(), Some(1_000)).await.unwrap();
        let [x, y] = ["x.test", "y.test"].map(|domain| domain.parse().unwrap());
        store.set_domain_alias(&y, &x).await.unwrap();
        let directory = Directory::new(store.clone(), "mail.x.test".parse().unwrap());
        for (address, leads_to, most) in [
            ("ana@x.test", Some(1), 1),
            ("Ana+shopping@Y.test", Some(1), 1),
            ("abuse@x.test", Some(1), 1),
            ("nobody@x.test", None, 1),
            ("ana@elsewhere.test", None, 1),
            ("one@x.test", Some(1), 2),
            ("eva@x.test", Some(2), 2),
            ("all@x.test", Some(500), 5),
            ("deep@x.test", Some(500), 9),
        ] {
            let before = store.transactions();
            let path = ForwardPath::Address(address.parse().unwrap());
            let resolved = directory.resolve(&path, Some(100), false).await.ok();
            let calls = store.transactions() - before;
            let reached = resolved.map(|(_, it)| it.accounts.len() + it.elsewhere.len());
            assert_eq!(reached, leads_to, "{address}");
            assert!(calls <= most, "{address}: {calls} calls");
        }
    }
}
