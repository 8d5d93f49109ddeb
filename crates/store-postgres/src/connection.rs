//! A connection to the database, and the statements that it has prepared.
//!
//! No answer is waited for without end: a server that stands still, or a commit that waits for a standby that is gone,
//! answers nothing, and does not end the connection either. After [`ANSWER`] the connection is given up, or as soon as
//! another host takes changes instead, and what was asked counts as lost.

mod hosts;
mod scout;
mod tls;

use crate::{
    fault::DatabaseFault,
    settings::{STATEMENT, Settings},
};
use futures_util::future;
use parking_lot::Mutex;
use scout::SLOW;
use std::{
    collections::HashMap,
    future::Future,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::{
    task::AbortHandle,
    time::{Instant, timeout, timeout_at},
};
use tokio_postgres::{AsyncMessage, Client, Row, Statement, types::ToSql};

/// The time that a connection may take to be made.
const CONNECT: Duration = Duration::from_secs(5);

/// The time for which an answer is waited for: the database ends statements earlier by itself.
const ANSWER: Duration = STATEMENT.saturating_add(Duration::from_secs(3));

/// Values that a statement takes.
pub(crate) type Params<'a> = &'a [&'a (dyn ToSql + Sync)];

/// A connection, which runs one transaction at a time.
#[derive(Debug)]
pub(crate) struct Connection {
    client: Client,
    /// The place of the host in the URL, and where all of them are, if there are several.
    host: usize,
    others: Option<Settings>,
    driver: AbortHandle,
    /// Whether the database has warned of something since this was last asked.
    is_warned: Arc<AtomicBool>,
    /// The prepared statements, by the places of their texts, which are constants.
    statements: Mutex<HashMap<(usize, usize), Statement>>,
}

impl Connection {
    /// Connects, and hands notifications to `hear`.
    pub(crate) async fn open(
        settings: &Settings,
        hear: impl Fn(&str) + Send + 'static,
    ) -> Result<Arc<Self>, DatabaseFault> {
        let opened = timeout(CONNECT, async {
            let (host, (client, driver)) = hosts::connect(settings).await?;
            let is_warned = Arc::<AtomicBool>::default();
            let driver = tokio::spawn(drive(driver, hear, is_warned.clone())).abort_handle();
            client.batch_execute(&settings.session()).await?;
            let others = (settings.hosts().len() > 1).then(|| settings.clone());
            let statements = Mutex::default();
            Ok(Arc::new(Self { client, host, others, driver, is_warned, statements }))
        });
        opened.await.unwrap_or_else(|_| {
            Err(DatabaseFault::Away(format!(
                "the database did not answer within {} s: see whether PostgreSQL runs and [store] url is right",
                CONNECT.as_secs()
            )))
        })
    }

    /// Returns whether the connection is lost.
    pub(crate) fn is_closed(&self) -> bool {
        self.client.is_closed()
    }

    /// Waits for an answer, or gives the connection up.
    async fn answer<T>(
        &self,
        answer: impl Future<Output = Result<T, tokio_postgres::Error>> + Send,
    ) -> Result<T, DatabaseFault> {
        let (until, mut answer) = (Instant::now() + ANSWER, pin!(answer));
        if let Ok(answered) = timeout(SLOW, &mut answer).await {
            return Ok(answered?);
        }
        let fault = tokio::select! {
            answered = timeout_at(until, answer) => match answered {
                Ok(answered) => return Ok(answered?),
                Err(_) => DatabaseFault::Silent(ANSWER),
            },
            () = self.deposed() => DatabaseFault::Deposed,
        };
        self.driver.abort();
        Err(fault)
    }

    /// Waits until another host takes changes in place of this one.
    async fn deposed(&self) {
        match &self.others {
            Some(settings) => scout::another_than(self.host, settings).await,
            None => future::pending().await,
        }
    }

    /// Runs statements without values.
    pub(crate) async fn run(&self, sql: &str) -> Result<(), DatabaseFault> {
        self.answer(self.client.batch_execute(sql)).await
    }

    /// Runs statements without values that may take any time.
    pub(crate) async fn run_long(&self, sql: &str) -> Result<(), DatabaseFault> {
        Ok(self.client.batch_execute(sql).await?)
    }

    /// Returns whether the database has warned of something since this was last asked. At a commit, that is all that is heard
    /// if somebody ended the wait for the standby (`pg_cancel_backend`): the transaction took place, but it is not safe yet.
    pub(crate) fn take_warning(&self) -> bool {
        self.is_warned.swap(false, Ordering::SeqCst)
    }

    async fn prepared(&self, sql: &'static str) -> Result<Statement, DatabaseFault> {
        let key = (sql.as_ptr() as usize, sql.len());
        if let Some(statement) = self.statements.lock().get(&key) {
            return Ok(statement.clone());
        }
        let statement = self.answer(self.client.prepare(sql)).await?;
        self.statements.lock().insert(key, statement.clone());
        Ok(statement)
    }

    /// Runs a statement, and returns the rows.
    pub(crate) async fn query(
        &self,
        sql: &'static str,
        params: Params<'_>,
    ) -> Result<Vec<Row>, DatabaseFault> {
        let statement = self.prepared(sql).await?;
        self.answer(self.client.query(&statement, params)).await
    }

    /// Runs a statement that has one row at most.
    pub(crate) async fn row(
        &self,
        sql: &'static str,
        params: Params<'_>,
    ) -> Result<Option<Row>, DatabaseFault> {
        Ok(self.query(sql, params).await?.into_iter().next())
    }

    /// Runs a statement, and hands each row to `take` as it arrives.
    pub(crate) async fn each(
        &self,
        sql: &'static str,
        params: Params<'_>,
        mut take: impl FnMut(&Row) -> Result<(), DatabaseFault> + Send,
    ) -> Result<(), DatabaseFault> {
        use futures_util::TryStreamExt as _;
        let statement = self.prepared(sql).await?;
        let rows = self.answer(self.client.query_raw(&statement, params.iter().copied())).await?;
        let mut rows = pin!(rows);
        while let Some(row) = self.answer(rows.try_next()).await? {
            take(&row)?;
        }
        Ok(())
    }

    /// Runs a statement, and returns the number of rows that it changed.
    pub(crate) async fn execute(
        &self,
        sql: &'static str,
        params: Params<'_>,
    ) -> Result<u64, DatabaseFault> {
        let statement = self.prepared(sql).await?;
        self.answer(self.client.execute(&statement, params)).await
    }
}

/// Moves octets until the client is dropped or the connection is lost.
async fn drive(mut driver: hosts::HostDriver, hear: impl Fn(&str), is_warned: Arc<AtomicBool>) {
    while let Some(message) = future::poll_fn(|context| driver.poll_message(context)).await {
        match message {
            Ok(AsyncMessage::Notification(notification)) => hear(notification.payload()),
            Ok(AsyncMessage::Notice(notice)) => {
                tracing::warn!("the database warns: {}", notice.message());
                is_warned.store(true, Ordering::SeqCst);
            }
            Ok(_) => {}
            Err(error) => {
                tracing::debug!("a connection to the database ended: {error}");
                return;
            }
        }
    }
}
