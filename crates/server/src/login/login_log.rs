//! The log of logins: a line for each, as long as strangers cannot decide how many lines there are.
//!
//! Somebody who guesses passwords is locked out after a while (`lockout.rs`), but can continue from other networks.
//! So failures get a line each up to a rate. The others, and all attempts of clients that are locked out, are counted
//! and summed up every ten minutes.

use crate::limits::allowance::{Allowance, Rate};
use parking_lot::Mutex;
use posta_mail::{Address, ClientAddress, Timestamp};
use posta_net::{client_network::ClientNetwork, clock::Clock};
use std::{collections::HashMap, sync::Arc, time::Duration};
use tokio::{sync::watch, time::sleep};

/// The most failures at once that get a line each.
const AT_ONCE: u64 = 200;

/// Lines that become available again with each second: 86,400 a day, 13 MB.
const A_SECOND: u64 = 1;

/// The most networks whose failures are counted separately; the others are counted together.
const NETWORKS: usize = 8 * 1024;

/// How often the counts are logged.
const COUNTED_EVERY: Duration = Duration::from_secs(10 * 60);

/// The most characters of a name that are logged, since the client chose it.
const NAME: usize = 100;

/// Logs failed logins.
pub(crate) struct FailedLogins {
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// How much of [`AT_ONCE`] is used up.
    told: Allowance,
    /// Failures that got no line and were only counted.
    untold: u64,
    networks: HashMap<ClientNetwork, u64>,
}

impl State {
    /// Takes a line from the rate. Returns whether there was one left.
    fn may_tell(&mut self, now: Timestamp) -> bool {
        self.told.take(1, Rate { at_once: AT_ONCE, a_second: A_SECOND }, now)
    }

    fn count(&mut self, client: ClientAddress) {
        self.untold += 1;
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

    /// Logs a failed login, or counts it if the rate is used up: the client, the name that it gave, and the reason.
    pub(crate) fn tell(&self, client: ClientAddress, name: &str, why: &str) {
        let now = self.clock.now();
        let is_told = self.with(|state| {
            let is_told = state.may_tell(now);
            if !is_told {
                state.count(client);
            }
            is_told
        });
        if is_told {
            let name = name.char_indices().nth(NAME).map_or(name, |(end, _)| &name[..end]);
            tracing::info!(client = place(client), name, why, "login failed");
        }
    }

    /// Counts an attempt of a client that is locked out.
    pub(crate) fn count(&self, client: ClientAddress) {
        self.with(|state| state.count(client));
    }

    /// Logs the failures that were only counted.
    pub(crate) fn tell_counted(&self) {
        let State { untold, networks, .. } = self.with(|state| {
            let told = state.told;
            std::mem::replace(state, State { told, ..State::default() })
        });
        if untold > 0 {
            let most = networks.iter().max_by_key(|(_, count)| **count);
            tracing::info!(
                times = untold,
                networks = networks.len(),
                most = most.map(|(network, count)| format!("{network} ({count})")),
                "more logins failed"
            );
        }
    }

    /// Logs the counted failures every ten minutes, and when the server stops.
    pub(crate) async fn run(&self, mut stopping: watch::Receiver<bool>) {
        loop {
            tokio::select! {
                () = sleep(COUNTED_EVERY) => self.tell_counted(),
                _ = stopping.wait_for(|&stopping| stopping) => return self.tell_counted(),
            }
        }
    }

    fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        act(&mut self.state.lock())
    }
}

/// Logs that a client logged in.
pub(crate) fn succeeded(client: ClientAddress, account: &Address, protocol: &str, is_in_tls: bool) {
    let tls = if is_in_tls { "yes" } else { "no" };
    tracing::info!(client = place(client), %account, protocol, tls, "login");
}

/// Returns a client's bare address, which programs that ban addresses can read from the log.
pub(crate) fn place(client: ClientAddress) -> String {
    client.ip().map_or_else(|| client.to_string(), |ip| ip.to_string())
}
