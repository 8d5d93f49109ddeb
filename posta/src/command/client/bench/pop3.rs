//! `posta bench pop3`.

use super::{
    Measurements, run_sessions,
    wire::{Wire, clock},
};
use anyhow::{Context, Result};
use clap::{Args, ValueEnum};
use posta_net::tls::client::ClientTls;
use std::{ops::Range, rc::Rc, time::Duration};
use tokio::time::sleep;

/// Collect from a POP3 server, or hold sessions open.
#[derive(Args, Clone)]
pub(crate) struct Arguments {
    /// The server.
    #[arg(value_name = "HOST:PORT")]
    server: String,
    /// The user name; `%` stands for the number of the session, from 1.
    #[arg(long, value_name = "NAME")]
    user: String,
    /// Read the password from the first line of standard input.
    #[arg(long)]
    password_stdin: bool,
    /// What each session does.
    #[arg(long, value_enum, default_value_t = Mode::Login)]
    mode: Mode,
    /// The number of concurrent sessions.
    #[arg(long, default_value_t = 1)]
    sessions: usize,
    /// How often each session repeats it: logins, listings, or retrievals of all messages.
    #[arg(long, default_value_t = 100)]
    rounds: usize,
    /// Commands in flight, for retr and dele.
    #[arg(long, default_value_t = 1)]
    window: usize,
    /// How long idle sessions are held.
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    hold: u64,
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

/// What is measured.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Mode {
    /// Connect, log in, STAT, QUIT.
    Login,
    /// LIST, on one session.
    List,
    /// RETR of every message, on one session.
    Retr,
    /// DELE of every message and QUIT: one measurement for each session.
    Dele,
    /// Log in and hold the session.
    Idle,
}

pub(crate) async fn run(arguments: Arguments) -> Result<()> {
    let password = crate::command::read_password(arguments.password_stdin, "Password: ")?;
    let unit = match arguments.mode {
        Mode::Login => "logins",
        Mode::List => "listings",
        Mode::Retr => "messages",
        Mode::Dele => "updates",
        Mode::Idle => "idle sessions",
    };
    let (sessions, json) = (arguments.sessions, arguments.json);
    let tls = if arguments.tls { Some(ClientTls::new(&[])?) } else { None };
    let all = Rc::new((arguments, password, tls));
    let measured = run_sessions(sessions, |number, latencies| {
        let all = all.clone();
        async move {
            let (arguments, password, tls) = &*all;
            let name = arguments.user.replace('%', &(number + 1).to_string());
            let login = [b"USER ", name.as_bytes(), b"\r\n"].concat();
            let pass = [b"PASS ", password.expose(), b"\r\n"].concat();
            session_of(arguments, tls.as_ref(), [&login, &pass], &latencies).await
        }
    });
    measured.await?.print(unit, json)
}

async fn session_of(
    arguments: &Arguments,
    tls: Option<&ClientTls>,
    login: [&[u8]; 2],
    latencies: &Measurements,
) -> Result<()> {
    let window = arguments.window.max(1);
    if arguments.mode == Mode::Login {
        for _ in 0..arguments.rounds {
            let started = clock();
            let mut wire = open(arguments, tls, login).await?;
            count(&mut wire).await?;
            quit(&mut wire).await?;
            latencies.push(started.elapsed());
        }
        return Ok(());
    }
    let started = clock();
    let mut wire = open(arguments, tls, login).await?;
    match arguments.mode {
        Mode::Login => {}
        Mode::List => {
            for _ in 0..arguments.rounds {
                let started = clock();
                wire.write(b"LIST\r\n").await?;
                wire.response().await?;
                latencies.push(started.elapsed());
            }
        }
        Mode::Retr => {
            let messages = count(&mut wire).await?;
            for _ in 0..arguments.rounds {
                retrieve(&mut wire, messages, window, latencies).await?;
            }
        }
        Mode::Dele => {
            let messages = count(&mut wire).await?;
            let started = clock();
            for group in groups(messages, window) {
                wire.write(&commands("DELE", group.clone())).await?;
                for _ in group {
                    wire.status().await?;
                }
            }
            quit(&mut wire).await?;
            latencies.push(started.elapsed());
            return Ok(());
        }
        Mode::Idle => {
            latencies.push(started.elapsed());
            wire.rest();
            sleep(Duration::from_secs(arguments.hold)).await;
        }
    }
    quit(&mut wire).await
}

async fn open(arguments: &Arguments, tls: Option<&ClientTls>, login: [&[u8]; 2]) -> Result<Wire> {
    let patience = Duration::from_secs(arguments.patience);
    let mut wire = Wire::connect(&arguments.server, tls, patience).await?;
    wire.status().await?;
    for line in login {
        wire.write(line).await?;
        wire.status().await?;
    }
    Ok(wire)
}

/// Sends STAT and returns the number of messages.
async fn count(wire: &mut Wire) -> Result<usize> {
    wire.write(b"STAT\r\n").await?;
    let words = String::from_utf8_lossy(wire.status().await?).into_owned();
    let number = words.trim().split(' ').next().and_then(|word| word.parse().ok());
    number.context("STAT brought no number")
}

async fn quit(wire: &mut Wire) -> Result<()> {
    wire.write(b"QUIT\r\n").await?;
    wire.status().await.map(|_| ())
}

async fn retrieve(
    wire: &mut Wire,
    messages: usize,
    window: usize,
    latencies: &Measurements,
) -> Result<()> {
    for group in groups(messages, window) {
        let started = clock();
        wire.write(&commands("RETR", group.clone())).await?;
        for _ in group {
            wire.response().await?;
            latencies.push(started.elapsed());
        }
    }
    Ok(())
}

/// Returns message numbers in groups of a size.
fn groups(messages: usize, window: usize) -> impl Iterator<Item = Range<usize>> {
    (1..=messages).step_by(window).map(move |from| from..(from + window).min(messages + 1))
}

fn commands(verb: &str, numbers: Range<usize>) -> Vec<u8> {
    numbers.map(|number| format!("{verb} {number}\r\n")).collect::<String>().into_bytes()
}
