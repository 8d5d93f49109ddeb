//! The options that name a mailbox on a POP3 server.

use super::Tls;
use crate::command::read_password;
use anyhow::{Context, Result};
use clap::Args;
use posta_store::Login;

/// A mailbox on a POP3 server, and how to log in there.
#[derive(Args)]
pub(crate) struct LoginOptions {
    /// The server that has the mailbox.
    #[arg(long, value_name = "HOST:PORT")]
    server: String,
    /// The user name on that server.
    #[arg(long, value_name = "NAME")]
    user: String,
    /// Read the password from the first line of standard input.
    #[arg(long)]
    password_stdin: bool,
    /// How to use TLS.
    #[arg(long, value_enum, default_value_t = Tls::Auto)]
    tls: Tls,
    /// Accept any certificate, such as a self-signed one.
    #[arg(long)]
    any_certificate: bool,
}

impl LoginOptions {
    /// Reads the password from standard input or asks for it. Returns it with the login.
    ///
    /// # Errors
    /// When the password cannot be read, or is not UTF-8.
    pub(crate) fn read(self) -> Result<(Login, String)> {
        let Self { server, user, password_stdin, tls, any_certificate } = self;
        let password = read_password(password_stdin, &format!("Password of {user} at {server}: "))?;
        let password = String::from_utf8(password.expose().to_vec());
        let password = password.context("the password is not UTF-8")?;
        Ok((Login { tls: tls.with(&server), server, user, any_certificate }, password))
    }
}
