//! `posta bench`: a load generator for any server, not only ours.
//!
//! The generator must not be the bottleneck: it has one thread, builds messages before the clock starts, and
//! only checks the code of each reply.

mod pop3;
mod report;
mod smtp;
mod wire;

use anyhow::{Context, Result};
use clap::Subcommand;
use report::{Measured, Session};
use std::{cell::RefCell, rc::Rc, time::Duration};
use tokio::task::{LocalSet, spawn_local};

/// Measure a server: messages per second, latency, errors.
#[derive(Subcommand)]
pub(crate) enum Command {
    Smtp(smtp::Arguments),
    Pop3(pop3::Arguments),
}

pub(crate) fn run(command: Command) -> Result<()> {
    crate::command::allow_many_files();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("the runtime did not start")?;
    match command {
        Command::Smtp(arguments) => runtime.block_on(smtp::run(arguments)),
        Command::Pop3(arguments) => runtime.block_on(pop3::run(arguments)),
    }
}

/// Runs concurrent sessions, numbered from 0, and gathers their measurements, including those of a session
/// that ends in an error.
async fn run_sessions<F>(
    sessions: usize,
    session: impl Fn(usize, Measurements) -> F,
) -> Result<Measured>
where
    F: Future<Output = Result<()>> + 'static,
{
    let started = wire::clock();
    let mut measured = Measured::default();
    let all = async {
        let tasks: Vec<_> = (0..sessions)
            .map(|number| {
                let measurements = Measurements::default();
                let running = session(number, measurements.clone());
                spawn_local(async move {
                    let error = running.await.err().map(|error| format!("{error:#}"));
                    Session { latencies: measurements.take(), error }
                })
            })
            .collect();
        for task in tasks {
            measured.add(task.await?);
        }
        anyhow::Ok(())
    };
    LocalSet::new().run_until(all).await?;
    measured.elapsed = started.elapsed();
    Ok(measured)
}

/// Receives the duration of each operation of a session.
#[derive(Clone, Default)]
struct Measurements(Rc<RefCell<Vec<Duration>>>);

impl Measurements {
    fn push(&self, latency: Duration) {
        self.0.borrow_mut().push(latency);
    }

    fn reserve(&self, count: usize) {
        self.0.borrow_mut().reserve(count);
    }

    fn take(&self) -> Vec<Duration> {
        self.0.take()
    }
}
