//! `posta stats`.

use super::{
    span,
    svg::{Columns, Drawing, Frame, Series, cut},
    text_plot,
};
use crate::{
    Place,
    command::{explain, size},
    config::Span,
    operator,
    output::{counted, say, say_styled},
    runtime::block_on,
};
use anstyle::Style;
use anyhow::{Context, Result, bail};
use clap::Args;
use posta_mail::Timestamp;
use posta_server::admin::{
    LookRequest, Looked, Request, Response,
    looking::{PeriodLine, Statistics, TopLine},
};
use posta_store::HistogramFigures;
use std::{fs, path::PathBuf, time::Duration};

const TITLE: Style = Style::new().bold();

/// The seconds in a day.
const DAY: u64 = 24 * 60 * 60;

/// The columns of the plots, and the longest bar.
const PLOT: usize = 72;
const BAR: usize = 30;

/// The columns of names, and their number in each table.
const NAMES: usize = 36;
const SHOWN: usize = 10;

/// Show how much mail came and went, how long it took, and what was refused.
///
/// Times up to three days are shown by the hour, longer ones by the day. The history reaches back thirty days. Messages count
/// when they arrived; a delay is the time until another server accepted a message.
#[derive(Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    place: Place,
    /// Only what happened within this time: 24h, 7d, 30d; default: 7d.
    #[arg(long, value_name = "TIME")]
    since: Option<Span>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    /// Also draw all of it, as SVG.
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
}

pub(crate) fn run(arguments: Arguments) -> Result<()> {
    let Arguments { place, since, json, svg } = arguments;
    let within = since.map(|span| span.0.as_secs());
    let request = Request::Look { request: LookRequest::Statistics { within } };
    let Response::Looked(Looked::Statistics(statistics)) =
        block_on(operator::execute(&place, request))?
    else {
        bail!(operator::UNEXPECTED);
    };
    if let Some(file) = svg {
        fs::write(&file, drawing(&statistics))
            .with_context(|| format!("cannot write {}", file.display()))?;
    }
    crate::command::show(&*statistics, json, print)
}

fn print(statistics: &Statistics) {
    let Statistics { since, until, oldest, .. } = statistics;
    say!("{}", heading(statistics));
    if let Some(oldest) = oldest.filter(|oldest| *oldest > *since + Duration::from_secs(DAY)) {
        say!("The history begins at {oldest:.0}.");
    }
    if oldest.is_none() {
        say!("Nothing happened from {since:.0} to {until:.0}.");
        return;
    }
    print_volume(statistics);
    print_ranges("Delay until another server accepted it", &statistics.delays, delay);
    print_ranges("Size", &statistics.sizes, size);
    print_top("Top senders", "messages", &statistics.senders);
    print_top("Top destinations", "copies and recipients", &statistics.destinations);
    print_refusals(&statistics.refusals);
}

fn heading(statistics: &Statistics) -> String {
    let PeriodLine { accepted, octets, delivered, sent, failed, refused, .. } = statistics.total();
    format!(
        "{} ({}): {} delivered here, {sent} sent elsewhere, {failed} failed; {}",
        counted(accepted, "message"),
        size(octets),
        counted(delivered, "copy"),
        counted(refused, "refusal")
    )
}

fn print_volume(statistics: &Statistics) {
    let periods = &statistics.periods[statistics.periods.len().saturating_sub(PLOT)..];
    let what = if statistics.period == DAY { "day" } else { "hour" };
    let wide = (PLOT / periods.len().max(1)).clamp(1, 6);
    let values: Vec<_> = periods.iter().map(|period| period.accepted).collect();
    say_styled!("\n{TITLE}Messages accepted, by the {what} (UTC){TITLE:#}");
    for line in text_plot::columns(&values, 8, wide) {
        say!("{line}");
    }
    let (first, last) = match periods {
        [first, .., last] => (label(first.time, statistics), label(last.time, statistics)),
        _ => return,
    };
    let room = (periods.len() * wide).saturating_sub(first.chars().count()).max(last.len() + 1);
    say!("{:8}{first}{last:>room$}", "");
    for (name, of) in [
        ("sent", (|period| period.sent) as fn(&PeriodLine) -> u64),
        ("failed", |period| period.failed),
        ("refused", |period| period.refused),
    ] {
        let most = periods.iter().map(of).max().unwrap_or_default();
        let drawn = text_plot::line(periods.iter().map(of));
        let drawn: String =
            drawn.chars().flat_map(|block| std::iter::repeat_n(block, wide)).collect();
        if most > 0 {
            say!("{name:>7} {}  at most {most}", drawn);
        }
    }
}

/// Prints a distribution with its percentiles.
fn print_ranges(title: &str, figures: &HistogramFigures, unit: impl Fn(u64) -> String) {
    let count = figures.count();
    if count == 0 {
        return;
    }
    let at = |share: f64| figures.quantile(share).map(&unit).unwrap_or_default();
    let (half, most, nearly_all) = (at(0.5), at(0.9), at(0.99));
    say_styled!("\n{TITLE}{title}{TITLE:#} (50 % up to {half}, 90 % {most}, 99 % {nearly_all})");
    let highest = figures.counts.iter().copied().max().unwrap_or_default();
    let mut empty = 0;
    for (range, times) in ranges(figures, &unit) {
        empty = if times > 0 { 0 } else { empty + 1 };
        match empty {
            // Many empty ranges in a row say no more than two.
            3.. => {}
            2 => say!("{:>12}", "…"),
            _ => say!("{range:>12}  {:<BAR$} {times}", text_plot::bar(times, highest, BAR)),
        }
    }
}

/// Returns the ranges of a distribution from the first to the last that has values.
fn ranges(figures: &HistogramFigures, unit: impl Fn(u64) -> String) -> Vec<(String, u64)> {
    let counts = &figures.counts;
    let first = counts.iter().position(|times| *times > 0).unwrap_or_default();
    let last = counts.iter().rposition(|times| *times > 0).unwrap_or_default();
    let name = |index: usize| match figures.bounds.get(index) {
        Some(bound) => format!("≤ {}", unit(*bound)),
        None => "more".to_owned(),
    };
    (first..=last).map(|index| (name(index), counts[index])).collect()
}

fn print_top(title: &str, what: &str, lines: &[TopLine]) {
    if lines.is_empty() {
        return;
    }
    say_styled!("\n{TITLE}{title}{TITLE:#} ({what})");
    let most = lines[0].times;
    for TopLine { name, times, octets } in lines.iter().take(SHOWN) {
        let (name, bar) = (cut(name, NAMES), text_plot::bar(*times, most, BAR / 2));
        say!("  {name:<NAMES$} {times:>7}  {:>10}  {bar}", size(*octets));
    }
}

fn print_refusals(lines: &[TopLine]) {
    if lines.is_empty() {
        return;
    }
    say_styled!("\n{TITLE}Refusals by reason{TITLE:#}");
    for TopLine { name, times, .. } in lines.iter().take(SHOWN) {
        say!("  {times:>7}  {}", reason(name));
    }
}

/// Returns the codes of a reply with their meaning.
fn reason(codes: &str) -> String {
    let detail = codes.split(' ').nth(1).and_then(|status| status.split_once('.'));
    let meaning = detail.and_then(|(_, detail)| explain::status_meaning(detail));
    let meaning = meaning.or(match codes {
        "[AUTH]" => Some("A POP3 login had a wrong name or password."),
        "[IN-USE]" => Some("An account had too many POP3 sessions."),
        _ => None,
    });
    meaning.map_or_else(|| codes.to_owned(), |meaning| format!("{codes}  {meaning}"))
}

/// Returns a time in milliseconds for a person.
fn delay(millis: u64) -> String {
    match millis {
        0..1_000 => format!("{millis} ms"),
        1_000..60_000 if millis.is_multiple_of(1_000) => format!("{} s", millis / 1_000),
        1_000..60_000 => format!("{:.1} s", millis as f64 / 1_000.0),
        _ => span(Duration::from_millis(millis)),
    }
}

fn label(time: Timestamp, statistics: &Statistics) -> String {
    let form = if statistics.period == DAY { "%m-%d" } else { "%m-%d %H:%M" };
    time.strftime(form).to_string()
}

/// The size of the drawing, its margin, and the height of plots.
const WIDTH: f64 = 960.0;
const MARGIN: f64 = 24.0;
const VOLUME: f64 = 250.0;
const RANGES: f64 = 210.0;

/// Returns a drawing of the statistics.
fn drawing(statistics: &Statistics) -> String {
    let shown = |lines: &[TopLine]| lines.len().min(SHOWN);
    let tables =
        Drawing::height_of_bars(shown(&statistics.senders).max(shown(&statistics.destinations)));
    let refusals = Drawing::height_of_bars(shown(&statistics.refusals));
    let height = 90.0 + VOLUME + RANGES + tables + refusals + 3.0 * MARGIN;
    let title = format!("Mail from {:.0} to {:.0}", statistics.since, statistics.until);
    let mut drawing = Drawing::new(WIDTH, height, &title);
    drawing.words((MARGIN, 34.0), "font-size=\"18\" font-weight=\"600\"", &title);
    drawing.words((MARGIN, 56.0), "class=\"quiet\"", &heading(statistics));
    let half = (WIDTH - 3.0 * MARGIN) / 2.0;
    let mut y = 76.0;
    let frame = Frame { x: MARGIN, y, width: WIDTH - 2.0 * MARGIN, height: VOLUME };
    draw_volume(&mut drawing, frame, statistics);
    y += VOLUME + MARGIN;
    let left = Frame { x: MARGIN, y, width: half, height: RANGES };
    let right = Frame { x: 2.0 * MARGIN + half, ..left };
    let (sizes, delays) = (&statistics.sizes, &statistics.delays);
    draw_ranges(&mut drawing, left, ("Messages by size", "up to"), &ranges(sizes, size));
    let title = ("Recipients elsewhere by delay", "accepted there within");
    draw_ranges(&mut drawing, right, title, &ranges(delays, delay));
    y += RANGES + MARGIN;
    let rows = |lines: &[TopLine]| {
        lines.iter().take(SHOWN).map(|line| (line.name.clone(), line.times)).collect::<Vec<_>>()
    };
    let (left, right) = (Frame { y, ..left }, Frame { y, ..right });
    drawing.bars(left, "Top senders (messages)", "first", &rows(&statistics.senders));
    drawing.bars(
        right,
        "Top destinations (copies and recipients)",
        "third",
        &rows(&statistics.destinations),
    );
    y += tables;
    let rows: Vec<_> = statistics.refusals.iter().take(SHOWN).collect();
    let rows: Vec<_> = rows.iter().map(|line| (reason(&line.name), line.times)).collect();
    let frame = Frame { y, width: WIDTH - 2.0 * MARGIN, ..left };
    drawing.bars(frame, "Refusals by reason", "second", &rows);
    drawing.finish()
}

fn draw_volume(drawing: &mut Drawing, frame: Frame, statistics: &Statistics) {
    let periods = &statistics.periods;
    let labels: Vec<_> = periods.iter().map(|period| label(period.time, statistics)).collect();
    let values = |of: fn(&PeriodLine) -> u64| periods.iter().map(of).collect::<Vec<_>>();
    let series = [
        Series { class: "first", name: "accepted", values: values(|period| period.accepted) },
        Series { class: "third", name: "sent", values: values(|period| period.sent) },
        Series { class: "second", name: "refused", values: values(|period| period.refused) },
    ];
    let axis = if statistics.period == DAY { "day (UTC)" } else { "hour (UTC)" };
    let title =
        if statistics.period == DAY { "Messages by the day" } else { "Messages by the hour" };
    drawing.columns(frame, &Columns { title, axis, labels: &labels, series: &series });
}

fn draw_ranges(
    drawing: &mut Drawing,
    frame: Frame,
    (title, axis): (&str, &str),
    ranges: &[(String, u64)],
) {
    let labels = ranges.iter().map(|(name, _)| name.trim_start_matches("≤ ").to_owned());
    let labels: Vec<_> = labels.collect();
    let values = ranges.iter().map(|(_, times)| *times).collect();
    let series = [Series { class: "third", name: "", values }];
    drawing.columns(frame, &Columns { title, axis, labels: &labels, series: &series });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> Statistics {
        let time = |hour: i64| Timestamp::from_second(1_800_000_000 + hour * 3_600).unwrap();
        let period = |hour: i64| PeriodLine {
            time: time(hour),
            accepted: 10 * hour as u64,
            sent: hour as u64,
            ..PeriodLine::default()
        };
        let mut sizes = HistogramFigures::new(vec![1_024, 2_048, 4_096]);
        sizes.observe(2_000);
        let line = |name: &str| TopLine { name: name.to_owned(), times: 3, octets: 9 };
        Statistics {
            since: time(0),
            until: time(24),
            period: 3_600,
            periods: (0..25).map(period).collect(),
            sizes,
            delays: HistogramFigures::new(vec![32, 64]),
            senders: vec![line("<ana>@x.test")],
            destinations: vec![line("y.test")],
            refusals: vec![line("550 5.1.1"), line("[AUTH]"), line("other")],
            oldest: Some(time(1)),
        }
    }

    #[test]
    fn reasons_and_times_are_in_words() {
        assert_eq!(reason("550 5.1.1"), "550 5.1.1  There is no such mailbox.");
        assert!(reason("[AUTH]").contains("POP3 login"));
        assert_eq!(reason("other"), "other");
        assert_eq!([delay(999), delay(1_500), delay(7_200_000)], ["999 ms", "1.5 s", "2h"]);
        assert_eq!(ranges(&example().sizes, size), [("≤ 2.0 KiB".to_owned(), 1)]);
    }

    #[test]
    fn everything_is_drawn() {
        let svg = drawing(&example());
        for part in [
            "Messages by the hour",
            "hour (UTC)",
            "Top senders",
            "&lt;ana&gt;@x.test",
            "There is no such mailbox.",
            "240 accepted, 24 sent, 0 refused",
        ] {
            assert!(svg.contains(part), "{part}\n{svg}");
        }
        let empty = Statistics { periods: Vec::new(), senders: Vec::new(), ..example() };
        assert!(drawing(&empty).ends_with("</svg>\n"));
    }
}
