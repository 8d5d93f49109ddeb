//! `posta serve`.

use crate::{
    Place,
    config::{Config, Level, Source, find},
    log::Log,
    runtime::block_on,
    wiring,
};
use anyhow::Result;
use clap::Args;
use posta_server::assembly::MailServer;
use tokio::signal::unix::{SignalKind, signal};

/// Run the server until SIGTERM or SIGINT; it then finishes its sessions and stops.
///
/// SIGHUP makes it read the configuration and the certificates again.
#[derive(Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    place: Place,
}

/// Runs the server. `umask` is the one that the program was started with, `level` the value of `--log`.
pub(crate) fn run(
    arguments: &Arguments,
    umask: u32,
    level: Option<Level>,
    log: &Log,
) -> Result<()> {
    let source = wiring::source(&arguments.place)?;
    let outdated: Vec<_> = source.outdated().collect();
    let Source { path, config, .. } = source;
    log.set_level(level.unwrap_or(config.log.level));
    super::allow_many_files();
    tell_outdated(outdated);
    if path.is_none() {
        say_defaults(&config);
    }
    block_on(async move {
        // First of all: an unhandled signal kills the process, and opening a store can take a while.
        let mut hangup = signal(SignalKind::hangup())?;
        let store = wiring::open_store(&config.data, config.key_file.as_deref())?;
        let settings = wiring::settings(&config)?;
        // Before the sockets are bound, so that a signal right after `ready` is not missed.
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let world = wiring::world(store, &config, umask)?;
        let server = MailServer::start(settings, world).await?;
        let (version, hostname) = (env!("CARGO_PKG_VERSION"), config.hostname());
        let hostname = hostname.as_str();
        let (path, data) = (path.as_ref().map(|path| path.display()), config.data.display());
        tracing::info!(version, hostname, config = path.map(tracing::field::display), data = %data, "started");
        eprintln!("{}", ready(&server));
        let mut running = Running { server, config, arguments, level, log };
        let name = loop {
            tokio::select! {
                _ = terminate.recv() => break "SIGTERM",
                _ = interrupt.recv() => break "SIGINT",
                _ = hangup.recv() => running.reload(),
            }
        };
        tracing::info!(signal = name, "stopping");
        eprintln!("stopping");
        running.server.stop().await;
        tracing::info!("stopped");
        Ok(())
    })
}

/// A running server.
struct Running<'a> {
    server: MailServer,
    /// The configuration at the start, with which options that need a restart are compared.
    config: Config,
    arguments: &'a Arguments,
    level: Option<Level>,
    log: &'a Log,
}

impl Running<'_> {
    /// Reads the configuration and the certificates again. If anything is wrong with them, nothing changes.
    fn reload(&mut self) {
        let fresh = wiring::source(&self.arguments.place).and_then(|source| {
            // A self-signed certificate is kept in the data directory.
            let data = self.config.data.clone();
            self.server.reload(wiring::settings(&Config { data, ..source.config.clone() })?)?;
            Ok(source)
        });
        match fresh {
            Ok(source) => {
                let config = &source.config;
                let level = self.level.unwrap_or(config.log.level);
                // Told before the level changes, so that a lower level does not hide it.
                self.log.set_level(level.max(self.config.log.level));
                tracing::info!("reloaded: the configuration and the certificates were read again");
                tell_outdated(source.outdated());
                for key in self.config.fixed(config) {
                    tracing::warn!(key, "changed, but holds only after a restart");
                }
                self.log.set_level(level);
            }
            Err(error) => tracing::error!(
                error = crate::output::chain(&error),
                "not reloaded, and what was read before goes on"
            ),
        }
    }
}

/// Prints the line that programs which start the server wait for.
fn ready(server: &MailServer) -> String {
    let mut line = "ready".to_owned();
    for (kind, endpoint) in server.listening() {
        line.push_str(&format!(" {}={endpoint}", wiring::protocol(*kind).name()));
    }
    line
}

/// Warns of options that no longer exist and have no effect.
fn tell_outdated(options: impl IntoIterator<Item = String>) {
    for words in options {
        tracing::warn!("the configuration, {words}");
    }
}

fn say_defaults(config: &Config) {
    eprintln!(
        "There is no configuration (--config FILE, POSTA_CONFIG, {}, ./{}), so these are used:",
        find::SYSTEM,
        find::HERE
    );
    eprintln!("  hostname  {}", config.hostname());
    eprintln!("  data      {}", config.data.display());
    for listen in &config.listen {
        let (protocol, tls) = (listen.protocol.name(), listen.tls.name());
        eprintln!("  listen    {protocol} on {}, tls {tls}", listen.address);
    }
}
