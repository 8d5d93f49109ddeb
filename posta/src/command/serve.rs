//! `posta serve`.

use crate::{Place, config::Config, output::Log, wiring};
use anyhow::{Context, Result};
use clap::Args;
use posta_server::Server;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

/// Run the server until SIGTERM or SIGINT; then finish what is in hand and stop.
#[derive(Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    place: Place,
}

/// `umask` is what the program was started with.
pub(crate) fn run(arguments: &Arguments, umask: u32) -> Result<()> {
    let config = wiring::config(&arguments.place)?;
    start_log();
    super::allow_many_files();
    if arguments.place.config.is_none() {
        say_defaults(&config);
    }
    let store = wiring::open_store(&config.data, config.key_file.as_deref())?;
    let settings = wiring::settings(&config)?;
    super::block_on(async move {
        // Before the sockets are bound, so that a signal right after `ready` is not missed.
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let world = wiring::world(store, &config, umask)?;
        let server = Server::start(settings, world)
            .await
            .context("change `address` under [[listen]], or stop what uses it")?;
        eprintln!("{}", ready(&server));
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        eprintln!("stopping");
        server.stop().await;
        Ok(())
    })
}

/// What a program that starts the server waits for.
fn ready(server: &Server) -> String {
    let mut line = "ready".to_owned();
    for (kind, endpoint) in server.listening() {
        line.push_str(&format!(" {}={endpoint}", wiring::protocol(*kind).name()));
    }
    line
}

fn say_defaults(config: &Config) {
    eprintln!("No configuration was given (--config FILE), so these are used:");
    eprintln!("  hostname  {}", config.hostname);
    eprintln!("  data      {}", config.data.display());
    for listen in &config.listen {
        let (protocol, tls) = (listen.protocol.name(), listen.tls.name());
        eprintln!("  listen    {protocol} on {}, tls {tls}", listen.address);
    }
}

/// Warnings and errors, on standard error.
fn start_log() {
    let filter = EnvFilter::new("warn");
    // Colours are controls as well; a log is mostly read in a file.
    let log = tracing_subscriber::fmt().with_ansi(false).with_writer(|| Log);
    log.with_env_filter(filter).init();
}
