//! `posta away`.

use super::days::{FirstDay, LastDay};
use crate::{Place, fault::demand, operator, output::say, runtime::block_on};
use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use posta_mail::Timestamp;
use posta_server::admin::{ArrangementState, AwayRequest, PersonalRequest, Request, Response};
use std::{fs, io::Read as _, path::PathBuf};

/// The most octets that are read of a file with a text.
const TEXT: u64 = 64 * 1024;

/// Manage the notes that senders get while somebody is away.
///
/// A sender gets the note once a week. Lists, programs, reports, junk and mail that may be forged get none, and
/// neither does mail that does not name the person in To or Cc. An alias may have a note of its own.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Set the note of an account or an alias. Days are those of UTC, and whole.
    ///
    /// Example: posta away set ana@example.test --until 2027-01-06 --text "I am back on 7 January."
    Set {
        #[command(flatten)]
        place: Place,
        /// The address of the account or alias.
        address: String,
        /// The first day, such as 2026-12-24, or a time such as 2026-12-24T17:00:00+02:00; default: at once.
        #[arg(long, value_name = "DAY")]
        from: Option<FirstDay>,
        /// The last day, or the time when it ends; default: until `posta away off`.
        #[arg(long, value_name = "DAY")]
        until: Option<LastDay>,
        /// The subject; default: that of the sender's message. "Auto: " comes before either.
        #[arg(long)]
        subject: Option<String>,
        #[command(flatten)]
        text: Text,
    },
    /// Show the note.
    Show(Shown),
    /// End the note.
    Off {
        #[command(flatten)]
        place: Place,
        /// The address of the account or alias.
        address: String,
    },
}

#[derive(Args)]
#[group(required = true, multiple = false)]
pub(crate) struct Text {
    /// The text.
    #[arg(long)]
    text: Option<String>,
    /// The file with the text, in UTF-8; - for standard input.
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
}

#[derive(Args)]
pub(crate) struct Shown {
    #[command(flatten)]
    pub(super) place: Place,
    /// The address.
    pub(super) address: String,
    /// Print JSON.
    #[arg(long)]
    pub(super) json: bool,
}

impl Text {
    fn read(self) -> Result<String> {
        let Some(file) = self.file else { return Ok(self.text.unwrap_or_default()) };
        let mut text = String::new();
        if file.as_os_str() == "-" {
            std::io::stdin().lock().take(TEXT).read_to_string(&mut text)
        } else {
            let opened = fs::File::open(&file);
            opened.and_then(|file| file.take(TEXT).read_to_string(&mut text))
        }
        .with_context(|| format!("the text in {} cannot be read", file.display()))?;
        Ok(text)
    }
}

pub(crate) fn run(command: Command) -> Result<()> {
    match command {
        Command::Set { place, address, from, until, subject, text } => {
            let (from, until) = (from.map(|day| day.0), until.map(|day| day.0));
            let request = AwayRequest::Set { from, until, subject, text: text.read()? };
            say(&ask(&place, &address, PersonalRequest::Away(request))?);
        }
        Command::Off { place, address } => {
            let request = PersonalRequest::Away(AwayRequest::Off);
            let state = ask(&place, &address, request)?;
            say!("{}: senders get no note", state.address);
        }
        Command::Show(Shown { place, address, json }) => {
            let state = ask(&place, &address, PersonalRequest::Away(AwayRequest::Show))?;
            crate::command::show(&state, json, say)?;
        }
    }
    Ok(())
}

fn say(state: &ArrangementState) {
    let address = &state.address;
    let Some(away) = &state.away else {
        say!("{address}: senders get no note");
        return;
    };
    let from = away.from.map(|from| format!(" from {}", moment(from))).unwrap_or_default();
    let until = away.until.map(|until| format!(" until {}", moment(until))).unwrap_or_default();
    let now = if state.is_away { "now" } else { "not now" };
    say!("{address}: senders get this note{from}{until} ({now}):");
    if let Some(subject) = &away.subject {
        say!("    Subject: Auto: {subject}");
    }
    for line in away.text.lines() {
        say!("    {line}");
    }
}

/// Returns a point in time for a person, in UTC.
pub(super) fn moment(time: Timestamp) -> String {
    format!("{time:.0}").replace('T', " ").replace('Z', " UTC")
}

/// Carries out a request, and returns where mail of the address goes afterwards.
pub(super) fn ask(
    place: &Place,
    address: &str,
    request: PersonalRequest,
) -> Result<ArrangementState> {
    demand!(
        !address.starts_with('@'),
        "invalid-address",
        "name one address: a catch-all has no owner who is away"
    );
    let request = Request::Personal { address: address.to_owned(), request };
    match block_on(operator::execute(place, request))? {
        Response::Arrangement(state) => Ok(state),
        _ => bail!(operator::UNEXPECTED),
    }
}
