//! `posta fetch`.

mod accounts;
mod files;
mod lmtp;
mod tracked;

use crate::{
    Place,
    config::{Config, Octets, Source},
    operator,
    runtime::block_on,
    wiring,
};
use anyhow::{Context, Result, bail, ensure};
use clap::{Args, ValueEnum};
use files::Files;
use lmtp::Lmtp;
use posta_mail::{Address, Secret};
use posta_server::{
    admin::{Request, Response},
    collect::{Brought, Means, derived},
};
use posta_store::{Keep, Login, LoginTls};
use serde::Deserialize;
use std::{fs, net::IpAddr, path::PathBuf};
use tracked::{Known, Sink, Tracked};

/// Collect mail from a POP3 server into a Maildir, an mbox file, an LMTP server, a Posta account or
/// standard output.
///
/// The messages stay on the server unless --delete or --keep-days says otherwise, and nothing is
/// deleted there before it is safe here. What was fetched before is not fetched again, except to
/// standard output. With --config, names are looked up and certificates believed as it says.
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
    /// Leave the messages on the server: the default.
    #[arg(long, conflicts_with_all = ["keep_days", "delete"])]
    keep: bool,
    /// Delete each message on the server once it is safe here.
    #[arg(long, conflicts_with = "keep_days")]
    delete: bool,
    /// Delete each message on the server so many days after it was fetched.
    #[arg(long, value_name = "N")]
    keep_days: Option<u32>,
    /// Fetch only what is new: the default for messages that stay.
    #[arg(long, conflicts_with = "all")]
    only_new: bool,
    /// Fetch what was fetched before, too.
    #[arg(long, conflicts_with = "keep_days")]
    all: bool,
    /// Where it is noted what was fetched before; default: a file for each server, user and target
    /// in ~/.local/state/posta.
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
    /// Into this account's mailbox here, unique-ids and all: the mailbox moves.
    #[arg(long, value_name = "ADDRESS")]
    account: Option<Address>,
    /// From several mailboxes, an `[[account]]` each in this TOML file.
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
    password: Secret,
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
    block_on(async move {
        let (mut failed, mut stayed) = (0, false);
        for task in tasks {
            let about = format!("{} at {}", task.login.user, task.login.server);
            match fetch(&arguments.place, task, arguments.message_size).await {
                Ok(fetched) => {
                    let whose = if several { format!("{about}: ") } else { String::new() };
                    eprintln!("{whose}{}", fetched.said);
                    for left in &fetched.left {
                        crate::output::complain(format_args!("{whose}{left}"));
                    }
                    stayed |= !fetched.left.is_empty();
                }
                // The others are fetched all the same.
                Err(error) if several => {
                    crate::output::complain(format_args!(
                        "{about}: {}",
                        crate::output::chain(&error)
                    ));
                    failed += 1;
                }
                Err(error) => return Err(error),
            }
        }
        ensure!(failed == 0, "{failed} of the accounts could not be fetched");
        ensure!(!stayed, "not all messages could be fetched: they are on the server");
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
    let login = Login {
        server: arguments.server.clone(),
        user,
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
    let keep = match (arguments.delete, arguments.keep_days) {
        (true, _) => Keep::Nothing,
        (_, Some(days)) => Keep::Days(days),
        _ => Keep::All,
    };
    let is_kept = keep != Keep::Nothing && !arguments.into.stdout;
    let only_new = !arguments.all && (arguments.only_new || is_kept);
    let state = match (&arguments.state, only_new) {
        (Some(path), true) => Some(path.clone()),
        (None, true) => default_state(&login, &target)?,
        (_, false) => None,
    };
    Ok(Task { login, password, keep, target, state })
}

/// Returns where it is noted by default what was fetched: a file for each server, user and target. A
/// mailbox here knows by itself what it has.
fn default_state(login: &Login, target: &Target) -> Result<Option<PathBuf>> {
    let into = match target {
        Target::Account(_) => return Ok(None),
        Target::Files(files) => files.name().to_owned(),
        Target::Lmtp(lmtp) => lmtp.name(),
    };
    let home =
        std::env::home_dir().context("there is no home directory: name a file with --state")?;
    let directory = home.join(".local/state/posta");
    fs::create_dir_all(&directory)
        .with_context(|| format!("{} cannot be made", directory.display()))?;
    let name = format!("{}@{}", login.user, login.server).replace('/', "_");
    let into = &derived(into.as_bytes())[..16];
    Ok(Some(directory.join(format!("{name}-{into}.fetched"))))
}

/// What fetching a mailbox came to.
struct Fetched {
    /// In words.
    said: String,
    /// The first messages that stay there though they were wanted, and why.
    left: Vec<String>,
}

/// Fetches one mailbox.
async fn fetch(place: &Place, task: Task, message_size: Octets) -> Result<Fetched> {
    let Task { login, password, keep, target, state } = task;
    let sink = match target {
        Target::Files(files) => Sink::Files(files),
        Target::Lmtp(lmtp) => Sink::Lmtp(lmtp),
        Target::Account(account) => {
            return take_over(place, account, (login, password), keep).await;
        }
    };
    let known = state.as_ref().map(|path| Known::read(path)).transpose()?;
    let mut destination = Tracked::new(sink, known);
    let means = Means { message_size: message_size.0, ..wiring::means(&config_of(place)?)? };
    let (brought, ended) = means.collect(&login, &password, keep, &mut destination).await;
    destination.finish();
    let said = said(&brought);
    let is_begun = brought.messages > 0 || brought.removed > 0 || !brought.left.is_empty();
    match ended {
        Err(error) if is_begun => return Err(error).context(format!("after {said}")),
        ended => ended?,
    }
    Ok(Fetched { said, left: brought.left })
}

/// Returns the configuration that says where names are looked up and who is believed. Whoever fetches into
/// files of his own need not be able to read the server's, unless it is named.
fn config_of(place: &Place) -> Result<Config> {
    let is_readable = |path: PathBuf| std::fs::File::open(path).is_ok();
    let is_wanted = place.config.is_some() || wiring::config_path(place)?.is_some_and(is_readable);
    if is_wanted { wiring::config(place) } else { Ok(Source::defaults()?.config) }
}

fn said(brought: &Brought) -> String {
    let Brought { messages, removed, .. } = brought;
    let said = format!("{messages} messages fetched, {removed} removed from the server");
    brought.reasons().into_iter().fold(said, |said, left| format!("{said}, {left}"))
}

/// The server takes the mailbox over, if one runs; else this program does, on the store itself.
async fn take_over(
    place: &Place,
    account: Address,
    (login, password): (Login, Secret),
    keep: Keep,
) -> Result<Fetched> {
    let password = String::from_utf8(password.expose().to_vec());
    let password = password.context("the password is not UTF-8")?;
    let request = Request::TakeOver { address: account.to_string(), login, password, keep };
    let Response::TakenOver { messages, left } = operator::execute(place, request).await? else {
        bail!("the server answered something else");
    };
    Ok(Fetched { said: format!("{messages} messages are in the mailbox of {account}"), left })
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
