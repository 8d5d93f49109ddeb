//! `posta setup`.

mod answers;
mod file;
mod password;
mod ports;
mod service;

use crate::{Place, mail_setup, operator, output::say, runtime::block_on, wiring};
use answers::Answers;
use anyhow::{Context, Result, bail};
use clap::Args;
use posta_mail::{Domain, Secret};
use posta_net::transport::Endpoint;
use posta_server::admin::{
    Request, Response,
    checkup::publish::{MailService, MailSetup, ServiceKind, zone_file},
};
use rustix::process::geteuid;
use std::path::{Path, PathBuf};

/// Set up a mail server for a domain, or complete one.
///
/// That is the configuration, the domain with its keys, the first account and the service; the records to publish are
/// printed. What is there already stays as it is. It asks for what the options do not say. As root it sets up the
/// machine's server; anybody else gets one to try out, in the current directory and for this machine alone.
///
/// Example: posta setup example.org --account ana@example.org
#[derive(Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    place: Place,
    /// The domain.
    domain: Domain,
    /// The server's own name, which DNS has to know; default: mail.DOMAIN.
    #[arg(long, value_name = "NAME")]
    hostname: Option<Domain>,
    /// The first account, as ana@DOMAIN or just ana; it also receives mail for postmaster. Default: postmaster@DOMAIN.
    #[arg(long, value_name = "ADDRESS")]
    account: Option<String>,
    /// Read the account's password from the first line of standard input; default: one is asked for, or made.
    #[arg(long)]
    password_stdin: bool,
    /// Get certificates from Let's Encrypt, whose terms of service this accepts.
    #[arg(long, conflicts_with = "no_acme")]
    acme: bool,
    /// Get no certificates; a self-signed one is used.
    #[arg(long)]
    no_acme: bool,
    /// Install the service for systemd and start it.
    #[arg(long, conflicts_with = "no_service")]
    service: bool,
    /// Install no service.
    #[arg(long)]
    no_service: bool,
    /// Set up a server to try out, for this machine alone, even as root.
    #[arg(long = "try", conflicts_with_all = ["acme", "service"])]
    try_out: bool,
    /// Ask nothing: take the defaults.
    #[arg(long)]
    yes: bool,
    /// Check afterwards what the world sees, as `posta check` does.
    #[arg(long)]
    check: bool,
}

/// What is set up, and where.
struct Target {
    /// Whether this is the machine's server, run by a user of its own on the usual ports.
    is_system: bool,
    /// The configuration file.
    config: PathBuf,
    /// The data directory, for a new configuration.
    data: PathBuf,
    /// Whether the data directory is the server's user's, and not that of whoever runs this.
    has_own_user: bool,
}

impl Target {
    fn new(arguments: &Arguments) -> Result<Self> {
        let is_system = geteuid().is_root() && !arguments.try_out;
        let config = arguments.place.config.clone().unwrap_or_else(|| match is_system {
            true => crate::config::find::SYSTEM.into(),
            false => crate::config::find::HERE.into(),
        });
        let data = arguments.place.data.clone().unwrap_or_else(|| match is_system {
            true => service::DATA.into(),
            false => "posta-data".into(),
        });
        let absolute = |path: &Path| std::path::absolute(path).context("the current directory");
        Ok(Self {
            is_system,
            config: absolute(&config)?,
            data: absolute(&data)?,
            has_own_user: is_system && arguments.place.data.is_none(),
        })
    }

    /// Returns the place that other commands would be given.
    fn place(&self) -> Place {
        Place { config: Some(self.config.clone()), data: None }
    }

    /// Returns what a command needs to find this configuration by itself; empty if nothing.
    fn option(&self) -> String {
        match self.config == Path::new(crate::config::find::SYSTEM) {
            true => String::new(),
            false => format!(" --config {}", self.config.display()),
        }
    }
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let target = Target::new(arguments)?;
    let domain = &arguments.domain;
    say!("A mail server for {domain}:");
    let is_configured = target.config.exists() && !file::is_packaged(&target.config);
    let answers = answers::ask(arguments, &target, is_configured)?;
    if target.has_own_user {
        service::ensure_user()?;
        service::ensure_data()?;
        service::ensure_spool()?;
    }
    if is_configured {
        told("there", "configuration", &target.config.display().to_string());
        tell_differences(arguments, &target)?;
    } else {
        configure(&target, &answers)?;
    }
    let place = target.place();
    ensure_domain(&place, domain)?;
    let made = ensure_account(&place, &answers)?;
    if answers.service {
        service::install(&target.config, !is_configured)?;
    }
    let setup = block_on(mail_setup::of(&place, domain.as_str()))?.setup;
    say!("\nPublish these records in DNS:\n\n{}", zone_file::text(&setup).trim_end());
    next(&target, &answers, &setup, made)?;
    if answers.check || answers::wants_check(arguments)? {
        check(&target, domain)?;
    }
    Ok(())
}

/// Prints a line about a part of the set-up: `made`, `there`, `note`.
fn told(what: &str, part: &str, words: &str) {
    say!("  {what:<6} {part:<14} {words}");
}

fn configure(target: &Target, answers: &Answers) -> Result<()> {
    let listening = ports::choose(target.is_system, answers.acme, &own_ports(target));
    for remark in &listening.remarks {
        told("note", "listeners", remark);
    }
    let text = file::text(target, answers, &listening);
    file::write(&target.config, &text)?;
    told("made", "configuration", &target.config.display().to_string());
    // What was written is read as any other.
    wiring::source(&target.place()).map(|_| ())
}

/// Returns the ports of the server that runs with the package's configuration, which setup replaces.
fn own_ports(target: &Target) -> Vec<u16> {
    if !target.is_system || !target.config.exists() || !service::is_running() {
        return Vec::new();
    }
    let listen = wiring::config(&target.place()).map(|config| config.listen).unwrap_or_default();
    let ports = listen.into_iter().filter_map(|listen| match listen.address {
        Endpoint::Tcp(address) => Some(address.port()),
        Endpoint::Unix(_) => None,
    });
    ports.collect()
}

/// Tells where the options differ from a configuration that is there already, which is not changed.
fn tell_differences(arguments: &Arguments, target: &Target) -> Result<()> {
    let config = wiring::config(&target.place())?;
    let hostname = config.hostname();
    if let Some(wanted) = arguments.hostname.as_ref().filter(|wanted| **wanted != hostname) {
        let words = format!("it says hostname = \"{hostname}\", not {wanted}, and is not changed");
        told("note", "", &words);
    }
    if let Some(wanted) = &arguments.place.data
        && target.data != std::path::absolute(&config.data).context("the current directory")?
    {
        let (said, wanted) = (config.data.display(), wanted.display());
        let words = format!("it says data = \"{said}\", not {wanted}, and is not changed");
        told("note", "", &words);
    }
    let has_acme = config.acme.enabled;
    if (arguments.acme && !has_acme) || (arguments.no_acme && has_acme) {
        let words = format!("it says [acme] enabled = {has_acme}, and is not changed");
        told("note", "", &words);
    }
    Ok(())
}

fn ensure_domain(place: &Place, domain: &Domain) -> Result<()> {
    // Without a store, there is none either.
    let local = match block_on(operator::execute(place, Request::DomainList)) {
        Ok(Response::Domains(lines)) => lines,
        Ok(_) => bail!(operator::UNEXPECTED),
        Err(_) if wiring::expect_store(&wiring::config(place)?.data).is_err() => Vec::new(),
        Err(error) => return Err(error),
    };
    if local.iter().any(|line| line.domain == domain.as_str()) {
        told("there", "domain", domain.as_str());
        return Ok(());
    }
    let request = Request::DomainAdd { domain: domain.to_string(), postmaster: None };
    block_on(operator::execute(place, request))?;
    told("made", "domain", &format!("{domain}, with keys that sign its mail"));
    Ok(())
}

/// Adds the first account if it does not exist. Returns the password that was made for it, if one was.
fn ensure_account(place: &Place, answers: &Answers) -> Result<Option<Secret>> {
    let address = &answers.account;
    let lines = block_on(operator::accounts(place))?;
    if lines.iter().any(|line| line.address == address.folded().as_str()) {
        told("there", "account", address.as_str());
        return Ok(None);
    }
    let (password, made) = password::of(answers)?;
    let request = Request::AccountAdd {
        address: address.to_string(),
        password: password.clone(),
        apop: false,
    };
    block_on(operator::execute(place, request))?;
    told("made", "account", address.as_str());
    Ok(made.then(|| Secret::new(password.as_bytes())))
}

/// Prints what is left to do.
fn next(target: &Target, answers: &Answers, setup: &MailSetup, made: Option<Secret>) -> Result<()> {
    let (option, account) = (target.option(), &answers.account);
    say!("\nWhat is left to do:");
    if !answers.service {
        say!("  start the server:                 posta serve{option}");
    }
    say!("  publish the records above, then:  posta check{option} {}", answers.domain);
    // Listeners on this machine's own addresses are no services for others.
    let server = match &setup.services[..] {
        [] => "this machine, with the ports in the configuration",
        _ => setup.hostname.as_str(),
    };
    say!("  set up a mail program:            user name {account}, server {server}");
    for service in &setup.services {
        say!("{:36}{}", "", words(*service));
    }
    if !target.is_system {
        say!(
            "  this server is for this machine alone: run setup as root for one that the world reaches, with a user of its \
             own, the usual ports and certificates"
        );
    }
    if let Some(password) = made {
        let password = String::from_utf8_lossy(password.expose()).into_owned();
        say!("\nThe password of {account}, which is shown only now:  {password}");
    }
    Ok(())
}

/// Returns what a person types into a mail program.
fn words(MailService { kind, port }: MailService) -> String {
    let (what, protection) = match kind {
        ServiceKind::Submissions => ("to send, SMTP", "SSL/TLS"),
        ServiceKind::Submission => ("to send, SMTP", "STARTTLS"),
        ServiceKind::Pop3s => ("to receive, POP3", "SSL/TLS"),
        ServiceKind::Pop3 => ("to receive, POP3", "STARTTLS"),
    };
    format!("{what}: port {port} with {protection}")
}

fn check(target: &Target, domain: &Domain) -> Result<()> {
    let program = std::env::current_exe().context("the program's own path")?;
    let mut command = std::process::Command::new(program);
    command.arg("check").arg(domain.as_str()).arg("--config").arg(&target.config);
    // Its findings are no failure of the set-up.
    command.status().context("posta check")?;
    Ok(())
}
