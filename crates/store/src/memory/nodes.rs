//! The nodes of the reference store: servers of one process that share it. None of them has a heartbeat; one that leaves
//! stands for one that died, too.

use super::MemoryStore;
use crate::{
    error::Pending,
    upkeep::nodes::{NodeStanding, Nodes, Vitals},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    future::ready,
};

/// The nodes, by number, and which of them has which duty.
#[derive(Debug, Default)]
pub(super) struct MemoryNodes {
    /// The number of the last node; the first is 0.
    last: u64,
    gone: BTreeSet<u64>,
    duties: BTreeMap<String, u64>,
}

impl MemoryNodes {
    /// Adds a node. Returns its number.
    pub(super) fn add(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    fn take(&mut self, duty: &str, node: u64) -> bool {
        let holder = self.duties.get(duty).copied().filter(|holder| !self.gone.contains(holder));
        let is_taken = !self.gone.contains(&node) && holder.is_none_or(|holder| holder == node);
        if is_taken {
            self.duties.insert(duty.to_owned(), node);
        }
        is_taken
    }
}

impl Nodes for MemoryStore {
    fn join(&self, _: Vitals) -> Pending<'_, ()> {
        self.inner.lock().nodes.gone.remove(&self.node);
        Box::pin(ready(Ok(())))
    }

    fn leave(&self) -> Pending<'_, ()> {
        self.inner.lock().nodes.gone.insert(self.node);
        Box::pin(ready(Ok(())))
    }

    fn standing(&self) -> NodeStanding {
        let inner = self.inner.lock();
        let MemoryNodes { last, gone, .. } = &inner.nodes;
        let nodes = (last + 1).saturating_sub(gone.len() as u64).max(1);
        NodeStanding { is_live: !gone.contains(&self.node), nodes, ..NodeStanding::ALONE }
    }

    fn take_duty(&self, duty: &str) -> Pending<'_, bool> {
        let is_taken = self.inner.lock().nodes.take(duty, self.node);
        Box::pin(ready(Ok(is_taken)))
    }
}
