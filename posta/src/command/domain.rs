//! `posta domain`.

use crate::{Place, operator, output::say};
use anyhow::{Result, bail};
use clap::Subcommand;
use posta_server::admin::{Request, Response};

/// Manage the domains whose mail is kept here, whether the server runs or not.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Make a domain local, so that unknown users in it are refused as such.
    Add {
        #[command(flatten)]
        place: Place,
        /// Its name.
        domain: String,
    },
    /// List the local domains.
    List {
        #[command(flatten)]
        place: Place,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Make a domain foreign; it must have no accounts.
    Remove {
        #[command(flatten)]
        place: Place,
        /// Its name.
        domain: String,
    },
}

pub(crate) fn run(command: Command) -> Result<()> {
    let (place, request, said) = match command {
        Command::Add { place, domain } => {
            let said = format!("mail for {domain} is kept here");
            (place, Request::DomainAdd { domain }, said)
        }
        Command::Remove { place, domain } => {
            let said = format!("mail for {domain} is not kept here any more");
            (place, Request::DomainRemove { domain }, said)
        }
        Command::List { place, json } => return list(&place, json),
    };
    super::carry_out(&place, request, &said)
}

fn list(place: &Place, json: bool) -> Result<()> {
    let Response::Domains(names) = super::block_on(operator::execute(place, Request::DomainList))?
    else {
        bail!("the server answered something else");
    };
    super::show(&names[..], json, |names| names.iter().for_each(|name| say!("{name}")))
}
