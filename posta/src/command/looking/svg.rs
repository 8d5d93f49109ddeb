//! Drawing plots as SVG, readable on a light and a dark page.
//!
//! It is written by hand: a plotting library would add a megabyte to the program for rectangles and texts.

use std::fmt::Write as _;

/// Colours that differ in lightness too, so that they are told apart without seeing colours.
pub(super) const STYLE: &str = "<style>
  .page { fill: #ffffff } text { fill: #1c1e21 } .quiet { fill: #5c636b } .grid { stroke: #d5d8dc }
  .passed, .first { fill: #2f7d4f } .failed, .second { fill: #e08a1e } .third { fill: #2b5fa8 }
  @media (prefers-color-scheme: dark) {
    .page { fill: #16181b } text { fill: #e4e6e9 } .quiet { fill: #9aa1a9 } .grid { stroke: #3a3f45 }
    .passed, .first { fill: #4fae78 } .failed, .second { fill: #f2b45c } .third { fill: #7fa8e0 }
  }
</style>";

/// The least width of a label below columns.
const LABEL: f64 = 78.0;

/// The room for numbers on the left, and for titles and labels above and below.
const LEFT: f64 = 52.0;
const TOP: f64 = 46.0;
const BOTTOM: f64 = 38.0;

/// The height of a horizontal bar with its room, and the part of the width that names have.
const BAR: f64 = 19.0;
const NAMES: f64 = 0.44;

/// A drawing.
pub(super) struct Drawing {
    text: String,
}

/// A rectangle of a drawing.
#[derive(Debug, Clone, Copy)]
pub(super) struct Frame {
    pub(super) x: f64,
    pub(super) y: f64,
    pub(super) width: f64,
    pub(super) height: f64,
}

/// A row of values with its colour and name.
pub(super) struct Series<'a> {
    /// The class of its rectangles: `first`, `second`, `third`.
    pub(super) class: &'a str,
    pub(super) name: &'a str,
    pub(super) values: Vec<u64>,
}

/// What columns show.
pub(super) struct Columns<'a> {
    pub(super) title: &'a str,
    /// What is below: `hour (UTC)`.
    pub(super) axis: &'a str,
    /// The label of each column.
    pub(super) labels: &'a [String],
    /// The parts of each column, from below.
    pub(super) series: &'a [Series<'a>],
}

impl Drawing {
    /// Returns an empty drawing with a title.
    pub(super) fn new(width: f64, height: f64, title: &str) -> Self {
        let title = escaped(title);
        let text = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" role=\"img\" \
             font-family=\"system-ui, sans-serif\" font-size=\"12\">\n<title>{title}</title>\n{STYLE}\n\
             <rect class=\"page\" width=\"{width}\" height=\"{height}\"/>\n"
        );
        Self { text }
    }

    /// Draws a text.
    pub(super) fn words(&mut self, (x, y): (f64, f64), attributes: &str, words: &str) {
        let words = escaped(words);
        let _ = writeln!(self.text, "<text x=\"{x:.1}\" y=\"{y:.1}\" {attributes}>{words}</text>");
    }

    /// Draws columns.
    pub(super) fn columns(&mut self, frame: Frame, columns: &Columns<'_>) {
        let Columns { title, axis, labels, series } = columns;
        let Frame { x, y, width, height } = frame;
        let (left, floor) = (x + LEFT, y + height - BOTTOM);
        let (plot_width, plot_height) = (width - LEFT, height - TOP - BOTTOM);
        self.words((x, y + 14.0), "font-size=\"14\" font-weight=\"600\"", title);
        self.legend((left, y + 24.0), series);
        let sum = |index: usize| series.iter().map(|row| row.values[index]).sum::<u64>();
        let scale = Scale::new((0..labels.len()).map(sum).max().unwrap_or_default());
        for value in scale.lines() {
            let line = floor - plot_height * scale.share(value);
            let _ = writeln!(
                self.text,
                "<line class=\"grid\" x1=\"{left}\" x2=\"{:.1}\" y1=\"{line:.1}\" y2=\"{line:.1}\"/>",
                x + width
            );
            let at = (left - 7.0, line + 4.0);
            self.words(at, "text-anchor=\"end\" class=\"quiet\"", &short(value));
        }
        let room = plot_width / labels.len().max(1) as f64;
        let every = labels.len().div_ceil(((plot_width / LABEL) as usize).max(1)).max(1);
        for (index, label) in labels.iter().enumerate() {
            let middle = left + room * (index as f64 + 0.5);
            self.column(
                (middle, floor, plot_height),
                (room * 0.8).min(36.0),
                columns,
                index,
                &scale,
            );
            if index % every == 0 {
                self.words((middle, floor + 15.0), "text-anchor=\"middle\" class=\"quiet\"", label);
            }
        }
        let below = (left + plot_width / 2.0, y + height - 6.0);
        self.words(below, "text-anchor=\"middle\" class=\"quiet\"", axis);
    }

    fn column(
        &mut self,
        (middle, floor, height): (f64, f64, f64),
        width: f64,
        columns: &Columns<'_>,
        index: usize,
        scale: &Scale,
    ) {
        let named = columns.series.iter().map(|row| format!("{} {}", row.values[index], row.name));
        let said = escaped(&format!(
            "{}: {}",
            columns.labels[index],
            named.collect::<Vec<_>>().join(", ")
        ));
        let _ = write!(self.text, "<g><title>{said}</title>");
        let mut below = floor;
        for Series { class, values, .. } in columns.series {
            let tall = height * scale.share(values[index]);
            below -= tall;
            let x = middle - width / 2.0;
            let _ = write!(
                self.text,
                "<rect class=\"{class}\" x=\"{x:.1}\" y=\"{below:.1}\" width=\"{width:.1}\" \
                 height=\"{tall:.1}\"/>"
            );
        }
        self.text.push_str("</g>\n");
    }

    fn legend(&mut self, (mut x, y): (f64, f64), series: &[Series<'_>]) {
        // One series is what the title says.
        for Series { class, name, .. } in series.iter().filter(|_| series.len() > 1) {
            let _ = writeln!(
                self.text,
                "<rect class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"10\" height=\"10\"/>"
            );
            self.words((x + 15.0, y + 9.5), "", name);
            x += 40.0 + 7.0 * name.chars().count() as f64;
        }
    }

    /// Draws a horizontal bar for each name.
    pub(super) fn bars(&mut self, frame: Frame, title: &str, class: &str, rows: &[(String, u64)]) {
        let Frame { x, y, width, .. } = frame;
        self.words((x, y + 14.0), "font-size=\"14\" font-weight=\"600\"", title);
        let most = rows.iter().map(|(_, value)| *value).max().unwrap_or(1).max(1);
        let left = x + width * NAMES;
        let fits = (width * NAMES / 6.6) as usize;
        if rows.is_empty() {
            self.words((x, y + 38.0), "class=\"quiet\"", "none");
        }
        for (index, (name, value)) in rows.iter().enumerate() {
            let top = y + 26.0 + BAR * index as f64;
            let long = (width * (1.0 - NAMES) - 52.0) * (*value as f64 / most as f64);
            self.words((left - 8.0, top + 11.0), "text-anchor=\"end\"", &cut(name, fits));
            let _ = writeln!(
                self.text,
                "<rect class=\"{class}\" x=\"{left:.1}\" y=\"{top:.1}\" width=\"{:.1}\" height=\"13\"/>",
                long.max(1.0)
            );
            self.words((left + long.max(1.0) + 6.0, top + 11.0), "class=\"quiet\"", &short(*value));
        }
    }

    /// Returns the height of bars with their title.
    pub(super) fn height_of_bars(rows: usize) -> f64 {
        40.0 + BAR * rows.max(1) as f64
    }

    /// Returns the drawing.
    pub(super) fn finish(mut self) -> String {
        self.text.push_str("</svg>\n");
        self.text
    }
}

/// The scale of an axis: from 0 to a round number.
pub(super) struct Scale {
    pub(super) step: u64,
    pub(super) steps: u64,
}

impl Scale {
    pub(super) fn new(most: u64) -> Self {
        let mut step = 1_u64;
        let mut base = 1_u64;
        // 1, 2, 5, 10, 20 … until five steps are enough.
        while step.saturating_mul(5) < most && base < u64::MAX / 100 {
            step = match step / base {
                1 => base * 2,
                2 => base * 5,
                _ => {
                    base *= 10;
                    base
                }
            };
        }
        Self { step, steps: most.div_ceil(step).max(1) }
    }

    /// Returns the values of the lines.
    pub(super) fn lines(&self) -> impl Iterator<Item = u64> {
        let step = self.step;
        (0..=self.steps).map(move |line| line.saturating_mul(step))
    }

    /// Returns a value as a part of the axis, from 0 to 1.
    pub(super) fn share(&self, value: u64) -> f64 {
        let share = value as f64 / (self.steps.saturating_mul(self.step)) as f64;
        share.min(1.0)
    }
}

/// Returns a number in a short form: `1500`, `20k`, `3M`.
pub(super) fn short(value: u64) -> String {
    match value {
        0..10_000 => value.to_string(),
        10_000..10_000_000 => format!("{}k", value / 1_000),
        10_000_000.. => format!("{}M", value / 1_000_000),
    }
}

/// Returns a text of at most so many characters, with an ellipsis if it is cut.
pub(super) fn cut(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        None => text.to_owned(),
        Some(_) => text.chars().take(most.saturating_sub(1)).chain(['…']).collect(),
    }
}

/// Returns a text as it may stand in XML, also between quotes.
pub(super) fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            other if other.is_control() => escaped.push(' '),
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scales_are_round() {
        for (most, step, steps) in
            [(0, 1, 1), (1, 1, 1), (5, 1, 5), (6, 2, 3), (11, 5, 3), (26, 10, 3), (1_234, 500, 3)]
        {
            let scale = Scale::new(most);
            assert_eq!((scale.step, scale.steps), (step, steps), "{most}");
        }
        assert_eq!([short(9_999), short(20_000), short(30_000_000)], ["9999", "20k", "30M"]);
        assert_eq!([cut("abcdef", 6), cut("abcdef", 4)], ["abcdef", "abc…"]);
    }

    #[test]
    fn columns_and_bars_are_drawn() {
        let mut drawing = Drawing::new(400.0, 400.0, "a <b>");
        let frame = Frame { x: 0.0, y: 0.0, width: 400.0, height: 200.0 };
        let labels = ["one".to_owned(), "two".to_owned()];
        let series = [
            Series { class: "first", name: "in", values: vec![3, 0] },
            Series { class: "second", name: "out", values: vec![1, 2] },
        ];
        drawing.columns(
            frame,
            &Columns { title: "t", axis: "hour", labels: &labels, series: &series },
        );
        let frame = Frame { y: 200.0, ..frame };
        drawing.bars(frame, "top", "third", &[("x\" onload=\"".to_owned(), 5)]);
        let svg = drawing.finish();
        for part in [
            "<title>a &lt;b&gt;</title>",
            "<title>one: 3 in, 1 out</title>",
            // The highest column reaches the top of the scale.
            "y=\"46.0\"",
            ">hour</text>",
            "x&quot; onload=&quot;",
        ] {
            assert!(svg.contains(part), "{part}\n{svg}");
        }
        assert!(svg.ends_with("</svg>\n"));
    }
}
