//! `posta bench smtp`.

use super::{
    Measurements, run_sessions,
    wire::{Wire, clock},
};
use crate::config::Octets;
use anyhow::{Context, Result};
use clap::Args;
use posta_mail::Address;
use posta_net::tls::client::ClientTls;
use std::{
    fs,
    path::{Path, PathBuf},
    rc::Rc,
    time::Duration,
};
use tokio::time::sleep;

/// Send messages to an SMTP server, or hold sessions open.
///
/// The latency is the time from the end of the data to its reply. The field X-Posta-Bench of each message has
/// the number of its session and its own.
#[derive(Args, Clone)]
pub(crate) struct Arguments {
    /// The server.
    #[arg(value_name = "HOST:PORT")]
    server: String,
    /// The sender's address.
    #[arg(long, value_name = "ADDRESS", default_value = "bench@bench.test")]
    from: Address,
    /// The recipient's address.
    #[arg(long, value_name = "ADDRESS")]
    to: Address,
    /// Spread the messages over this many domains below the recipient's: d0000., d0001. and so on.
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u16).range(..=10_000))]
    domains: u16,
    /// The total number of messages.
    #[arg(long, default_value_t = 10_000)]
    messages: usize,
    /// The number of concurrent sessions.
    #[arg(long, default_value_t = 10)]
    sessions: usize,
    /// The size of a message, in octets or such as 4KiB.
    #[arg(long, default_value = "4KiB")]
    size: Octets,
    /// Send the message in this file, such as a signed one, below the field X-Posta-Bench.
    #[arg(long, value_name = "FILE", conflicts_with = "size")]
    content: Option<PathBuf>,
    /// Messages on each connection; 0 for all messages of a session.
    #[arg(long, value_name = "N", default_value_t = 0)]
    per_connection: usize,
    /// Send a message's envelope together with the content of the one before (RFC 2920).
    #[arg(long)]
    pipelining: bool,
    /// Send nothing: open the sessions, say EHLO, and hold them for this many seconds.
    #[arg(long, value_name = "SECONDS")]
    idle: Option<u64>,
    /// Use TLS from the start, with whatever certificate the server shows.
    #[arg(long)]
    tls: bool,
    /// The longest wait for the server.
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    patience: u64,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// The octets that a session sends, built once.
struct Script {
    envelope: Vec<u8>,
    /// A message with its end, in which the numbers of the session and the message are filled in, eight digits each.
    message: Vec<u8>,
    /// The offset of the domain's number, the number of domains, this session's number and the number of sessions.
    domain: Option<Domains>,
}

#[derive(Clone, Copy)]
struct Domains {
    at: usize,
    count: usize,
    session: usize,
    sessions: usize,
}

const HELLO: &[u8] = b"EHLO bench.test\r\n";
const DIGITS: usize = 8;

pub(crate) async fn run(arguments: Arguments) -> Result<()> {
    let unit = if arguments.idle.is_some() { "idle sessions" } else { "messages" };
    let (sessions, json) = (arguments.sessions.max(1), arguments.json);
    let (each, more) = (arguments.messages / sessions, arguments.messages % sessions);
    let tls = if arguments.tls { Some(ClientTls::new(&[])?) } else { None };
    let content = match &arguments.content {
        Some(file) => read_content(file)?,
        None => generated(&arguments),
    };
    let all = Rc::new((arguments, tls, content));
    let measured = run_sessions(sessions, |number, latencies| {
        let messages = each + usize::from(number < more);
        let all = all.clone();
        async move {
            let (arguments, tls, content) = &*all;
            if let Some(seconds) = arguments.idle {
                return idle(arguments, tls.as_ref(), seconds, &latencies).await;
            }
            let script = Script::new(arguments, content, number);
            send(arguments, tls.as_ref(), script, messages, &latencies).await
        }
    });
    measured.await?.print(unit, json)
}

async fn idle(
    arguments: &Arguments,
    tls: Option<&ClientTls>,
    seconds: u64,
    latencies: &Measurements,
) -> Result<()> {
    let started = clock();
    let mut wire = hello(arguments, tls).await?;
    wire.rest();
    latencies.push(started.elapsed());
    sleep(Duration::from_secs(seconds)).await;
    wire.write(b"QUIT\r\n").await?;
    wire.reply(b"221").await
}

async fn send(
    arguments: &Arguments,
    tls: Option<&ClientTls>,
    mut script: Script,
    messages: usize,
    latencies: &Measurements,
) -> Result<()> {
    latencies.reserve(messages);
    let mut sent = 0;
    while sent < messages {
        let left = messages - sent;
        let here =
            if arguments.per_connection == 0 { left } else { left.min(arguments.per_connection) };
        let mut wire = hello(arguments, tls).await?;
        if arguments.pipelining {
            pipelined(&mut wire, &mut script, sent..sent + here, latencies).await?;
        } else {
            lock_step(&mut wire, &mut script, sent..sent + here, latencies).await?;
        }
        wire.write(b"QUIT\r\n").await?;
        wire.reply(b"221").await?;
        sent += here;
    }
    Ok(())
}

async fn hello(arguments: &Arguments, tls: Option<&ClientTls>) -> Result<Wire> {
    let patience = Duration::from_secs(arguments.patience);
    let mut wire = Wire::connect(&arguments.server, tls, patience).await?;
    wire.reply(b"220").await?;
    wire.write(HELLO).await?;
    wire.reply(b"250").await?;
    Ok(wire)
}

async fn lock_step(
    wire: &mut Wire,
    script: &mut Script,
    messages: std::ops::Range<usize>,
    latencies: &Measurements,
) -> Result<()> {
    for message in messages {
        script.number(MESSAGE, message);
        script.address(message);
        for (line, code) in script.envelope.split_inclusive(|&octet| octet == b'\n').zip(CODES) {
            wire.write(line).await?;
            wire.reply(code).await?;
        }
        let started = clock();
        wire.write(&script.message).await?;
        wire.reply(b"250").await?;
        latencies.push(started.elapsed());
    }
    Ok(())
}

/// Reads the replies to MAIL, RCPT and DATA.
const CODES: [&[u8; 3]; 3] = [b"250", b"250", b"354"];

async fn pipelined(
    wire: &mut Wire,
    script: &mut Script,
    messages: std::ops::Range<usize>,
    latencies: &Measurements,
) -> Result<()> {
    let last = messages.end;
    script.address(messages.start);
    wire.write(&script.envelope).await?;
    let mut both = Vec::with_capacity(script.message.len() + script.envelope.len());
    for message in messages {
        for code in CODES {
            wire.reply(code).await?;
        }
        script.number(MESSAGE, message);
        both.clear();
        both.extend_from_slice(&script.message);
        if message + 1 < last {
            script.address(message + 1);
            both.extend_from_slice(&script.envelope);
        }
        let started = clock();
        wire.write(&both).await?;
        wire.reply(b"250").await?;
        latencies.push(started.elapsed());
    }
    Ok(())
}

/// The first field of each message, and the offsets of its numbers.
const NUMBERS: &[u8] = b"X-Posta-Bench: 00000000-00000000\r\n";
const SESSION: usize = b"X-Posta-Bench: ".len();
const MESSAGE: usize = SESSION + DIGITS + b"-".len();

/// Returns a message of the wanted size, without its first field.
fn generated(arguments: &Arguments) -> Vec<u8> {
    let Arguments { from, to, size, .. } = arguments;
    let mut content = format!(
        "From: {from}\r\nTo: {to}\r\nSubject: bench\r\n\
         Date: Thu, 1 Jan 1970 00:00:00 +0000\r\nMessage-ID: <bench@bench.test>\r\n\r\n"
    )
    .into_bytes();
    let size = usize::try_from(size.0).unwrap_or(usize::MAX).saturating_sub(NUMBERS.len());
    while content.len() < size {
        let line = b"The quick brown fox jumps over the lazy dog, again and again.\r\n";
        let room = (size - content.len()).max(2);
        content.extend_from_slice(&line[line.len().saturating_sub(room)..]);
    }
    content
}

/// Reads a message from a file, whose lines may end in LF, and stuffs its dots.
fn read_content(file: &Path) -> Result<Vec<u8>> {
    let text = fs::read(file).with_context(|| format!("{} cannot be read", file.display()))?;
    let mut content = Vec::with_capacity(text.len());
    for line in text.split_inclusive(|&octet| octet == b'\n') {
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        content.extend_from_slice(if line.starts_with(b".") { &b"."[..] } else { b"" });
        content.extend_from_slice(line);
        content.extend_from_slice(b"\r\n");
    }
    Ok(content)
}

impl Script {
    /// Returns the octets of the session with this number.
    fn new(arguments: &Arguments, content: &[u8], session: usize) -> Self {
        let Arguments { from, to, .. } = arguments;
        let (user, domain) = (to.local_part(), to.domain());
        let sub = if arguments.domains > 0 { "d0000." } else { "" };
        let recipient = format!("MAIL FROM:<{from}>\r\nRCPT TO:<{user}@{sub}");
        let domains = (arguments.domains > 0).then(|| Domains {
            at: recipient.len() - 5,
            count: arguments.domains.into(),
            session,
            sessions: arguments.sessions.max(1),
        });
        let envelope = format!("{recipient}{domain}>\r\nDATA\r\n").into_bytes();
        let message = [NUMBERS, content, b".\r\n"].concat();
        let mut script = Self { envelope, message, domain: domains };
        script.number(SESSION, session);
        script
    }

    /// Fills in a number at an offset of the message.
    fn number(&mut self, at: usize, value: usize) {
        write_digits(&mut self.message[at..at + DIGITS], value);
    }

    /// Fills in the domain of a message's recipient.
    fn address(&mut self, message: usize) {
        if let Some(Domains { at, count, session, sessions }) = self.domain {
            let number = (message * sessions + session) % count;
            write_digits(&mut self.envelope[at..at + 4], number);
        }
    }
}

fn write_digits(digits: &mut [u8], mut value: usize) {
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (value % 10) as u8;
        value /= 10;
    }
}
