//! Finding the database that takes changes, among the hosts of the URL.
//!
//! All hosts are tried at once, since one whose machine is gone answers nothing for a long time. An old primary that does
//! not know of a failover still takes changes: of several hosts that do, the one with the latest timeline is used. The
//! commits of the other wait for a standby that it has lost.

use super::tls::{Connector, Stream};
use crate::{fault::DatabaseFault, settings::Settings};
use futures_util::{StreamExt as _, future, stream::FuturesUnordered};
use std::{error::Error as _, time::Duration};
use tokio::time::{Instant, timeout_at};
use tokio_postgres::{
    Client, Config, Connection as Driver, Error, SimpleQueryMessage, Socket, config::Host,
};

/// The time for which the other hosts are waited for, once one takes changes.
const OTHERS: Duration = Duration::from_millis(250);

/// The time within which a host tells its timeline.
const TIMELINE: Duration = Duration::from_secs(1);

/// The timeline, as the beginning of the name of the file that is written now.
const OF_THE_LOG: &str = "SELECT left(pg_walfile_name(pg_current_wal_insert_lsn()), 8)";

/// What moves the octets of a connection.
pub(super) type HostDriver = Driver<Socket, Stream>;

type Opened = (Client, HostDriver);

/// A host, by its place in the URL, and what was opened there.
type OfHost = (usize, Opened);

/// Connects to the host that takes changes.
pub(super) async fn connect(settings: &Settings) -> Result<OfHost, DatabaseFault> {
    let connector = Connector::new(settings)?;
    let hosts = settings.hosts();
    let attempt =
        async |number: usize, config: &Config| (number, config.connect(connector.clone()).await);
    let mut attempts: FuturesUnordered<_> =
        hosts.iter().enumerate().map(|(number, config)| attempt(number, config)).collect();
    let (mut found, mut failures) = (Vec::new(), Vec::new());
    let mut until = None;
    loop {
        let next = match until {
            None => attempts.next().await,
            Some(until) => timeout_at(until, attempts.next()).await.ok().flatten(),
        };
        match next {
            None => break,
            Some((number, Ok(opened))) => {
                found.push((number, opened));
                until.get_or_insert_with(|| Instant::now() + OTHERS);
            }
            Some((number, Err(error))) => failures.push((number, error)),
        }
    }
    drop(attempts);
    match latest(found).await {
        Some(opened) => Ok(opened),
        None => Err(away(&hosts, failures)),
    }
}

/// Returns the connection to the host with the latest timeline.
async fn latest(mut found: Vec<OfHost>) -> Option<OfHost> {
    if found.len() < 2 {
        return found.pop();
    }
    let mut best: Option<(String, OfHost)> = None;
    for (number, (client, mut driver)) in found {
        let of_it = timeline(&client, &mut driver).await.unwrap_or_default();
        if best.as_ref().is_none_or(|(of_best, _)| of_it > *of_best) {
            best = Some((of_it, (number, (client, driver))));
        }
    }
    best.map(|(_, opened)| opened)
}

/// Returns a host's timeline, in hexadecimal digits; none if it does not tell.
async fn timeline(client: &Client, driver: &mut HostDriver) -> Option<String> {
    let answered = async {
        tokio::select! {
            answer = client.simple_query(OF_THE_LOG) => answer.ok(),
            // Ends only with the connection.
            () = async { while let Some(Ok(_)) = future::poll_fn(|context| driver.poll_message(context)).await {} } => None,
        }
    };
    let answer = timeout_at(Instant::now() + TIMELINE, answered).await.ok().flatten()?;
    answer.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => row.get(0).map(ToOwned::to_owned),
        _ => None,
    })
}

/// Returns the fault that no host takes changes, with what each said.
fn away(hosts: &[Config], mut failures: Vec<(usize, Error)>) -> DatabaseFault {
    failures.sort_by_key(|(number, _)| *number);
    let said = failures.iter().map(|(number, error)| {
        let cause = error.source().map_or_else(|| error.to_string(), ToString::to_string);
        match hosts.get(*number).and_then(|config| config.get_hosts().first()) {
            Some(Host::Tcp(name)) if hosts.len() > 1 => format!("{name}: {cause}"),
            _ => cause,
        }
    });
    let said: Vec<_> = said.collect();
    DatabaseFault::Away(format!(
        "the database cannot be reached: {}; see whether PostgreSQL runs and [store] url is right",
        said.join(", ")
    ))
}
