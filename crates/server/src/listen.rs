//! Accepting connections: counts each against the limits, and starts a session, which consists of an
//! engine, a host and the driver. `assembly` starts one task of this module for each listener.

use crate::{
    access::{
        maildrop::{Maildrops, PopHost},
        view::View,
    },
    limits::{
        adjustable::{Adjustable, Limit},
        metrics::Metrics,
        repeated_failures::{RepeatedFailures, Summary},
    },
    receive::session::{Acceptor, SmtpHost},
    web::{Web, plain::PlainWeb},
};
use ipnet::IpNet;
use parking_lot::Mutex;
use posta_mail::{ClientAddress, Engine, Interrupt};
use posta_net::{
    client_network::{ClientNetwork, is_within},
    driver::Driver,
    proxy,
    tls::server::Tls,
    transport::{Accepted, Listener, Stream},
};
use posta_pop3::{Server as Pop3Server, server::Profile as Pop3Profile};
use posta_smtp::{Server as SmtpServer, server::Profile as SmtpProfile};
use posta_store::Store;
use std::{collections::HashMap, io, sync::Arc, time::Duration};
use tokio::{
    sync::{mpsc, watch},
    task::yield_now,
    time::sleep,
};

/// The pause after a connection could not be accepted, for example because no file descriptors are left.
const BREATHER: Duration = Duration::from_millis(100);

/// The number of connections accepted before existing sessions have a turn. In a flood, there is always
/// another connection to accept.
const AT_ONCE: u32 = 4;

/// The protocol of a listener's sessions, with the state that they need.
#[derive(Clone)]
pub enum Protocol {
    /// SMTP, submission or LMTP.
    Smtp {
        /// The engine's settings.
        profile: Arc<SmtpProfile>,
        /// The resources that the sessions share.
        acceptor: Arc<Acceptor>,
    },
    /// POP3.
    Pop3 {
        /// The engine's settings.
        profile: Arc<Pop3Profile>,
        /// The resources that the sessions share.
        maildrops: Arc<Maildrops>,
        /// Whether passwords are accepted in plaintext from any client, not only from this machine.
        plaintext_login: bool,
    },
    /// HTTPS.
    Web(Web),
    /// Plain HTTP, for the challenges of authorities.
    PlainWeb(Arc<PlainWeb>),
}

impl Protocol {
    /// Returns whether sessions carry mail, rather than what the operator and others ask over HTTP.
    const fn is_of_mail(&self) -> bool {
        matches!(self, Self::Smtp { .. } | Self::Pop3 { .. })
    }

    /// Returns the name under which sessions are counted.
    fn name(&self) -> &'static str {
        match self {
            Self::Smtp { profile, .. } => profile.service.name(),
            Self::Pop3 { .. } => "pop3",
            Self::Web(_) => "https",
            Self::PlainWeb(_) => "http",
        }
    }
}

/// The resources that a listener's sessions share.
#[derive(Clone)]
pub struct Service {
    /// The protocol of the sessions.
    pub protocol: Protocol,
    /// The networks whose connections begin with a PROXY header.
    pub proxies: Vec<IpNet>,
    /// The networks of SMTP clients that may connect on behalf of others (XCLIENT).
    pub forwarders: Vec<IpNet>,
    /// The certificates, if connections use TLS from the start.
    pub implicit_tls: Option<Tls>,
    /// Drives the sessions.
    pub driver: Arc<Driver>,
    /// Counts the sessions.
    pub clients: Arc<Clients>,
    /// Counts them, too, for the operator.
    pub metrics: Arc<Metrics>,
    /// The store, which tells whether this node is drained.
    pub store: Arc<dyn Store>,
}

/// Counts sessions, in total and for each client.
#[derive(Debug, Default)]
pub struct Clients {
    /// The maximal number of sessions in total.
    pub(crate) limit: Limit,
    /// The maximal number of sessions of one client network.
    pub(crate) limit_each: Limit,
    sessions: Mutex<Sessions>,
}

#[derive(Debug, Default)]
struct Sessions {
    all: u32,
    each: HashMap<ClientNetwork, u32>,
}

/// A counted session, until this value is dropped.
struct Counted {
    clients: Arc<Clients>,
    /// The client's network; `None` for a Unix socket, whose clients are all on this machine.
    client: Option<ClientNetwork>,
}

impl Clients {
    /// Returns a counter that allows `limit` simultaneous sessions, and `limit_each` for each client; 0
    /// means no limit.
    #[must_use]
    pub fn new(limit: u32, limit_each: u32) -> Self {
        Self { limit: Limit::new(limit), limit_each: Limit::new(limit_each), ..Self::default() }
    }

    /// Counts a session, unless a limit is reached.
    fn admit(self: &Arc<Self>, client: ClientAddress) -> Option<Counted> {
        let client = ClientNetwork::of_client(client);
        let mut sessions = self.sessions.lock();
        if self.limit.get().is_some_and(|limit| sessions.all >= limit) {
            return None;
        }
        if let Some(client) = client {
            let count = sessions.each.entry(client).or_default();
            if self.limit_each.get().is_some_and(|limit| *count >= limit) {
                return None;
            }
            *count += 1;
        }
        sessions.all += 1;
        Some(Counted { clients: self.clone(), client })
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut sessions = self.clients.sessions.lock();
        sessions.all -= 1;
        let Some(client) = self.client else { return };
        if let Some(count) = sessions.each.get_mut(&client) {
            *count -= 1;
            if *count == 0 {
                sessions.each.remove(&client);
            }
        }
    }
}

/// Accepts connections until the server stops, and gives each the service that is current at that
/// moment. Every session holds a clone of `alive`, so the receiver learns when the last one has ended.
pub async fn listen(
    mut listener: Box<dyn Listener>,
    service: Arc<Adjustable<Service>>,
    mut stopping: watch::Receiver<bool>,
    alive: mpsc::Sender<()>,
) {
    let address = listener.endpoint();
    let mut failures = RepeatedFailures::default();
    let mut at_once = 0;
    loop {
        at_once += 1;
        if at_once > AT_ONCE {
            at_once = 0;
            yield_now().await;
        }
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Summary { times, lasted } = failures.over() => {
                let seconds = lasted.as_secs();
                tracing::info!(
                    "connections to {address} are accepted again; {times} attempts failed in {seconds} s"
                );
                continue;
            }
            // An error means that the server no longer exists, so listening stops too.
            _ = stopping.wait_for(|&stopping| stopping) => return,
        };
        match accepted {
            Ok(accepted) => {
                let (service, alive) = (service.get(), alive.clone());
                tokio::spawn(async move {
                    if let Err(error) = service.session(accepted).await {
                        tracing::debug!(%error, "a session failed");
                    }
                    drop(alive);
                });
            }
            Err(error) => {
                if failures.record() {
                    tracing::warn!(
                        %error,
                        "connections to {address} cannot be accepted; further failures are counted. \
                         Lower limits.sessions, or allow more open files (LimitNOFILE)"
                    );
                }
                sleep(BREATHER).await;
            }
        }
    }
}

impl Service {
    async fn session(&self, (stream, client): Accepted) -> io::Result<()> {
        let is_proxy = is_within(&self.proxies, client);
        let (stream, client) = match is_proxy {
            true => Box::pin(proxy::accept(stream)).await?,
            false => (stream, client),
        };
        if self.protocol.is_of_mail() && self.store.standing().is_draining {
            return self.turn_away(stream, Interrupt::Stopping).await;
        }
        let Some(counted) = self.clients.admit(client) else {
            self.metrics.turned_away();
            if let Protocol::Smtp { acceptor, .. } = &self.protocol {
                acceptor.refusals.tell_turned_away(client).await;
            }
            return self.turn_away(stream, Interrupt::Crowded).await;
        };
        let open = self.metrics.session(self.protocol.name());
        let (stream, tls) = match &self.implicit_tls {
            Some(tls) => {
                let (stream, info) = Box::pin(tls.accept(stream)).await?;
                (stream, Some(info))
            }
            None => (stream, None),
        };
        let secured = tls.is_some();
        match &self.protocol {
            Protocol::Smtp { profile, acceptor } => {
                let engine = smtp_engine(profile, secured);
                let is_forwarder = is_within(&self.forwarders, client);
                let mut host = SmtpHost::new(acceptor.clone(), client, tls);
                if is_proxy || is_forwarder {
                    host = host.speaking_for_others();
                }
                // A server in front has kept its own client waiting.
                let mut engine = match is_forwarder {
                    true => engine.trusting(),
                    false => engine.greeting_after(host.greeting_delay()),
                };
                let ended = self.driver.drive(stream, &mut engine, &mut host).await;
                host.abandon().await;
                ended?;
            }
            Protocol::Web(web) => Box::pin(web.serve(stream, client)).await?,
            Protocol::PlainWeb(plain) => Box::pin(plain.serve(stream)).await?,
            Protocol::Pop3 { profile, maildrops, plaintext_login } => {
                let plaintext_login = client.is_on_this_machine() || *plaintext_login;
                let mut engine = pop3_engine(profile, secured, plaintext_login)
                    .with_challenge(maildrops.challenge(&profile.hostname));
                let mut host = PopHost::new(maildrops.clone(), client, tls);
                let ended = self.driver.drive(stream, &mut engine, &mut host).await;
                Box::pin(host.end()).await;
                ended?;
            }
        }
        drop((counted, open));
        Ok(())
    }

    /// Rejects a connection beyond the limits, or while this node is drained. With implicit TLS, a reply would cost as much
    /// as a session, so the connection is closed without one.
    async fn turn_away(&self, stream: Box<dyn Stream>, why: Interrupt) -> io::Result<()> {
        if self.implicit_tls.is_some() {
            return Ok(());
        }
        match &self.protocol {
            Protocol::Smtp { profile, .. } => {
                self.refuse(stream, smtp_engine(profile, false), why).await
            }
            Protocol::Web(_) | Protocol::PlainWeb(_) => Ok(()),
            Protocol::Pop3 { profile, .. } => {
                self.refuse(stream, pop3_engine(profile, false, false), why).await
            }
        }
    }

    async fn refuse(
        &self,
        stream: Box<dyn Stream>,
        mut engine: impl Engine,
        why: Interrupt,
    ) -> io::Result<()> {
        self.driver.turn_away(stream, &mut engine, why).await
    }
}

fn smtp_engine(profile: &Arc<SmtpProfile>, secured: bool) -> SmtpServer {
    if secured {
        SmtpServer::new_secured(profile.clone())
    } else {
        SmtpServer::new(profile.clone())
    }
}

fn pop3_engine(
    profile: &Arc<Pop3Profile>,
    secured: bool,
    plaintext_login: bool,
) -> Pop3Server<View> {
    if secured {
        Pop3Server::new_secured(profile.clone())
    } else {
        Pop3Server::new(profile.clone(), plaintext_login)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::send::trust::mta_sts::{Mode, Policy};
    use posta_net::transport::{Endpoint, PendingIo};
    use std::sync::atomic::{AtomicUsize, Ordering};
    use tracing::{Event, Metadata, Subscriber, span};

    /// A listener that fails this many times for lack of descriptors, and then waits for ever.
    struct Exhausted(u32);

    impl Listener for Exhausted {
        fn endpoint(&self) -> Endpoint {
            "127.0.0.1:25".parse().unwrap()
        }

        fn accept(&mut self) -> PendingIo<'_, Accepted> {
            let Some(left) = self.0.checked_sub(1) else { return Box::pin(std::future::pending()) };
            self.0 = left;
            Box::pin(async { Err(io::Error::from_raw_os_error(24)) })
        }
    }

    /// A log that only counts its lines.
    struct Lines(Arc<AtomicUsize>);

    impl Subscriber for Lines {
        fn enabled(&self, _: &Metadata<'_>) -> bool {
            true
        }

        fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
            span::Id::from_u64(1)
        }

        fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

        fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

        fn event(&self, event: &Event<'_>) {
            let is_ours = event.metadata().target().starts_with("posta_server");
            self.0.fetch_add(usize::from(is_ours), Ordering::Relaxed);
        }

        fn enter(&self, _: &span::Id) {}

        fn exit(&self, _: &span::Id) {}
    }

    /// An attacker must not be able to fill the disk with forty warnings a second.
    #[tokio::test(start_paused = true)]
    async fn an_outage_is_two_lines_of_the_log() {
        let lines = Arc::new(AtomicUsize::new(0));
        let guard = tracing::subscriber::set_default(Lines(lines.clone()));
        let (stop, stopping) = watch::channel(false);
        let service = Service {
            protocol: Protocol::Web(Web::new(Policy {
                mode: Mode::None,
                mx: Vec::new(),
                max_age: 0,
            })),
            proxies: Vec::new(),
            forwarders: Vec::new(),
            implicit_tls: None,
            driver: Arc::new(Driver::unstoppable()),
            clients: Arc::default(),
            metrics: Arc::default(),
            store: Arc::new(posta_store::MemoryStore::new()),
        };
        let service = Arc::new(Adjustable::new(service));
        let listening =
            tokio::spawn(listen(Box::new(Exhausted(1_000)), service, stopping, mpsc::channel(1).0));
        sleep(BREATHER * 900).await;
        assert_eq!(lines.load(Ordering::Relaxed), 1, "it begins");
        sleep(Duration::from_secs(60)).await;
        assert_eq!(lines.load(Ordering::Relaxed), 2, "it is over");
        stop.send_replace(true);
        listening.await.unwrap();
        drop(guard);
    }
}
