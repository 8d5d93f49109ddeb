//! A plot of what passed and failed each day, as SVG: stacked bars.

use crate::command::looking::svg::{STYLE, Scale, escaped, short};
use jiff::civil::Date;
use posta_server::reports::received::statistics::DayCount;
use std::fmt::Write as _;

/// The size of the drawing, and the place of the bars in it.
const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 320.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 15.0;
const TOP: f64 = 60.0;
const BOTTOM: f64 = 45.0;

/// The maximal number of bars. Of a longer time, only the last days are drawn.
const BARS: usize = 400;

/// The maximal number of dates below the bars.
const DATES: usize = 8;

/// What is drawn.
pub(super) struct Plot<'a> {
    /// The title.
    pub(super) title: &'a str,
    /// What passed, in a word or two.
    pub(super) passed: &'a str,
    /// What failed.
    pub(super) failed: &'a str,
    /// The days, in order. Days without an entry are drawn empty.
    pub(super) days: &'a [DayCount],
}

impl Plot<'_> {
    /// Returns the drawing.
    pub(super) fn svg(&self) -> String {
        let days = self.all_days();
        let most = days.iter().map(|day| day.passed + day.failed).max().unwrap_or_default();
        let scale = Scale::new(most);
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" \
             font-family=\"system-ui, sans-serif\" font-size=\"12\">\n<title>{title}</title>\n{STYLE}\n\
             <rect class=\"page\" width=\"{WIDTH}\" height=\"{HEIGHT}\"/>\n\
             <text x=\"{LEFT}\" y=\"22\" font-size=\"15\" font-weight=\"600\">{title}</text>\n",
            title = escaped(self.title)
        );
        for (class, label, x) in
            [("passed", self.passed, LEFT), ("failed", self.failed, LEFT + 150.0)]
        {
            let (label, after) = (escaped(label), x + 16.0);
            let _ = writeln!(
                svg,
                "<rect class=\"{class}\" x=\"{x}\" y=\"34\" width=\"11\" height=\"11\"/>\
                 <text x=\"{after}\" y=\"44\">{label}</text>"
            );
        }
        self.draw_scale(&mut svg, &scale);
        draw_bars(&mut svg, &days, &scale);
        svg.push_str("</svg>\n");
        svg
    }

    /// Returns the days with those between that have no reports.
    fn all_days(&self) -> Vec<DayCount> {
        let mut all: Vec<DayCount> = Vec::new();
        for day in self.days {
            let date = day.date.parse::<Date>().ok();
            if let (Some(date), Some(last)) = (date, all.last())
                && let Ok(mut between) = last.date.parse::<Date>().and_then(|it| it.tomorrow())
            {
                while between < date {
                    all.push(DayCount { date: between.to_string(), passed: 0, failed: 0 });
                    let Ok(next) = between.tomorrow() else { break };
                    between = next;
                }
            }
            all.push(day.clone());
        }
        all.split_off(all.len().saturating_sub(BARS))
    }

    fn draw_scale(&self, svg: &mut String, scale: &Scale) {
        let (end, edge) = (WIDTH - RIGHT, LEFT - 8.0);
        for value in scale.lines() {
            let y = height(scale, value);
            let _ = writeln!(
                svg,
                "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{end}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>\
                 <text x=\"{edge}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                y + 4.0,
                short(value)
            );
        }
        let (x, y) = (LEFT + (WIDTH - LEFT - RIGHT) / 2.0, HEIGHT - 8.0);
        let _ = writeln!(svg, "<text x=\"{x}\" y=\"{y}\" text-anchor=\"middle\">day (UTC)</text>");
    }
}

fn draw_bars(svg: &mut String, days: &[DayCount], scale: &Scale) {
    let room = (WIDTH - LEFT - RIGHT) / days.len().max(1) as f64;
    // A few days do not make bars as wide as the page.
    let width = (room * 0.8).min(40.0);
    let every = days.len().div_ceil(DATES).max(1);
    for (index, day) in days.iter().enumerate() {
        let middle = LEFT + room * (index as f64 + 0.5);
        let x = middle - width / 2.0;
        let (floor, between) = (height(scale, 0), height(scale, day.passed));
        let top = height(scale, day.passed + day.failed);
        let DayCount { date, passed, failed } = day;
        let date = escaped(date);
        let _ = writeln!(svg, "<g><title>{date}: {passed} passed, {failed} failed</title>");
        for (class, from, to) in [("passed", floor, between), ("failed", between, top)] {
            let _ = writeln!(
                svg,
                "<rect class=\"{class}\" x=\"{x:.1}\" y=\"{to:.1}\" width=\"{width:.1}\" \
                 height=\"{:.1}\"/>",
                from - to
            );
        }
        svg.push_str("</g>\n");
        if index % every == 0 {
            let below = floor + 17.0;
            let _ = writeln!(
                svg,
                "<text x=\"{middle:.1}\" y=\"{below:.1}\" text-anchor=\"middle\">{date}</text>"
            );
        }
    }
}

/// Returns the height of a value.
fn height(scale: &Scale, value: u64) -> f64 {
    HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * scale.share(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(date: &str, passed: u64, failed: u64) -> DayCount {
        DayCount { date: date.to_owned(), passed, failed }
    }

    fn drawn(days: &[DayCount]) -> String {
        Plot { title: "a <b> & c", passed: "passed", failed: "failed", days }.svg()
    }

    #[test]
    fn days_are_drawn_with_those_between() {
        let svg = drawn(&[day("2026-01-30", 90, 10), day("2026-02-02", 0, 50)]);
        assert_eq!(svg.matches("<g>").count(), 4, "{svg}");
        for part in [
            "<title>a &lt;b&gt; &amp; c</title>",
            "<title>2026-01-30: 90 passed, 10 failed</title>",
            "<title>2026-01-31: 0 passed, 0 failed</title>",
            // The highest bar reaches from the floor to the top of the scale.
            "y=\"60.0\"",
            "height=\"193.5\"",
            "prefers-color-scheme: dark",
            ">100</text>",
            "day (UTC)",
        ] {
            assert!(svg.contains(part), "{part}\n{svg}");
        }
        assert!(drawn(&[]).ends_with("</svg>\n"));
        assert!(
            drawn(&[day("never", u64::MAX / 2, 1), day("x\" onload=\"", 1, 1)]).contains("x&quot;")
        );
    }

    #[test]
    fn a_long_time_is_cut() {
        let svg = drawn(&[day("2020-01-01", 1, 1), day("2026-01-01", 1, 1)]);
        assert_eq!(svg.matches("<g>").count(), BARS);
    }
}
