//! The two stores of `posta store copy`: how a person names them, and how they are opened, each for the copy alone.

use super::{NewStore, database, key_file};
use crate::{
    config::{Config, StoreEngine},
    fault::{demand, fail},
    private,
};
use anyhow::Result;
use posta_store::copies::Copies;
use posta_store_fjall::FjallStore;
use std::{
    path::{Path, PathBuf},
    str::FromStr,
    sync::Arc,
};

/// The key file of a database that is named by its URL, in the data directory.
const CLUSTER_KEYS: &str = "cluster.keys";

/// A store, as a person names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum StoreName {
    /// `embedded:DIR`: the embedded store in a data directory.
    Embedded(PathBuf),
    /// `postgresql://USER@HOST/DATABASE`.
    Database(String),
}

impl FromStr for StoreName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(directory) = text.strip_prefix("embedded:").filter(|it| !it.is_empty()) {
            return Ok(Self::Embedded(directory.into()));
        }
        if !text.starts_with("postgresql://") && !text.starts_with("postgres://") {
            return Err(format!(
                "{text:?} names no store: embedded:/var/lib/posta does, or postgresql://USER@HOST/DATABASE"
            ));
        }
        if without_password(text) != text {
            return Err(
                "others see what stands on a command line: leave the password out of the URL, and name a file with it \
                 (--to-password-file, --from-password-file)"
                    .to_owned(),
            );
        }
        Ok(Self::Database(text.to_owned()))
    }
}

/// Returns a URL without a password.
fn without_password(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let (server, query) =
        rest.split_once('?').map_or((rest, None), |(it, query)| (it, Some(query)));
    let server = match server.rsplit_once('@') {
        Some((user, host)) => {
            let user = user.split_once(':').map_or(user, |(user, _)| user);
            format!("{user}@{host}")
        }
        None => server.to_owned(),
    };
    let query = query.map(|query| {
        let parts = query.split('&').filter(|part| !part.starts_with("password="));
        parts.collect::<Vec<_>>().join("&")
    });
    let query = query.filter(|it| !it.is_empty()).map(|query| format!("?{query}"));
    format!("{scheme}://{server}{}", query.unwrap_or_default())
}

/// One of the two stores.
#[derive(Debug)]
pub(crate) struct Side {
    config: Config,
}

impl Side {
    /// Returns the store that a configuration names.
    pub(crate) const fn configured(config: Config) -> Self {
        Self { config }
    }

    /// Returns the store with a name. Everything that the name does not say is as in a configuration.
    pub(crate) fn named(
        name: StoreName,
        mut config: Config,
        keys: Option<PathBuf>,
        password_file: Option<PathBuf>,
    ) -> Self {
        match name {
            StoreName::Embedded(data) => {
                let is_same = config.store.engine == StoreEngine::Embedded && config.data == data;
                if !is_same {
                    config.key_file = None;
                }
                config.data = data;
                config.store.engine = StoreEngine::Embedded;
            }
            StoreName::Database(url) => {
                if config.store.engine == StoreEngine::Embedded {
                    config.key_file = Some(config.data.join(CLUSTER_KEYS));
                }
                config.store.engine = StoreEngine::Postgres;
                config.store.url = Some(url);
                config.store.password_file = password_file.or(config.store.password_file);
            }
        }
        if keys.is_some() {
            config.key_file = keys;
        }
        Self { config }
    }

    /// Returns the name of the store, by which an earlier copy of it is known.
    pub(crate) fn name(&self) -> String {
        let Config { data, store, .. } = &self.config;
        match store.engine {
            StoreEngine::Embedded => {
                let data = data.canonicalize().or_else(|_| std::path::absolute(data));
                format!("embedded:{}", data.as_deref().unwrap_or(&self.config.data).display())
            }
            StoreEngine::Postgres => without_password(store.url.as_deref().unwrap_or_default()),
        }
    }

    /// Returns the file with the keys of its secrets.
    pub(crate) fn key_file(&self) -> PathBuf {
        key_file(&self.config)
    }

    /// Returns what a configuration says to use this store.
    pub(crate) fn as_configured(&self) -> String {
        let Config { data, store, .. } = &self.config;
        let quoted = |path: &Path| format!("{:?}", path.display().to_string());
        let keys = format!("key-file = {}\n", quoted(&self.key_file()));
        match store.engine {
            StoreEngine::Embedded => format!("data = {}\n{keys}", quoted(data)),
            StoreEngine::Postgres => {
                let password = store.password_file.as_deref();
                let password = password.map(|it| format!("password-file = {}\n", quoted(it)));
                let (url, password) = (self.name(), password.unwrap_or_default());
                format!("{keys}\n[store]\nengine = \"postgres\"\nurl = {url:?}\n{password}")
            }
        }
    }

    /// Opens the store, to copy it.
    pub(crate) async fn open(&self) -> Result<Arc<dyn Copies>> {
        if self.config.store.engine == StoreEngine::Postgres {
            return database::open_alone(&self.config).await;
        }
        super::expect_store(&self.config.data)?;
        let (data, keys) = (self.config.data.clone(), self.key_file());
        private::as_owner(private::other_owner(&data)?, move || {
            private::claim(&data)?;
            let store = FjallStore::open_with_keys(&data.join(super::STORE), &keys)?;
            Ok(Arc::new(store) as Arc<dyn Copies>)
        })
    }
}

/// The store that is made of another.
pub(crate) struct CopyTarget<'a> {
    side: &'a Side,
    /// The files of an embedded store, beside the place where it will be.
    files: Option<NewStore>,
}

impl<'a> CopyTarget<'a> {
    /// Begins to make a store of another, or goes on with that.
    pub(crate) fn begin(side: &'a Side, source: &Side) -> Result<Self> {
        demand!(
            side.name() != source.name(),
            "store-exists",
            "{} would be copied into itself: name another store with --to",
            side.name()
        );
        let is_of_databases =
            [side, source].iter().all(|it| it.config.store.engine == StoreEngine::Postgres);
        demand!(
            is_of_databases || side.key_file() != source.key_file(),
            "key-file-exists",
            "both stores would have the key file {}: name another for the new one, with --to-keys FILE or as key-file in \
             its configuration",
            side.key_file().display()
        );
        let is_embedded = side.config.store.engine == StoreEngine::Embedded;
        let files = is_embedded.then(|| NewStore::go_on(&side.config)).transpose()?;
        Ok(Self { side, files })
    }

    /// Opens the store, to fill it and to read it.
    pub(crate) async fn open(&self) -> Result<Arc<dyn Copies>> {
        match &self.files {
            Some(files) => files.open_copy(),
            None => database::open_alone(&self.side.config).await,
        }
    }

    /// Removes what was copied so far. The store must be closed.
    pub(crate) async fn empty(&self) -> Result<()> {
        match &self.files {
            Some(files) => files.remove_copy(),
            None => database::empty_copy(&self.side.config).await,
        }
    }

    /// Puts the store, which is closed, where it belongs.
    pub(crate) fn complete(self) -> Result<()> {
        self.files.map_or(Ok(()), NewStore::complete)
    }
}

/// Returns the error for a comparison that found differences.
pub(crate) fn differ(parts: &[&str]) -> Result<()> {
    fail!(
        "copy-differs",
        "the two stores differ in {}: something changed the first while it was copied; stop every server that uses it, then \
         run this again",
        parts.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stores_have_names() {
        let named = |text: &str| text.parse::<StoreName>();
        assert_eq!(named("embedded:/a b"), Ok(StoreName::Embedded("/a b".into())));
        let url = "postgresql://ana@db1,db2:6432/mail?sslmode=require";
        assert_eq!(named(url), Ok(StoreName::Database(url.to_owned())));
        for wrong in ["", "embedded:", "/var/lib/posta", "mysql://db/mail"] {
            assert!(named(wrong).unwrap_err().contains("names no store"), "{wrong}");
        }
        for exposed in ["postgresql://ana:x@db/mail", "postgresql://db/mail?password=x"] {
            assert!(named(exposed).unwrap_err().contains("--to-password-file"), "{exposed}");
        }
    }

    #[test]
    fn a_name_has_no_password() {
        let shown = without_password("postgresql://ana:a@b:c@db:1/mail?password=x&sslmode=require");
        assert_eq!(shown, "postgresql://ana@db:1/mail?sslmode=require");
    }
}
