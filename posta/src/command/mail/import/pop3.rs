//! `posta import pop3`: a mailbox on a POP3 server.

use crate::{
    Place,
    command::client::fetch::LoginOptions,
    fault::demand,
    operator,
    output::{self, counted, say},
    runtime::block_on,
};
use anyhow::{Result, bail};
use clap::Args;
use posta_server::admin::{Request, Response};
use posta_store::Keep;

#[derive(Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    place: Place,
    /// The account's address.
    address: String,
    #[command(flatten)]
    login: LoginOptions,
}

pub(super) fn run(arguments: Arguments) -> Result<()> {
    let Arguments { place, address, login } = arguments;
    let (login, password) = login.read()?;
    let request = Request::TakeOver { address: address.clone(), login, password, keep: Keep::All };
    let Response::TakenOver { messages, left } = block_on(operator::execute(&place, request))?
    else {
        bail!(operator::UNEXPECTED);
    };
    for name in &left {
        output::complain(format_args!("skipped {name}"));
    }
    say!("{} came into the mailbox of {address}", counted(messages, "message"));
    demand!(
        left.is_empty(),
        "import-incomplete",
        "some messages stay on the server, which are listed above"
    );
    Ok(())
}
