//! `posta lockout`.

use crate::{Place, operator, output::say, runtime::block_on};
use anyhow::{Result, bail};
use clap::Subcommand;
use posta_server::{
    admin::{Request, Response},
    login::lockout::Lockout,
};

/// List and lift lock-outs after failed logins.
///
/// Lock-outs belong to the running server and end with it; servers that share a store have them in common.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// List the lock-outs: client networks, and account names that are locked for networks which their owners
    /// have never used.
    List {
        #[command(flatten)]
        place: Place,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Lift the lock-out of a network or an account name.
    Lift {
        #[command(flatten)]
        place: Place,
        /// A client's IP address, its network, or the address of an account.
        who: String,
    },
}

pub(crate) fn run(command: Command) -> Result<()> {
    match command {
        Command::List { place, json } => list(&place, json),
        Command::Lift { place, who } => {
            let said = format!("{who} may try again");
            super::carry_out(&place, Request::LockoutLift { who }, &said)
        }
    }
}

fn list(place: &Place, json: bool) -> Result<()> {
    let request = Request::LockoutList;
    let Response::Lockouts(lockouts) = block_on(operator::execute(place, request))? else {
        bail!(operator::UNEXPECTED);
    };
    super::show(&lockouts[..], json, |lockouts| {
        if lockouts.is_empty() {
            say!("Nobody is locked out.");
        } else {
            print_table(lockouts);
        }
    })
}

fn print_table(lockouts: &[Lockout]) {
    let mut table = comfy_table::Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    table.set_header(["WHO", "WHAT", "FAILED LOGINS", "UNTIL"]);
    for Lockout { who, is_network, failures, until } in lockouts {
        let what = if *is_network { "network" } else { "name" };
        table.add_row([who, what, &failures.to_string(), &format!("{until:.0}")]);
    }
    say!("{table}");
}
