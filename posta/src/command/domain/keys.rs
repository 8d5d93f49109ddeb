//! `posta domain keys`.

use crate::{Place, operator, output::say, runtime::block_on};
use anyhow::{Result, bail};
use clap::Subcommand;
use posta_server::{
    admin::{DomainKeyLine, KeyRequest, Request, Response, checkup::publish::zone_file},
    sign::keys::{KeyRetired, KeyState},
};

/// Manage the keys that sign a domain's mail (DKIM), whether the server runs or not.
///
/// `posta domain add` makes the first two keys, one for Ed25519 and one for RSA. A key signs once the running server has
/// seen its record in DNS. Private keys are sealed in the store, and no command shows them.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// List the keys of a domain with their states and the DNS records to publish.
    List {
        #[command(flatten)]
        place: Place,
        /// The domain's name.
        domain: String,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Make new keys. The present keys sign until DNS has the new ones.
    Rotate {
        #[command(flatten)]
        place: Place,
        /// The domain's name.
        domain: String,
        /// Print JSON: the keys, as `list` prints them.
        #[arg(long)]
        json: bool,
    },
    /// Stop a key from signing. Repeat this to declare the key retired, and again to delete it from the list.
    ///
    /// Example: posta domain keys retire example.org 20260401a-rsa
    Retire {
        #[command(flatten)]
        place: Place,
        /// The domain's name.
        domain: String,
        /// The key's name within the domain, as `list` shows it.
        selector: String,
    },
}

pub(super) fn run(command: Command) -> Result<()> {
    match command {
        Command::List { place, domain, json } => show(&place, (domain, KeyRequest::List), json),
        Command::Rotate { place, domain, json } => show(&place, (domain, KeyRequest::Rotate), json),
        Command::Retire { place, domain, selector } => retire(&place, domain, selector),
    }
}

fn show(place: &Place, (domain, request): (String, KeyRequest), json: bool) -> Result<()> {
    let request = Request::DomainKeys { domain, request };
    let Response::DomainKeys(lines) = block_on(operator::execute(place, request))? else {
        bail!(operator::UNEXPECTED);
    };
    super::super::show(&lines[..], json, print)
}

fn retire(place: &Place, domain: String, selector: String) -> Result<()> {
    let name = format!("{selector}._domainkey.{domain}");
    let request = Request::DomainKeys { domain, request: KeyRequest::Retire { selector } };
    let Response::KeyRetired(retired) = block_on(operator::execute(place, request))? else {
        bail!(operator::UNEXPECTED);
    };
    match retired {
        KeyRetired::Forgotten => {
            say!("the key is deleted; remove {name} from DNS if it is there")
        }
        KeyRetired::Retiring(until) => say!(
            "the key has stopped signing; leave {name} in DNS until {until:.0}, since mail that it signed is still on its way"
        ),
        KeyRetired::Retired => say!("the key is retired; remove {name} from DNS"),
    }
    Ok(())
}

fn print(lines: &[DomainKeyLine]) {
    if lines.is_empty() {
        say!("There are no keys yet: the running server makes the first ones, or `rotate` does.");
    }
    for (index, line) in lines.iter().enumerate() {
        if index > 0 {
            say!("");
        }
        say!("{} ({}): {}, {}", line.selector, line.algorithm, line.state.name(), next(line));
        if line.state != KeyState::Retired {
            say!("    {}", zone_file::text_line(&line.name, &line.record));
        }
    }
}

/// Returns the state of the key in words, and the next step of the operator.
fn next(line: &DomainKeyLine) -> String {
    match (line.state, line.until, line.missing) {
        (KeyState::Waiting, ..) => {
            "signs nothing yet: publish this record; the running server uses the key once DNS has it".to_owned()
        }
        (KeyState::Active, _, Some(missing)) => {
            format!("signs, but DNS is without its record since {missing:.0}: publish it again")
        }
        (KeyState::Active, ..) => format!("signs since {:.0}", line.since),
        (KeyState::Retiring, Some(until), _) => {
            format!("has stopped signing; leave its record in DNS until {until:.0}")
        }
        (KeyState::Retiring, ..) => "has stopped signing; leave its record in DNS".to_owned(),
        (KeyState::Retired, ..) => format!("has stopped signing; remove {} from DNS", line.name),
    }
}
