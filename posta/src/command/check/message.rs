//! `posta check message`.

use super::mark;
use crate::{
    Place,
    config::Config,
    output::{self, marked, say},
    runtime::block_on,
    wiring,
};
use anyhow::{Context, Result};
use clap::Args;
use posta_net::clock::Clock;
use posta_server::{
    admin::checkup::{
        finding::Severity,
        message::{Arrival, Examination, MessageReader, OriginCheck, ReadMessage, examine},
    },
    receive::origin_dns::OriginDns,
};
use std::{
    fs::File,
    io::{self, Read},
    net::IpAddr,
    path::{Path, PathBuf},
};

/// The number of octets of the file that are read at once.
const PIECE: usize = 64 * 1024;

/// Show why a message passes or fails the checks of its origin: iprev, SPF, DKIM, ARC and DMARC, with DNS as it is now.
///
/// Facts about its origin that no option gives are read from its Received, Return-Path and Authentication-Results
/// fields. The exit status is 0 if it passes, 1 if it is doubtful, 2 if the author's domain wants it refused, and 3 if
/// the check cannot be made.
///
/// Example: posta mail show ana@example.test 17 | posta check message -
#[derive(Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    place: Place,
    /// The file with the message; - is standard input.
    file: PathBuf,
    /// The address of the client that brought the message.
    #[arg(long, value_name = "ADDRESS")]
    ip: Option<IpAddr>,
    /// The name in the client's greeting (HELO, EHLO).
    #[arg(long, value_name = "NAME")]
    helo: Option<String>,
    /// The sender in MAIL FROM; <> for none.
    #[arg(long, value_name = "ADDRESS", value_parser = sender)]
    from: Option<String>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// A reverse-path on the command line.
fn sender(text: &str) -> Result<String, String> {
    let path = text.strip_prefix('<').and_then(|rest| rest.strip_suffix('>')).unwrap_or(text);
    match path {
        "" => Ok(String::new()),
        path => crate::command::address(path).map(String::from),
    }
}

/// Checks a message, and prints the results.
pub(super) fn run(arguments: Arguments) -> Result<Severity> {
    let config = wiring::config(&arguments.place)?;
    let message = read(&arguments.file)
        .with_context(|| format!("{} cannot be read", arguments.file.display()))?;
    let given = Arrival { address: arguments.ip, helo: arguments.helo, sender: arguments.from };
    let arrival = given.or(message.arrival());
    let examined = block_on(examined(&config, &message, arrival))?;
    if arguments.json {
        say!("{}", output::json(&examined)?);
    } else {
        print(&examined, message.has_bare_lf);
    }
    Ok(examined.severity)
}

/// Checks a message that came so.
///
/// # Errors
/// Fails when the configuration names no DNS that can be used.
pub(crate) async fn examined(
    config: &Config,
    message: &ReadMessage,
    arrival: Arrival,
) -> Result<Examination> {
    let dns = OriginDns(wiring::outside(config)?.resolver);
    let (hostname, now) = (config.hostname(), wiring::clock().now());
    Ok(examine(message, arrival, &dns, hostname.as_str(), now).await)
}

fn read(path: &Path) -> io::Result<ReadMessage> {
    let mut file: Box<dyn Read> = match path.as_os_str() == "-" {
        true => Box::new(io::stdin().lock()),
        false => Box::new(File::open(path)?),
    };
    let mut reader = MessageReader::default();
    let mut piece = vec![0; PIECE];
    loop {
        match file.read(&mut piece)? {
            0 => return Ok(reader.finish()),
            length => reader.write(&piece[..length]),
        }
    }
}

fn print(examined: &Examination, has_bare_lf: bool) {
    let Examination { arrival, form, checks, severity, says } = examined;
    let known = |text: Option<&str>| text.unwrap_or("unknown").to_owned();
    say!(
        "client {}, greeting {}, sender {}",
        arrival.address.map_or_else(|| known(None), |address| address.to_string()),
        known(arrival.helo.as_deref()),
        known(arrival.sender.as_deref().map(|sender| if sender.is_empty() {
            "<>"
        } else {
            sender
        })),
    );
    if arrival.address.is_none() {
        say!("Without the client's address (--ip), iprev and SPF are not checked.");
    }
    if has_bare_lf {
        say!("Lines end with LF, and count as if they ended with CRLF.");
    }
    for fault in form {
        let (style, word) = mark(Severity::Error);
        marked(style, word, format_args!(" {fault}"));
    }
    for OriginCheck { method, result, severity, about, why } in checks {
        let about: Vec<_> = about.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let (style, word) = mark(*severity);
        marked(style, word, format_args!(" {method}={result} {}", about.join(" ")));
        for why in why {
            say!("{:<8}{why}", "");
        }
    }
    let (style, word) = mark(*severity);
    marked(style, word, format_args!(" The message {says}."));
}
