//! The levels of the log, for the table `[log]` and the option `--log`.

use clap::ValueEnum;

/// How much the log tells: each level tells what those before it do, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Level {
    /// What keeps the server from doing its work.
    Error,
    /// What somebody has to look after before it does.
    Warn,
    /// What became of each message and each login, and starts, stops and reloads.
    Info,
    /// What explains the rest, such as sessions that broke off.
    Debug,
}
