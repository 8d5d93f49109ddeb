//! The commands: one file each, whose doc comments are the command's help.

pub(crate) mod account;
pub(crate) mod alias;
pub(crate) mod backup;
pub(crate) mod check;
pub(crate) mod client;
pub(crate) mod collect;
pub(crate) mod config;
pub(crate) mod demo;
pub(crate) mod domain;
pub(crate) mod explain;
pub(crate) mod folder;
pub(crate) mod lockout;
pub(crate) mod looking;
pub(crate) mod mail;
pub(crate) mod queue;
pub(crate) mod serve;

use crate::{
    Place,
    fault::demand,
    operator,
    output::{self, say},
    runtime::block_on,
};
use anyhow::{Context, Result};
use posta_mail::{Address, Secret};
use posta_server::admin::Request;
use serde::Serialize;
use std::io::{self, BufRead, IsTerminal};

/// The longest password line that is read, in octets.
const PASSWORD_LINE: u64 = 4_096;

/// An address on the command line.
fn address(text: &str) -> Result<Address, String> {
    if text.split([',', ';', ' ']).filter(|part| part.contains('@')).count() > 1 {
        return Err("it holds several addresses: give the option once for each".to_owned());
    }
    text.parse().map_err(|error: posta_mail::AddressError| error.to_string())
}

/// Carries out an operator's request and prints the result.
fn carry_out(place: &Place, request: Request, said: &str) -> Result<()> {
    block_on(operator::execute(place, request))?;
    say!("{said}");
    Ok(())
}

/// Prints a list as JSON, or as `print` does for a person.
fn show<T: Serialize + ?Sized>(list: &T, json: bool, print: impl FnOnce(&T)) -> Result<()> {
    if json {
        say!("{}", output::json(list)?);
    } else {
        print(list);
    }
    Ok(())
}

/// Formats a number of octets for a person: `12.3 KiB`.
fn size(octets: u64) -> String {
    bytesize::ByteSize::b(octets).display().iec().to_string()
}

/// Formats a span of time for a person, as it is written on the command line: `1h 30m`.
fn span(seconds: u64) -> String {
    let parts = [
        (seconds / 86_400, "d"),
        (seconds / 3_600 % 24, "h"),
        (seconds / 60 % 60, "m"),
        (seconds % 60, "s"),
    ];
    let some = parts.iter().filter(|(count, _)| *count > 0);
    let some: Vec<_> = some.map(|(count, unit)| format!("{count}{unit}")).collect();
    if some.is_empty() { "0s".to_owned() } else { some.join(" ") }
}

/// Reads a password from standard input or the terminal. It is never an argument, which every user of the
/// machine could see in the list of processes.
fn read_password(from_stdin: bool, prompt: &str) -> Result<Secret> {
    if from_stdin {
        let mut line = String::new();
        let mut input = io::Read::take(io::stdin().lock(), PASSWORD_LINE);
        input.read_line(&mut line).context("standard input cannot be read")?;
        let password = line.strip_suffix('\n').unwrap_or(&line);
        return Ok(Secret::new(password.strip_suffix('\r').unwrap_or(password).as_bytes()));
    }
    demand!(
        io::stdin().is_terminal(),
        "password-needed",
        "a password is needed: run this on a terminal, or give it with --password-stdin"
    );
    let password = rpassword::prompt_password(prompt).context("the terminal cannot be read")?;
    Ok(Secret::new(password.as_bytes()))
}

/// Raises the limit on open files as far as the system lets us: every session needs one, and the
/// usual 1,024 are for interactive programs.
fn allow_many_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    // What cannot be raised stays; too many sessions are then refused one by one.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
}
