//! The servers to which mail is being sent, each with a queue of its own. `attempt` hands items over to
//! it.

use super::{
    Relay, connection,
    host_failure::HostFailure,
    host_queue::{HostQueue, Job},
    offer::OfferOutcome,
    peer::Peer,
};
use crate::limits::term::Term;
use parking_lot::Mutex;
use posta_store::Item;
use std::{collections::HashMap, sync::Arc};

/// All servers for which mail waits, to which there are connections, or that count as unreachable.
#[derive(Debug, Default)]
pub(crate) struct Hosts {
    hosts: Mutex<HashMap<Peer, Arc<HostQueue>>>,
}

impl Hosts {
    /// Queues an item for a server, and waits for the result. Returns `None` if the program stops, or the term in which the
    /// item was claimed has ended.
    pub(crate) async fn send(
        &self,
        relay: &Arc<Relay>,
        peer: &Peer,
        item: Arc<Item>,
        term: &Term,
    ) -> Option<Result<OfferOutcome, HostFailure>> {
        let (job, result) = Job::new(item, term.clone());
        self.queue(peer, relay).push(job, relay);
        result.await.ok()
    }

    fn queue(&self, peer: &Peer, relay: &Relay) -> Arc<HostQueue> {
        let mut hosts = self.hosts.lock();
        if let Some(queue) = hosts.get(peer) {
            return queue.clone();
        }
        // The table is cleaned up from time to time, so that it is no larger than the work in progress.
        if hosts.len().is_power_of_two() {
            hosts.retain(|_, queue| queue.is_in_use());
        }
        let queue = Arc::new(HostQueue::new(peer.clone(), open, relay.store.tally("connections")));
        hosts.insert(peer.clone(), queue.clone());
        queue
    }

    /// Forgets which servers could not be reached, for example when the operator asks for a retry.
    pub(crate) fn clear_failures(&self) {
        let hosts = self.hosts.lock();
        hosts.values().for_each(|queue| queue.clear_failure());
    }

    /// Drops the items that wait for any server. Messages in progress may finish.
    pub(crate) fn stop(&self) {
        let hosts = self.hosts.lock();
        hosts.values().for_each(|queue| queue.stop());
    }
}

fn open(queue: Arc<HostQueue>, relay: Arc<Relay>) {
    tokio::spawn(connection::run(queue, relay));
}
