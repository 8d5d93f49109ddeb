//! Periodic work: reads renewed certificates and purges removed messages and old history. `assembly` starts it.

use crate::{access::maildrop, limits::adjustable::Adjustable};
use posta_mail::{Domain, Timestamp};
use posta_net::{clock::Clock, tls::server::Tls};
use posta_store::{Store, StoreError};
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

/// Purges removed messages and old history from time to time.
pub(crate) async fn sweep(
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    expire: Arc<Adjustable<Option<u32>>>,
    mut stopping: watch::Receiver<bool>,
) {
    loop {
        match sweep_some(&*store, clock.now(), *expire.get()).await {
            Ok(0) => {}
            Ok(_) => continue,
            Err(error) => tracing::error!(%error, "what is over could not be purged"),
        }
        tokio::select! {
            () = sleep(SWEEP_EVERY) => {}
            _ = stopping.wait_for(|&stopping| stopping) => return,
        }
    }
}

async fn sweep_some(
    store: &dyn Store,
    now: Timestamp,
    expire: Option<u32>,
) -> Result<usize, StoreError> {
    let expired = match expire {
        Some(days) => store.expire(now - DAY * days, now, now + maildrop::PURGE_AFTER).await?,
        None => 0,
    };
    Ok(expired + store.sweep(now).await? + store.forget(now - REMEMBERED).await?)
}
