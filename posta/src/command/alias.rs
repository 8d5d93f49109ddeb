//! `posta alias`.

use crate::{Place, operator, output::say};
use anyhow::{Result, bail};
use clap::Subcommand;
use posta_server::admin::{Request, Response};

/// Manage aliases, whether the server runs or not.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Send an address's mail to others; replaces what it was sent to before.
    Add {
        #[command(flatten)]
        place: Place,
        /// The address, or @domain for every address of a domain that means nothing else.
        name: String,
        /// Where its mail goes: addresses here or on other servers.
        #[arg(required = true)]
        targets: Vec<String>,
    },
    /// List the aliases, and where they lead.
    List {
        #[command(flatten)]
        place: Place,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Remove an alias.
    Remove {
        #[command(flatten)]
        place: Place,
        /// The address, or @domain.
        name: String,
    },
}

pub(crate) fn run(command: Command) -> Result<()> {
    let (place, request, said) = match command {
        Command::Add { place, name, targets } => {
            let said = format!("mail for {name} goes to {}", targets.join(", "));
            (place, Request::AliasAdd { name, targets }, said)
        }
        Command::Remove { place, name } => {
            let said = format!("{name} is no alias any more");
            (place, Request::AliasRemove { name }, said)
        }
        Command::List { place, json } => return list(&place, json),
    };
    super::carry_out(&place, request, &said)
}

fn list(place: &Place, json: bool) -> Result<()> {
    let Response::Aliases(lines) = super::block_on(operator::execute(place, Request::AliasList))?
    else {
        bail!("the server answered something else");
    };
    super::show(&lines[..], json, |lines| {
        lines.iter().for_each(|line| say!("{} -> {}", line.name, line.targets.join(", ")));
    })
}
