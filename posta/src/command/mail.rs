//! `posta mail`; and moving mailboxes in and out.

mod at_once;
mod crlf_reader;
pub(crate) mod export;
pub(crate) mod folder_names;
pub(crate) mod import;
mod maildir_flags;
pub(crate) mod mbox;
pub(crate) mod progress;

use crate::{
    Place,
    fault::fail,
    operator,
    output::{self, say},
    runtime::block_on,
};
use anyhow::{Context, Result, bail};
use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use clap::{Args, Subcommand};
use posta_server::admin::{MailLine, MailRequest, Request, Response};
use std::io::{self, IsTerminal};

/// List, show, move, flag and delete the mail of accounts, whether the server runs or not.
///
/// A message is named by its UID, which `posta mail list` shows.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// List the messages of a folder, oldest first.
    List {
        #[command(flatten)]
        folder: InFolder,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Print a message as a mail program would receive it.
    Show {
        #[command(flatten)]
        folder: InFolder,
        /// The message's UID.
        uid: u32,
    },
    /// Move messages to another folder.
    Move {
        #[command(flatten)]
        folder: InFolder,
        /// The name of the destination folder.
        to: String,
        /// The messages' UIDs.
        #[arg(required = true, value_name = "UID")]
        uids: Vec<u32>,
    },
    /// Set or clear flags of messages: seen, answered, flagged, deleted, draft, or a keyword.
    Flag {
        #[command(flatten)]
        folder: InFolder,
        /// The messages' UIDs.
        #[arg(required = true, value_name = "UID")]
        uids: Vec<u32>,
        /// A flag to set. May be repeated.
        #[arg(long, value_name = "FLAG", required_unless_present = "clear")]
        set: Vec<String>,
        /// A flag to clear. May be repeated.
        #[arg(long, value_name = "FLAG")]
        clear: Vec<String>,
    },
    /// Remove messages. `posta account undelete` brings them back within a week.
    Delete {
        #[command(flatten)]
        folder: InFolder,
        /// The messages' UIDs.
        #[arg(required = true, value_name = "UID")]
        uids: Vec<u32>,
    },
}

/// A folder of an account.
#[derive(Args)]
pub(crate) struct InFolder {
    #[command(flatten)]
    place: Place,
    /// The account's address.
    account: String,
    /// The folder that holds the messages; default: the inbox.
    #[arg(long, value_name = "NAME")]
    folder: Option<String>,
}

impl InFolder {
    fn ask(&self, request: MailRequest) -> Result<Response> {
        let (address, folder) = (self.account.clone(), self.folder.clone());
        block_on(operator::execute(&self.place, Request::Mail { address, folder, request }))
    }

    fn change(&self, request: MailRequest, done: &str) -> Result<()> {
        let mut changed = 0;
        for piece in request.pieces() {
            let Response::Count(count) = self.ask(piece)? else { bail!(operator::UNEXPECTED) };
            changed += count;
        }
        match changed {
            0 => fail!(
                "nothing-changed",
                "nothing has changed: `posta mail list` names what is there"
            ),
            1 => say!("1 message {done}"),
            count => say!("{count} messages {done}"),
        }
        Ok(())
    }

    /// Prints the messages of a folder, a page at a time: a folder may be larger than memory.
    fn list(&self, json: bool) -> Result<()> {
        let (mut after, mut shown) = (0, 0);
        loop {
            let Response::Mail { lines, next } = self.ask(MailRequest::List { after })? else {
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
                Some(next) => after = next,
                None => break,
            }
        }
        match (json, shown) {
            (true, 0) => say!("[]"),
            (true, _) => say!("]"),
            (false, 0) => say!("The folder is empty."),
            (false, _) => {}
        }
        Ok(())
    }

    /// Prints a message piece by piece: unchanged into a file or a pipe, and on a terminal without control
    /// characters.
    fn show(&self, uid: u32) -> Result<()> {
        let is_terminal = io::stdout().is_terminal();
        let mut offset = 0;
        loop {
            let request = MailRequest::Read { uid, offset };
            let Response::Piece { octets, next } = self.ask(request)? else {
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
}

pub(crate) fn run(command: Command) -> Result<()> {
    match command {
        Command::List { folder, json } => folder.list(json),
        Command::Show { folder, uid } => folder.show(uid),
        Command::Move { folder, to, uids } => {
            let done = format!("moved to {to}");
            folder.change(MailRequest::Move { uids, to }, &done)
        }
        Command::Flag { folder, uids, set, clear } => {
            folder.change(MailRequest::Flag { uids, add: set, remove: clear }, "changed")
        }
        Command::Delete { folder, uids } => folder.change(
            MailRequest::Delete { uids },
            "removed; `posta account undelete` brings back what was removed",
        ),
    }
}

fn print(line: &MailLine) {
    let MailLine { uid, time, octets, flags, from, subject, .. } = line;
    let size = super::size(*octets);
    let from = from.as_deref().unwrap_or("-");
    let subject = subject.as_deref().unwrap_or("-");
    let flags = match flags.is_empty() {
        true => String::new(),
        false => format!("  [{}]", flags.join(" ")),
    };
    say!("{uid:>6}  {time:.0}  {size:>9}  {from}  {subject}{flags}");
}
