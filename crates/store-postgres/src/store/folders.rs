//! The folders.

use super::{PostgresStore, mailboxes::lock};
use crate::{
    columns,
    connection::Connection,
    fault::{DatabaseFault, damaged},
};
use posta_mail::Timestamp;
use posta_store::{
    AccountId, FOLDERS, Folder, FolderId, FolderName, Folders, ModSeq, Pending, Role, StoreError,
    Subject,
};
use std::sync::Arc;
use tokio_postgres::Row;

const HAS_ACCOUNT: &str = "SELECT FROM ledger WHERE account = $1 AND NOT removed";
const ALL: &str = "SELECT id, name, role, uid_validity, uid_next, modseq, messages, octets, unseen \
     FROM folder WHERE account = $1 ORDER BY id";
/// Returns the next of the numbers that change when UIDs would name other messages: seconds, or the number after the
/// greatest so far.
const NEXT_VALIDITY: &str = "UPDATE ledger SET uid_validity = greatest($2, uid_validity + 1) WHERE account = $1 \
     RETURNING uid_validity";
const NEXT_ID: &str =
    "UPDATE ledger SET next_folder = next_folder + 1 WHERE account = $1 RETURNING next_folder - 1";
const ADD: &str =
    "INSERT INTO folder (account, id, name, role, uid_validity) VALUES ($1, $2, $3, $4, $5)";
const RENAME: &str =
    "UPDATE folder SET name = $3, uid_validity = $4 WHERE account = $1 AND id = $2";
const REMOVE: &str = "DELETE FROM folder WHERE account = $1 AND id = $2";

impl Folders for PostgresStore {
    fn folders(&self, account: AccountId) -> Pending<'_, Vec<Folder>> {
        self.read(move |connection| async move {
            require_account(&connection, account).await?;
            all(&connection, account).await
        })
    }

    fn add_folder(
        &self,
        account: AccountId,
        name: FolderName,
        role: Option<Role>,
        now: Timestamp,
    ) -> Pending<'_, FolderId> {
        self.change(vec![Subject::Mailbox(account)], move |connection| {
            let name = name.clone();
            async move { add(&connection, account, &name, role, now).await }
        })
    }

    fn rename_folder(
        &self,
        account: AccountId,
        folder: FolderId,
        name: FolderName,
        now: Timestamp,
    ) -> Pending<'_, ()> {
        self.change(vec![Subject::Mailbox(account)], move |connection| {
            let name = name.clone();
            async move { rename(&connection, account, folder, &name, now).await }
        })
    }

    fn remove_folder(&self, account: AccountId, folder: FolderId) -> Pending<'_, ()> {
        self.change(vec![Subject::Mailbox(account)], move |connection| async move {
            remove(&connection, account, folder).await
        })
    }
}

async fn require_account(
    connection: &Arc<Connection>,
    account: AccountId,
) -> Result<(), DatabaseFault> {
    let found = connection.row(HAS_ACCOUNT, &[&(account.0 as i64)]).await?;
    Ok(found.map(drop).ok_or(StoreError::NoSuchAccount)?)
}

async fn all(
    connection: &Arc<Connection>,
    account: AccountId,
) -> Result<Vec<Folder>, DatabaseFault> {
    let rows = connection.query(ALL, &[&(account.0 as i64)]).await?;
    rows.iter().map(|row| folder(row).map_err(DatabaseFault::from)).collect()
}

/// Reads a folder from the columns id, name, role, uid_validity, uid_next, modseq, messages, octets and unseen.
pub(super) fn folder(row: &Row) -> Result<Folder, StoreError> {
    let number = |column: usize| row.get::<_, i64>(column) as u64;
    let role: Option<&str> = row.get(2);
    Ok(Folder {
        id: columns::folder(row.get(0)),
        name: row.get::<_, &str>(1).parse().map_err(|_| damaged("a folder's name"))?,
        role: role.map(|role| role.parse().map_err(|_| damaged("a role"))).transpose()?,
        uid_validity: number(3) as u32,
        uid_next: columns::uid(row.get(4)),
        mod_seq: ModSeq(number(5)),
        messages: number(6),
        octets: number(7),
        unseen: number(8),
    })
}

/// Locks the mailbox of an account that is there, and returns its folders.
async fn locked(
    connection: &Arc<Connection>,
    account: AccountId,
) -> Result<Vec<Folder>, DatabaseFault> {
    lock(connection, account).await?;
    require_account(connection, account).await?;
    all(connection, account).await
}

async fn next_validity(
    connection: &Arc<Connection>,
    account: AccountId,
    now: Timestamp,
) -> Result<i64, DatabaseFault> {
    let seconds = i64::from(u32::try_from(now.as_second()).unwrap_or_default());
    let row = connection.row(NEXT_VALIDITY, &[&(account.0 as i64), &seconds]).await?;
    Ok(row.ok_or(StoreError::NoSuchAccount)?.get(0))
}

/// Checks that a folder can get a name.
fn require_free(folders: &[Folder], name: &FolderName) -> Result<(), StoreError> {
    if folders.iter().any(|it| it.name == *name) {
        return Err(StoreError::FolderExists(name.clone()));
    }
    let is_there = |parent: &FolderName| folders.iter().any(|it| it.name == *parent);
    name.parent().is_none_or(|it| is_there(&it)).then_some(()).ok_or(StoreError::NoSuchFolder)
}

/// Returns the name of a folder, if it can be renamed and removed.
fn changeable(folders: &[Folder], folder: FolderId) -> Result<FolderName, StoreError> {
    let found = folders.iter().find(|it| it.id == folder).ok_or(StoreError::NoSuchFolder)?;
    if folder <= FolderId::JUNK {
        return Err(StoreError::FolderIsFixed(found.name.clone()));
    }
    Ok(found.name.clone())
}

async fn add(
    connection: &Arc<Connection>,
    account: AccountId,
    name: &FolderName,
    role: Option<Role>,
    now: Timestamp,
) -> Result<FolderId, DatabaseFault> {
    let folders = locked(connection, account).await?;
    require_free(&folders, name)?;
    if let Some(other) = folders.iter().find(|it| role.is_some() && it.role == role) {
        return Err(StoreError::FolderExists(other.name.clone()).into());
    }
    if folders.len() >= FOLDERS {
        return Err(StoreError::TooManyFolders.into());
    }
    let validity = next_validity(connection, account, now).await?;
    let number = account.0 as i64;
    let id = connection.row(NEXT_ID, &[&number]).await?;
    let id: i32 = id.ok_or(StoreError::NoSuchAccount)?.get(0);
    let role = role.map(Role::name);
    connection.execute(ADD, &[&number, &id, &name.as_str(), &role, &validity]).await?;
    Ok(columns::folder(id))
}

async fn rename(
    connection: &Arc<Connection>,
    account: AccountId,
    folder: FolderId,
    name: &FolderName,
    now: Timestamp,
) -> Result<(), DatabaseFault> {
    let folders = locked(connection, account).await?;
    let old = changeable(&folders, folder)?;
    if *name == old {
        return Ok(());
    }
    if name.is_below(&old) {
        return Err(StoreError::FolderNotEmpty(old).into());
    }
    require_free(&folders, name)?;
    let mut renamed = vec![(folder, name.clone())];
    for below in folders.iter().filter(|it| it.name.is_below(&old)) {
        let along = below.name.moved_along(&old, name);
        let along = along.ok_or_else(|| StoreError::FolderNotEmpty(old.clone()))?;
        renamed.push((below.id, along));
    }
    for (id, name) in renamed {
        let validity = next_validity(connection, account, now).await?;
        let (account, id) = (account.0 as i64, id.0 as i32);
        connection.execute(RENAME, &[&account, &id, &name.as_str(), &validity]).await?;
    }
    Ok(())
}

async fn remove(
    connection: &Arc<Connection>,
    account: AccountId,
    folder: FolderId,
) -> Result<(), DatabaseFault> {
    let folders = locked(connection, account).await?;
    let name = changeable(&folders, folder)?;
    let is_used = |it: &Folder| it.id == folder && it.messages > 0 || it.name.is_below(&name);
    if folders.iter().any(is_used) {
        return Err(StoreError::FolderNotEmpty(name).into());
    }
    connection.execute(REMOVE, &[&(account.0 as i64), &(folder.0 as i32)]).await.map(drop)
}
