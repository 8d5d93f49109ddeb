//! Where the engines meet the world: listeners, the driver, acceptance, delivery, administration.
//!
//! [`Server::start`] binds every socket and serves until [`Server::stop`]. Connections come from a
//! [`net::Net`], time and ids from a [`clock::Clock`], mail goes to a
//! [`Store`]: each can be replaced, so the whole server also runs in memory.

pub mod accept;
pub mod admin;
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
pub mod srs;
mod submission;
pub mod tls;
pub mod tls_report;
mod web;

use accept::Acceptor;
use admin::Admin;
use auth::Authenticator;
use budget::Budget;
use clock::Clock;
use collect::{Collectors, Means};
use dial::Dialer;
use directory::Directory;
use drive::Driver;
use guard::Guard;
use http::Web;
use ipnet::IpNet;
use listen::{Clients, Protocol, Service};
use maildrop::Deliverer;
use mta_sts::{Mode, Policies, Policy};
use net::{Endpoint, Net};
use oauth::{OAuthSettings, Tokens};
use outbound::ClientTls;
use posta_mail::{Domain, limits};
use posta_pop3::server::Profile as Pop3Profile;
use posta_smtp::server::{Limits as SmtpLimits, Profile as SmtpProfile, Service as SmtpService};
use posta_store::{Store, StoreError};
use presence::Presence;
use rate::Rates;
use refusals::Refusals;
use relay::{Relay, RelaySettings, Wake};
use reports::Reporter;
use resolve::Resolver;
use srs::Srs;
use std::{io, path::PathBuf, sync::Arc, time::Duration};
use tls::Tls;
use tls_report::TlsReports;
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
    /// Whether programs on this machine submit mail for here without a login.
    pub trust_loopback: bool,
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
            trust_loopback: true,
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
    #[error("cannot listen on {endpoint}: {cause}")]
    Bind {
        /// Which.
        endpoint: String,
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
#[derive(Debug)]
pub struct Server {
    listening: Vec<(Kind, Endpoint)>,
    stop: watch::Sender<bool>,
    tasks: JoinSet<()>,
    sessions: mpsc::Receiver<()>,
    refusals: Arc<Refusals>,
}

/// Makes a listener's service.
struct Services {
    settings: Settings,
    world: World,
    rates: Arc<Rates>,
    wake: Arc<Wake>,
    srs: Srs,
    authenticator: Arc<Authenticator>,
    presence: Arc<Presence>,
    collectors: Arc<Collectors>,
    driver: Arc<Driver>,
    clients: Arc<Clients>,
    budget: Budget,
    refusals: Arc<Refusals>,
}

impl Server {
    /// Binds every socket and begins to serve.
    ///
    /// # Errors
    /// When a socket cannot be bound, or TLS is to be offered without a certificate.
    pub async fn start(settings: Settings, world: World) -> Result<Self, StartError> {
        let (stop, stopping) = watch::channel(false);
        let (alive, sessions) = mpsc::channel(1);
        let services = Services {
            authenticator: Arc::new(authenticator(&settings, &world).await?),
            collectors: Arc::new(world.collectors(settings.message_size)),
            presence: Arc::new(Presence::new(
                settings.pop3.sessions_per_account,
                settings.pop3.login_delay,
            )),
            driver: Arc::new(Driver::new(stopping.clone(), settings.session_time)),
            rates: Arc::new(Rates::new(settings.submissions)),
            wake: Arc::default(),
            srs: Srs::open(&*world.store, settings.hostname.clone(), &*world.clock).await?,
            clients: Arc::new(Clients::new(settings.sessions, settings.sessions_per_client)),
            budget: Budget::new(settings.memory),
            refusals: Arc::new(Refusals::new(world.store.clone(), world.clock.clone())),
            world,
            settings,
        };
        let mut tasks = JoinSet::new();
        let mut listening = Vec::new();
        for listener in &services.settings.listeners {
            let service = services.service(listener)?;
            let bound = services.world.net.bind(&listener.endpoint).await;
            let bound = bound.map_err(|cause| bind_error(&listener.endpoint, cause))?;
            listening.push((listener.kind, bound.endpoint()));
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
            tasks.spawn(housekeeping::follow_certificates(tls, stopping.clone()));
        }
        let tls_reports = services.tls_reports();
        tasks.spawn(tls_reports.clone().run(stopping.clone()));
        tasks.spawn(Arc::new(services.relay(tls_reports)).run(stopping.clone()));
        tasks.spawn(services.collectors.clone().run(stopping.clone()));
        let refusals = services.refusals.clone();
        tasks.spawn(refusals.clone().run(stopping.clone()));
        let guard = services.authenticator.guard().clone();
        let failures = stopping.clone();
        tasks.spawn(async move { guard.failed_logins().run(failures).await });
        let expire = services.settings.pop3.expire;
        let World { store, clock, .. } = services.world;
        tasks.spawn(housekeeping::sweep(store, clock, expire, stopping));
        Ok(Self { listening, stop, tasks, sessions, refusals })
    }

    /// What it serves, and where: in the order of the settings.
    #[must_use]
    pub fn listening(&self) -> &[(Kind, Endpoint)] {
        &self.listening
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
        self.refusals.tell_counted().await;
    }
}

impl Services {
    fn service(&self, listener: &ListenerSettings) -> Result<Service, StartError> {
        let tls = match (&self.settings.tls, listener.tls) {
            (_, TlsMode::None) => None,
            (Some(tls), _) => Some(tls.clone()),
            (None, _) => return Err(StartError::NoCertificate(listener.endpoint.clone())),
        };
        let implicit_tls = tls.clone().filter(|_| listener.tls == TlsMode::Implicit);
        let by_command = listener.tls == TlsMode::StartTls;
        let pop3 = &self.settings.pop3;
        let protocol = match listener.kind {
            Kind::Smtp => self.smtp(SmtpService::Smtp, by_command, tls),
            Kind::Submission => self.smtp(SmtpService::Submission, by_command, tls),
            Kind::Lmtp => self.smtp(SmtpService::Lmtp, by_command, tls),
            Kind::Web => Protocol::Web(Arc::new(self.policy())),
            Kind::Pop3 => Protocol::Pop3 {
                profile: Arc::new(Pop3Profile {
                    stls: by_command,
                    mechanisms: self.mechanisms(false),
                    secured_mechanisms: self.mechanisms(true),
                    unannounced: sasl::BOUND.to_vec(),
                    login_delay: pop3.login_delay,
                    expire: pop3.expire,
                    patience: pop3.autologout,
                    ..Pop3Profile::new(self.settings.hostname.to_string())
                }),
                deliverer: Arc::new(Deliverer {
                    store: self.world.store.clone(),
                    clock: self.world.clock.clone(),
                    authenticator: self.authenticator.clone(),
                    tls,
                    presence: self.presence.clone(),
                    refusals: self.refusals.clone(),
                    apop: pop3.apop,
                    expires: pop3.expire.is_some(),
                }),
                // Whoever offers no TLS at all has said that plaintext is fine there.
                plaintext_login: listener.tls == TlsMode::None,
            },
        };
        let (driver, clients) = (self.driver.clone(), self.clients.clone());
        let proxies = self.settings.proxies.clone();
        let forwarders = self.settings.forwarders.clone();
        Ok(Service { protocol, proxies, forwarders, implicit_tls, driver, clients })
    }

    fn policy(&self) -> Policy {
        let mut policy = self.settings.policy.clone();
        if policy.mx.is_empty() {
            policy.mx.push(self.settings.hostname.to_string());
        }
        policy
    }

    fn directory(&self) -> Directory {
        let World { store, clock, .. } = &self.world;
        let directory = Directory::new(store.clone(), self.settings.hostname.clone());
        directory.rewriting(self.srs.clone(), clock.clone())
    }

    fn reporter(&self) -> Reporter {
        Reporter {
            hostname: self.settings.hostname.clone(),
            store: self.world.store.clone(),
            clock: self.world.clock.clone(),
            directory: self.directory(),
        }
    }

    fn tls_reports(&self) -> Arc<TlsReports> {
        let reports = TlsReports::new(self.web(), self.reporter(), self.wake.clone());
        Arc::new(reports)
    }

    fn web(&self) -> Web {
        let World { net, resolver, tls, .. } = self.world.clone();
        let private_addresses = self.settings.relay.private_addresses;
        Web { dialer: Dialer::new(net, private_addresses, Vec::new()), resolver, tls }
    }

    fn relay(&self, tls_reports: Arc<TlsReports>) -> Relay {
        let World { store, clock, net, resolver, tls } = self.world.clone();
        let RelaySettings { private_addresses, sources, .. } = self.settings.relay.clone();
        let dialer = Dialer::new(net, private_addresses, sources);
        Relay {
            policies: Policies::new(self.web(), store.clone(), clock.clone(), tls_reports.clone()),
            tls_reports,
            hostname: self.settings.hostname.clone(),
            store,
            clock,
            dialer,
            resolver,
            directory: self.directory(),
            reporter: self.reporter(),
            settings: self.settings.relay.clone(),
            tls,
            wake: self.wake.clone(),
            driver: Driver::unstoppable(),
            hosts: Default::default(),
            lanes: Default::default(),
        }
    }

    /// How clients may prove who they are.
    fn mechanisms(&self, secured: bool) -> Vec<&'static str> {
        let is_bound = secured && self.authenticator.offers_binding();
        let bound = if is_bound { &sasl::BOUND[..] } else { &[] };
        let tokens = if self.authenticator.knows_tokens() { &sasl::TOKENS[..] } else { &[] };
        [bound, &sasl::OWN, tokens].concat()
    }

    fn smtp(&self, service: SmtpService, starttls: bool, tls: Option<Tls>) -> Protocol {
        let Settings { hostname, message_size, smtp_limits, normalise_newlines, .. } =
            self.settings.clone();
        // Servers do not log in to each other, and a neighbour that delivers is let in by address.
        let (mechanisms, unannounced) = match service {
            SmtpService::Submission => (self.mechanisms(tls.is_some()), sasl::BOUND.to_vec()),
            SmtpService::Smtp | SmtpService::Lmtp => (Vec::new(), Vec::new()),
        };
        // Whoever offers no TLS at all has said that plaintext is fine there.
        let plaintext_auth = tls.is_none();
        Protocol::Smtp {
            acceptor: Arc::new(Acceptor {
                service,
                hostname: hostname.clone(),
                store: self.world.store.clone(),
                clock: self.world.clock.clone(),
                directory: self.directory(),
                authenticator: self.authenticator.clone(),
                budget: self.budget.clone(),
                tls,
                trusts_loopback: self.settings.trust_loopback,
                relays_for: self.settings.relays_for.clone(),
                longest_hold: Duration::from_secs(smtp_limits.hold.into()),
                rates: self.rates.clone(),
                refusals: self.refusals.clone(),
                reporter: self.reporter(),
                wake: self.wake.clone(),
            }),
            profile: Arc::new(SmtpProfile {
                hostname,
                service,
                verify: self.settings.verify,
                message_size,
                limits: smtp_limits,
                normalise_newlines,
                starttls,
                mechanisms,
                unannounced,
                plaintext_auth,
            }),
        }
    }
}

async fn authenticator(settings: &Settings, world: &World) -> Result<Authenticator, StartError> {
    let tokens =
        |oauth: &OAuthSettings| Tokens::new(oauth.clone(), world.net.clone(), world.tls.clone());
    let tokens = settings.oauth.as_ref().map(tokens);
    let World { store, clock, .. } = world;
    let Settings { failed_logins, failed_login_delay, .. } = *settings;
    let guard = Guard::new(store.clone(), clock.clone(), failed_logins, failed_login_delay);
    let authenticator = Authenticator::open(store.clone(), clock.clone()).await?;
    let authenticator = authenticator.with_binding(settings.channel_binding);
    Ok(authenticator.with_tokens(tokens).with_guard(guard))
}

fn bind_error(endpoint: &Endpoint, cause: io::Error) -> StartError {
    StartError::Bind { endpoint: endpoint.to_string(), cause }
}
