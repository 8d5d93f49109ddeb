//! What the service manager is told (sd_notify(3)): that the server starts, listens, reloads or stops, and that it is
//! alive. Without a service manager that asks for it (`NOTIFY_SOCKET`), nothing is sent.

use crate::log::Log;
use sd_notify::NotifyState::{
    ExtendTimeoutUsec, MonotonicUsec, Ready, Reloading, Status, Stopping, Watchdog,
};
use std::{sync::Arc, time::Duration};
use tokio::{task::JoinHandle, time::sleep};

/// How often the manager hears of a start that takes long.
const EVERY: Duration = Duration::from_secs(5);

/// The time that each of these messages asks for.
const MORE_TIME: Duration = Duration::from_secs(60);

/// The longest time for which a start asks for more time, so that one that hangs ends some day.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// Reports to the service manager that the store is being opened, until this value is dropped.
pub(super) struct StoreOpening {
    telling: JoinHandle<()>,
    log: Arc<Log>,
}

impl StoreOpening {
    /// Tells the manager now and then that the store is being opened, with what the log said last, and asks for time:
    /// recovering or upgrading a large store takes longer than other starts.
    pub(super) fn begin(log: &Arc<Log>) -> Self {
        log.keep_last(true);
        tell_of_opening(log, Duration::ZERO);
        let telling = tokio::spawn(keep_telling(log.clone()));
        Self { telling, log: log.clone() }
    }
}

impl Drop for StoreOpening {
    fn drop(&mut self) {
        self.telling.abort();
        self.log.keep_last(false);
    }
}

async fn keep_telling(log: Arc<Log>) {
    let mut waited = Duration::ZERO;
    while waited < LONGEST {
        sleep(EVERY).await;
        waited += EVERY;
        tell_of_opening(&log, waited);
    }
}

fn tell_of_opening(log: &Log, waited: Duration) {
    let last = log.last().map(|last| format!(": {last}")).unwrap_or_default();
    let status = one_line(&format!("opening the store, {} s so far{last}", waited.as_secs()));
    tell(&[ExtendTimeoutUsec(microseconds(MORE_TIME)), Status(&status)]);
}

/// Tells that the server listens.
pub(super) fn tell_ready(listening: &str) {
    tell(&[Ready, Status(&format!("listening: {listening}"))]);
}

/// Tells that the configuration is being read again.
pub(super) fn tell_reloading() {
    match sd_notify::NotifyState::monotonic_usec_now() {
        // systemd 253 and later compare this time with that of their request.
        Ok(MonotonicUsec(now)) => tell(&[Reloading, MonotonicUsec(now)]),
        _ => tell(&[Reloading]),
    }
}

/// Tells that reading the configuration again has ended, and how.
pub(super) fn tell_reloaded(outcome: &str) {
    tell(&[Ready, Status(&one_line(outcome))]);
}

/// Tells that the server stops.
pub(super) fn tell_stopping() {
    tell(&[Stopping, Status("stopping: sessions may finish what they are doing")]);
}

/// Says twice in the time that the manager allows (`WatchdogSec=`) that the tasks of this process get their turn.
pub(super) async fn keep_watchdog_quiet() {
    let Some(allowed) = sd_notify::watchdog_enabled() else { return };
    loop {
        tell(&[Watchdog]);
        sleep(allowed / 2).await;
    }
}

fn tell(states: &[sd_notify::NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "the service manager cannot be told (NOTIFY_SOCKET)");
    }
}

/// Each line of a message to the manager is a statement of its own, so a status has one.
fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn microseconds(time: Duration) -> u32 {
    u32::try_from(time.as_micros()).unwrap_or(u32::MAX)
}
