//! The sources of the reference store.

use super::Inner;
use crate::{SecretOf, Source, SourceId, StoreError, Visit};
use posta_mail::Secret;

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
