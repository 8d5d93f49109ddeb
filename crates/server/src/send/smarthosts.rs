//! Smarthosts that take no mail: told when that begins, once a day while it lasts, and when it is over. All
//! mail for elsewhere waits for them, and the queue tells nobody of that by itself.

use super::{trouble::Trouble, visit::Found};
use crate::send::route::Host;
use parking_lot::Mutex;
use posta_mail::Timestamp;
use std::{collections::HashMap, time::Duration};

/// How often one that is down is told of again.
const AGAIN: Duration = Duration::from_secs(24 * 60 * 60);

/// The smarthosts that take no mail; there are no more than the operator names.
#[derive(Debug, Default)]
pub(crate) struct Smarthosts(Mutex<HashMap<String, Down>>);

#[derive(Debug, Clone, Copy)]
struct Down {
    since: Timestamp,
    told: Timestamp,
    times: u64,
}

/// What there is to tell.
#[derive(Debug, PartialEq, Eq)]
enum News {
    Down,
    StillDown { since: Timestamp, times: u64 },
    Up { since: Timestamp, times: u64 },
}

impl Smarthosts {
    /// Notes how a host took an item, and tells the log if that is news of a smarthost.
    pub(crate) fn note(&self, host: &Host, offered: &Result<Found, Trouble>, now: Timestamp) {
        let Host::Smarthost(smarthost) = host else { return };
        let name = format!("{}:{}", smarthost.host, smarthost.port);
        let news = self.news(&name, offered.is_ok(), now);
        let reply = offered.as_ref().err().map(|trouble| trouble.decision.to_string());
        match news {
            None => {}
            Some(News::Down) => tracing::warn!(
                smarthost = name,
                reply,
                "the smarthost takes no mail, and what is for elsewhere waits"
            ),
            Some(News::StillDown { since, times }) => tracing::warn!(
                smarthost = name,
                reply,
                since = format!("{since:.0}"),
                times,
                "the smarthost still takes no mail"
            ),
            Some(News::Up { since, times }) => tracing::info!(
                smarthost = name,
                since = format!("{since:.0}"),
                times,
                "the smarthost takes mail again"
            ),
        }
    }

    fn news(&self, name: &str, works: bool, now: Timestamp) -> Option<News> {
        let mut all = self.0.lock();
        if works {
            let Down { since, times, .. } = all.remove(name)?;
            return Some(News::Up { since, times });
        }
        let Some(down) = all.get_mut(name) else {
            all.insert(name.to_owned(), Down { since: now, told: now, times: 1 });
            return Some(News::Down);
        };
        down.times += 1;
        if now < down.told + AGAIN {
            return None;
        }
        down.told = now;
        Some(News::StillDown { since: down.since, times: down.times })
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
        assert_eq!(smarthosts.news("a.test:25", true, start), None);
        let told: Vec<_> =
            (0..3_000).filter_map(|at| smarthosts.news("a.test:25", false, minute(at))).collect();
        let again = |times| News::StillDown { since: start, times };
        assert_eq!(told, [News::Down, again(1_441), again(2_881)]);
        assert_eq!(smarthosts.news("b.test:25", true, minute(3_000)), None);
        let up = News::Up { since: start, times: 3_000 };
        assert_eq!(smarthosts.news("a.test:25", true, minute(3_000)), Some(up));
        assert_eq!(smarthosts.news("a.test:25", true, minute(3_001)), None);
        assert_eq!(smarthosts.news("a.test:25", false, minute(3_002)), Some(News::Down));
    }
}
