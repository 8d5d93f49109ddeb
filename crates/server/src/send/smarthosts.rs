//! Log lines about smarthosts that do not accept mail: when that begins, once a day while it lasts, and
//! when it is over. All outgoing mail waits for a smarthost, and nothing else would inform the operator.

use super::{host_failure::HostFailure, offer::OfferOutcome};
use crate::send::route::Host;
use parking_lot::Mutex;
use posta_mail::Timestamp;
use std::{collections::HashMap, time::Duration};

/// The interval at which the log repeats that a smarthost is down.
const AGAIN: Duration = Duration::from_secs(24 * 60 * 60);

/// The smarthosts that do not accept mail at present, by name and port. The configuration limits their
/// number.
#[derive(Debug, Default)]
pub(crate) struct Smarthosts(Mutex<HashMap<String, Down>>);

#[derive(Debug, Clone, Copy)]
struct Down {
    since: Timestamp,
    /// The time of the last log line.
    logged: Timestamp,
    /// The number of items that were not accepted.
    times: u64,
}

/// A change that should be logged.
#[derive(Debug, PartialEq, Eq)]
enum Change {
    Down,
    StillDown { since: Timestamp, times: u64 },
    Up { since: Timestamp, times: u64 },
}

impl Smarthosts {
    /// Records whether a host accepted an item, and logs when a smarthost goes down, stays down or comes
    /// back.
    pub(crate) fn note(
        &self,
        host: &Host,
        offered: &Result<OfferOutcome, HostFailure>,
        now: Timestamp,
    ) {
        let Host::Smarthost(smarthost) = host else { return };
        let name = format!("{}:{}", smarthost.host, smarthost.port);
        let change = self.change(&name, offered.is_ok(), now);
        let reply = offered.as_ref().err().map(|trouble| trouble.decision.to_string());
        match change {
            None => {}
            Some(Change::Down) => tracing::warn!(
                smarthost = name,
                reply,
                "the smarthost takes no mail, so outgoing mail waits"
            ),
            Some(Change::StillDown { since, times }) => tracing::warn!(
                smarthost = name,
                reply,
                since = format!("{since:.0}"),
                times,
                "the smarthost still takes no mail"
            ),
            Some(Change::Up { since, times }) => tracing::info!(
                smarthost = name,
                since = format!("{since:.0}"),
                times,
                "the smarthost takes mail again"
            ),
        }
    }

    fn change(&self, name: &str, works: bool, now: Timestamp) -> Option<Change> {
        let mut all = self.0.lock();
        if works {
            let Down { since, times, .. } = all.remove(name)?;
            return Some(Change::Up { since, times });
        }
        let Some(down) = all.get_mut(name) else {
            all.insert(name.to_owned(), Down { since: now, logged: now, times: 1 });
            return Some(Change::Down);
        };
        down.times += 1;
        if now < down.logged + AGAIN {
            return None;
        }
        down.logged = now;
        Some(Change::StillDown { since: down.since, times: down.times })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dead_smarthost_is_told_of_once_a_day() {
        let smarthosts = Smarthosts::default();
        let start = Timestamp::UNIX_EPOCH;
        let minute = |minute: u64| start + Duration::from_secs(60 * minute);
        assert_eq!(smarthosts.change("a.test:25", true, start), None);
        let logged: Vec<_> =
            (0..3_000).filter_map(|at| smarthosts.change("a.test:25", false, minute(at))).collect();
        let again = |times| Change::StillDown { since: start, times };
        assert_eq!(logged, [Change::Down, again(1_441), again(2_881)]);
        assert_eq!(smarthosts.change("b.test:25", true, minute(3_000)), None);
        let up = Change::Up { since: start, times: 3_000 };
        assert_eq!(smarthosts.change("a.test:25", true, minute(3_000)), Some(up));
        assert_eq!(smarthosts.change("a.test:25", true, minute(3_001)), None);
        assert_eq!(smarthosts.change("a.test:25", false, minute(3_002)), Some(Change::Down));
    }
}
