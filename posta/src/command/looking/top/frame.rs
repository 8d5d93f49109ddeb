//! A frame of `posta top`: what the server does, in as many lines as there is room for.

use super::samples::{Rate, Samples};
use crate::command::looking::{age, svg::cut, text_plot};
use posta_mail::visible::escaped;
use posta_server::admin::looking::{NamedDestination, RecentRefusal, ServerFigures};
use posta_store::HistogramFigures;

/// The size of a terminal, in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Size {
    pub(super) columns: usize,
    pub(super) rows: usize,
}

impl Default for Size {
    fn default() -> Self {
        Self { columns: 80, rows: 24 }
    }
}

/// A line of a frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) text: String,
    pub(super) emphasis: Emphasis,
}

/// How a line stands out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Emphasis {
    None,
    Heading,
    Alert,
}

/// A frame.
pub(super) struct Frame<'s> {
    samples: &'s Samples,
    last: &'s ServerFigures,
    /// Why the figures are not of now.
    problem: Option<&'s str>,
}

/// The columns of a row's name, and of its numbers.
const NAME: usize = 12;
const NUMBERS: usize = 34;

/// The most destinations and refusals, where there is room for more.
const DESTINATIONS: usize = 10;
const REFUSALS: usize = 16;

impl<'s> Frame<'s> {
    /// Returns the frame of the newest figures; none before there are any.
    pub(super) fn new(samples: &'s Samples, problem: Option<&'s str>) -> Option<Self> {
        samples.last().map(|last| Self { samples, last, problem })
    }

    /// Returns the lines, of which none is longer than a row, and no more than there are rows.
    pub(super) fn lines(&self, size: Size) -> Vec<Line> {
        let mut lines = vec![self.head(size)];
        if let Some(problem) = self.problem {
            lines.push(alert(format!("The figures are old: {}", escaped(problem))));
        }
        lines.push(heading(format!(
            "{:NAME$}{:>10}{:>10}{:>14}",
            "", "now", "a minute", "since start"
        )));
        lines.extend(self.rates(size));
        lines.extend(self.times());
        lines.push(plain(self.sessions()));
        lines.push(plain(self.queue()));
        let left = size.rows.saturating_sub(lines.len());
        // A third for destinations, the rest for refusals.
        let for_destinations = (left / 2).clamp(3, DESTINATIONS + 2);
        lines.extend(self.destinations(for_destinations));
        let left = size.rows.saturating_sub(lines.len());
        lines.extend(self.refusals(left.min(REFUSALS + 2)));
        lines.truncate(size.rows);
        for line in &mut lines {
            line.text = cut(&line.text, size.columns);
        }
        lines
    }

    fn head(&self, size: Size) -> Line {
        let ServerFigures { hostname, version, started, time, .. } = self.last;
        let left = format!("{hostname}  Posta {version}  up {}", age(*started, *time));
        let right = format!("{time:.0}  q: quit");
        let room = size.columns.saturating_sub(left.chars().count() + right.len());
        heading(if room > 0 { format!("{left}{:room$}{right}", "") } else { left })
    }

    fn rates(&self, size: Size) -> Vec<Line> {
        let refused = |figures: &ServerFigures| {
            figures.counted.refusals.iter().map(|(_, count)| *count).sum::<u64>()
        };
        let failed =
            |figures: &ServerFigures| figures.counted.logins.failed + figures.counted.logins.locked;
        let rates = [
            ("accepted", self.samples.rate(|figures| figures.counted.accepted)),
            ("delivered", self.samples.rate(|figures| figures.counted.deliveries)),
            ("sent", self.samples.rate(|figures| figures.counted.sent.delivered)),
            ("deferred", self.samples.rate(|figures| figures.counted.sent.deferred)),
            ("refused", self.samples.rate(refused)),
            ("retrieved", self.samples.rate(|figures| figures.counted.retrieved)),
            ("bad logins", self.samples.rate(failed)),
        ];
        let room = size.columns.saturating_sub(NAME + NUMBERS + 3);
        rates.into_iter().map(|(name, rate)| plain(rate_row(name, &rate, room))).collect()
    }

    fn times(&self) -> [Line; 2] {
        let accept = self.samples.distribution(|figures| &figures.counted.accept);
        let syncs = self.samples.distribution(|figures| &figures.store.syncs);
        let groups = self.samples.distribution(|figures| &figures.store.groups);
        let rate = self.samples.rate(|figures| figures.store.syncs.count());
        let each = groups.sum as f64 / groups.count().max(1) as f64;
        let (rate, syncs) = (per_second(rate.now), percentiles(&syncs));
        [
            plain(format!("{:NAME$}{}", "250 after", percentiles(&accept))),
            plain(format!("{:NAME$}{syncs}, {rate}, {each:.1} requests each", "syncs")),
        ]
    }

    fn sessions(&self) -> String {
        let open = self.last.counted.sessions.iter();
        let open: Vec<_> = open.map(|(protocol, count)| format!("{protocol} {count}")).collect();
        format!("{:NAME$}{}   lock-outs {}", "sessions", open.join("  "), self.last.lockouts)
    }

    fn queue(&self) -> String {
        let states = self.last.queue.states.iter().map(|line| {
            let oldest = line.oldest.map(|oldest| age(oldest, self.last.time));
            let oldest = oldest.map(|oldest| format!(" (oldest {oldest})")).unwrap_or_default();
            format!("{} {}{oldest}", line.state, line.items)
        });
        format!("{:NAME$}{}", "queue", states.collect::<Vec<_>>().join("  "))
    }

    /// Returns at most `rows` lines about destinations, the slowest first.
    fn destinations(&self, rows: usize) -> Vec<Line> {
        let mut lines = vec![
            plain(String::new()),
            heading(format!(
                "{:<32}{:>10}{:>10}{:>8}{:>14}",
                "Slowest destinations", "delivered", "deferred", "failed", "each attempt"
            )),
        ];
        let mut destinations: Vec<_> = self.last.counted.destinations.iter().collect();
        destinations.sort_by_key(|it| std::cmp::Reverse(it.figures.recent_micros));
        if destinations.is_empty() {
            lines.push(plain("none yet".to_owned()));
        }
        for NamedDestination { destination, figures } in destinations {
            let (name, outcomes) = (cut(&escaped(destination), 31), figures.outcomes);
            lines.push(plain(format!(
                "{name:<32}{:>10}{:>10}{:>8}{:>14}",
                outcomes.delivered,
                outcomes.deferred,
                outcomes.failed,
                time(figures.recent_micros)
            )));
        }
        lines.truncate(rows);
        lines
    }

    /// Returns at most `rows` lines about refusals, the latest first.
    fn refusals(&self, rows: usize) -> Vec<Line> {
        let mut lines = vec![plain(String::new()), heading("Latest refusals".to_owned())];
        if self.last.counted.recent_refusals.is_empty() {
            lines.push(plain("none yet".to_owned()));
        }
        for RecentRefusal { time, client, about, reply } in &self.last.counted.recent_refusals {
            let time = time.strftime("%H:%M:%S");
            let (about, reply) = (escaped(about), escaped(reply));
            // The codes of the reply come first; its text is what may be cut.
            let codes = reply.match_indices(' ').nth(1).map_or(reply.len(), |(end, _)| end);
            let (codes, words) = reply.split_at(codes);
            lines.push(plain(format!("{time}  {client:<15}  {codes}  {about} {words}")));
        }
        lines.truncate(rows);
        lines
    }
}

fn rate_row(name: &str, rate: &Rate, room: usize) -> String {
    let Rate { now, minute, each, total } = rate;
    let drawn = text_plot::line(each[each.len().saturating_sub(room)..].iter().copied());
    format!("{name:NAME$}{:>10}{:>10}{total:>14}   {drawn}", per_second(*now), per_second(*minute))
}

fn per_second(rate: f64) -> String {
    if rate >= 100.0 { format!("{rate:.0}/s") } else { format!("{rate:.1}/s") }
}

/// Returns the median and the 99th percentile of times in microseconds.
fn percentiles(figures: &HistogramFigures) -> String {
    let at = |share: f64| figures.quantile(share).map_or_else(|| "–".to_owned(), time);
    format!("50 % within {}, 99 % {}", at(0.5), at(0.99))
}

/// Returns a time in microseconds for a person.
fn time(micros: u64) -> String {
    match micros {
        0..1_000 => format!("{micros} µs"),
        1_000..10_000 => format!("{:.1} ms", micros as f64 / 1e3),
        10_000..1_000_000 => format!("{} ms", micros / 1_000),
        _ => format!("{:.1} s", micros as f64 / 1e6),
    }
}

fn plain(text: String) -> Line {
    Line { text, emphasis: Emphasis::None }
}

fn heading(text: String) -> Line {
    Line { text, emphasis: Emphasis::Heading }
}

fn alert(text: String) -> Line {
    Line { text, emphasis: Emphasis::Alert }
}

#[cfg(test)]
mod tests {
    use super::*;
    use posta_mail::Timestamp;
    use posta_server::admin::looking::{
        CountedFigures, DestinationFigures, Outcomes, QueueStateLine, QueueSurvey,
    };
    use posta_store::StoreFigures;

    fn figures(second: i64, accepted: u64) -> ServerFigures {
        let time = Timestamp::from_second(1_800_000_000 + second).unwrap();
        let started = Timestamp::from_second(1_799_900_000).unwrap();
        let destination = |name: &str, recent_micros| NamedDestination {
            destination: name.to_owned(),
            figures: DestinationFigures {
                attempts: 1,
                outcomes: Outcomes { delivered: 7, ..Outcomes::default() },
                micros: recent_micros,
                recent_micros,
            },
        };
        let refusal = RecentRefusal {
            time,
            client: "192.0.2.1".to_owned(),
            about: "RCPT TO:<x@y.test>\u{1b}[2J".to_owned(),
            reply: format!("550 5.1.1 {}", "no ".repeat(100)),
        };
        ServerFigures {
            version: "0.1.0".to_owned(),
            hostname: "mail.x.test".to_owned(),
            time,
            started,
            counted: CountedFigures {
                accepted,
                sessions: vec![("smtp".to_owned(), 3), ("pop3".to_owned(), 1)],
                destinations: vec![
                    destination("fast.test", 900),
                    destination("slow.test", 2_500_000),
                ],
                recent_refusals: vec![refusal; 20],
                ..CountedFigures::default()
            },
            store: StoreFigures::default(),
            queue: QueueSurvey {
                time,
                states: vec![QueueStateLine {
                    state: "waiting".to_owned(),
                    items: 12,
                    oldest: Some(started),
                    ..QueueStateLine::default()
                }],
            },
            lockouts: 2,
        }
    }

    fn text(samples: &Samples, problem: Option<&str>, size: Size) -> String {
        let lines = Frame::new(samples, problem).unwrap().lines(size);
        assert!(lines.len() <= size.rows);
        assert!(lines.iter().all(|line| line.text.chars().count() <= size.columns), "{lines:?}");
        lines.iter().map(|line| format!("{}\n", line.text)).collect()
    }

    #[test]
    fn a_frame_fits_every_terminal() {
        let mut samples = Samples::default();
        for second in 0..100 {
            samples.add(figures(second, second as u64 * 5));
        }
        let told = text(&samples, None, Size::default());
        for part in [
            "mail.x.test  Posta 0.1.0  up 1d 3h",
            "accepted         5.0/s     5.0/s           495   █",
            "sessions    smtp 3  pop3 1   lock-outs 2",
            "queue       waiting 12 (oldest 1d 3h)",
            "550 5.1.1  RCPT TO:<x@y.test>\\u{1b}[2J  no",
        ] {
            assert!(told.contains(part), "{part}\n{told}");
        }
        let slow = told.find("slow.test").unwrap();
        assert!(slow < told.find("fast.test").unwrap(), "{told}");
        assert!(told.contains("2.5 s"), "{told}");
        for (columns, rows) in [(1, 1), (20, 5), (80, 12), (200, 100)] {
            text(&samples, Some("the server went away"), Size { columns, rows });
        }
        let old = text(&samples, Some("no server"), Size::default());
        assert!(old.contains("The figures are old: no server"));
    }

    #[test]
    fn a_restart_begins_a_new_minute() {
        let mut samples = Samples::default();
        samples.add(figures(0, 1_000));
        let mut restarted = figures(1, 3);
        restarted.started = restarted.time;
        samples.add(restarted);
        let rate = samples.rate(|figures| figures.counted.accepted);
        assert_eq!((rate.now, rate.minute, rate.total), (0.0, 0.0, 3));
    }
}
