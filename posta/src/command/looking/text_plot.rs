//! Plots of block characters, for a terminal.

use super::svg::short;

/// Eighths of a character, from the bottom, and from the left.
const LOWER: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
const LEFT: [char; 9] = [' ', '▏', '▎', '▍', '▌', '▋', '▊', '▉', '█'];

/// Returns columns, one for each value, in `height` lines, with the scale on the left.
pub(super) fn columns(values: &[u64], height: usize, wide: usize) -> Vec<String> {
    let most = values.iter().copied().max().unwrap_or_default().max(1);
    let eighths = |value: u64| {
        let all = (value as f64 / most as f64 * (height * 8) as f64).round() as usize;
        // What is little is not nothing.
        if value > 0 { all.max(1) } else { 0 }
    };
    (0..height)
        .map(|line| {
            let from_below = height - 1 - line;
            let label = match line {
                0 => short(most),
                _ if from_below == 0 => "0".to_owned(),
                _ => String::new(),
            };
            let mut text = format!("{label:>6} ┤");
            for value in values {
                let part = eighths(*value).saturating_sub(from_below * 8).min(8);
                text.extend(std::iter::repeat_n(LOWER[part], wide));
            }
            text.trim_end().to_owned()
        })
        .collect()
}

/// Returns a bar for a value; that of `most` is `width` characters long.
pub(super) fn bar(value: u64, most: u64, width: usize) -> String {
    let eighths = (value as f64 / most.max(1) as f64 * (width * 8) as f64).round() as usize;
    let eighths = if value > 0 { eighths.clamp(1, width * 8) } else { 0 };
    let mut text = String::from("█").repeat(eighths / 8);
    if !eighths.is_multiple_of(8) {
        text.push(LEFT[eighths % 8]);
    }
    text
}

/// Returns a line of columns, one for each value.
pub(super) fn line(values: impl IntoIterator<Item = u64>) -> String {
    let values: Vec<_> = values.into_iter().collect();
    let most = values.iter().copied().max().unwrap_or_default().max(1);
    let character = |value: u64| {
        let eighths = (value as f64 / most as f64 * 8.0).round() as usize;
        LOWER[if value > 0 { eighths.max(1) } else { 0 }]
    };
    values.into_iter().map(character).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_in_proportion() {
        assert_eq!(columns(&[0, 8, 16], 2, 1), ["    16 ┤  █", "     0 ┤ ██"]);
        assert_eq!(columns(&[1, 1_000], 1, 2), ["  1000 ┤▁▁██"]);
        assert_eq!(
            [bar(4, 8, 4), bar(0, 8, 4), bar(1, 1_000, 4), bar(3, 8, 1)],
            ["██", "", "▏", "▍"]
        );
        assert_eq!(line([0, 1, 4, 8]), " ▁▄█");
        assert_eq!((line([]), columns(&[], 1, 1)), (String::new(), vec!["     1 ┤".to_owned()]));
    }
}
