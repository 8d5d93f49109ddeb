//! Aliases.

use super::domains;
use crate::{
    columns,
    connection::Connection,
    fault::{DatabaseFault, damaged},
};
use posta_mail::Address;
use posta_store::{Alias, AliasName, StoreError};
use std::sync::Arc;

const FIND: &str = "SELECT targets FROM alias WHERE name = $1";
const ALL: &str = "SELECT name, targets FROM alias";
const SET: &str = "INSERT INTO alias (name, domain, targets) VALUES ($1, $2, $3) \
     ON CONFLICT (name) DO UPDATE SET targets = excluded.targets";
const DELETE: &str = "DELETE FROM alias WHERE name = $1";
/// An account knows whether an alias of its name decides where its mail goes.
const SET_FORWARDS: &str =
    "UPDATE account SET forwards = $2 WHERE address = $1 AND removed IS NULL";

pub(super) async fn find(
    connection: &Arc<Connection>,
    name: &str,
) -> Result<Option<Vec<Address>>, DatabaseFault> {
    let Some(row) = connection.row(FIND, &[&name]).await? else { return Ok(None) };
    Ok(Some(columns::addresses(&row.get::<_, Vec<String>>(0))?))
}

pub(super) async fn all(connection: &Arc<Connection>) -> Result<Vec<Alias>, DatabaseFault> {
    let mut all = Vec::new();
    for row in connection.query(ALL, &[]).await? {
        let name: AliasName = row.get::<_, &str>(0).parse().map_err(|_| damaged("an alias"))?;
        let targets = columns::addresses(&row.get::<_, Vec<String>>(1))?;
        all.push(Alias { name, targets });
    }
    all.sort_unstable_by(|one, other| one.name.cmp(&other.name));
    Ok(all)
}

pub(super) async fn set(connection: &Arc<Connection>, alias: &Alias) -> Result<(), DatabaseFault> {
    domains::require(connection, alias.name.domain()).await?;
    domains::require_no_alias(connection, alias.name.domain()).await?;
    set_forwards(connection, &alias.name, true).await?;
    let targets: Vec<_> = alias.targets.iter().map(Address::as_str).collect();
    let (name, domain) = (alias.name.to_string(), alias.name.domain());
    connection.execute(SET, &[&name, &domain, &targets]).await.map(drop)
}

pub(super) async fn remove(
    connection: &Arc<Connection>,
    name: &AliasName,
) -> Result<(), DatabaseFault> {
    if delete(connection, &name.to_string()).await? == 0 {
        return Err(StoreError::NoSuchAlias(name.clone()).into());
    }
    set_forwards(connection, name, false).await
}

/// Removes the row of an alias, if there is one.
pub(super) async fn delete(connection: &Arc<Connection>, name: &str) -> Result<u64, DatabaseFault> {
    connection.execute(DELETE, &[&name]).await
}

async fn set_forwards(
    connection: &Arc<Connection>,
    name: &AliasName,
    forwards: bool,
) -> Result<(), DatabaseFault> {
    if let AliasName::Address(address) = name {
        connection.execute(SET_FORWARDS, &[&address.as_str(), &forwards]).await?;
    }
    Ok(())
}
