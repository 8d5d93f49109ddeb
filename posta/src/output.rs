//! Output of the commands: results on standard output, errors on standard error.
//!
//! Text from strangers reaches a terminal only through this file, without control characters (see
//! [`posta_mail::visible`]).

use anstyle::{AnsiColor, Style};
use anyhow::Result;
use posta_mail::visible::{escaped_json, is_visible};
use serde::Serialize;
use std::{
    borrow::Cow,
    fmt::{self, Arguments, Write as _},
    io::{self, Write},
    process,
};

const ERROR: Style = AnsiColor::Red.on_default().bold();

/// An error's code, which few people need.
const CODE: Style = Style::new().dimmed();

/// Prints a line as `println!` does, without control characters: a server's reply or a client's name must not
/// control the operator's terminal. If the reader closes the pipe, as `head` does, the program ends.
macro_rules! say {
    ($($words:tt)*) => { $crate::output::plain(format_args!($($words)*)) };
}
pub(crate) use say;

/// Prints a line of our own words, with styles on a terminal.
macro_rules! say_styled {
    ($($words:tt)*) => { $crate::output::styled(format_args!($($words)*)) };
}
pub(crate) use say_styled;

/// See [`say!`].
pub(crate) fn plain(words: Arguments<'_>) {
    let line = visible(words) + "\n";
    end_if_broken(io::stdout().lock().write_all(line.as_bytes()));
}

/// See [`say_styled!`].
pub(crate) fn styled(words: Arguments<'_>) {
    end_if_broken(writeln!(anstream::stdout().lock(), "{words}"));
}

/// Prints a line that begins with a mark of our own, with a style on a terminal, and goes on as [`say!`] does.
pub(crate) fn marked(style: Style, mark: &str, words: Arguments<'_>) {
    let words = visible(words);
    end_if_broken(writeln!(anstream::stdout().lock(), "{style}{mark}{style:#}{words}"));
}

/// Prints a piece of a message: unchanged, or on a terminal without control characters.
pub(crate) fn message(octets: &[u8], is_terminal: bool) {
    if is_terminal {
        let text = String::from_utf8_lossy(octets).replace("\r\n", "\n");
        end_if_broken(io::stdout().lock().write_all(visible(format_args!("{text}")).as_bytes()));
    } else {
        end_if_broken(io::stdout().lock().write_all(octets));
    }
}

/// Formats a value as indented JSON.
pub(crate) fn json<T: Serialize + ?Sized>(value: &T) -> Result<String> {
    let json = serde_json::to_string_pretty(value)?;
    Ok(match escaped_json(&json) {
        Cow::Borrowed(_) => json,
        Cow::Owned(escaped) => escaped,
    })
}

/// Formats an error with its causes. A cause that an error's own text already includes is not repeated.
pub(crate) fn chain(error: &anyhow::Error) -> String {
    let mut causes = error.chain().map(ToString::to_string);
    let first = causes.next().unwrap_or_default();
    causes.fold(first, |told, cause| match told.ends_with(&cause) {
        true => told,
        false => format!("{told}: {cause}"),
    })
}

/// Returns a number with what it counts: `1 message`, `2 messages`, `3 copies`.
pub(crate) fn counted<N: fmt::Display + PartialEq + From<u8>>(number: N, one: &str) -> String {
    if number == N::from(1) {
        return format!("1 {one}");
    }
    match one.strip_suffix("py") {
        Some(stem) => format!("{number} {stem}pies"),
        None if one.ends_with(['s', 'x']) => format!("{number} {one}es"),
        None => format!("{number} {one}s"),
    }
}

/// Prints an error on standard error.
pub(crate) fn complain(words: Arguments<'_>) {
    // If nobody hears it, the exit code still tells.
    let _ = writeln!(anstream::stderr(), "{ERROR}posta:{ERROR:#} {}", visible(words));
}

/// Prints an error with its code on standard error.
pub(crate) fn complain_of(words: &str, code: &str) {
    let words = visible(format_args!("{words}"));
    // If nobody hears it, the exit code still tells.
    let space = if words.contains('\n') { '\n' } else { ' ' };
    let _ =
        writeln!(anstream::stderr(), "{ERROR}posta:{ERROR:#} {words}{space}{CODE}[{code}]{CODE:#}");
}

/// Prints the code of an error whose words have been printed.
pub(crate) fn show_code(code: &str) {
    // If nobody hears it, the exit code still tells.
    let _ = writeln!(anstream::stderr(), "{CODE}[{code}]{CODE:#}");
}

/// Returns text that may come from a stranger in the form in which it is shown.
fn visible(words: Arguments<'_>) -> String {
    let mut shown = Visible(String::new());
    // Writing to a string cannot fail.
    let _ = shown.write_fmt(words);
    shown.0
}

fn end_if_broken(written: io::Result<()>) {
    match written {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => process::exit(0),
        Err(error) => {
            complain(format_args!("standard output cannot be written: {error}"));
            process::exit(1);
        }
    }
}

/// Text whose invisible characters are shown as escape sequences; line ends are kept.
struct Visible(String);

impl fmt::Write for Visible {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for character in text.chars() {
            match character {
                '\n' => self.0.push('\n'),
                seen if is_visible(seen) => self.0.push(seen),
                hidden => self.0.extend(hidden.escape_default()),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_is_told_once() {
        let disk = std::io::Error::other("the disk is full");
        let store = anyhow::Error::new(disk).context("the store failed: the disk is full");
        assert_eq!(chain(&store.context("[relay]")), "[relay]: the store failed: the disk is full");
    }

    #[test]
    fn what_steers_a_terminal_is_shown() {
        let said = visible(format_args!("EHLO {}\nhi \u{219}i", "\u{1b}[2J\r\u{9b}5m\t"));
        assert_eq!(said, "EHLO \\u{1b}[2J\\r\\u{9b}5m\\t\nhi \u{219}i");
        let said = visible(format_args!("{}", "a\u{202e}b\u{200b}c\u{2028}d"));
        assert_eq!(said, "a\\u{202e}b\\u{200b}c\\u{2028}d");
    }

    /// Styles do not change the words that programs read.
    #[test]
    fn json_hides_nothing_and_stays_json() {
        let words = ["a\u{202e}b\u{9b}5m\n\u{219}", "\u{e0041}"];
        let shown = json(&words).unwrap();
        assert_eq!(shown, "[\n  \"a\\u202eb\\u009b5m\\n\u{219}\",\n  \"\\udb40\\udc41\"\n]");
        assert_eq!(visible(format_args!("{shown}")), shown, "nothing is left to escape");
        assert_eq!(serde_json::from_str::<[String; 2]>(&shown).unwrap(), words);
    }
}
