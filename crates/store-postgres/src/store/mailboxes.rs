//! The mailboxes.

mod changes;
mod flags;
mod moving;
mod removal;

pub(super) use moving::undelete;
pub(super) use removal::remove_all;

use super::{PostgresStore, contents};
use crate::{
    accept::Waiting,
    columns::{self, entry_columns, uids},
    connection::Connection,
    database::Durability,
    fault::DatabaseFault,
};
use posta_mail::Timestamp;
use posta_store::{
    Acceptance, AccountId, Changes, Entry, FlagChange, FlagsChanged, FolderId, Mailboxes, Maildrop,
    ModSeq, Pending, StoreError, Subject, Uid, Usage,
};
use std::{future::ready, sync::Arc};
use tokio::sync::{mpsc::error::TrySendError, oneshot};

/// An entry by any of the names that the message had.
const FIND: &str = concat!(
    "WITH RECURSIVE name (folder, uid, depth) AS ( \
         SELECT $2::integer, $3::bigint, 0 \
         UNION ALL \
         SELECT m.to_folder, m.to_uid, name.depth + 1 FROM name \
         JOIN moved m ON m.account = $1 AND m.folder = name.folder AND m.uid = name.uid WHERE name.depth < 100 \
     ) SELECT ",
    entry_columns!(),
    " FROM name JOIN entry e ON e.account = $1 AND e.folder = name.folder AND e.uid = name.uid LIMIT 1"
);
const PAGE: &str = concat!(
    "SELECT ",
    entry_columns!(),
    " FROM entry e WHERE e.account = $1 AND e.folder = $2 AND e.uid >= $3 AND e.removed IS NULL ORDER BY e.uid LIMIT $4"
);
/// The present names of messages that are still in a folder, given their names there. A message that was removed and
/// restored has another name now.
pub(super) const STANDING: &str = "WITH RECURSIVE name (uid, depth) AS ( \
         SELECT n.uid, 0 FROM unnest($3::bigint[]) AS n (uid) \
         UNION \
         SELECT m.to_uid, name.depth + 1 FROM name \
         JOIN moved m ON m.account = $1 AND m.folder = $2 AND m.uid = name.uid AND m.to_folder = $2 \
         WHERE name.depth < 100 \
     ) SELECT DISTINCT e.uid FROM name JOIN entry e ON e.account = $1 AND e.folder = $2 AND e.uid = name.uid \
     WHERE e.removed IS NULL ORDER BY e.uid";
const RETRIEVED: &str = "UPDATE entry SET flags = flags | 1, retrieved = $4 \
     WHERE account = $1 AND folder = $2 AND uid = ANY ($3) AND removed IS NULL AND flags & 1 = 0";
const USAGE: &str = "SELECT coalesce(sum(messages), 0)::bigint, coalesce(sum(octets), 0)::bigint \
     FROM folder WHERE account = $1";
const LOCK: &str = "SELECT modseq FROM ledger WHERE account = $1 FOR NO KEY UPDATE";
const UNLOCK: &str = "UPDATE ledger SET modseq = greatest(modseq, $2) WHERE account = $1";

/// Locks the mailbox of an account until the end of the transaction. Returns the mod-sequence of its last change; none if
/// there is no such mailbox.
pub(super) async fn lock(
    connection: &Arc<Connection>,
    account: AccountId,
) -> Result<Option<i64>, DatabaseFault> {
    Ok(connection.row(LOCK, &[&(account.0 as i64)]).await?.map(|row| row.get(0)))
}

/// Notes the mod-sequence of the last change.
async fn unlock(
    connection: &Arc<Connection>,
    account: AccountId,
    mod_seq: i64,
) -> Result<(), DatabaseFault> {
    connection.execute(UNLOCK, &[&(account.0 as i64), &mod_seq]).await.map(drop)
}

async fn standing(
    connection: &Arc<Connection>,
    account: AccountId,
    folder: FolderId,
    uids: &[i64],
) -> Result<Vec<i64>, DatabaseFault> {
    let (account, folder) = (account.0 as i64, folder.0 as i32);
    let rows = connection.query(STANDING, &[&account, &folder, &uids]).await?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

fn stopped() -> StoreError {
    StoreError::Failed("the program is stopping".to_owned())
}

impl Mailboxes for PostgresStore {
    fn accept(&self, acceptance: Acceptance) -> Pending<'_, ()> {
        if let Err(error) = acceptance.check_names() {
            return Box::pin(ready(Err(error)));
        }
        let requests = self.requests.clone();
        let (done, outcome) = oneshot::channel();
        // Its place in the mailbox is its place in line, which it takes once all of it is in the object store.
        if self.node.objects.is_some() && contents::has_large_last(&acceptance) {
            return self.run(|node| async move {
                let last = contents::put_last(&node, &acceptance).await?;
                let waiting = Waiting { acceptance, last, done, since: None };
                requests.send(waiting).await.map_err(|_| stopped())?;
                outcome.await.unwrap_or_else(|_| Err(stopped()))
            });
        }
        // In the order of the calls, as long as there is room.
        let waiting = Waiting { acceptance, last: None, done, since: None };
        let full = match requests.try_send(waiting) {
            Ok(()) => None,
            Err(TrySendError::Full(waiting)) => Some(waiting),
            Err(TrySendError::Closed(_)) => return Box::pin(ready(Err(stopped()))),
        };
        self.run(move |_| async move {
            if let Some(waiting) = full {
                requests.send(waiting).await.map_err(|_| stopped())?;
            }
            outcome.await.unwrap_or_else(|_| Err(stopped()))
        })
    }

    fn listed(&self, account: AccountId, folder: FolderId) -> Pending<'_, Arc<Maildrop>> {
        self.run(move |node| async move {
            let open = |connection: Arc<Connection>| {
                let node = node.clone();
                async move { node.listings.open(&connection, (account, folder)).await }
            };
            node.database.read(open).await
        })
    }

    fn entry(&self, account: AccountId, folder: FolderId, uid: Uid) -> Pending<'_, Option<Entry>> {
        let (account, folder, uid) = (account.0 as i64, folder.0 as i32, i64::from(uid.0));
        self.read(move |connection| async move {
            let row = connection.row(FIND, &[&account, &folder, &uid]).await?;
            Ok(row.map(|row| columns::entry(&row, 0)).transpose()?)
        })
    }

    fn entries(
        &self,
        account: AccountId,
        folder: FolderId,
        from: Uid,
        limit: usize,
    ) -> Pending<'_, Vec<Entry>> {
        let (account, folder, from) = (account.0 as i64, folder.0 as i32, i64::from(from.0));
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        self.read(move |connection| async move {
            let rows = connection.query(PAGE, &[&account, &folder, &from, &limit]).await?;
            rows.iter().map(|row| columns::entry(row, 0).map_err(DatabaseFault::from)).collect()
        })
    }

    fn remove_from(
        &self,
        account: AccountId,
        names: Vec<(FolderId, Vec<Uid>)>,
        now: Timestamp,
        purge: Timestamp,
    ) -> Pending<'_, usize> {
        let names: Arc<[_]> =
            names.into_iter().map(|(folder, named)| (folder, uids(&named))).collect();
        self.of_mailbox(account, move |connection, node| {
            let names = names.clone();
            async move { removal::remove(&connection, &node, account, &names, now, purge).await }
        })
    }

    fn move_entries(
        &self,
        account: AccountId,
        from: FolderId,
        to: FolderId,
        named: Vec<Uid>,
        now: Timestamp,
        purge: Timestamp,
    ) -> Pending<'_, Vec<(Uid, Uid)>> {
        let named: Arc<[i64]> = uids(&named).into();
        self.of_mailbox(account, move |connection, node| {
            let named = named.clone();
            async move {
                let times = (now, purge);
                moving::move_to(&connection, &node, account, (from, to), &named, times).await
            }
        })
    }

    fn set_flags(
        &self,
        account: AccountId,
        folder: FolderId,
        named: Vec<Uid>,
        change: FlagChange,
        unchanged_since: Option<ModSeq>,
        now: Timestamp,
    ) -> Pending<'_, FlagsChanged> {
        let asked = Arc::new(flags::FlagRequest {
            folder,
            uids: uids(&named),
            change,
            unchanged_since,
            now,
        });
        self.of_mailbox(account, move |connection, node| {
            let asked = asked.clone();
            async move { flags::set(&connection, &node, account, &asked).await }
        })
    }

    fn changes_since(
        &self,
        account: AccountId,
        since: ModSeq,
        limit: usize,
    ) -> Pending<'_, Option<Changes>> {
        self.read(move |connection| async move {
            changes::since(&connection, account, since, limit).await
        })
    }

    fn retrieved(&self, account: AccountId, named: Vec<Uid>, now: Timestamp) -> Pending<'_, ()> {
        let named: Arc<[i64]> = uids(&named).into();
        self.run(move |node| async move {
            let retrieved = |connection: Arc<Connection>| {
                let named = named.clone();
                async move {
                    let folder = FolderId::INBOX;
                    let standing = standing(&connection, account, folder, &named).await?;
                    let (account, folder, now) =
                        (account.0 as i64, folder.0 as i32, columns::nanos(now));
                    connection
                        .execute(RETRIEVED, &[&account, &folder, &standing, &now])
                        .await
                        .map(drop)
                }
            };
            node.database.change(Durability::Soon, retrieved).await
        })
    }

    fn expire(&self, before: Timestamp, now: Timestamp, purge: Timestamp) -> Pending<'_, usize> {
        self.run(move |node| async move {
            let expire = |connection: Arc<Connection>| {
                let node = node.clone();
                async move { removal::expire(&connection, &node, before, now, purge).await }
            };
            let accounts = node.database.change(Durability::Synced, expire).await?;
            for account in accounts.keys() {
                node.tell(&[Subject::Mailbox(*account)]);
            }
            Ok(accounts.values().sum())
        })
    }

    fn undelete(&self, account: AccountId, since: Timestamp) -> Pending<'_, usize> {
        self.of_mailbox(account, move |connection, node| async move {
            undelete(&connection, &node, account, since).await
        })
    }

    fn usage(&self, account: AccountId) -> Pending<'_, Usage> {
        let account = account.0 as i64;
        self.read(move |connection| async move {
            let row = connection.row(USAGE, &[&account]).await?;
            let usage = row.map(|row| (row.get::<_, i64>(0) as u64, row.get::<_, i64>(1) as u64));
            let (messages, octets) = usage.unwrap_or_default();
            Ok(Usage { messages, octets })
        })
    }
}

impl PostgresStore {
    /// Carries out a change of one mailbox.
    fn of_mailbox<T, F>(
        &self,
        account: AccountId,
        work: impl Fn(Arc<Connection>, Arc<crate::node::Node>) -> F + Send + Sync + 'static,
    ) -> Pending<'_, T>
    where
        T: Send + 'static,
        F: std::future::Future<Output = Result<T, DatabaseFault>> + Send + 'static,
    {
        let node = self.node.clone();
        self.change(vec![Subject::Mailbox(account)], move |connection| {
            work(connection, node.clone())
        })
    }
}
