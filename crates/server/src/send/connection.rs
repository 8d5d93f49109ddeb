//! Connections to a server, for as long as something waits for it: to which address, and in which manner.

use super::{
    Relay,
    broken::Broken,
    conversation::{Conversation, Departure, Manner},
    host_queue::HostQueue,
    peer::{Peer, Trust},
    settings::SmarthostTls,
    trouble::Trouble,
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

/// Keeps connections to a server for as long as something waits for it.
pub(super) async fn run(queue: Arc<HostQueue>, relay: Arc<Relay>) {
    loop {
        match Box::pin(hold(&queue, &relay)).await {
            Err(trouble) => {
                return queue.failed(&trouble, relay.settings.get().shortest_retry());
            }
            Ok(Departure::Announced) => return,
            Ok(Departure::Sudden) if queue.ended() => {}
            Ok(Departure::Sudden) => return,
        }
    }
}

/// Holds one connection, to the first of the server's addresses that lets itself be talked to.
async fn hold(queue: &Arc<HostQueue>, relay: &Arc<Relay>) -> Result<Departure, Trouble> {
    let peer = &queue.peer;
    let addresses = match peer.name.trim_start_matches('[').trim_end_matches(']').parse() {
        Ok(literal) => vec![literal],
        Err(_) => match relay.resolver.addresses(&peer.name).await {
            Ok(answer) => answer.found,
            Err(LookupError::NoDomain(_)) => Vec::new(),
            Err(error) => return Err(Trouble::new(route::lookup_failed(&error))),
        },
    };
    if addresses.is_empty() {
        return Err(Trouble::no_address(&peer.name));
    }
    let mut targets = match &peer.smarthost {
        Some(_) => Dialer::configured_host(addresses, peer.port),
        // Permanent, as where DNS names no server at all (RFC 7505 §1 knows such records): a server
        // that only its own network reaches takes no mail from the internet. Were it to wait, mail to
        // domains that a stranger makes up would fill the queue.
        None => relay.dialer.strangers_host(addresses, peer.port).map_err(|refused| {
            let words = format!("The server {} cannot be reached: {refused}", peer.name);
            Trouble::new(Reply::new(550, (5, 4, 4), words))
        })?,
    };
    loop {
        let connected = relay.dialer.connect(&mut targets, relay.settings.get().patience).await;
        let (stream, target) = connected.map_err(|why| {
            Trouble::new(Reply::new(
                451,
                (4, 4, 1),
                format!("{} cannot be reached: {why}", peer.name),
            ))
        })?;
        match converse(queue, relay, stream, target).await {
            Ok(departure) => return Ok(departure),
            Err(trouble) if targets.is_empty() => return Err(trouble),
            // RFC 5321 §5.1: the others of its addresses may do better.
            Err(_) => {}
        }
    }
}

/// Talks at one address, in one manner after the other: a connection that breaks before it came to
/// business may do without what it broke at.
async fn converse(
    queue: &Arc<HostQueue>,
    relay: &Arc<Relay>,
    mut stream: Box<dyn Stream>,
    target: Target,
) -> Result<Departure, Trouble> {
    let place = format!("{} ({target})", queue.peer.name);
    let mut manner = Manner::first(&queue.peer);
    loop {
        let held = Conversation::new(queue, relay, manner).hold(stream, &place).await;
        let broken = match held {
            Ok(departure) => return Ok(departure),
            Err(broken) => broken,
        };
        manner = match manner.without(&broken, &queue.peer) {
            Some(next) => next,
            None => return Err(broken.trouble(&place)),
        };
        let again = relay.dialer.reconnect(target, relay.settings.get().patience).await;
        stream = again.map_err(|why| Broken::Connection(why.to_string()).trouble(&place))?;
    }
}

impl Manner {
    fn first(peer: &Peer) -> Self {
        let tls = match (&peer.trust, &peer.smarthost) {
            (_, Some(smarthost)) if smarthost.tls == SmarthostTls::Implicit => TlsUse::Never,
            (Trust::Tls(_), _) => TlsUse::Required,
            (Trust::Plaintext, _) => TlsUse::Never,
            (Trust::Opportunistic, _) => TlsUse::IfOffered,
        };
        Self { hello: HelloVerb::Ehlo, tls, tls_failed: None }
    }

    /// The same without what it broke at, if the mail may go without. Each step takes something away, so
    /// there are three at most.
    fn without(self, broken: &Broken, peer: &Peer) -> Option<Self> {
        let has_login = peer.smarthost.as_ref().is_some_and(|smarthost| smarthost.login.is_some());
        match broken {
            // RFC 7435 §3: better in plaintext than not at all, where nothing requires TLS.
            Broken::Tls(failure, _) if self.tls == TlsUse::IfOffered => {
                Some(Self { tls: TlsUse::Never, tls_failed: Some(*failure), ..self })
            }
            // RFC 5321 §3.2 has HELO for servers that do not know EHLO; some do not say so. HELO brings
            // neither TLS nor AUTH.
            Broken::Hello(_)
                if self.hello == HelloVerb::Ehlo
                    && !has_login
                    && matches!(peer.trust, Trust::Opportunistic | Trust::Plaintext) =>
            {
                Some(Self { hello: HelloVerb::Helo, tls: TlsUse::Never, ..self })
            }
            _ => None,
        }
    }
}
