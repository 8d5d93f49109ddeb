//! The sources of the reference store.

use super::{Inner, MemoryStore};
use crate::{
    error::{Pending, StoreError},
    records::SecretOf,
    sources::{Source, SourceId, Sources, Visit},
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

    fn visited(&self, source: SourceId, visit: Visit) -> Pending<'_, bool> {
        self.with(|inner| Ok(inner.visited(source, visit)))
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

    pub(super) fn visited(&mut self, source: SourceId, visit: Visit) -> bool {
        let source = self.sources.get_mut(&source);
        source.map(|source| source.last = Some(visit)).is_some()
    }

    pub(super) fn remove_source(&mut self, source: SourceId) -> bool {
        self.collected.retain(|(of, _), _| *of != source);
        self.secrets.remove(&SecretOf::Source(source));
        self.sources.remove(&source).is_some()
    }
}
