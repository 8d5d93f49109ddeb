//! `posta collect`.

use super::fetch::Tls;
use crate::{Place, config::Span, operator, output::say, runtime::block_on};
use anyhow::{Context, Result, bail, ensure};
use clap::{Args, Subcommand};
use posta_server::admin::{Request, Response, SourceLine};
use posta_store::{Keep, Login, LoginTls, SourceId, Visit};

/// Have mail collected from POP3 servers elsewhere into mailboxes here, whether the server runs or
/// not; while it runs it visits them by itself.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Have mail collected for an account. Where that is collected already, the password and the options are
    /// replaced.
    ///
    /// Example: posta collect add ana@example.test --server pop.example.net:995 --user ana
    Add(Add),
    /// List what is collected: the source's id, for whom, where, with which TLS, how the last visit ended.
    List {
        #[command(flatten)]
        place: Place,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Visit a source now.
    Run {
        #[command(flatten)]
        place: Place,
        /// The source's id.
        id: u64,
    },
    /// Collect no more from a source. What was collected stays.
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
    /// The account whose mailbox the mail goes to.
    address: String,
    /// The server elsewhere.
    #[arg(long, value_name = "HOST:PORT")]
    server: String,
    /// The name to log in with there.
    #[arg(long, value_name = "NAME")]
    user: String,
    /// Read the password from the first line of standard input. It is kept, for it must be sent there:
    /// sealed, with its key in a file apart from the store.
    #[arg(long)]
    password_stdin: bool,
    /// How to use TLS.
    #[arg(long, value_enum, default_value_t = Tls::Auto)]
    tls: Tls,
    /// Take any certificate: for servers that made their own.
    #[arg(long)]
    any_certificate: bool,
    /// What stays there: all, nothing, or for how many days, such as 7d.
    #[arg(long, value_name = "WHAT", default_value = "all")]
    keep: Keep,
    /// How often to look there: a span such as 10m.
    #[arg(long, value_name = "SPAN", default_value = "10m")]
    every: Span,
    /// Do not log in there first: for a server that cannot be reached now.
    #[arg(long)]
    no_check: bool,
}

/// Nobody is to be asked more often.
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
        ensure!(
            self.every.0.as_secs() >= SHORTEST,
            "--every: at least a minute, such as --every 10m"
        );
        let prompt = format!("Password of {} at {}: ", self.user, self.server);
        let password = super::read_password(self.password_stdin, &prompt)?;
        let password = String::from_utf8(password.expose().to_vec());
        let login = Login {
            tls: self.tls.with(&self.server),
            server: self.server,
            user: self.user,
            any_certificate: self.any_certificate,
        };
        let (address, keep, every) = (self.address.clone(), self.keep, self.every.0.as_secs());
        let check = !self.no_check;
        let password = password.context("the password is not UTF-8")?;
        let request = Request::SourceAdd { address, login, password, keep, every, check };
        let Response::Source(id) = block_on(operator::execute(&self.place, request))? else {
            bail!("the server answered something else");
        };
        say!("source {id} is collected for {}; `posta collect run {id}` tries it", self.address);
        Ok(())
    }
}

fn visit(place: &Place, id: SourceId) -> Result<()> {
    let request = Request::SourceRun { id };
    match block_on(operator::execute(place, request))? {
        Response::Visit(Some(Visit { collected, problem: None, .. })) => {
            say!("{collected} messages collected");
            Ok(())
        }
        Response::Visit(Some(Visit { collected, problem: Some(problem), .. })) => {
            bail!("after {collected} messages: {problem}")
        }
        Response::Visit(None) => bail!("source {id} is being visited right now"),
        _ => bail!("the server answered something else"),
    }
}

fn list(place: &Place, json: bool) -> Result<()> {
    let request = Request::SourceList;
    let Response::Sources(lines) = block_on(operator::execute(place, request))? else {
        bail!("the server answered something else");
    };
    super::show(&lines[..], json, |lines| {
        if lines.is_empty() {
            say!("Nothing is collected yet: `posta collect add ADDRESS --server …` begins.");
        } else {
            print_table(lines);
        }
    })
}

/// How a source's connection is protected.
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
                format!("{time:.0}, {collected} messages")
            }
            Some(Visit { time, problem: Some(problem), .. }) => format!("{time:.0}: {problem}"),
        };
        let from = format!("{} at {}", line.user, line.server);
        let (id, keep, every) =
            (line.id.to_string(), line.keep.to_string(), format!("{}s", line.every));
        table.add_row([id, line.address.clone(), from, tls(line).to_owned(), keep, every, last]);
    }
    say!("{table}");
}
