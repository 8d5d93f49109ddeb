//! `posta serve`, and what concerns the interface of the running server.

mod around;
pub(crate) mod openapi;
pub(crate) mod reload;
pub(crate) mod token;

mod identity;
mod service_manager;
mod sockets;

use crate::{
    Place,
    config::{Config, Level, Setting, Source, find},
    log::Log,
    runtime::block_on,
    wiring,
};
use anyhow::Result;
use around::Around;
use clap::Args;
use posta_server::{
    admin::{ChangedOption, Reloaded},
    assembly::MailServer,
};
use service_manager::StoreOpening;
use std::sync::Arc;
use tokio::signal::unix::{SignalKind, signal};

/// Run the server until SIGTERM or SIGINT; it then finishes its sessions and stops.
///
/// SIGHUP makes it read the configuration and the certificates again, as `posta reload` does, which tells the result.
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
    log: &Arc<Log>,
) -> Result<()> {
    let source = wiring::source(&arguments.place)?;
    let outdated: Vec<_> = source.outdated().collect();
    let options = source.settings();
    let Source { path, config, .. } = source;
    log.set_level(level.unwrap_or(config.log.level));
    log.set_format(config.log.format);
    super::allow_many_files();
    tell_outdated(outdated);
    if path.is_none() {
        say_defaults(&config);
    }
    block_on(async move {
        // First of all: an unhandled signal kills the process, and opening a store can take a while.
        let mut hangup = signal(SignalKind::hangup())?;
        let net = wiring::network(umask);
        sockets::take_over(&net, &config)?;
        if let Some(user) = identity::to_become(&config)? {
            sockets::open_tcp(&net, &config).await?;
            user.become_for_good(&config.data)?;
        }
        let opening = StoreOpening::begin(log);
        let store = wiring::open_configured(&config).await?;
        drop(opening);
        let settings = wiring::settings(&config)?;
        // Before the sockets are bound, so that a signal right after `ready` is not missed.
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let world = wiring::world(store, &config, net)?;
        let (around, mut reloads) = Around::new(arguments.place.clone(), config.data.clone());
        let server = MailServer::start_in(Some(Arc::new(around)), settings, world).await?;
        let (version, hostname) = (env!("CARGO_PKG_VERSION"), config.hostname());
        let hostname = hostname.as_str();
        let (path, data) = (path.as_ref().map(|path| path.display()), config.data.display());
        tracing::info!(version, hostname, config = path.map(tracing::field::display), data = %data, "started");
        identity::warn_of_root(&config.data);
        let listening = listening(&server);
        eprintln!("ready {listening}");
        service_manager::tell_ready(&listening);
        tokio::spawn(service_manager::keep_watchdog_quiet());
        let mut running = Running { server, config, options, arguments, level, log };
        let name = loop {
            tokio::select! {
                _ = terminate.recv() => break "SIGTERM",
                _ = interrupt.recv() => break "SIGINT",
                _ = hangup.recv() => {
                    // The log tells the result.
                    let _ = running.reload();
                }
                Some(asked) = reloads.recv() => {
                    // Whoever asked may be gone.
                    let _ = asked.send(running.reload());
                }
            }
        };
        tracing::info!(signal = name, "stopping");
        eprintln!("stopping");
        service_manager::tell_stopping();
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
    /// The options that were read last.
    options: Vec<Setting>,
    arguments: &'a Arguments,
    level: Option<Level>,
    log: &'a Log,
}

impl Running<'_> {
    /// Reads the configuration and the certificates again. If anything is wrong with them, nothing changes, and the
    /// error says what.
    fn reload(&mut self) -> Result<Reloaded, String> {
        service_manager::tell_reloading();
        let fresh = wiring::source(&self.arguments.place).and_then(|source| {
            // A self-signed certificate is kept in the data directory.
            let data = self.config.data.clone();
            self.server.reload(wiring::settings(&Config { data, ..source.config.clone() })?)?;
            Ok(source)
        });
        let source = fresh.map_err(|error| {
            let error = crate::output::chain(&error);
            tracing::error!(error, "not reloaded, and what was read before goes on");
            service_manager::tell_reloaded(&format!("listening; not reloaded: {error}"));
            format!("not reloaded, and what was read before goes on: {error}")
        })?;
        let config = &source.config;
        let level = self.level.unwrap_or(config.log.level);
        // Told before the level changes, so that a lower level does not hide it.
        self.log.set_level(level.max(self.config.log.level));
        self.log.set_format(config.log.format);
        let options = source.settings();
        let restart = self.config.fixed(config);
        let changed = changed(&self.options, &options, &restart);
        self.options = options;
        let names: Vec<_> = changed.iter().map(|change| change.option.as_str()).collect();
        tracing::info!(
            changed = names.join(", "),
            "reloaded: the configuration and the certificates were read again"
        );
        let remarks: Vec<_> = source.outdated().collect();
        tell_outdated(remarks.iter().cloned());
        for key in &restart {
            tracing::warn!(key, "changed, but holds only after a restart");
        }
        self.log.set_level(level);
        service_manager::tell_reloaded("listening; the configuration was read again");
        Ok(Reloaded { changed, restart, remarks })
    }
}

/// Returns the options whose values differ, but for those that need a restart.
fn changed(before: &[Setting], now: &[Setting], restart: &[String]) -> Vec<ChangedOption> {
    let of = |settings: &[Setting], option: &str| {
        let found = settings.iter().find(|setting| setting.option == option);
        found.and_then(|setting| setting.value.clone())
    };
    let is_fixed = |option: &str| {
        let rest = restart.iter().filter_map(|key| option.strip_prefix(key.as_str()));
        rest.into_iter().any(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
    };
    let gone = before.iter().filter(|old| !now.iter().any(|new| new.option == old.option));
    let all = now.iter().chain(gone).filter(|setting| !is_fixed(&setting.option));
    let change = |setting: &Setting| {
        let option = setting.option.clone();
        let (before, now) = (of(before, &option), of(now, &option));
        (before != now).then_some(ChangedOption { option, before, now })
    };
    all.filter_map(change).collect()
}

/// Returns the protocol and the address of each listener.
fn listening(server: &MailServer) -> String {
    let listening = server
        .listening()
        .iter()
        .map(|(kind, endpoint)| format!("{}={endpoint}", wiring::protocol(*kind).name()));
    listening.collect::<Vec<_>>().join(" ")
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
