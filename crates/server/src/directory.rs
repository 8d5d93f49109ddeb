//! Where an address leads: to mailboxes here, through aliases and forwards, or to other servers.
//!
//! `receive` resolves each recipient when it is named (RCPT), so an unknown user is refused there and then;
//! `deliver`, `send` and `reports` ask it for addresses of their own.

mod canonical;
mod follow;
pub(crate) mod postmaster;
pub(crate) mod problems;
pub mod srs;

pub(crate) use canonical::canonical;
pub use follow::{DeadEnd, Fault};
pub(crate) use follow::{Follower, TARGETS, faults};

use crate::directory::srs::Srs;
use follow::Followed;
use posta_mail::{Address, Domain, ForwardPath, Reply, ReversePath, envelope::Notify};
use posta_net::clock::Clock;
use posta_store::{Account, AccountId, ResolvedAccount, Store, StoreError};
use postmaster::{DUTIES, domain_of_host, is_duty};
use std::{borrow::Cow, sync::Arc};

/// The refusal of a recipient on another server, for clients that may not relay.
pub(crate) const NOT_SERVED: &str = "That domain is not served here; to send elsewhere, log in";

/// Resolves addresses by the accounts, aliases and domains of the store.
#[derive(Clone)]
pub struct Directory {
    store: Arc<dyn Store>,
    hostname: Domain,
    /// What rewrites the senders of forwarded mail; `None` where they are not rewritten.
    forwarding: Option<(Srs, Arc<dyn Clock>)>,
}

/// A recipient that was accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipient {
    /// The address as the client named it.
    pub address: Address,
    /// Where it leads.
    pub resolved: Resolved,
    /// The outcomes that the sender wants a report of (RFC 3461 §4.1).
    pub notify: Notify,
    /// The original recipient, as `type;xtext` (ORCPT, RFC 3461 §4.2).
    pub original: Option<String>,
}

impl Recipient {
    /// Returns about how many octets the recipient takes in memory, counting the spare room of a list that grows
    /// by doubling, and what each text's allocation costs.
    #[must_use]
    pub fn octets(&self) -> usize {
        let text = |octets: usize| octets + 16;
        let elsewhere = self.resolved.elsewhere.iter().chain(&self.resolved.names);
        let elsewhere = elsewhere.map(|to| size_of::<Address>() + text(to.as_str().len()));
        2 * size_of::<Self>()
            + text(self.address.as_str().len())
            + text(self.resolved.accounts.len() * size_of::<AccountId>())
            + elsewhere.sum::<usize>()
            + self
                .resolved
                .broken
                .iter()
                .map(|broken| text(size_of_val(broken) + 2 * 256))
                .sum::<usize>()
            + self.original.as_ref().map_or(0, |original| text(original.len()))
    }
}

/// Where an address leads.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Resolved {
    /// The accounts into whose mailboxes the mail goes.
    pub accounts: Vec<AccountId>,
    /// Their addresses, for the history; empty where the only account has the very address that was named.
    pub names: Vec<Address>,
    /// Addresses on other servers.
    pub elsewhere: Vec<Address>,
    /// Members of aliases on the way that lead to nobody, while other members do lead to somebody.
    pub broken: Vec<DeadEnd>,
    /// Whether the address is one that this server made for a sender of forwarded mail (SRS).
    pub leads_back: bool,
}

/// A recipient that is refused.
#[derive(Debug)]
pub struct RefusedRecipient {
    /// The reply for the client.
    pub reply: Reply,
    /// What only the operator may know: the log and the history show it.
    pub why: Option<String>,
}

impl RefusedRecipient {
    /// Returns the refusal for a full mailbox. Its owner is named to the operator if another address led to it.
    fn of_mailbox(account: &Account, named: &Address, reply: Reply) -> Self {
        let is_about_room = reply.status.is_some_and(|status| status.subject == 2);
        let is_named = account.address == named.folded();
        let why = format!("the mailbox of {} has no room for it", account.address);
        Self { reply, why: Some(why).filter(|_| is_about_room && !is_named) }
    }
}

impl From<Reply> for RefusedRecipient {
    fn from(reply: Reply) -> Self {
        Self { reply, why: None }
    }
}

/// Returns the ids of the accounts that an address leads to, and their addresses ([`Resolved::names`]).
fn named(address: &Address, accounts: &[ResolvedAccount]) -> (Vec<AccountId>, Vec<Address>) {
    let accounts: Vec<_> = accounts.iter().map(|resolved| &resolved.account).collect();
    let ids = accounts.iter().map(|account| account.id).collect();
    let is_own = |account: &Account| {
        account.address.as_str().eq_ignore_ascii_case(address.as_str())
            || account.address == address.folded()
    };
    let names = match &accounts[..] {
        [only] if is_own(only) => Vec::new(),
        _ => accounts.iter().map(|account| account.address.clone()).collect(),
    };
    (ids, names)
}

impl Resolved {
    /// Returns whether the address leads nowhere.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        self.accounts.is_empty() && self.elsewhere.is_empty()
    }

    /// Returns whether the address leads to more than one mailbox or other address.
    #[must_use]
    pub fn is_list(&self) -> bool {
        self.accounts.len() + self.elsewhere.len() > 1
    }
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

    /// Returns the reverse-path for mail that is forwarded to another server: an address of ours, unless the
    /// sender is local anyway.
    ///
    /// # Errors
    /// Fails when the store does.
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

    /// Returns whether a sender is local: in a local domain, or at this server's name, which programs on this
    /// machine use.
    ///
    /// # Errors
    /// Fails when the store does.
    pub async fn is_local_sender(&self, sender: &ReversePath) -> Result<bool, StoreError> {
        let ReversePath::Address(address) = sender else { return Ok(false) };
        Ok(self.is_of_host(address) || self.store.is_local(address.domain()).await?)
    }

    fn is_of_host(&self, address: &Address) -> bool {
        address.domain() == self.hostname.as_str()
    }

    /// Follows an address at this server's name to the postmaster. Programs on this machine send mail from and to
    /// `root@` that name, and somebody has to read it.
    async fn of_host(&self, address: &Address) -> Result<Followed, StoreError> {
        if !self.is_of_host(address) {
            return Ok(Followed::default());
        }
        match Address::new(DUTIES[0], &self.hostname) {
            Ok(postmaster) => self.follow(&postmaster).await,
            Err(_) => Ok(Followed::default()),
        }
    }

    /// Resolves a recipient that a client named. A client that `may_relay` reaches every domain.
    ///
    /// # Errors
    /// Returns the refusal: for an unknown user, or for a mailbox that is full or has no room for the octets that
    /// were `announced`.
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
        let Followed { is_local, accounts, elsewhere, broken } =
            self.follow(&address).await.map_err(|error| store_failed(&error))?;
        if accounts.is_empty() && elsewhere.is_empty() {
            if let Some(first) = broken.first() {
                return Err(leads_nowhere(first).into());
            }
            let resolved = self.unknown(&address, is_local, may_relay).await?;
            return Ok((address, resolved));
        }
        for account in &accounts {
            has_room(account, announced.unwrap_or_default())
                .map_err(|reply| RefusedRecipient::of_mailbox(&account.account, &address, reply))?;
        }
        let (accounts, names) = named(&address, &accounts);
        Ok((address, Resolved { accounts, names, elsewhere, broken, leads_back: false }))
    }

    /// Resolves an address to which this server itself sends mail, on any domain and regardless of quotas.
    ///
    /// # Errors
    /// Fails when the store does.
    pub async fn destination(&self, address: &Address) -> Result<Resolved, StoreError> {
        let original = self.original(address);
        let address = original.as_ref().unwrap_or(address);
        let mut followed = self.follow(address).await?;
        let is_local = followed.is_local;
        if followed.leads_nowhere() && !is_local {
            followed = self.of_host(address).await?;
        }
        let Followed { accounts, mut elsewhere, broken, .. } = followed;
        if accounts.is_empty() && elsewhere.is_empty() && !is_local {
            elsewhere.push(address.clone());
        }
        let (accounts, names) = named(address, &accounts);
        Ok(Resolved { accounts, names, elsewhere, broken, leads_back: false })
    }

    /// Returns the accounts into whose mailboxes mail for an address goes, each once.
    ///
    /// # Errors
    /// Fails when the store does.
    pub async fn accounts(&self, address: &Address) -> Result<Vec<Account>, StoreError> {
        Ok(accounts_of(self.follow(address).await?.accounts))
    }

    /// Returns the accounts that own an address: those to which it leads, where an account that forwards its mail
    /// still owns the addresses that lead to it.
    ///
    /// # Errors
    /// Fails when the store does.
    pub async fn owners(&self, address: &Address) -> Result<Vec<Account>, StoreError> {
        let follower = Follower { forwards: false, ..Follower::new(&*self.store) };
        Ok(accounts_of(follower.follow(&*self.at_home(address).await?).await?.accounts))
    }

    /// Returns the addresses to which a name leads, for VRFY and EXPN.
    ///
    /// # Errors
    /// Fails when the store does.
    pub async fn expand(&self, name: &str) -> Result<Vec<Address>, StoreError> {
        let Ok(address) = name.parse::<Address>() else {
            let named = self.store.accounts_named(name).await?;
            return Ok(named.into_iter().map(|account| account.address).collect());
        };
        let Followed { accounts, elsewhere, .. } = self.follow(&address).await?;
        Ok(accounts.into_iter().map(|it| it.account.address).chain(elsewhere).collect())
    }

    async fn follow(&self, address: &Address) -> Result<Followed, StoreError> {
        Follower::new(&*self.store).follow(&*self.at_home(address).await?).await
    }

    /// Replaces the server's own postmaster and abuse addresses by those of one of its domains, where the server's
    /// name is not a local domain itself (RFC 5321 §4.5.1). Returns every other address unchanged.
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

    /// Resolves an address to which no account or alias here belongs.
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
        if followed.leads_nowhere() {
            return Err(Reply::new(550, (5, 1, 1), "No such user here"));
        }
        let Followed { accounts, elsewhere, broken, .. } = followed;
        let (accounts, names) = named(address, &accounts);
        Ok(Resolved { accounts, names, elsewhere, broken, leads_back: false })
    }
}

fn accounts_of(resolved: Vec<ResolvedAccount>) -> Vec<Account> {
    resolved.into_iter().map(|resolved| resolved.account).collect()
}

/// Checks that a mailbox has room: 452 while it is full, 552 for a message that can never fit (RFC 5321 §4.2.2).
fn has_room(resolved: &ResolvedAccount, announced: u64) -> Result<(), Reply> {
    let Some(quota) = resolved.account.quota else { return Ok(()) };
    if announced > quota {
        let words = format!("The mailbox may hold {quota} octets");
        return Err(Reply::new(552, (5, 2, 3), words));
    }
    let held = resolved.usage.unwrap_or_default().octets;
    if held.saturating_add(announced.max(1)) > quota {
        return Err(Reply::new(452, (4, 2, 2), "The mailbox is full"));
    }
    Ok(())
}

/// Returns the refusal of a recipient whose alias leads to nobody. It does not say where the alias leads:
/// strangers must not learn that, and the operator sees it in the list of aliases.
fn leads_nowhere(broken: &DeadEnd) -> Reply {
    let words = match broken.fault {
        Fault::Missing => "That address leads to nobody: tell the postmaster of this server",
        Fault::Loop | Fault::TooDeep | Fault::TooMany => {
            "That address leads into a loop: tell the postmaster of this server"
        }
    };
    Reply::new(550, broken.fault.status(), words)
}

/// Logs a failure of the store, and returns the reply for it. The client keeps the message and tries again; it
/// does not learn what failed.
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
    use posta_store::{Alias, Credentials, Directory as _, MemoryStore};

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
            ("all@x.test", &[1, 2, 3]),
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

    /// An account's mail goes on to others, and into its mailbox where the alias names itself.
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
            assert_eq!(followed.broken, [], "two that send each other copies are no loop");
        }
        for (address, owner) in [("ana@x.test", 1), ("info@x.test", 1), ("eva+x@x.test", 3)] {
            let owners = directory.owners(&address.parse().unwrap()).await.unwrap();
            let owners: Vec<_> = owners.iter().map(|account| account.id.0).collect();
            assert_eq!(owners, [owner], "{address} stays its owner's");
        }
    }

    /// What leads to nobody is told of, and the others get theirs all the same.
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
