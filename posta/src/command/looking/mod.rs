//! The commands that look: at the server's state and figures, at the nodes of a cluster, at the history, and at what others report.

pub(crate) mod cluster;
pub(crate) mod reports;
pub(crate) mod stats;
pub(crate) mod status;
mod svg;
mod text_plot;
pub(crate) mod top;
pub(crate) mod trace;

use posta_mail::Timestamp;
use std::time::Duration;

/// Returns the time between two moments in a short form, at most two units: `3d 4h`, `12m`, `5s`.
fn age(since: Timestamp, now: Timestamp) -> String {
    span(Duration::try_from(now.duration_since(since)).unwrap_or_default())
}

/// Returns a span of time in a short form, at most two units: `3d 4h`, `12m`, `5s`.
fn span(span: Duration) -> String {
    let seconds = span.as_secs();
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3_600 => format!("{}m", seconds / 60),
        3_600..86_400 => two((seconds / 3_600, "h"), (seconds % 3_600 / 60, "m")),
        86_400.. => two((seconds / 86_400, "d"), (seconds % 86_400 / 3_600, "h")),
    }
}

fn two((large, large_unit): (u64, &str), (small, small_unit): (u64, &str)) -> String {
    match small {
        0 => format!("{large}{large_unit}"),
        _ => format!("{large}{large_unit} {small}{small_unit}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_short() {
        for (seconds, words) in [
            (0, "0s"),
            (59, "59s"),
            (60, "1m"),
            (3_599, "59m"),
            (3_600, "1h"),
            (3_660, "1h 1m"),
            (86_400, "1d"),
            (86_400 * 3 + 3_600 * 4 + 59, "3d 4h"),
        ] {
            assert_eq!(span(Duration::from_secs(seconds)), words);
        }
    }
}
