//! `posta quarantine`.

use crate::{
    Place,
    command::size,
    fault::demand,
    operator,
    output::{self, say},
    runtime::block_on,
};
use anyhow::{Context, Result, bail};
use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use clap::{Args, Subcommand};
use posta_mail::MailId;
use posta_server::admin::{QuarantineLine, QuarantineRequest, Request, Response};
use std::io::{self, IsTerminal};

/// Manage the messages that a filter has put into quarantine.
///
/// A message in quarantine was accepted, and no recipient sees it. After 30 days it is dropped.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// List the messages in quarantine, oldest first.
    List {
        #[command(flatten)]
        place: Place,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Print a message, with the fields that this server added at its top.
    Show {
        #[command(flatten)]
        place: Place,
        /// The message's id.
        id: MailId,
    },
    /// Deliver messages to their recipients.
    Release(Which),
    /// Drop messages. The senders are not notified.
    Drop(Which),
}

/// Messages in quarantine.
#[derive(Args)]
pub(crate) struct Which {
    #[command(flatten)]
    place: Place,
    /// The messages' ids.
    #[arg(required = true, value_name = "ID")]
    ids: Vec<MailId>,
}

pub(crate) fn run(command: Command) -> Result<()> {
    match command {
        Command::List { place, json } => list(&place, json),
        Command::Show { place, id } => show(&place, id),
        Command::Release(Which { place, ids }) => {
            change(&place, QuarantineRequest::Release { ids }, "released")
        }
        Command::Drop(Which { place, ids }) => {
            change(&place, QuarantineRequest::Drop { ids }, "dropped")
        }
    }
}

fn ask(place: &Place, request: QuarantineRequest) -> Result<Response> {
    block_on(operator::execute(place, Request::Quarantine { request }))
}

/// Prints the messages, a page at a time.
fn list(place: &Place, json: bool) -> Result<()> {
    let (mut after, mut shown) = (None, 0);
    loop {
        let Response::Quarantine { lines, next } = ask(place, QuarantineRequest::List { after })?
        else {
            bail!(operator::UNEXPECTED);
        };
        for line in &lines {
            match json {
                true if shown == 0 => say!("[\n{}", output::json(line)?.trim_end()),
                true => say!(",\n{}", output::json(line)?.trim_end()),
                false => print(line),
            }
            shown += 1;
        }
        match next {
            Some(next) => after = Some(next),
            None => break,
        }
    }
    match (json, shown) {
        (true, 0) => say!("[]"),
        (true, _) => say!("]"),
        (false, 0) => say!("Nothing is in quarantine."),
        (false, _) => {}
    }
    Ok(())
}

/// Prints a message piece by piece: unchanged into a file or a pipe, and on a terminal without control characters.
fn show(place: &Place, id: MailId) -> Result<()> {
    let is_terminal = io::stdout().is_terminal();
    let mut offset = 0;
    loop {
        let Response::Piece { octets, next } = ask(place, QuarantineRequest::Read { id, offset })?
        else {
            bail!(operator::UNEXPECTED);
        };
        let octets = BASE64.decode(octets).context("the server's answer cannot be read")?;
        output::message(&octets, is_terminal);
        match next {
            Some(next) => offset = next,
            None => return Ok(()),
        }
    }
}

fn change(place: &Place, request: QuarantineRequest, done: &str) -> Result<()> {
    let Response::Count(count) = ask(place, request)? else { bail!(operator::UNEXPECTED) };
    demand!(
        count > 0,
        "nothing-in-quarantine",
        "no such message is in quarantine; `posta quarantine list` names them"
    );
    let messages = if count == 1 { "message" } else { "messages" };
    say!("{count} {messages} {done}");
    Ok(())
}

fn print(line: &QuarantineLine) {
    let QuarantineLine { id, time, reverse_path, recipients, octets, reason, from, subject } = line;
    say!("{id}  {time:.0}  {}  from <{reverse_path}> to {}", size(*octets), recipients.join(", "));
    if let Some(reason) = reason {
        say!("    {reason}");
    }
    let (from, subject) = (from.as_deref().unwrap_or("-"), subject.as_deref().unwrap_or("-"));
    say!("    {from}  {subject}");
}
