//! Accounts.

use super::{aliases, domains};
use crate::{
    columns,
    connection::Connection,
    fault::{DatabaseFault, damaged},
    seals::Seals,
};
use posta_mail::Address;
use posta_store::{
    Account, AccountId, Alias, Credentials, FolderName, SecretOf, StoreError, keeps_copy,
};
use std::sync::Arc;
use tokio_postgres::Row;

/// The columns of [`account`], in its order; the table is `a`.
macro_rules! account_columns {
    () => {
        "a.id, a.address, a.password_hash, a.scram, a.quota, a.send_as, a.forwards, a.disabled, a.marks_junk, \
         a.send_only"
    };
}

/// The number of these columns.
pub(crate) const COLUMNS: usize = 10;

const FIND: &str = concat!(
    "SELECT ",
    account_columns!(),
    " FROM account a WHERE a.address = $1 AND a.removed IS NULL"
);
const BY_ID: &str =
    concat!("SELECT ", account_columns!(), " FROM account a WHERE a.id = $1 AND a.removed IS NULL");
const NAMED: &str = concat!(
    "SELECT ",
    account_columns!(),
    " FROM account a WHERE a.local_part = $1 AND a.removed IS NULL ORDER BY a.address"
);
const FIRST: &str = concat!(
    "SELECT ",
    account_columns!(),
    " FROM account a WHERE a.domain = $1 AND a.removed IS NULL ORDER BY a.disabled OR a.send_only, a.id LIMIT 1"
);
const PAGE: &str = concat!(
    "SELECT ",
    account_columns!(),
    " FROM account a WHERE a.address > $1 AND a.removed IS NULL ORDER BY a.address LIMIT $2"
);
const ADD: &str = "INSERT INTO account (id, address, local_part, domain, password_hash, scram, forwards) \
     VALUES (nextval('account_id'), $1, $2, $3, $4, $5, $6) RETURNING id";
const ADD_LEDGER: &str = "INSERT INTO ledger (account) VALUES ($1)";
/// An account that is added again under the same name has another id, and so other numbers of validity.
const ADD_FOLDERS: &str = "INSERT INTO folder (account, id, name, role, uid_validity) \
     SELECT $1, f.id, f.name, f.role, $1 FROM unnest($2::integer[], $3::text[], $4::text[]) AS f (id, name, role)";
const UPDATE: &str = "UPDATE account SET address = $2, local_part = $3, domain = $4, password_hash = $5, scram = $6, \
     quota = $7, send_as = $8, forwards = $9, disabled = $10, marks_junk = $11, send_only = $12 WHERE id = $1";

/// Reads an account from columns that begin at `at`.
pub(crate) fn account(row: &Row, at: usize) -> Result<Account, StoreError> {
    let send_as: Vec<String> = row.get(at + 5);
    let send_as = send_as.iter().map(|text| text.parse());
    Ok(Account {
        id: AccountId(row.get::<_, i64>(at) as u64),
        address: columns::address(row.get(at + 1))?,
        credentials: Credentials {
            password_hash: row.get(at + 2),
            scram: row.get(at + 3),
            apop: None,
        },
        quota: row.get::<_, Option<i64>>(at + 4).map(|quota| quota as u64),
        send_as: send_as.collect::<Result<_, _>>().map_err(|_| damaged("a sender"))?,
        forwards: row.get(at + 6),
        disabled: row.get(at + 7),
        marks_junk: row.get(at + 8),
        send_only: row.get(at + 9),
    })
}

fn all(rows: &[Row]) -> Result<Vec<Account>, DatabaseFault> {
    rows.iter().map(|row| account(row, 0).map_err(DatabaseFault::from)).collect()
}

fn one(row: Option<Row>) -> Result<Option<Account>, DatabaseFault> {
    Ok(row.map(|row| account(&row, 0)).transpose()?)
}

pub(super) async fn find(
    connection: &Arc<Connection>,
    address: &Address,
) -> Result<Option<Account>, DatabaseFault> {
    one(connection.row(FIND, &[&address.as_str()]).await?)
}

pub(super) async fn require(
    connection: &Arc<Connection>,
    address: &Address,
) -> Result<Account, DatabaseFault> {
    Ok(find(connection, address).await?.ok_or(StoreError::NoSuchAccount)?)
}

pub(super) async fn named(
    connection: &Arc<Connection>,
    local_part: &str,
) -> Result<Vec<Account>, DatabaseFault> {
    all(&connection.query(NAMED, &[&local_part]).await?)
}

pub(crate) async fn by_id(
    connection: &Arc<Connection>,
    id: AccountId,
) -> Result<Option<Account>, DatabaseFault> {
    one(connection.row(BY_ID, &[&(id.0 as i64)]).await?)
}

pub(super) async fn first(
    connection: &Arc<Connection>,
    domain: &str,
) -> Result<Option<Account>, DatabaseFault> {
    one(connection.row(FIRST, &[&domain]).await?)
}

pub(super) async fn page(
    connection: &Arc<Connection>,
    after: &str,
    limit: usize,
) -> Result<Vec<Account>, DatabaseFault> {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    all(&connection.query(PAGE, &[&after, &limit]).await?)
}

pub(super) async fn add(
    connection: &Arc<Connection>,
    seals: &Seals,
    address: &Address,
    credentials: &Credentials,
) -> Result<AccountId, DatabaseFault> {
    if find(connection, address).await?.is_some() {
        return Err(StoreError::AccountExists(address.clone()).into());
    }
    domains::require_no_alias(connection, address.domain()).await?;
    let alias = aliases::find(connection, address.as_str()).await?;
    if alias.as_ref().is_some_and(|targets| !keeps_copy(address, targets)) {
        return Err(StoreError::IsAlias(address.clone()).into());
    }
    domains::make_local(connection, address.domain()).await?;
    let (local_part, domain, forwards) = (address.local_part(), address.domain(), alias.is_some());
    let Credentials { password_hash, scram, apop } = credentials;
    let added = connection
        .row(ADD, &[&address.as_str(), &local_part, &domain, password_hash, scram, &forwards])
        .await?;
    let id: i64 = added.ok_or_else(|| damaged("the number of an account"))?.get(0);
    connection.execute(ADD_LEDGER, &[&id]).await?;
    let names = [FolderName::inbox(), FolderName::junk()].map(|name| name.as_str().to_owned());
    connection
        .execute(ADD_FOLDERS, &[&id, &&[0, 1][..], &&names[..], &&["inbox", "junk"][..]])
        .await?;
    let id = AccountId(id as u64);
    if apop.is_some() {
        seals.keep(connection, SecretOf::Apop(id), apop.as_ref()).await?;
    }
    Ok(id)
}

pub(super) async fn set_password(
    connection: &Arc<Connection>,
    seals: &Seals,
    address: &Address,
    credentials: &Credentials,
) -> Result<(), DatabaseFault> {
    let mut account = require(connection, address).await?;
    seals.keep(connection, SecretOf::Apop(account.id), credentials.apop.as_ref()).await?;
    account.credentials.clone_from(credentials);
    update(connection, &account).await
}

/// Replaces the record of an account.
pub(super) async fn update(
    connection: &Arc<Connection>,
    account: &Account,
) -> Result<(), DatabaseFault> {
    let Account {
        id, address, credentials, quota, forwards, disabled, marks_junk, send_only, ..
    } = account;
    let send_as: Vec<_> = account.send_as.iter().map(ToString::to_string).collect();
    let quota = quota.map(|quota| quota as i64);
    connection
        .execute(
            UPDATE,
            &[
                &(id.0 as i64),
                &address.as_str(),
                &address.local_part(),
                &address.domain(),
                &credentials.password_hash,
                &credentials.scram,
                &quota,
                &send_as,
                forwards,
                disabled,
                marks_junk,
                send_only,
            ],
        )
        .await?;
    Ok(())
}

pub(super) async fn rename(
    connection: &Arc<Connection>,
    old: &Address,
    new: &Address,
    aliases: &[Alias],
) -> Result<(), DatabaseFault> {
    let account = require(connection, old).await?;
    if find(connection, new).await?.is_some() {
        return Err(StoreError::AccountExists(new.clone()).into());
    }
    domains::require_no_alias(connection, new.domain()).await?;
    if aliases::find(connection, new.as_str()).await?.is_some() {
        return Err(StoreError::IsAlias(new.clone()).into());
    }
    for alias in aliases.iter().filter(|alias| alias.name.domain() != new.domain()) {
        domains::require(connection, alias.name.domain()).await?;
    }
    domains::make_local(connection, new.domain()).await?;
    aliases::delete(connection, old.as_str()).await?;
    update(connection, &Account { address: new.clone(), forwards: false, ..account }).await?;
    for alias in aliases {
        aliases::set(connection, alias).await?;
    }
    domains::leave(connection, old.domain()).await
}
