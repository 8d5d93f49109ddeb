//! Visits the sources of accounts, mailboxes elsewhere, on their schedule or when the operator asks for it.

use super::{CollectContext, CollectError, Purpose, StoreDestination, VisitOutcome};
use posta_mail::Secret;
use posta_store::{
    Account, ClaimedSource, Keep, Login, SecretOf, Source, SourceId, Store, StoreError, Visit,
};
use std::{sync::Arc, time::Duration};
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{interval, sleep, timeout},
};

/// How often sources that are due are looked for.
const LOOK: Duration = Duration::from_secs(15);

/// The most visits at once.
const VISITS: usize = 8;

/// The most sources named in one line of the log.
const NAMED: usize = 20;

/// For how long a source is claimed, and how often that is renewed while it is visited.
const LEASE: Duration = Duration::from_secs(5 * 60);
const RENEW: Duration = Duration::from_secs(60);

/// The longest that a visit may last.
const LONGEST: Duration = Duration::from_secs(6 * 60 * 60);

/// Visits the sources.
pub struct Collectors {
    store: Arc<dyn Store>,
    means: CollectContext,
}

impl Collectors {
    /// Collects into a store.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, means: CollectContext) -> Self {
        Self { store, means }
    }

    /// Visits the sources on their schedule, until the server stops.
    pub async fn run(self: Arc<Self>, mut stopping: watch::Receiver<bool>) {
        if let Err(error) = self.tell_of_unreadable().await {
            tracing::error!(%error, "the sources cannot be read");
        }
        let mut visits = JoinSet::new();
        loop {
            let now = self.means.clock.now();
            let room = VISITS.saturating_sub(visits.len());
            match self.store.claim_sources(now, now + LEASE, room).await {
                Ok(claimed) => {
                    for claimed in claimed {
                        let collectors = self.clone();
                        visits.spawn(async move {
                            // How it ended is noted with the source.
                            let _ = collectors.visit_claimed(claimed).await;
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

    /// Visits a source now. Returns how that ended; none if somebody is there already, or its account is
    /// removed.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn visit(&self, source: SourceId) -> Result<Option<Visit>, StoreError> {
        let now = self.means.clock.now();
        match self.store.claim_source(source, now, now + LEASE).await? {
            Some(claimed) => self.visit_claimed(claimed).await,
            None => Ok(None),
        }
    }

    /// Visits a source that was claimed, and renews the lease on it meanwhile.
    async fn visit_claimed(&self, claimed: ClaimedSource) -> Result<Option<Visit>, StoreError> {
        let ClaimedSource { source, account, lease } = claimed;
        let (id, token) = (source.id, lease.token);
        let visiting = self.visit_as(&source, account);
        tokio::pin!(visiting);
        let mut renewing = interval(RENEW);
        renewing.tick().await;
        let visit = loop {
            tokio::select! {
                visit = &mut visiting => break visit,
                _ = renewing.tick() => {
                    let until = self.means.clock.now() + LEASE;
                    // Where another has claimed it since, that one is there now.
                    if !self.store.renew_source(id, token, until).await? {
                        return Ok(None);
                    }
                }
            }
        };
        let is_noted = self.store.visited(id, token, visit.clone()).await?;
        Ok(is_noted.then_some(visit))
    }

    async fn visit_as(&self, source: &Source, account: Account) -> Visit {
        let (brought, ended) = match self.password(source.id).await {
            Ok(password) => self.collect(source, &password, account).await,
            Err(error) => (VisitOutcome::default(), Err(error)),
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
        Visit { time: self.means.clock.now(), collected: brought.messages, problem }
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
    ) -> (VisitOutcome, Result<(), CollectError>) {
        let (store, clock) = (self.store.clone(), self.means.clock.clone());
        let (login, purpose) = (&source.login, Purpose::Source(source.id));
        let mut destination =
            StoreDestination::new(store, clock, account, login.server.clone(), purpose);
        let collected = self.means.collect(login, password, source.keep, &mut destination);
        let limited = timeout(LONGEST, Box::pin(collected)).await;
        limited.unwrap_or_else(|_| {
            (VisitOutcome::default(), Err(CollectError::Broken("it took too long".into())))
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
    ) -> Result<VisitOutcome, CollectError> {
        let (store, clock) = (self.store.clone(), self.means.clock.clone());
        let mut destination =
            StoreDestination::new(store, clock, account, login.server.clone(), Purpose::Move);
        let (brought, ended) = self.means.collect(login, password, keep, &mut destination).await;
        ended.map(|()| brought)
    }
}
