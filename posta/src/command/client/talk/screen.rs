//! How a dialogue looks in a terminal: who says what, and what that means. `posta demo` shows its dialogues like this,
//! too.

use crate::output::say_styled;
use anstyle::{AnsiColor, Style};
use posta_mail::visible::escaped;

const CLIENT: Style = AnsiColor::Cyan.on_default();
const SERVER: Style = AnsiColor::Green.on_default();
const DIMMED: Style = Style::new().dimmed();

/// Columns of the line itself, before its meaning.
const COLUMN: usize = 38;

/// Who speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Who {
    Client,
    Server,
}

impl Who {
    /// Returns the direction in which a line goes.
    pub(super) const fn arrow(self) -> &'static str {
        match self {
            Self::Client => "client ──▶ server",
            Self::Server => "client ◀── server",
        }
    }
}

/// Prints a line and its meaning.
pub(crate) fn show(who: Who, line: &str, meaning: &str) {
    say_styled!("{}", shown(who, line, meaning));
}

/// Prints the meaning of a line that its writer sees already.
pub(super) fn show_meaning(meaning: &str) {
    if !meaning.is_empty() {
        let indent = " ".repeat(2 + Who::Client.arrow().chars().count() + 2 + COLUMN + 2);
        say_styled!("{indent}{DIMMED}{}{DIMMED:#}", escaped(meaning));
    }
}

/// Prints something about the session, which neither side says.
pub(super) fn note(words: &str) {
    say_styled!("  {DIMMED}─ {} ─{DIMMED:#}", escaped(words));
}

/// Returns the first line of what a server has sent.
pub(super) fn first_line(octets: &[u8]) -> String {
    let line = octets.split(|octet| *octet == b'\n').next().unwrap_or_default();
    escaped(String::from_utf8_lossy(&line[..line.len().min(512)]).trim_end()).into_owned()
}

/// Returns a line and its meaning, with styles.
fn shown(who: Who, line: &str, meaning: &str) -> String {
    let style = match who {
        Who::Client => CLIENT,
        Who::Server => SERVER,
    };
    let line = line.replace('\t', "    ");
    let line = escaped(&line);
    let arrow = who.arrow();
    let line_alone = format!("  {DIMMED}{arrow}{DIMMED:#}  {style}{line}{style:#}");
    if meaning.is_empty() {
        return line_alone;
    }
    let padding = " ".repeat(COLUMN.saturating_sub(line.chars().count()));
    format!("{line_alone}{padding}  {DIMMED}{}{DIMMED:#}", escaped(meaning))
}
