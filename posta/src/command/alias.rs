//! `posta alias`.

use crate::{Place, operator, output::say, runtime::block_on};
use anyhow::{Result, bail};
use clap::{Args, Subcommand};
use posta_server::admin::{AliasLine, AliasState, Request, Response};

/// Manage aliases and forwards, whether the server runs or not.
///
/// An alias sends an address's mail to its members. If the address is an account's, the account forwards its
/// mail: `add` keeps a copy in its mailbox, `set` names exactly who gets the mail.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Add members to an alias, or create it. An account that gets its first member keeps a copy of its mail.
    ///
    /// Example: posta alias add info@example.test ana@example.test bob@example.test
    Add(Members),
    /// Replace the members of an alias. An account keeps a copy only if it is a member itself.
    ///
    /// Example: posta alias set ana@example.test bob@example.test
    Set(Members),
    /// List the aliases, their members, and any problems.
    List {
        #[command(flatten)]
        place: Place,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Remove an alias, or some of its members. An account without members keeps its mail itself.
    ///
    /// Example: posta alias remove info@example.test bob@example.test
    Remove {
        #[command(flatten)]
        place: Place,
        /// The address, or @domain.
        name: String,
        /// The members to remove; default: all.
        members: Vec<String>,
    },
}

#[derive(Args)]
pub(crate) struct Members {
    #[command(flatten)]
    place: Place,
    /// The address, or @domain for every address of a domain that is neither an account nor an alias.
    name: String,
    /// The members: addresses that exist here, or addresses on other servers.
    #[arg(required = true, value_name = "MEMBER")]
    targets: Vec<String>,
}

pub(crate) fn run(command: Command) -> Result<()> {
    let (place, name, request) = match command {
        Command::Add(Members { place, name, targets }) => {
            (place, name.clone(), Request::AliasAdd { name, targets })
        }
        Command::Set(Members { place, name, targets }) => {
            (place, name.clone(), Request::AliasSet { name, targets })
        }
        Command::Remove { place, name, members } => {
            (place, name.clone(), Request::AliasRemove { name, targets: members })
        }
        Command::List { place, json } => return list(&place, json),
    };
    match block_on(operator::execute(&place, request))? {
        Response::Alias(state) => tell(&name, &state),
        _ => bail!(operator::UNEXPECTED),
    }
    Ok(())
}

fn tell(name: &str, state: &AliasState) {
    let member = |member: &String| match member.eq_ignore_ascii_case(name) {
        true => "its mailbox".to_owned(),
        false => member.clone(),
    };
    let members: Vec<_> = state.members.iter().map(member).collect();
    match (&members[..], state.is_account) {
        ([], true) => say!("mail for {name} goes to its mailbox"),
        ([], false) => say!("{name} is no alias any more"),
        (members, _) => say!("mail for {name} goes to {}", members.join(", ")),
    }
    tell_leading(name, &state.leading);
}

/// Warns of aliases that still lead to a removed address.
pub(super) fn tell_leading(address: &str, leading: &[String]) {
    for alias in leading {
        say!("{alias} still leads to {address}: `posta alias remove {alias} {address}` ends that");
    }
}

fn list(place: &Place, json: bool) -> Result<()> {
    let lines = block_on(operator::aliases(place))?;
    super::show(&lines[..], json, |lines| match lines {
        [] => say!("There are no aliases yet: `posta alias add ADDRESS TARGET` makes one."),
        lines => lines.iter().for_each(print),
    })
}

fn print(AliasLine { name, targets, problems }: &AliasLine) {
    say!("{name} -> {}", targets.join(", "));
    for problem in problems {
        say!("    wrong: {problem}");
    }
}
