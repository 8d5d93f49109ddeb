//! The exit codes of `sendmail`, which programs know from sysexits.h.

use anyhow::anyhow;
use std::{fmt, io};

/// An exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sysexit {
    /// The command line is wrong.
    Usage = 64,
    /// The message is wrong.
    Data = 65,
    /// A recipient is no address.
    NoUser = 67,
    /// The machine takes no such message.
    Unavailable = 69,
    /// An error that should not be.
    Software = 70,
    /// Standard input or output failed.
    Io = 74,
    /// It may work later.
    TempFail = 75,
    /// The user may not.
    NoPermission = 77,
    /// The configuration is wrong.
    Config = 78,
}

impl Sysexit {
    /// Returns the error code with which the words are shown.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Usage => "unknown-option",
            Self::Data => "message-unusable",
            Self::NoUser => "no-address",
            Self::Unavailable => "no-spool",
            Self::Software => "failed",
            Self::Io => "system-error",
            Self::TempFail => "spool-failed",
            Self::NoPermission => "permission-denied",
            Self::Config => "config-mistakes",
        }
    }

    /// Returns a failure with these words.
    pub(super) fn says(self, words: impl fmt::Display) -> SendmailFailure {
        self.with(anyhow!("{words}"))
    }

    /// Returns a failure with this error.
    pub(super) const fn with(self, error: anyhow::Error) -> SendmailFailure {
        SendmailFailure { status: self, error }
    }

    /// Returns the exit code for an error of the system while the spool is written.
    pub(super) fn of_spool(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Self::Unavailable,
            io::ErrorKind::PermissionDenied => Self::NoPermission,
            _ => Self::TempFail,
        }
    }
}

/// Why `sendmail` did not do what it was asked for.
#[derive(Debug)]
pub(super) struct SendmailFailure {
    pub(super) status: Sysexit,
    pub(super) error: anyhow::Error,
}
