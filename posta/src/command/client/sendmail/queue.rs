//! `mailq`, and running the queue: the operator's requests, under the names that scripts know.

use super::exit::{SendmailFailure, Sysexit};
use crate::{Place, fault, operator, output::say, runtime::block_on, wiring};
use anyhow::{Result, bail};
use posta_server::{
    admin::{QueueAction, QueueLine, Request, Response, Selection},
    receive::spool,
};
use posta_store::ItemState;

/// The most files of the spool that are listed.
const LISTED: usize = 1_000;

/// Lists the queue, and what the server has not taken yet, in the form of Sendmail and Postfix.
pub(super) fn list(place: &Place) -> Result<(), SendmailFailure> {
    let printed = print(place).map_err(refused)?;
    let spooled = print_spooled(place).map_err(refused)?;
    if printed == 0 && spooled == 0 {
        say!("Mail queue is empty");
    }
    Ok(())
}

/// Has the server try to send now.
pub(super) fn run(given: &super::Given, place: &Place) -> Result<(), SendmailFailure> {
    let mut selection = Selection::default();
    if let Some((kind, name)) = &given.selection {
        match kind {
            'I' => selection.ids.push(name.clone()),
            'S' => selection.sender = Some(name.clone()),
            _ => selection.domain = Some(name.trim_start_matches('@').to_owned()),
        }
    }
    let request = Request::QueueChange { selection, action: QueueAction::Retry };
    block_on(operator::execute(place, request)).map_err(refused)?;
    Ok(())
}

/// Who may not open the server's socket is told so by the code that programs know.
fn refused(error: anyhow::Error) -> SendmailFailure {
    let status = match fault::code_of(&error) {
        "permission-denied" => Sysexit::NoPermission,
        code if code.starts_with("config") => Sysexit::Config,
        _ => Sysexit::TempFail,
    };
    SendmailFailure { status, error }
}

/// Prints the queue. Returns the number of entries.
fn print(place: &Place) -> Result<usize> {
    let (mut after, mut count, mut octets) = (None, 0, 0);
    loop {
        let request = Request::QueueList { selection: Selection::default(), after };
        let Response::Queue { lines, next } = block_on(operator::execute(place, request))? else {
            bail!(operator::UNEXPECTED);
        };
        if count == 0 && !lines.is_empty() {
            say!(
                "{:24} --Size-- ----Arrival Time---- -Sender/Recipient-------",
                "----Queue ID----"
            );
        }
        for line in &lines {
            print_line(line);
            octets += line.octets;
        }
        count += lines.len();
        if next.is_none() {
            break;
        }
        after = next;
    }
    if count > 0 {
        let s = if count == 1 { "" } else { "s" };
        say!("-- {} Kbytes in {count} Request{s}.", octets.div_ceil(1_024));
    }
    Ok(count)
}

fn print_line(line: &QueueLine) {
    let mark = match line.state {
        ItemState::Leased => "*",
        ItemState::Held | ItemState::Quarantined => "!",
        ItemState::Waiting => "",
    };
    let sender = match line.reverse_path.as_str() {
        "" => "MAILER-DAEMON",
        sender => sender,
    };
    let (id, octets) = (format!("{}{mark}", line.id), line.octets);
    say!(
        "{id:24} {octets:8} {:20} {sender}",
        line.accepted.strftime("%a %b %e %H:%M:%S").to_string()
    );
    for recipient in &line.recipients {
        for words in recipient.reply.iter().flat_map(|reply| reply.lines()) {
            say!("{:24} ({words})", "");
        }
        say!("{:54} {}", "", recipient.address);
    }
}

/// Prints the files that are in the spool. Returns their number. Whoever may not look there sees none.
fn print_spooled(place: &Place) -> Result<usize> {
    let Some(path) = wiring::config(place)?.spool() else { return Ok(0) };
    let Ok(files) = spool::look_into(&path, LISTED) else { return Ok(0) };
    for (path, octets, uid) in &files {
        say!("{}  {octets} octets, of user {uid}, not taken by the server yet", path.display());
    }
    Ok(files.len())
}
