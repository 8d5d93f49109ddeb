//! `posta check`.

pub(crate) mod message;
mod time_server;

use crate::{
    Place,
    config::Config,
    fault::fail,
    mail_setup::{self, DomainMail},
    operator,
    output::{self, marked, say},
    runtime::block_on,
    wiring,
};
use anstyle::{AnsiColor, Style};
use anyhow::{Result, bail};
use clap::{Args, Subcommand};
use posta_net::clock::Clock;
use posta_server::admin::{
    CheckQuery, Request, Response,
    checkup::{
        facts::Machine,
        finding::{DomainChecked, Finding, Severity, highest},
        judge::judge,
        look::{Looking, look},
    },
};
use std::{
    process::{ExitCode, Stdio},
    time::Duration,
};
use tokio::{process, time::timeout};

/// The lists that are asked if the command line names none. They answer small users without a contract.
const BLOCK_LISTS: [&str; 3] = ["zen.spamhaus.org", "bl.spamcop.net", "psbl.surriel.com"];

/// The exit status if the check cannot be made.
const NOT_CHECKED: u8 = 3;

/// The time limit for asking the system whether its clock is synchronised.
const CLOCK: Duration = Duration::from_secs(3);

/// Check that a domain's records are right, its server reachable and its mail trusted.
///
/// The exit status is 0 if all is right, 1 if there are warnings, 2 if there are errors, and 3 if the check cannot be
/// made.
///
/// Example: posta check example.org
#[derive(Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_precedence_over_arg = true)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    what: Option<What>,
    #[command(flatten)]
    place: Place,
    /// The domain; default: every local domain.
    domain: Option<String>,
    /// A DNS block list to ask about the server's addresses. Give it once for each; default: zen.spamhaus.org,
    /// bl.spamcop.net, psbl.surriel.com and those of door.block-lists.
    #[arg(long = "block-list", value_name = "NAME")]
    block_lists: Vec<String>,
    /// Ask no block list.
    #[arg(long, conflicts_with = "block_lists")]
    no_block_lists: bool,
    /// Do not try the server's ports.
    #[arg(long)]
    no_ports: bool,
    /// Also try port 25 of a server elsewhere, such as a domain's MX host, to see whether mail can leave: many providers
    /// block it.
    #[arg(long, value_name = "HOST")]
    outgoing: Option<String>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Subcommand)]
enum What {
    Message(message::Arguments),
}

/// Makes the check. Returns the exit status.
pub(crate) fn run(arguments: Arguments) -> ExitCode {
    let checked = match arguments.what {
        Some(What::Message(message)) => message::run(message),
        None => domains(&arguments),
    };
    match checked {
        Ok(Severity::Ok | Severity::Note) => ExitCode::SUCCESS,
        Ok(Severity::Warning) => ExitCode::from(1),
        Ok(Severity::Error) => ExitCode::from(2),
        Err(error) => {
            output::complain(format_args!("{}", output::chain(&error)));
            ExitCode::from(NOT_CHECKED)
        }
    }
}

fn domains(arguments: &Arguments) -> Result<Severity> {
    let checked = block_on(async {
        let names = match &arguments.domain {
            Some(domain) => vec![domain.clone()],
            None => local_domains(&arguments.place).await?,
        };
        let mut checked = Vec::new();
        for name in names {
            checked.push(Box::pin(check(arguments, &name)).await?);
        }
        Ok(checked)
    })?;
    super::show(&checked[..], arguments.json, |checked| checked.iter().for_each(print))?;
    Ok(checked.iter().map(|checked| checked.severity).max().unwrap_or(Severity::Ok))
}

async fn local_domains(place: &Place) -> Result<Vec<String>> {
    let Response::Domains(lines) = operator::execute(place, Request::DomainList).await? else {
        bail!(operator::UNEXPECTED);
    };
    if lines.is_empty() {
        fail!("no-local-domain", "there is no local domain: `posta domain add NAME` makes one");
    }
    Ok(lines.into_iter().map(|line| line.domain).collect())
}

async fn check(arguments: &Arguments, domain: &str) -> Result<DomainChecked> {
    let mail = Box::pin(mail_setup::of(&arguments.place, domain)).await?;
    let config = wiring::config(&arguments.place)?;
    let named = Some(arguments.block_lists.clone());
    let query = CheckQuery {
        domain: domain.to_owned(),
        block_lists: named.filter(|lists| arguments.no_block_lists || !lists.is_empty()),
        no_ports: arguments.no_ports,
        outgoing: arguments.outgoing.clone(),
    };
    checked(&config, mail, query).await
}

/// Checks a domain, whose mail is as given.
pub(super) async fn checked(
    config: &Config,
    mail: DomainMail,
    query: CheckQuery,
) -> Result<DomainChecked> {
    let DomainMail { setup, line, certificate, issued } = mail;
    let looking = Looking {
        https: wiring::outside(config)?,
        block_lists: query.block_lists.unwrap_or_else(|| usual_block_lists(config)),
        tries_ports: !query.no_ports,
        outgoing: query.outgoing,
    };
    let keeps_time = keeps_time().await;
    let ahead = match keeps_time {
        Some(true) => None,
        _ => time_server::ahead(&*looking.https.resolver, &*wiring::clock()).await,
    };
    let machine = Machine {
        now: wiring::clock().now(),
        postmaster: line.postmaster,
        certificate,
        issued,
        keeps_time,
        ahead,
    };
    let hostname = setup.hostname.to_string();
    let facts = look(&looking, setup, machine).await;
    let findings = judge(&facts);
    Ok(DomainChecked { domain: line.domain, hostname, severity: highest(&findings), findings })
}

/// Returns the lists to ask if none is named: the usual ones and those that the server itself asks.
fn usual_block_lists(config: &Config) -> Vec<String> {
    let mut lists = BLOCK_LISTS.map(str::to_owned).to_vec();
    let own = config.door.block_lists.iter().map(|list| list.0.to_string());
    lists.extend(own.filter(|list| !BLOCK_LISTS.contains(&list.as_str())));
    lists
}

/// Asks the system whether its clock is synchronised: systemd, which reports what the kernel knows, whichever program
/// sets the clock; or chrony, on a machine without systemd.
async fn keeps_time() -> Option<bool> {
    let systemd = told_by("timedatectl", &["show", "--property=NTPSynchronized", "--value"]).await;
    match systemd.as_deref().map(str::trim) {
        Some("yes") => return Some(true),
        Some("no") => return Some(false),
        _ => {}
    }
    leap_status(&told_by("chronyc", &["-c", "tracking"]).await?)
}

/// Runs a program of the system, and returns what it prints; none if there is no such program, or it fails.
async fn told_by(program: &str, arguments: &[&str]) -> Option<String> {
    let mut asked = process::Command::new(program);
    let asked = asked.args(arguments).stdin(Stdio::null()).kill_on_drop(true);
    let answer = timeout(CLOCK, asked.output()).await.ok()?.ok()?;
    answer.status.success().then(|| String::from_utf8_lossy(&answer.stdout).into_owned())
}

/// Returns whether chrony's report, a line of values with commas, says that the clock is synchronised: by its last
/// value, the leap status.
fn leap_status(report: &str) -> Option<bool> {
    match report.trim().rsplit_once(',')?.1 {
        "Not synchronised" => Some(false),
        "Normal" | "Insert second" | "Delete second" => Some(true),
        _ => None,
    }
}

fn print(checked: &DomainChecked) {
    say!("{}, whose server is {}", checked.domain, checked.hostname);
    for Finding { subject, severity, says, cure } in &checked.findings {
        let (style, mark) = mark(*severity);
        marked(style, mark, format_args!(" {:<12} {says}", subject.title()));
        for cure in cure {
            say!("{:<21} {cure}", "");
        }
    }
}

/// Returns the colour and the word for a severity.
pub(super) const fn mark(severity: Severity) -> (Style, &'static str) {
    match severity {
        Severity::Ok => (AnsiColor::Green.on_default(), "ok     "),
        Severity::Note => (AnsiColor::Cyan.on_default(), "note   "),
        Severity::Warning => (AnsiColor::Yellow.on_default().bold(), "warning"),
        Severity::Error => (AnsiColor::Red.on_default().bold(), "error  "),
    }
}

#[cfg(test)]
mod tests {
    use super::leap_status;

    #[test]
    fn chronys_report_is_read() {
        let report = |leap: &str| {
            format!(
                "C0000201,192.0.2.1,3,1800000000.5,0.000001,0.000002,0.00001,-1.2,0.0,0.1,0.02,0.001,64.2,{leap}\n"
            )
        };
        for (leap, is_synchronised) in [
            ("Normal", Some(true)),
            ("Insert second", Some(true)),
            ("Not synchronised", Some(false)),
            ("Other", None),
        ] {
            assert_eq!(leap_status(&report(leap)), is_synchronised);
        }
        assert_eq!(leap_status("506 Cannot talk to daemon\n"), None);
        assert_eq!(leap_status(""), None);
    }
}
