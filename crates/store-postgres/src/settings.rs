//! Where the database is, and how it is used.

use crate::objects::ObjectSettings;
use posta_store::{StoreError, TagSeparators};
use std::{path::PathBuf, sync::Arc, time::Duration};
use tokio::{sync::Mutex, time::Instant};
use tokio_postgres::{
    Config,
    config::{Host, TargetSessionAttrs},
};

/// PostgreSQL's port.
const PORT: u16 = 5432;

/// The name in `pg_stat_activity`.
const NAME: &str = "posta";

/// The longest time that one statement may take.
pub(crate) const STATEMENT: Duration = Duration::from_secs(30);

/// The longest time that a transaction may wait for this program.
const IDLE: Duration = Duration::from_secs(30);

/// The longest time for a connection to one address of a host, unless the URL says otherwise.
const ADDRESS: Duration = Duration::from_secs(2);

/// The part of a URL that names the file with the certificates of trusted authorities, as for `psql`.
const ROOTS: &str = "sslrootcert";

/// When somebody looked which of the hosts takes changes, and the one that was found.
pub(crate) type LastLook = Arc<Mutex<Option<(Instant, Option<usize>)>>>;

/// Where the database is, and how it is used.
#[derive(Debug, Clone)]
pub struct Settings {
    config: Config,
    schema: String,
    roots: Option<PathBuf>,
    /// What was found when somebody last looked which host takes changes.
    pub(crate) last_look: LastLook,
    /// The file with the key that seals secrets in the database. All nodes have the same.
    pub key_file: PathBuf,
    /// The maximal number of connections of this node, from 2 up.
    pub connections: usize,
    /// The characters that separate users from tags.
    pub tags: TagSeparators,
    /// The name of the server, by which operators know the node.
    pub name: String,
    /// The object store for large pieces of contents; they go into the database if there is none.
    pub objects: Option<ObjectSettings>,
}

impl Settings {
    /// Reads the URL of a database, `postgresql://USER:PASSWORD@HOST/DATABASE`, as `psql` takes it; `sslrootcert` names
    /// the certificates of trusted authorities.
    ///
    /// # Errors
    /// [`StoreError::Failed`] if that is no such URL.
    pub fn new(url: &str, key_file: PathBuf) -> Result<Self, StoreError> {
        let (url, roots) = without_roots(url);
        let mut config: Config = url.parse().map_err(|error| {
            StoreError::Failed(format!("the URL of the database is wrong: {error}"))
        })?;
        config
            .application_name(NAME)
            .keepalives_idle(Duration::from_secs(10))
            .keepalives_interval(Duration::from_secs(3))
            .keepalives_retries(3)
            .tcp_user_timeout(Duration::from_secs(20))
            .target_session_attrs(TargetSessionAttrs::ReadWrite);
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(ADDRESS);
        }
        Ok(Self {
            config,
            schema: NAME.to_owned(),
            roots,
            last_look: LastLook::default(),
            key_file,
            connections: 16,
            tags: TagSeparators::default(),
            name: NAME.to_owned(),
            objects: None,
        })
    }

    /// Sets the password of the database's user.
    #[must_use]
    pub fn with_password(mut self, password: &[u8]) -> Self {
        self.config.password(password);
        self
    }

    /// Keeps the tables in another schema than `posta`, so that several stores share a database. The name has small
    /// letters, digits and `_` only.
    #[must_use]
    pub fn in_schema(mut self, schema: &str) -> Self {
        let schema = schema.to_ascii_lowercase();
        self.schema =
            schema.chars().filter(|it| it.is_ascii_alphanumeric() || *it == '_').collect();
        self
    }

    /// Returns what connects to each host of the URL.
    pub(crate) fn hosts(&self) -> Vec<Config> {
        let all = &self.config;
        if all.get_hosts().len() < 2 || !all.get_hostaddrs().is_empty() {
            return vec![all.clone()];
        }
        let of_host = |(number, host): (usize, &Host)| {
            let mut one = Config::new();
            match host {
                Host::Tcp(name) => one.host(name),
                Host::Unix(path) => one.host_path(path),
            };
            let ports = all.get_ports();
            one.port(ports.get(number).or(ports.first()).copied().unwrap_or(PORT));
            all.get_user().map(|user| one.user(user));
            all.get_password().map(|password| one.password(password));
            all.get_dbname().map(|name| one.dbname(name));
            all.get_options().map(|options| one.options(options));
            all.get_application_name().map(|name| one.application_name(name));
            all.get_connect_timeout().map(|time| one.connect_timeout(*time));
            all.get_tcp_user_timeout().map(|time| one.tcp_user_timeout(*time));
            all.get_keepalives_interval().map(|time| one.keepalives_interval(time));
            all.get_keepalives_retries().map(|count| one.keepalives_retries(count));
            one.ssl_mode(all.get_ssl_mode())
                .ssl_negotiation(all.get_ssl_negotiation())
                .channel_binding(all.get_channel_binding())
                .keepalives(all.get_keepalives())
                .keepalives_idle(all.get_keepalives_idle())
                .target_session_attrs(all.get_target_session_attrs());
            one
        };
        all.get_hosts().iter().enumerate().map(of_host).collect()
    }

    pub(crate) fn schema(&self) -> &str {
        &self.schema
    }

    pub(crate) const fn roots(&self) -> Option<&PathBuf> {
        self.roots.as_ref()
    }

    /// Returns what every connection begins with. Where the database acknowledges commits before they are on its disk,
    /// it must not do so for mail: 250 means that the message is safe. Stronger settings are the operator's choice.
    pub(crate) fn session(&self) -> String {
        format!(
            "SET search_path TO {}; SET statement_timeout TO {}; SET idle_in_transaction_session_timeout TO {}; \
             SET client_min_messages TO warning; SET default_transaction_isolation TO 'read committed'; \
             SET jit TO off; \
             SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'",
            self.schema,
            STATEMENT.as_millis(),
            IDLE.as_millis()
        )
    }
}

/// Returns a URL without the part that only `psql` knows, and what that says.
fn without_roots(url: &str) -> (String, Option<PathBuf>) {
    let Some((before, query)) = url.split_once('?') else { return (url.to_owned(), None) };
    let mut roots = None;
    let mut rest = Vec::new();
    for part in query.split('&') {
        match part.split_once('=') {
            Some((ROOTS, path)) => roots = Some(PathBuf::from(path.replace("%2F", "/"))),
            // The certificate is always verified where there is TLS; this library knows no other word for that.
            Some(("sslmode", "verify-full" | "verify-ca")) => rest.push("sslmode=require"),
            _ => rest.push(part),
        }
    }
    let query = rest.join("&");
    (if query.is_empty() { before.to_owned() } else { format!("{before}?{query}") }, roots)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio_postgres::config::SslMode;

    #[test]
    fn a_url_is_read_as_psql_reads_it() {
        let read = |url| Settings::new(url, PathBuf::new());
        let url = "postgresql://ana:x@db1:5432,db2:6432/mail?sslmode=verify-full&sslrootcert=/etc/ca.pem&connect_timeout=3";
        let settings = read(url).unwrap();
        assert_eq!(settings.config.get_dbname(), Some("mail"));
        assert_eq!(settings.config.get_hosts().len(), 2);
        assert_eq!(settings.config.get_ssl_mode(), SslMode::Require);
        assert_eq!(settings.roots(), Some(&PathBuf::from("/etc/ca.pem")));
        let hosts = settings.hosts();
        let name = |config: &Config| config.get_hosts().to_vec();
        assert_eq!(hosts.iter().flat_map(name).collect::<Vec<_>>(), settings.config.get_hosts());
        assert_eq!(hosts.iter().map(|it| it.get_ports()[0]).collect::<Vec<_>>(), [5432, 6432]);
        for host in hosts {
            assert_eq!(host.get_password(), Some(&b"x"[..]));
            assert_eq!(host.get_dbname(), Some("mail"));
            assert_eq!(host.get_ssl_mode(), SslMode::Require);
            assert_eq!(host.get_connect_timeout(), Some(&Duration::from_secs(3)));
            assert_eq!(host.get_target_session_attrs(), TargetSessionAttrs::ReadWrite);
        }
        assert!(read("postgresql://db/mail").unwrap().roots().is_none());
        let wrong = read("postgresql://db:port/mail").unwrap_err().to_string();
        assert!(wrong.starts_with("the store failed: the URL of the database is wrong"), "{wrong}");
        assert_eq!(settings.in_schema("a\"b; DROP_1").schema(), "abdrop_1");
    }
}
