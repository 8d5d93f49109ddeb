//! The changes of sources, and of the messages that were collected from them.

use super::Committer;
use crate::{
    error::failed,
    tables::{batch::Batch, schema},
};
use posta_mail::{Secret, Timestamp};
use posta_store::{
    AccountId, ClaimedSource, SecretOf, Source, SourceId, StoreError, Token, Visit, check_name,
};

/// The imports of a removed account that one transaction forgets.
const FORGOTTEN: usize = 1_000;

impl Committer {
    pub(crate) fn add_source(
        &mut self,
        source: Source,
        password: &Secret,
    ) -> Result<SourceId, StoreError> {
        if !self.accounts.contains(&source.account) {
            return Err(StoreError::NoSuchAccount);
        }
        let last = self.schema.number(schema::LAST_SOURCE)?.unwrap_or_default();
        let id = SourceId(last + 1);
        let mut batch = Batch::new(&self.schema);
        batch.insert(&self.schema.meta, schema::LAST_SOURCE, id.0.to_be_bytes());
        self.put_source(&Source { id, ..source }, &mut batch)?;
        self.put_secret(SecretOf::Source(id), password, &mut batch)?;
        self.commit(batch)?;
        Ok(id)
    }

    pub(crate) fn change_source(
        &mut self,
        source: &Source,
        password: &Secret,
    ) -> Result<bool, StoreError> {
        if !self.schema.has_source(source.id)? {
            return Ok(false);
        }
        let (mut batch, of) = (Batch::new(&self.schema), SecretOf::Source(source.id));
        self.put_source(source, &mut batch)?;
        let old = self.put_secret(of, password, &mut batch)?;
        self.commit(batch)?;
        self.wipe(of, old);
        Ok(true)
    }

    pub(crate) fn put_source(&self, source: &Source, batch: &mut Batch) -> Result<(), StoreError> {
        let value = schema::encode_json(source)?;
        batch.insert(&self.schema.source, source.id.0.to_be_bytes(), value);
        Ok(())
    }

    /// Claims sources whose next visit is due. Nothing is written: a crash ends the leases with their holders.
    pub(crate) fn claim_sources(
        &mut self,
        now: Timestamp,
        until: Timestamp,
        limit: usize,
    ) -> Result<Vec<ClaimedSource>, StoreError> {
        let mut due = self.schema.sources()?;
        due.retain(|source| source.next_visit().is_none_or(|next| next <= now));
        due.sort_by_key(|source| (source.next_visit(), source.id));
        let mut claimed = Vec::new();
        for source in due {
            if claimed.len() >= limit {
                break;
            }
            claimed.extend(self.claim_one(source, now, until)?);
        }
        Ok(claimed)
    }

    /// Claims one source, due or not.
    pub(crate) fn claim_source(
        &mut self,
        id: SourceId,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<Option<ClaimedSource>, StoreError> {
        match self.schema.source(id)? {
            Some(source) => self.claim_one(source, now, until),
            None => Ok(None),
        }
    }

    fn claim_one(
        &mut self,
        source: Source,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<Option<ClaimedSource>, StoreError> {
        let Some(account) = self.schema.account_by_id(source.account)? else { return Ok(None) };
        let lease = self.visitors.lock().claim(source.id, now, until);
        Ok(lease.map(|lease| ClaimedSource { source, account, lease }))
    }

    pub(crate) fn visited(
        &mut self,
        id: SourceId,
        token: Token,
        visit: Visit,
    ) -> Result<bool, StoreError> {
        if !self.visitors.lock().is_last(&id, token) || !self.schema.has_source(id)? {
            return Ok(false);
        }
        let mut batch = Batch::new(&self.schema);
        batch.insert(&self.schema.visit, id.0.to_be_bytes(), schema::encode_json(&visit)?);
        self.commit(batch)?;
        self.visitors.lock().end(&id);
        Ok(true)
    }

    pub(crate) fn remove_source(&mut self, id: SourceId) -> Result<bool, StoreError> {
        let (was_there, of) = (self.schema.has_source(id)?, SecretOf::Source(id));
        let mut batch = Batch::new(&self.schema);
        batch.remove(&self.schema.source, id.0.to_be_bytes());
        batch.remove(&self.schema.visit, id.0.to_be_bytes());
        let password = self.drop_secret(of, &mut batch)?;
        for guard in self.schema.collected.prefix(id.0.to_be_bytes()) {
            batch.remove(&self.schema.collected, guard.key().map_err(failed)?);
        }
        self.commit(batch)?;
        self.visitors.lock().end(&id);
        self.wipe(of, password);
        Ok(was_there)
    }

    /// Forgets some of the messages that were imported into an account's mailbox. Returns their number.
    pub(crate) fn forget_some_imports(&mut self, account: AccountId) -> Result<usize, StoreError> {
        let (mut batch, mut count) = (Batch::new(&self.schema), 0);
        let prefix = SourceId::imports_of(account).0.to_be_bytes();
        for guard in self.schema.collected.prefix(prefix).take(FORGOTTEN) {
            batch.remove(&self.schema.collected, guard.key().map_err(failed)?);
            count += 1;
        }
        self.commit(batch)?;
        Ok(count)
    }

    pub(crate) fn forget_collected(
        &mut self,
        id: SourceId,
        unique_ids: &[String],
    ) -> Result<(), StoreError> {
        let mut batch = Batch::new(&self.schema);
        for unique_id in unique_ids.iter().filter(|unique_id| check_name(unique_id).is_ok()) {
            batch.remove(&self.schema.collected, schema::collected_key(id, unique_id));
        }
        self.commit(batch)
    }
}
