//! The store on PostgreSQL, if the configuration names it.

use crate::{
    config::{Config, StoreEngine},
    data_directory,
    fault::fail,
    private,
};
use anyhow::Result;
use posta_store::{Store, copies::Copies};
#[cfg(feature = "postgres")]
use posta_store_postgres::{PostgresStore, Settings};
use std::sync::Arc;

/// Opens the store that the configuration names.
pub(crate) async fn open_configured(config: &Config) -> Result<Arc<dyn Store>> {
    if let Some(store) = open_database(config).await? {
        return Ok(store);
    }
    super::open_store(&config.data, config.key_file.as_deref(), config.tag_separators.clone())
}

/// Opens the store on PostgreSQL, and makes its tables if there are none; none if the configuration names the embedded
/// store. The data directory has the control socket and the key file.
pub(crate) async fn open_database(config: &Config) -> Result<Option<Arc<dyn Store>>> {
    if config.store.engine == StoreEngine::Embedded {
        return Ok(None);
    }
    data_directory::check(&config.data)?;
    // A command of root's works on the database as the server's user would, and leaves the directory to that user.
    if private::other_owner(&config.data)?.is_none() {
        private::claim(&config.data)?;
    }
    open(config).await.map(Some)
}

/// What works on the files of the embedded store only.
#[derive(Debug, Clone, Copy)]
pub(crate) enum OnFiles {
    Check,
    Repair,
    Backup,
    Restore,
}

/// Returns whether the configuration names PostgreSQL.
pub(crate) fn is_database(config: &Config) -> bool {
    config.store.engine != StoreEngine::Embedded
}

/// Checks that the configuration names the embedded store. The error says what does the same for a database.
pub(crate) fn expect_embedded(config: &Config, what: OnFiles) -> Result<()> {
    if !is_database(config) {
        return Ok(());
    }
    let keys = super::key_file(config);
    let instead = match what {
        OnFiles::Check => "pg_amcheck checks the tables of a database, pg_verifybackup a backup of it".to_owned(),
        OnFiles::Repair => {
            "what pg_amcheck finds damaged in a database comes back from a backup of it, or from a standby".to_owned()
        }
        OnFiles::Backup => {
            let bucket = match &config.store.objects {
                Some(objects) => format!(", the bucket {} by the object store's own copies", objects.bucket),
                None => String::new(),
            };
            format!(
                "back the database up with pg_basebackup and archived WAL, or with pg_dump{bucket}, and copy the key file \
                 {} to a safe place",
                keys.display()
            )
        }
        OnFiles::Restore => {
            "a database comes back from its own backups (pg_basebackup, pg_dump); a backup of Posta's makes an embedded \
             store, with a configuration without [store], which `posta store copy --to URL` moves into a database, and \
             --account ADDRESS brings one account back into this one"
                .to_owned()
        }
    };
    fail!(
        "embedded-store-only",
        "[store] names PostgreSQL, and this works on the files of the embedded store: {instead}"
    )
}

/// Opens the store on PostgreSQL for a copy, which nobody else has open then.
pub(super) async fn open_alone(config: &Config) -> Result<Arc<dyn Copies>> {
    data_directory::check(&config.data)?;
    if private::other_owner(&config.data)?.is_none() {
        private::claim(&config.data)?;
    }
    alone(config).await
}

#[cfg(feature = "postgres")]
async fn open(config: &Config) -> Result<Arc<dyn Store>> {
    Ok(Arc::new(PostgresStore::open(settings(config)?).await?))
}

#[cfg(feature = "postgres")]
async fn alone(config: &Config) -> Result<Arc<dyn Copies>> {
    Ok(Arc::new(PostgresStore::open_alone(settings(config)?).await?))
}

/// Removes what a copy has put into the store so far.
#[cfg(feature = "postgres")]
pub(super) async fn empty_copy(config: &Config) -> Result<()> {
    Ok(PostgresStore::open_alone(settings(config)?).await?.empty_copy().await?)
}

#[cfg(feature = "postgres")]
fn settings(config: &Config) -> Result<Settings> {
    use anyhow::Context as _;
    use posta_store_postgres::ObjectSettings;
    let storage = &config.store;
    let url = storage.url.as_deref().unwrap_or_default();
    let mut settings = Settings::new(url, super::key_file(config)).context("store.url")?;
    settings.connections = storage.connections;
    settings.tags = config.tag_separators.clone();
    settings.name = config.hostname().to_string();
    if let Some(path) = &storage.password_file {
        let password = std::fs::read(path)
            .with_context(|| format!("the password file {} cannot be read", path.display()))?;
        settings = settings.with_password(password.trim_ascii());
    }
    if let Some(objects) = &storage.objects {
        let path = &objects.secret_file;
        let secret = std::fs::read_to_string(path).with_context(|| {
            format!("the secret of the object store, {}, cannot be read", path.display())
        })?;
        let of_objects = ObjectSettings::new(&objects.endpoint.0, &objects.bucket, &objects.region)
            .with_key(&objects.key_id, secret.trim())
            .with_authorities(config.tls.authorities.clone());
        settings.objects = Some(of_objects);
    }
    Ok(settings)
}

#[cfg(not(feature = "postgres"))]
async fn open(config: &Config) -> Result<Arc<dyn Store>> {
    Ok(alone(config).await?)
}

#[cfg(not(feature = "postgres"))]
pub(super) async fn empty_copy(config: &Config) -> Result<()> {
    alone(config).await.map(drop)
}

#[cfg(not(feature = "postgres"))]
async fn alone(_: &Config) -> Result<Arc<dyn Copies>> {
    fail!(
        "not-a-store",
        "[store] names PostgreSQL, and this program was built without it: build it with the feature `postgres`"
    )
}
