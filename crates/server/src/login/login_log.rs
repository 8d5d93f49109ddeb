//! What the log says of logins: a line for each, as far as strangers do not decide how many there are.
//!
//! Whoever guesses passwords is locked out after a while (`guard.rs`), but can do it from many networks. So
//! failures have a line each up to a rate; the others, and all attempts of those who are locked out, are
//! counted, and told every ten minutes.

use crate::limits::allowance::{Allowance, Rate};
use parking_lot::Mutex;
use posta_mail::{Address, ClientAddress, Timestamp};
use posta_net::{client_network::ClientNetwork, clock::Clock};
use std::{collections::HashMap, sync::Arc, time::Duration};
use tokio::{sync::watch, time::sleep};

/// Failures that have a line each at once.
const AT_ONCE: u64 = 200;

/// By how many a second [`AT_ONCE`] grows again: 86,400 lines a day, 13 MB.
const A_SECOND: u64 = 1;

/// Networks whose failures are counted apart; those beyond are counted together.
const NETWORKS: usize = 8 * 1024;

/// How often what was only counted is told.
const COUNTED_EVERY: Duration = Duration::from_secs(10 * 60);

/// Characters of a name that is no account's that are told.
const NAME: usize = 100;

/// Tells of logins that failed.
pub(crate) struct FailedLogins {
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// What is used up of [`AT_ONCE`].
    told: Allowance,
    /// Failures that were only counted.
    untold: u64,
    networks: HashMap<ClientNetwork, u64>,
}

impl State {
    /// Returns whether a failure may have a line; if so it counts as told.
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

    /// Writes a line for a failed login: the client, the name that it gave, and the reason.
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

    /// Tells what was only counted.
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

    /// Tells what was only counted, now and then.
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

/// Tells that a client logged in.
pub(crate) fn succeeded(client: ClientAddress, account: &Address, protocol: &str, is_in_tls: bool) {
    let tls = if is_in_tls { "yes" } else { "no" };
    tracing::info!(client = place(client), %account, protocol, tls, "login");
}

/// Where a client is, for a filter that bans addresses.
pub(crate) fn place(client: ClientAddress) -> String {
    client.ip().map_or_else(|| client.to_string(), |ip| ip.to_string())
}
