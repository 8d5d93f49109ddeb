//! Where the engines meet the world: listeners, the driver, acceptance, delivery, administration.
//!
//! [`Server::start`] binds every socket and serves until [`Server::stop`]. Connections come from a
//! [`net::Net`], time and ids from a [`clock::Clock`], mail goes to a
//! [`Store`]: each can be replaced, so the whole server also runs in memory.

pub mod accept;
pub mod adjustable;
pub mod admin;
mod allowance;
pub mod auth;
pub mod budget;
pub mod clock;
pub mod collect;
mod content;
pub mod control;
pub mod dane;
pub mod dial;
pub mod directory;
pub mod dispatch;
pub mod drive;
pub mod guard;
mod hashers;
mod housekeeping;
mod http;
pub mod import;
pub mod listen;
mod logins;
pub mod maildrop;
pub mod mta_sts;
mod named;
pub mod net;
pub mod network;
pub mod oauth;
mod outage;
pub mod outbound;
mod outcomes;
pub mod plain_files;
pub mod presence;
pub mod principal;
pub mod proxy;
mod public_address;
pub mod rate;
pub mod refusals;
pub mod relay;
pub mod reports;
pub mod resolve;
pub mod route;
pub mod sasl;
pub mod schedule;
pub mod scram;
mod services;
pub mod socket_words;
pub mod srs;
mod submission;
pub mod tls;
pub mod tls_report;
mod web;

use adjustable::Adjustable;
use admin::Admin;
use clock::Clock;
use collect::{Collectors, Means};
use ipnet::IpNet;
use listen::Service;
use mta_sts::{Mode, Policy};
use net::{Endpoint, Net};
use oauth::OAuthSettings;
use outbound::ClientTls;
use posta_mail::{Domain, limits};
use posta_smtp::server::Limits as SmtpLimits;
use posta_store::{Store, StoreError};
use relay::RelaySettings;
use resolve::Resolver;
use services::Services;
use std::{io, path::PathBuf, sync::Arc, time::Duration};
pub use submission::LoopbackTrust;
use tls::Tls;
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
    time::timeout,
};

/// How long sessions that have something in hand may take to finish it when the server stops.
const GRACE: Duration = Duration::from_secs(10);

/// Seconds for which our MTA-STS policy holds: a week.
const POLICY_AGE: u64 = 7 * 24 * 60 * 60;

/// How a server is set up.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The server's name for itself.
    pub hostname: Domain,
    /// Octets of content that a message may have.
    pub message_size: u64,
    /// Sessions at once; 0 for any number.
    pub sessions: u32,
    /// Sessions that a client may have at once; 0 for any number.
    pub sessions_per_client: u32,
    /// What an SMTP session may do at most.
    pub smtp_limits: SmtpLimits,
    /// Whether SCRAM-SHA-256-PLUS is offered in TLS. It is taken in any case.
    pub channel_binding: bool,
    /// Whom to ask about the tokens of those who log in with one.
    pub oauth: Option<OAuthSettings>,
    /// Octets of messages that may be in memory at once while they arrive. When they are used up,
    /// what arrives is written to the store in smaller pieces.
    pub memory: usize,
    /// Whether a bare CR or LF from another server becomes CRLF, instead of refusing the message.
    pub normalise_newlines: bool,
    /// From where a connection begins with a PROXY header, at every listener.
    pub proxies: Vec<IpNet>,
    /// Which SMTP clients may speak for others, by XCLIENT.
    pub forwarders: Vec<IpNet>,
    /// Whether VRFY and EXPN tell who exists.
    pub verify: bool,
    /// How far programs on this machine are trusted without a login.
    pub trust_loopback: LoopbackTrust,
    /// From where mail for elsewhere is taken without a login.
    pub relays_for: Vec<IpNet>,
    /// Recipients an hour to whom an account may submit messages; 0 for any number.
    pub submissions: u32,
    /// How long a session may last; what is in hand then may end.
    pub session_time: Duration,
    /// How mail is handed out.
    pub pop3: Pop3Settings,
    /// Failed logins of one client, or for one account, in a quarter of an hour, beyond which it is
    /// locked out for as long; 0 for any number.
    pub failed_logins: u32,
    /// How long a client waits for the answer to a wrong password.
    pub failed_login_delay: Duration,
    /// How mail goes out.
    pub relay: RelaySettings,
    /// What is told of our own servers (RFC 8461); its names are `hostname` where it has none.
    pub policy: Policy,
    /// Where to listen, and for what.
    pub listeners: Vec<ListenerSettings>,
    /// The certificate, if any listener offers TLS.
    pub tls: Option<Tls>,
    /// Where the control socket goes, if there is to be one.
    pub control: Option<PathBuf>,
}

impl Settings {
    /// A server that listens nowhere yet, with the limits that it has by default.
    #[must_use]
    pub fn new(hostname: Domain) -> Self {
        Self {
            hostname,
            message_size: 50 << 20,
            sessions: 0,
            sessions_per_client: 0,
            smtp_limits: SmtpLimits::default(),
            channel_binding: false,
            oauth: None,
            memory: 64 << 20,
            normalise_newlines: false,
            proxies: Vec::new(),
            forwarders: Vec::new(),
            verify: false,
            trust_loopback: LoopbackTrust::Anywhere,
            relays_for: Vec::new(),
            submissions: 0,
            session_time: Duration::MAX,
            pop3: Pop3Settings::default(),
            failed_logins: 0,
            failed_login_delay: Duration::ZERO,
            relay: RelaySettings::default(),
            policy: Policy { mode: Mode::Enforce, mx: Vec::new(), max_age: POLICY_AGE },
            listeners: Vec::new(),
            tls: None,
            control: None,
        }
    }
}

/// How mail is handed out.
#[derive(Debug, Clone)]
pub struct Pop3Settings {
    /// How long a session may wait for a command (RFC 1939 §3: at least ten minutes).
    pub autologout: Duration,
    /// How long must pass between two logins to an account.
    pub login_delay: Duration,
    /// Sessions that an account may have at once; 0 for any number.
    pub sessions_per_account: u32,
    /// For how many days a message is kept once it was retrieved; none for ever.
    pub expire: Option<u32>,
    /// Whether APOP is offered, to the accounts that have a secret for it.
    pub apop: bool,
}

impl Default for Pop3Settings {
    fn default() -> Self {
        Self {
            autologout: limits::POP3_SERVER_PATIENCE,
            login_delay: Duration::ZERO,
            sessions_per_account: 0,
            expire: None,
            apop: false,
        }
    }
}

/// One listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenerSettings {
    /// What it serves.
    pub kind: Kind,
    /// Where.
    pub endpoint: Endpoint,
    /// How TLS is offered.
    pub tls: TlsMode,
}

/// What a listener serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// SMTP between servers.
    Smtp,
    /// Submission.
    Submission,
    /// LMTP.
    Lmtp,
    /// POP3.
    Pop3,
    /// HTTPS, for the MTA-STS policy.
    Web,
}

/// How a listener offers TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsMode {
    /// Not at all.
    None,
    /// By STARTTLS or STLS.
    StartTls,
    /// From the start.
    Implicit,
}

/// The server did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An address cannot be listened on.
    #[error("cannot listen on {endpoint}: {}", socket_words::cannot_listen(endpoint, cause))]
    Bind {
        /// Which.
        endpoint: Endpoint,
        /// Why.
        cause: io::Error,
    },
    /// A listener offers TLS, and there is no certificate.
    #[error("{0} offers TLS, but there is no certificate")]
    NoCertificate(Endpoint),
    /// The store cannot be read.
    #[error("the store cannot be read: {0}")]
    Store(#[from] StoreError),
    /// The TLS library lacks what it should have.
    #[error("TLS to other servers cannot be used: {0}")]
    Tls(#[from] rustls::Error),
}

/// What a server stands on: each can be replaced, so that the whole also runs in memory.
#[derive(Clone)]
pub struct World {
    /// Where mail is kept.
    pub store: Arc<dyn Store>,
    /// Time, ids and randomness.
    pub clock: Arc<dyn Clock>,
    /// Connections.
    pub net: Arc<dyn Net>,
    /// Where other servers are.
    pub resolver: Arc<dyn Resolver>,
    /// TLS to other servers.
    pub tls: ClientTls,
}

impl World {
    /// Returns what collects from other servers, messages of at most `message_size` octets.
    #[must_use]
    pub fn collectors(&self, message_size: u64) -> Collectors {
        let Self { store, clock, net, tls, .. } = self.clone();
        Collectors::new(store, Means { net, tls, clock, message_size })
    }
}

/// A server that serves.
pub struct Server {
    listening: Vec<(Kind, Endpoint)>,
    /// What each listener gives to sessions that begin now.
    serving: Vec<Arc<Adjustable<Service>>>,
    services: Services,
    stop: watch::Sender<bool>,
    tasks: JoinSet<()>,
    sessions: mpsc::Receiver<()>,
}

impl Server {
    /// Binds every socket and begins to serve.
    ///
    /// # Errors
    /// When a socket cannot be bound, or TLS is to be offered without a certificate.
    pub async fn start(settings: Settings, world: World) -> Result<Self, StartError> {
        let (stop, stopping) = watch::channel(false);
        let (alive, sessions) = mpsc::channel(1);
        let services = Services::new(settings, world, stopping.clone()).await?;
        let mut tasks = JoinSet::new();
        let (mut listening, mut serving) = (Vec::new(), Vec::new());
        for listener in &services.settings.listeners {
            let service = Arc::new(Adjustable::new(services.service(listener)?));
            let bound = services.world.net.bind(&listener.endpoint).await;
            let bound = bound.map_err(|cause| bind_error(&listener.endpoint, cause))?;
            listening.push((listener.kind, bound.endpoint()));
            serving.push(service.clone());
            tasks.spawn(listen::listen(bound, service, stopping.clone(), alive.clone()));
        }
        if let Some(path) = services.settings.control.clone() {
            let World { store, clock, .. } = services.world.clone();
            let admin = Admin::new(store, clock, services.collectors.clone())
                .with_authenticator(&services.authenticator);
            let admin = admin.waking(services.wake.clone());
            let socket = control::bind(&path);
            let socket =
                socket.map_err(|cause| bind_error(&Endpoint::Unix(path.clone()), cause))?;
            tasks.spawn(control::serve(socket, path, admin, stopping.clone()));
        }
        if let Some(tls) = services.settings.tls.clone() {
            let (hostname, clock) =
                (services.settings.hostname.clone(), services.world.clock.clone());
            let stopping = stopping.clone();
            tasks.spawn(housekeeping::follow_certificates(tls, hostname, clock, stopping));
        }
        let tls_reports = services.tls_reports();
        tasks.spawn(tls_reports.clone().run(stopping.clone()));
        tasks.spawn(Arc::new(services.relay(tls_reports)).run(stopping.clone()));
        tasks.spawn(services.collectors.clone().run(stopping.clone()));
        tasks.spawn(services.refusals.clone().run(stopping.clone()));
        let guard = services.authenticator.guard().clone();
        let failures = stopping.clone();
        tasks.spawn(async move { guard.failed_logins().run(failures).await });
        let World { store, clock, .. } = services.world.clone();
        tasks.spawn(directory::problems::tell(store.clone(), stopping.clone()));
        tasks.spawn(housekeeping::sweep(store, clock, services.expire.clone(), stopping));
        Ok(Self { listening, serving, services, stop, tasks, sessions })
    }

    /// What it serves, and where: in the order of the settings.
    #[must_use]
    pub fn listening(&self) -> &[(Kind, Endpoint)] {
        &self.listening
    }

    /// Has other settings hold, for sessions that begin from now on and for what is sent out. Those that were
    /// given out at the start stay: `hostname`, `memory`, `oauth`, `listeners`, `control`, and of `relay` the
    /// addresses; what collects from other servers keeps its `message_size`.
    ///
    /// # Errors
    /// When the certificates do not fit the listeners; then nothing changes.
    pub fn reload(&mut self, settings: Settings) -> Result<(), StartError> {
        let tls = settings.tls.clone();
        let services = self.services.under(settings);
        let listeners = services.settings.listeners.iter();
        let fresh = listeners.map(|listener| services.service(listener));
        let fresh = fresh.collect::<Result<Vec<_>, _>>()?;
        if let (Some(ours), Some(fresh)) = (&services.settings.tls, tls) {
            ours.follow(&fresh);
        }
        if let Some(tls) = &services.settings.tls {
            tls.tell_ailments(&services.settings.hostname, &*services.world.clock);
        }
        services.adjust();
        for (serving, fresh) in self.serving.iter().zip(fresh) {
            serving.set(fresh);
        }
        self.services = services;
        Ok(())
    }

    /// Stops: takes no connections any more, ends the sessions that wait, lets those that have
    /// something in hand finish it for a bounded time.
    pub async fn stop(mut self) {
        // An error means that nothing is left to stop.
        let _ = self.stop.send(true);
        let ended = async {
            while self.tasks.join_next().await.is_some() {}
            // Ends when the last session drops its sender.
            let _ = self.sessions.recv().await;
        };
        if timeout(GRACE, ended).await.is_err() {
            tracing::warn!("some sessions did not end in time");
        }
        self.services.refusals.tell_counted().await;
    }
}

fn bind_error(endpoint: &Endpoint, cause: io::Error) -> StartError {
    StartError::Bind { endpoint: endpoint.clone(), cause }
}
