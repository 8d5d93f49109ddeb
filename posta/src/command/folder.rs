//! `posta folder`.

use crate::{Place, operator, output::say, runtime::block_on};
use anyhow::{Result, bail};
use clap::Subcommand;
use posta_server::admin::{FolderLine, FolderRequest, Request, Response};

/// Manage the folders of accounts, whether the server runs or not.
///
/// Every account has an inbox, which is what POP3 shows, and a junk folder.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// List an account's folders and the size of each.
    List {
        #[command(flatten)]
        place: Place,
        /// The account's address.
        account: String,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Add a folder. Its parent folder must exist.
    Add {
        #[command(flatten)]
        place: Place,
        /// The account's address.
        account: String,
        /// The folder's full name; / separates levels.
        name: String,
        /// What the folder is for: archive, drafts, sent or trash.
        #[arg(long)]
        role: Option<String>,
    },
    /// Rename a folder and the folders below it.
    Rename {
        #[command(flatten)]
        place: Place,
        /// The account's address.
        account: String,
        /// The folder's name.
        name: String,
        /// The new name.
        new: String,
    },
    /// Remove an empty folder.
    Remove {
        #[command(flatten)]
        place: Place,
        /// The account's address.
        account: String,
        /// The folder's name.
        name: String,
    },
}

pub(crate) fn run(command: Command) -> Result<()> {
    let (place, address, request, said) = match command {
        Command::List { place, account, json } => return list(&place, account, json),
        Command::Add { place, account, name, role } => {
            let said = format!("{account} has the folder {name} now");
            (place, account, FolderRequest::Add { name, role }, said)
        }
        Command::Rename { place, account, name, new } => {
            let said = format!("the folder {name} of {account} is called {new} now");
            (place, account, FolderRequest::Rename { name, new }, said)
        }
        Command::Remove { place, account, name } => {
            let said = format!("{account} has the folder {name} no more");
            (place, account, FolderRequest::Remove { name }, said)
        }
    };
    super::carry_out(&place, Request::Folder { address, request }, &said)
}

fn list(place: &Place, address: String, json: bool) -> Result<()> {
    let request = Request::Folder { address, request: FolderRequest::List };
    let Response::Folders(lines) = block_on(operator::execute(place, request))? else {
        bail!(operator::UNEXPECTED);
    };
    super::show(&lines[..], json, print)
}

fn print(lines: &[FolderLine]) {
    let mut table = comfy_table::Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    table.set_header(["NAME", "ROLE", "MESSAGES", "UNSEEN", "SIZE"]);
    for FolderLine { name, role, messages, unseen, octets, .. } in lines {
        let role = role.as_deref().filter(|role| !name.eq_ignore_ascii_case(role));
        table.add_row([
            name,
            role.unwrap_or_default(),
            &messages.to_string(),
            &unseen.to_string(),
            &super::size(*octets),
        ]);
    }
    say!("{table}");
}
