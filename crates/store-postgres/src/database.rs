//! Work on the database: reads, and transactions whose outcome is always known in the end.
//!
//! The answer to COMMIT can be lost: the connection breaks, and nobody knows whether the transaction took place. Each
//! transaction therefore writes a key of its own ([`Database::change`]). After such a loss, the same work is done again
//! with the same key; if the key is there already, the first attempt took place, and its result is returned. If the first
//! attempt is still in progress on the server, writing the key waits for its end.
//!
//! That an attempt took place does not mean that it is safe: with a synchronous standby, a commit whose wait was cut short
//! is visible before the standby has it. What is found again is therefore taken for done only after another commit
//! ([`Database::confirm`]), which waits for the standby as well, and for all that was written before.
//!
//! Work that meets a deadlock, or a server that shuts down, is done again as well. So the work of a transaction is a
//! function that can be called several times; it returns at the first error of a statement, and never goes on after one.

mod pool;

pub(crate) use pool::Pool;

use crate::{connection::Connection, fault::DatabaseFault};
use aws_lc_rs::rand;
use pool::Lent;
use posta_store::StoreError;
use std::{future::Future, pin::Pin, sync::Arc, time::Duration};
use tokio::time::{Instant, sleep};

/// The number of times that work is done again because others were in its way.
const ATTEMPTS: u32 = 10;

/// The time during which an unknown outcome is looked for. A client waits for its reply meanwhile: RFC 5321 §4.5.3.2.6
/// has it wait for 10 minutes.
const UNKNOWN: Duration = Duration::from_secs(60);

/// The time for which a new attempt waits for a database that restarts, while nothing is unknown.
const RESTART: Duration = Duration::from_secs(3);

const KEY: &str = "INSERT INTO outcome (key) VALUES ($1)";

/// Work under way on a connection. It is boxed, so that what surrounds it is compiled once for each type of result, and
/// not for each piece of work: a second of compiling for each is worth more than an allocation beside a round trip.
type Work<'a, T> = Pin<Box<dyn Future<Output = Result<T, DatabaseFault>> + Send + 'a>>;

/// What can be done several times.
type Repeatable<'a, T> = &'a (dyn Fn(Arc<Connection>) -> Work<'a, T> + Send + Sync);

/// The promptness with which a transaction becomes durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Durability {
    /// Before it is done.
    Synced,
    /// A moment later: a crash may undo it.
    Soon,
}

/// The database.
#[derive(Debug, Clone)]
pub(crate) struct Database {
    pool: Arc<Pool>,
}

impl Database {
    pub(crate) const fn new(pool: Arc<Pool>) -> Self {
        Self { pool }
    }

    pub(crate) const fn pool(&self) -> &Arc<Pool> {
        &self.pool
    }

    /// Does work that may be done twice: a read, or one statement that changes nothing the second time.
    pub(crate) async fn read<T, F>(
        &self,
        work: impl Fn(Arc<Connection>) -> F + Send + Sync,
    ) -> Result<T, StoreError>
    where
        T: Send,
        F: Future<Output = Result<T, DatabaseFault>> + Send,
    {
        self.read_repeatedly(&|connection| Box::pin(work(connection))).await
    }

    async fn read_repeatedly<T>(&self, work: Repeatable<'_, T>) -> Result<T, StoreError> {
        let mut patience = Patience::new();
        loop {
            let worked = match self.pool.lend().await {
                Ok(lent) => {
                    let worked = work(lent.connection()).await;
                    self.after(lent, worked.as_ref().err());
                    worked
                }
                Err(fault) => Err(fault),
            };
            match worked {
                Ok(value) => return Ok(value),
                Err(fault) => patience.bear(fault, None).await?,
            }
        }
    }

    /// Carries out a transaction.
    pub(crate) async fn change<T, F>(
        &self,
        durability: Durability,
        work: impl Fn(Arc<Connection>) -> F + Send + Sync,
    ) -> Result<T, StoreError>
    where
        T: Send,
        F: Future<Output = Result<T, DatabaseFault>> + Send,
    {
        self.change_repeatedly(durability, &|connection| Box::pin(work(connection))).await
    }

    async fn change_repeatedly<T>(
        &self,
        durability: Durability,
        work: Repeatable<'_, T>,
    ) -> Result<T, StoreError> {
        let key = key()?;
        let mut patience = Patience::new();
        // What an attempt returned whose outcome is unknown, and until when that is looked for.
        let mut unknown: Option<(T, Instant)> = None;
        loop {
            let fault = match self.attempt(durability, &key, work).await {
                Attempt::Done(value) => return Ok(value),
                Attempt::Unknown(value, fault) => {
                    let until =
                        unknown.map_or_else(|| Instant::now() + UNKNOWN, |(_, until)| until);
                    unknown = Some((value, until));
                    fault
                }
                Attempt::Failed(fault) if unknown.is_some() && fault.is_done_already() => {
                    match (self.confirm().await, unknown.take()) {
                        (Attempt::Done(()), Some((value, _))) => return Ok(value),
                        (Attempt::Unknown((), fault) | Attempt::Failed(fault), before) => {
                            unknown = before;
                            fault
                        }
                        (Attempt::Done(()), None) => fault,
                    }
                }
                Attempt::Failed(fault) => fault,
            };
            patience.bear(fault, unknown.as_ref().map(|(_, until)| *until)).await?;
        }
    }

    /// Makes sure that what is visible in the database is safe as well.
    pub(crate) async fn confirm(&self) -> Attempt<()> {
        match key() {
            Ok(key) => {
                let nothing: Repeatable<'_, ()> = &|_| Box::pin(async { Ok(()) });
                self.attempt(Durability::Synced, &key, nothing).await
            }
            Err(error) => Attempt::Failed(error.into()),
        }
    }

    async fn attempt<T>(
        &self,
        durability: Durability,
        key: &[u8],
        work: Repeatable<'_, T>,
    ) -> Attempt<T> {
        let lent = match self.pool.lend().await {
            Ok(lent) => lent,
            Err(fault) => return Attempt::Failed(fault),
        };
        let begin = match durability {
            Durability::Synced => "BEGIN",
            Durability::Soon => "BEGIN; SET LOCAL synchronous_commit TO off",
        };
        let worked = async {
            lent.run(begin).await?;
            // What need not be durable need not be found again either.
            if durability == Durability::Synced {
                lent.execute(KEY, &[&key]).await?;
            }
            work(lent.connection()).await
        };
        match worked.await {
            Ok(value) => match commit(&lent, durability).await {
                Ok(()) => {
                    lent.give_back();
                    Attempt::Done(value)
                }
                Err(fault) if fault.ends_connection() => {
                    self.pool.forget();
                    Attempt::Unknown(value, fault)
                }
                Err(fault) => Attempt::Failed(fault),
            },
            Err(fault) => {
                if fault.ends_connection() {
                    self.pool.forget();
                } else if lent.run("ROLLBACK").await.is_ok() {
                    lent.give_back();
                }
                Attempt::Failed(fault)
            }
        }
    }

    fn after(&self, lent: Lent, fault: Option<&DatabaseFault>) {
        if fault.is_some_and(DatabaseFault::ends_connection) {
            self.pool.forget();
        } else {
            lent.give_back();
        }
    }
}

/// Commits. A warning means that the wait for the standby was cut short.
async fn commit(lent: &Lent, durability: Durability) -> Result<(), DatabaseFault> {
    lent.take_warning();
    lent.run("COMMIT").await?;
    match lent.take_warning() && durability == Durability::Synced {
        true => Err(DatabaseFault::Unsafe),
        false => Ok(()),
    }
}

/// The end of one attempt at a transaction.
pub(crate) enum Attempt<T> {
    Done(T),
    /// The transaction may have taken place, with this result.
    Unknown(T, DatabaseFault),
    Failed(DatabaseFault),
}

/// Decides whether work is done again, and waits before.
pub(crate) struct Patience {
    attempts: u32,
    pause: Duration,
    began: Instant,
}

impl Patience {
    pub(crate) fn new() -> Self {
        Self { attempts: 0, pause: Duration::from_millis(5), began: Instant::now() }
    }

    /// Waits before another attempt after a fault, or returns the fault as the final error. Work with an unknown outcome
    /// is done again until a time, as long as the outcome stays unknown.
    pub(crate) async fn bear(
        &mut self,
        fault: DatabaseFault,
        unknown_until: Option<Instant>,
    ) -> Result<(), StoreError> {
        self.attempts += 1;
        let goes_on = match unknown_until {
            Some(until) => fault.leaves_open() && Instant::now() < until,
            None if fault.is_passing() => self.attempts < ATTEMPTS,
            // After a lost connection, a restart or a failover may take a moment.
            None => {
                matches!(fault, DatabaseFault::Away(_))
                    && self.attempts > 1
                    && self.began.elapsed() < RESTART
            }
        };
        if !goes_on {
            return Err(fault.into());
        }
        sleep(self.pause).await;
        self.pause = (self.pause * 2).min(Duration::from_millis(500));
        Ok(())
    }
}

/// Returns a key that no other transaction has.
pub(crate) fn key() -> Result<[u8; 16], StoreError> {
    let mut key = [0; 16];
    rand::fill(&mut key)
        .map_err(|_| StoreError::Failed("the system has no randomness".to_owned()))?;
    Ok(key)
}
