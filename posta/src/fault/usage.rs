//! Mistakes on the command line, as clap finds them: shown with the code of their kind.

use crate::output;
use clap::error::{Error, ErrorKind};
use std::process::ExitCode;

/// Shows what clap has to say, a mistake or the help that was asked for. Returns the exit status.
pub(crate) fn show(error: &Error) -> ExitCode {
    // If nobody hears it, the exit code still tells.
    let _ = error.print();
    // The help of a command that needs a subcommand is no complaint.
    let is_help = error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand;
    if error.use_stderr() && !is_help {
        output::show_code(code(error.kind()));
    }
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(1))
}

fn code(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::InvalidSubcommand => "unknown-command",
        ErrorKind::UnknownArgument => "unknown-option",
        ErrorKind::MissingRequiredArgument
        | ErrorKind::MissingSubcommand
        | ErrorKind::TooFewValues
        | ErrorKind::NoEquals => "missing-argument",
        _ => "invalid-value",
    }
}
