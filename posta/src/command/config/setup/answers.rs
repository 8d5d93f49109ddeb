//! What setup is told: by options, else by answers at the terminal, else by defaults.

use super::{Arguments, Target, service};
use crate::fault::{demand, fail};
use crate::output::say;
use anyhow::{Context, Result};
use posta_mail::{Address, Domain};
use std::io::{self, BufRead, IsTerminal, Write};

/// The longest answer that is read, in octets.
const ANSWER: u64 = 1_024;

/// The answers.
pub(super) struct Answers {
    /// The domain.
    pub(super) domain: Domain,
    /// The server's own name.
    pub(super) hostname: Domain,
    /// The first account.
    pub(super) account: Address,
    /// Where the account's password comes from.
    pub(super) password: PasswordFrom,
    /// Whether certificates are obtained.
    pub(super) acme: bool,
    /// Whether the service is installed.
    pub(super) service: bool,
    /// Whether the world is looked at in the end.
    pub(super) check: bool,
}

/// Where a password comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PasswordFrom {
    /// The first line of standard input.
    Stdin,
    /// The terminal; an empty one is made.
    Terminal,
    /// It is made.
    Made,
}

/// Asks for what the options do not say. Of a configuration that is there already, nothing is asked.
pub(super) fn ask(arguments: &Arguments, target: &Target, is_configured: bool) -> Result<Answers> {
    let asks = !arguments.yes;
    let is_told = arguments.account.is_some() || is_configured;
    demand!(
        !asks || io::stdin().is_terminal() || (is_told && arguments.password_stdin),
        "terminal-needed",
        "setup asks a few questions: run it on a terminal, or give --yes to take the defaults for what the options do not \
         say"
    );
    let asks = asks && io::stdin().is_terminal();
    let domain = arguments.domain.clone();
    demand!(
        !domain.is_literal(),
        "invalid-domain",
        "{domain} is an address and no domain, such as example.org"
    );
    let hostname = match &arguments.hostname {
        Some(hostname) => hostname.clone(),
        None => {
            let usual: Domain = format!("mail.{domain}").parse().context("--hostname")?;
            match asks && !is_configured {
                true => line("The server's own name in DNS", usual.as_str())?.parse()?,
                false => usual,
            }
        }
    };
    let account = match &arguments.account {
        Some(account) => account.clone(),
        None if asks => line("The first account", &format!("postmaster@{domain}"))?,
        None => format!("postmaster@{domain}"),
    };
    let account = account_of(&account, &domain)?;
    let password = match (arguments.password_stdin, asks) {
        (true, _) => PasswordFrom::Stdin,
        (false, true) => PasswordFrom::Terminal,
        (false, false) => PasswordFrom::Made,
    };
    let acme = target.is_system
        && !is_configured
        && !arguments.no_acme
        && (arguments.acme
            || !asks
            || is_yes("Get certificates from Let's Encrypt (this accepts its terms of service)?")?);
    let can_install = target.is_system && (arguments.service || service::has_systemd());
    let service = can_install
        && !arguments.no_service
        && (arguments.service || !asks || is_yes("Install the service for systemd and start it?")?);
    let check = arguments.check;
    Ok(Answers { domain, hostname, account, password, acme, service, check })
}

/// Returns whether to look at the world at the end: a person is asked.
pub(super) fn wants_check(arguments: &Arguments) -> Result<bool> {
    let asks = !arguments.yes && io::stdin().is_terminal();
    Ok(asks
        && is_no("Check now what the world sees of it? Say yes once the records are published.")?)
}

/// Returns the address of an account; a name alone is one of the domain.
fn account_of(text: &str, domain: &Domain) -> Result<Address> {
    let whole = if text.contains('@') { text.to_owned() } else { format!("{text}@{domain}") };
    match whole.parse() {
        Ok(address) => Ok(address),
        Err(error) => fail!("invalid-address", "{text:?} is no address for an account: {error}"),
    }
}

/// Asks a question, and returns the answer, or the usual one if it is empty.
fn line(question: &str, usual: &str) -> Result<String> {
    let answer = read(&format!("{question} [{usual}]: "))?;
    Ok(if answer.is_empty() { usual.to_owned() } else { answer })
}

/// Asks a question whose usual answer is yes.
fn is_yes(question: &str) -> Result<bool> {
    Ok(!read(&format!("{question} [Y/n] "))?.to_ascii_lowercase().starts_with('n'))
}

/// Asks a question whose usual answer is no; returns whether it was yes.
fn is_no(question: &str) -> Result<bool> {
    Ok(read(&format!("{question} [y/N] "))?.to_ascii_lowercase().starts_with('y'))
}

fn read(prompt: &str) -> Result<String> {
    let mut out = io::stdout().lock();
    write!(out, "{prompt}").and_then(|()| out.flush()).context("the terminal")?;
    let mut answer = String::new();
    let mut input = io::Read::take(io::stdin().lock(), ANSWER);
    let read = input.read_line(&mut answer).context("the terminal cannot be read")?;
    if read == 0 {
        say!("");
        fail!("answers-ended", "the answers ended: nothing more was set up");
    }
    Ok(answer.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_alone_is_an_account_of_the_domain() {
        let domain = "x.test".parse().unwrap();
        for (text, expected) in [
            ("ana", Some("ana@x.test")),
            ("ana@y.test", Some("ana@y.test")),
            ("a b", None),
            ("", None),
        ] {
            let address = account_of(text, &domain).ok().map(|address| address.to_string());
            assert_eq!(address.as_deref(), expected, "{text}");
        }
    }
}
