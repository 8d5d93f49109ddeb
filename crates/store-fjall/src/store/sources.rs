//! The sources.

use super::FjallStore;
use posta_mail::{Secret, Timestamp};
use posta_store::{Pending, Source, SourceId, Sources, Visit};
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

    fn visited(&self, source: SourceId, visit: Visit) -> Pending<'_, bool> {
        self.alone(move |committer| committer.visited(source, visit))
    }

    fn remove_source(&self, source: SourceId) -> Pending<'_, bool> {
        self.alone(move |committer| committer.remove_source(source))
    }

    fn collected(&self, source: SourceId) -> Pending<'_, BTreeMap<String, Timestamp>> {
        self.read(move |schema| schema.collected(source))
    }

    fn forget_collected(&self, source: SourceId, unique_ids: Vec<String>) -> Pending<'_, ()> {
        self.alone(move |committer| committer.forget_collected(source, &unique_ids))
    }
}
