//! Where the client's lines come from: a person at a terminal, a pipe, or a script.

use super::{protocol::Turn, screen::Who, script::Script};
use anyhow::{Context, Result};
use rustyline::{
    Editor, ExternalPrinter, completion::Completer, error::ReadlineError, highlight::Highlighter,
    hint::Hinter, history::MemHistory, validate::Validator,
};
use std::{
    io::{self, BufRead, Read},
    sync::mpsc,
    thread,
};
use tokio::sync::oneshot;

/// The longest line that is read from a pipe, in octets.
const LINE: u64 = 64 * 1024;

/// What a person may type besides the protocol's commands.
pub(super) const LOCAL: &[&str] = &["/login", "/example", "/help", "/quit"];

pub(super) enum Input {
    Terminal(Terminal),
    Pipe,
    Script(Script),
}

impl Input {
    /// Returns whether whoever writes the lines sees them already.
    pub(super) const fn is_terminal(&self) -> bool {
        matches!(self, Self::Terminal(_))
    }

    /// Returns the next line; `None` at the end.
    ///
    /// # Errors
    /// When the input cannot be read.
    pub(super) async fn line(&mut self, turn: Turn) -> Result<Option<String>> {
        match self {
            Self::Script(script) => Ok(script.client()),
            Self::Pipe => tokio::task::spawn_blocking(piped).await?,
            Self::Terminal(terminal) => ask(&terminal.requests, turn).await,
        }
    }
}

/// Reads a line from standard input.
pub(super) fn piped() -> Result<Option<String>> {
    let mut line = Vec::new();
    let length = io::stdin().lock().take(LINE).read_until(b'\n', &mut line)?;
    let line = String::from_utf8_lossy(&line).trim_end_matches(['\r', '\n']).to_owned();
    Ok((length > 0).then_some(line))
}

/// A terminal at which a person types. A thread of its own waits for the person, so that the server can be heard
/// meanwhile.
pub(super) struct Terminal {
    pub(super) requests: mpsc::Sender<Prompt>,
    /// Prints above the line that the person is typing.
    pub(super) printer: Box<dyn ExternalPrinter + Send>,
}

/// A prompt, and where the line goes that is typed there; `None` at the end.
type Prompt = (String, oneshot::Sender<Result<Option<String>, ReadlineError>>);

impl Terminal {
    /// Opens the terminal for a protocol with these commands.
    ///
    /// # Errors
    /// When the terminal cannot be used.
    pub(super) fn open(commands: &'static [&'static str]) -> Result<Self> {
        let unusable = "the terminal cannot be used; a pipe can";
        let config = rustyline::Config::builder().auto_add_history(true).build();
        let mut editor = Editor::<Words, MemHistory>::with_history(config, MemHistory::new())
            .context(unusable)?;
        editor.set_helper(Some(Words(commands)));
        let printer = Box::new(editor.create_external_printer().context(unusable)?);
        let (requests, requested) = mpsc::channel::<Prompt>();
        thread::spawn(move || {
            while let Ok((prompt, reply)) = requested.recv() {
                let line = match editor.readline(&prompt) {
                    Ok(line) => Ok(Some(line)),
                    Err(ReadlineError::Eof | ReadlineError::Interrupted) => Ok(None),
                    Err(error) => Err(error),
                };
                let _ = reply.send(line);
            }
        });
        Ok(Self { requests, printer })
    }
}

/// Asks the person at a terminal for a line.
///
/// # Errors
/// When the terminal cannot be read.
pub(super) async fn ask(requests: &mpsc::Sender<Prompt>, turn: Turn) -> Result<Option<String>> {
    let what = match turn {
        Turn::Content => "│ ",
        Turn::Response => "… ",
        _ => "  ",
    };
    let (reply, line) = oneshot::channel();
    // The thread lives as long as the terminal.
    let _ = requests.send((format!("  {}{what}", Who::Client.arrow()), reply));
    Ok(line.await??)
}

/// Completes commands at the beginning of a line.
struct Words(&'static [&'static str]);

impl Completer for Words {
    type Candidate = String;

    fn complete(
        &self,
        line: &str,
        position: usize,
        _: &rustyline::Context<'_>,
    ) -> rustyline::Result<(usize, Vec<String>)> {
        let typed = line.get(..position).unwrap_or_default();
        let known = self.0.iter().chain(LOCAL);
        let fits = |word: &&&str| {
            word.get(..typed.len()).is_some_and(|start| start.eq_ignore_ascii_case(typed))
        };
        Ok((0, known.filter(fits).map(|word| (*word).to_owned()).collect()))
    }
}

impl Hinter for Words {
    type Hint = String;
}
impl Highlighter for Words {}
impl Validator for Words {}
impl rustyline::Helper for Words {}
