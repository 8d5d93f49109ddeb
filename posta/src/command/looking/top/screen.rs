//! The terminal: the alternate screen, keys without Enter, and frames in one write each.

use super::frame::{Emphasis, Line, Size};
use anstyle::{AnsiColor, Style};
use anyhow::{Context, Result};
use rustix::termios::{self, LocalModes, OptionalActions, Termios};
use std::{
    fmt::Write as _,
    io::{self, Read as _, Write as _},
    thread,
};
use tokio::sync::mpsc;

/// Shows the alternate screen and hides the cursor; and the reverse.
const ENTER: &str = "\x1b[?1049h\x1b[?25l";
const LEAVE: &str = "\x1b[?25h\x1b[?1049l";

const HEADING: Style = Style::new().bold();
const ALERT: Style = AnsiColor::Red.on_default().bold();

/// A key that was pressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Key {
    /// `q` or Escape, or the end of the input.
    Quit,
    /// Any other key.
    Other,
}

/// The terminal while it shows frames. Dropping it restores the terminal.
pub(super) struct Screen {
    before: Termios,
    keys: mpsc::Receiver<Key>,
}

impl Screen {
    /// Takes the terminal over.
    pub(super) fn open() -> Result<Self> {
        let before = termios::tcgetattr(io::stdin()).context("the terminal cannot be read")?;
        let mut raw = before.clone();
        raw.local_modes.remove(LocalModes::ICANON | LocalModes::ECHO);
        termios::tcsetattr(io::stdin(), OptionalActions::Now, &raw)
            .context("the terminal cannot be set")?;
        let (sender, keys) = mpsc::channel(16);
        let screen = Self { before, keys };
        print(ENTER)?;
        thread::Builder::new().name("keys".to_owned()).spawn(move || {
            let mut octet = [0];
            loop {
                let read = io::stdin().lock().read(&mut octet);
                let is_end = !matches!(read, Ok(1));
                let key = if is_end || matches!(octet[0], b'q' | b'Q' | 0x1b) {
                    Key::Quit
                } else {
                    Key::Other
                };
                if sender.blocking_send(key).is_err() || is_end {
                    return;
                }
            }
        })?;
        Ok(screen)
    }

    /// Waits for a key.
    pub(super) async fn key(&mut self) -> Key {
        self.keys.recv().await.unwrap_or(Key::Quit)
    }

    /// Draws a frame over the one before.
    pub(super) fn draw(&self, lines: &[Line]) -> Result<()> {
        let mut text = String::from("\x1b[H");
        for (index, Line { text: words, emphasis }) in lines.iter().enumerate() {
            let style = match emphasis {
                Emphasis::Heading => HEADING,
                Emphasis::Alert => ALERT,
                Emphasis::None => Style::new(),
            };
            let end = if index + 1 < lines.len() { "\r\n" } else { "" };
            // Writing to a string cannot fail.
            let _ = write!(text, "{style}{words}{style:#}\x1b[K{end}");
        }
        text.push_str("\x1b[J");
        print(&text)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // Nothing else can be done for the terminal.
        let _ = print(LEAVE);
        let _ = termios::tcsetattr(io::stdin(), OptionalActions::Now, &self.before);
    }
}

/// Returns the size of the terminal; none if standard output is none.
pub(super) fn size() -> Option<Size> {
    let size = termios::tcgetwinsize(io::stdout()).ok()?;
    let is_known = size.ws_col > 0 && size.ws_row > 0;
    is_known.then(|| Size { columns: size.ws_col.into(), rows: size.ws_row.into() })
}

fn print(text: &str) -> Result<()> {
    let mut output = io::stdout().lock();
    output.write_all(text.as_bytes()).context("the terminal cannot be written")?;
    output.flush().context("the terminal cannot be written")
}
