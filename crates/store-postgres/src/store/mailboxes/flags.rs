//! Flags and keywords.

use super::{lock, unlock};
use crate::{
    columns::{self, uid},
    connection::Connection,
    fault::DatabaseFault,
    node::Node,
};
use posta_mail::Timestamp;
use posta_store::{AccountId, FlagChange, Flags, FlagsChanged, FolderId, ModSeq, StoreError};
use std::sync::Arc;

const READ: &str = "SELECT uid, flags, keywords, modseq FROM entry \
     WHERE account = $1 AND folder = $2 AND uid = ANY ($3) AND removed IS NULL ORDER BY uid";
const SET: &str = "UPDATE entry e SET flags = n.flags, keywords = n.keywords, modseq = $6::bigint + n.place - 1 \
     FROM unnest($3::bigint[], $4::integer[], $5::text[]) WITH ORDINALITY AS n (uid, flags, keywords, place) \
     WHERE e.account = $1 AND e.folder = $2 AND e.uid = n.uid AND e.removed IS NULL";
const COUNT: &str =
    "UPDATE folder SET unseen = unseen + $3, modseq = $4 WHERE account = $1 AND id = $2";

/// A change of flags.
#[derive(Debug)]
pub(super) struct FlagRequest {
    pub(super) folder: FolderId,
    pub(super) uids: Vec<i64>,
    pub(super) change: FlagChange,
    pub(super) unchanged_since: Option<ModSeq>,
    pub(super) now: Timestamp,
}

pub(super) async fn set(
    connection: &Arc<Connection>,
    node: &Node,
    account: AccountId,
    asked: &FlagRequest,
) -> Result<FlagsChanged, DatabaseFault> {
    let mut told = FlagsChanged::default();
    let Some(last) = lock(connection, account).await? else { return Ok(told) };
    let (number, folder) = (account.0 as i64, asked.folder.0 as i32);
    let (mut uids, mut flags, mut keywords, mut unseen) = (Vec::new(), Vec::new(), Vec::new(), 0);
    for row in connection.query(READ, &[&number, &folder, &asked.uids]).await? {
        let name = row.get::<_, i64>(0);
        if asked.unchanged_since.is_some_and(|since| row.get::<_, i64>(3) as u64 > since.0) {
            told.refused.push(uid(name));
            continue;
        }
        let before = Flags(row.get::<_, i32>(1) as u32);
        let (mut now, mut words) = (before, columns::read_keywords(row.get(2))?);
        let is_other =
            asked.change.apply(&mut now, &mut words).ok_or(StoreError::TooManyKeywords)?;
        if is_other {
            told.changed.push(uid(name));
            uids.push(name);
            flags.push(now.0 as i32);
            keywords.push(columns::keywords(&words));
            unseen += i64::from(before.has(Flags::SEEN)) - i64::from(now.has(Flags::SEEN));
        }
    }
    if uids.is_empty() {
        return Ok(told);
    }
    let first = node.mod_seqs.take(last, asked.now, uids.len());
    let last = first + uids.len() as i64 - 1;
    connection.execute(SET, &[&number, &folder, &uids, &flags, &keywords, &first]).await?;
    connection.execute(COUNT, &[&number, &folder, &unseen, &last]).await?;
    unlock(connection, account, last).await?;
    Ok(told)
}
