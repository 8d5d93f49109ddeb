//! Visiting the sources of accounts, which are mailboxes elsewhere: on schedule, or when the operator
//! asks for it.

use super::{
    CollectContext, CollectError, Purpose, StoreDestination, VisitOutcome,
    unique_ids::UniqueIdsInUse,
};
use crate::limits::{metrics::Metrics, term::Term};
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

/// The interval at which due sources are looked for.
const LOOK: Duration = Duration::from_secs(15);

/// The maximal number of simultaneous visits.
const VISITS: usize = 8;

/// The maximal number of sources named in one line of the log.
const NAMED: usize = 20;

/// The time for which a source is claimed, and the interval at which the claim is renewed during a
/// visit.
const LEASE: Duration = Duration::from_secs(5 * 60);
const RENEW: Duration = Duration::from_secs(60);

/// The maximal duration of a visit.
const LONGEST: Duration = Duration::from_secs(6 * 60 * 60);

/// Visits the sources.
pub struct Collectors {
    store: Arc<dyn Store>,
    context: CollectContext,
    metrics: Arc<Metrics>,
    unique_ids: Arc<UniqueIdsInUse>,
}

impl Collectors {
    /// Returns collectors that put mail into `store`.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, context: CollectContext) -> Self {
        let unique_ids = UniqueIdsInUse::new(store.clone());
        Self { store, context, metrics: Arc::default(), unique_ids }
    }

    /// Returns the unique-ids in the mailboxes, for all that bring messages with unique-ids of their own.
    #[must_use]
    pub fn unique_ids(&self) -> &Arc<UniqueIdsInUse> {
        &self.unique_ids
    }

    /// Makes collected messages count there, for the operator.
    #[must_use]
    pub fn with_metrics(self, metrics: Arc<Metrics>) -> Self {
        Self { metrics, ..self }
    }

    /// Visits the sources on their schedule, until the server stops.
    pub async fn run(self: Arc<Self>, mut stopping: watch::Receiver<bool>) {
        if let Err(error) = self.log_unreadable().await {
            tracing::error!(%error, "the sources cannot be read");
        }
        let mut visits = JoinSet::new();
        loop {
            let (term, now) = (Term::present(&self.store), self.context.clock.now());
            let room = VISITS.saturating_sub(visits.len());
            match self.store.claim_sources(now, now + LEASE, room).await {
                Ok(claimed) => {
                    for claimed in claimed {
                        let (collectors, term) = (self.clone(), term.clone());
                        visits.spawn(async move {
                            // The result is recorded with the source.
                            let _ = collectors.visit_claimed(claimed, &term).await;
                        });
                    }
                }
                Err(error) => tracing::error!(%error, "the sources cannot be read"),
            }
            tokio::select! {
                () = sleep(LOOK) => {}
                Some(_) = visits.join_next() => {}
                // Interrupted visits are continued by the next ones.
                _ = stopping.wait_for(|&stopping| stopping) => return,
            }
        }
    }

    /// Visits a source now. Returns the result; none if a visit is already in progress, or the account
    /// has been removed.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn visit(&self, source: SourceId) -> Result<Option<Visit>, StoreError> {
        let (term, now) = (Term::present(&self.store), self.context.clock.now());
        match self.store.claim_source(source, now, now + LEASE).await? {
            Some(claimed) => self.visit_claimed(claimed, &term).await,
            None => Ok(None),
        }
    }

    /// Visits a claimed source, and renews the claim meanwhile. The visit ends with the term in which the source was claimed:
    /// another node may be visiting by then.
    async fn visit_claimed(
        &self,
        claimed: ClaimedSource,
        term: &Term,
    ) -> Result<Option<Visit>, StoreError> {
        let ClaimedSource { source, account, lease } = claimed;
        let (id, token) = (source.id, lease.token);
        let visiting = self.visit_as(&source, account);
        tokio::pin!(visiting);
        let mut renewing = interval(RENEW);
        renewing.tick().await;
        let visit = loop {
            tokio::select! {
                biased;
                () = term.ended() => return Ok(None),
                visit = &mut visiting => break visit,
                _ = renewing.tick() => {
                    let until = self.context.clock.now() + LEASE;
                    // If another process has claimed the source since then, it is visiting now.
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
        let (outcome, ended) = match self.password(source.id).await {
            Ok(password) => self.collect(source, &password, account).await,
            Err(error) => (VisitOutcome::default(), Err(error)),
        };
        let left = Some(outcome.reasons().join(", ")).filter(|left| !left.is_empty());
        let left = left.map(|left| format!("not collected: {left}; {}", outcome.left.join(", ")));
        let problem = ended.err().map_or(left, |error| Some(error.to_string()));
        // A persistent problem is logged once, however often the source is visited.
        let before = source.last.as_ref().and_then(|last| last.problem.as_ref());
        if problem.as_ref() != before {
            let (id, server) = (source.id, &source.login.server);
            match &problem {
                Some(problem) => tracing::warn!(source = %id, server, "{problem}"),
                None => tracing::info!(source = %id, server, "mail is collected again"),
            }
        }
        self.metrics.collected(outcome.messages);
        Visit { time: self.context.clock.now(), collected: outcome.messages, problem }
    }

    /// Logs in to the server from which mail is to be collected for an account, and does nothing else
    /// there.
    ///
    /// # Errors
    /// When the login fails.
    pub async fn log_in(
        &self,
        account: Account,
        login: &Login,
        password: &Secret,
    ) -> Result<(), CollectError> {
        let (store, clock) = (self.store.clone(), self.context.clock.clone());
        let mut destination =
            StoreDestination::new(store, clock, account, login.server.clone(), Purpose::Move)
                .without_results_of(&self.context.hostname);
        self.context.log_in(login, password, &mut destination).await
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
        let (store, clock) = (self.store.clone(), self.context.clock.clone());
        let (login, purpose) = (&source.login, Purpose::Source(source.id));
        let mut destination =
            StoreDestination::new(store, clock, account, login.server.clone(), purpose)
                .without_results_of(&self.context.hostname);
        let collected = self.context.collect(login, password, source.keep, &mut destination);
        let limited = timeout(LONGEST, Box::pin(collected)).await;
        limited.unwrap_or_else(|_| {
            (VisitOutcome::default(), Err(CollectError::Broken("it took too long".into())))
        })
    }

    /// Logs the sources that cannot be visited because their passwords cannot be read, and the cure.
    async fn log_unreadable(&self) -> Result<(), StoreError> {
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
    /// When the visit is interrupted; messages that were already durable remain.
    pub async fn take_over(
        &self,
        account: Account,
        login: &Login,
        password: &Secret,
        keep: Keep,
    ) -> Result<VisitOutcome, CollectError> {
        let (store, clock) = (self.store.clone(), self.context.clock.clone());
        let mut destination =
            StoreDestination::new(store, clock, account, login.server.clone(), Purpose::Move)
                .without_results_of(&self.context.hostname)
                .keeping(self.unique_ids.clone());
        let (outcome, ended) = self.context.collect(login, password, keep, &mut destination).await;
        ended.map(|()| outcome)
    }
}
