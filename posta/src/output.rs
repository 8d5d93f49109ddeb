//! What commands print: everything that goes to standard output, and what went wrong.

use anstyle::{AnsiColor, Style};
use std::{
    fmt::{self, Arguments, Write as _},
    io::{self, Write},
    process,
};

const ERROR: Style = AnsiColor::Red.on_default().bold();

/// Prints a line, as `println!` does, and of what strangers wrote only what can be seen: a server's
/// reply or a client's name must not steer the operator's terminal. A reader who has seen enough,
/// as `head`, ends the program.
macro_rules! say {
    ($($words:tt)*) => { $crate::output::plain(format_args!($($words)*)) };
}
pub(crate) use say;

/// Prints a line of our own words, with styles where they are shown.
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

/// Says on standard error what went wrong.
pub(crate) fn complain(words: Arguments<'_>) {
    // If nobody hears it, the exit code still tells.
    let _ = writeln!(anstream::stderr(), "{ERROR}posta:{ERROR:#} {}", visible(words));
}

/// Words that may be a stranger's, as they are shown.
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

/// Text in which control characters are shown as they are written in code; lines stay lines.
struct Visible(String);

impl fmt::Write for Visible {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for character in text.chars() {
            match character {
                '\n' => self.0.push('\n'),
                steering if steering.is_control() => self.0.extend(steering.escape_default()),
                seen => self.0.push(seen),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_steers_a_terminal_is_shown() {
        let said = visible(format_args!("EHLO {}\nhi \u{219}i", "\u{1b}[2J\r\u{9b}5m\t"));
        assert_eq!(said, "EHLO \\u{1b}[2J\\r\\u{9b}5m\\t\nhi \u{219}i");
    }
}
