//! `posta account`.

mod life;
mod weak;

use crate::{
    Place,
    config::Octets,
    operator,
    output::{self, say},
    runtime::block_on,
};
use anyhow::{Result, bail, ensure};
use clap::{Args, Subcommand};
use posta_server::{
    admin::{AccountLine, Request, Response},
    collect::import::{Folders, Imported},
};
use std::path::{Path, PathBuf};

/// Manage accounts, whether the server runs or not.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Add an account; its domain becomes local.
    Add(WithPassword),
    /// List the accounts: address, messages, octets.
    List {
        #[command(flatten)]
        place: Place,
        /// Those that were removed and can be brought back.
        #[arg(long)]
        removed: bool,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Remove an account and its mail. `undelete` brings both back within a week.
    ///
    /// Example: posta account remove ana@example.test --yes
    Remove {
        #[command(flatten)]
        place: Place,
        /// The account's address.
        address: String,
        /// Do not ask.
        #[arg(long)]
        yes: bool,
    },
    /// Give an account another address. Mail, unique-ids, password and what leads to it stay.
    ///
    /// Example: posta account rename ana@example.test ana.pop@example.test --alias
    Rename {
        #[command(flatten)]
        place: Place,
        /// The account's address.
        address: String,
        /// The new address. Its domain becomes local.
        new: String,
        /// Have mail for the old address go to the new one.
        #[arg(long)]
        alias: bool,
    },
    /// Let nobody log in to an account; open sessions end. Mail for it is taken all the same.
    Disable {
        #[command(flatten)]
        place: Place,
        /// The account's address.
        address: String,
    },
    /// Let an account log in again that was disabled.
    Enable {
        #[command(flatten)]
        place: Place,
        /// The account's address.
        address: String,
    },
    /// Change an account's password.
    Password(WithPassword),
    /// Bring back an account that was removed, with its mail and its password; or the messages that were
    /// removed from the mailbox of one that is there. What was removed is purged a week later.
    ///
    /// Example: posta account undelete ana@example.test --since 2h
    Undelete {
        #[command(flatten)]
        place: Place,
        /// The account's address.
        address: String,
        /// Only messages removed since then: a time such as 2026-11-24T08:00:00Z, or a span such as 2h
        /// before now.
        #[arg(long, value_name = "TIME")]
        since: Option<String>,
    },
    /// Take a Maildir over into an account's mailbox, with the unique-ids of Dovecot's or Courier's POP3,
    /// so that no mail program collects anything twice. Messages that are there already are not taken again.
    ///
    /// The messages of its folders (.Sent, Archive/2024) come into the same mailbox, except for Drafts, Junk
    /// and Trash. Links are not followed. Whatever is passed over is named and counted.
    ///
    /// Example: posta account import ana@example.test /home/ana/Maildir
    Import {
        #[command(flatten)]
        place: Place,
        /// The account's address.
        address: String,
        /// The Maildir. It is only read.
        maildir: PathBuf,
        /// The list of unique-ids, where it is not in the Maildir: a dovecot-uidlist or a
        /// courierpop3dsizelist.
        #[arg(long, value_name = "FILE")]
        unique_ids: Option<PathBuf>,
        /// Leave all folders out.
        #[arg(long, conflicts_with = "all_folders")]
        inbox_only: bool,
        /// Take Drafts, Junk and Trash too.
        #[arg(long)]
        all_folders: bool,
    },
    /// Limit what an account's mailbox may hold: a size such as 1GiB, or none.
    Quota {
        #[command(flatten)]
        place: Place,
        /// The account's address.
        address: String,
        /// The size; octets of its messages together. Removed messages do not count.
        quota: String,
    },
    /// Allow an account to send as others, in MAIL FROM and in From, beside its own address and the
    /// aliases that lead to it. `posta account list` shows what is allowed.
    ///
    /// Example: posta account allow ana@example.test --from newsletter@example.test
    Allow(From),
    /// Take back what an account was allowed to send as.
    ///
    /// Example: posta account disallow ana@example.test --from any
    Disallow(From),
}

#[derive(Args)]
pub(crate) struct From {
    #[command(flatten)]
    place: Place,
    /// The account's address.
    address: String,
    /// An address, @domain for all of a domain, or any.
    #[arg(long)]
    from: String,
}

#[derive(Args)]
pub(crate) struct WithPassword {
    #[command(flatten)]
    place: Place,
    /// The account's address.
    address: String,
    /// Read the password from the first line of standard input.
    #[arg(long)]
    password_stdin: bool,
    /// Keep the password itself too, for APOP (RFC 1939): sealed, but whoever has the store and its key
    /// file can read it.
    #[arg(long)]
    apop: bool,
}

impl WithPassword {
    fn ask(&self) -> Result<String> {
        let prompt = format!("Password for {}: ", self.address);
        let password = super::read_password(self.password_stdin, &prompt)?;
        if !self.password_stdin {
            let again = super::read_password(false, "The same again: ")?;
            if password != again {
                bail!("the two passwords differ");
            }
        }
        let Ok(password) = str::from_utf8(password.expose()) else {
            bail!("the password is not UTF-8")
        };
        // Not where none was given, which is refused.
        if let Some(why) = weak::weakness(password, &self.address).filter(|_| !password.is_empty())
        {
            output::complain(format_args!(
                "warning: the password is easily guessed: {why}; `posta account password {}` changes it",
                self.address
            ));
        }
        Ok(password.to_owned())
    }
}

pub(crate) fn run(command: Command) -> Result<()> {
    let (place, request, said) = match command {
        Command::Add(add) => {
            let (password, apop, address) = (add.ask()?, add.apop, add.address);
            let said = format!("{address} can receive mail and log in");
            (add.place, Request::AccountAdd { address, password, apop }, said)
        }
        Command::Password(change) => {
            let (password, apop, address) = (change.ask()?, change.apop, change.address);
            let said = format!("{address} has a new password");
            (change.place, Request::AccountPassword { address, password, apop }, said)
        }
        Command::Remove { place, address, yes } => return life::remove(&place, &address, yes),
        Command::Rename { place, address, new, alias } => {
            return life::rename(&place, &address, &new, alias);
        }
        Command::Disable { place, address } => return life::disable(&place, address),
        Command::Enable { place, address } => return life::enable(&place, address),
        Command::Quota { place, address, quota } => {
            let octets = match quota.as_str() {
                "none" => None,
                size => Some(Octets::plausible(size).map_err(|words| anyhow::anyhow!(words))?.0),
            };
            ensure!(
                octets != Some(0),
                "a mailbox that may hold nothing refuses all mail: give a size such as 1GiB, or none for no \
                 limit"
            );
            let said = format!("{address} may hold {quota}");
            (place, Request::AccountQuota { address, quota: octets }, said)
        }
        Command::Allow(From { place, address, from }) => {
            let said = format!("{address} may send as {from}");
            (place, Request::AccountAllow { address, from }, said)
        }
        Command::Disallow(From { place, address, from }) => {
            let said = format!("{address} may not send as {from} any more");
            (place, Request::AccountDisallow { address, from }, said)
        }
        Command::List { place, removed: true, json } => return life::list_removed(&place, json),
        Command::List { place, json, .. } => return list(&place, json),
        Command::Import { place, address, maildir, unique_ids, inbox_only, all_folders } => {
            let folders = match (inbox_only, all_folders) {
                (true, _) => Folders::None,
                (_, true) => Folders::All,
                _ => Folders::Usual,
            };
            return import(&place, address, (&maildir, unique_ids), folders);
        }
        Command::Undelete { place, address, since } => {
            return life::undelete(&place, address, since);
        }
    };
    super::carry_out(&place, request, &said)
}

fn import(
    place: &Place,
    address: String,
    (maildir, unique_ids): (&Path, Option<PathBuf>),
    folders: Folders,
) -> Result<()> {
    // A server that does it stands elsewhere.
    let maildir = std::path::absolute(maildir)?;
    let unique_ids = unique_ids.map(std::path::absolute).transpose()?;
    let request = Request::AccountImport { address: address.clone(), maildir, unique_ids, folders };
    let Response::Imported(imported) = block_on(operator::execute(place, request))? else {
        bail!("the server answered something else");
    };
    for name in &imported.told {
        crate::output::complain(format_args!("passed over {name}"));
    }
    let Imported { messages, in_folders, thrown_away, left_out, passed_over, .. } = imported;
    match in_folders {
        0 => say!("{messages} messages came into the mailbox of {address}"),
        _ => say!(
            "{messages} messages came into the mailbox of {address}, {in_folders} of them from folders"
        ),
    }
    if thrown_away > 0 {
        say!("left out: {thrown_away} messages that are marked as thrown away (flag T)");
    }
    for (folder, messages) in left_out {
        let how = if folders == Folders::Usual { " (--all-folders takes them)" } else { "" };
        say!("left out: the folder {folder}, {messages} messages{how}");
    }
    ensure!(
        passed_over == 0,
        "{passed_over} names were passed over, the first of which are above; \
         only regular files that can be read are messages"
    );
    Ok(())
}

fn list(place: &Place, json: bool) -> Result<()> {
    let Response::Accounts(lines) = block_on(operator::execute(place, Request::AccountList))?
    else {
        bail!("the server answered something else");
    };
    super::show(&lines[..], json, |lines| {
        if lines.is_empty() {
            say!("There are no accounts yet: `posta account add ADDRESS` makes one.");
        } else {
            print_table(lines);
        }
    })
}

fn print_table(lines: &[AccountLine]) {
    let mut table = comfy_table::Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    table.set_header(["ADDRESS", "MESSAGES", "OCTETS", "QUOTA", "STATE", "ALSO SENDS AS"]);
    for column in [1, 2, 3] {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(comfy_table::CellAlignment::Right);
        }
    }
    for line in lines {
        let quota = line.quota.map_or_else(|| "none".to_owned(), |octets| octets.to_string());
        let (messages, octets) = (line.messages.to_string(), line.octets.to_string());
        let (state, also) = (state(line), line.send_as.join(", "));
        table.add_row([line.address.clone(), messages, octets, quota, state, also]);
    }
    say!("{table}");
}

/// Whether somebody can log in, and where the mail goes if not to the mailbox.
fn state(line: &AccountLine) -> String {
    let state = if line.disabled { "disabled" } else { "active" };
    match &line.forwards_to[..] {
        [] => state.to_owned(),
        members => format!("{state}, mail goes to {}", members.join(", ")),
    }
}
