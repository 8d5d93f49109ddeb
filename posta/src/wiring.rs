//! Makes a server from a configuration. Only this file and those in its folder name the stores; `wiring/database.rs`
//! names the one on PostgreSQL.

mod copying;
mod database;
mod new_store;

pub(crate) use copying::{CopyTarget, Side, StoreName, differ};
pub(crate) use database::{OnFiles, expect_embedded, is_database, open_configured, open_database};
pub(crate) use new_store::NewStore;

use crate::{
    Place,
    config::{
        Acme, BareNewlines, Certificate, CheckPolicy, Config, DnsList, Filter, Listen, OAuth,
        Protocol, Source, TlsMode, find,
    },
    data_directory,
    fault::{Coded, demand},
    private,
};
use anyhow::{Context, Result};
use posta_mail::{Secret, Timestamp};
use posta_net::{
    clock::SystemClock,
    dial::{ByName, Dialer},
    dns::{self, Dns, NoDns, Resolver, Validation},
    https::HttpsClient,
    system_net::SystemNet,
    tls::{
        client::ClientTls,
        server::{self, CertificateFiles, Tls},
    },
    transport::{Endpoint, Net},
};
use posta_server::{
    admin::control,
    assembly::World,
    collect::CollectContext,
    deliver::checked::OriginPolicy,
    filter::FilterSettings,
    login::oauth::{Accepted, OAuthSettings},
    send::trust::mta_sts::Policy,
    settings::{
        DoorSettings, ListenerKind, ListenerSettings, Pop3Settings, Settings,
        TlsMode as ServerTlsMode,
    },
    sign::{SigningSettings, certificates::AcmeSettings},
};
use posta_smtp::server::Limits as SmtpLimits;
use posta_store::{Restores, Store, TagSeparators};
use posta_store_fjall::FjallStore;
pub(crate) use posta_store_fjall::{Checked, Damage, Repaired};
use std::{
    fs,
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

/// The store's directory inside the data directory.
const STORE: &str = "store";

/// The shortest time between two POP3 logins of an account: none, since a login is cheap.
const LOGIN_DELAY: Duration = Duration::ZERO;

/// The delay of the answer to a wrong password.
const FAILED_LOGIN_DELAY: Duration = Duration::from_secs(1);

/// Returns the path of the configuration, if there is one.
pub(crate) fn config_path(place: &Place) -> Result<Option<PathBuf>> {
    place.config.clone().map_or_else(find::find, |path| Ok(Some(path)))
}

/// Returns the configuration with the source of each value.
pub(crate) fn source(place: &Place) -> Result<Source> {
    let found = config_path(place)?;
    let mut source = found.map_or_else(Source::defaults, |path| Source::read(&path))?;
    if let Some(data) = &place.data {
        source.set_data(data);
    }
    Ok(source)
}

/// Returns the configuration.
pub(crate) fn config(place: &Place) -> Result<Config> {
    Ok(source(place)?.config)
}

/// Checks that there is a store. The error says what may be wrong.
pub(crate) fn expect_store(data: &Path) -> Result<()> {
    let is_missing = fs::symlink_metadata(data.join(STORE))
        .is_err_and(|error| error.kind() == io::ErrorKind::NotFound);
    demand!(
        !is_missing,
        "no-store",
        "there is no store in the data directory {} yet: `posta account add` or `posta serve` makes one. If \
         it is elsewhere, say where with --config FILE, POSTA_CONFIG or --data DIR",
        data.display()
    );
    Ok(())
}

/// Opens the store in a data directory, creating it if it does not exist. The keys of its sealed passwords are in
/// `key_file`, else in a file beside the store.
pub(crate) fn open_store(
    data: &Path,
    key_file: Option<&Path>,
    tags: TagSeparators,
) -> Result<Arc<dyn Store>> {
    data_directory::check(data)?;
    private::claim(data)?;
    let store = data.join(STORE);
    let store = match key_file {
        Some(key_file) => FjallStore::open_with_keys(&store, key_file),
        None => FjallStore::open(&store),
    };
    Ok(Arc::new(store?.with_tags(tags)))
}

/// A store that a backup's records of one account are read from, in a directory that is removed with it.
pub(crate) struct ScratchStore(tempfile::TempDir);

impl ScratchStore {
    /// Makes the directory, and puts a copy of the key file there.
    pub(crate) fn new(key_file: Option<Vec<u8>>) -> Result<Self> {
        let words = "no directory for the records of the backup";
        let directory = tempfile::tempdir().context(words)?;
        if let Some(octets) = key_file {
            let path = directory.path().join(STORE).with_added_extension("keys");
            let mut file = fs::File::options();
            let file = file.write(true).create_new(true).mode(0o600).open(path);
            file.and_then(|mut file| file.write_all(&octets)).context(words)?;
        }
        Ok(Self(directory))
    }

    /// Opens the store: to fill it, and to read it.
    pub(crate) fn open(&self) -> Result<(Arc<dyn Restores>, Arc<dyn Store>)> {
        let store = Arc::new(FjallStore::open(&self.0.path().join(STORE))?);
        Ok((store.clone(), store))
    }
}

/// Checks the store in the data directory, which must be closed.
pub(crate) fn check_store(
    config: &Config,
    mut told: impl FnMut(u64) + Send + 'static,
) -> Result<Checked> {
    expect_embedded(config, OnFiles::Check)?;
    expect_store(&config.data)?;
    let (store, key_file) = (config.data.join(STORE), key_file(config));
    private::as_owner(private::other_owner(&config.data)?, move || {
        Ok(posta_store_fjall::check(&store, &key_file, &mut told)?)
    })
}

/// Makes a new store of what is whole in the store in the data directory, which must be closed.
pub(crate) fn repair_store(
    config: &Config,
    now: Timestamp,
    mut told: impl FnMut(u64) + Send + 'static,
) -> Result<Repaired> {
    expect_store(&config.data)?;
    let (store, key_file) = (config.data.join(STORE), key_file(config));
    private::as_owner(private::other_owner(&config.data)?, move || {
        Ok(posta_store_fjall::repair(&store, &key_file, now, &mut told)?)
    })
}

/// Returns the path of the key file.
fn key_file(config: &Config) -> PathBuf {
    let beside = || config.data.join(STORE).with_added_extension("keys");
    config.key_file.clone().unwrap_or_else(beside)
}

/// Returns the system's clock.
pub(crate) fn clock() -> Arc<SystemClock> {
    Arc::new(SystemClock)
}

/// Returns the TLS settings for other servers.
pub(crate) fn client_tls(authorities: &[PathBuf]) -> Result<ClientTls> {
    let read = server::read_all_certificates(authorities);
    Ok(ClientTls::new(&read.context("tls.authorities").code("certificate")?)?)
}

/// Returns the collectors, for a command that runs without a server.
pub(crate) fn means(config: &Config) -> Result<CollectContext> {
    let net = Arc::new(SystemNet::default());
    let net: Arc<dyn Net> = match config.dns.servers.is_empty() {
        true => net,
        false => Arc::new(ByName::new(net, resolver(config)?)),
    };
    let (tls, clock) = (client_tls(&config.tls.authorities)?, clock());
    let (hostname, message_size) = (config.hostname(), config.limits.message_size.0);
    Ok(CollectContext { net, tls, clock, message_size, hostname })
}

/// Returns what asks DNS and connects to hosts that strangers name, for a command that looks at the world.
pub(crate) fn outside(config: &Config) -> Result<HttpsClient> {
    let net: Arc<dyn Net> = Arc::new(SystemNet::default());
    let dialer = Dialer::new(net, config.relay.private_addresses, Vec::new());
    let tls = client_tls(&config.tls.authorities)?;
    Ok(HttpsClient { dialer, resolver: resolver(config)?, tls })
}

/// Returns the resolver.
fn resolver(config: &Config) -> Result<Arc<dyn Resolver>> {
    let validation = match (config.dns.dnssec, &config.dns.trust_anchor) {
        (_, Some(path)) => Validation::Always(Some(dns::trust_anchors(path)?)),
        (Some(true), None) => Validation::Always(None),
        (Some(false), None) => Validation::Never,
        (None, None) => Validation::IfPossible,
    };
    let servers: Vec<_> = config.dns.servers.iter().map(|server| server.0).collect();
    match Dns::new(&servers, validation) {
        Ok(dns) => Ok(Arc::new(dns)),
        // A machine without /etc/resolv.conf still keeps mail and hands it out.
        Err(error) if config.dns.servers.is_empty() => {
            tracing::warn!(%error, "no name server is known: set dns.servers; mail for others waits");
            Ok(Arc::new(NoDns(error.to_string())))
        }
        Err(error) => Err(error).context("[dns]"),
    }
}

/// Returns the network of a server. `umask` is the one that the program was started with: the operator chooses who
/// may connect to the Unix sockets that the configuration names.
pub(crate) fn network(umask: u32) -> SystemNet {
    SystemNet::default().with_socket_mode(0o777 & !umask)
}

/// Returns the outside world of a server.
pub(crate) fn world(store: Arc<dyn Store>, config: &Config, net: SystemNet) -> Result<World> {
    let resolver = resolver(config)?;
    let tls = client_tls(&config.tls.authorities)?;
    let net = Arc::new(net);
    let net: Arc<dyn Net> = match config.dns.servers.is_empty() {
        true => net,
        false => Arc::new(ByName::new(net, resolver.clone())),
    };
    Ok(World { store, clock: clock(), net, resolver, tls })
}

/// Returns the server's settings.
pub(crate) fn settings(config: &Config) -> Result<Settings> {
    let listeners: Vec<_> = config
        .listen
        .iter()
        .map(|listen| ListenerSettings {
            kind: kind(listen.protocol),
            endpoint: listen.address.clone(),
            tls: tls_mode(listen.tls),
        })
        .collect();
    warn_of_open_files(config);
    warn_of_open_passwords(config);
    let limits = &config.limits;
    let relay = config.relay.settings().context("[relay]")?;
    let wants_tls = listeners.iter().any(|listener| listener.tls != ServerTlsMode::None);
    Ok(Settings {
        hostname: config.hostname(),
        message_size: limits.message_size.0,
        sessions: limits.sessions,
        sessions_per_client: limits.sessions_per_client,
        smtp_limits: SmtpLimits::new(limits.recipients, seconds(limits.hold.0)),
        channel_binding: config.tls.channel_binding,
        oauth: config.oauth.as_ref().map(oauth).transpose()?,
        memory: usize::try_from(limits.memory.0).unwrap_or(usize::MAX),
        normalise_newlines: config.smtp.bare_newlines == BareNewlines::Normalise,
        proxies: config.proxy.networks.iter().map(|network| network.0).collect(),
        metrics_for: config.metrics.networks.iter().map(|network| network.0).collect(),
        forwarders: config.proxy.xclient.iter().map(|network| network.0).collect(),
        // VRFY and EXPN would help whoever harvests addresses.
        verify: false,
        trust_loopback: config.submission.trust_loopback,
        relays_for: config.relay.networks.iter().map(|network| network.0).collect(),
        submissions: limits.submissions,
        session_time: limits.session_time.0,
        pop3: Pop3Settings {
            autologout: config.pop3.autologout.0,
            login_delay: LOGIN_DELAY,
            sessions_per_account: limits.sessions_per_account,
            expire: config.pop3.expire,
            apop: config.pop3.apop,
        },
        checks: origin_policy(config),
        dmarc_reports: config.checks.dmarc_reports,
        door: door(config),
        failed_logins: limits.failed_logins,
        failed_login_delay: FAILED_LOGIN_DELAY,
        filters: config.filters.iter().map(filter).collect(),
        signing: SigningSettings {
            enabled: config.dkim.sign,
            rotate: Some(config.dkim.rotate.0).filter(|age| !age.is_zero()),
            queue_lifetime: relay.longest_lifetime(),
        },
        relay,
        policy: Policy {
            mode: config.mta_sts.mode,
            mx: config.mta_sts.hosts(),
            max_age: config.mta_sts.max_age.0.as_secs(),
        },
        listeners,
        tls: if wants_tls { Some(certificate(config)?) } else { None },
        acme: acme(config)?,
        control: Some(config.data.join(control::SOCKET)),
        spool: config.spool(),
    })
}

fn door(config: &Config) -> DoorSettings {
    let door = &config.door;
    let zones = |lists: &[DnsList]| lists.iter().map(|list| list.0.clone()).collect();
    DoorSettings {
        block_lists: zones(&door.block_lists),
        allow_lists: zones(&door.allow_lists),
        network_recipients: door.network_recipients,
        sender_recipients: door.sender_recipients,
        greeting_delay: door.greeting_delay.0,
        greylisting: door.greylisting,
        strict_hello: door.strict_hello,
        reverse_dns: door.reverse_dns,
    }
}

/// Returns what becomes of mail by its origin; none if that is not checked.
fn origin_policy(config: &Config) -> Option<OriginPolicy> {
    let checks = &config.checks;
    checks.enabled.then(|| OriginPolicy {
        obey: checks.policy == CheckPolicy::Obey,
        trusted_sealers: checks.trusted_sealers.iter().map(ToString::to_string).collect(),
    })
}

/// Checks the files that a configuration names, as `settings` and `world` would read them.
pub(crate) fn check(config: &Config) -> Result<()> {
    warn_of_open_files(config);
    warn_of_open_passwords(config);
    client_tls(&config.tls.authorities)?;
    resolver(config)?;
    config.relay.settings().context("[relay]")?;
    config.oauth.as_ref().map(oauth).transpose()?;
    acme(config)?;
    let files = certificate_files(config);
    if !files.is_empty() {
        Tls::load(files).context("[tls]").code("certificate")?;
    }
    Ok(())
}

/// Warns of secrets that every user of the machine can read.
fn warn_of_open_files(config: &Config) {
    let (tls, relay, oauth) = (&config.tls, &config.relay, config.oauth.as_ref());
    let keys = tls.key.iter().chain(tls.also.iter().map(|also| &also.key));
    let keys = keys.map(|path| ("tls.key", path));
    let passwords = relay.password_files().map(|path| ("relay.password-file", path));
    let secrets = oauth.and_then(|oauth| oauth.secret_file.as_ref());
    let secrets = secrets.into_iter().map(|path| ("oauth.secret-file", path));
    let database = config.store.password_file.iter().map(|path| ("store.password-file", path));
    for (option, path) in keys.chain(passwords).chain(secrets).chain(database) {
        private::warn_if_open(option, path);
    }
}

/// Warns of listeners on which mail programs send passwords in plaintext.
fn warn_of_open_passwords(config: &Config) {
    for Listen { protocol, address, tls } in &config.listen {
        let is_far = matches!(address, Endpoint::Tcp(address) if !address.ip().is_loopback());
        let ports = match protocol {
            Protocol::Pop3 => (995, 110),
            Protocol::Submission => (465, 587),
            Protocol::Smtp | Protocol::Lmtp | Protocol::Https | Protocol::Http => continue,
        };
        if is_far && *tls == TlsMode::None {
            tracing::warn!(
                "passwords cross the network in plaintext to {address}: add tls = \"implicit\" to this listener \
                 (usually port {}), or tls = \"starttls\" ({})",
                ports.0,
                ports.1
            );
        }
    }
}

fn oauth(config: &OAuth) -> Result<OAuthSettings> {
    let secret = config.secret_file.as_ref().map(|path| {
        let read = fs::read(path).with_context(|| format!("oauth.secret-file {}", path.display()));
        read.map(|secret| Secret::new(secret.trim_ascii()))
    });
    let client = config.client.clone().zip(secret.transpose()?);
    let OAuth { introspection, audience, allowed_clients, scope, claim, .. } = config.clone();
    let scope = scope.unwrap_or_default().split_whitespace().map(str::to_owned).collect();
    let accepted = Accepted { audience, clients: allowed_clients, scope, claim };
    Ok(OAuthSettings { introspection: introspection.0, client, accepted })
}

/// Returns the authority that issues certificates, if the configuration wants that.
fn acme(config: &Config) -> Result<Option<AcmeSettings>> {
    let Acme { enabled, contact, directory } = config.acme.clone();
    let proves = |listen: &Listen| matches!(listen.protocol, Protocol::Http | Protocol::Https);
    demand!(
        !enabled || config.listen.iter().any(proves),
        "config-conflict",
        "[acme] enabled = true: the authority connects to port 80 or 443 of each name, and nothing listens there: \
         add a [[listen]] with protocol = \"http\" and address = \"[::]:80\""
    );
    let contact = contact.map(|contact| contact.0.to_string());
    Ok(enabled.then_some(AcmeSettings { directory: directory.0, contact }))
}

fn filter(config: &Filter) -> FilterSettings {
    FilterSettings {
        kind: config.kind,
        address: config.address.0.clone(),
        mail: config.mail,
        time_limit: config.time_limit.0,
        on_failure: config.on_failure,
    }
}

fn seconds(time: Duration) -> u32 {
    u32::try_from(time.as_secs()).unwrap_or(u32::MAX)
}

fn certificate(config: &Config) -> Result<Tls> {
    let mut files = certificate_files(config);
    if config.tls.certificate.is_none() {
        let own = server::self_signed(&config.data, config.hostname().as_str())
            .context("a self-signed certificate cannot be made in the data directory")?;
        files.insert(0, own);
    }
    Tls::load(files).context("[tls]").code("certificate")
}

/// Returns the path of the server's own certificate: the one that the configuration names, else the self-signed one,
/// which the first start makes.
pub(crate) fn own_certificate(config: &Config) -> PathBuf {
    let named = config.tls.certificate.clone();
    named.unwrap_or_else(|| config.data.join(server::SELF_SIGNED))
}

/// Returns the certificates that the configuration names, the server's own first.
fn certificate_files(config: &Config) -> Vec<CertificateFiles> {
    let own = config.tls.certificate.clone().zip(config.tls.key.clone());
    let also = config
        .tls
        .also
        .iter()
        .map(|Certificate { certificate, key }| (certificate.clone(), key.clone()));
    let files = own.into_iter().chain(also);
    files.map(|(certificate, key)| CertificateFiles { certificate, key }).collect()
}

const fn kind(protocol: Protocol) -> ListenerKind {
    match protocol {
        Protocol::Smtp => ListenerKind::Smtp,
        Protocol::Submission => ListenerKind::Submission,
        Protocol::Lmtp => ListenerKind::Lmtp,
        Protocol::Pop3 => ListenerKind::Pop3,
        Protocol::Https => ListenerKind::Web,
        Protocol::Http => ListenerKind::PlainWeb,
    }
}

/// Returns the service that the configuration's word names.
pub(crate) const fn protocol(kind: ListenerKind) -> Protocol {
    match kind {
        ListenerKind::Smtp => Protocol::Smtp,
        ListenerKind::Submission => Protocol::Submission,
        ListenerKind::Lmtp => Protocol::Lmtp,
        ListenerKind::Pop3 => Protocol::Pop3,
        ListenerKind::Web => Protocol::Https,
        ListenerKind::PlainWeb => Protocol::Http,
    }
}

const fn tls_mode(mode: TlsMode) -> ServerTlsMode {
    match mode {
        TlsMode::None => ServerTlsMode::None,
        TlsMode::Starttls => ServerTlsMode::StartTls,
        TlsMode::Implicit => ServerTlsMode::Implicit,
    }
}
