//! The text format of Prometheus, version 0.0.4: a line for each value, under the help and the type of its metric.

use super::definitions::{Definition, Kind};
use posta_store::HistogramFigures;
use std::fmt::{Display, Write as _};

/// The media type of the format.
pub const MEDIA_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// An export that is being written.
#[derive(Debug, Default)]
pub(crate) struct MetricsText {
    text: String,
    /// The metric whose values are being written.
    current: Option<&'static str>,
}

impl MetricsText {
    /// Writes a value. The values of a metric come one after another.
    pub(crate) fn value(
        &mut self,
        metric: &Definition,
        labels: &[(&str, &str)],
        value: impl Display,
    ) {
        self.begin(metric);
        self.line(metric.name, "", labels, value);
    }

    /// Writes a histogram of values in `unit`s, of which a second, say, has a million.
    pub(crate) fn histogram(&mut self, metric: &Definition, figures: &HistogramFigures, unit: f64) {
        self.begin(metric);
        let mut below = 0;
        for (bound, count) in figures.bounds.iter().zip(&figures.counts) {
            below += count;
            let bound = (*bound as f64 / unit).to_string();
            self.line(metric.name, "_bucket", &[("le", &bound)], below);
        }
        let count = figures.count();
        self.line(metric.name, "_bucket", &[("le", "+Inf")], count);
        self.line(metric.name, "_sum", &[], figures.sum as f64 / unit);
        self.line(metric.name, "_count", &[], count);
    }

    /// Writes the number and the sum of observed values.
    pub(crate) fn summary(
        &mut self,
        metric: &Definition,
        labels: &[(&str, &str)],
        (count, sum): (u64, f64),
    ) {
        self.begin(metric);
        self.line(metric.name, "_sum", labels, sum);
        self.line(metric.name, "_count", labels, count);
    }

    /// Returns the export.
    pub(crate) fn finish(self) -> String {
        self.text
    }

    fn begin(&mut self, metric: &Definition) {
        debug_assert!(metric.kind != Kind::Counter || metric.name.ends_with("_total"));
        if self.current.replace(metric.name) != Some(metric.name) {
            let Definition { name, kind, help, .. } = metric;
            // Writing to a string cannot fail.
            let _ = writeln!(self.text, "# HELP {name} {help}\n# TYPE {name} {}", kind.name());
        }
    }

    fn line(&mut self, name: &str, suffix: &str, labels: &[(&str, &str)], value: impl Display) {
        self.text.push_str(name);
        self.text.push_str(suffix);
        for (index, (label, value)) in labels.iter().enumerate() {
            let before = if index == 0 { '{' } else { ',' };
            let _ = write!(self.text, "{before}{label}=\"");
            for character in value.chars() {
                match character {
                    '\\' => self.text.push_str("\\\\"),
                    '"' => self.text.push_str("\\\""),
                    '\n' => self.text.push_str("\\n"),
                    other => self.text.push(other),
                }
            }
            self.text.push('"');
        }
        let end = if labels.is_empty() { "" } else { "}" };
        let _ = writeln!(self.text, "{end} {value}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXAMPLE: Definition =
        Definition { name: "posta_x", kind: Kind::Gauge, labels: &[], help: "An example." };

    #[test]
    fn values_stand_under_their_metric() {
        let mut text = MetricsText::default();
        text.value(&EXAMPLE, &[("a", "x"), ("b", "say \"\\\n\"")], 1);
        text.value(&EXAMPLE, &[], 2.5);
        assert_eq!(
            text.finish(),
            "# HELP posta_x An example.\n# TYPE posta_x gauge\nposta_x{a=\"x\",b=\"say \\\"\\\\\\n\\\"\"} 1\n\
             posta_x 2.5\n"
        );
    }

    #[test]
    fn a_histogram_is_cumulative() {
        let figures =
            HistogramFigures { bounds: vec![500, 1_000], counts: vec![2, 1, 4], sum: 9_000 };
        let mut text = MetricsText::default();
        text.histogram(&EXAMPLE, &figures, 1_000.0);
        let text = text.finish();
        let lines: Vec<_> = text.lines().skip(2).collect();
        assert_eq!(
            lines,
            [
                "posta_x_bucket{le=\"0.5\"} 2",
                "posta_x_bucket{le=\"1\"} 3",
                "posta_x_bucket{le=\"+Inf\"} 7",
                "posta_x_sum 9",
                "posta_x_count 7",
            ]
        );
    }
}
