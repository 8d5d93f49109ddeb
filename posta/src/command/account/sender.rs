//! `posta sender`.

use crate::{Place, operator, output::say, runtime::block_on};
use anyhow::{Result, bail};
use clap::{Args, Subcommand};
use posta_server::{
    admin::{Request, Response, SenderRequest, SenderScope},
    directory::senders::SenderStanding,
};

/// Manage the lists of senders whose mail is always accepted, or never.
///
/// Mail of an allowed sender is accepted and never junk, if SPF, DKIM or DMARC shows it to be the sender's; mail of a
/// blocked sender is refused. A sender is an address, a domain (example.net), all domains below one (.example.net), or
/// a network of clients (192.0.2.0/24). The most specific entry holds, and an account's list takes precedence over its
/// domain's.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Allow a sender.
    Allow(Change),
    /// Block a sender.
    Block(Change),
    /// Remove a sender from the list.
    Remove(Change),
    /// Show the list.
    List {
        #[command(flatten)]
        place: Place,
        #[command(flatten)]
        whose: Whose,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
}

/// A sender, and the owner of the list.
#[derive(Args)]
pub(crate) struct Change {
    #[command(flatten)]
    place: Place,
    /// An address, a domain, the domains below one, or a network.
    sender: String,
    #[command(flatten)]
    whose: Whose,
}

#[derive(Args)]
#[group(required = true, multiple = false)]
pub(crate) struct Whose {
    /// The account that the list belongs to.
    #[arg(long, value_name = "ADDRESS")]
    account: Option<String>,
    /// The domain that the list belongs to.
    #[arg(long)]
    domain: Option<String>,
}

impl Whose {
    /// Returns the scope, and the words for it.
    fn scope(self) -> (SenderScope, String) {
        match (self.account, self.domain) {
            (Some(account), _) => (SenderScope::Account(account.clone()), account),
            (None, domain) => {
                let domain = domain.unwrap_or_default();
                (SenderScope::Domain(domain.clone()), domain)
            }
        }
    }
}

pub(crate) fn run(command: Command) -> Result<()> {
    let (change, standing) = match command {
        Command::Allow(change) => (change, Some(SenderStanding::Allowed)),
        Command::Block(change) => (change, Some(SenderStanding::Blocked)),
        Command::Remove(change) => (change, None),
        Command::List { place, whose, json } => return list(&place, whose, json),
    };
    let Change { place, sender, whose } = change;
    let (scope, whose) = whose.scope();
    let (request, said) = match standing {
        Some(standing) => {
            let said = format!("mail from {sender} is {} for {whose} now", standing.as_str());
            (SenderRequest::Put { sender, standing }, said)
        }
        None => {
            let said = format!("{sender} is no longer on the list of {whose}");
            (SenderRequest::Remove { sender }, said)
        }
    };
    super::super::carry_out(&place, Request::Senders { scope, request }, &said)
}

fn list(place: &Place, whose: Whose, json: bool) -> Result<()> {
    let (scope, whose) = whose.scope();
    let request = Request::Senders { scope, request: SenderRequest::List };
    let Response::Senders(entries) = block_on(operator::execute(place, request))? else {
        bail!(operator::UNEXPECTED);
    };
    super::super::show(&entries[..], json, |entries| {
        if entries.is_empty() {
            say!("The list of {whose} is empty.");
        }
        for entry in entries {
            say!("{}  {}", entry.standing.as_str(), entry.sender);
        }
    })
}
