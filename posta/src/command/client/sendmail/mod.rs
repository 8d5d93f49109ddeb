//! `posta sendmail`, which is also `sendmail`, `mailq` and `newaliases`.
//!
//! The command line is read as Sendmail's is (`arguments.rs`), not by clap: programs write `-fADDRESS` and `-oi`, and
//! options that mean nothing here must not fail. The message goes into the spool (`handing_over.rs`), for which no rights
//! and no server are needed. `session.rs` is `-bs`, `queue.rs` is `-bp` and `-q`, `exit.rs` has the exit codes.

mod arguments;
mod exit;
mod handing_over;
mod queue;
mod session;

use crate::{
    Place,
    config::{Config, SPOOL, Source},
    output, wiring,
};
use arguments::{Given, SendmailMode};
use clap::Args;
use exit::{SendmailFailure, Sysexit};
use std::{
    ffi::{OsStr, OsString},
    path::{Path, PathBuf},
    process::ExitCode,
};

/// Send a message from standard input, as programs of this machine do: cron, PHP, git send-email.
///
/// The message waits in the spool until the server takes it, whether the server runs or not. Linked
/// to as sendmail, mailq or newaliases, the program is that command.
///
/// -t          recipients are those of To, Cc and Bcc     -f, -r ADDRESS  the sender
/// -i, -oi     a line with a dot does not end it          -F NAME         the sender's name
/// -bm, -bs    read a message (default); speak SMTP       -N, -R, -V      reports, as of RFC 3461
/// -bp, -q     list the queue; try to send it now         -C FILE         the configuration
///
/// -B, -o and other options of Sendmail are accepted and mean nothing. The exit codes are those of
/// sysexits.h: 64 wrong usage, 65 no recipients can be read, 67 no address, 69 no spool or too large,
/// 75 try again later, 77 not allowed.
///
/// Example: posta sendmail -i ana@example.test < note.txt
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Arguments {
    /// The configuration file; default: $POSTA_CONFIG, /etc/posta/posta.toml, ./posta.toml.
    #[arg(long, value_name = "FILE", env = "POSTA_CONFIG", hide_env = true)]
    config: Option<PathBuf>,
    /// Recipients' addresses, and options as above.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    words: Vec<OsString>,
}

impl Arguments {
    /// Returns the configuration that is named.
    pub(crate) fn config(self) -> Option<PathBuf> {
        self.config
    }
}

/// The name of the program, and what its arguments are read as if it was started under that name.
const NAMES: [(&str, &[&str]); 3] =
    [("sendmail", &[]), ("mailq", &["-bp"]), ("newaliases", &["-bi"])];

/// Returns the arguments of `sendmail`, if this program was started to be it: under one of its names, or as `posta
/// sendmail`. Help and version are clap's affair.
pub(crate) fn called(words: &[OsString]) -> Option<Vec<OsString>> {
    let (program, rest) = words.split_first()?;
    let name = Path::new(program).file_name()?;
    let alias = NAMES.iter().find(|(alias, _)| name == *alias);
    let (first, rest) = match (alias, rest.split_first()) {
        (Some((_, first)), _) => (*first, rest),
        (None, Some((command, rest))) if command == "sendmail" => (&[][..], rest),
        _ => return None,
    };
    let asks_clap = |word: &OsString| ["--help", "--version"].iter().any(|it| word == it);
    if rest.first().is_some_and(asks_clap) {
        return None;
    }
    Some(first.iter().map(OsString::from).chain(rest.iter().cloned()).collect())
}

/// Returns the words of a command line for clap. `sendmail --help` shows what `posta sendmail --help` does.
pub(crate) fn for_clap(words: Vec<OsString>) -> Vec<OsString> {
    let name = words.first().and_then(|program| Path::new(program).file_name());
    let is_alias = NAMES.iter().any(|(alias, _)| name == Some(OsStr::new(alias)));
    if !is_alias {
        return words;
    }
    let rest = words.into_iter().skip(1);
    ["posta", "sendmail"].into_iter().map(OsString::from).chain(rest).collect()
}

/// Runs the command as clap has read it, which it has only where it was not [`called`].
pub(crate) fn run(arguments: Arguments) -> ExitCode {
    answer(run_words(&arguments.words, arguments.config))
}

/// Runs the command. `config` is the value of `POSTA_CONFIG`.
pub(crate) fn run_called(words: &[OsString], config: Option<PathBuf>) -> ExitCode {
    answer(run_words(words, config))
}

fn answer(done: Result<(), SendmailFailure>) -> ExitCode {
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(SendmailFailure { status, error }) => {
            output::complain_of(&output::chain(&error), status.name());
            ExitCode::from(status as u8)
        }
    }
}

fn run_words(words: &[OsString], config: Option<PathBuf>) -> Result<(), SendmailFailure> {
    let given = Given::read(words)?;
    let config = given.config.clone().or(config);
    match given.mode {
        SendmailMode::Message => handing_over::hand_over(&given, &machine(config)?),
        SendmailMode::Session => session::speak(&machine(config)?),
        SendmailMode::List => queue::list(&Place { config, data: None }),
        SendmailMode::Run => queue::run(&given, &Place { config, data: None }),
        SendmailMode::Aliases => {
            output::say!(
                "Nothing to do: aliases are in the store, and hold at once (posta alias list)."
            );
            Ok(())
        }
    }
}

/// What `sendmail` knows of the machine's server.
struct Machine {
    config: Config,
    spool: PathBuf,
}

/// Reads the configuration. A mistake in it, or one that only root may read, keeps nobody from sending: the usual spool is
/// used, and the server takes the message when it runs again.
fn machine(named: Option<PathBuf>) -> Result<Machine, SendmailFailure> {
    let is_named = named.is_some();
    let read = wiring::config(&Place { config: named, data: None });
    let config = match read {
        Ok(config) => config,
        Err(error) if is_named => return Err(SendmailFailure { status: Sysexit::Config, error }),
        Err(_) => {
            let config = Source::defaults().map_err(|error| Sysexit::Software.with(error))?.config;
            return Ok(Machine { config, spool: SPOOL.into() });
        }
    };
    let spool = config.spool().ok_or_else(|| {
        Sysexit::Unavailable.says(
            "the server of this machine takes no mail from programs: its configuration has no `spool`, the directory \
             for it, such as spool = \"/var/spool/posta\"",
        )
    })?;
    Ok(Machine { config, spool })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<OsString> {
        line.split(' ').map(OsString::from).collect()
    }

    #[test]
    fn the_program_is_what_it_is_called() {
        for (line, arguments) in [
            ("/usr/sbin/sendmail -t", Some("-t")),
            ("sendmail -- --help", Some("-- --help")),
            ("/usr/bin/mailq -v", Some("-bp -v")),
            ("newaliases -v", Some("-bi -v")),
            ("posta sendmail -fx", Some("-fx")),
            ("posta sendmail --help", None),
            ("sendmail --help", None),
            ("posta send --help", None),
            ("posta", None),
        ] {
            assert_eq!(called(&words(line)), arguments.map(words), "{line}");
        }
        assert_eq!(called(&[]), None);
        assert_eq!(for_clap(words("mailq --help")), words("posta sendmail --help"));
        assert_eq!(for_clap(words("posta send --help")), words("posta send --help"));
    }
}
