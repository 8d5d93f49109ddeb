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
