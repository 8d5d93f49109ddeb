//! The connections of this node, lent to one piece of work at a time.
//!
//! While the database is away, work fails at once rather than after a time-out each, so that clients get their temporary
//! refusal without waiting.

use crate::{connection::Connection, fault::DatabaseFault, schema::timeline, settings::Settings};
use parking_lot::Mutex;
use std::{
    ops::Deref,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, timeout},
};

/// The time for which work waits for a connection that others use.
const WAIT: Duration = Duration::from_secs(20);

/// The time after a failed attempt to connect during which no other is made.
const AFTER_FAILURE: Duration = Duration::from_millis(300);

/// The connections.
#[derive(Debug)]
pub(crate) struct Pool {
    settings: Settings,
    places: Arc<Semaphore>,
    idle: Mutex<Vec<Arc<Connection>>>,
    /// The last failed attempt to connect, and why it failed.
    failure: Mutex<Option<(Instant, String)>>,
    /// How often connections were given up.
    forgotten: AtomicU64,
    /// Whether there are tables that remember the timeline.
    has_tables: AtomicBool,
}

impl Pool {
    pub(crate) fn new(settings: Settings) -> Self {
        let places = Arc::new(Semaphore::new(settings.connections.max(2)));
        let (idle, failure, forgotten, has_tables) = Default::default();
        Self { settings, places, idle, failure, forgotten, has_tables }
    }

    /// Makes each new connection look at the timeline from now on, since the tables are there.
    pub(crate) fn follow_timeline(&self) {
        self.has_tables.store(true, Ordering::Relaxed);
    }

    pub(crate) const fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Lends a connection.
    pub(crate) async fn lend(self: &Arc<Self>) -> Result<Lent, DatabaseFault> {
        let place = timeout(WAIT, self.places.clone().acquire_owned()).await;
        let Ok(Ok(place)) = place else {
            let all =
                format!("all connections to the database have been busy for {} s", WAIT.as_secs());
            return Err(DatabaseFault::Away(all));
        };
        let connection = match self.take_idle() {
            Some(connection) => connection,
            None => self.connect().await?,
        };
        Ok(Lent { connection, pool: Arc::downgrade(self), is_clean: false, _place: place })
    }

    fn take_idle(&self) -> Option<Arc<Connection>> {
        let mut idle = self.idle.lock();
        std::iter::from_fn(|| idle.pop()).find(|connection| !connection.is_closed())
    }

    async fn connect(&self) -> Result<Arc<Connection>, DatabaseFault> {
        if let Some((time, reason)) = &*self.failure.lock()
            && time.elapsed() < AFTER_FAILURE
        {
            return Err(DatabaseFault::Away(reason.clone()));
        }
        let opened = Connection::open(&self.settings, |_| ()).await;
        let failure = match &opened {
            Ok(_) => None,
            Err(DatabaseFault::Away(reason)) => Some((Instant::now(), reason.clone())),
            Err(_) => Some((
                Instant::now(),
                "the database cannot be reached: it is starting or stopping".to_owned(),
            )),
        };
        *self.failure.lock() = failure;
        let opened = opened?;
        if self.has_tables.load(Ordering::Relaxed) {
            timeline::follow(&opened).await?;
        }
        Ok(opened)
    }

    /// Gives up the connections that nobody uses, since they lead to a server that is gone.
    pub(crate) fn forget(&self) {
        self.idle.lock().clear();
        self.forgotten.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns how often connections were given up: after that, the database may be another.
    pub(crate) fn forgotten(&self) -> u64 {
        self.forgotten.load(Ordering::Relaxed)
    }
}

/// A connection in use. It goes back to the pool only if the work said that no transaction is open any more.
#[derive(Debug)]
pub(crate) struct Lent {
    connection: Arc<Connection>,
    pool: Weak<Pool>,
    is_clean: bool,
    _place: OwnedSemaphorePermit,
}

impl Lent {
    pub(crate) fn connection(&self) -> Arc<Connection> {
        self.connection.clone()
    }

    /// Returns the connection to the pool.
    pub(crate) fn give_back(mut self) {
        self.is_clean = true;
    }
}

impl Deref for Lent {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        &self.connection
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if self.is_clean
            && !self.connection.is_closed()
            && let Some(pool) = self.pool.upgrade()
        {
            pool.idle.lock().push(self.connection.clone());
        }
    }
}
