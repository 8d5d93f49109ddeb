//! The servers to which mail is being sent, each with a queue of its own. `attempt` hands items over here.

use super::{
    Relay, connection,
    host_failure::HostFailure,
    host_queue::{HostQueue, Job},
    offer::OfferOutcome,
    peer::Peer,
};
use parking_lot::Mutex;
use posta_store::Item;
use std::{collections::HashMap, sync::Arc};

/// All servers that mail waits for, that have connections, or that count as unreachable.
#[derive(Debug, Default)]
pub(crate) struct Hosts {
    hosts: Mutex<HashMap<Peer, Arc<HostQueue>>>,
}

impl Hosts {
    /// Queues an item for a server, and waits for the outcome. Returns `None` if the program stops.
    pub(crate) async fn send(
        &self,
        relay: &Arc<Relay>,
        peer: &Peer,
        item: Arc<Item>,
    ) -> Option<Result<OfferOutcome, HostFailure>> {
        let (job, result) = Job::new(item);
        self.queue(peer).push(job, relay);
        result.await.ok()
    }

    fn queue(&self, peer: &Peer) -> Arc<HostQueue> {
        let mut hosts = self.hosts.lock();
        if let Some(queue) = hosts.get(peer) {
            return queue.clone();
        }
        // Clean up now and then, so that the table is no larger than what is going on.
        if hosts.len().is_power_of_two() {
            hosts.retain(|_, queue| queue.is_in_use());
        }
        let queue = Arc::new(HostQueue::new(peer.clone(), open));
        hosts.insert(peer.clone(), queue.clone());
        queue
    }

    /// Forgets which servers could not be reached, as when the operator asks for a retry.
    pub(crate) fn clear_failures(&self) {
        let hosts = self.hosts.lock();
        hosts.values().for_each(|queue| queue.clear_failure());
    }

    /// Drops what waits for any server; messages under way may finish.
    pub(crate) fn stop(&self) {
        let hosts = self.hosts.lock();
        hosts.values().for_each(|queue| queue.stop());
    }
}

fn open(queue: Arc<HostQueue>, relay: Arc<Relay>) {
    tokio::spawn(connection::run(queue, relay));
}
