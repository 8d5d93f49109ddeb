//! The levels of the log, for the table `[log]` and the option `--log`.

use clap::ValueEnum;

/// The level of the log. Each level includes those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Level {
    /// Faults that keep the server from doing its work.
    Error,
    /// Problems that somebody should look after before they become faults.
    Warn,
    /// The outcome of each message and login, and starts, stops and reloads.
    Info,
    /// Details that explain the rest, such as broken-off sessions.
    Debug,
}
