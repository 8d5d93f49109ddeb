//! `posta forward`.

use super::{
    away::{Shown, ask, moment},
    days::LastDay,
};
use crate::{Place, output::say};
use anyhow::Result;
use clap::Subcommand;
use posta_server::admin::{ArrangementState, ForwardRequest, PersonalRequest};

/// Manage where somebody's mail is forwarded, until when, and what senders are told.
///
/// A forward is an alias of the same name: `posta alias list` shows it too. It also serves for people who have left, and
/// have no account any more.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Set the forward of an address, in place of an earlier one. An account keeps a copy in its mailbox.
    ///
    /// Example: posta forward set ana@example.test bob@example.test --pass-on --until 2027-06-30 --note "Write to Bob."
    Set {
        #[command(flatten)]
        place: Place,
        /// The address whose mail is forwarded.
        address: String,
        /// The addresses that get it, here or on other servers.
        #[arg(required = true, value_name = "TARGET")]
        targets: Vec<String>,
        /// Keep no copy in the account's mailbox.
        #[arg(long)]
        pass_on: bool,
        /// The last day, such as 2027-06-30 (in UTC), or the time when it ends; default: never. Mail then goes to the
        /// mailbox again, or is refused where there is none.
        #[arg(long, value_name = "DAY")]
        until: Option<LastDay>,
        /// The text of a note to senders, which each gets once a week, under the rules of `posta away`.
        #[arg(long, value_name = "TEXT")]
        note: Option<String>,
    },
    /// Show the forward.
    Show(Shown),
    /// End the forward: mail goes to the mailbox again, or is refused where there is none.
    Off {
        #[command(flatten)]
        place: Place,
        /// The address whose mail was forwarded.
        address: String,
    },
}

pub(crate) fn run(command: Command) -> Result<()> {
    match command {
        Command::Set { place, address, targets, pass_on, until, note } => {
            let until = until.map(|day| day.0);
            let request = ForwardRequest::Set { targets, pass_on, until, note };
            say(&ask(&place, &address, PersonalRequest::Forward(request))?);
        }
        Command::Off { place, address } => {
            say(&ask(&place, &address, PersonalRequest::Forward(ForwardRequest::Off))?);
        }
        Command::Show(Shown { place, address, json }) => {
            let state = ask(&place, &address, PersonalRequest::Forward(ForwardRequest::Show))?;
            crate::command::show(&state, json, say)?;
        }
    }
    Ok(())
}

fn say(state: &ArrangementState) {
    let ArrangementState { address, targets, keeps_copy, is_account, forward, .. } = state;
    if targets.is_empty() {
        match is_account {
            true => say!("mail for {address} goes to its mailbox"),
            false => say!("{address} is no address here: mail for it is refused"),
        }
        return;
    }
    let copy = if *keeps_copy { ", and to its mailbox" } else { "" };
    let until = forward.as_ref().and_then(|forward| forward.until);
    let until = until.map(|until| format!(", until {}", moment(until))).unwrap_or_default();
    say!("mail for {address} goes to {}{copy}{until}", targets.join(", "));
    if let Some(note) = forward.as_ref().and_then(|forward| forward.note.as_ref()) {
        say!("its senders get this note:");
        for line in note.lines() {
            say!("    {line}");
        }
    }
}
