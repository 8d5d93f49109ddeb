//! The log of logins: one line for each, within a rate that strangers cannot exceed.
//!
//! A client that guesses passwords is locked out after a while (`lockout.rs`), but the attacker can
//! continue from other networks. Therefore only a limited rate of failures get a line each. All further
//! failures, and all attempts by clients that are locked out, are counted, and the counts are logged
//! every ten minutes.

use crate::{
    limits::allowance::{Allowance, Rate},
    login::principal::Principal,
};
use parking_lot::Mutex;
use posta_mail::{ClientAddress, Timestamp};
use posta_net::{client_network::ClientNetwork, clock::Clock};
use std::{collections::HashMap, sync::Arc, time::Duration};
use tokio::{sync::watch, time::sleep};

/// The maximal number of failures that get a line each at once.
const AT_ONCE: u64 = 200;

/// The number of lines that become available again each second: 86,400 a day, 13 MB.
const A_SECOND: u64 = 1;

/// The maximal number of networks whose failures are counted separately; all others are counted
/// together.
const NETWORKS: usize = 8 * 1024;

/// The interval at which the counts are logged.
const COUNTED_EVERY: Duration = Duration::from_secs(10 * 60);

/// The maximal number of characters of a name that are logged, since the client chose it.
const NAME: usize = 100;

/// Logs failed logins.
pub(crate) struct FailedLogins {
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The part of [`AT_ONCE`] that is used up.
    logged: Allowance,
    /// The number of failures that got no line.
    unlogged: u64,
    networks: HashMap<ClientNetwork, u64>,
}

impl State {
    /// Takes a line from the rate. Returns whether there was one left.
    fn may_log(&mut self, now: Timestamp) -> bool {
        self.logged.take(1, Rate { at_once: AT_ONCE, a_second: A_SECOND }, now)
    }

    fn count(&mut self, client: ClientAddress) {
        self.unlogged += 1;
        let Some(network) = ClientNetwork::of_client(client) else { return };
        if self.networks.len() < NETWORKS || self.networks.contains_key(&network) {
            *self.networks.entry(network).or_default() += 1;
        }
    }
}

impl FailedLogins {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, state: Mutex::default() }
    }

    /// Logs a failed login, with the client, the name that it gave, and the reason. Counts the failure
    /// instead if the rate is used up.
    pub(crate) fn log(&self, client: ClientAddress, name: &str, why: &str) {
        let now = self.clock.now();
        let is_logged = self.with(|state| {
            let is_logged = state.may_log(now);
            if !is_logged {
                state.count(client);
            }
            is_logged
        });
        if is_logged {
            let name = name.char_indices().nth(NAME).map_or(name, |(end, _)| &name[..end]);
            tracing::info!(client = place(client), name, why, "login failed");
        }
    }

    /// Counts an attempt by a client that is locked out.
    pub(crate) fn count(&self, client: ClientAddress) {
        self.with(|state| state.count(client));
    }

    /// Logs the number of failures that got no line.
    pub(crate) fn log_counts(&self) {
        let State { unlogged, networks, .. } = self.with(|state| {
            let logged = state.logged;
            std::mem::replace(state, State { logged, ..State::default() })
        });
        if unlogged > 0 {
            let most = networks.iter().max_by_key(|(_, count)| **count);
            tracing::info!(
                times = unlogged,
                networks = networks.len(),
                most = most.map(|(network, count)| format!("{network} ({count})")),
                "more logins failed"
            );
        }
    }

    /// Logs the counts every ten minutes, and when the server stops.
    pub(crate) async fn run(&self, mut stopping: watch::Receiver<bool>) {
        loop {
            tokio::select! {
                () = sleep(COUNTED_EVERY) => self.log_counts(),
                _ = stopping.wait_for(|&stopping| stopping) => return self.log_counts(),
            }
        }
    }

    fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        act(&mut self.state.lock())
    }
}

/// Logs a successful login.
pub(crate) fn succeeded(
    client: ClientAddress,
    session: &Principal,
    protocol: &str,
    is_in_tls: bool,
) {
    let tls = if is_in_tls { "yes" } else { "no" };
    let (client, account) = (place(client), &session.address);
    match session.app_password() {
        Some(with) => {
            tracing::info!(client, %account, protocol, tls, app_password = with.name, "login");
        }
        None => tracing::info!(client, %account, protocol, tls, "login"),
    }
}

/// Returns a client's bare address, which programs that ban addresses can read from the log.
pub(crate) fn place(client: ClientAddress) -> String {
    client.ip().map_or_else(|| client.to_string(), |ip| ip.to_string())
}
