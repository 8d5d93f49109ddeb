//! What changed since a mod-sequence.

use crate::{
    columns::{entry, entry_columns, folder, uid},
    connection::Connection,
    fault::DatabaseFault,
};
use posta_store::{AccountId, Changes, ModSeq};
use std::sync::Arc;

/// Entries that are new or changed, and names that vanished, in the order of the changes.
const CHANGES: &str = concat!(
    "WITH found AS ( \
         (SELECT modseq, folder, uid, true AS stands FROM entry \
          WHERE account = $1 AND removed IS NULL AND modseq > $2 ORDER BY modseq LIMIT $3) \
         UNION ALL \
         (SELECT gone, folder, uid, false FROM entry \
          WHERE account = $1 AND removed IS NOT NULL AND gone > $2 ORDER BY gone LIMIT $3) \
         UNION ALL \
         (SELECT modseq, folder, uid, false FROM moved WHERE account = $1 AND modseq > $2 ORDER BY modseq LIMIT $3) \
         ORDER BY 1 LIMIT $3 \
     ) SELECT f.stands, f.modseq, f.folder, f.uid, ",
    entry_columns!(),
    " FROM found f LEFT JOIN entry e ON f.stands AND e.account = $1 AND e.folder = f.folder AND e.uid = f.uid \
     ORDER BY f.modseq"
);
const HORIZON: &str = "SELECT horizon FROM ledger WHERE account = $1";

pub(super) async fn since(
    connection: &Arc<Connection>,
    account: AccountId,
    since: ModSeq,
    limit: usize,
) -> Result<Option<Changes>, DatabaseFault> {
    let account = account.0 as i64;
    let after = i64::try_from(since.0).unwrap_or(i64::MAX);
    let one_more = i64::try_from(limit).unwrap_or(i64::MAX).saturating_add(1);
    let rows = connection.query(CHANGES, &[&account, &after, &one_more]).await?;
    // Read afterwards: what is forgotten meanwhile is then found to be.
    let horizon = connection.row(HORIZON, &[&account]).await?;
    if horizon.is_some_and(|row| after < row.get::<_, i64>(0)) {
        return Ok(None);
    }
    let is_all = rows.len() <= limit;
    let mut changes = Changes { up_to: since, is_all, ..Changes::default() };
    for row in rows.iter().take(limit) {
        changes.up_to = ModSeq(row.get::<_, i64>(1) as u64);
        if row.get(0) {
            changes.entries.push(entry(row, 4)?);
        } else {
            changes.vanished.push((folder(row.get(2)), uid(row.get(3))));
        }
    }
    Ok(Some(changes))
}
