//! `posta account`.

mod app_password;
pub(crate) mod away;
mod days;
pub(crate) mod forward;
mod life;
pub(crate) mod passwd;
pub(crate) mod sender;
mod weak;

use crate::{
    Place,
    config::Octets,
    fault::{demand, fail, fault},
    operator,
    output::{self, say},
    runtime::block_on,
};
use anyhow::Result;
use clap::{Args, Subcommand, ValueEnum};
use posta_mail::Address;
use posta_server::admin::{AccountLine, JunkOverPop3, Request};

/// Manage accounts, whether the server runs or not.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Add an account; its domain becomes local.
    Add(Add),
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
    #[command(subcommand)]
    AppPassword(app_password::Command),
    /// Limit an account to sending, for a program: it has no mailbox, and mail for it is refused, unless
    /// `posta forward` names somebody who gets it.
    ///
    /// Example: posta account send-only printer@example.test
    SendOnly {
        #[command(flatten)]
        place: Place,
        /// The account's address.
        address: String,
        /// Give the account a mailbox again.
        #[arg(long)]
        off: bool,
    },
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
pub(crate) struct Add {
    #[command(flatten)]
    account: WithPassword,
    /// Let the account only send, as a program's does: it has no mailbox.
    #[arg(long, conflicts_with = "apop")]
    send_only: bool,
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
    /// Asks for the password. An address that cannot be one is refused first.
    fn ask(&self) -> Result<String> {
        let is_valid = self.address.parse::<Address>();
        is_valid.map_err(|error| {
            fault("invalid-address", format!("{:?} is not valid: {error}", self.address))
        })?;
        let prompt = format!("Password for {}: ", self.address);
        let password = super::read_password(self.password_stdin, &prompt)?;
        if !self.password_stdin {
            let again = super::read_password(false, "The same again: ")?;
            if password != again {
                fail!("passwords-differ", "the two passwords differ");
            }
        }
        let Ok(password) = str::from_utf8(password.expose()) else {
            fail!("password-not-utf8", "the password is not UTF-8")
        };
        Ok(password.to_owned())
    }

    /// Gives an account its password by a request, and then warns if the password is easily guessed: not before it
    /// is certain that the password holds.
    fn carry_out(
        &self,
        request: impl FnOnce(String, String, bool) -> Request,
        said: &str,
    ) -> Result<()> {
        let password = self.ask()?;
        let Self { place, address, apop, .. } = self;
        let weakness = weak::weakness(&password, address);
        let request = request(address.clone(), password, *apop);
        super::carry_out(place, request, &format!("{address} {said}"))?;
        if let Some(why) = weakness {
            output::complain(format_args!(
                "warning: the password is easily guessed: {why}; `posta account password {address}` changes it"
            ));
        }
        Ok(())
    }
}

pub(crate) fn run(command: Command) -> Result<()> {
    let (place, request, said) = match command {
        Command::Add(add) => return life::add(add),
        Command::Password(change) => return life::password(&change),
        Command::AppPassword(command) => return app_password::run(command),
        Command::SendOnly { place, address, off } => return life::send_only(&place, address, !off),
        Command::Remove { place, address, yes } => return life::remove(&place, &address, yes),
        Command::Rename { place, address, new, alias } => {
            return life::rename(&place, &address, &new, alias);
        }
        Command::Disable { place, address } => return life::disable(&place, address),
        Command::Enable { place, address } => return life::enable(&place, address),
        Command::Quota { place, address, quota } => {
            let octets = match quota.as_str() {
                "none" => None,
                size => {
                    Some(Octets::plausible(size).map_err(|words| fault("invalid-size", words))?.0)
                }
            };
            demand!(
                octets != Some(0),
                "quota-of-nothing",
                "a mailbox that may hold nothing refuses all mail: give a size such as 1GiB, or none for no \
                 limit"
            );
            let said = format!("the quota of {address} is {quota}");
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
        Command::Undelete { place, address, since } => {
            return life::undelete(&place, address, since);
        }
    };
    super::carry_out(&place, request, &said)
}

fn list(place: &Place, json: bool) -> Result<()> {
    let lines = block_on(operator::accounts(place))?;
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
    table.set_header(["ADDRESS", "MESSAGES", "SIZE", "QUOTA", "STATE", "ALSO SENDS AS"]);
    for column in [1, 2, 3] {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(comfy_table::CellAlignment::Right);
        }
    }
    for line in lines {
        let quota = line.quota.map_or_else(|| "none".to_owned(), super::size);
        let (messages, octets) = (line.messages.to_string(), super::size(line.octets));
        let (state, also) = (state(line), line.send_as.join(", "));
        table.add_row([line.address.clone(), messages, octets, quota, state, also]);
    }
    say!("{table}");
}

/// Returns the remarks on an account: whether logins are disabled, where its mail is forwarded, whether it only sends,
/// and whether POP3 shows its junk.
fn state(line: &AccountLine) -> String {
    let mut state = if line.disabled { "disabled" } else { "active" }.to_owned();
    if let members @ [_, ..] = &line.forwards_to[..] {
        state.push_str(&format!(", mail goes to {}", members.join(", ")));
    }
    if line.send_only {
        state.push_str(", only sends");
    }
    if line.junk == JunkOverPop3::Mark {
        state.push_str(", junk marked");
    }
    state
}
