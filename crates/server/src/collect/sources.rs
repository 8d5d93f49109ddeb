//! Visits the sources of accounts, mailboxes elsewhere, on their schedule or when the operator asks for it.

use super::{Brought, CollectError, Means, Purpose, StoreDestination};
use parking_lot::Mutex;
use posta_mail::Secret;
use posta_store::{Account, Keep, Login, SecretOf, Source, SourceId, Store, StoreError, Visit};
use std::{collections::HashSet, sync::Arc, time::Duration};
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{sleep, timeout},
};

/// How often sources that are due are looked for.
const LOOK: Duration = Duration::from_secs(15);

/// The most visits at once.
const VISITS: usize = 8;

/// The most sources named in one line of the log.
const NAMED: usize = 20;

/// The longest that a visit may last.
const LONGEST: Duration = Duration::from_secs(6 * 60 * 60);

/// Visits the sources.
pub struct Collectors {
    store: Arc<dyn Store>,
    means: Means,
    /// Those that are being visited: two visits at once would fetch everything twice.
    visited: Mutex<HashSet<SourceId>>,
}

/// A source that is being visited, until it is dropped.
struct Visiting<'c> {
    collectors: &'c Collectors,
    source: SourceId,
}

impl Drop for Visiting<'_> {
    fn drop(&mut self) {
        let mut visited = self.collectors.visited.lock();
        visited.remove(&self.source);
    }
}

impl Collectors {
    /// Collects into a store.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, means: Means) -> Self {
        Self { store, means, visited: Mutex::default() }
    }

    /// Visits the sources on their schedule, until the server stops.
    pub async fn run(self: Arc<Self>, mut stopping: watch::Receiver<bool>) {
        if let Err(error) = self.tell_of_unreadable().await {
            tracing::error!(%error, "the sources cannot be read");
        }
        let mut visits = JoinSet::new();
        loop {
            match self.due().await {
                Ok(due) => {
                    for source in due.into_iter().take(VISITS.saturating_sub(visits.len())) {
                        let collectors = self.clone();
                        visits.spawn(async move {
                            // The outcome is stored with the source.
                            let _ = collectors.visit(source).await;
                        });
                    }
                }
                Err(error) => tracing::error!(%error, "the sources cannot be read"),
            }
            tokio::select! {
                () = sleep(LOOK) => {}
                Some(_) = visits.join_next() => {}
                // Visits that are cut off are continued by the next ones.
                _ = stopping.wait_for(|&stopping| stopping) => return,
            }
        }
    }

    /// Returns the sources that are due and not being visited.
    async fn due(&self) -> Result<Vec<Source>, StoreError> {
        let now = self.means.clock.now();
        let mut sources = self.store.sources().await?;
        sources.retain(|source| {
            let next = |visit: &Visit| visit.time + Duration::from_secs(source.every);
            source.last.as_ref().is_none_or(|last| next(last) <= now)
        });
        if sources.is_empty() {
            return Ok(sources);
        }
        // Those of a removed account wait until it is brought back, or purged with them.
        let accounts = self.store.accounts().await?.into_iter();
        let accounts: HashSet<_> = accounts.map(|account| account.id).collect();
        let visited = self.visited.lock();
        sources
            .retain(|source| !visited.contains(&source.id) && accounts.contains(&source.account));
        Ok(sources)
    }

    /// Visits a source now. Answers how that ended; none if somebody is there already.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn visit(&self, source: Source) -> Result<Option<Visit>, StoreError> {
        let Some(_visiting) = self.enter(source.id) else { return Ok(None) };
        let account = self.store.accounts().await?;
        let account = account.into_iter().find(|account| account.id == source.account);
        let account = account.ok_or(StoreError::NoSuchAccount)?;
        let (brought, ended) = match self.password(source.id).await {
            Ok(password) => self.collect(&source, &password, account).await,
            Err(error) => (Brought::default(), Err(error)),
        };
        let left = Some(brought.reasons().join(", ")).filter(|left| !left.is_empty());
        let left = left.map(|left| format!("not collected: {left}; {}", brought.left.join(", ")));
        let problem = ended.err().map_or(left, |error| Some(error.to_string()));
        // A problem that persists is logged once, however often the source is visited.
        let before = source.last.as_ref().and_then(|last| last.problem.as_ref());
        if problem.as_ref() != before {
            let (id, server) = (source.id, &source.login.server);
            match &problem {
                Some(problem) => tracing::warn!(source = %id, server, "{problem}"),
                None => tracing::info!(source = %id, server, "mail is collected again"),
            }
        }
        let visit = Visit { time: self.means.clock.now(), collected: brought.messages, problem };
        self.store.visited(source.id, visit.clone()).await?;
        Ok(Some(visit))
    }

    /// Logs in where mail is to be collected for an account, and does nothing else there.
    ///
    /// # Errors
    /// When that fails.
    pub async fn log_in(
        &self,
        account: Account,
        login: &Login,
        password: &Secret,
    ) -> Result<(), CollectError> {
        let (store, clock) = (self.store.clone(), self.means.clock.clone());
        let mut destination =
            StoreDestination::new(store, clock, account, login.server.clone(), Purpose::Move);
        self.means.log_in(login, password, &mut destination).await
    }

    async fn password(&self, id: SourceId) -> Result<Secret, CollectError> {
        match self.store.secret(SecretOf::Source(id)).await {
            Ok(Some(password)) => Ok(password),
            Ok(None) => Err(CollectError::NoPassword),
            Err(error) => Err(CollectError::Password(error)),
        }
    }

    async fn collect(
        &self,
        source: &Source,
        password: &Secret,
        account: Account,
    ) -> (Brought, Result<(), CollectError>) {
        let (store, clock) = (self.store.clone(), self.means.clock.clone());
        let (login, purpose) = (&source.login, Purpose::Source(source.id));
        let mut destination =
            StoreDestination::new(store, clock, account, login.server.clone(), purpose);
        let collected = self.means.collect(login, password, source.keep, &mut destination);
        let limited = timeout(LONGEST, Box::pin(collected)).await;
        limited.unwrap_or_else(|_| {
            (Brought::default(), Err(CollectError::Broken("it took too long".into())))
        })
    }

    /// Logs which sources cannot be visited because their passwords cannot be read, and what to do.
    async fn tell_of_unreadable(&self) -> Result<(), StoreError> {
        let mut unreadable = Vec::new();
        let mut cause = None;
        for source in self.store.sources().await? {
            if let Err(error) = self.password(source.id).await {
                unreadable.push(format!(
                    "{} ({} at {})",
                    source.id, source.login.user, source.login.server
                ));
                cause = Some(error);
            }
        }
        if let Some(error) = cause {
            let (count, more) = (unreadable.len(), unreadable.len().saturating_sub(NAMED));
            unreadable.truncate(NAMED);
            if more > 0 {
                unreadable.push(format!("{more} more: `posta collect list` names them"));
            }
            let which = unreadable.join(", ");
            tracing::error!("nothing can be collected from {count} sources, {which}: {error}");
        }
        Ok(())
    }

    /// Moves a mailbox from elsewhere into an account, once.
    ///
    /// # Errors
    /// When it breaks off; what came before is there.
    pub async fn take_over(
        &self,
        account: Account,
        login: &Login,
        password: &Secret,
        keep: Keep,
    ) -> Result<Brought, CollectError> {
        let (store, clock) = (self.store.clone(), self.means.clock.clone());
        let mut destination =
            StoreDestination::new(store, clock, account, login.server.clone(), Purpose::Move);
        let (brought, ended) = self.means.collect(login, password, keep, &mut destination).await;
        ended.map(|()| brought)
    }

    fn enter(&self, source: SourceId) -> Option<Visiting<'_>> {
        let is_first = {
            let mut visited = self.visited.lock();
            visited.insert(source)
        };
        // Only where it is the first: one that is dropped takes the source out, and the lock.
        is_first.then(|| Visiting { collectors: self, source })
    }
}
