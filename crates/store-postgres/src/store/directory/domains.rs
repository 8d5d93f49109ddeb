//! Local domains, and those that stand for others.

use crate::{
    connection::Connection,
    fault::{DatabaseFault, damaged},
};
use posta_mail::Domain;
use posta_store::StoreError;
use std::sync::Arc;

const FIND: &str = "SELECT stands_for FROM domain WHERE name = $1";
const ALL: &str = "SELECT name FROM domain ORDER BY name";
const ALIASES: &str =
    "SELECT name, stands_for FROM domain WHERE stands_for IS NOT NULL ORDER BY name";
const ADD: &str = "INSERT INTO domain (name, added) VALUES ($1, true) ON CONFLICT (name) DO UPDATE SET added = true";
const MAKE_LOCAL: &str =
    "INSERT INTO domain (name, added) VALUES ($1, false) ON CONFLICT DO NOTHING";
const SET_ALIAS: &str = "INSERT INTO domain (name, added, stands_for) VALUES ($1, true, $2) \
     ON CONFLICT (name) DO UPDATE SET added = true, stands_for = excluded.stands_for";
const REMOVE: &str = "DELETE FROM domain WHERE name = $1";
const LEAVE: &str = "DELETE FROM domain WHERE name = $1 AND NOT added";
/// Whether a domain has accounts, aliases or domain aliases.
const USES: &str = "SELECT EXISTS (SELECT FROM account WHERE domain = $1 AND removed IS NULL) \
     OR EXISTS (SELECT FROM alias WHERE domain = $1) OR EXISTS (SELECT FROM domain WHERE stands_for = $1)";

/// A local domain.
pub(super) struct LocalDomain {
    /// The domain of which it is an alias.
    pub(super) stands_for: Option<Domain>,
}

fn domain(text: &str) -> Result<Domain, DatabaseFault> {
    text.parse().map_err(|_| damaged("a domain").into())
}

pub(super) async fn find(
    connection: &Arc<Connection>,
    name: &str,
) -> Result<Option<LocalDomain>, DatabaseFault> {
    let Some(row) = connection.row(FIND, &[&name]).await? else { return Ok(None) };
    Ok(Some(LocalDomain { stands_for: row.get::<_, Option<&str>>(0).map(domain).transpose()? }))
}

pub(super) async fn all(connection: &Arc<Connection>) -> Result<Vec<Domain>, DatabaseFault> {
    connection.query(ALL, &[]).await?.iter().map(|row| domain(row.get(0))).collect()
}

pub(super) async fn aliases(
    connection: &Arc<Connection>,
) -> Result<Vec<(Domain, Domain)>, DatabaseFault> {
    let rows = connection.query(ALIASES, &[]).await?;
    rows.iter().map(|row| Ok((domain(row.get(0))?, domain(row.get(1))?))).collect()
}

/// Checks that a domain is local.
pub(super) async fn require(connection: &Arc<Connection>, name: &str) -> Result<(), DatabaseFault> {
    // What is no domain, such as an address literal, is nobody's.
    let Ok(domain) = name.parse::<Domain>() else { return Ok(()) };
    match find(connection, name).await? {
        Some(_) => Ok(()),
        None => Err(StoreError::NoSuchDomain(domain).into()),
    }
}

/// Checks that a domain does not stand for another.
pub(super) async fn require_no_alias(
    connection: &Arc<Connection>,
    name: &str,
) -> Result<(), DatabaseFault> {
    match find(connection, name).await?.and_then(|found| found.stands_for) {
        Some(of) => Err(StoreError::DomainIsAlias(domain(name)?, of).into()),
        None => Ok(()),
    }
}

async fn uses(connection: &Arc<Connection>, name: &str) -> Result<bool, DatabaseFault> {
    Ok(connection.row(USES, &[&name]).await?.is_some_and(|row| row.get(0)))
}

pub(super) async fn make_local(
    connection: &Arc<Connection>,
    name: &str,
) -> Result<(), DatabaseFault> {
    connection.execute(MAKE_LOCAL, &[&name]).await.map(drop)
}

/// Makes a domain no longer local unless it was added separately, or is still used.
pub(super) async fn leave(connection: &Arc<Connection>, name: &str) -> Result<(), DatabaseFault> {
    if !uses(connection, name).await? {
        connection.execute(LEAVE, &[&name]).await?;
    }
    Ok(())
}

pub(super) async fn add(
    connection: &Arc<Connection>,
    domain: &Domain,
) -> Result<(), DatabaseFault> {
    require_no_alias(connection, domain.as_str()).await?;
    connection.execute(ADD, &[&domain.as_str()]).await.map(drop)
}

pub(super) async fn set_alias(
    connection: &Arc<Connection>,
    alias: &Domain,
    domain: &Domain,
) -> Result<(), DatabaseFault> {
    require(connection, domain.as_str()).await?;
    require_no_alias(connection, domain.as_str()).await?;
    if alias == domain || uses(connection, alias.as_str()).await? {
        return Err(StoreError::DomainInUse(alias.clone()).into());
    }
    connection.execute(SET_ALIAS, &[&alias.as_str(), &domain.as_str()]).await.map(drop)
}

pub(super) async fn remove(
    connection: &Arc<Connection>,
    domain: &Domain,
) -> Result<(), DatabaseFault> {
    let found = find(connection, domain.as_str()).await?;
    let found = found.ok_or_else(|| StoreError::NoSuchDomain(domain.clone()))?;
    if uses(connection, domain.as_str()).await? {
        return Err(StoreError::DomainInUse(domain.clone()).into());
    }
    connection.execute(REMOVE, &[&domain.as_str()]).await?;
    match found.stands_for {
        Some(of) => leave(connection, of.as_str()).await,
        None => Ok(()),
    }
}
