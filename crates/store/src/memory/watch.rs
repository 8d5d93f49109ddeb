//! The changes in the reference store, for those that watch it.

use super::MemoryStore;
use crate::{
    mailboxes::{Acceptance, Delivery},
    queue::Settlement,
    watch::{HistoryFollower, Subject, Watch, Watcher},
};

impl Watch for MemoryStore {
    fn directory_version(&self) -> u64 {
        self.watchers.directory_version()
    }

    fn watch(&self, subjects: &[Subject]) -> Watcher {
        self.watchers.watch(subjects)
    }

    fn follow(&self) -> HistoryFollower {
        self.watchers.follow()
    }
}

fn of_deliveries(deliveries: &[Delivery]) -> impl Iterator<Item = Subject> {
    deliveries.iter().map(|delivery| Subject::Mailbox(delivery.account))
}

/// Returns the subjects that an acceptance changes.
pub(super) fn of_acceptance(acceptance: &Acceptance) -> Vec<Subject> {
    let mut subjects: Vec<_> = of_deliveries(&acceptance.deliveries).collect();
    subjects.extend(acceptance.items.first().map(|_| Subject::Queue));
    subjects.extend(acceptance.reports.iter().flat_map(of_acceptance));
    subjects
}

/// Returns the subjects that a settlement changes.
pub(super) fn of_settlement(settlement: &Settlement) -> Vec<Subject> {
    let mut subjects: Vec<_> = of_deliveries(&settlement.deliveries).collect();
    subjects.extend(settlement.left.as_ref().map(|_| Subject::Queue));
    subjects.extend(settlement.reports.iter().flat_map(of_acceptance));
    subjects
}
