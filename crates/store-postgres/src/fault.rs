//! Errors of the database, in this store's words.

use posta_store::StoreError;
use std::time::Duration;
use tokio_postgres::error::SqlState;

/// Why a piece of work did not end as it should.
#[derive(Debug)]
pub(crate) enum DatabaseFault {
    /// The store's own answer, which is final.
    Store(StoreError),
    /// The database refused something, or was lost.
    Sql(tokio_postgres::Error),
    /// No connection could be had, for this reason.
    Away(String),
    /// The database answered nothing for this time, and the connection was given up.
    Silent(Duration),
    /// The database answered nothing, and another takes changes in its place.
    Deposed,
    /// A transaction took place, but whether it is safe is not known.
    Unsafe,
}

impl From<StoreError> for DatabaseFault {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<tokio_postgres::Error> for DatabaseFault {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Sql(error)
    }
}

impl DatabaseFault {
    /// Returns whether the same work may succeed if it is done again: another transaction was in its way, or the
    /// connection was lost, so that what it did is undone or unknown.
    pub(crate) fn is_passing(&self) -> bool {
        match self {
            Self::Sql(error) => error.code().map_or_else(
                || is_lost(error),
                |code| {
                    *code == SqlState::T_R_SERIALIZATION_FAILURE
                        || *code == SqlState::T_R_DEADLOCK_DETECTED
                        || is_of_a_dying_server(code)
                },
            ),
            Self::Unsafe | Self::Deposed => true,
            // Who has waited for so long already is not to wait again.
            Self::Store(_) | Self::Away(_) | Self::Silent(_) => false,
        }
    }

    /// Returns whether the connection is of no more use: it is lost, or leads to a server that takes no changes.
    pub(crate) fn ends_connection(&self) -> bool {
        match self {
            Self::Sql(error) => error.code().map_or_else(|| is_lost(error), is_of_a_dying_server),
            Self::Silent(_) | Self::Deposed | Self::Unsafe => true,
            Self::Store(_) | Self::Away(_) => false,
        }
    }

    /// Returns whether the key of a transaction is there already, so that an earlier attempt took place.
    pub(crate) fn is_done_already(&self) -> bool {
        let Self::Sql(error) = self else { return false };
        let is_of_keys =
            error.as_db_error().is_some_and(|answer| answer.table() == Some("outcome"));
        is_of_keys && error.code() == Some(&SqlState::UNIQUE_VIOLATION)
    }

    /// Returns whether another transaction holds what this one waited for.
    pub(crate) fn is_locked(&self) -> bool {
        matches!(self, Self::Sql(error) if error.code() == Some(&SqlState::LOCK_NOT_AVAILABLE))
    }

    /// Returns whether nothing can be told from this about an earlier attempt whose outcome is unknown: the database was
    /// not reached, or was waited for in vain.
    pub(crate) fn leaves_open(&self) -> bool {
        match self {
            Self::Store(_) => false,
            Self::Away(_) | Self::Silent(_) | Self::Deposed | Self::Unsafe => true,
            Self::Sql(error) => {
                self.is_passing()
                    || self.is_locked()
                    || error.code() == Some(&SqlState::QUERY_CANCELED)
            }
        }
    }
}

/// Returns whether an error that is none of the server's ended the connection.
fn is_lost(error: &tokio_postgres::Error) -> bool {
    let cause = std::error::Error::source(error);
    error.is_closed() || cause.is_some_and(|cause| cause.is::<std::io::Error>())
}

/// Returns whether a server that shuts down, or has become a standby, answers with this code.
fn is_of_a_dying_server(code: &SqlState) -> bool {
    [
        SqlState::ADMIN_SHUTDOWN,
        SqlState::CRASH_SHUTDOWN,
        SqlState::CANNOT_CONNECT_NOW,
        SqlState::READ_ONLY_SQL_TRANSACTION,
        SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT,
    ]
    .contains(code)
}

impl From<DatabaseFault> for StoreError {
    fn from(fault: DatabaseFault) -> Self {
        match fault {
            DatabaseFault::Store(error) => error,
            DatabaseFault::Away(reason) => Self::Failed(reason),
            DatabaseFault::Silent(time) => {
                Self::Failed(format!("the database did not answer within {} s", time.as_secs()))
            }
            DatabaseFault::Deposed => Self::Failed(
                "the database did not answer, and another has taken its place".to_owned(),
            ),
            DatabaseFault::Unsafe => Self::Failed(
                "the database warned at a commit: whether the standby has it is not known"
                    .to_owned(),
            ),
            DatabaseFault::Sql(error) => sql(&error),
        }
    }
}

fn sql(error: &tokio_postgres::Error) -> StoreError {
    let Some(answer) = error.as_db_error() else {
        let cause = std::error::Error::source(error).map(|cause| format!(": {cause}"));
        return StoreError::Failed(format!(
            "the connection to the database failed: {error}{}",
            cause.unwrap_or_default()
        ));
    };
    if *answer.code() == SqlState::DISK_FULL {
        return StoreError::Full;
    }
    StoreError::Failed(format!(
        "the database refused: {} (SQLSTATE {})",
        answer.message(),
        answer.code().code()
    ))
}

/// Returns the error for a value in the database that this program cannot read.
pub(crate) fn damaged(what: &str) -> StoreError {
    StoreError::Damaged(format!("{what} in the database cannot be read"))
}
