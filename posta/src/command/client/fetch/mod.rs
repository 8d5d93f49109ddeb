//! `posta fetch`.

mod accounts;
mod files;
mod lmtp;
mod local_text;
mod login_options;
mod tracked;

use crate::{
    Place,
    config::{Octets, Protocol},
    fault::{demand, fail},
    operator,
    output::counted,
    runtime::block_on,
    wiring,
};
use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use files::Files;
use lmtp::Lmtp;
pub(crate) use local_text::{FromQuoting, LfLines};
pub(crate) use login_options::LoginOptions;
use posta_mail::{Address, Secret};
use posta_server::{
    admin::{Request, Response},
    collect::{CollectContext, VisitOutcome, derived},
};
use posta_store::{Keep, Login, LoginTls};
use serde::Deserialize;
use std::{
    fs,
    io::{self, IsTerminal},
    net::IpAddr,
    path::PathBuf,
};
use tracked::{Known, Sink, Tracked};

/// Collect mail from a POP3 server into files, an LMTP server or an account.
///
/// Messages stay on the server unless --delete or --keep-days is given, and are never deleted there before
/// they are safe here. Messages fetched earlier are skipped, except with standard output as the target. The
/// configuration's name servers and certificate authorities are used.
#[derive(Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    place: Place,
    /// The server, as host:port; default: this machine's.
    #[arg(long, value_name = "HOST:PORT")]
    server: Option<String>,
    /// The user name.
    #[arg(long, value_name = "NAME", required_unless_present = "accounts")]
    user: Option<String>,
    /// Read the password from the first line of standard input.
    #[arg(long)]
    password_stdin: bool,
    /// How to use TLS.
    #[arg(long, value_enum, default_value_t = Tls::Auto)]
    tls: Tls,
    /// Accept any certificate, such as a self-signed one.
    #[arg(long)]
    any_certificate: bool,
    #[command(flatten)]
    into: Into,
    /// The recipient, with --lmtp.
    #[arg(long, value_name = "ADDRESS", requires = "lmtp")]
    to: Option<Address>,
    /// Leave the messages on the server (the default).
    #[arg(long, conflicts_with_all = ["keep_days", "delete"])]
    keep: bool,
    /// Delete each message on the server once it is safe here.
    #[arg(long, conflicts_with = "keep_days")]
    delete: bool,
    /// Delete each message on the server this many days after it was fetched.
    #[arg(long, value_name = "N")]
    keep_days: Option<u32>,
    /// Fetch only new messages (the default, unless with --delete).
    #[arg(long, conflicts_with = "all")]
    only_new: bool,
    /// Fetch all messages, including those fetched before.
    #[arg(long, conflicts_with = "keep_days")]
    all: bool,
    /// The record of fetched messages; default: a file in ~/.local/state/posta.
    #[arg(long, value_name = "FILE")]
    state: Option<PathBuf>,
    /// The largest message to fetch; larger ones stay on the server.
    #[arg(long, value_name = "SIZE", default_value = "50MiB")]
    message_size: Octets,
}

/// The target of the messages.
#[derive(Args, Clone)]
#[group(required = true, multiple = false)]
struct Into {
    /// A Maildir, which is created if it does not exist.
    #[arg(long, value_name = "DIR")]
    maildir: Option<PathBuf>,
    /// An mbox file, to which the messages are appended.
    #[arg(long, value_name = "FILE")]
    mbox: Option<PathBuf>,
    /// Standard output, as an mbox.
    #[arg(long)]
    stdout: bool,
    /// An LMTP server, as host:port or unix:/path; needs --to.
    #[arg(long, value_name = "WHERE", requires = "to")]
    lmtp: Option<String>,
    /// An account on this machine; unique-ids are kept.
    #[arg(long, value_name = "ADDRESS")]
    account: Option<Address>,
    /// A TOML file with an `[[account]]` for each mailbox to fetch.
    #[arg(long, value_name = "FILE")]
    accounts: Option<PathBuf>,
}

/// How to use TLS.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Tls {
    /// TLS on port 995, none for localhost or a loopback address, else STLS.
    Auto,
    /// No TLS.
    None,
    /// STLS; the session ends if the server does not offer it.
    Stls,
    /// TLS from the start.
    Implicit,
}

/// A mailbox to fetch.
struct Task {
    login: Login,
    password: Secret,
    keep: Keep,
    target: Target,
    /// The file that records which messages were fetched, if only new ones are wanted.
    state: Option<PathBuf>,
}

enum Target {
    Files(Files),
    Lmtp(Lmtp),
    Account(Address),
}

impl Tls {
    /// Returns how to use TLS with this server.
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

/// Returns whether `host:port` names this machine itself. DNS is not asked: one forged answer would have the
/// password sent in plaintext.
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
            let about = format!("{} at {}: ", task.login.user, task.login.server);
            let whose = if several { &about[..] } else { "" };
            match fetch(&arguments.place, task, arguments.message_size, whose).await {
                Ok(fetched) => {
                    eprintln!("{whose}{}", fetched.said);
                    name_left(&fetched.left, whose);
                    stayed |= !fetched.left.is_empty();
                }
                // The other mailboxes are still fetched.
                Err(error) if several => {
                    crate::output::complain(format_args!(
                        "{whose}{}",
                        crate::output::chain(&error)
                    ));
                    failed += 1;
                }
                Err(error) => return Err(error),
            }
        }
        demand!(failed == 0, "fetch-incomplete", "{failed} of the accounts could not be fetched");
        demand!(
            !stayed,
            "fetch-incomplete",
            "not all messages could be fetched: they are on the server"
        );
        Ok(())
    })
}

fn single(arguments: &Arguments) -> Result<Task> {
    let Some(user) = arguments.user.clone() else { fail!("user-needed", "--user is needed") };
    if user.bytes().any(|octet| octet.is_ascii_control()) {
        fail!("invalid-name", "a name has no control characters");
    }
    let server = match &arguments.server {
        Some(server) => server.clone(),
        None => {
            let config = super::config_of(&arguments.place)?;
            let own = super::own_server(&config, &[Protocol::Pop3], arguments.tls == Tls::Implicit);
            own.unwrap_or_else(|| "127.0.0.1:2110".to_owned())
        }
    };
    let prompt = format!("Password for {user}: ");
    let password = crate::command::read_password(arguments.password_stdin, &prompt)?;
    let login = Login {
        tls: arguments.tls.with(&server),
        server,
        user,
        any_certificate: arguments.any_certificate,
    };
    let Into { maildir, mbox, lmtp, account, .. } = arguments.into.clone();
    let target = match (maildir, mbox, lmtp, account) {
        (Some(directory), ..) => Target::Files(Files::maildir(&directory)?),
        (_, Some(file), ..) => Target::Files(Files::mbox(&file)?),
        (_, _, Some(server), _) => {
            let Some(to) = arguments.to.clone() else {
                fail!("recipient-needed", "--lmtp needs --to")
            };
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

/// Returns the default file that records which messages were fetched: one for each server, user and target.
/// An account of ours needs none, since its mailbox remembers.
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

/// The result of fetching a mailbox.
struct Fetched {
    /// A sentence for the user.
    said: String,
    /// The first messages that could not be fetched, and why.
    left: Vec<String>,
}

/// Names the messages of a mailbox that could not be fetched.
fn name_left(left: &[String], whose: &str) {
    for left in left {
        crate::output::complain(format_args!("{whose}{left}"));
    }
}

/// Fetches one mailbox. What is said of it begins with `whose`.
async fn fetch(place: &Place, task: Task, message_size: Octets, whose: &str) -> Result<Fetched> {
    let Task { login, password, keep, target, state } = task;
    let prints = matches!(&target, Target::Files(files) if files.is_stdout());
    let sink = match target {
        Target::Files(files) => Sink::Files(files),
        Target::Lmtp(lmtp) => Sink::Lmtp(lmtp),
        Target::Account(account) => {
            return take_over(place, account, (login, password), keep).await;
        }
    };
    let known = state.as_ref().map(|path| Known::read(path)).transpose()?;
    // Messages on the terminal and a progress bar would overwrite each other.
    let shows_progress = !(prints && io::stdout().is_terminal());
    let mut destination = Tracked::new(sink, known, shows_progress);
    let means = CollectContext {
        message_size: message_size.0,
        ..wiring::means(&super::config_of(place)?)?
    };
    let (brought, ended) = means.collect(&login, &password, keep, &mut destination).await;
    destination.finish();
    let said = said(&brought);
    let is_begun = brought.messages > 0 || brought.removed > 0 || !brought.left.is_empty();
    match ended {
        Err(error) if is_begun => {
            name_left(&brought.left, whose);
            return Err(error).context(format!("after {said}"));
        }
        ended => ended?,
    }
    Ok(Fetched { said, left: brought.left })
}

fn said(brought: &VisitOutcome) -> String {
    let VisitOutcome { messages, removed, .. } = brought;
    let messages = counted(*messages, "message");
    let said = format!("{messages} fetched, {removed} removed from the server");
    brought.reasons().into_iter().fold(said, |said, left| format!("{said}, {left}"))
}

/// Fetches into an account: by the server, if it runs, else by this program on the store itself.
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
        bail!(operator::UNEXPECTED);
    };
    Ok(Fetched {
        said: format!("{} fetched into the mailbox of {account}", counted(messages, "message")),
        left,
    })
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
        // The second name has the address 127.0.0.1 in DNS.
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
