//! `posta account app-password`.

use crate::{
    Place, operator,
    output::{self, say},
    runtime::block_on,
};
use anyhow::{Result, bail};
use clap::{Args, Subcommand};
use posta_mail::Timestamp;
use posta_server::admin::{AppPasswordRequest, AppPasswords, PersonalRequest, Request, Response};

/// Manage the passwords of an account's programs.
///
/// An app password opens the account for one program or device, over POP3 and for sending, and is withdrawn alone. The
/// server makes it. It does not change the account's own password, and is none for APOP.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Make an app password, and show it once. It may be typed with or without its hyphens.
    Add(Named),
    /// List an account's app passwords, with the day on which each was last used.
    List {
        #[command(flatten)]
        place: Place,
        /// The account's address.
        address: String,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Withdraw an app password, and end the sessions that it opened.
    Remove(Named),
}

#[derive(Args)]
pub(crate) struct Named {
    #[command(flatten)]
    place: Place,
    /// The account's address.
    address: String,
    /// The name of the program or device: phone, "the printer upstairs".
    name: String,
}

pub(super) fn run(command: Command) -> Result<()> {
    match command {
        Command::Add(Named { place, address, name }) => {
            let request = AppPasswordRequest::Add { name: name.clone() };
            let AppPasswords::Made(password) = ask(&place, &address, request)? else {
                bail!(operator::UNEXPECTED);
            };
            say!("{name} can log in as {address} with this password, which is not shown again:");
            say!("{password}");
        }
        Command::Remove(Named { place, address, name }) => {
            ask(&place, &address, AppPasswordRequest::Remove { name: name.clone() })?;
            say!("{name} cannot log in as {address} any more");
        }
        Command::List { place, address, json } => {
            let AppPasswords::List(list) = ask(&place, &address, AppPasswordRequest::List)? else {
                bail!(operator::UNEXPECTED);
            };
            crate::command::show(&list[..], json, |list| {
                if list.is_empty() {
                    say!(
                        "{address} has no app passwords: `posta account app-password add {address} NAME` makes \
                         one."
                    );
                }
                for password in list {
                    let used = password.used.map_or_else(|| "never".to_owned(), day);
                    let made = day(password.made);
                    say!("{}  made {made}, last used {used}", password.name);
                }
            })?;
        }
    }
    Ok(())
}

fn day(time: Timestamp) -> String {
    let text = time.to_string();
    text.split('T').next().unwrap_or_default().to_owned()
}

fn ask(place: &Place, address: &str, request: AppPasswordRequest) -> Result<AppPasswords> {
    let request = PersonalRequest::AppPasswords(request);
    let request = Request::Personal { address: address.to_owned(), request };
    match block_on(operator::execute(place, request))? {
        Response::AppPasswords(done) => Ok(done),
        _ => bail!(operator::UNEXPECTED),
    }
}

/// Warns an operator that app passwords outlive a change of the account's own password.
pub(super) fn tell_of_others(place: &Place, address: &str) -> Result<()> {
    let AppPasswords::List(list) = ask(place, address, AppPasswordRequest::List)? else {
        bail!(operator::UNEXPECTED);
    };
    if !list.is_empty() {
        let names: Vec<_> = list.iter().map(|password| password.name.as_str()).collect();
        output::complain(format_args!(
            "note: the app passwords of {address} still work: {}; `posta account app-password remove` withdraws \
             one",
            names.join(", ")
        ));
    }
    Ok(())
}
