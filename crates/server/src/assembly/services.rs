//! The resources that a server's sessions share, and the service that each listener makes from them.

use crate::{
    access::maildrop::Maildrops,
    assembly::{StartError, World},
    collect::Collectors,
    deliver::Routing,
    directory::{Directory, srs::Srs},
    filter::Filters,
    limits::{adjustable::Adjustable, memory::Budget, sending_rate::Rates},
    listen::{Clients, Protocol, Service},
    login::{
        Authenticator,
        lockout::Lockouts,
        oauth::{OAuthSettings, Tokens},
        sasl,
        sessions::AccountSessions,
    },
    receive::{
        checks::Checker,
        door::{Door, DoorMeans},
        origin_dns::OriginDns,
        refusals::Refusals,
        session::Acceptor,
    },
    reports::{Reporter, dmarc::DmarcReports, received::ReceivedReports, tls::TlsReports},
    send::{
        Relay, RelaySettings,
        trust::mta_sts::{Policies, Policy},
    },
    settings::{ListenerKind, ListenerSettings, Settings, TlsMode},
    sign::{SigningSettings, rotation::Rotation, signers::Signers},
};
use posta_net::{dial::Dialer, driver::Driver, https::HttpsClient, tls::server::Tls};
use posta_pop3::server::Profile as Pop3Profile;
use posta_smtp::server::{Profile as SmtpProfile, Service as SmtpService};
use std::{sync::Arc, time::Duration};
use tokio::sync::{Notify, watch};

/// The resources that all sessions share.
#[derive(Clone)]
pub(crate) struct Services {
    pub(crate) settings: Settings,
    pub(crate) world: World,
    pub(crate) rates: Arc<Rates>,
    pub(crate) relay_nudge: Arc<Notify>,
    pub(crate) srs: Srs,
    pub(crate) authenticator: Arc<Authenticator>,
    pub(crate) sessions: Arc<AccountSessions>,
    pub(crate) collectors: Arc<Collectors>,
    pub(crate) driver: Arc<Driver>,
    pub(crate) clients: Arc<Clients>,
    pub(crate) budget: Budget,
    pub(crate) door: Arc<Adjustable<Door>>,
    pub(crate) refusals: Arc<Refusals>,
    pub(crate) filters: Arc<Filters>,
    pub(crate) relay_settings: Arc<Adjustable<RelaySettings>>,
    pub(crate) signing: Arc<Adjustable<SigningSettings>>,
    pub(crate) signers: Arc<Signers>,
    pub(crate) dmarc_reports: Arc<DmarcReports>,
    pub(crate) received_reports: Arc<ReceivedReports>,
    sends_dmarc_reports: Arc<Adjustable<bool>>,
    /// The number of days for which retrieved messages are kept.
    pub(crate) expire: Arc<Adjustable<Option<u32>>>,
    stopping: watch::Receiver<bool>,
}

impl Services {
    /// Returns the resources, before any session has begun.
    pub(crate) async fn new(
        settings: Settings,
        world: World,
        stopping: watch::Receiver<bool>,
    ) -> Result<Self, StartError> {
        let signing = Arc::new(Adjustable::new(settings.signing.clone()));
        let signers = Arc::new(Signers::new(world.store.clone(), signing.clone()));
        let srs = Srs::open(&*world.store, settings.hostname.clone(), &*world.clock).await?;
        let reporter = reporter(&settings, &world, &srs, &signers);
        let dns = Arc::new(OriginDns(world.resolver.clone()));
        let sends_dmarc_reports = Arc::new(Adjustable::new(settings.dmarc_reports));
        let World { store, clock, .. } = world.clone();
        let received_reports = Arc::new(ReceivedReports::new(store, clock));
        Ok(Self {
            dmarc_reports: Arc::new(DmarcReports::new(
                reporter,
                dns,
                received_reports.clone(),
                sends_dmarc_reports.clone(),
            )),
            received_reports,
            sends_dmarc_reports,
            signers,
            signing,
            authenticator: Arc::new(authenticator(&settings, &world).await?),
            collectors: {
                let Settings { hostname, message_size, .. } = &settings;
                Arc::new(world.collectors(hostname.clone(), *message_size))
            },
            sessions: Arc::new(AccountSessions::new(
                settings.pop3.sessions_per_account,
                settings.pop3.login_delay,
            )),
            driver: Arc::new(Driver::new(stopping.clone(), settings.session_time)),
            rates: Arc::new(Rates::new(settings.submissions)),
            relay_nudge: Arc::default(),
            srs,
            clients: Arc::new(Clients::new(settings.sessions, settings.sessions_per_client)),
            budget: Budget::new(settings.memory),
            door: Arc::new(Adjustable::new(door(&settings, &world))),
            refusals: Arc::new(Refusals::new(world.store.clone(), world.clock.clone())),
            filters: filters(&settings, &world),
            relay_settings: Arc::new(Adjustable::new(settings.relay.clone())),
            expire: Arc::new(Adjustable::new(settings.pop3.expire)),
            stopping,
            world,
            settings,
        })
    }

    /// Returns the same resources for sessions that begin under other settings. Everything that was
    /// bound, opened or allocated at the start remains as it is: see
    /// [`crate::assembly::MailServer::reload`].
    pub(crate) fn under(&self, settings: Settings) -> Self {
        let old = self.settings.clone();
        let Settings { hostname, memory, oauth, listeners, tls, control, .. } = old;
        let settings = Settings { hostname, memory, oauth, listeners, tls, control, ..settings };
        let driver = Arc::new(Driver::new(self.stopping.clone(), settings.session_time));
        let filters = match settings.filters == self.settings.filters {
            true => self.filters.clone(),
            false => filters(&settings, &self.world),
        };
        Self { driver, settings, filters, ..self.clone() }
    }

    /// Applies the settings to the shared resources.
    pub(crate) fn adjust(&self) {
        let Settings { pop3, relay, .. } = &self.settings;
        self.clients.limit.set(self.settings.sessions);
        self.clients.limit_each.set(self.settings.sessions_per_client);
        self.sessions.limit.set(pop3.sessions_per_account);
        self.sessions.delay.set(pop3.login_delay);
        self.rates.submissions.set(self.settings.submissions);
        self.authenticator.lockouts().limit.set(self.settings.failed_logins);
        self.door.set(self.door.get().under(self.settings.door.clone()));
        self.relay_settings.set(relay.clone());
        self.signing.set(self.settings.signing.clone());
        self.sends_dmarc_reports.set(self.settings.dmarc_reports);
        self.expire.set(pop3.expire);
        self.relay_nudge.notify_one();
    }

    pub(crate) fn service(&self, listener: &ListenerSettings) -> Result<Service, StartError> {
        let tls = match (&self.settings.tls, listener.tls) {
            (_, TlsMode::None) => None,
            (Some(tls), _) => Some(tls.clone()),
            (None, _) => return Err(StartError::NoCertificate(listener.endpoint.clone())),
        };
        let implicit_tls = tls.clone().filter(|_| listener.tls == TlsMode::Implicit);
        let by_command = listener.tls == TlsMode::StartTls;
        let pop3 = &self.settings.pop3;
        let protocol = match listener.kind {
            ListenerKind::Smtp => self.smtp(SmtpService::Smtp, by_command, tls),
            ListenerKind::Submission => self.smtp(SmtpService::Submission, by_command, tls),
            ListenerKind::Lmtp => self.smtp(SmtpService::Lmtp, by_command, tls),
            ListenerKind::Web => Protocol::Web(Arc::new(self.policy())),
            ListenerKind::Pop3 => Protocol::Pop3 {
                profile: Arc::new(Pop3Profile {
                    hostname: self.settings.hostname.to_string(),
                    stls: by_command,
                    mechanisms: self.mechanisms(false),
                    secured_mechanisms: self.mechanisms(true),
                    unannounced: sasl::BOUND.to_vec(),
                    login_delay: pop3.login_delay,
                    expire: pop3.expire,
                    patience: pop3.autologout,
                }),
                maildrops: Arc::new(Maildrops {
                    store: self.world.store.clone(),
                    clock: self.world.clock.clone(),
                    authenticator: self.authenticator.clone(),
                    tls,
                    sessions: self.sessions.clone(),
                    refusals: self.refusals.clone(),
                    apop: pop3.apop,
                    expires: pop3.expire.is_some(),
                }),
                // An operator who configures no TLS at all accepts plaintext there.
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
        directory(&self.settings, &self.world, &self.srs)
    }

    fn reporter(&self) -> Reporter {
        reporter(&self.settings, &self.world, &self.srs, &self.signers)
    }

    /// Returns what looks after the keys that sign mail.
    pub(crate) fn rotation(&self) -> Rotation {
        let World { store, clock, resolver, .. } = self.world.clone();
        Rotation::new(store, clock, resolver, self.signing.clone())
    }

    pub(crate) fn tls_reports(&self) -> Arc<TlsReports> {
        let reports = TlsReports::new(self.https_client(), self.reporter());
        Arc::new(reports)
    }

    fn https_client(&self) -> HttpsClient {
        let World { net, resolver, tls, .. } = self.world.clone();
        let private_addresses = self.settings.relay.private_addresses;
        HttpsClient { dialer: Dialer::new(net, private_addresses, Vec::new()), resolver, tls }
    }

    pub(crate) fn relay(&self, tls_reports: Arc<TlsReports>) -> Relay {
        let World { store, clock, net, resolver, tls } = self.world.clone();
        let RelaySettings { private_addresses, sources, .. } = self.settings.relay.clone();
        let dialer = Dialer::new(net, private_addresses, sources);
        Relay {
            policies: Policies::new(
                self.https_client(),
                store.clone(),
                clock.clone(),
                tls_reports.clone(),
            ),
            tls_reports,
            hostname: self.settings.hostname.clone(),
            store,
            clock,
            dialer,
            resolver,
            directory: self.directory(),
            reporter: self.reporter(),
            settings: self.relay_settings.clone(),
            tls,
            nudge: self.relay_nudge.clone(),
            driver: Driver::unstoppable(),
            hosts: Default::default(),
            capacity: Default::default(),
            smarthosts: Default::default(),
        }
    }

    /// Returns the SASL mechanisms that clients may use.
    fn mechanisms(&self, secured: bool) -> Vec<&'static str> {
        let is_bound = secured && self.authenticator.offers_binding();
        let bound = if is_bound { &sasl::BOUND[..] } else { &[] };
        let tokens = if self.authenticator.knows_tokens() { &sasl::TOKENS[..] } else { &[] };
        [bound, &sasl::OWN, tokens].concat()
    }

    fn checker(&self) -> Option<Checker> {
        Some(Checker {
            policy: Arc::new(self.settings.checks.clone()?),
            dns: Arc::new(OriginDns(self.world.resolver.clone())),
            hostname: self.settings.hostname.clone(),
            clock: self.world.clock.clone(),
        })
    }

    fn smtp(&self, service: SmtpService, starttls: bool, tls: Option<Tls>) -> Protocol {
        let Settings { hostname, message_size, smtp_limits, normalise_newlines, .. } =
            self.settings.clone();
        // Servers do not log in to each other, and trusted neighbours are recognised by address.
        let (mechanisms, unannounced) = match service {
            SmtpService::Submission => (self.mechanisms(tls.is_some()), sasl::BOUND.to_vec()),
            SmtpService::Smtp | SmtpService::Lmtp => (Vec::new(), Vec::new()),
        };
        // An operator who configures no TLS at all accepts plaintext there.
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
                loopback: self.settings.trust_loopback,
                relays_for: self.settings.relays_for.clone(),
                longest_hold: Duration::from_secs(smtp_limits.hold.into()),
                rates: self.rates.clone(),
                checker: self.checker(),
                door: self.door.clone(),
                refusals: self.refusals.clone(),
                signers: self.signers.clone(),
                routing: Routing {
                    directory: self.directory(),
                    reports: Arc::new(self.reporter()),
                    filters: self.filters.clone(),
                    signers: self.signers.clone(),
                    feedback: self.dmarc_reports.clone(),
                },
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

fn directory(settings: &Settings, world: &World, srs: &Srs) -> Directory {
    let directory = Directory::new(world.store.clone(), settings.hostname.clone());
    directory.rewriting(srs.clone(), world.clock.clone())
}

fn reporter(settings: &Settings, world: &World, srs: &Srs, signers: &Arc<Signers>) -> Reporter {
    Reporter {
        hostname: settings.hostname.clone(),
        store: world.store.clone(),
        clock: world.clock.clone(),
        directory: directory(settings, world, srs),
        signers: signers.clone(),
    }
}

fn door(settings: &Settings, world: &World) -> Door {
    let World { resolver, store, clock, .. } = world.clone();
    let hostname = settings.hostname.clone();
    Door::new(settings.door.clone(), DoorMeans { dns: resolver, store, clock, hostname })
}

fn filters(settings: &Settings, world: &World) -> Arc<Filters> {
    Arc::new(Filters::new(
        settings.filters.clone(),
        settings.hostname.clone(),
        world.net.clone(),
        world.clock.clone(),
    ))
}

async fn authenticator(settings: &Settings, world: &World) -> Result<Authenticator, StartError> {
    let tokens =
        |oauth: &OAuthSettings| Tokens::new(oauth.clone(), world.net.clone(), world.tls.clone());
    let tokens = settings.oauth.as_ref().map(tokens);
    let World { store, clock, .. } = world;
    let Settings { failed_logins, failed_login_delay, .. } = *settings;
    let lockouts = Lockouts::new(store.clone(), clock.clone(), failed_logins, failed_login_delay);
    let authenticator = Authenticator::open(store.clone(), clock.clone()).await?;
    let authenticator = authenticator.with_binding(settings.channel_binding);
    Ok(authenticator.with_tokens(tokens).with_lockouts(lockouts))
}
