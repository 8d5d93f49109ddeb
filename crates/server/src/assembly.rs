//! Assembling the server: connects the parts with each other, starts the background tasks, and starts,
//! reloads and stops the whole. `posta serve` and the tests call it.

mod housekeeping;
pub(crate) mod services;

use crate::{
    admin::{Program, control},
    assembly::services::Services,
    collect::{CollectContext, Collectors},
    directory,
    limits::adjustable::Adjustable,
    listen::{self, Service},
    receive::{
        door,
        spool::{Intake, PickUp},
    },
    settings::{ListenerKind, ListenerSettings, Settings},
};
use posta_mail::Domain;
use posta_net::{
    clock::Clock,
    dns::Resolver,
    socket_words,
    tls::client::ClientTls,
    transport::{Endpoint, Listener, Net},
};
use posta_store::{Store, StoreError};
use std::{io, pin::Pin, sync::Arc, time::Duration};
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
    time::timeout,
};

/// The time within which busy sessions must finish when the server stops.
const GRACE: Duration = Duration::from_secs(10);

/// The reason why the server did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A socket cannot be bound to a listener's address.
    #[error("cannot listen on {endpoint}: {}", socket_words::cannot_listen(endpoint, cause))]
    Bind {
        /// The address.
        endpoint: Endpoint,
        /// The system's error.
        cause: io::Error,
    },
    /// A listener offers TLS, but there is no certificate.
    #[error("{0} offers TLS, but there is no certificate")]
    NoCertificate(Endpoint),
    /// The store cannot be read.
    #[error("the store cannot be read: {0}")]
    Store(#[from] StoreError),
    /// The TLS library lacks a required algorithm.
    #[error("TLS to other servers cannot be used: {0}")]
    Tls(#[from] rustls::Error),
}

/// The outside world of a server. Each part can be replaced, so that the whole server also runs in memory.
#[derive(Clone)]
pub struct World {
    /// The store.
    pub store: Arc<dyn Store>,
    /// The source of time, ids and randomness.
    pub clock: Arc<dyn Clock>,
    /// The network, which opens and accepts connections.
    pub net: Arc<dyn Net>,
    /// Finds other servers in DNS.
    pub resolver: Arc<dyn Resolver>,
    /// Negotiates TLS with other servers.
    pub tls: ClientTls,
}

impl World {
    /// Returns the collectors of mailboxes elsewhere, which accept messages of at most `message_size` octets, for the
    /// server of this name.
    #[must_use]
    pub fn collectors(&self, hostname: Domain, message_size: u64) -> Collectors {
        let Self { store, clock, net, tls, .. } = self.clone();
        Collectors::new(store, CollectContext { net, tls, clock, message_size, hostname })
    }
}

/// A server that is starting.
pub type Starting = Pin<Box<dyn Future<Output = Result<MailServer, StartError>> + Send>>;

/// A running server.
pub struct MailServer {
    listening: Vec<(ListenerKind, Endpoint)>,
    /// The current service of each listener, given to new sessions.
    serving: Vec<Arc<Adjustable<Service>>>,
    /// What takes messages from the spool, under the current settings.
    intake: Arc<Adjustable<Intake>>,
    services: Services,
    stop: watch::Sender<bool>,
    tasks: JoinSet<()>,
    sessions: mpsc::Receiver<()>,
}

impl MailServer {
    /// Binds all sockets and starts to serve.
    ///
    /// # Errors
    /// When a socket cannot be bound, or a listener offers TLS and there is no certificate.
    #[must_use]
    pub fn start(settings: Settings, world: World) -> Starting {
        Self::start_in(None, settings, world)
    }

    /// The same within a program, which can be asked about the configuration.
    ///
    /// # Errors
    /// As [`MailServer::start`].
    #[must_use]
    pub fn start_in(
        program: Option<Arc<dyn Program>>,
        settings: Settings,
        world: World,
    ) -> Starting {
        // In a box, so that the compiler makes the server's code in this crate, and not again in each that starts one.
        Box::pin(Self::bind_and_serve(program, settings, world))
    }

    async fn bind_and_serve(
        program: Option<Arc<dyn Program>>,
        settings: Settings,
        world: World,
    ) -> Result<Self, StartError> {
        let (stop, stopping) = watch::channel(false);
        let (alive, sessions) = mpsc::channel(1);
        let mut services = Box::pin(Services::new(settings, world, stopping.clone())).await?;
        let mut tasks = JoinSet::new();
        let certificates = services.certificates();
        if let Some(certificates) = &certificates {
            // Before the first client comes.
            certificates.install().await?;
        }
        let bound = bind(&services.settings.listeners, &*services.world.net).await?;
        services.join().await?;
        let listeners = services.settings.listeners.iter().zip(&bound);
        let listening: Vec<_> =
            listeners.map(|(listener, bound)| (listener.kind, bound.endpoint())).collect();
        let admin = services
            .operator(&listening)
            .with_certificates(certificates.clone())
            .with_program(program);
        services.admin = Some(admin.clone());
        services.listening.clone_from(&listening);
        let mut serving = Vec::new();
        for (listener, bound) in services.settings.listeners.iter().zip(bound) {
            let service = Arc::new(Adjustable::new(services.service(listener)?));
            serving.push(service.clone());
            tasks.spawn(listen::listen(bound, service, stopping.clone(), alive.clone()));
        }
        if let Some(path) = services.settings.control.clone() {
            let socket = control::bind(&path);
            let socket =
                socket.map_err(|cause| bind_error(&Endpoint::Unix(path.clone()), cause))?;
            tasks.spawn(control::serve(socket, path, admin, services.health()));
        }
        if let Some(tls) = services.settings.tls.clone() {
            let (hostname, clock) =
                (services.settings.hostname.clone(), services.world.clock.clone());
            let stopping = stopping.clone();
            tasks.spawn(housekeeping::follow_certificates(tls, hostname, clock, stopping));
        }
        if let Some(certificates) = certificates {
            tasks.spawn(certificates.run(stopping.clone()));
            tasks.spawn(services.certificate_warnings().run(stopping.clone()));
        }
        let tls_reports = services.tls_reports();
        tasks.spawn(tls_reports.clone().run(stopping.clone()));
        tasks.spawn(services.dmarc_reports.clone().run(stopping.clone()));
        tasks.spawn(services.received_reports.clone().run(stopping.clone()));
        tasks.spawn(Arc::new(services.relay(tls_reports)).run(stopping.clone()));
        tasks.spawn(services.rotation().run(stopping.clone()));
        tasks.spawn(services.collectors.clone().run(stopping.clone()));
        tasks.spawn(services.refusals.clone().run(stopping.clone()));
        tasks.spawn(door::watch_lists(services.door.clone(), stopping.clone()));
        let lockouts = services.authenticator.lockouts().clone();
        let failures = stopping.clone();
        tasks.spawn(async move { lockouts.failed_logins().run(failures).await });
        let intake = Arc::new(Adjustable::new(services.intake()));
        if let Some(spool) = open_spool(&services.settings, &intake) {
            tasks.spawn(spool.run(stopping.clone()));
        }
        let World { store, clock, .. } = services.world.clone();
        tasks.spawn(directory::problems::log_daily(store.clone(), stopping.clone()));
        tasks.spawn(housekeeping::sweep(store, clock, services.expire.clone(), stopping));
        Ok(Self { listening, serving, intake, services, stop, tasks, sessions })
    }

    /// Returns the kind and the address of each listener, in the order of the settings.
    #[must_use]
    pub fn listening(&self) -> &[(ListenerKind, Endpoint)] {
        &self.listening
    }

    /// Applies new settings to new sessions and to outgoing mail. The following settings do not change
    /// until a restart: `hostname`, `memory`, `oauth`, `acme`, `listeners`, `control`, `spool`, the addresses of
    /// `relay`, and the `message_size` for collecting.
    ///
    /// # Errors
    /// When the certificates do not suit the listeners; then nothing changes.
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
            tls.log_problems(&services.settings.hostname, &*services.world.clock);
        }
        services.adjust();
        for (serving, fresh) in self.serving.iter().zip(fresh) {
            serving.set(fresh);
        }
        self.intake.set(services.intake());
        self.services = services;
        Ok(())
    }

    /// Stops the server: closes the listeners, ends idle sessions, and gives busy ones a limited time to
    /// finish.
    pub async fn stop(mut self) {
        // An error means that no task is running any more.
        let _ = self.stop.send(true);
        let ended = async {
            while self.tasks.join_next().await.is_some() {}
            // Completes when the last session drops its sender.
            let _ = self.sessions.recv().await;
        };
        if timeout(GRACE, ended).await.is_err() {
            tracing::warn!("some sessions did not end in time");
        }
        self.services.refusals.tell_counted().await;
        // What this server had claimed is free for others at once.
        if let Err(error) = self.services.world.store.leave().await {
            tracing::warn!(%error, "the other nodes could not be told that this one stops");
        }
    }
}

/// Opens the spool, if there is one. If it cannot be used, everything else works all the same.
fn open_spool(settings: &Settings, intake: &Arc<Adjustable<Intake>>) -> Option<PickUp> {
    let opened = PickUp::open(settings.spool.as_ref()?, intake.clone());
    let warn = |error: &String| {
        tracing::warn!(error, "programs of this machine cannot send by `posta sendmail`");
    };
    opened.inspect_err(warn).ok()
}

/// Binds the sockets of all listeners.
async fn bind(
    listeners: &[ListenerSettings],
    net: &dyn Net,
) -> Result<Vec<Box<dyn Listener>>, StartError> {
    let mut bound = Vec::with_capacity(listeners.len());
    for ListenerSettings { endpoint, .. } in listeners {
        let socket = net.bind(endpoint).await;
        bound.push(socket.map_err(|cause| bind_error(endpoint, cause))?);
    }
    Ok(bound)
}

fn bind_error(endpoint: &Endpoint, cause: io::Error) -> StartError {
    StartError::Bind { endpoint: endpoint.clone(), cause }
}
