//! Renaming an account.

use super::{Admin, AdminError, PAGE, Response, SEND_AS, parse_address};
use crate::directory::{canonical, postmaster, renamed};
use posta_mail::Address;
use posta_store::{Account, Alias, AliasName, SendAs, StoreError, TagSeparators};

impl Admin {
    /// Renames an account. Aliases that led to it lead to its new address, with the tags of subaddresses; who could
    /// send as it can do so under its new address; and mail that waits for it here is delivered to it.
    pub(in crate::admin) async fn rename_account(
        &self,
        old: String,
        new: String,
        keeps_old: bool,
    ) -> Result<Response, AdminError> {
        let (old, new) = (parse_address(old)?.folded(), parse_address(new)?);
        let _changing = self.changing.lock().await;
        let account = self.store.account(&old).await?.ok_or(StoreError::NoSuchAccount)?;
        let (forward, renamed) =
            (AliasName::Address(old.clone()), AliasName::Address(new.folded()));
        let mut aliases = self.aliases_after(&old, &new).await?;
        let names = aliases.iter().filter(|alias| alias.name != renamed);
        let names = names.map(|alias| alias.name.to_string()).collect();
        if keeps_old {
            aliases.push(Alias { name: forward, targets: vec![new.clone()] });
        }
        let reads = postmaster::named_for(&*self.store, &old).await?;
        // Before the address is gone, so that mail that is released meanwhile finds one or the other.
        renamed::record(&*self.store, &old, account.id, self.clock.now()).await?;
        self.store.rename_account(&old, &new, aliases).await?;
        for domain in &reads {
            postmaster::name(&*self.store, domain, Some(&new)).await?;
        }
        let allowed = self.rename_permissions(&old, &new, keeps_old).await?;
        Ok(Response::AccountRenamed { aliases: names, allowed })
    }

    /// Returns the aliases that change when an account is renamed, as they are then.
    async fn aliases_after(&self, old: &Address, new: &Address) -> Result<Vec<Alias>, StoreError> {
        let (forward, renamed) =
            (AliasName::Address(old.clone()), AliasName::Address(new.folded()));
        let mut aliases = Vec::new();
        for alias in self.store.aliases().await? {
            let mut targets = Vec::with_capacity(alias.targets.len());
            for target in &alias.targets {
                let meant = canonical(&*self.store, target).await?;
                let renamed = renamed_target(&meant, (old, new), &self.store.tags());
                targets.push(renamed.unwrap_or_else(|| target.clone()));
            }
            let name = if alias.name == forward { renamed.clone() } else { alias.name.clone() };
            let changed = Alias { name, targets };
            if changed != alias {
                aliases.push(changed);
            }
        }
        Ok(aliases)
    }

    /// Lets the accounts that may send as a renamed account do so under its new address, and under the old one if it
    /// is an alias now. Returns these accounts.
    async fn rename_permissions(
        &self,
        old: &Address,
        new: &Address,
        keeps_old: bool,
    ) -> Result<Vec<String>, StoreError> {
        let (mut changed, mut after) = (Vec::new(), None);
        loop {
            let accounts = self.store.accounts(after.as_ref(), PAGE).await?;
            let Some(last) = accounts.last() else { return Ok(changed) };
            after = Some(last.address.clone());
            for Account { address, mut send_as, .. } in accounts {
                let Some(at) = self.permission(&send_as, old).await? else { continue };
                let new = SendAs::Address(new.folded());
                if send_as.contains(&new) {
                    continue;
                }
                if keeps_old && send_as.len() < SEND_AS {
                    send_as.push(new);
                } else {
                    send_as[at] = new;
                }
                self.store.set_send_as(&address, send_as).await?;
                changed.push(address.to_string());
            }
        }
    }

    /// Returns where a list of permissions names an address.
    async fn permission(
        &self,
        send_as: &[SendAs],
        address: &Address,
    ) -> Result<Option<usize>, StoreError> {
        for (at, allowed) in send_as.iter().enumerate() {
            if let SendAs::Address(allowed) = allowed
                && canonical(&*self.store, allowed).await?.folded() == *address
            {
                return Ok(Some(at));
            }
        }
        Ok(None)
    }
}

/// Returns a member of an alias after an account was renamed, or `None` if the member does not change.
fn renamed_target(
    target: &Address,
    (old, new): (&Address, &Address),
    tags: &TagSeparators,
) -> Option<Address> {
    let folded = target.folded();
    if folded == *old {
        return Some(new.clone());
    }
    let (user, tag) = tags.split(target)?;
    if user.folded() != *old {
        return None;
    }
    let domain = new.domain().parse().ok()?;
    let local_part = format!("{}{tag}", new.local_part());
    Some(Address::new(&local_part, &domain).unwrap_or_else(|_| new.clone()))
}
