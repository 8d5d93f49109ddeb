//! The sources.

use super::{FjallStore, now};
use posta_mail::{Secret, Timestamp};
use posta_store::{ClaimedSource, Pending, Source, SourceId, Sources, Token, Visit};
use std::collections::BTreeMap;

impl Sources for FjallStore {
    fn add_source(&self, source: Source, password: Secret) -> Pending<'_, SourceId> {
        self.alone(move |committer| committer.add_source(source, &password))
    }

    fn change_source(&self, source: Source, password: Secret) -> Pending<'_, bool> {
        self.alone(move |committer| committer.change_source(&source, &password))
    }

    fn sources(&self) -> Pending<'_, Vec<Source>> {
        self.read(|schema| schema.sources())
    }

    fn claim_sources(
        &self,
        now: Timestamp,
        until: Timestamp,
        limit: usize,
    ) -> Pending<'_, Vec<ClaimedSource>> {
        self.alone(move |committer| committer.claim_sources(now, until, limit))
    }

    fn claim_source(
        &self,
        source: SourceId,
        now: Timestamp,
        until: Timestamp,
    ) -> Pending<'_, Option<ClaimedSource>> {
        self.alone(move |committer| committer.claim_source(source, now, until))
    }

    fn renew_source(&self, source: SourceId, token: Token, until: Timestamp) -> Pending<'_, bool> {
        now(|| Ok(self.visitors.lock().renew(&source, token, until)))
    }

    fn visited(&self, source: SourceId, token: Token, visit: Visit) -> Pending<'_, bool> {
        self.alone(move |committer| committer.visited(source, token, visit))
    }

    fn remove_source(&self, source: SourceId) -> Pending<'_, bool> {
        self.alone(move |committer| committer.remove_source(source))
    }

    fn collected(&self, source: SourceId) -> Pending<'_, BTreeMap<String, Timestamp>> {
        self.read(move |schema| schema.collected(source))
    }

    fn has_collected(&self, source: SourceId, unique_ids: Vec<String>) -> Pending<'_, Vec<bool>> {
        self.read(move |schema| schema.has_collected(source, &unique_ids))
    }

    fn forget_collected(&self, source: SourceId, unique_ids: Vec<String>) -> Pending<'_, ()> {
        self.alone(move |committer| committer.forget_collected(source, &unique_ids))
    }
}
