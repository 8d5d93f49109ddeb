//! The store on PostgreSQL passes the suite, and keeps its promises with several nodes and with a database that fails, on
//! servers that the tests start; it is copied to the embedded store, and that to it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod cluster;
mod copies;
mod directory;
mod faults;
mod heartbeats;
mod nodes;
mod objects;
mod proxy;
mod rates;
mod s3_proxy;
mod seaweed;
mod shared;
mod standby;
mod tls;

use posta_mail::{Address, Timestamp};
use posta_store::{
    AccountId, Credentials, Directory as _, Nodes as _, Store,
    conformance::{self, Case, Site},
};
use posta_store_postgres::{ObjectSettings, PostgresStore, Settings};
use std::{path::Path, sync::Arc, time::Duration};
use tokio::{runtime::Runtime, time::sleep};

/// A schema for a store, and a key file.
struct Schema {
    url: String,
    name: String,
    keys: tempfile::TempDir,
    objects: Option<ObjectSettings>,
    runtime: Arc<Runtime>,
}

impl Site for Schema {
    fn open(&self) -> Arc<dyn Store> {
        let mut settings = settings(&self.url, &self.name, &self.keys.path().join("keys"));
        settings.objects = self.objects.clone();
        self.runtime.block_on(async {
            let store = PostgresStore::open(settings).await.unwrap();
            // The node before this one leaves once it is dropped.
            while !store.nodes().await.unwrap().is_empty() {
                sleep(Duration::from_millis(5)).await;
            }
            Arc::new(store)
        })
    }
}

/// Returns what makes an empty schema, for a store with this object store.
fn maker(objects: Option<ObjectSettings>) -> Option<impl Fn() -> Box<dyn Site> + Sync> {
    let (cluster, runtime) = (cluster::shared()?, Arc::new(Runtime::new().unwrap()));
    Some(move || {
        let (url, name) = (cluster.url(), cluster.new_schema());
        let (keys, runtime) = (tempfile::tempdir().unwrap(), runtime.clone());
        let objects = objects.clone();
        Box::new(Schema { url, name, keys, objects, runtime }) as Box<dyn Site>
    })
}

#[test]
fn conforms() {
    let Some(make) = maker(None) else { return };
    run_rules(&make);
}

/// All rules but the random sequences.
fn run_rules(make: &(dyn Fn() -> Box<dyn Site> + Sync)) {
    let is_rule = |name: &&str| !name.starts_with("random::");
    let rules: Vec<_> = conformance::cases().map(Case::name).filter(is_rule).collect();
    conformance::run_some(make, &rules);
}

/// Two of the random sequences of each kind. More: `POSTA_SEEDS=100 cargo test --workspace --test postgres random`.
#[test]
#[expect(clippy::disallowed_methods, reason = "a test has no configuration")]
fn random_sequences_end_as_in_the_reference() {
    let Some(make) = maker(None) else { return };
    let seeds = std::env::var("POSTA_SEEDS").map_or(2, |seeds| seeds.parse().unwrap());
    conformance::run_random(&make, 1..1 + seeds);
}

fn settings(url: &str, schema: &str, key_file: &Path) -> Settings {
    Settings::new(url, key_file.to_owned()).unwrap().in_schema(schema)
}

/// Opens a node whose key file nobody needs.
async fn open(url: &str, schema: &str) -> PostgresStore {
    PostgresStore::open(settings(url, schema, Path::new("/nowhere/keys"))).await.unwrap()
}

async fn add(store: &PostgresStore, name: &str) -> AccountId {
    store.add_account(&address(name), Credentials::default()).await.unwrap()
}

fn address(text: &str) -> Address {
    text.parse().unwrap()
}

/// A moment, in seconds after some beginning.
fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + second).unwrap()
}
