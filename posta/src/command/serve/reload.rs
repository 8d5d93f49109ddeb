//! `posta reload`.

use crate::{Place, operator, output::say, runtime::block_on};
use anyhow::{Result, bail};
use clap::Args;
use posta_server::admin::{ChangedOption, ConfigRequest, Reloaded, Request, Response};

/// Have the running server take the changed configuration and certificates.
///
/// If anything is wrong with them, nothing changes, and the error says what. New sessions and outgoing mail are treated
/// by the new values; what holds only after a restart is named. SIGHUP does the same, and the log tells the result.
///
/// Example: posta reload
#[derive(Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    place: Place,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(arguments: Arguments) -> Result<()> {
    let Arguments { place, json } = arguments;
    let request = Request::Config { request: ConfigRequest::Reload };
    let Response::Reloaded(reloaded) = block_on(operator::ask_running(&place, request))? else {
        bail!(operator::UNEXPECTED);
    };
    crate::command::show(&reloaded, json, print)
}

fn print(reloaded: &Reloaded) {
    let Reloaded { changed, restart, remarks } = reloaded;
    for ChangedOption { option, before, now } in changed {
        let value = |value: &Option<String>| value.clone().unwrap_or_else(|| "not set".to_owned());
        say!("{option}: {}, before: {}", value(now), value(before));
    }
    for option in restart {
        say!("{option}: needs a restart");
    }
    for remark in remarks {
        say!("{remark}");
    }
    match (changed.is_empty(), restart.is_empty()) {
        (true, true) => say!("No option has changed. The certificates were read again."),
        (false, _) => say!("This holds from now on. The certificates were read again, too."),
        (true, false) => say!("Nothing else has changed. The certificates were read again."),
    }
}
