//! Keeping a connection to a server open while mail waits for that server: chooses the address, and
//! falls back to plaintext or HELO where that is allowed. `hosts.rs` starts a task of this module for
//! each connection.

use super::{
    Relay,
    connection_failure::ConnectionFailure,
    conversation::{ConnectionMode, Conversation, Departure},
    host_failure::HostFailure,
    host_queue::HostQueue,
    peer::{Peer, Protection},
    settings::SmarthostTls,
};
use crate::send::route;
use posta_mail::{Reply, TlsUse};
use posta_net::{
    dial::{Dialer, Target},
    dns::LookupError,
    transport::Stream,
};
use posta_smtp::command::HelloVerb;
use std::sync::Arc;

/// Serves a queue with one connection after the other, until no item waits.
pub(super) async fn run(queue: Arc<HostQueue>, relay: Arc<Relay>) {
    loop {
        match Box::pin(hold(&queue, &relay)).await {
            Err(trouble) => {
                return queue.failed(&trouble, relay.settings.get().shortest_retry());
            }
            Ok(Departure::Announced) => return,
            Ok(Departure::Sudden) if queue.ended(&relay) => {}
            Ok(Departure::Sudden) => return,
        }
    }
}

/// Holds one connection, to the first of the server's addresses that opens a session.
async fn hold(queue: &Arc<HostQueue>, relay: &Arc<Relay>) -> Result<Departure, HostFailure> {
    let peer = &queue.peer;
    let addresses = match peer.name.trim_start_matches('[').trim_end_matches(']').parse() {
        Ok(literal) => vec![literal],
        Err(_) => match relay.resolver.addresses(&peer.name).await {
            Ok(answer) => answer.found,
            Err(LookupError::NoDomain(_)) => Vec::new(),
            Err(error) => return Err(HostFailure::new(route::lookup_failed(&error))),
        },
    };
    if addresses.is_empty() {
        return Err(HostFailure::no_address(&peer.name));
    }
    let mut targets = match &peer.smarthost {
        Some(_) => Dialer::configured_host(addresses, peer.port),
        // This failure is permanent, as if DNS named no server at all (RFC 7505 §1 describes such
        // records). A server that only its own network can reach accepts no mail from the internet. If
        // such mail waited, strangers could fill the queue with mail to domains that they make up.
        None => relay.dialer.strangers_host(addresses, peer.port).map_err(|refused| {
            let words = format!("The server {} cannot be reached: {refused}", peer.name);
            HostFailure::new(Reply::new(550, (5, 4, 4), words))
        })?,
    };
    loop {
        let connected = relay.dialer.connect(&mut targets, relay.settings.get().patience).await;
        let (stream, target) = connected.map_err(|why| {
            HostFailure::new(Reply::new(
                451,
                (4, 4, 1),
                format!("{} cannot be reached: {why}", peer.name),
            ))
        })?;
        match converse(queue, relay, stream, target).await {
            Ok(departure) => return Ok(departure),
            Err(trouble) if targets.is_empty() => return Err(trouble),
            // RFC 5321 §5.1: the server's other addresses are tried too.
            Err(_) => {}
        }
    }
}

/// Talks to the server at one address. If the connection breaks before mail could be offered, the
/// attempt is repeated without the feature at which it broke, provided that the mail may go without.
async fn converse(
    queue: &Arc<HostQueue>,
    relay: &Arc<Relay>,
    mut stream: Box<dyn Stream>,
    target: Target,
) -> Result<Departure, HostFailure> {
    let place = format!("{} ({target})", queue.peer.name);
    let mut manner = ConnectionMode::first(&queue.peer);
    loop {
        let held = Conversation::new(queue, relay, manner).hold(stream, &place).await;
        let broken = match held {
            Ok(departure) => return Ok(departure),
            Err(broken) => broken,
        };
        manner = match manner.fallback(&broken, &queue.peer) {
            Some(next) => next,
            None => return Err(broken.host_failure(&place)),
        };
        let again = relay.dialer.reconnect(target, relay.settings.get().patience).await;
        stream = again
            .map_err(|why| ConnectionFailure::Connection(why.to_string()).host_failure(&place))?;
    }
}

impl ConnectionMode {
    fn first(peer: &Peer) -> Self {
        let tls = match (&peer.protection, &peer.smarthost) {
            (_, Some(smarthost)) if smarthost.tls == SmarthostTls::Implicit => TlsUse::Never,
            (Protection::Tls(_), _) => TlsUse::Required,
            (Protection::Plaintext, _) => TlsUse::Never,
            (Protection::Opportunistic, _) => TlsUse::IfOffered,
        };
        Self { hello: HelloVerb::Ehlo, tls, tls_failed: None }
    }

    /// Returns the mode to try next, without the feature at which the connection broke; `None` if the
    /// mail must not go without that feature. Each step gives up one feature, so there are at most three
    /// steps.
    fn fallback(self, broken: &ConnectionFailure, peer: &Peer) -> Option<Self> {
        let has_login = peer.smarthost.as_ref().is_some_and(|smarthost| smarthost.login.is_some());
        match broken {
            // RFC 7435 §3: plaintext is better than no delivery, unless TLS is required.
            ConnectionFailure::Tls(failure, _) if self.tls == TlsUse::IfOffered => {
                Some(Self { tls: TlsUse::Never, tls_failed: Some(*failure), ..self })
            }
            // RFC 5321 §3.2: HELO is for servers that do not know EHLO. Some hang up at EHLO instead of
            // refusing it. HELO offers neither TLS nor AUTH.
            ConnectionFailure::Hello(_)
                if self.hello == HelloVerb::Ehlo
                    && !has_login
                    && matches!(
                        peer.protection,
                        Protection::Opportunistic | Protection::Plaintext
                    ) =>
            {
                Some(Self { hello: HelloVerb::Helo, tls: TlsUse::Never, ..self })
            }
            _ => None,
        }
    }
}
