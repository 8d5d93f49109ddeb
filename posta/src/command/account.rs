//! `posta account`.

use crate::{Place, config::Octets, operator};
use anyhow::{Result, bail};
use clap::{Args, Subcommand};
use posta_server::admin::{AccountLine, Request, Response};

/// Manage accounts, whether the server runs or not.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Add an account; its domain becomes local.
    Add(WithPassword),
    /// List the accounts: address, messages, octets.
    List {
        #[command(flatten)]
        place: Place,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Remove an account and its mail.
    Remove {
        #[command(flatten)]
        place: Place,
        /// The account's address.
        address: String,
    },
    /// Change an account's password.
    Password(WithPassword),
    /// Limit what an account's mailbox may hold: a size such as 1GiB, or none.
    Quota {
        #[command(flatten)]
        place: Place,
        /// The account's address.
        address: String,
        /// The size; octets of its messages together. Removed messages do not count.
        quota: String,
    },
}

#[derive(Args)]
pub(crate) struct WithPassword {
    #[command(flatten)]
    place: Place,
    /// The account's address.
    address: String,
    /// Read the password from the first line of standard input.
    #[arg(long)]
    password_stdin: bool,
}

impl WithPassword {
    fn ask(&self) -> Result<String> {
        let prompt = format!("Password for {}: ", self.address);
        let password = super::read_password(self.password_stdin, &prompt)?;
        if !self.password_stdin {
            let again = super::read_password(false, "The same again: ")?;
            if password != again {
                bail!("the two passwords differ");
            }
        }
        match str::from_utf8(password.expose()) {
            Ok(text) => Ok(text.to_owned()),
            Err(_) => bail!("the password is not UTF-8"),
        }
    }
}

pub(crate) fn run(command: Command) -> Result<()> {
    let (place, request, said) = match command {
        Command::Add(add) => {
            let (password, address) = (add.ask()?, add.address);
            let said = format!("{address} can receive mail and log in");
            (add.place, Request::AccountAdd { address, password }, said)
        }
        Command::Password(change) => {
            let (password, address) = (change.ask()?, change.address);
            let said = format!("{address} has a new password");
            (change.place, Request::AccountPassword { address, password }, said)
        }
        Command::Remove { place, address } => {
            let said = format!("{address} is removed");
            (place, Request::AccountRemove { address }, said)
        }
        Command::Quota { place, address, quota } => {
            let octets = match quota.as_str() {
                "none" => None,
                size => Some(size.parse::<Octets>().map_err(|words| anyhow::anyhow!(words))?.0),
            };
            let said = format!("{address} may hold {quota}");
            (place, Request::AccountQuota { address, quota: octets }, said)
        }
        Command::List { place, json } => return list(&place, json),
    };
    super::carry_out(&place, request, &said)
}

fn list(place: &Place, json: bool) -> Result<()> {
    let Response::Accounts(lines) =
        super::block_on(operator::execute(place, Request::AccountList))?
    else {
        bail!("the server answered something else");
    };
    super::show(&lines[..], json, |lines| {
        if lines.is_empty() {
            println!("There are no accounts yet: `posta account add ADDRESS` makes one.");
        } else {
            print_table(lines);
        }
    })
}

fn print_table(lines: &[AccountLine]) {
    let mut table = comfy_table::Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    table.set_header(["ADDRESS", "MESSAGES", "OCTETS", "QUOTA"]);
    for column in [1, 2, 3] {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(comfy_table::CellAlignment::Right);
        }
    }
    for line in lines {
        let quota = line.quota.map_or_else(|| "none".to_owned(), |octets| octets.to_string());
        let (messages, octets) = (line.messages.to_string(), line.octets.to_string());
        table.add_row([line.address.clone(), messages, octets, quota]);
    }
    println!("{table}");
}
