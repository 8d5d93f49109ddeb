//! What the tasks of this node share.

use crate::{
    database::Database,
    heart::Heart,
    news::News,
    objects::Objects,
    remembered::{Listings, ModSeqs, Pauses, Resolutions, SharedCounts},
    seals::Seals,
};
use posta_store::{Histogram, StoreError, Subject, TagSeparators, Watchers};
use std::sync::Arc;
use tokio::sync::Semaphore;

/// The parts of a node that its tasks work with.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) database: Database,
    /// Where large pieces of contents go; into the database if there is none.
    pub(crate) objects: Option<Arc<Objects>>,
    pub(crate) seals: Seals,
    pub(crate) mod_seqs: ModSeqs,
    pub(crate) watchers: Watchers,
    pub(crate) news: News,
    pub(crate) heart: Heart,
    pub(crate) tallies: SharedCounts,
    pub(crate) listings: Listings,
    pub(crate) resolutions: Resolutions,
    pub(crate) pauses: Pauses,
    pub(crate) tags: TagSeparators,
    /// The turns of messages that are accepted one by one.
    pub(crate) alone: Semaphore,
    /// The time that each group took to commit, and the number of messages in it.
    pub(crate) syncs: Histogram,
    pub(crate) groups: Histogram,
}

impl Node {
    /// Returns the object store, for a piece that is there.
    pub(crate) fn objects(&self) -> Result<&Arc<Objects>, StoreError> {
        self.objects.as_ref().ok_or_else(|| {
            let words =
                "a part of the message is in an object store, and [store] objects names none";
            StoreError::ObjectStore(words.to_owned())
        })
    }

    /// Informs the watchers of this node and of all others of changes that are durable.
    pub(crate) fn tell(&self, subjects: &[Subject]) {
        for &subject in subjects {
            self.watchers.tell(subject);
            self.news.add(subject);
        }
    }

    /// The same of every mailbox.
    pub(crate) fn tell_all_mailboxes(&self) {
        self.watchers.tell_all_mailboxes();
        self.news.add_all_mailboxes();
    }
}
