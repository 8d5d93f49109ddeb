//! `posta passwd`.

use super::weak;
use crate::{
    Place,
    fault::{demand, fail},
    output::complain,
};
use anyhow::{Context, Result};
use clap::Args;
use posta_server::admin::{PersonalRequest, Request};
use std::io::{self, IsTerminal, Write as _};

/// Change your own password: the old one is asked for, then the new one.
///
/// An app password does not count as the old one. Only root and the server's user may talk to the server, so people
/// with a login on this machine need a rule of sudo, which docs/manual.md gives; it is safe, since the old password is
/// checked, and wrong ones are slowed down and logged. An operator sets a password without the old one by
/// `posta account password`.
#[derive(Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    place: Place,
    /// The account's address, or the name that you log in with; default: it is asked for.
    address: Option<String>,
    /// Read the old and the new password from the first two lines of standard input.
    #[arg(long, requires = "address")]
    password_stdin: bool,
}

pub(crate) fn run(arguments: Arguments) -> Result<()> {
    let Arguments { place, address, password_stdin } = arguments;
    let address = match address {
        Some(address) => address,
        None => ask_address()?,
    };
    let old = text(crate::command::read_password(password_stdin, "Old password: ")?)?;
    let new = text(crate::command::read_password(password_stdin, "New password: ")?)?;
    if !password_stdin {
        let again = text(crate::command::read_password(false, "The same again: ")?)?;
        demand!(
            new == again,
            "passwords-differ",
            "the two new passwords differ: the password is as it was"
        );
    }
    demand!(
        new != old,
        "password-unchanged",
        "the new password is the old one: the password is as it was"
    );
    let weakness = weak::weakness(&new, &address);
    let said = format!("{address} has a new password; sessions that the old one opened have ended");
    let request = PersonalRequest::Password { old, password: new };
    crate::command::carry_out(&place, Request::Personal { address, request }, &said)?;
    if let Some(why) = weakness {
        complain(format_args!("warning: the new password is easily guessed: {why}"));
    }
    Ok(())
}

fn ask_address() -> Result<String> {
    demand!(
        io::stdin().is_terminal(),
        "account-needed",
        "name the account: there is no terminal to ask on"
    );
    // The prompt is no result, so it does not go to standard output.
    let mut terminal = io::stderr().lock();
    let _ = write!(terminal, "Your address: ");
    let mut address = String::new();
    io::stdin().read_line(&mut address).context("the terminal cannot be read")?;
    let address = address.trim().to_owned();
    demand!(
        !address.is_empty(),
        "account-needed",
        "no address was given: the password is as it was"
    );
    Ok(address)
}

fn text(password: posta_mail::Secret) -> Result<String> {
    match str::from_utf8(password.expose()) {
        Ok(text) => Ok(text.to_owned()),
        Err(_) => fail!("password-not-utf8", "the password is not UTF-8"),
    }
}
