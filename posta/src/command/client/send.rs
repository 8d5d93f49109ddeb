//! `posta send`.

use crate::{
    Place,
    client::{self, Security},
    config::{Config, Protocol},
    fault::{demand, fail},
    output::{counted, say},
    runtime::block_on,
    wiring,
};
use anyhow::{Context, Result};
use bytes::Bytes;
use clap::{Args, ValueEnum};
use mail_builder::MessageBuilder;
use posta_mail::{Address, ReversePath, TlsUse};
use posta_net::tls::client::Verify;
use posta_smtp::{client::Options, command::HelloVerb};
use std::{
    fs,
    io::{self, IsTerminal, Read},
    path::{Path, PathBuf},
};

/// Send a message from standard input, or one made from --subject, --body and --attach.
///
/// The configuration's name servers and certificate authorities are used.
#[derive(Args)]
pub(crate) struct Arguments {
    /// The configuration file; default: $POSTA_CONFIG, /etc/posta/posta.toml, ./posta.toml.
    #[arg(long, value_name = "FILE", env = "POSTA_CONFIG", hide_env = true)]
    config: Option<PathBuf>,
    /// The server, as host:port; default: this machine's.
    #[arg(long, value_name = "HOST:PORT")]
    server: Option<String>,
    /// The sender's address.
    #[arg(long, value_name = "ADDRESS", value_parser = crate::command::address)]
    from: Address,
    /// A recipient's address. May be repeated.
    #[arg(long, value_name = "ADDRESS", required = true, value_parser = crate::command::address)]
    to: Vec<Address>,
    /// The subject of the message to make.
    #[arg(long)]
    subject: Option<String>,
    /// The text of the message to make.
    #[arg(long)]
    body: Option<String>,
    /// A file to attach. May be repeated.
    #[arg(long, value_name = "FILE")]
    attach: Vec<PathBuf>,
    /// How the connection is protected.
    #[arg(long, value_enum, default_value_t = Tls::None)]
    tls: Tls,
    /// Accept any certificate, such as a self-signed one. An attacker on the way can then read along.
    #[arg(long)]
    any_certificate: bool,
    /// The user name to log in with.
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// Read the password from standard input instead of asking for it. Needs --subject or --body.
    #[arg(long, requires = "user")]
    password_stdin: bool,
}

/// How a connection is protected.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Tls {
    /// No TLS.
    None,
    /// STARTTLS.
    Starttls,
    /// TLS from the start.
    Implicit,
}

pub(crate) fn run(arguments: Arguments) -> Result<()> {
    demand!(
        !arguments.password_stdin || arguments.makes_message(),
        "input-taken",
        "standard input holds the password: make the message with --subject, --body or --attach"
    );
    let config = super::config_of(&Place { config: arguments.config.clone(), ..Place::default() })?;
    let server = arguments.server(&config);
    let security = arguments.security(&server, &config)?;
    let content = Bytes::from(content(&arguments)?);
    let Arguments { from, to, tls, .. } = arguments;
    let name = gethostname::gethostname().to_string_lossy().into_owned();
    let tls = if tls == Tls::Starttls { TlsUse::Required } else { TlsUse::Never };
    let login = security.login.is_some();
    let options = Options { login, ..Options::new(name, HelloVerb::Ehlo, tls) };
    let envelope = client::envelope(ReversePath::Address(from), to.clone(), &content);
    let outcome = block_on(async move {
        let stream = client::dial_through(&*wiring::means(&config)?.net, &server).await?;
        client::submit(stream, options, security, envelope, content).await
    })?;
    let mut refused = 0;
    for (address, decision) in to.iter().zip(&outcome.recipients) {
        say!("{address}: {decision}");
        refused += usize::from(!decision.code().is_positive());
    }
    demand!(
        refused == 0,
        "recipients-refused",
        "{refused} of {} refused",
        counted(to.len(), "recipient")
    );
    Ok(())
}

impl Arguments {
    fn makes_message(&self) -> bool {
        self.subject.is_some() || self.body.is_some() || !self.attach.is_empty()
    }

    /// Returns the server: the one that is named, or this machine's.
    fn server(&self, config: &Config) -> String {
        let protocols = [Protocol::Smtp, Protocol::Submission];
        let own = || super::own_server(config, &protocols, self.tls == Tls::Implicit);
        let named = self.server.clone().or_else(own);
        named.unwrap_or_else(|| "127.0.0.1:2525".to_owned())
    }

    fn security(&self, server: &str, config: &Config) -> Result<Security> {
        let host = server.rsplit_once(':').map_or(server, |(host, _)| host);
        let verify = if self.any_certificate { Verify::Anyone } else { Verify::Authorities };
        let tls = match self.tls {
            Tls::None => None,
            Tls::Starttls | Tls::Implicit => {
                let client = wiring::client_tls(&config.tls.authorities)?;
                Some((client, host.to_owned(), verify))
            }
        };
        let login = match &self.user {
            Some(user) => {
                let password = crate::command::read_password(self.password_stdin, "Password: ")?;
                Some((user.clone(), password))
            }
            None => None,
        };
        Ok(Security { tls, is_implicit: self.tls == Tls::Implicit, login })
    }
}

fn content(arguments: &Arguments) -> Result<Vec<u8>> {
    if arguments.makes_message() {
        return compose(arguments);
    }
    let mut input = io::stdin();
    if input.is_terminal() {
        eprintln!("Type the message, header fields first; end with Ctrl-D.");
    }
    let mut text = Vec::new();
    input.read_to_end(&mut text).context("standard input cannot be read")?;
    Ok(with_crlf(&text))
}

fn compose(arguments: &Arguments) -> Result<Vec<u8>> {
    let to: Vec<_> = arguments.to.iter().map(|address| address.as_str()).collect();
    let mut message = MessageBuilder::new()
        .from(arguments.from.as_str())
        .to(to)
        .subject(arguments.subject.clone().unwrap_or_default())
        .text_body(arguments.body.clone().unwrap_or_default());
    for path in &arguments.attach {
        let octets =
            fs::read(path).with_context(|| format!("{} cannot be read", path.display()))?;
        let Some(name) = path.file_name() else {
            fail!("not-a-file", "{} is no file", path.display())
        };
        message = message.attachment(media_type(path), name.to_string_lossy().into_owned(), octets);
    }
    message.write_to_vec().context("the message cannot be made")
}

/// Returns a file's media type by its extension, for the few that mail programs display.
fn media_type(path: &Path) -> &'static str {
    let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
    match ending.to_ascii_lowercase().as_str() {
        "txt" | "md" | "log" => "text/plain",
        "html" | "htm" => "text/html",
        "csv" => "text/csv",
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "gif" => "image/gif",
        "pdf" => "application/pdf",
        "zip" => "application/zip",
        _ => "application/octet-stream",
    }
}

/// Converts a text with local line ends to CRLF.
fn with_crlf(text: &[u8]) -> Vec<u8> {
    let mut content = Vec::with_capacity(text.len() + text.len() / 32);
    let mut last = 0;
    for &octet in text {
        if octet == b'\n' && last != b'\r' {
            content.push(b'\r');
        }
        content.push(octet);
        last = octet;
    }
    content
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_ends_become_crlf_once() {
        assert_eq!(with_crlf(b"a\nb\r\n\nc"), b"a\r\nb\r\n\r\nc");
    }
}
