//! Finding out which host takes changes now, while an answer does not come.
//!
//! An old primary that does not know of a failover ends no connection: its commits wait for the standby that left it, without
//! end. Whoever waits for such an answer looks from time to time whether another host is the primary by now.

use super::{CONNECT, hosts};
use crate::settings::Settings;
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};

/// The time after which an answer counts as slow, and from one look to the next.
pub(super) const SLOW: Duration = Duration::from_secs(4);

/// The time for which all who wait take the result of one look.
const FRESH: Duration = Duration::from_secs(1);

/// Waits until another host than this one takes changes.
pub(super) async fn another_than(host: usize, settings: &Settings) {
    while find(settings).await.is_none_or(|found| found == host) {
        sleep(SLOW).await;
    }
}

/// Returns the host that takes changes, if there is one.
async fn find(settings: &Settings) -> Option<usize> {
    let mut last = settings.last_look.lock().await;
    if let Some((when, host)) = *last
        && when.elapsed() < FRESH
    {
        return host;
    }
    let opened = timeout(CONNECT, hosts::connect(settings)).await;
    let host = opened.ok().and_then(Result::ok).map(|(host, _)| host);
    *last = Some((Instant::now(), host));
    host
}
