//! A group: the requests that share a batch and a sync. The committing thread takes those that wait, up to a bound,
//! commits them at once, and only then answers their callers.

use super::{Committer, Done, Request, removals::Asked};
use crate::{
    disk::Room,
    tables::{batch::Batch, schema::Schema},
};
use posta_mail::MailId;
use posta_store::{AccountId, Collected, StoreError};
use std::{collections::HashSet, sync::mpsc};

/// Requests in one group at most: bounds how long the first of them waits for the last.
const GROUP_REQUESTS: usize = 1_024;

/// Octets in one group at most, about: bounds the memory of a group.
const GROUP_OCTETS: usize = 2 * 1024 * 1024;

/// Tells one caller the outcome of the group's commit.
type Answer = Box<dyn FnOnce(Result<(), StoreError>) + Send>;

/// The changes that share a batch.
struct Group {
    batch: Batch,
    /// Whether any change must be durable before it is answered.
    sync: bool,
    requests: usize,
    octets: usize,
    /// The accounts that messages are removed from. A second removal from one of them could not
    /// see the first, and goes into the next group.
    removing: HashSet<AccountId>,
    /// The contents whose items are settled: the same holds for them.
    settling: HashSet<MailId>,
    /// The messages that are collected or imported: the same holds for their names.
    collecting: HashSet<Collected>,
    answers: Vec<Answer>,
}

impl Committer {
    /// Commits a group that begins with a request. Returns a request that could not be in the group, if there is one.
    pub(super) fn serve(
        &mut self,
        first: Request,
        requests: &mpsc::Receiver<Request>,
    ) -> Option<Request> {
        if let Err(error) = self.begin() {
            first.refuse(error);
            return None;
        }
        let mut group = Group::new(&self.schema);
        let mut waiting = self.take(first, &mut group);
        while waiting.is_none() && group.has_room() {
            match requests.try_recv() {
                Ok(request) => waiting = self.take(request, &mut group),
                Err(_) => break,
            }
        }
        let Group { batch, sync, answers, requests, .. } = group;
        self.meters.group(requests);
        let committed = self.write(batch, sync);
        if committed.is_err() {
            self.forget_counts();
        }
        for answer in answers {
            answer(committed.clone());
        }
        waiting
    }

    /// Takes a request into the group, or returns it if it must wait for the group's commit.
    fn take(&mut self, request: Request, group: &mut Group) -> Option<Request> {
        match request {
            Request::Append { done, .. } | Request::Accept { done, .. }
                if self.room < Room::Mail =>
            {
                group.answer(done, Err(StoreError::Full));
            }
            // Strangers cause history to be written, which must leave room for mail.
            Request::Note { done, .. } if self.room < Room::Everything => {
                group.answer(done, Err(StoreError::Full));
            }
            Request::Append { content, index, chunk, done } => {
                group.octets += chunk.len();
                self.append(content, index, &chunk, &mut group.batch);
                group.answer(done, Ok(()));
            }
            Request::Accept { acceptance, done } => {
                if let Some(collected) = acceptance.collected.clone()
                    && !group.collecting.insert(collected)
                {
                    return Some(Request::Accept { acceptance, done });
                }
                group.octets += acceptance.head.len() + acceptance.rest.len();
                let accepted = self.accept(acceptance, &mut group.batch);
                group.sync |= accepted.is_ok();
                group.answer(done, accepted);
            }
            Request::Remove(asked) => {
                if asked.count() > self.piece || !group.removing.insert(asked.account) {
                    return Some(Request::Remove(asked));
                }
                let Asked { account, names, time, purge, done } = asked;
                let removed = self.remove(account, names, (time, purge), &mut group.batch);
                group.sync = true;
                group.answer(done, removed);
            }
            Request::Settle { settlement, done } => {
                if !group.settling.insert(settlement.item.content) {
                    return Some(Request::Settle { settlement, done });
                }
                let settled = self.settle(settlement, &mut group.batch);
                group.sync = true;
                group.answer(done, settled);
            }
            Request::Note { events, done } => {
                let told = self.tell(events, &mut group.batch);
                group.answer(done, told);
            }
            alone @ (Request::Alone(_) | Request::After(..)) => return Some(alone),
        }
        group.requests += 1;
        None
    }
}

impl Group {
    fn new(schema: &Schema) -> Self {
        Self {
            batch: Batch::new(schema),
            sync: false,
            requests: 0,
            octets: 0,
            removing: HashSet::new(),
            settling: HashSet::new(),
            collecting: HashSet::new(),
            answers: Vec::new(),
        }
    }

    fn has_room(&self) -> bool {
        self.requests < GROUP_REQUESTS && self.octets < GROUP_OCTETS
    }

    /// Holds an answer back until the group is committed. A change that failed keeps its own error.
    fn answer<T: Send + 'static>(&mut self, done: Done<T>, outcome: Result<T, StoreError>) {
        self.answers.push(Box::new(move |committed| {
            // The caller may be gone.
            let _ = done.send(outcome.and_then(|value| committed.map(|()| value)));
        }));
    }
}
