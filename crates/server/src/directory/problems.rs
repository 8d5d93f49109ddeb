//! What is wrong with aliases: the list of them tells it, and the log, at the start and daily.

use super::{Broken, faults};
use posta_store::{Alias, AliasName, Store, StoreError};
use std::{sync::Arc, time::Duration};
use tokio::{sync::watch, task::yield_now, time::sleep};

/// How often the log tells.
const EVERY: Duration = Duration::from_secs(24 * 60 * 60);

/// Problems that the log tells one by one.
const TOLD: usize = 20;

/// Returns what is wrong with an alias, in words.
///
/// # Errors
/// When the store fails.
pub(crate) async fn problems(store: &dyn Store, alias: &Alias) -> Result<Vec<String>, StoreError> {
    if let AliasName::Address(address) = &alias.name
        && let Some(account) = store.account(address).await?
        && !account.forwards
    {
        // Of stores that were written before accounts could forward.
        return Ok(vec![format!(
            "{address} is an account, which gets the mail: `posta alias remove {address}`, or \
             `posta alias set {address} MEMBER...` to have it forwarded"
        )]);
    }
    let faults = faults(store, alias, &alias.targets).await?;
    Ok(faults.iter().map(Broken::to_string).collect())
}

/// Tells the log what is wrong with aliases, until the server stops.
pub(crate) async fn tell(store: Arc<dyn Store>, mut stopping: watch::Receiver<bool>) {
    loop {
        if let Err(error) = tell_once(&*store).await {
            tracing::error!(%error, "the aliases cannot be read");
        }
        tokio::select! {
            () = sleep(EVERY) => {}
            _ = stopping.wait_for(|&stopping| stopping) => return,
        }
    }
}

async fn tell_once(store: &dyn Store) -> Result<(), StoreError> {
    let mut all = Vec::new();
    for alias in store.aliases().await? {
        all.extend(problems(store, &alias).await?);
        // Reads do not wait: sessions have their turns in between.
        yield_now().await;
    }
    for problem in all.iter().take(TOLD) {
        tracing::warn!(problem, "an alias is wrong");
    }
    let more = all.len().saturating_sub(TOLD);
    if more > 0 {
        tracing::warn!(more, "more aliases are wrong: `posta alias list` tells which");
    }
    Ok(())
}
