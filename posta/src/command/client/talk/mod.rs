//! `posta talk`: a dialogue with any SMTP or POP3 server, line by line, with each line explained.
//!
//! `protocol` says what the lines of a protocol mean (`smtp`, `pop3`), without input or output. `dialogue` passes lines
//! between the server and the client, whose lines come from `input`: from a person, a pipe, or a `script`. `screen`
//! shows them.

mod dialogue;
mod input;
mod login;
mod pop3;
mod protocol;
pub(crate) mod screen;
mod script;
mod smtp;

use crate::{
    client,
    fault::{demand, fail},
    output::say,
    runtime::block_on,
};
use anyhow::{Context, Result};
use clap::{Args, ValueEnum};
use dialogue::{Dialogue, TlsSettings};
use input::{Input, Terminal};
use posta_net::tls::client::{ClientTls, Verify};
use protocol::Protocol;
use script::{Comparison, Script};
use std::{
    fs::File,
    io::{self, IsTerminal, Read},
    path::{Path, PathBuf},
};

/// Talk with an SMTP or POP3 server: type commands, and read what each line means.
///
/// At a terminal, Tab completes commands, and `/login` logs in with the strongest mechanism that the server offers.
/// STARTTLS and STLS negotiate TLS. Lines from a pipe are sent one after the other, each after the reply to the one
/// before. Without a server, the dialogue of webmail.home is shown.
#[derive(Args)]
pub(crate) struct Arguments {
    /// The protocol.
    #[arg(value_enum)]
    protocol: Protocols,
    /// The server, as host:port; the default port is 25 or 110.
    #[arg(value_name = "HOST:PORT")]
    server: Option<String>,
    /// Begin with TLS (the default at ports 465 and 995).
    #[arg(long)]
    tls: bool,
    /// Accept any certificate, such as a self-signed one. An attacker on the way can then read along.
    #[arg(long)]
    any_certificate: bool,
    /// Send the lines of this file that begin with `C:`, and compare the codes of the replies with the lines that begin
    /// with `S:`.
    #[arg(long, value_name = "FILE", requires = "server")]
    script: Option<PathBuf>,
    /// With --script, compare the words of the replies, too.
    #[arg(long, requires = "script")]
    exact: bool,
}

/// A protocol that a person can speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Protocols {
    /// Sending mail (RFC 5321).
    Smtp,
    /// Collecting mail (RFC 1939).
    Pop3,
}

impl Protocols {
    /// Returns the client's side of a new session.
    fn protocol(self) -> Box<dyn Protocol> {
        match self {
            Self::Smtp => Box::<smtp::Smtp>::default(),
            Self::Pop3 => Box::<pop3::Pop3>::default(),
        }
    }

    /// Returns webmail.home's dialogue.
    fn example(self) -> Script {
        let text = match self {
            Self::Smtp => include_str!("examples/smtp.txt"),
            Self::Pop3 => include_str!("examples/pop3.txt"),
        };
        // A test reads both.
        Script::parse(text).unwrap_or_else(|_| Script::empty())
    }

    const fn port(self) -> u16 {
        match self {
            Self::Smtp => 25,
            Self::Pop3 => 110,
        }
    }
}

pub(crate) fn run(arguments: Arguments) -> Result<()> {
    let which = arguments.protocol;
    let is_person = arguments.script.is_none() && io::stdin().is_terminal();
    if is_person || arguments.server.is_none() {
        say!("The dialogue of webmail.home, of January 2004:\n");
        which.example().show(&mut *which.protocol());
        say!("");
    }
    let Some(server) = &arguments.server else { return Ok(()) };
    let server = with_port(server, which.port());
    let name = server.rsplit_once(':').map_or(server.as_str(), |(host, _)| host).to_owned();
    let verify = if arguments.any_certificate { Verify::Anyone } else { Verify::Authorities };
    let tls = TlsSettings { client: ClientTls::new(&[])?, name, verify };
    let input = match &arguments.script {
        Some(file) => Input::Script(read_script(file)?),
        None if is_person => Input::Terminal(Terminal::open(which.protocol().commands())?),
        None => Input::Pipe,
    };
    let is_implicit = arguments.tls || server.ends_with(":465") || server.ends_with(":995");
    let comparison = Comparison { is_exact: arguments.exact, ..Comparison::default() };
    let comparison = block_on(async move {
        let stream = client::dial(&server).await?;
        let mut dialogue = Dialogue::new(which, stream, tls, input, comparison);
        dialogue.run(is_implicit).await?;
        Ok(dialogue.comparison)
    })?;
    if arguments.script.is_none() {
        return Ok(());
    }
    for difference in &comparison.differences {
        say!("differs: {difference}");
    }
    let (different, all) = (comparison.differences.len(), comparison.replies);
    demand!(
        different == 0,
        "replies-differ",
        "{different} of {all} replies differ from the script"
    );
    say!("All {all} replies are as in the script.");
    Ok(())
}

/// Returns `host:port`, with the default port if the text has none.
fn with_port(server: &str, port: u16) -> String {
    let is_bare = match server.strip_prefix('[') {
        Some(literal) => literal.ends_with(']'),
        None => !server.contains(':'),
    };
    if is_bare { format!("{server}:{port}") } else { server.to_owned() }
}

fn read_script(file: &Path) -> Result<Script> {
    let named = || format!("the script {} cannot be read", file.display());
    let mut text = String::new();
    File::open(file)
        .and_then(|file| file.take(script::FILE).read_to_string(&mut text))
        .with_context(named)?;
    if text.len() as u64 == script::FILE {
        fail!("file-too-large", "the script {} is larger than 1 MiB", file.display());
    }
    Script::parse(&text).with_context(named)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn examples_are_scripts() {
        for text in [include_str!("examples/smtp.txt"), include_str!("examples/pop3.txt")] {
            Script::parse(text).unwrap();
        }
    }

    #[test]
    fn a_server_has_a_default_port() {
        for (server, expected) in [
            ("mail.example.net", "mail.example.net:25"),
            ("mail.example.net:587", "mail.example.net:587"),
            ("[::1]", "[::1]:25"),
            ("[::1]:2525", "[::1]:2525"),
            ("unix:/run/lmtp", "unix:/run/lmtp"),
        ] {
            assert_eq!(with_port(server, 25), expected);
        }
    }
}
