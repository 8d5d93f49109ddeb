//! The problems of aliases. The list of aliases contains them, and the log at the start and once a day.

use super::{DeadEnd, faults};
use posta_store::{Alias, AliasName, Store, StoreError};
use std::{sync::Arc, time::Duration};
use tokio::{sync::watch, task::yield_now, time::sleep};

/// The duty of logging: of the nodes of a cluster, one logs.
const DUTY: &str = "alias-problems";

/// The interval at which the problems are logged.
const EVERY: Duration = Duration::from_secs(24 * 60 * 60);

/// The maximal number of problems that are logged one by one.
const LOGGED: usize = 20;

/// Returns the problems of an alias, in words.
///
/// # Errors
/// When the store fails.
pub(crate) async fn problems(store: &dyn Store, alias: &Alias) -> Result<Vec<String>, StoreError> {
    if let AliasName::Address(address) = &alias.name
        && let Some(account) = store.account(address).await?
        && !account.forwards
    {
        // Such stores were written before accounts could forward.
        return Ok(vec![format!(
            "{address} is also an account, which gets the mail: `posta alias remove {address}`, or \
             `posta alias set {address} MEMBER...` to have it forwarded"
        )]);
    }
    let faults = faults(store, alias, &alias.targets).await?;
    Ok(faults.iter().map(DeadEnd::to_string).collect())
}

/// Logs the problems of aliases, now and once a day, until the server stops.
pub(crate) async fn log_daily(store: Arc<dyn Store>, mut stopping: watch::Receiver<bool>) {
    loop {
        if let Err(error) = log_once(&*store).await {
            tracing::error!(%error, "the aliases cannot be read");
        }
        tokio::select! {
            () = sleep(EVERY) => {}
            _ = stopping.wait_for(|&stopping| stopping) => return,
        }
    }
}

async fn log_once(store: &dyn Store) -> Result<(), StoreError> {
    if !store.take_duty(DUTY).await? {
        return Ok(());
    }
    let mut all = Vec::new();
    for alias in store.aliases().await? {
        all.extend(problems(store, &alias).await?);
        // Reading does not block, so other tasks need a turn in between.
        yield_now().await;
    }
    for problem in all.iter().take(LOGGED) {
        tracing::warn!(problem, "an alias is wrong");
    }
    let more = all.len().saturating_sub(LOGGED);
    if more > 0 {
        tracing::warn!(more, "more aliases are wrong: `posta alias list` shows which");
    }
    Ok(())
}
