//! `posta token`.

use crate::{Place, config::Span, operator, output::say, runtime::block_on, wiring};
use anyhow::{Context, Result, bail};
use clap::Subcommand;
use posta_mail::Timestamp;
use posta_net::clock::Clock;
use posta_server::{
    admin::{Request, Response, TokenLine, TokenRequest},
    login::api_tokens::ApiRights,
};

/// Manage the tokens with which programs use the operator's interface over HTTPS.
///
/// The server serves it on every https listener, and docs/http.md describes it. A program shows its token with each
/// request: `Authorization: Bearer TOKEN`.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Add a token, and show it once: the store keeps only its hash.
    ///
    /// Without --domain it is for the whole server. No token can add or remove tokens.
    ///
    /// Example: posta token add panel --domain example.test --until 90d
    Add {
        #[command(flatten)]
        place: Place,
        /// A name for it, which the list and the log show.
        name: String,
        /// Allow it to read lists, settings, figures and the history, but no mail, and to change nothing.
        #[arg(long)]
        read_only: bool,
        /// Allow it only what concerns the accounts and aliases of this local domain. Give it once for each.
        #[arg(long = "domain", value_name = "DOMAIN")]
        domains: Vec<String>,
        /// End it at this time, such as 2027-11-24T08:00:00Z, or after a span such as 90d.
        #[arg(long, value_name = "TIME")]
        until: Option<String>,
    },
    /// List the tokens: what each may do, and when it was used last.
    List {
        #[command(flatten)]
        place: Place,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Remove a token, which ends it at once.
    Remove {
        #[command(flatten)]
        place: Place,
        /// Its name.
        name: String,
    },
}

pub(crate) fn run(command: Command) -> Result<()> {
    match command {
        Command::Add { place, name, read_only, domains, until } => {
            let until = until.as_deref().map(when).transpose()?;
            let rights = if read_only { ApiRights::Read } else { ApiRights::All };
            add(&place, TokenRequest::Add { name, rights, domains, until })
        }
        Command::List { place, json } => list(&place, json),
        Command::Remove { place, name } => {
            let said = format!("the token {name} is removed, and opens nothing any more");
            let request = Request::Tokens { request: TokenRequest::Remove { name } };
            crate::command::carry_out(&place, request, &said)
        }
    }
}

fn add(place: &Place, request: TokenRequest) -> Result<()> {
    let request = Request::Tokens { request };
    let Response::TokenAdded { token } = block_on(operator::execute(place, request))? else {
        bail!(operator::UNEXPECTED);
    };
    say!("{token}");
    eprintln!("This token is not shown again: keep it safe.");
    Ok(())
}

fn list(place: &Place, json: bool) -> Result<()> {
    let request = Request::Tokens { request: TokenRequest::List };
    let Response::Tokens(lines) = block_on(operator::execute(place, request))? else {
        bail!(operator::UNEXPECTED);
    };
    crate::command::show(&lines[..], json, |lines| {
        if lines.is_empty() {
            say!("There are no tokens: `posta token add NAME` makes one.");
        } else {
            print_table(lines);
        }
    })
}

fn print_table(lines: &[TokenLine]) {
    let mut table = comfy_table::Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    table.set_header(["NAME", "RIGHTS", "DOMAINS", "UNTIL", "LAST USED"]);
    let time = |time: &Option<Timestamp>| time.map(|time| format!("{time:.0}"));
    for TokenLine { name, rights, domains, until, used, .. } in lines {
        let rights = match rights {
            ApiRights::Read => "read",
            ApiRights::All => "all",
        };
        let domains = if domains.is_empty() { "all".to_owned() } else { domains.join(", ") };
        let until = time(until).unwrap_or_else(|| "for ever".to_owned());
        let used = time(used).unwrap_or_else(|| "never".to_owned());
        table.add_row([name, rights, &domains, &until, &used]);
    }
    say!("{table}");
}

/// Returns the time that a text names: a moment, or the end of a span from now on.
fn when(text: &str) -> Result<Timestamp> {
    if let Ok(moment) = text.parse() {
        return Ok(moment);
    }
    let span: Result<Span, _> = text.parse();
    let span = span.ok().with_context(|| {
        format!("--until {text:?} is no time: write 2027-11-24T08:00:00Z, or a span such as 90d")
    })?;
    wiring::clock().now().checked_add(span.0).context("--until is too far away")
}
