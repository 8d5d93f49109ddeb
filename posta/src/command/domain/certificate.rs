//! `posta certificate`.

use crate::{
    Place,
    fault::fail,
    operator,
    output::{self, say},
    runtime::block_on,
};
use anyhow::{Result, bail};
use clap::Subcommand;
use posta_server::{
    admin::{CertificateRequest, Request, Response},
    sign::certificates::{CertificateState, IssuedLine},
};
use std::collections::BTreeMap;

/// List and renew the certificates that an authority issues to the server (ACME).
#[derive(Subcommand)]
pub(crate) enum Command {
    /// List the certificates: the name of each, how long it is valid, and what keeps it from being renewed.
    List {
        #[command(flatten)]
        place: Place,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Ask the authority for a certificate now, and wait for the result. The server must run.
    ///
    /// The server renews certificates by itself and keeps their keys; this is for after something that kept it from that
    /// was mended, or for a new key.
    Renew {
        #[command(flatten)]
        place: Place,
        /// The name of the certificate; default: each name whose certificate is missing or could not be renewed.
        name: Option<String>,
        /// Take a new private key. If DNS pins the present one (TLSA), this first tells which record to publish.
        #[arg(long, requires = "name")]
        new_key: bool,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Replace the key of the server's account at the authority by a new one. The server must run.
    NewAccountKey {
        #[command(flatten)]
        place: Place,
    },
}

pub(crate) fn run(command: Command) -> Result<()> {
    match command {
        Command::List { place, json } => {
            let lines = ask(&place, CertificateRequest::List)?;
            crate::command::show(&lines[..], json, |lines| match lines {
                [] => say!(
                    "No certificate was asked for yet. The server does so if the configuration has [acme] with enabled = \
                     true."
                ),
                lines => print_table(lines),
            })
        }
        Command::Renew { place, name, new_key, json } => renew(&place, name, new_key, json),
        Command::NewAccountKey { place } => {
            let request = Request::Certificates { request: CertificateRequest::NewAccountKey };
            match block_on(operator::execute(&place, request))? {
                Response::Done => Ok(()),
                _ => bail!(operator::UNEXPECTED),
            }
        }
    }
}

fn renew(place: &Place, name: Option<String>, new_key: bool, json: bool) -> Result<()> {
    let lines = ask(place, CertificateRequest::Renew { name, new_key })?;
    crate::command::show(&lines[..], json, print_table)?;
    let failed: Vec<_> = lines.iter().filter(|line| line.failures > 0).collect();
    if new_key && failed.is_empty() && !json {
        say!("The key is a new one. If DNS has a TLSA record of the old one, remove it now.");
    }
    for line in &failed {
        let why = line.problem.as_deref().unwrap_or_default();
        output::complain(format_args!("{}: {why}", line.name));
    }
    match failed.len() {
        0 => Ok(()),
        1 => fail!(
            "certificate-not-issued",
            "1 certificate was not issued; `posta check` tells what the world sees"
        ),
        more => {
            fail!(
                "certificate-not-issued",
                "{more} certificates were not issued; `posta check` tells what the world sees"
            )
        }
    }
}

fn ask(place: &Place, request: CertificateRequest) -> Result<Vec<IssuedLine>> {
    let request = Request::Certificates { request };
    let Response::Certificates(lines) = block_on(operator::execute(place, request))? else {
        bail!(operator::UNEXPECTED);
    };
    Ok(lines)
}

fn print_table(lines: &[IssuedLine]) {
    let mut table = comfy_table::Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    table.set_header(["NAME", "STATE", "EXPIRES", "DAYS LEFT", "NEXT ATTEMPT"]);
    for line in lines {
        let day = |time: jiff::Timestamp| time.strftime("%Y-%m-%d").to_string();
        let state = match line.state {
            CertificateState::Missing => "missing",
            CertificateState::Valid => "valid",
            CertificateState::Failing => "failing",
            CertificateState::Expired => "expired",
        };
        table.add_row([
            line.name.clone(),
            state.to_owned(),
            line.not_after.map(day).unwrap_or_default(),
            line.days_left.map(|days| days.to_string()).unwrap_or_default(),
            line.next.map(|time| format!("{time:.0}")).unwrap_or_default(),
        ]);
    }
    say!("{table}");
    // Causes are sentences, too long for a column, and several names often have the same.
    let mut causes = BTreeMap::<&str, Vec<&str>>::new();
    for line in lines {
        if let Some(problem) = &line.problem {
            causes.entry(problem).or_default().push(&line.name);
        }
    }
    for (cause, names) in causes {
        say!("\n{}:\n  {cause}", names.join(", "));
    }
}
