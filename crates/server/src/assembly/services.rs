//! The resources that a server's sessions share, and the service that each listener makes from them.

use crate::{
    access::maildrop::Maildrops,
    admin::{
        Admin, OwnMaildrops,
        http::Health,
        looking::{ListenerLine, RunningServer},
    },
    assembly::{StartError, World},
    collect::Collectors,
    deliver::{Routing, notes::NoteWriter},
    directory::{Directory, srs::Srs},
    filter::Filters,
    limits::{adjustable::Adjustable, memory::Budget, metrics::Metrics, sending_rate::Rates},
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
        spool::Intake,
    },
    reports::{
        Reporter, certificates::CertificateWarnings, dmarc::DmarcReports,
        received::ReceivedReports, tls::TlsReports,
    },
    send::{
        Relay, RelaySettings,
        trust::mta_sts::{Policies, Policy},
    },
    settings::{ListenerKind, ListenerSettings, Settings, TlsMode},
    sign::{
        SigningSettings,
        certificates::{AcmeSettings, answers::AnswersInStore, keeper::CertificateKeeper},
        rotation::Rotation,
        signers::Signers,
    },
    web::{Web, mail_programs::MailPrograms, plain::PlainWeb},
};
use posta_net::{
    acme::{Authority, Proof},
    dial::Dialer,
    driver::Driver,
    https::HttpsClient,
    tls::server::Tls,
    transport::Endpoint,
};
use posta_pop3::server::Profile as Pop3Profile;
use posta_smtp::server::{Profile as SmtpProfile, Service as SmtpService};
use posta_store::{Vital, Vitals};
use std::{sync::Arc, time::Duration};
use tokio::sync::{Notify, watch};

/// The resources that all sessions share.
#[derive(Clone)]
pub(crate) struct Services {
    pub(crate) settings: Settings,
    pub(crate) world: World,
    pub(crate) rates: Arc<Rates>,
    pub(crate) relay_nudge: Arc<Notify>,
    pub(crate) metrics: Arc<Metrics>,
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
    pub(crate) notes: Arc<NoteWriter>,
    pub(crate) relay_settings: Arc<Adjustable<RelaySettings>>,
    pub(crate) signing: Arc<Adjustable<SigningSettings>>,
    pub(crate) signers: Arc<Signers>,
    pub(crate) dmarc_reports: Arc<DmarcReports>,
    pub(crate) received_reports: Arc<ReceivedReports>,
    sends_dmarc_reports: Arc<Adjustable<bool>>,
    /// The number of days for which retrieved messages are kept.
    pub(crate) expire: Arc<Adjustable<Option<u32>>>,
    /// Carries out the operator's requests, once the sockets are bound.
    pub(crate) admin: Option<Admin>,
    /// The sockets of the listeners, in the order of the settings, once they are bound.
    pub(crate) listening: Vec<(ListenerKind, Endpoint)>,
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
        let metrics = Arc::new(Metrics::default());
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
            authenticator: {
                let authenticator = authenticator(&settings, &world).await?;
                Arc::new(authenticator.with_metrics(metrics.clone()))
            },
            collectors: {
                let Settings { hostname, message_size, .. } = &settings;
                let collectors = world.collectors(hostname.clone(), *message_size);
                Arc::new(collectors.with_metrics(metrics.clone()))
            },
            metrics,
            sessions: Arc::new(AccountSessions::new(
                &*world.store,
                settings.pop3.sessions_per_account,
                settings.pop3.login_delay,
            )),
            driver: Arc::new(Driver::new(stopping.clone(), settings.session_time)),
            rates: Arc::new(Rates::new(&*world.store, settings.submissions)),
            relay_nudge: Arc::default(),
            srs,
            clients: Arc::new(Clients::new(settings.sessions, settings.sessions_per_client)),
            budget: Budget::new(settings.memory),
            door: Arc::new(Adjustable::new(door(&settings, &world))),
            refusals: Arc::new(Refusals::new(world.store.clone(), world.clock.clone())),
            filters: filters(&settings, &world),
            notes: Arc::new(NoteWriter::new(world.clock.clone())),
            relay_settings: Arc::new(Adjustable::new(settings.relay.clone())),
            expire: Arc::new(Adjustable::new(settings.pop3.expire)),
            admin: None,
            listening: Vec::new(),
            stopping,
            world,
            settings,
        })
    }

    /// Becomes a node of the store, if several servers share it.
    pub(crate) async fn join(&self) -> Result<(), StartError> {
        let (clock, metrics) = (self.world.clock.clone(), self.metrics.clone());
        let vital = move || Vital { time: clock.now(), sessions: metrics.open_sessions() };
        Ok(self.world.store.join(Vitals(Arc::new(vital))).await?)
    }

    /// Returns the same resources for sessions that begin under other settings. Everything that was
    /// bound, opened or allocated at the start remains as it is: see
    /// [`crate::assembly::MailServer::reload`].
    pub(crate) fn under(&self, settings: Settings) -> Self {
        let old = self.settings.clone();
        let Settings { hostname, memory, oauth, listeners, tls, acme, control, spool, .. } = old;
        let settings =
            Settings { hostname, memory, oauth, listeners, tls, acme, control, spool, ..settings };
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
            ListenerKind::Web => Protocol::Web(self.web()),
            ListenerKind::PlainWeb => Protocol::PlainWeb(Arc::new(self.plain_web())),
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
                    metrics: self.metrics.clone(),
                }),
                // An operator who configures no TLS at all accepts plaintext there.
                plaintext_login: listener.tls == TlsMode::None,
            },
        };
        let (driver, clients) = (self.driver.clone(), self.clients.clone());
        let metrics = self.metrics.clone();
        let proxies = self.settings.proxies.clone();
        let forwarders = self.settings.forwarders.clone();
        let store = self.world.store.clone();
        Ok(Service { protocol, proxies, forwarders, implicit_tls, driver, clients, metrics, store })
    }

    /// Returns what the operator sees of the server with these listeners.
    pub(crate) fn running(&self, listening: &[(ListenerKind, Endpoint)]) -> RunningServer {
        let line = |(kind, address): &(ListenerKind, Endpoint)| ListenerLine {
            protocol: kind.name().to_owned(),
            address: address.to_string(),
        };
        RunningServer {
            hostname: self.settings.hostname.clone(),
            started: self.world.clock.now(),
            listeners: listening.iter().map(line).collect(),
            tls: self.settings.tls.clone(),
            metrics: self.metrics.clone(),
            stopping: self.stopping.clone(),
        }
    }

    fn web(&self) -> Web {
        let web = Web::new(self.policy())
            .with_mail_programs(self.mail_programs())
            .with_health(self.health());
        match &self.admin {
            Some(admin) => {
                let networks = self.settings.metrics_for.clone();
                web.with_operator(admin.clone(), self.authenticator.clone(), networks)
            }
            None => web,
        }
    }

    fn mail_programs(&self) -> MailPrograms {
        let listening: Vec<_> = self
            .settings
            .listeners
            .iter()
            .zip(&self.listening)
            .map(|(listener, (kind, socket))| (*kind, socket, listener.tls))
            .collect();
        let (hostname, store) = (self.settings.hostname.clone(), self.world.store.clone());
        MailPrograms::new(hostname, &listening, store)
    }

    /// Returns what carries out the operator's requests, for a server with these sockets.
    pub(crate) fn operator(&self, listening: &[(ListenerKind, Endpoint)]) -> Admin {
        let World { store, clock, .. } = self.world.clone();
        let is_pop3 = |(kind, _): &&(ListenerKind, Endpoint)| *kind == ListenerKind::Pop3;
        let sockets = listening.iter().filter(is_pop3).map(|(_, socket)| socket.clone());
        let own_maildrops = OwnMaildrops {
            hostname: Some(self.settings.hostname.clone()),
            sockets: sockets.collect(),
        };
        let admin = Admin::new(store, clock, self.collectors.clone())
            .with_own_maildrops(own_maildrops)
            .with_authenticator(&self.authenticator)
            .with_queue_lifetime(self.settings.relay.longest_lifetime())
            .with_running_server(self.running(listening));
        match self.settings.control.as_ref().and_then(|socket| socket.parent()) {
            Some(data) => admin.with_data_directory(data.to_owned()),
            None => admin,
        }
    }

    /// Returns what tells others whether the server is well.
    pub(crate) fn health(&self) -> Health {
        Health { store: self.world.store.clone(), stopping: self.stopping.clone() }
    }

    fn policy(&self) -> Policy {
        let mut policy = self.settings.policy.clone();
        if policy.mx.is_empty() {
            policy.mx.push(self.settings.hostname.to_string());
        }
        policy
    }

    fn plain_web(&self) -> PlainWeb {
        let tls = self.settings.tls.as_ref();
        let has_https = self.has_listener(ListenerKind::Web);
        PlainWeb {
            challenges: tls.map(|tls| tls.challenges().clone()).unwrap_or_default(),
            has_https,
        }
    }

    fn has_listener(&self, kind: ListenerKind) -> bool {
        self.settings.listeners.iter().any(|listener| listener.kind == kind)
    }

    /// Returns what obtains certificates from an authority, if the settings name one and there is a listener that
    /// uses them.
    pub(crate) fn certificates(&self) -> Option<Arc<CertificateKeeper>> {
        let AcmeSettings { directory, contact } = self.settings.acme.clone()?;
        let World { store, clock, resolver, .. } = self.world.clone();
        let proofs = [(ListenerKind::PlainWeb, Proof::Http), (ListenerKind::Web, Proof::TlsAlpn)];
        let proofs = proofs.into_iter().filter(|(kind, _)| self.has_listener(*kind));
        if let (Some(tls), true) = (&self.settings.tls, store.is_shared()) {
            let (store, clock) = (store.clone(), clock.clone());
            tls.challenges().share(Arc::new(AnswersInStore { store, clock }));
        }
        Some(Arc::new(CertificateKeeper {
            store,
            clock,
            resolver,
            tls: self.settings.tls.clone()?,
            authority: Authority { directory, contact, https: self.https_client() },
            hostname: self.settings.hostname.clone(),
            proofs: proofs.map(|(_, proof)| proof).collect(),
            asking: Default::default(),
            granting: Default::default(),
            installed: Default::default(),
        }))
    }

    /// Returns what warns the postmaster of certificates that cannot be renewed.
    pub(crate) fn certificate_warnings(&self) -> CertificateWarnings {
        CertificateWarnings(self.reporter())
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
            metrics: self.metrics.clone(),
            driver: Driver::unstoppable(),
            hosts: Default::default(),
            capacity: Default::default(),
            smarthosts: Default::default(),
        }
    }

    /// Returns the SASL mechanisms that clients may use.
    fn mechanisms(&self, secured: bool) -> Vec<&'static str> {
        let is_bound =
            secured && self.authenticator.offers_binding() && self.authenticator.offers_scram();
        let bound = if is_bound { &sasl::BOUND[..] } else { &[] };
        let tokens = if self.authenticator.knows_tokens() { &sasl::TOKENS[..] } else { &[] };
        let own = sasl::OWN
            .iter()
            .filter(|name| self.authenticator.offers_scram() || !name.starts_with("SCRAM"));
        bound.iter().chain(own).chain(tokens).copied().collect()
    }

    fn checker(&self) -> Option<Checker> {
        Some(Checker {
            policy: Arc::new(self.settings.checks.clone()?),
            dns: Arc::new(OriginDns(self.world.resolver.clone())),
            hostname: self.settings.hostname.clone(),
            clock: self.world.clock.clone(),
            keys: Arc::default(),
        })
    }

    /// Returns what accepts messages in the sessions of a service.
    fn acceptor(&self, service: SmtpService, tls: Option<Tls>) -> Arc<Acceptor> {
        Arc::new(Acceptor {
            service,
            hostname: self.settings.hostname.clone(),
            store: self.world.store.clone(),
            clock: self.world.clock.clone(),
            directory: self.directory(),
            authenticator: self.authenticator.clone(),
            budget: self.budget.clone(),
            tls,
            loopback: self.settings.trust_loopback,
            relays_for: self.settings.relays_for.clone(),
            longest_hold: Duration::from_secs(self.settings.smtp_limits.hold.into()),
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
                notes: self.notes.clone(),
            },
            metrics: self.metrics.clone(),
        })
    }

    /// Returns what accepts messages from the spool: as the submission service does, since programs hand them over whose
    /// users nobody has to prove.
    pub(crate) fn intake(&self) -> Intake {
        let acceptor = self.acceptor(SmtpService::Submission, None);
        Intake { acceptor, message_size: self.settings.message_size }
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
            acceptor: self.acceptor(service, tls),
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
