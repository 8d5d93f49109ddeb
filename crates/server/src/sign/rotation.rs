//! The rotation of keys by the clock: makes the first keys of domains that have none, makes new keys when the present
//! ones are old, activates keys that DNS has, and retires and deletes keys that are no longer needed.
//!
//! The rotation can run at any time and on several machines at once, since each step replaces a record only if it is
//! unchanged (`key_ring.rs`); of the nodes of a cluster, one looks after the keys.

use super::{
    SigningSettings, key_ring,
    keys::{DomainKey, DomainKeys, KeyState, MARGIN},
};
use crate::limits::adjustable::Adjustable;
use posta_mail::{Domain, Timestamp};
use posta_net::{
    clock::Clock,
    dns::{LookupError, Resolver},
};
use posta_origin::dkim::DkimKey;
use posta_store::{KeyId, Store, StoreError, Subject, Watcher};
use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{sleep, timeout},
};

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(60 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// The duty of looking after the keys: of the nodes of a cluster, one does.
const DUTY: &str = "domain-keys";

/// The time from one round to the next.
const ROUND: Duration = MINUTE;

/// How long a round waits after a change of the directory, since many accounts are often added one after the other.
const PAUSE: Duration = Duration::from_secs(1);

/// The number of look-ups at a time.
const LOOK_UPS: usize = 16;

/// How long a look-up may take.
const PATIENCE: Duration = Duration::from_secs(8);

/// How long the keys of a domain that is no longer local are kept. The domain may become local again, as when a removed
/// account is brought back.
const KEPT_UNUSED: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// The rotation of all domains' keys.
pub(crate) struct Rotation {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    resolver: Arc<dyn Resolver>,
    settings: Arc<Adjustable<SigningSettings>>,
    /// When DNS is next asked for each key.
    next: HashMap<KeyId, Timestamp>,
    /// When keys of domains that are no longer local are next looked for.
    next_cleaning: Timestamp,
    /// The problem that the last round logged.
    problem: Option<String>,
}

/// A look-up that is due.
struct LookUp {
    domain: Domain,
    key: DomainKey,
}

impl Rotation {
    /// Returns the rotation of the keys in a store.
    pub(crate) fn new(
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        resolver: Arc<dyn Resolver>,
        settings: Arc<Adjustable<SigningSettings>>,
    ) -> Self {
        let (next, next_cleaning) = (HashMap::new(), Timestamp::MIN);
        Self { store, clock, resolver, settings, next, next_cleaning, problem: None }
    }

    /// Runs until the server stops.
    pub(crate) async fn run(mut self, mut stopping: watch::Receiver<bool>) {
        let mut watcher = self.store.watch(&[Subject::Directory]);
        loop {
            let round = async {
                if self.settings.get().enabled
                    && let Err(error) = self.round().await
                {
                    tracing::error!(%error, "the keys that sign mail could not be looked after");
                }
                wait(&mut watcher).await;
            };
            tokio::select! {
                () = round => {}
                _ = stopping.wait_for(|&stopping| stopping) => return,
            }
        }
    }

    /// Does what is due for all domains. A failure of one domain does not stop the others. A problem is logged once while
    /// it lasts.
    async fn round(&mut self) -> Result<(), StoreError> {
        if !self.store.take_duty(DUTY).await? {
            return Ok(());
        }
        let (mut look_ups, mut problem) = (Vec::new(), None);
        let domains = self.store.domains().await?;
        for domain in &domains {
            match self.look_after(domain).await {
                Ok(due) => look_ups.extend(due),
                Err(error) => {
                    let told = problem.get_or_insert(error.to_string());
                    if self.problem.as_ref() != Some(told) {
                        tracing::error!(%error, %domain, "a domain's keys cannot be looked after");
                        self.problem = problem.clone();
                    }
                }
            }
            if look_ups.len() >= LOOK_UPS {
                self.look_up(std::mem::take(&mut look_ups)).await;
            }
        }
        self.look_up(look_ups).await;
        self.problem = problem;
        if self.clock.now() >= self.next_cleaning {
            self.clean(domains.iter().map(Domain::as_str).collect()).await?;
            self.next_cleaning = self.clock.now() + DAY;
        }
        Ok(())
    }

    /// Makes keys for a domain if they are due, and retires those whose time has come. Returns the look-ups that are due.
    async fn look_after(&self, domain: &Domain) -> Result<Vec<LookUp>, key_ring::KeyRingError> {
        let (store, clock, name) = (&*self.store, &*self.clock, domain.as_str());
        let every = self.settings.get().rotate;
        let is_made = match key_ring::read(store, name).await? {
            None => key_ring::ensure(store, clock, domain).await?,
            Some(kept) => {
                let now = clock.now();
                let is_due =
                    |keys: &DomainKeys| every.is_some_and(|every| keys.is_rotation_due(now, every));
                if kept.keys.unused.is_some() || kept.keys.is_any_over(now) {
                    let change = |keys: &mut DomainKeys| {
                        keys.unused = None;
                        keys.pass(now);
                    };
                    key_ring::change(store, name, change).await?;
                }
                is_due(&kept.keys) && {
                    store.check_seals().await?;
                    key_ring::rotate(store, clock, name, is_due).await?
                }
            }
        };
        if is_made {
            tracing::info!(
                "{domain} has new keys, which sign its mail once DNS has their records: \
                 `posta domain keys list {domain}` shows them"
            );
        }
        let keys =
            key_ring::read(store, name).await?.map(|kept| kept.keys.keys).unwrap_or_default();
        let is_due = |key: &DomainKey| {
            key.state != KeyState::Retiring
                && self.next.get(&key.id).is_none_or(|next| *next <= clock.now())
        };
        let due = keys.into_iter().filter(is_due);
        Ok(due.map(|key| LookUp { domain: domain.clone(), key }).collect())
    }

    /// Looks keys up in DNS, all at the same time, and notes the answers.
    async fn look_up(&mut self, look_ups: Vec<LookUp>) {
        let mut asked = JoinSet::new();
        for LookUp { domain, key } in look_ups {
            let now = self.clock.now();
            self.next.insert(key.id, now + interval(&key, now));
            let resolver = self.resolver.clone();
            asked.spawn(async move {
                let is_there = is_published(&*resolver, &domain, &key).await;
                (domain, key, is_there)
            });
        }
        while let Some(answered) = asked.join_next().await {
            // If DNS did not answer, the next look-up may succeed.
            let Ok((domain, key, Some(is_there))) = answered else { continue };
            if let Err(error) = self.note(&domain, &key, is_there).await {
                tracing::error!(%error, %domain, "what DNS says of a key could not be noted");
            }
        }
    }

    async fn note(
        &mut self,
        domain: &Domain,
        key: &DomainKey,
        is_there: bool,
    ) -> Result<(), StoreError> {
        let (now, overlap) = (self.clock.now(), self.settings.get().queue_lifetime + MARGIN);
        let change = |keys: &mut DomainKeys| keys.looked_up(key.id, is_there, now, overlap);
        key_ring::change(&*self.store, domain.as_str(), change).await?;
        let selector = &key.selector;
        match (key.state, is_there) {
            (KeyState::Waiting, true) => {
                tracing::info!("the key {selector} signs mail of {domain} from now on")
            }
            (KeyState::Active, false) if key.missing.is_none() => tracing::warn!(
                "DNS does not have the key {selector} any more, which signs mail of {domain}: publish it again \
                 (`posta domain keys list {domain}`), or other servers take our mail for forged"
            ),
            (KeyState::Retired, false) => {
                self.next.remove(&key.id);
            }
            _ => {}
        }
        Ok(())
    }

    /// Deletes the keys of domains that have not been local for a long time.
    async fn clean(&self, local: HashSet<&str>) -> Result<(), StoreError> {
        let (store, now) = (&*self.store, self.clock.now());
        for (domain, kept) in key_ring::read_all(store).await? {
            if local.contains(domain.as_str()) {
                continue;
            }
            match kept.keys.unused {
                Some(since) if since + KEPT_UNUSED <= now => {
                    key_ring::forget(store, &domain).await?
                }
                Some(_) => {}
                None => {
                    let change = |keys: &mut DomainKeys| keys.unused = Some(now);
                    key_ring::change(store, &domain, change).await?;
                }
            }
        }
        Ok(())
    }
}

/// Waits until the next round.
async fn wait(watcher: &mut Watcher) {
    tokio::select! {
        () = sleep(ROUND) => {}
        _ = watcher.changed() => sleep(PAUSE).await,
    }
}

/// Returns the time until a key is looked up again. An operator who has just made keys and publishes them should not
/// wait long.
fn interval(key: &DomainKey, now: Timestamp) -> Duration {
    let is_younger = |age: Duration| now < key.made + age;
    match key.state {
        KeyState::Waiting if is_younger(HOUR) => MINUTE,
        KeyState::Waiting if is_younger(DAY) => 5 * MINUTE,
        KeyState::Waiting => HOUR,
        KeyState::Active | KeyState::Retiring | KeyState::Retired => DAY,
    }
}

/// Returns whether DNS has the record of a key; `None` if DNS does not answer.
async fn is_published(resolver: &dyn Resolver, domain: &Domain, key: &DomainKey) -> Option<bool> {
    let wanted = DkimKey::parse(&key.record).ok()?;
    let name = key.record_name(domain.as_str());
    match timeout(PATIENCE, resolver.texts(&name)).await {
        Ok(Ok(answer)) => {
            let is_it =
                |text: &String| DkimKey::parse(text).is_ok_and(|found| found.is_same(&wanted));
            Some(answer.found.iter().any(is_it))
        }
        Ok(Err(LookupError::NoDomain(_))) => Some(false),
        Ok(Err(LookupError::Failed(..))) | Err(_) => None,
    }
}
