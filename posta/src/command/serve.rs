//! `posta serve`.

use crate::{
    Place,
    config::{Config, Level},
    log::Log,
    wiring,
};
use anyhow::{Context, Result};
use clap::Args;
use posta_server::Server;
use tokio::signal::unix::{SignalKind, signal};

/// Run the server until SIGTERM or SIGINT; then finish what is in hand and stop.
#[derive(Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    place: Place,
}

/// `umask` is what the program was started with, `level` what `--log` says.
pub(crate) fn run(
    arguments: &Arguments,
    umask: u32,
    level: Option<Level>,
    log: &Log,
) -> Result<()> {
    let config = wiring::config(&arguments.place)?;
    log.set_level(level.unwrap_or(config.log.level));
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
