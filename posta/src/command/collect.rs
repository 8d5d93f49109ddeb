//! `posta collect`.

use super::client::fetch::LoginOptions;
use crate::{
    Place,
    config::Span,
    fault::{demand, fail},
    operator,
    output::{counted, say},
    runtime::block_on,
};
use anyhow::{Result, bail};
use clap::{Args, Subcommand};
use posta_server::admin::{Request, Response, SourceLine};
use posta_store::{Keep, LoginTls, SourceId, Visit};

/// Collect mail from POP3 servers elsewhere into mailboxes here.
///
/// The running server visits them regularly; the commands work whether it runs or not.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Add a source for an account. If the source exists, its password and options are replaced.
    ///
    /// The password is kept in the store, sealed with a key in a file of its own.
    ///
    /// Example: posta collect add ana@example.test --server pop.example.net:995 --user ana
    Add(Add),
    /// List the sources: id, account, server, TLS, and how the last visit ended.
    List {
        #[command(flatten)]
        place: Place,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Visit a source at once.
    Run {
        #[command(flatten)]
        place: Place,
        /// The source's id.
        id: u64,
    },
    /// Remove a source. Mail that was collected stays.
    Remove {
        #[command(flatten)]
        place: Place,
        /// The source's id.
        id: u64,
    },
}

#[derive(Args)]
pub(crate) struct Add {
    #[command(flatten)]
    place: Place,
    /// The account that receives the mail.
    address: String,
    #[command(flatten)]
    login: LoginOptions,
    /// What stays on the server: all, nothing, or messages of the last days, such as 7d.
    #[arg(long, value_name = "WHAT", default_value = "all")]
    keep: Keep,
    /// How often to visit the server: a span such as 10m.
    #[arg(long, value_name = "SPAN", default_value = "10m")]
    every: Span,
    /// Do not test the login first, for a server that cannot be reached now.
    #[arg(long)]
    no_check: bool,
}

/// The shortest time between two visits.
const SHORTEST: u64 = 60;

pub(crate) fn run(command: Command) -> Result<()> {
    match command {
        Command::Add(add) => add.run(),
        Command::List { place, json } => list(&place, json),
        Command::Run { place, id } => visit(&place, SourceId(id)),
        Command::Remove { place, id } => {
            let id = SourceId(id);
            let said = format!("nothing is collected from source {id} any more");
            super::carry_out(&place, Request::SourceRemove { id }, &said)
        }
    }
}

impl Add {
    fn run(self) -> Result<()> {
        demand!(
            self.every.0.as_secs() >= SHORTEST,
            "interval-too-short",
            "--every: at least a minute, such as --every 10m"
        );
        let Self { place, address, login, keep, every, no_check } = self;
        let (login, password) = login.read()?;
        let (every, check) = (every.0.as_secs(), !no_check);
        let of = address.clone();
        let request = Request::SourceAdd { address, login, password, keep, every, check };
        let Response::Source(id) = block_on(operator::execute(&place, request))? else {
            bail!(operator::UNEXPECTED);
        };
        say!("source {id} is collected for {of}; `posta collect run {id}` tries it");
        Ok(())
    }
}

fn visit(place: &Place, id: SourceId) -> Result<()> {
    let request = Request::SourceRun { id };
    match block_on(operator::execute(place, request))? {
        Response::Visit(Some(Visit { collected, problem: None, .. })) => {
            say!("{} collected", counted(collected, "message"));
            Ok(())
        }
        Response::Visit(Some(Visit { collected, problem: Some(problem), .. })) => {
            fail!("visit-failed", "after {}: {problem}", counted(collected, "message"))
        }
        Response::Visit(None) => fail!("source-busy", "source {id} is being visited right now"),
        _ => bail!(operator::UNEXPECTED),
    }
}

fn list(place: &Place, json: bool) -> Result<()> {
    let request = Request::SourceList;
    let Response::Sources(lines) = block_on(operator::execute(place, request))? else {
        bail!(operator::UNEXPECTED);
    };
    super::show(&lines[..], json, |lines| {
        if lines.is_empty() {
            say!("Nothing is collected yet: `posta collect add ADDRESS --server …` begins.");
        } else {
            print_table(lines);
        }
    })
}

/// Returns how a source's connection is protected, in words.
const fn tls(line: &SourceLine) -> &'static str {
    match (line.tls, line.any_certificate) {
        (LoginTls::None, _) => "none",
        (LoginTls::Stls, false) => "stls",
        (LoginTls::Implicit, false) => "implicit",
        (LoginTls::Stls, true) => "stls, any certificate",
        (LoginTls::Implicit, true) => "implicit, any certificate",
    }
}

fn print_table(lines: &[SourceLine]) {
    let mut table = comfy_table::Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    table.set_header(["ID", "FOR", "FROM", "TLS", "KEEP", "EVERY", "LAST VISIT"]);
    for line in lines {
        let last = match &line.last {
            None => "not yet".to_owned(),
            Some(Visit { time, collected, problem: None }) => {
                format!("{time:.0}, {}", counted(*collected, "message"))
            }
            Some(Visit { time, problem: Some(problem), .. }) => format!("{time:.0}: {problem}"),
        };
        let from = format!("{} at {}", line.user, line.server);
        let (id, keep, every) =
            (line.id.to_string(), line.keep.to_string(), super::span(line.every));
        table.add_row([id, line.address.clone(), from, tls(line).to_owned(), keep, every, last]);
    }
    say!("{table}");
}
