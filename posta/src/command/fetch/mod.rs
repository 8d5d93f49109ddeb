//! `posta fetch`.

mod accounts;
mod files;
mod lmtp;
mod tracked;

use crate::{Place, config::Octets, operator, wiring};
use anyhow::{Context, Result, bail, ensure};
use clap::{Args, ValueEnum};
use files::Files;
use lmtp::Lmtp;
use posta_mail::Address;
use posta_server::{
    admin::{Request, Response},
    collect::Brought,
};
use posta_store::{Keep, Login, LoginTls};
use serde::Deserialize;
use std::{fs, net::IpAddr, path::PathBuf};
use tracked::{Known, Sink, Tracked};

/// Collect mail from a POP3 server into a Maildir, an mbox file, an LMTP server, a Posta account or
/// standard output.
///
/// Nothing is deleted on the server before it is safe here. Without --keep or --keep-days all that
/// was fetched is deleted there.
#[derive(Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    place: Place,
    /// The server, as host:port.
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:2110")]
    server: String,
    /// The name to log in with.
    #[arg(long, value_name = "NAME", required_unless_present = "accounts")]
    user: Option<String>,
    /// Read the password from the first line of standard input.
    #[arg(long)]
    password_stdin: bool,
    /// How to use TLS.
    #[arg(long, value_enum, default_value_t = Tls::Auto)]
    tls: Tls,
    /// Take any certificate: for servers that made their own.
    #[arg(long)]
    any_certificate: bool,
    #[command(flatten)]
    into: Into,
    /// Whom it is for, with --lmtp.
    #[arg(long, value_name = "ADDRESS", requires = "lmtp")]
    to: Option<Address>,
    /// Leave the messages on the server.
    #[arg(long, conflicts_with = "keep_days")]
    keep: bool,
    /// Leave each message on the server for so many days after it was fetched, and fetch it once.
    #[arg(long, value_name = "N")]
    keep_days: Option<u32>,
    /// Fetch only what was not fetched before, by its unique-id.
    #[arg(long)]
    only_new: bool,
    /// Where it is noted what was fetched before; default: a file for each server and user in
    /// ~/.local/state/posta.
    #[arg(long, value_name = "FILE")]
    state: Option<PathBuf>,
    /// Octets that a message may have; a larger one stays on the server.
    #[arg(long, value_name = "SIZE", default_value = "50MiB")]
    message_size: Octets,
}

/// Where the messages go.
#[derive(Args, Clone)]
#[group(required = true, multiple = false)]
struct Into {
    /// Into this Maildir, which is made if it does not exist.
    #[arg(long, value_name = "DIR")]
    maildir: Option<PathBuf>,
    /// Behind what this mbox file holds.
    #[arg(long, value_name = "FILE")]
    mbox: Option<PathBuf>,
    /// To standard output, as an mbox.
    #[arg(long)]
    stdout: bool,
    /// To an LMTP server: host:port or unix:/path; with --to.
    #[arg(long, value_name = "WHERE", requires = "to")]
    lmtp: Option<String>,
    /// Into the mailbox of this account here, with the messages' unique-ids: the mailbox moves.
    #[arg(long, value_name = "ADDRESS")]
    account: Option<Address>,
    /// From several servers or users, each as this TOML file says in an `[[account]]`.
    #[arg(long, value_name = "FILE")]
    accounts: Option<PathBuf>,
}

/// How to use TLS.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Tls {
    /// From the start at port 995; else by STLS, but not with a server on this machine: localhost, or a
    /// loopback address in digits.
    Auto,
    /// Not at all.
    None,
    /// By STLS, or not at all.
    Stls,
    /// From the start.
    Implicit,
}

/// One mailbox to be fetched.
struct Task {
    login: Login,
    keep: Keep,
    target: Target,
    /// Where it is noted what was fetched before, if only what is new is wanted.
    state: Option<PathBuf>,
}

enum Target {
    Files(Files),
    Lmtp(Lmtp),
    Account(Address),
}

impl Tls {
    /// What it comes to with a server.
    pub(crate) fn with(self, server: &str) -> LoginTls {
        match self {
            Self::None => LoginTls::None,
            Self::Stls => LoginTls::Stls,
            Self::Implicit => LoginTls::Implicit,
            Self::Auto if server.ends_with(":995") => LoginTls::Implicit,
            Self::Auto if is_near(server) => LoginTls::None,
            Self::Auto => LoginTls::Stls,
        }
    }
}

/// Returns whether `host:port` is on this machine by its own words. A name is not looked up: whoever
/// forges one answer of DNS would have the password sent in plaintext.
fn is_near(server: &str) -> bool {
    let host = server.rsplit_once(':').map_or(server, |(host, _)| host);
    let digits = host.trim_start_matches('[').trim_end_matches(']');
    let is_loopback = |address: IpAddr| address.to_canonical().is_loopback();
    host.eq_ignore_ascii_case("localhost") || digits.parse().is_ok_and(is_loopback)
}

pub(crate) fn run(arguments: Arguments) -> Result<()> {
    let tasks = match &arguments.into.accounts {
        Some(file) => accounts::read(file)?,
        None => vec![single(&arguments)?],
    };
    let several = tasks.len() > 1;
    super::block_on(async move {
        let mut failed = 0;
        for task in tasks {
            let about = format!("{} at {}", task.login.user, task.login.server);
            match fetch(&arguments.place, task, arguments.message_size).await {
                Ok(said) if several => eprintln!("{about}: {said}"),
                Ok(said) => eprintln!("{said}"),
                // The others are fetched all the same.
                Err(error) if several => {
                    crate::output::complain(format_args!("{about}: {error:#}"));
                    failed += 1;
                }
                Err(error) => return Err(error),
            }
        }
        ensure!(failed == 0, "{failed} of the accounts could not be fetched");
        Ok(())
    })
}

fn single(arguments: &Arguments) -> Result<Task> {
    let Some(user) = arguments.user.clone() else { bail!("--user is needed") };
    if user.bytes().any(|octet| octet.is_ascii_control()) {
        bail!("a name has no control characters");
    }
    let prompt = format!("Password for {user}: ");
    let password = super::read_password(arguments.password_stdin, &prompt)?;
    let password = String::from_utf8(password.expose().to_vec());
    let login = Login {
        server: arguments.server.clone(),
        user,
        password: password.context("the password is not UTF-8")?,
        tls: arguments.tls.with(&arguments.server),
        any_certificate: arguments.any_certificate,
    };
    let Into { maildir, mbox, lmtp, account, .. } = arguments.into.clone();
    let target = match (maildir, mbox, lmtp, account) {
        (Some(directory), ..) => Target::Files(Files::maildir(&directory)?),
        (_, Some(file), ..) => Target::Files(Files::mbox(&file)?),
        (_, _, Some(server), _) => {
            let Some(to) = arguments.to.clone() else { bail!("--lmtp needs --to") };
            Target::Lmtp(Lmtp::new(server, to))
        }
        (_, _, _, Some(account)) => Target::Account(account),
        _ => Target::Files(Files::stdout()),
    };
    let keep = match (arguments.keep, arguments.keep_days) {
        (true, _) => Keep::All,
        (_, Some(days)) => Keep::Days(days),
        _ => Keep::Nothing,
    };
    let only_new = arguments.only_new || arguments.keep_days.is_some();
    let state = match (&arguments.state, only_new) {
        (Some(path), _) => Some(path.clone()),
        (None, true) => Some(default_state(&login)?),
        (None, false) => None,
    };
    Ok(Task { login, keep, target, state })
}

/// A file for each server and user.
fn default_state(login: &Login) -> Result<PathBuf> {
    let home =
        std::env::home_dir().context("there is no home directory: name a file with --state")?;
    let directory = home.join(".local/state/posta");
    fs::create_dir_all(&directory)
        .with_context(|| format!("{} cannot be made", directory.display()))?;
    let name = format!("{}@{}", login.user, login.server).replace('/', "_");
    Ok(directory.join(format!("{name}.fetched")))
}

/// Fetches one mailbox. Returns what that came to, in words.
async fn fetch(place: &Place, task: Task, message_size: Octets) -> Result<String> {
    let Task { login, keep, target, state } = task;
    let sink = match target {
        Target::Files(files) => Sink::Files(files),
        Target::Lmtp(lmtp) => Sink::Lmtp(lmtp),
        Target::Account(account) => return take_over(place, account, login, keep).await,
    };
    let known = state.as_ref().map(|path| Known::read(path)).transpose()?;
    let mut destination = Tracked::new(sink, known);
    let (brought, ended) =
        wiring::means(message_size)?.collect(&login, keep, &mut destination).await;
    destination.finish();
    let said = said(brought);
    ended.with_context(|| format!("after {said}"))?;
    Ok(said)
}

fn said(brought: Brought) -> String {
    let Brought { messages, removed, .. } = brought;
    let said = format!("{messages} messages fetched, {removed} removed from the server");
    brought.left().into_iter().fold(said, |said, left| format!("{said}, {left}"))
}

/// The server takes the mailbox over, if one runs; else this program does, on the store itself.
async fn take_over(place: &Place, account: Address, login: Login, keep: Keep) -> Result<String> {
    let request = Request::TakeOver { address: account.to_string(), login, keep };
    let Response::Count(count) = operator::execute(place, request).await? else {
        bail!("the server answered something else");
    };
    Ok(format!("{count} messages are in the mailbox of {account}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_is_spoken_to_in_plaintext() {
        for server in
            ["localhost:110", "LOCALHOST:2110", "127.0.0.1:110", "127.9.9.9:1", "[::1]:110"]
        {
            assert_eq!(Tls::Auto.with(server), LoginTls::None, "{server}");
        }
        // The second is in DNS with the address 127.0.0.1.
        for server in [
            "mail.example.org:110",
            "localtest.me:110",
            "localhost.:110",
            "localhost.example.org:110",
            "127.0.0.1.example.org:110",
            "192.0.2.1:110",
            "[2001:db8::1]:110",
            "0.0.0.0:110",
            "[::]:110",
        ] {
            assert_eq!(Tls::Auto.with(server), LoginTls::Stls, "{server}");
        }
        assert_eq!(Tls::Auto.with("localhost:995"), LoginTls::Implicit);
    }
}
