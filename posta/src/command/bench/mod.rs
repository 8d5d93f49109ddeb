//! `posta bench`: a load generator for any server, not only ours.
//!
//! It must not be what is measured: one thread, messages built before the clock starts, and no
//! work on a reply but to check its code.

mod pop3;
mod report;
mod smtp;
mod wire;

use anyhow::{Context, Result};
use clap::Subcommand;
use report::{Measured, Session};
use std::{cell::RefCell, rc::Rc, time::Duration};
use tokio::task::{LocalSet, spawn_local};

/// Measure a server: messages a second, latency, errors.
#[derive(Subcommand)]
pub(crate) enum Command {
    Smtp(smtp::Arguments),
    Pop3(pop3::Arguments),
}

pub(crate) fn run(command: Command) -> Result<()> {
    super::allow_many_files();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("the runtime did not start")?;
    match command {
        Command::Smtp(arguments) => runtime.block_on(smtp::run(arguments)),
        Command::Pop3(arguments) => runtime.block_on(pop3::run(arguments)),
    }
}

/// Runs so many sessions at once, numbered from 0, and gathers what they measure. A session records
/// what it did before an error, too.
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

/// Where a session puts how long each of its operations took.
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
