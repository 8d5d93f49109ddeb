//! The sources of the reference store.

use super::{Inner, MemoryStore};
use crate::{
    error::{Pending, StoreError},
    item::lease::Token,
    names::SourceId,
    records::SecretOf,
    sources::{ClaimedSource, Source, Sources, Visit},
};
use posta_mail::{Secret, Timestamp};
use std::collections::BTreeMap;

impl Sources for MemoryStore {
    fn add_source(&self, source: Source, password: Secret) -> Pending<'_, SourceId> {
        self.with(|inner| inner.add_source(source, password))
    }

    fn change_source(&self, source: Source, password: Secret) -> Pending<'_, bool> {
        self.with(|inner| Ok(inner.change_source(source, password)))
    }

    fn sources(&self) -> Pending<'_, Vec<Source>> {
        self.with(|inner| Ok(inner.sources.values().cloned().collect()))
    }

    fn claim_sources(
        &self,
        now: Timestamp,
        until: Timestamp,
        limit: usize,
    ) -> Pending<'_, Vec<ClaimedSource>> {
        self.with(|inner| {
            let is_due = |source: &&Source| source.next_visit().is_none_or(|next| next <= now);
            let mut due: Vec<_> = inner.sources.values().filter(is_due).cloned().collect();
            due.sort_by_key(|source| (source.next_visit(), source.id));
            let claimed =
                due.into_iter().filter_map(|source| inner.claim_source(source, now, until));
            Ok(claimed.take(limit).collect())
        })
    }

    fn claim_source(
        &self,
        source: SourceId,
        now: Timestamp,
        until: Timestamp,
    ) -> Pending<'_, Option<ClaimedSource>> {
        self.with(|inner| {
            let source = inner.sources.get(&source).cloned();
            Ok(source.and_then(|source| inner.claim_source(source, now, until)))
        })
    }

    fn renew_source(&self, source: SourceId, token: Token, until: Timestamp) -> Pending<'_, bool> {
        self.with(|inner| Ok(inner.source_leases.renew(&source, token, until)))
    }

    fn visited(&self, source: SourceId, token: Token, visit: Visit) -> Pending<'_, bool> {
        self.with(|inner| Ok(inner.visited(source, token, visit)))
    }

    fn remove_source(&self, source: SourceId) -> Pending<'_, bool> {
        self.with(|inner| Ok(inner.remove_source(source)))
    }

    fn collected(&self, source: SourceId) -> Pending<'_, BTreeMap<String, Timestamp>> {
        self.with(|inner| {
            let all = inner.collected.iter().filter(|((of, _), _)| *of == source);
            Ok(all.map(|((_, unique_id), time)| (unique_id.clone(), *time)).collect())
        })
    }

    fn has_collected(&self, source: SourceId, unique_ids: Vec<String>) -> Pending<'_, Vec<bool>> {
        self.with(|inner| {
            let has = |unique_id| inner.collected.contains_key(&(source, unique_id));
            Ok(unique_ids.into_iter().map(has).collect())
        })
    }

    fn forget_collected(&self, source: SourceId, unique_ids: Vec<String>) -> Pending<'_, ()> {
        self.with(|inner| {
            for unique_id in unique_ids {
                inner.collected.remove(&(source, unique_id));
            }
            Ok(())
        })
    }
}

impl Inner {
    pub(super) fn add_source(
        &mut self,
        source: Source,
        password: Secret,
    ) -> Result<SourceId, StoreError> {
        if !self.has_account(source.account) {
            return Err(StoreError::NoSuchAccount);
        }
        self.last_source += 1;
        let id = SourceId(self.last_source);
        self.sources.insert(id, Source { id, last: None, ..source });
        self.secrets.insert(SecretOf::Source(id), password);
        Ok(id)
    }

    pub(super) fn change_source(&mut self, source: Source, password: Secret) -> bool {
        let Some(old) = self.sources.get_mut(&source.id) else { return false };
        self.secrets.insert(SecretOf::Source(source.id), password);
        *old = Source { last: old.last.take(), ..source };
        true
    }

    fn claim_source(
        &mut self,
        source: Source,
        now: Timestamp,
        until: Timestamp,
    ) -> Option<ClaimedSource> {
        let account = self.account_by_id(source.account)?;
        let lease = self.source_leases.claim(source.id, now, until)?;
        Some(ClaimedSource { source, account, lease })
    }

    fn visited(&mut self, id: SourceId, token: Token, visit: Visit) -> bool {
        if !self.source_leases.is_last(&id, token) {
            return false;
        }
        self.source_leases.end(&id);
        self.sources.get_mut(&id).map(|source| source.last = Some(visit)).is_some()
    }

    pub(super) fn remove_source(&mut self, source: SourceId) -> bool {
        self.collected.retain(|(of, _), _| *of != source);
        self.secrets.remove(&SecretOf::Source(source));
        self.source_leases.end(&source);
        self.sources.remove(&source).is_some()
    }
}
