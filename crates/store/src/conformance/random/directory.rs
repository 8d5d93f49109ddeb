//! Accounts, aliases and domains, with what belongs to accounts: sources and secrets.

use super::{Random, World, told};
use crate::{
    AccountId, Alias, AliasName, Credentials, Directory as _, MemoryStore, SecretOf, Sources as _,
    Store,
    conformance::{address, at, domain, source, sweep},
};
use posta_mail::{Address, Domain, Secret, Timestamp};

/// The directory.
#[derive(Debug, Default)]
pub(super) struct DirectoryWorld {
    /// Seconds that passed by restarts.
    passed: i64,
}

#[derive(Debug, Clone)]
pub(super) enum DirectoryStep {
    Add(Address, Credentials),
    SetPassword(Address, Credentials),
    ReplacePassword(Address, String, Credentials),
    Set(Address, u64),
    Rename(Address, Address, Vec<Alias>),
    Remove(Address, Timestamp, Timestamp),
    Restore(AccountId),
    SetAlias(Alias),
    RemoveAlias(AliasName),
    AddDomain(Domain),
    RemoveDomain(Domain),
    SetDomainAlias(Domain, Domain),
    AddSource(AccountId),
    RemoveSource(crate::SourceId),
    Sweep(Timestamp),
}

const NAMES: [&str; 3] = ["ana", "bob", "cid"];
const DOMAINS: [&str; 4] = ["x.test", "y.test", "z.test", "sub.x.test"];

fn any_domain(random: &mut Random) -> Domain {
    domain(random.pick(&DOMAINS))
}

fn any_address(random: &mut Random) -> Address {
    address(&format!("{}@{}", random.pick(&NAMES), random.pick(&DOMAINS)))
}

fn any_credentials(random: &mut Random) -> Credentials {
    let apop = (random.below(2) == 0).then(|| Secret::new(b"secret"));
    Credentials { password_hash: format!("hash {}", random.below(3)), scram: None, apop }
}

fn any_alias(random: &mut Random) -> Alias {
    let name = match random.below(4) {
        0 => AliasName::CatchAll(any_domain(random)),
        _ => AliasName::Address(any_address(random)),
    };
    let targets = (0..=random.below(2)).map(|_| any_address(random)).collect();
    Alias { name, targets }
}

impl World for DirectoryWorld {
    type Operation = DirectoryStep;

    async fn begin(&mut self, _: [&dyn Store; 2]) {}

    async fn draw(
        &mut self,
        reference: &MemoryStore,
        step: u64,
        random: &mut Random,
    ) -> DirectoryStep {
        let now = step as i64 + self.passed;
        let account = AccountId(random.below(30));
        let sources = reference.sources().await.unwrap();
        let removed = reference.removed_accounts().await.unwrap();
        match random.below(20) {
            0..=4 => DirectoryStep::Add(any_address(random), any_credentials(random)),
            5 => DirectoryStep::SetPassword(any_address(random), any_credentials(random)),
            6 => {
                let (address, old) = (any_address(random), format!("hash {}", random.below(3)));
                DirectoryStep::ReplacePassword(address, old, any_credentials(random))
            }
            7 => DirectoryStep::Set(any_address(random), random.below(64)),
            8..=9 => {
                let aliases = (0..random.below(2)).map(|_| any_alias(random)).collect();
                DirectoryStep::Rename(any_address(random), any_address(random), aliases)
            }
            10 => DirectoryStep::Remove(any_address(random), at(now), at(now + 40)),
            11 if !removed.is_empty() => DirectoryStep::Restore(random.pick(&removed).account.id),
            11 => DirectoryStep::Restore(account),
            12..=13 => DirectoryStep::SetAlias(any_alias(random)),
            14 => DirectoryStep::RemoveAlias(any_alias(random).name),
            15 => DirectoryStep::AddDomain(any_domain(random)),
            16 => DirectoryStep::RemoveDomain(any_domain(random)),
            17 => DirectoryStep::SetDomainAlias(any_domain(random), any_domain(random)),
            18 if step.is_multiple_of(2) || sources.is_empty() => DirectoryStep::AddSource(account),
            18 => DirectoryStep::RemoveSource(random.pick(&sources).id),
            _ => DirectoryStep::Sweep(at(now)),
        }
    }

    async fn run(&self, store: &dyn Store, operation: &DirectoryStep) -> String {
        match operation.clone() {
            DirectoryStep::Add(address, with) => told(store.add_account(&address, with).await),
            DirectoryStep::SetPassword(address, new) => {
                told(store.set_password(&address, new).await)
            }
            DirectoryStep::ReplacePassword(address, old, new) => {
                told(store.replace_password(&address, old, new).await)
            }
            DirectoryStep::Set(address, bits) => {
                let is = |bit: u64| bits & (1 << bit) != 0;
                let quota = is(0).then_some(bits);
                let send_as = if is(1) { vec!["any".parse().unwrap()] } else { Vec::new() };
                let done = [
                    store.set_quota(&address, quota).await,
                    store.set_send_as(&address, send_as).await,
                    store.set_disabled(&address, is(2)).await,
                    store.set_marks_junk(&address, is(3)).await,
                    store.set_send_only(&address, is(4)).await,
                ];
                done.map(told).concat()
            }
            DirectoryStep::Rename(old, new, aliases) => {
                told(store.rename_account(&old, &new, aliases).await)
            }
            DirectoryStep::Remove(address, now, purge) => {
                told(store.remove_account(&address, now, purge).await)
            }
            DirectoryStep::Restore(account) => told(store.restore_account(account).await),
            DirectoryStep::SetAlias(alias) => told(store.set_alias(alias).await),
            DirectoryStep::RemoveAlias(name) => told(store.remove_alias(&name).await),
            DirectoryStep::AddDomain(domain) => told(store.add_domain(&domain).await),
            DirectoryStep::RemoveDomain(domain) => told(store.remove_domain(&domain).await),
            DirectoryStep::SetDomainAlias(alias, domain) => {
                told(store.set_domain_alias(&alias, &domain).await)
            }
            DirectoryStep::AddSource(account) => {
                told(store.add_source(source(account), Secret::new(b"secret")).await)
            }
            DirectoryStep::RemoveSource(id) => told(store.remove_source(id).await),
            DirectoryStep::Sweep(now) => sweep(store, now).await.to_string(),
        }
    }

    async fn shown(&self, store: &dyn Store, step: u64) -> Vec<String> {
        let accounts = store.accounts(None, 99).await.unwrap();
        let mut lines = vec![
            format!("{:?}", store.aliases().await.unwrap()),
            format!("{:?}", store.domains().await.unwrap()),
            format!("{:?}", store.domain_aliases().await.unwrap()),
            format!("{:?}", store.removed_accounts().await.unwrap()),
            format!("{:?}", store.sources().await.unwrap()),
        ];
        for account in &accounts {
            let apop = store.secret(SecretOf::Apop(account.id)).await.unwrap();
            let found = store.account_by_id(account.id).await.unwrap();
            assert_eq!(found.as_ref(), Some(account));
            lines.push(format!("{account:?} {:?}", apop.map(|it| it.expose().to_vec())));
        }
        let mut addresses = Vec::new();
        for host in DOMAINS {
            lines.push(format!("{:?}", store.first_account(host).await.unwrap()));
            lines.push(format!("{:?}", store.is_local(host).await.unwrap()));
            lines.push(format!("{:?}", store.domain_alias(host).await.unwrap()));
            addresses.extend(NAMES.map(|name| address(&format!("{name}@{host}"))));
            addresses.push(address(&format!("dan@{host}")));
            addresses.push(address(&format!("ana+tag@{host}")));
        }
        let name = NAMES[step as usize % NAMES.len()];
        lines.push(format!("{:?}", store.accounts_named(name).await.unwrap()));
        let resolved = store.resolve_all(&addresses).await.unwrap();
        lines.extend(resolved.iter().map(|it| format!("{it:?}")));
        lines
    }

    fn restarted(&mut self) {
        self.passed += 100;
    }
}
