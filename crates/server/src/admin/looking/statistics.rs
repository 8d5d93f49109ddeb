//! The history added up: how much mail came and went, how long it took, how large it was, from whom and to whom, and
//! what was refused.
//!
//! The history is read in pages, the newest first, and what is kept of it is bounded: a number for each hour or day, ranges
//! of sizes and delays, and tables of names that drop their smallest entries when they are full.

use super::trace::PAGE;
use crate::admin::{Admin, AdminError};
use posta_mail::{MailId, ReversePath, Timestamp};
use posta_store::{Event, HistogramFigures, InMailbox, Refusal, What};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{collections::HashMap, time::Duration};

/// The time that statistics are about by default, and the longest.
const USUAL: Duration = Duration::from_secs(7 * 24 * 60 * 60);
const LONGEST: Duration = Duration::from_secs(366 * 24 * 60 * 60);

/// The longest time that is told hour by hour.
const HOURLY: Duration = Duration::from_secs(3 * 24 * 60 * 60);

/// The number of names that a table keeps when it is full, and the number of those that are told.
const NAMES: usize = 5_000;
const TOLD: usize = 20;

/// Bounds of delays, in milliseconds, from a hundredth of a second to five days.
const DELAYS: &[u64] = &[
    10,
    20,
    50,
    100,
    200,
    500,
    1_000,
    2_000,
    5_000,
    10_000,
    20_000,
    30_000,
    60_000,
    120_000,
    300_000,
    600_000,
    1_200_000,
    1_800_000,
    3_600_000,
    7_200_000,
    14_400_000,
    28_800_000,
    57_600_000,
    86_400_000,
    172_800_000,
    259_200_000,
    432_000_000,
];

/// The maximal number of characters of a name.
const NAME: usize = 100;

/// The history added up. Messages count in the period in which they arrived.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Statistics {
    /// The beginning of the time.
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub since: Timestamp,
    /// The end of the time: the present.
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub until: Timestamp,
    /// The number of seconds in each of the periods.
    pub period: u64,
    /// The periods, in order, also those in which nothing happened.
    pub periods: Vec<PeriodLine>,
    /// The sizes of the messages, in octets.
    pub sizes: HistogramFigures,
    /// The time from the acceptance of a message until another server accepted it, in milliseconds, for each recipient.
    pub delays: HistogramFigures,
    /// The addresses that sent the most messages.
    pub senders: Vec<TopLine>,
    /// The domains that the most messages reached or could not reach, here and elsewhere.
    pub destinations: Vec<TopLine>,
    /// The most frequent refusals, by the codes of their replies.
    pub refusals: Vec<TopLine>,
    /// The time of the oldest event that was found; none if there was none.
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub oldest: Option<Timestamp>,
}

/// A period.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct PeriodLine {
    /// Its beginning.
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub time: Timestamp,
    /// The number of messages accepted.
    pub accepted: u64,
    /// Their octets.
    pub octets: u64,
    /// The number of copies in mailboxes here.
    pub delivered: u64,
    /// The number of recipients for whom other servers accepted messages of this period.
    pub sent: u64,
    /// The number of recipients whom messages of this period could not reach.
    pub failed: u64,
    /// The number of refusals.
    pub refused: u64,
}

/// A name and how often it occurred.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct TopLine {
    /// The name.
    pub name: String,
    /// How often: messages, recipients or refusals.
    pub times: u64,
    /// The octets of these messages; 0 for refusals.
    pub octets: u64,
}

impl Admin {
    pub(super) async fn statistics(&self, within: Option<u64>) -> Result<Statistics, AdminError> {
        let within = within.map_or(USUAL, Duration::from_secs).min(LONGEST);
        let mut sum = Sum::new(self.clock.now(), within);
        let oldest = MailId::new(sum.statistics.since, 0);
        let mut before = None;
        loop {
            let page = self.store.events(before, PAGE).await?;
            let Some(last) = page.last().map(|last| last.id) else { break };
            before = Some(last);
            for message in page.chunk_by(|one, other| one.id == other.id) {
                if message[0].id >= oldest {
                    sum.add(message);
                }
            }
            if last < oldest {
                break;
            }
        }
        Ok(sum.finish())
    }
}

/// What has been added up so far.
struct Sum {
    statistics: Statistics,
    senders: Table,
    destinations: Table,
    refusals: Table,
}

impl Sum {
    fn new(now: Timestamp, within: Duration) -> Self {
        let period = if within <= HOURLY { 60 * 60 } else { 24 * 60 * 60 };
        let round = |time: Timestamp| time.as_second().div_euclid(period) * period;
        let first = round(now.saturating_sub(within).unwrap_or(now));
        let begin = |second| Timestamp::from_second(second).unwrap_or_default();
        let periods = (first..=round(now)).step_by(period as usize);
        let periods =
            periods.map(|second| PeriodLine { time: begin(second), ..PeriodLine::default() });
        Self {
            statistics: Statistics {
                since: begin(first),
                until: now,
                period: period as u64,
                periods: periods.collect(),
                sizes: HistogramFigures::new((0..18).map(|power| 1_024 << power).collect()),
                delays: HistogramFigures::new(DELAYS.to_vec()),
                ..Statistics::default()
            },
            senders: Table::default(),
            destinations: Table::default(),
            refusals: Table::default(),
        }
    }

    /// Adds the events of one message, in order.
    fn add(&mut self, events: &[Event]) {
        let first = events[0].time;
        let oldest = self.statistics.oldest.map_or(first, |oldest| oldest.min(first));
        self.statistics.oldest = Some(oldest);
        let mut octets = 0;
        for event in events {
            match &event.what {
                What::Accepted { from, octets: size, mailboxes, refused, .. } => {
                    octets = *size;
                    self.accepted(from, *size);
                    let copies = self.delivered(mailboxes, *size);
                    if let Some(period) = self.period(first) {
                        period.accepted += 1;
                        period.octets += size;
                        period.delivered += copies;
                    }
                    self.refused(event.time, refused);
                }
                What::Attempted { recipients, mailboxes, destination, .. } => {
                    let is_local = destination == "local";
                    let (mut sent, mut failed) = (0, 0);
                    for fate in recipients {
                        match fate.action.as_str() {
                            "delayed" => continue,
                            "failed" => failed += 1,
                            _ => sent += 1,
                        }
                        if !is_local {
                            self.destinations.count(fate.recipient.domain(), 1, octets);
                        }
                    }
                    let delay = event.time.duration_since(first).as_millis();
                    for _ in (0..sent).filter(|_| !is_local) {
                        self.statistics.delays.observe(u64::try_from(delay).unwrap_or_default());
                    }
                    let copies = self.delivered(mailboxes, octets);
                    if let Some(period) = self.period(first) {
                        period.sent += if is_local { 0 } else { sent };
                        period.failed += failed;
                        period.delivered += copies;
                    }
                }
                What::Refused { refused, .. } | What::Collected { refused, .. } => {
                    self.refused(event.time, refused);
                }
                What::Counted { refusals, .. } => {
                    for counted in refusals {
                        self.refusal(event.time, &counted.reply, counted.times);
                    }
                }
                What::Filtered { .. }
                | What::Checked { .. }
                | What::LockedOut { .. }
                | What::Released
                | What::Removed { .. }
                | What::Reported { .. } => {}
            }
        }
        if octets > 0 {
            self.statistics.sizes.observe(octets);
        }
    }

    fn accepted(&mut self, from: &ReversePath, octets: u64) {
        match from {
            ReversePath::Null => self.senders.count("<>", 1, octets),
            ReversePath::Address(sender) => self.senders.count(sender.as_str(), 1, octets),
        }
    }

    /// Counts copies in mailboxes here, and returns their number.
    fn delivered(&mut self, mailboxes: &[InMailbox], octets: u64) -> u64 {
        let mut copies = 0;
        for mailbox in mailboxes.iter().flat_map(InMailbox::mailboxes) {
            self.destinations.count(mailbox.domain(), 1, octets);
            copies += 1;
        }
        copies
    }

    fn refused(&mut self, time: Timestamp, refused: &[Refusal]) {
        for Refusal { reply, times, .. } in refused {
            self.refusal(time, reply, u64::from(*times));
        }
    }

    fn refusal(&mut self, time: Timestamp, reply: &str, times: u64) {
        self.refusals.count(codes(reply), times, 0);
        if let Some(period) = self.period(time) {
            period.refused += times;
        }
    }

    /// Returns the period of a time, unless it is outside.
    fn period(&mut self, time: Timestamp) -> Option<&mut PeriodLine> {
        let seconds = time.as_second() - self.statistics.since.as_second();
        let index = u64::try_from(seconds).ok()? / self.statistics.period;
        self.statistics.periods.get_mut(usize::try_from(index).ok()?)
    }

    fn finish(self) -> Statistics {
        let Self { statistics, senders, destinations, refusals } = self;
        Statistics {
            senders: senders.top(),
            destinations: destinations.top(),
            refusals: refusals.top(),
            ..statistics
        }
    }
}

/// Counts by name. When there are twice [`NAMES`], those with the smallest counts are dropped, so the counts are exact
/// unless there are more names.
#[derive(Default)]
struct Table(HashMap<String, (u64, u64)>);

impl Table {
    fn count(&mut self, name: &str, times: u64, octets: u64) {
        let name = name.char_indices().nth(NAME).map_or(name, |(end, _)| &name[..end]);
        if let Some((counted, sum)) = self.0.get_mut(name) {
            *counted += times;
            *sum += octets;
            return;
        }
        if self.0.len() >= 2 * NAMES {
            let mut counts: Vec<_> = self.0.values().map(|(times, _)| *times).collect();
            let (_, middle, _) = counts.select_nth_unstable(NAMES);
            let middle = *middle;
            // Of names with the same count, as of many that occurred once, any may go.
            let mut room = NAMES;
            self.0.retain(|_, (times, _)| {
                let stays = *times > middle || (*times == middle && room > NAMES / 2);
                room = room.saturating_sub(usize::from(stays));
                stays
            });
        }
        self.0.insert(name.to_owned(), (times, octets));
    }

    fn top(self) -> Vec<TopLine> {
        let mut lines: Vec<_> = self
            .0
            .into_iter()
            .map(|(name, (times, octets))| TopLine { name, times, octets })
            .collect();
        lines.sort_by(|one, other| {
            other.times.cmp(&one.times).then_with(|| one.name.cmp(&other.name))
        });
        lines.truncate(TOLD);
        lines
    }
}

/// Returns the codes at the beginning of a reply, which are the same for all addresses: `550 5.1.1`, `[AUTH]`.
fn codes(reply: &str) -> &str {
    let is_code =
        |word: &&str| word.starts_with(|first: char| first.is_ascii_digit() || first == '[');
    let length: usize =
        reply.split(' ').take(2).take_while(is_code).map(|word| word.len() + 1).sum();
    reply.get(..length.saturating_sub(1)).filter(|codes| !codes.is_empty()).unwrap_or("other")
}

impl Statistics {
    /// Returns the sums of all periods.
    #[must_use]
    pub fn total(&self) -> PeriodLine {
        let none = PeriodLine { time: self.since, ..PeriodLine::default() };
        self.periods.iter().fold(none, |sum, period| PeriodLine {
            time: sum.time,
            accepted: sum.accepted + period.accepted,
            octets: sum.octets + period.octets,
            delivered: sum.delivered + period.delivered,
            sent: sum.sent + period.sent,
            failed: sum.failed + period.failed,
            refused: sum.refused + period.refused,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use posta_store::{Fate, Origin};

    fn now() -> Timestamp {
        "2027-01-15T12:34:56Z".parse().unwrap()
    }

    fn ago(minutes: u64) -> Timestamp {
        now() - Duration::from_secs(minutes * 60)
    }

    fn accepted(time: Timestamp, from: &str, octets: u64) -> Event {
        let to = vec!["ana@x.test".parse().unwrap(), "bob@y.test".parse().unwrap()];
        let refusal = Refusal {
            about: "RCPT TO:<no@x.test>".to_owned(),
            reply: "550 5.1.1 No such user".to_owned(),
            why: None,
            times: 2,
        };
        let what = What::Accepted {
            origin: Origin::default(),
            from: ReversePath::Address(from.parse().unwrap()),
            to,
            message_id: None,
            octets,
            mailboxes: vec![InMailbox::Own("ana@x.test".parse().unwrap())],
            refused: vec![refusal],
        };
        Event { id: MailId::new(time, 1), time, what }
    }

    fn attempted(accepted: Timestamp, time: Timestamp, action: &str) -> Event {
        let fate = Fate {
            recipient: "bob@y.test".parse().unwrap(),
            action: action.to_owned(),
            reply: String::new(),
            ours: false,
        };
        let what = What::Attempted {
            destination: "y.test".to_owned(),
            host: None,
            tls: None,
            recipients: vec![fate],
            mailboxes: Vec::new(),
            next: None,
        };
        Event { id: MailId::new(accepted, 1), time, what }
    }

    #[test]
    fn a_history_is_added_up() {
        let mut sum = Sum::new(now(), Duration::from_secs(24 * 60 * 60));
        let (first, second) = (ago(30), ago(120));
        sum.add(&[
            accepted(first, "s@z.test", 3_000),
            attempted(first, ago(29), "delayed"),
            attempted(first, ago(25), "relayed"),
        ]);
        sum.add(&[accepted(second, "t@z.test", 100), attempted(second, ago(60), "failed")]);
        sum.add(&[accepted(ago(125), "s@z.test", 3_000)]);
        let statistics = sum.finish();
        assert_eq!(statistics.since.to_string(), "2027-01-14T12:00:00Z");
        assert_eq!((statistics.period, statistics.periods.len()), (3_600, 25));
        let total = statistics.total();
        assert_eq!((total.accepted, total.octets, total.delivered), (3, 6_100, 3));
        assert_eq!((total.sent, total.failed, total.refused), (1, 1, 6));
        assert_eq!(statistics.periods[24].accepted, 1);
        assert_eq!(statistics.periods[22].accepted, 2);
        let top = |lines: &[TopLine]| {
            lines.iter().map(|line| (line.name.clone(), line.times)).collect::<Vec<_>>()
        };
        assert_eq!(top(&statistics.senders), [("s@z.test".into(), 2), ("t@z.test".into(), 1)]);
        assert_eq!(top(&statistics.destinations), [("x.test".into(), 3), ("y.test".into(), 2)]);
        assert_eq!(top(&statistics.refusals), [("550 5.1.1".into(), 6)]);
        assert_eq!(statistics.sizes.quantile(0.5), Some(4_096));
        // Five minutes.
        assert_eq!(
            (statistics.delays.count(), statistics.delays.quantile(0.5)),
            (1, Some(300_000))
        );
    }

    #[test]
    fn tables_keep_the_frequent_names() {
        let mut table = Table::default();
        for number in 0..10 * NAMES {
            table.count(&format!("once{number}"), 1, 1);
            table.count("often", 1, 1);
        }
        assert!(table.0.len() <= 2 * NAMES);
        let top = table.top();
        assert_eq!((top[0].name.as_str(), top[0].times), ("often", 10 * NAMES as u64));
    }

    #[test]
    fn a_reply_is_known_by_its_codes() {
        for (reply, expected) in [
            ("550 5.1.1 No such user", "550 5.1.1"),
            ("421 too many", "421"),
            ("[AUTH] wrong name or password", "[AUTH]"),
            ("[SYS/TEMP] no", "[SYS/TEMP]"),
            ("refused", "other"),
            ("", "other"),
        ] {
            assert_eq!(codes(reply), expected, "{reply}");
        }
    }
}
