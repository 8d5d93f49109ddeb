//! `posta domain`.

pub(crate) mod certificate;
pub(super) mod dns;
mod keys;

use crate::{Place, operator, output::say, runtime::block_on};
use anyhow::{Result, bail};
use clap::Subcommand;
use posta_server::admin::{DomainLine, Request, Response};

/// Manage the domains whose mail is kept here, whether the server runs or not.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Make a domain local. Mail for its unknown users is then refused.
    Add {
        #[command(flatten)]
        place: Place,
        /// The domain's name.
        domain: String,
        /// The address that receives mail for postmaster@ and abuse@ this domain, unless accounts or aliases
        /// of these names exist; default: the domain's catch-all, else its first account.
        #[arg(long, value_name = "ADDRESS")]
        postmaster: Option<String>,
    },
    /// Make a domain an alias of another: each of its addresses then means the same address of the other
    /// domain, for mail, logins and senders. `remove` undoes this.
    ///
    /// Example: posta domain alias example.org example.test
    Alias {
        #[command(flatten)]
        place: Place,
        /// The alias: a domain without accounts or aliases of its own.
        alias: String,
        /// The domain that the alias stands for.
        domain: String,
    },
    #[command(subcommand)]
    Keys(keys::Command),
    /// List the local domains and who receives mail for their postmaster@ and abuse@.
    List {
        #[command(flatten)]
        place: Place,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Show the DNS records to publish for a domain, as lines of a zone file with comments that say what each is for.
    ///
    /// `posta check DOMAIN` tells afterwards whether the world sees them.
    Dns {
        #[command(flatten)]
        place: Place,
        /// The domain's name.
        domain: String,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Stop keeping mail for a domain, or remove a domain alias. The domain must have no accounts or aliases.
    Remove {
        #[command(flatten)]
        place: Place,
        /// The domain's name.
        domain: String,
    },
}

pub(crate) fn run(command: Command) -> Result<()> {
    let (place, request, said) = match command {
        Command::Add { place, domain, postmaster } => {
            let said = match &postmaster {
                Some(reader) => {
                    format!(
                        "mail for {domain} is kept here; {reader} reads its postmaster@ and abuse@"
                    )
                }
                None => format!("mail for {domain} is kept here"),
            };
            let said = format!(
                "{said}. Publish its DNS records, with the keys that sign its mail: `posta domain dns {domain}`"
            );
            (place, Request::DomainAdd { domain, postmaster }, said)
        }
        Command::Alias { place, alias, domain } => {
            let said = format!("every address of {alias} is that of {domain}");
            (place, Request::DomainAlias { alias, domain }, said)
        }
        Command::Remove { place, domain } => return remove(&place, domain),
        Command::Dns { place, domain, json } => return dns::run(&place, &domain, json),
        Command::List { place, json } => return list(&place, json),
        Command::Keys(command) => return keys::run(command),
    };
    super::carry_out(&place, request, &said)
}

fn remove(place: &Place, domain: String) -> Result<()> {
    let request = Request::DomainRemove { domain: domain.clone() };
    let Response::DomainRemoved { leading } = block_on(operator::execute(place, request))? else {
        bail!(operator::UNEXPECTED);
    };
    say!("mail for {domain} is not kept here any more");
    for (alias, member) in leading {
        super::alias::tell_leading(&member, &[alias]);
    }
    Ok(())
}

fn list(place: &Place, json: bool) -> Result<()> {
    let Response::Domains(lines) = block_on(operator::execute(place, Request::DomainList))? else {
        bail!(operator::UNEXPECTED);
    };
    super::show(&lines[..], json, |lines| lines.iter().for_each(print))
}

/// The local parts that must reach a person in every domain (RFC 5321 §4.5.1, RFC 2142).
fn print(DomainLine { domain, stands_for, postmaster, abuse }: &DomainLine) {
    if let Some(other) = stands_for {
        say!("{domain} is an alias of {other}");
        return;
    }
    let duties: &[(&str, &Vec<String>)] = match postmaster == abuse {
        true => &[("postmaster@ and abuse@ reach", postmaster)],
        false => &[("postmaster@ reaches", postmaster), ("abuse@ reaches", abuse)],
    };
    let told: Vec<_> = duties
        .iter()
        .map(|(duty, readers)| match &readers[..] {
            [] => format!("{duty} NOBODY"),
            readers => format!("{duty} {}", readers.join(", ")),
        })
        .collect();
    say!("{domain}: {}", told.join("; "));
    if postmaster.is_empty() || abuse.is_empty() {
        say!(
            "    wrong: `posta domain add {domain} --postmaster ADDRESS` names somebody who reads it"
        );
    }
}
