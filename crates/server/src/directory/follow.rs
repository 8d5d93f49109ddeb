//! Following an address to its ends: through aliases and forwards to local mailboxes and to addresses on
//! other servers. Members that lead to nobody are returned as well, so that no copy is lost silently.
//!
//! An account takes precedence over an alias, both over the same address without its tag, and all of
//! them over the domain's catch-all; `postmaster.rs` says who replaces a missing postmaster. An address
//! in a domain alias means the same address in the domain itself. An account that forwards its mail is
//! an alias of its own name, and keeps a copy if that alias names the account itself.

use super::postmaster::{self, is_duty};
use posta_mail::{Address, Domain, Reply};
use posta_store::{
    Account, AccountId, AddressOwner, Alias, AliasName, Resolution, ResolvedAccount, Store,
    StoreError, keeps_copy,
};
use std::{
    collections::{BTreeSet, HashMap, HashSet},
    fmt,
};

/// The maximal number of aliases in a row that lead to one another.
pub(crate) const DEPTH: usize = 10;

/// The maximal number of mailboxes and other addresses to which one address may lead.
pub(crate) const TARGETS: usize = 1_000;

/// The maximal number of alias members that are resolved in one call of the store.
const BATCH: usize = 128;

/// The ends to which an address leads.
#[derive(Debug, Default)]
pub(crate) struct Followed {
    /// Whether the domain of the address is local.
    pub(crate) is_local: bool,
    pub(crate) accounts: Vec<ResolvedAccount>,
    pub(crate) elsewhere: Vec<Address>,
    pub(crate) broken: Vec<DeadEnd>,
}

impl Followed {
    /// Returns whether no mailbox and no address on another server was reached.
    pub(super) fn reaches_nobody(&self) -> bool {
        self.accounts.is_empty() && self.elsewhere.is_empty()
    }

    /// Returns whether the address means nothing here: nobody was reached, and no alias has it either.
    pub(super) fn is_unknown(&self) -> bool {
        self.reaches_nobody() && self.broken.is_empty()
    }

    fn has_too_many(&self) -> bool {
        self.accounts.len() + self.elsewhere.len() + self.broken.len() >= TARGETS
    }
}

/// A member of an alias that leads to nobody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadEnd {
    /// The alias.
    pub alias: AliasName,
    /// The member that leads to nobody.
    pub member: Address,
    /// The reason.
    pub fault: Fault,
}

/// The reason why a member of an alias leads to nobody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The member does not exist.
    Missing,
    /// The member is an account that only sends mail.
    SendOnly,
    /// The member leads back to an alias on the way to it.
    Loop,
    /// The member is behind more than `DEPTH` aliases.
    TooDeep,
    /// The address leads to more than `TARGETS` others, and this member is left out.
    TooMany,
}

impl DeadEnd {
    /// Returns the reply that the report to the sender quotes.
    #[must_use]
    pub fn reply(&self) -> Reply {
        Reply::new(550, self.fault.status(), self.to_string())
    }
}

impl fmt::Display for DeadEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { alias, member, fault } = self;
        write!(f, "{alias} is an alias that leads to {member}, ")?;
        match fault {
            Fault::Missing => f.write_str("which does not exist"),
            Fault::SendOnly => f.write_str("which only sends mail"),
            Fault::Loop => f.write_str("which leads back to it: a loop"),
            Fault::TooDeep => write!(f, "behind more than {DEPTH} other aliases"),
            Fault::TooMany => write!(f, "and to more than {TARGETS} addresses in all"),
        }
    }
}

impl Fault {
    /// Returns the status code (RFC 3463): no such mailbox, one that takes no mail, a routing loop, or too many recipients.
    pub(crate) const fn status(self) -> (u8, u16, u16) {
        match self {
            Self::Missing => (5, 1, 1),
            // Mailbox disabled, not accepting messages.
            Self::SendOnly => (5, 2, 1),
            Self::Loop | Self::TooDeep => (5, 4, 6),
            Self::TooMany => (5, 5, 3),
        }
    }
}

/// Follows addresses to their ends.
#[derive(Clone, Copy)]
pub(crate) struct Follower<'s> {
    pub(crate) store: &'s dyn Store,
    /// Whether accounts that forward their mail are followed; otherwise they are ends.
    pub(crate) forwards: bool,
    /// An alias that is not in the store yet, used in place of the one in the store.
    pub(crate) proposed: Option<&'s Alias>,
}

/// A step of the walk through aliases, depth first.
enum Step {
    /// Follow this member.
    Enter(Address),
    /// The alias that was entered last has no more members.
    Leave,
}

/// The meaning of a single address, before it is followed.
enum Meaning {
    Account(Box<ResolvedAccount>),
    Alias(AliasName, Vec<Address>),
    Nothing,
}

impl<'s> Follower<'s> {
    /// Returns a follower that follows the same way as mail does.
    pub(crate) const fn new(store: &'s dyn Store) -> Self {
        Self { store, forwards: true, proposed: None }
    }

    pub(crate) async fn follow(self, address: &Address) -> Result<Followed, StoreError> {
        let resolution = self.resolve(address).await?;
        let is_local = resolution.is_local;
        match resolution.owner {
            // The usual case needs no walk.
            Some(AddressOwner::Account(account)) if self.takes_nothing(&account) => {
                let name = account.account.address;
                let alias = AliasName::Address(name.clone());
                let broken = vec![DeadEnd { alias, member: name, fault: Fault::SendOnly }];
                return Ok(Followed { is_local, broken, ..Followed::default() });
            }
            Some(AddressOwner::Account(account)) if !self.goes_on(&account) => {
                let accounts = vec![*account];
                return Ok(Followed { is_local, accounts, ..Followed::default() });
            }
            None if !resolution.exists() && !self.is_for_duty(&resolution.address) => {
                return Ok(Followed { is_local, ..Followed::default() });
            }
            _ => {}
        }
        let (there, folded) = (resolution.address.clone(), address.folded());
        let mut walk = Walk::default();
        walk.ahead.insert(folded, resolution);
        walk.steps.push(Step::Enter(address.clone()));
        self.run(&mut walk).await?;
        if walk.followed.reaches_nobody()
            && let Some(followed) = self.follow_stand_in(&there).await?
        {
            return Ok(Followed { is_local, ..followed });
        }
        Ok(Followed { is_local, ..walk.followed })
    }

    /// Follows the replacement for a postmaster whose own account or alias leads to nobody any more.
    async fn follow_stand_in(self, address: &Address) -> Result<Option<Followed>, StoreError> {
        if !self.is_for_duty(address) {
            return Ok(None);
        }
        let named = named_postmaster(self.store, address.domain()).await?;
        let first = self.first_account(address.domain()).await?;
        for other in [named, first].into_iter().flatten() {
            let mut walk = Walk::default();
            walk.expand(AliasName::Address(address.clone()), address.clone(), vec![other]);
            self.run(&mut walk).await?;
            if !walk.followed.reaches_nobody() {
                return Ok(Some(walk.followed));
            }
        }
        Ok(None)
    }

    async fn run(self, walk: &mut Walk) -> Result<(), StoreError> {
        while let Some(step) = walk.steps.pop() {
            match step {
                Step::Leave => {
                    walk.path.pop();
                }
                Step::Enter(member) if walk.followed.has_too_many() => {
                    walk.breaks(member, Fault::TooMany);
                    break;
                }
                Step::Enter(member) => self.enter(member, walk).await?,
            }
        }
        Ok(())
    }

    async fn enter(self, member: Address, walk: &mut Walk) -> Result<(), StoreError> {
        let resolution = self.resolution(&member, walk).await?;
        let is_local = resolution.is_local;
        match self.meaning(resolution).await? {
            Meaning::Account(mut account) if self.goes_on(&account) => {
                let name = AliasName::Address(account.account.address.clone());
                let targets = account.forward.take().unwrap_or_default();
                let keeps_copy = keeps_copy(&account.account.address, &targets);
                let keeps_copy = keeps_copy && !account.account.send_only;
                if walk.expand(name, member, targets) && keeps_copy {
                    walk.arrive(*account);
                }
            }
            Meaning::Account(account) if self.takes_nothing(&account) => {
                walk.breaks(member, Fault::SendOnly);
            }
            Meaning::Account(account) => walk.arrive(*account),
            // A catch-all does not make its own members exist.
            Meaning::Alias(name @ AliasName::CatchAll(_), _) if walk.path.last() == Some(&name) => {
                walk.breaks(member, Fault::Missing);
            }
            Meaning::Alias(name, targets) => {
                walk.expand(name, member, targets);
            }
            Meaning::Nothing => {
                // A member of an alias may be on another server, but not the address itself.
                let is_member = !walk.path.is_empty();
                if is_member && !is_local {
                    walk.leave_here(member);
                } else {
                    walk.breaks(member, Fault::Missing);
                }
            }
        }
        Ok(())
    }

    /// Returns whether the walk continues through an account's own alias.
    const fn goes_on(self, account: &ResolvedAccount) -> bool {
        self.forwards && account.forward.is_some()
    }

    /// Returns whether mail for an address has to reach a person.
    fn is_for_duty(self, address: &Address) -> bool {
        let untagged = self.store.tags().untagged(address);
        is_duty(untagged.as_ref().unwrap_or(address).local_part())
    }

    /// Returns whether an account takes no mail: it only sends, and does not forward.
    const fn takes_nothing(self, account: &ResolvedAccount) -> bool {
        self.forwards && account.account.send_only && account.forward.is_none()
    }

    async fn resolve(self, address: &Address) -> Result<Resolution, StoreError> {
        Ok(self.with_proposed(self.store.resolve(address).await?))
    }

    fn with_proposed(self, resolution: Resolution) -> Resolution {
        match self.proposed {
            Some(alias) => resolution.with_alias(alias, &self.store.tags()),
            None => resolution,
        }
    }

    /// Resolves the member that the walk enters, and together with it the next ones, so that an alias of
    /// many members costs few calls.
    async fn resolution(self, member: &Address, walk: &mut Walk) -> Result<Resolution, StoreError> {
        let member = member.folded();
        if let Some(resolution) = walk.ahead.remove(&member) {
            return Ok(resolution);
        }
        let mut batch = walk.next_members(member.clone());
        for _ in 0..=DEPTH {
            let resolutions = self.store.resolve_all(&batch).await?;
            let mut behind = BTreeSet::new();
            for (address, resolution) in batch.drain(..).zip(resolutions) {
                let resolution = self.with_proposed(resolution);
                let room = BATCH - behind.len();
                behind.extend(resolution.targets().iter().take(room).map(Address::folded));
                walk.ahead.insert(address, resolution);
            }
            batch.extend(behind.into_iter().filter(|address| !walk.ahead.contains_key(address)));
            if batch.is_empty() {
                break;
            }
        }
        match walk.ahead.remove(&member) {
            Some(resolution) => Ok(resolution),
            None => self.resolve(&member).await,
        }
    }

    async fn meaning(self, resolution: Resolution) -> Result<Meaning, StoreError> {
        let Resolution { address, owner, catch_all, .. } = resolution;
        match owner {
            Some(AddressOwner::Account(account)) => return Ok(Meaning::Account(account)),
            Some(AddressOwner::Alias(name, targets)) => {
                return Ok(Meaning::Alias(AliasName::Address(name), targets));
            }
            None => {}
        }
        let is_for_duty = self.is_for_duty(&address);
        if is_for_duty && let Some(named) = named_postmaster(self.store, address.domain()).await? {
            return Ok(stand_in(&address, named));
        }
        if let (Some(targets), Ok(domain)) = (catch_all, address.domain().parse::<Domain>()) {
            return Ok(Meaning::Alias(AliasName::CatchAll(domain), targets));
        }
        if is_for_duty && let Some(first) = self.first_account(address.domain()).await? {
            return Ok(stand_in(&address, first));
        }
        Ok(Meaning::Nothing)
    }

    async fn first_account(self, domain: &str) -> Result<Option<Address>, StoreError> {
        Ok(self.store.first_account(domain).await?.map(|account| account.address))
    }
}

/// Returns the faults that an alias with these `members` would have, such as a member that does not
/// exist or leads back to it.
pub(crate) async fn faults(
    store: &dyn Store,
    alias: &Alias,
    members: &[Address],
) -> Result<Vec<DeadEnd>, StoreError> {
    let follower = Follower { proposed: Some(alias), ..Follower::new(store) };
    let mut walk = Walk::default();
    let mut account = None;
    if let AliasName::Address(address) = &alias.name {
        account = store.account(address).await?;
    }
    let keeps = |account: &Account| keeps_copy(&account.address, &alias.targets);
    walk.keeps_copy = account.filter(keeps).map(|account| account.address).into_iter().collect();
    walk.path.push(alias.name.clone());
    walk.known.insert(alias.name.clone());
    walk.steps.extend(members.iter().rev().cloned().map(Step::Enter));
    follower.run(&mut walk).await?;
    let mut broken = walk.followed.broken;
    // A missing member of another alias is not a fault of this one.
    let is_of_member = |fault| matches!(fault, Fault::Missing | Fault::SendOnly);
    broken.retain(|broken| broken.alias == alias.name || !is_of_member(broken.fault));
    Ok(broken)
}

/// The state of a walk along an address.
#[derive(Default)]
struct Walk {
    followed: Followed,
    /// The members that are already resolved, but not entered yet.
    ahead: HashMap<Address, Resolution>,
    /// The remaining steps; the next one is last.
    steps: Vec<Step>,
    /// The aliases that led to the current place.
    path: Vec<AliasName>,
    /// All aliases that were entered.
    known: BTreeSet<AliasName>,
    /// The accounts that keep a copy.
    keeps_copy: HashSet<Address>,
    /// The accounts that were reached.
    arrived: HashSet<AccountId>,
    /// The addresses on other servers that were reached.
    left: HashSet<Address>,
}

impl Walk {
    /// Returns a member, and the members entered after it that are not resolved yet: at most [`BATCH`].
    fn next_members(&self, first: Address) -> Vec<Address> {
        let mut members = vec![first];
        let mut seen: HashSet<Address> = members.iter().cloned().collect();
        for step in self.steps.iter().rev() {
            let Step::Enter(member) = step else { continue };
            let member = member.folded();
            if !self.ahead.contains_key(&member) && seen.insert(member.clone()) {
                members.push(member);
            }
            if members.len() >= BATCH {
                break;
            }
        }
        members
    }

    /// Continues with the members of an alias. `member` is the address that led to it. Returns whether
    /// the alias was not entered before.
    fn expand(&mut self, name: AliasName, member: Address, targets: Vec<Address>) -> bool {
        if let Some(at) = self.path.iter().position(|known| *known == name) {
            // A loop through an account that keeps a copy ends in that account's mailbox.
            let keeps = |name: &AliasName| match name {
                AliasName::Address(address) => self.keeps_copy.contains(address),
                AliasName::CatchAll(_) => false,
            };
            if !self.path[at..].iter().any(keeps) {
                self.breaks(member, Fault::Loop);
            }
            return false;
        }
        if self.known.contains(&name) {
            return false;
        }
        if self.path.len() >= DEPTH {
            self.breaks(member, Fault::TooDeep);
            return false;
        }
        self.steps.push(Step::Leave);
        self.steps.extend(targets.into_iter().rev().map(Step::Enter));
        self.known.insert(name.clone());
        self.path.push(name);
        true
    }

    /// Records that a mailbox is reached.
    fn arrive(&mut self, account: ResolvedAccount) {
        self.keeps_copy.insert(account.account.address.clone());
        if self.arrived.insert(account.account.id) {
            self.followed.accounts.push(account);
        }
    }

    /// Records that an address on another server is reached.
    fn leave_here(&mut self, address: Address) {
        if self.left.insert(address.folded()) {
            self.followed.elsewhere.push(address);
        }
    }

    /// Records that a member leads to nobody. An address that is not a member of an alias is left to the
    /// caller.
    fn breaks(&mut self, member: Address, fault: Fault) {
        if let Some(alias) = self.path.last().cloned() {
            self.followed.broken.push(DeadEnd { alias, member, fault });
        }
    }
}

/// Makes an address lead to another one, as an alias does.
fn stand_in(address: &Address, other: Address) -> Meaning {
    Meaning::Alias(AliasName::Address(address.clone()), vec![other])
}

/// Returns the address that the operator chose for a domain's postmaster, unless that address no longer
/// exists here.
async fn named_postmaster(store: &dyn Store, domain: &str) -> Result<Option<Address>, StoreError> {
    let Some(named) = postmaster::named(store, domain).await? else { return Ok(None) };
    let resolution = store.resolve(&named).await?;
    Ok(Some(named).filter(|_| !resolution.is_local || resolution.exists()))
}
