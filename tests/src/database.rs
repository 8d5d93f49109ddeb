//! Where the servers of the tests keep their mail: in the embedded store, or in databases of their own on a PostgreSQL that
//! the process starts. The same tests run with both; `cargo xtask test` runs some of them once with each (`xtask/src/stores.rs`).

use crate::postgres::{self, Cluster};

/// The environment variable that chooses: `postgres`, or nothing for the embedded store.
const STORE: &str = "POSTA_TESTS_STORE";

/// Returns whether the tests run on PostgreSQL.
///
/// # Panics
/// When the variable names no store: a run on another store than was asked for would say nothing.
#[expect(clippy::disallowed_methods, reason = "a test has no configuration")]
pub fn on_postgres() -> bool {
    match std::env::var(STORE).as_deref() {
        Err(_) | Ok("" | "embedded") => false,
        Ok("postgres") => true,
        Ok(other) => panic!("{STORE}={other}: the stores are embedded and postgres"),
    }
}

/// Returns the first number, or on PostgreSQL the second, for tests that do the same many times: a server that is killed
/// takes longer to be back there, and once with each store is not twice as good as with one.
pub fn times(embedded: usize, postgres: usize) -> usize {
    if on_postgres() { postgres } else { embedded }
}

/// An empty database, removed with the value.
pub struct Database {
    cluster: &'static Cluster,
    name: String,
}

impl Database {
    /// Makes a database; none if the tests run on the embedded store.
    pub fn new() -> Option<Self> {
        if !on_postgres() {
            return None;
        }
        let cluster = postgres::shared().expect("PostgreSQL 15 or newer is installed");
        Some(Self { cluster, name: cluster.new_database() })
    }

    /// Returns the URL of the database.
    pub fn url(&self) -> String {
        self.cluster.url_of(&self.name)
    }

    /// Returns the table of the configuration that names it.
    pub fn configuration(&self) -> String {
        format!("[store]\nengine = \"postgres\"\nurl = \"{}\"\n", self.url())
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        self.cluster.drop_database(&self.name);
    }
}
