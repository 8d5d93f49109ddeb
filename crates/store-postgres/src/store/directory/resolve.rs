//! Resolving addresses: one statement, however many there are.

use super::accounts::{self, COLUMNS};
use crate::{columns, connection::Connection, fault::DatabaseFault};
use posta_mail::{Address, Domain};
use posta_store::{AddressOwner, Resolution, ResolvedAccount, TagSeparators, Usage};
use std::sync::Arc;
use tokio_postgres::Row;

/// For each address: its domain, its owner, which is that of the whole address before that of the address without its
/// tag, the usage of an account with a quota, and the catch-all of what has no owner.
const RESOLVE: &str = "SELECT d.name IS NOT NULL, d.stands_for, o.name, o.targets, c.targets, u.messages, u.octets, \
     o.id, o.address, o.password_hash, o.scram, o.quota, o.send_as, o.forwards, o.disabled, o.marks_junk, o.send_only \
     FROM unnest($1::text[], $2::text[], $3::text[]) WITH ORDINALITY AS q (local_part, untagged, domain, place) \
     LEFT JOIN domain d ON d.name = q.domain \
     CROSS JOIN LATERAL (SELECT '@' || coalesce(d.stands_for, q.domain) AS at) AS r \
     LEFT JOIN LATERAL ( \
         SELECT n.name, l.targets, a.* \
         FROM (VALUES (1, q.local_part || r.at), (2, q.untagged || r.at)) AS n (rank, name) \
         LEFT JOIN account a ON a.address = n.name AND a.removed IS NULL \
         LEFT JOIN alias l ON l.name = n.name \
         WHERE a.id IS NOT NULL OR l.name IS NOT NULL \
         ORDER BY n.rank LIMIT 1 \
     ) AS o ON true \
     LEFT JOIN alias c ON c.name = r.at AND o.name IS NULL \
     LEFT JOIN LATERAL ( \
         SELECT sum(f.messages)::bigint AS messages, sum(f.octets)::bigint AS octets FROM folder f \
         WHERE f.account = o.id AND o.quota IS NOT NULL \
     ) AS u ON true \
     ORDER BY q.place";

/// The first column of the account.
const OWNER: usize = 7;

pub(super) async fn resolve(
    connection: &Arc<Connection>,
    addresses: &[Address],
    tags: &TagSeparators,
) -> Result<Vec<Resolution>, DatabaseFault> {
    let folded: Vec<_> = addresses.iter().map(Address::folded).collect();
    let local_parts: Vec<_> = folded.iter().map(|it| it.local_part().to_owned()).collect();
    let untagged: Vec<_> =
        folded.iter().map(|it| Some(tags.untagged(it)?.local_part().to_owned())).collect();
    let domains: Vec<_> = folded.iter().map(|it| it.domain().to_owned()).collect();
    let rows = connection.query(RESOLVE, &[&local_parts, &untagged, &domains]).await?;
    addresses.iter().zip(&rows).map(|(address, row)| resolution(address, row, tags)).collect()
}

fn resolution(
    address: &Address,
    row: &Row,
    tags: &TagSeparators,
) -> Result<Resolution, DatabaseFault> {
    let stands_for: Option<Domain> = row.get::<_, Option<&str>>(1).and_then(|it| it.parse().ok());
    let (address, _) = Resolution::names_by(address, stands_for.as_ref(), tags);
    let targets = |column: usize| {
        let texts: Option<Vec<String>> = row.get(column);
        texts.map(|texts| columns::addresses(&texts)).transpose()
    };
    let owner = match row.get::<_, Option<&str>>(2) {
        Some(name) => owner(name, targets(3)?, row)?,
        None => None,
    };
    Ok(Resolution { address, is_local: row.get(0), owner, catch_all: targets(4)? })
}

fn owner(
    name: &str,
    targets: Option<Vec<Address>>,
    row: &Row,
) -> Result<Option<AddressOwner>, DatabaseFault> {
    const _: () = assert!(COLUMNS == 10, "the statement lists the columns of an account");
    if row.get::<_, Option<i64>>(OWNER).is_none() {
        let name = columns::address(name)?;
        return Ok(targets.map(|targets| AddressOwner::Alias(name, targets)));
    }
    let account = accounts::account(row, OWNER)?;
    let count = |column: usize| row.get::<_, Option<i64>>(column).unwrap_or(0) as u64;
    let usage = account.quota.map(|_| Usage { messages: count(5), octets: count(6) });
    let forward = targets.filter(|_| account.forwards);
    Ok(Some(AddressOwner::Account(Box::new(ResolvedAccount { account, forward, usage }))))
}
