//! `posta account`.

mod life;
pub(crate) mod sender;
mod weak;

use crate::{
    Place,
    config::Octets,
    operator,
    output::{self, say},
    runtime::block_on,
};
use anyhow::{Result, bail, ensure};
use clap::{Args, Subcommand, ValueEnum};
use posta_server::{
    admin::{AccountLine, JunkOverPop3, Request, Response},
    collect::import::{Folders, Imported},
};
use std::path::{Path, PathBuf};

/// Manage accounts, whether the server runs or not.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Add an account; its domain becomes local.
    Add(WithPassword),
    /// List the accounts with their addresses, messages and octets.
    List {
        #[command(flatten)]
        place: Place,
        /// List removed accounts that can be brought back.
        #[arg(long)]
        removed: bool,
        /// Print JSON.
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
        /// Do not ask for confirmation.
        #[arg(long)]
        yes: bool,
    },
    /// Change an account's address. Its mail, unique-ids, password and aliases stay.
    ///
    /// Example: posta account rename ana@example.test ana.pop@example.test --alias
    Rename {
        #[command(flatten)]
        place: Place,
        /// The account's address.
        address: String,
        /// The new address. Its domain becomes local.
        new: String,
        /// Make the old address an alias of the new one.
        #[arg(long)]
        alias: bool,
    },
    /// Disable logins to an account and end its sessions. It still receives mail.
    Disable {
        #[command(flatten)]
        place: Place,
        /// The account's address.
        address: String,
    },
    /// Enable logins to a disabled account.
    Enable {
        #[command(flatten)]
        place: Place,
        /// The account's address.
        address: String,
    },
    /// Change an account's password.
    Password(WithPassword),
    /// Bring back a removed account with its mail and password, or messages that were removed from an existing
    /// account's mailbox. Removed accounts and messages are purged after a week.
    ///
    /// Example: posta account undelete ana@example.test --since 2h
    Undelete {
        #[command(flatten)]
        place: Place,
        /// The account's address.
        address: String,
        /// Only messages removed since this time, such as 2026-11-24T08:00:00Z, or within a span such as 2h.
        #[arg(long, value_name = "TIME")]
        since: Option<String>,
    },
    /// Import a Maildir into an account's mailbox. The POP3 unique-ids of Dovecot or Courier are kept, so that
    /// mail programs collect nothing twice. Messages that were imported before are skipped.
    ///
    /// Messages in its folders (.Sent, Archive/2024) go into the same mailbox, except those in Drafts, Junk
    /// and Trash. Links are not followed. Everything that is skipped is named and counted.
    ///
    /// Example: posta account import ana@example.test /home/ana/Maildir
    Import {
        #[command(flatten)]
        place: Place,
        /// The account's address.
        address: String,
        /// The Maildir. It is not changed.
        maildir: PathBuf,
        /// The file of unique-ids, if it is not in the Maildir: a dovecot-uidlist or a courierpop3dsizelist.
        #[arg(long, value_name = "FILE")]
        unique_ids: Option<PathBuf>,
        /// Skip all folders; import only the inbox.
        #[arg(long, conflicts_with = "all_folders")]
        inbox_only: bool,
        /// Import Drafts, Junk and Trash too.
        #[arg(long)]
        all_folders: bool,
    },
    /// Set an account's quota: a size such as 1GiB, or none.
    Quota {
        #[command(flatten)]
        place: Place,
        /// The account's address.
        address: String,
        /// The most octets that the account's messages may have together. Removed messages do not count.
        quota: String,
    },
    /// Set where an account's owner finds junk over POP3. `posta mail list --folder Junk` shows it either way.
    ///
    /// Example: posta account junk ana@example.test mark
    Junk {
        #[command(flatten)]
        place: Place,
        /// The account's address.
        address: String,
        /// In the folder Junk only, or also among the inbox's messages with [Junk] before the subject.
        #[arg(value_enum)]
        junk: Junk,
    },
    /// Allow an account to send from further addresses, in MAIL FROM and in the From field. Its own address and
    /// the aliases that lead to it are always allowed. `posta account list` shows what is allowed.
    ///
    /// Example: posta account allow ana@example.test --from newsletter@example.test
    Allow(From),
    /// Withdraw an account's permission to send from further addresses.
    ///
    /// Example: posta account disallow ana@example.test --from any
    Disallow(From),
}

/// Where junk is found over POP3.
#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum Junk {
    /// POP3 does not show it.
    Folder,
    /// POP3 shows it among the inbox's messages, marked.
    Mark,
}

#[derive(Args)]
pub(crate) struct From {
    #[command(flatten)]
    place: Place,
    /// The account's address.
    address: String,
    /// An address, @domain for all addresses of a domain, or any.
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
    /// Also keep the password itself, for APOP (RFC 1939). It is encrypted, but can be read with the store and
    /// its key file.
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
        Command::Junk { place, address, junk } => return life::junk(&place, address, junk),
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
    // The server that handles the request has another working directory.
    let maildir = std::path::absolute(maildir)?;
    let unique_ids = unique_ids.map(std::path::absolute).transpose()?;
    let request = Request::AccountImport { address: address.clone(), maildir, unique_ids, folders };
    let Response::Imported(imported) = block_on(operator::execute(place, request))? else {
        bail!(operator::UNEXPECTED);
    };
    for name in &imported.skipped_names {
        crate::output::complain(format_args!("skipped {name}"));
    }
    let Imported { messages, in_folders, thrown_away, left_out, skipped, .. } = imported;
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
        skipped == 0,
        "{skipped} names were skipped, the first of which are listed above; \
         only regular files that can be read are messages"
    );
    Ok(())
}

fn list(place: &Place, json: bool) -> Result<()> {
    let Response::Accounts(lines) = block_on(operator::execute(place, Request::AccountList))?
    else {
        bail!(operator::UNEXPECTED);
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

/// Returns the remarks on an account: whether logins are disabled, where its mail is forwarded, and whether POP3
/// shows its junk.
fn state(line: &AccountLine) -> String {
    let mut state = if line.disabled { "disabled" } else { "active" }.to_owned();
    if let members @ [_, ..] = &line.forwards_to[..] {
        state.push_str(&format!(", mail goes to {}", members.join(", ")));
    }
    if line.junk == JunkOverPop3::Mark {
        state.push_str(", junk marked");
    }
    state
}
