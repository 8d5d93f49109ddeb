//! The subjects that arrivals change.

use posta_store::{Acceptance, Delivery, Settlement, Subject};

fn of_deliveries(deliveries: &[Delivery]) -> impl Iterator<Item = Subject> {
    deliveries.iter().map(|delivery| Subject::Mailbox(delivery.account))
}

/// Returns the subjects that an acceptance changes.
pub(crate) fn of_acceptance(acceptance: &Acceptance) -> Vec<Subject> {
    let mut subjects: Vec<_> = of_deliveries(&acceptance.deliveries).collect();
    subjects.extend(acceptance.items.first().map(|_| Subject::Queue));
    let is_of_directory = acceptance.records.iter().any(|it| posta_store::is_of_directory(it.kind));
    subjects.extend(is_of_directory.then_some(Subject::Directory));
    subjects.extend(acceptance.reports.iter().flat_map(of_acceptance));
    subjects
}

/// Returns the subjects that a settlement changes.
pub(crate) fn of_settlement(settlement: &Settlement) -> Vec<Subject> {
    let mut subjects: Vec<_> = of_deliveries(&settlement.deliveries).collect();
    subjects.extend(settlement.left.as_ref().map(|_| Subject::Queue));
    subjects.extend(settlement.reports.iter().flat_map(of_acceptance));
    subjects
}
