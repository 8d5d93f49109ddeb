//! `posta reports`.

mod plot;

use crate::{Place, config::Span, operator, output::say, runtime::block_on, wiring};
use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use comfy_table::{Table, presets};
use plot::Plot;
use posta_server::{
    admin::{ReportSubject, ReportsQuery, Request, Response, name_sources},
    reports::received::statistics::{
        DayCount, DmarcStatistics, ReportCount, SourceCount, TlsFailureLine, TlsPolicyCount,
        TlsStatistics,
    },
};
use std::{fs, path::PathBuf};

/// The number of sources that the table shows; `--json` has more.
const SHOWN: usize = 25;

/// Show what other servers report about our domains.
///
/// Reports come by mail, once a day, to the addresses that the domains' DMARC and TLSRPT records name.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Show who sends mail in our domains' names, and whether it passes DMARC.
    ///
    /// A source that fails and is yours needs SPF or DKIM; others forge your domain, or forward its mail.
    Dmarc(Arguments),
    /// Show how other servers reach ours by TLS.
    Tls(Arguments),
}

#[derive(Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    place: Place,
    /// A local domain; default: all.
    domain: Option<String>,
    /// Only days within this time: 7d, 52w; default: 30d.
    #[arg(long, value_name = "TIME")]
    since: Option<Span>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    /// Also draw what passed and failed each day, as SVG.
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
}

impl Arguments {
    fn ask(&self, subject: ReportSubject) -> Result<Response> {
        let (domain, within) = (self.domain.clone(), self.since.map(|span| span.0.as_secs()));
        block_on(operator::execute(
            &self.place,
            Request::Reports(ReportsQuery { subject, domain, within }),
        ))
    }

    /// Draws a plot if one is wanted.
    fn draw(&self, title: &str, labels: (&str, &str), days: &[DayCount]) -> Result<()> {
        let Some(file) = &self.svg else { return Ok(()) };
        let title = match &self.domain {
            Some(domain) => format!("{title}: {domain}"),
            None => title.to_owned(),
        };
        let plot = Plot { title: &title, passed: labels.0, failed: labels.1, days };
        fs::write(file, plot.svg()).with_context(|| format!("cannot write {}", file.display()))
    }
}

pub(crate) fn run(command: Command) -> Result<()> {
    match command {
        Command::Dmarc(arguments) => dmarc(&arguments),
        Command::Tls(arguments) => tls(&arguments),
    }
}

fn dmarc(arguments: &Arguments) -> Result<()> {
    let Response::DmarcReports(mut statistics) = arguments.ask(ReportSubject::Dmarc)? else {
        bail!(operator::UNEXPECTED);
    };
    let resolver = wiring::outside(&wiring::config(&arguments.place)?)?.resolver;
    block_on(async {
        name_sources(&resolver, &mut statistics.sources).await;
        Ok(())
    })?;
    arguments.draw("Mail in our name", ("passed DMARC", "failed"), &statistics.days)?;
    crate::command::show(&statistics, arguments.json, print_dmarc)
}

fn tls(arguments: &Arguments) -> Result<()> {
    let Response::TlsReports(statistics) = arguments.ask(ReportSubject::Tls)? else {
        bail!(operator::UNEXPECTED);
    };
    arguments.draw("TLS to our servers", ("succeeded", "failed"), &statistics.days)?;
    crate::command::show(&statistics, arguments.json, print_tls)
}

fn print_dmarc(statistics: &DmarcStatistics) {
    let DmarcStatistics { days, sources, other_passed, other_failed, reports } = statistics;
    if !print_totals(days, *reports, "messages", "passed DMARC") {
        return;
    }
    let mut table = table();
    table.set_header([
        "SOURCE",
        "NAME",
        "MESSAGES",
        "PASSED",
        "FAILED",
        "SPF",
        "DKIM",
        "JUNK",
        "REFUSED",
        "REPORTED BY",
    ]);
    for line in sources.iter().take(SHOWN) {
        let SourceCount { source, messages, passed, spf, dkim, quarantined, rejected, .. } = line;
        let failed = messages - passed;
        let counts = [*messages, *passed, failed, *spf, *dkim, *quarantined, *rejected];
        let mut row = vec![source.to_string(), line.name.clone().unwrap_or_default()];
        row.extend(counts.iter().map(u64::to_string));
        row.push(reporters(line));
        table.add_row(row);
    }
    let further = sources.iter().skip(SHOWN);
    let further = further.fold((*other_passed, *other_failed), |(passed, failed), line| {
        (passed + line.passed, failed + line.messages - line.passed)
    });
    if further != (0, 0) {
        let (passed, failed) = further;
        let counts = [(passed + failed).to_string(), passed.to_string(), failed.to_string()];
        table.add_row(["others".to_owned(), String::new()].into_iter().chain(counts));
    }
    say!("{table}");
}

fn reporters(line: &SourceCount) -> String {
    let named = line.reporters.join(", ");
    match line.other_reporters {
        0 => named,
        more => format!("{named} and {more} more"),
    }
}

fn print_tls(statistics: &TlsStatistics) {
    let TlsStatistics { days, policies, failures, reports } = statistics;
    if !print_totals(days, *reports, "TLS sessions", "succeeded") {
        return;
    }
    let mut sessions = table();
    sessions.set_header(["DOMAIN", "POLICY", "SUCCEEDED", "FAILED"]);
    for TlsPolicyCount { domain, kind, succeeded, failed } in policies {
        sessions.add_row([domain, kind, &succeeded.to_string(), &failed.to_string()]);
    }
    say!("{sessions}");
    if failures.is_empty() {
        return;
    }
    let mut table = table();
    table.set_header(["DOMAIN", "POLICY", "FAILED", "REASON", "SERVER", "REPORTED BY"]);
    for line in failures.iter().take(SHOWN) {
        let TlsFailureLine { domain, kind, reason, server, count, reporter } = line;
        table.add_row([domain, kind, &count.to_string(), reason, server, reporter]);
    }
    say!("\n{table}");
}

/// Prints the sums of all days. Returns whether there is anything to tell.
fn print_totals(days: &[DayCount], reports: ReportCount, what: &str, passed_how: &str) -> bool {
    let ReportCount { counted, unverified } = reports;
    if counted == 0 {
        say!("No reports about these days have arrived.");
    } else {
        let passed: u64 = days.iter().map(|day| day.passed).sum();
        let failed: u64 = days.iter().map(|day| day.failed).sum();
        let first = days.first().map_or("", |day| &day.date);
        let last = days.last().map_or("", |day| &day.date);
        say!(
            "{} {what} from {first} to {last}, by {counted} {}: {passed} {passed_how}, {failed} failed",
            passed + failed,
            if counted == 1 { "report" } else { "reports" }
        );
    }
    if unverified > 0 {
        say!("Not counted: {unverified} more, since it is not shown which domain sent them");
    }
    counted > 0
}

fn table() -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table
}
