//! What the log tells: the table `[log]`, and the option `--log`.

use clap::ValueEnum;
use serde::Deserialize;

/// What the log tells.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Log {
    /// How much.
    pub(crate) level: Level,
}

/// How much the log tells: each level tells what those before it do, too.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Level {
    /// What keeps the server from doing its work.
    Error,
    /// What somebody has to look after before it does.
    Warn,
    /// What became of each message and each login, and starts, stops and reloads.
    #[default]
    Info,
    /// What explains the rest, such as sessions that broke off.
    Debug,
}
