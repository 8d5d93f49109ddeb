//! `posta top`.
//!
//! The screen is drawn by hand, in one write for each frame: ratatui and crossterm would add twenty-five crates to the
//! build for a page of text that is drawn once a second.

mod frame;
mod samples;
mod screen;

use crate::{Place, fault::demand, operator, output::say, runtime::block_on};
use anyhow::{Result, bail};
use clap::Args;
use frame::{Frame, Size};
use posta_server::admin::{LookRequest, Looked, Request, Response, looking::ServerFigures};
use samples::Samples;
use screen::{Key, Screen};
use std::{
    io::{self, IsTerminal},
    time::Duration,
};
use tokio::{
    signal::unix::{SignalKind, signal},
    time::{Instant, MissedTickBehavior, interval, sleep, sleep_until},
};

/// The time from one look at the server to the next.
const TICK: Duration = Duration::from_secs(1);

/// The least time from one frame to the next, also while the window changes its size.
const FRAME: Duration = Duration::from_millis(500);

/// Watch the server at work: rates, sessions, the queue, slow destinations, refusals.
///
/// The screen is drawn once a second. `q` quits.
#[derive(Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    place: Place,
    /// Print one frame, with the rates of one second, and end.
    #[arg(long)]
    once: bool,
}

pub(crate) fn run(arguments: Arguments) -> Result<()> {
    block_on(async move {
        match arguments.once {
            true => once(&arguments.place).await,
            false => watch(&arguments.place).await,
        }
    })
}

async fn figures(place: &Place) -> Result<ServerFigures> {
    let request = Request::Look { request: LookRequest::Figures };
    match operator::ask_running(place, request).await? {
        Response::Looked(Looked::Figures(Some(figures))) => Ok(*figures),
        _ => bail!(operator::UNEXPECTED),
    }
}

async fn once(place: &Place) -> Result<()> {
    let mut samples = Samples::default();
    samples.add(figures(place).await?);
    sleep(TICK).await;
    samples.add(figures(place).await?);
    // As high as it needs to be: nothing scrolls away.
    let size = Size { columns: screen::size().map_or(80, |size| size.columns), rows: 48 };
    let Some(frame) = Frame::new(&samples, None) else { return Ok(()) };
    for line in frame.lines(size) {
        say!("{}", line.text.trim_end());
    }
    Ok(())
}

async fn watch(place: &Place) -> Result<()> {
    demand!(
        io::stdin().is_terminal() && io::stdout().is_terminal(),
        "terminal-needed",
        "`posta top` needs a terminal; `posta top --once` prints one frame anywhere"
    );
    let mut samples = Samples::default();
    samples.add(figures(place).await?);
    let mut resized = signal(SignalKind::window_change())?;
    let mut interrupted = signal(SignalKind::interrupt())?;
    let mut terminated = signal(SignalKind::terminate())?;
    let mut screen = Screen::open()?;
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut problem = None;
    loop {
        if let Some(frame) = Frame::new(&samples, problem.as_deref()) {
            screen.draw(&frame.lines(screen::size().unwrap_or_default()))?;
        }
        let drawn = Instant::now();
        tokio::select! {
            _ = ticks.tick() => match figures(place).await {
                Ok(figures) => {
                    samples.add(figures);
                    problem = None;
                }
                Err(error) => problem = Some(error.to_string()),
            },
            _ = resized.recv() => {}
            key = screen.key() => if key == Key::Quit { return Ok(()) },
            _ = interrupted.recv() => return Ok(()),
            _ = terminated.recv() => return Ok(()),
        }
        sleep_until(drawn + FRAME).await;
    }
}
