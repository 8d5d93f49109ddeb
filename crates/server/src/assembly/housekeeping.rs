//! Periodic work: reads renewed certificates, purges removed messages and old history, and forgets what was remembered of
//! accounts that are gone. `assembly` starts it.

mod departed;

use crate::{access::maildrop, directory::arrangements, limits::adjustable::Adjustable};
use posta_mail::{Domain, Timestamp};
use posta_net::{clock::Clock, tls::server::Tls};
use posta_store::{Destination, Event, ItemState, Settlement, Store, StoreError, What};
use std::{sync::Arc, time::Duration};
use tokio::{sync::watch, task::spawn_blocking, time::sleep};

/// The interval at which the certificate files are checked for changes.
const RELOAD_EVERY: Duration = Duration::from_secs(10);

/// The interval at which removed messages are purged, if their time has come.
const SWEEP_EVERY: Duration = Duration::from_secs(60);

/// Reads renewed certificates, so that they need no restart, and warns of certificates that do not suit
/// the server's name.
pub(crate) async fn follow_certificates(
    tls: Tls,
    hostname: Domain,
    clock: Arc<dyn Clock>,
    mut stopping: watch::Receiver<bool>,
) {
    let mut examined = None;
    loop {
        let now = clock.now();
        if examined.is_none_or(|examined| now >= examined + DAY) {
            tls.log_problems(&hostname, &*clock);
            examined = Some(now);
        }
        tokio::select! {
            () = sleep(RELOAD_EVERY) => {}
            _ = stopping.wait_for(|&stopping| stopping) => return,
        }
        // Files are read on a blocking thread, so that no session waits.
        let read = tls.clone();
        let Ok(reloaded) = spawn_blocking(move || read.reload()).await else { return };
        match reloaded {
            Ok(true) => {
                tracing::info!("the certificates were read again");
                examined = None;
            }
            Ok(false) => {}
            Err(error) => {
                tracing::warn!(%error, "the certificates changed and cannot be used: those before stay in use")
            }
        }
    }
}

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// The time for which the history is kept.
const REMEMBERED: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// How long a message waits in quarantine for the operator.
const QUARANTINED: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// Items of the queue that are looked at in a transaction.
const ITEMS: usize = 100;

/// The duty of sweeping: of the nodes of a cluster, one sweeps at a time.
const DUTY: &str = "sweep";

/// Purges removed messages and old history from time to time.
pub(crate) async fn sweep(
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    expire: Arc<Adjustable<Option<u32>>>,
    mut stopping: watch::Receiver<bool>,
) {
    let mut has_departed = true;
    loop {
        let now = clock.now();
        if has_duty(&*store).await {
            has_departed |= departed::are_due(&*store, now).await.unwrap_or(true);
            if sweep_some(&*store, now, *expire.get()).await > 0 {
                continue;
            }
            if has_departed {
                let forgotten = departed::forget(&*store).await;
                has_departed = forgotten.is_err();
                done("records of purged accounts could not be removed", forgotten);
            }
        }
        tokio::select! {
            () = sleep(SWEEP_EVERY) => {}
            _ = stopping.wait_for(|&stopping| stopping) => return,
        }
    }
}

async fn has_duty(store: &dyn Store) -> bool {
    store.take_duty(DUTY).await.unwrap_or_else(|error| {
        tracing::error!(%error, "nothing is swept: it is tried again");
        false
    })
}

/// Does a piece of each kind of work that is due. Returns the number of records that went. An error of one kind, such as a
/// damaged table, does not keep the others from their work.
async fn sweep_some(store: &dyn Store, now: Timestamp, expire: Option<u32>) -> usize {
    let expired = match expire {
        Some(days) => store.expire(now - DAY * days, now, now + maildrop::PURGE_AFTER).await,
        None => Ok(0),
    };
    let dropped = drop_quarantined(store, now).await;
    let purged = store.sweep(now).await;
    let forgotten = store.forget(now - REMEMBERED).await;
    let ended = arrangements::end_forwards(store, now).await;
    done("messages that were retrieved could not be removed", expired)
        + done("messages in quarantine could not be dropped", dropped)
        + done("removed messages could not be purged", purged)
        + done("forwards whose time is over could not be ended", ended)
        + done("old history could not be forgotten", forgotten)
}

/// Returns the number of records that went, or logs an error and returns 0.
fn done(failed: &str, outcome: Result<usize, StoreError>) -> usize {
    outcome.unwrap_or_else(|error| {
        tracing::error!(%error, "{failed}: it is tried again");
        0
    })
}

/// Drops what has been in quarantine for too long, and tells the history. Returns the number of items dropped.
async fn drop_quarantined(store: &dyn Store, now: Timestamp) -> Result<usize, StoreError> {
    let (mut after, mut dropped) = (None, 0);
    loop {
        // The queue is in the order in which its messages came.
        let page = store.items(after, ITEMS).await?;
        let old = page.iter().take_while(|item| item.accepted < now - QUARANTINED);
        let is_over = page.len() < ITEMS || old.clone().count() < page.len();
        for item in old.filter(|item| item.state == ItemState::Quarantined) {
            let destination = match &item.destination {
                Destination::Local => "local".to_owned(),
                Destination::Domain(domain) => domain.clone(),
            };
            let what = What::Removed { destination };
            let settlement = Settlement {
                item: item.id,
                token: None,
                time: now,
                left: None,
                deliveries: Vec::new(),
                reports: Vec::new(),
                events: vec![Event { id: item.id.content, time: now, what }],
            };
            store.settle(settlement).await?;
            tracing::info!(id = %item.id, "dropped after 30 days in quarantine");
            dropped += 1;
        }
        if is_over {
            return Ok(dropped);
        }
        after = page.last().map(|item| item.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use posta_net::{clock::SimulatedClock, tls::server::self_signed};
    use std::sync::atomic::{AtomicUsize, Ordering};
    use tracing::{Event, Metadata, Subscriber, span};

    /// A log that only counts its warnings.
    struct Warnings(Arc<AtomicUsize>);

    impl Subscriber for Warnings {
        fn enabled(&self, metadata: &Metadata<'_>) -> bool {
            *metadata.level() == tracing::Level::WARN
        }

        fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
            span::Id::from_u64(1)
        }

        fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

        fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

        fn event(&self, _: &Event<'_>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }

        fn enter(&self, _: &span::Id) {}

        fn exit(&self, _: &span::Id) {}
    }

    /// A warning may be overlooked once: it comes at the start, and each day again.
    #[tokio::test(start_paused = true)]
    async fn a_wrong_certificate_is_told_of_daily() {
        let warnings = Arc::new(AtomicUsize::new(0));
        let guard = tracing::subscriber::set_default(Warnings(warnings.clone()));
        let directory = tempfile::tempdir().unwrap();
        let files = self_signed(directory.path(), "mail.x.test").unwrap();
        let tls = Tls::load(vec![files]).unwrap();
        let start: Timestamp = "2027-01-10T00:00:00Z".parse().unwrap();
        let clock = Arc::new(SimulatedClock::new(start, 1));
        let (stop, stopping) = watch::channel(false);
        let name = "mx.x.test".parse().unwrap();
        let following = tokio::spawn(follow_certificates(tls, name, clock.clone(), stopping));
        for (hours, told) in [(0, 1), (23, 1), (24, 2), (47, 2), (48, 3)] {
            clock.set(start + Duration::from_secs(hours * 60 * 60));
            sleep(2 * RELOAD_EVERY).await;
            assert_eq!(warnings.load(Ordering::Relaxed), told, "after {hours} hours");
        }
        stop.send_replace(true);
        following.await.unwrap();
        drop(guard);
    }
}
