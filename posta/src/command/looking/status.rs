//! `posta status`.

use super::age;
use crate::{
    Place, operator,
    output::{counted, say, say_styled},
    runtime::block_on,
    wiring,
};
use anstyle::{AnsiColor, Style};
use anyhow::{Result, bail};
use clap::Args;
use posta_server::{
    admin::{
        LookRequest, Looked, Request, Response,
        looking::{CertificateLine, QueueStateLine, ServerStatus},
    },
    login::lockout::Lockout,
};

const WARNING: Style = AnsiColor::Yellow.on_default().bold();
const FINE: Style = AnsiColor::Green.on_default().bold();

/// The columns of the names on the left.
const NAMES: usize = 14;

/// Show the state of the server on one screen, with what needs attention first.
///
/// Works without a running server, too: then it tells of the queue, the sources, the disk and the backups.
#[derive(Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    place: Place,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    /// Only tell whether a server runs that would take mail now: the exit status is 0 if so, else 1.
    #[arg(long, conflicts_with = "json")]
    ready: bool,
}

pub(crate) fn run(arguments: Arguments) -> Result<()> {
    if arguments.ready {
        block_on(operator::is_ready(&arguments.place))?;
        say!("ready");
        return Ok(());
    }
    let request = Request::Look { request: LookRequest::Status };
    let Response::Looked(Looked::Status(status)) =
        block_on(operator::execute(&arguments.place, request))?
    else {
        bail!(operator::UNEXPECTED);
    };
    let is_database = wiring::is_database(&wiring::config(&arguments.place)?);
    crate::command::show(&*status, arguments.json, |status| print(status, is_database))
}

fn print(status: &ServerStatus, is_database: bool) {
    if status.warnings.is_empty() {
        say_styled!("{FINE}All is well.{FINE:#}");
    }
    for warning in &status.warnings {
        crate::output::marked(WARNING, "! ", format_args!("{warning}"));
    }
    say!("");
    print_server(status);
    print_queue(status);
    print_sources(status);
    let time = status.time;
    for CertificateLine { file, expires } in &status.certificates {
        let days = expires.duration_since(time).as_hours() / 24;
        let left = match days {
            ..0 => "expired".to_owned(),
            0..3_650 => format!("{days} days left"),
            _ => "years left".to_owned(),
        };
        line("certificate", &format!("{left} (until {expires:.0}), {}", file.display()));
    }
    print_lockouts(status);
    if let Some(disk) = status.disk {
        let (free, size) = (crate::command::size(disk.free), crate::command::size(disk.size));
        let part = disk.free.saturating_mul(100) / disk.size.max(1);
        line("disk", &format!("{free} of {size} free, {part} %"));
    }
    match &status.backup {
        Some(backup) => {
            line("last backup", &format!("{} ago, in {}", age(backup.at, time), backup.to));
        }
        None if is_database => line("last backup", "the database's own, which Posta does not see"),
        None => line("last backup", "none yet"),
    }
}

fn print_server(status: &ServerStatus) {
    let version = &status.version;
    match (&status.hostname, status.started) {
        (Some(hostname), Some(started)) => {
            let up = age(started, status.time);
            line("server", &format!("{hostname}, Posta {version}, up {up} (since {started:.0})"));
        }
        _ => line("server", &format!("not running; Posta {version}")),
    }
    for (index, listener) in status.listeners.iter().enumerate() {
        let name = if index == 0 { "listening" } else { "" };
        line(name, &format!("{:<11} {}", listener.protocol, listener.address));
    }
    if status.running {
        let open = status.sessions.iter().filter(|(_, count)| *count > 0);
        let open: Vec<_> = open.map(|(protocol, count)| format!("{count} {protocol}")).collect();
        let open = if open.is_empty() { "none".to_owned() } else { open.join(", ") };
        line("sessions", &open);
    }
}

fn print_queue(status: &ServerStatus) {
    let waiting = status.queue.states.iter().filter(|line| line.items > 0);
    let mut is_empty = true;
    for QueueStateLine { state, items, oldest, .. } in waiting {
        let name = if is_empty { "queue" } else { "" };
        is_empty = false;
        let oldest = oldest.map(|oldest| format!(", the oldest {}", age(oldest, status.time)));
        line(name, &format!("{items} {state}{}", oldest.unwrap_or_default()));
    }
    if is_empty {
        line("queue", "empty");
    }
}

fn print_sources(status: &ServerStatus) {
    let sources = &status.sources;
    match (sources.count, sources.failing) {
        (0, _) => {}
        (count, 0) => line("sources", &format!("{count}, all collected")),
        (count, failing) => line("sources", &format!("{count}, failing: {failing}")),
    }
    for source in &sources.problems {
        let posta_server::admin::looking::FailingSource { id, address, server, problem } = source;
        line("", &format!("source {id}, {address} from {server}: {problem}"));
    }
}

fn print_lockouts(status: &ServerStatus) {
    if status.running && status.lockouts.count == 0 {
        line("lock-outs", "none");
    }
    for (index, lockout) in status.lockouts.first.iter().enumerate() {
        let Lockout { who, failures, until, .. } = lockout;
        let name = if index == 0 { "lock-outs" } else { "" };
        let cure = format!("posta lockout lift {who}");
        let failures = counted(*failures, "failed login");
        line(name, &format!("{who}, {failures}, until {until:.0}: `{cure}`"));
    }
    let more = status.lockouts.count - status.lockouts.first.len();
    if more > 0 {
        line("", &format!("and {more} more"));
    }
}

fn line(name: &str, words: &str) {
    say!("{name:<NAMES$}{words}");
}
