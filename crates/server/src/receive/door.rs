//! The door: the tests that strangers have to pass at port 25 before their mail is accepted.
//!
//! Strangers are clients that did not log in, are not in a network that may relay, and are no trusted programs on this
//! machine. `session` delays the greeting for them, and has a `Visit` for each from its first MAIL on, which it asks
//! about each recipient. Refusals are therefore replies to RCPT, and mail for the postmaster and for complaints is
//! accepted even from clients that are refused (RFC 5321 §4.5.1, RFC 2142 §2): people need a way to report that good
//! mail is refused.
//!
//! | question | module |
//! |---|---|
//! | Is the client on a DNS list that can be trusted? | `dns_list` |
//! | Does the client have the names of a mail server? | `client_name` |
//! | Did it try again, or is it known already? | `greylist` |
//! | How much has it sent in this hour? | `stranger_rates` |

mod client_name;
mod dns_list;
mod greylist;
mod sender_network;
mod stranger_rates;
mod visit;

pub(crate) use visit::{Claim, Visit};

use crate::{limits::adjustable::Adjustable, settings::DoorSettings};
use dns_list::{DnsList, ListKind};
use greylist::Secret;
use posta_mail::Domain;
use posta_net::{clock::Clock, dns::Resolver};
use posta_store::Store;
use std::{fmt, sync::Arc, time::Duration};
use stranger_rates::StrangerRates;
use tokio::{
    sync::{OnceCell, watch},
    time::sleep,
};

/// The time between tests of whether the lists can be trusted.
const CHECKED_EVERY: Duration = Duration::from_secs(60 * 60);

/// The door with its settings. A change of settings keeps the counts ([`Door::under`]).
#[derive(Clone)]
pub struct Door {
    settings: Arc<DoorSettings>,
    lists: Arc<[Arc<DnsList>]>,
    rates: Arc<StrangerRates>,
    /// The secret of greylisting, from its first use.
    secret: Arc<OnceCell<Secret>>,
    means: DoorMeans,
}

/// The services that the door uses.
#[derive(Clone)]
pub struct DoorMeans {
    /// DNS.
    pub dns: Arc<dyn Resolver>,
    /// The store, which has the tables of greylisting.
    pub store: Arc<dyn Store>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// The name of this server.
    pub hostname: Domain,
}

impl fmt::Debug for Door {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Door").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl Door {
    /// Returns a door without any counts.
    #[must_use]
    pub fn new(settings: DoorSettings, means: DoorMeans) -> Self {
        let (lists, rates, secret) = (lists(&settings), Arc::default(), Arc::default());
        Self { lists, settings: Arc::new(settings), rates, secret, means }
    }

    /// Returns the same door under other settings.
    #[must_use]
    pub fn under(&self, settings: DoorSettings) -> Self {
        if settings == *self.settings {
            return self.clone();
        }
        Self { lists: lists(&settings), settings: Arc::new(settings), ..self.clone() }
    }

    /// Returns the delay of the greeting for strangers.
    pub(crate) fn greeting_delay(&self) -> Duration {
        self.settings.greeting_delay
    }

    /// Returns whether everybody passes.
    fn is_open(&self) -> bool {
        let greeting_delay = self.settings.greeting_delay;
        *self.settings == DoorSettings { greeting_delay, ..DoorSettings::open() }
    }
}

fn lists(settings: &DoorSettings) -> Arc<[Arc<DnsList>]> {
    let list = |kind| move |zone: &Domain| Arc::new(DnsList::new(kind, zone.clone()));
    let allow = settings.allow_lists.iter().map(list(ListKind::Allow));
    allow.chain(settings.block_lists.iter().map(list(ListKind::Block))).collect()
}

/// Tests at the start and every hour whether the DNS lists can be trusted, so that the log warns of others.
pub async fn watch_lists(door: Arc<Adjustable<Door>>, mut stopping: watch::Receiver<bool>) {
    loop {
        let checking = async {
            let current = door.get();
            for list in current.lists.iter() {
                list.check(&*current.means.dns).await;
            }
            sleep(CHECKED_EVERY).await;
        };
        tokio::select! {
            () = checking => {}
            _ = stopping.wait_for(|&stopping| stopping) => return,
        }
    }
}
