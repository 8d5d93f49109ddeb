//! The servers that mail is handed to, each with a queue of its own.

use super::{
    Relay, connection,
    host_queue::{HostQueue, Job},
    peer::Peer,
    trouble::Trouble,
    visit::Found,
};
use parking_lot::Mutex;
use posta_store::Item;
use std::{collections::HashMap, sync::Arc};

/// All servers that something waits for, that have connections, or are down.
#[derive(Debug, Default)]
pub(crate) struct Hosts {
    hosts: Mutex<HashMap<Peer, Arc<HostQueue>>>,
}

impl Hosts {
    /// Hands an item to a server. None if the program stops.
    pub(crate) async fn send(
        &self,
        relay: &Arc<Relay>,
        peer: &Peer,
        item: Arc<Item>,
    ) -> Option<Result<Found, Trouble>> {
        let (job, result) = Job::new(item);
        self.queue(peer).push(job, relay);
        result.await.ok()
    }

    fn queue(&self, peer: &Peer) -> Arc<HostQueue> {
        let mut hosts = self.hosts.lock();
        if let Some(queue) = hosts.get(peer) {
            return queue.clone();
        }
        // Now and then, so that the table stays as large as what is going on.
        if hosts.len().is_power_of_two() {
            hosts.retain(|_, queue| queue.is_in_use());
        }
        let queue = Arc::new(HostQueue::new(peer.clone(), open));
        hosts.insert(peer.clone(), queue.clone());
        queue
    }

    /// Forgets who could not be reached.
    pub(crate) fn forgive(&self) {
        let hosts = self.hosts.lock();
        hosts.values().for_each(|queue| queue.forgive());
    }

    /// Nothing is sent any more but what is under way.
    pub(crate) fn stop(&self) {
        let hosts = self.hosts.lock();
        hosts.values().for_each(|queue| queue.stop());
    }
}

fn open(queue: Arc<HostQueue>, relay: Arc<Relay>) {
    tokio::spawn(connection::run(queue, relay));
}
