//! The line in which messages wait to be accepted, and the groups that are taken from it.
//!
//! A mailbox's messages arrive in the order in which they were handed over, as those of an import do. So while a group is
//! on its way, the next one takes no message for the same mailboxes; it would only wait for their locks.

use super::{OCTETS, Waiting};
use crate::node::Node;
use posta_store::{Acceptance, AccountId};
use std::{
    collections::{HashSet, VecDeque},
    sync::Arc,
};
use tokio::{sync::mpsc, task::JoinSet};

/// The most messages in a group.
const MESSAGES: usize = 128;

/// The number of groups on their way at the same moment: while one waits for its sync, the next is worked on.
const GROUPS: usize = 2;

/// The number of messages among which a group is looked for.
const SEEN: usize = 512;

/// Forms groups, and has them accepted, until nobody can hand over messages any more.
pub(super) async fn serve(node: Arc<Node>, mut arriving: mpsc::Receiver<Waiting>) {
    let mut waiting = VecDeque::new();
    let mut locked: HashSet<AccountId> = HashSet::new();
    let mut groups: JoinSet<HashSet<AccountId>> = JoinSet::new();
    let mut is_open = true;
    while is_open || !waiting.is_empty() || !groups.is_empty() {
        while groups.len() < GROUPS {
            while waiting.len() < SEEN
                && let Ok(next) = arriving.try_recv()
            {
                waiting.push_back(next);
            }
            let group = gather(&mut waiting, &locked);
            if group.is_empty() {
                break;
            }
            let of_group: HashSet<_> =
                group.iter().flat_map(|it| accounts(&it.acceptance)).collect();
            locked.extend(&of_group);
            node.groups.observe(group.len() as u64);
            let node = node.clone();
            groups.spawn(async move {
                node.accept_all(group).await;
                of_group
            });
        }
        tokio::select! {
            Some(done) = groups.join_next() => match done {
                Ok(done) => locked.retain(|account| !done.contains(account)),
                // Its accounts are unknown now; the locks of the database still hold.
                Err(_) => locked.clear(),
            },
            next = arriving.recv(), if is_open && waiting.len() < SEEN => match next {
                Some(next) => waiting.push_back(next),
                None => is_open = false,
            },
        }
    }
}

/// Takes what waits, up to a group. What is for a locked mailbox, or for that of a message that was left, is left; so is the
/// second of two that bring the same collected message.
fn gather(waiting: &mut VecDeque<Waiting>, locked: &HashSet<AccountId>) -> Vec<Waiting> {
    let (mut group, mut octets, mut collected) = (Vec::new(), 0, HashSet::new());
    let mut left: HashSet<AccountId> = HashSet::new();
    let mut rest = VecDeque::with_capacity(waiting.len());
    while let Some(next) = waiting.pop_front() {
        let acceptance = &next.acceptance;
        let is_late = accounts(acceptance).any(|it| locked.contains(&it) || left.contains(&it))
            || acceptance.collected.clone().is_some_and(|it| !collected.insert(it));
        if is_late || group.len() == MESSAGES || octets >= OCTETS {
            left.extend(accounts(acceptance));
            rest.push_back(next);
        } else {
            octets += acceptance.rest.len() + acceptance.head.len();
            group.push(next);
        }
    }
    *waiting = rest;
    group
}

/// Returns the accounts into whose mailboxes a message or one of its reports goes.
fn accounts(acceptance: &Acceptance) -> Box<dyn Iterator<Item = AccountId> + '_> {
    let own = acceptance.deliveries.iter().map(|delivery| delivery.account);
    Box::new(own.chain(acceptance.reports.iter().flat_map(accounts)))
}
