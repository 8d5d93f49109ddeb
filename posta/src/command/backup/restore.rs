//! `posta restore`.

mod account;

use super::{bar, identities};
use crate::{
    Place,
    fault::{demand, fail},
    output::say,
    runtime::block_on,
    wiring::{self, NewStore, OnFiles},
};
use anyhow::Result;
use clap::Args;
use posta_backup::{Manifest, Repository, SnapshotReader};
use posta_mail::Timestamp;
use posta_net::clock::Clock as _;
use posta_store::{PIECES, Restores};
use std::{path::PathBuf, sync::Arc};
use tokio::net::UnixStream;

/// About the octets of pieces that one transaction takes.
const OCTETS: usize = 2 * 1024 * 1024;

/// Bring back everything from a backup, or one account or message.
///
/// Everything goes into a data directory without a store, while no server runs; the messages of the queue are held then,
/// since they may have been sent after the backup. An account or a message goes into the mailbox as it is, while the
/// server runs or not: what is missing there comes back, and nothing that is there is touched.
#[derive(Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    place: Place,
    /// The directory of the backup.
    directory: PathBuf,
    /// The moment from which to restore: the last snapshot before it. Default: the last of all.
    #[arg(long, value_name = "TIME", value_parser = moment)]
    at: Option<Timestamp>,
    /// Bring back the messages of this account that are not in its mailbox; the account itself if it is gone.
    #[arg(long, value_name = "ADDRESS")]
    account: Option<String>,
    /// Bring back one message of the account: its id, as `posta trace` shows it, or its unique-id in POP3.
    #[arg(long, value_name = "ID", requires = "account")]
    message: Option<String>,
    /// The file with the private key of an encrypted backup.
    #[arg(long, value_name = "FILE")]
    identity: Option<PathBuf>,
}

/// Reads a moment: a time, or a day, which is meant to its end.
fn moment(text: &str) -> Result<Timestamp, String> {
    let text = text.trim();
    let whole = if text.contains('T') || text.contains(' ') {
        text.to_owned()
    } else {
        format!("{text}T23:59:59.999999Z")
    };
    let wrong = |_| "give a day, 2026-11-29, or a time in UTC, 2026-11-29T19:02:03Z".to_owned();
    whole.parse().map_err(wrong)
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let repository = Repository::open(&arguments.directory)?;
    let manifest = repository.snapshot(arguments.at)?;
    let identities = identities(arguments.identity.as_deref())?;
    if repository.is_encrypted() && identities.is_empty() {
        fail!(
            "backup-key-needed",
            "{}",
            posta_backup::BackupError::NeedsIdentity(repository.encrypted_to())
        );
    }
    let from = format!("{}, {:.0}", arguments.directory.display(), manifest.at);
    let reader = repository.read(manifest, identities);
    match &arguments.account {
        Some(address) => {
            let wanted = account::Wanted { address, message: arguments.message.as_deref(), from };
            block_on(account::restore(&arguments.place, reader, wanted))
        }
        None => block_on(everything(&arguments.place, reader)),
    }
}

/// Makes a store of a snapshot.
async fn everything(place: &Place, mut reader: SnapshotReader) -> Result<()> {
    let config = wiring::config(place)?;
    wiring::expect_embedded(&config, OnFiles::Restore)?;
    let socket = config.data.join(posta_server::admin::control::SOCKET);
    demand!(
        UnixStream::connect(&socket).await.is_err(),
        "server-runs",
        "a server runs with the data directory {}: stop it first, or bring one account back with --account ADDRESS",
        config.data.display()
    );
    let new = NewStore::begin(&config)?;
    if let Some(keys) = reader.key_file()? {
        new.put_keys(keys)?;
    }
    let store = new.open()?;
    fill(&mut reader, &store).await?;
    drop(store);
    // Opened again, the store is of this program's format, whatever that of the backup was.
    let store = new.open()?;
    store.finish(wiring::clock().now()).await?;
    drop(store);
    new.complete()?;
    let Manifest { at, octets, unreadable, .. } = *reader.manifest();
    let (octets, data) = (crate::command::size(octets), config.data.display());
    say!("the store in {data} is as it was at {at:.0}: {octets} of mail");
    say!(
        "the messages of the queue are held: `posta queue list` shows them, `posta queue release --all` sends them"
    );
    demand!(
        unreadable == 0,
        "backup-incomplete",
        "{unreadable} pieces of messages were unreadable when the backup was made"
    );
    Ok(())
}

async fn fill(reader: &mut SnapshotReader, store: &Arc<dyn Restores>) -> Result<()> {
    let bar = bar("{bar:30} {bytes}/{total_bytes}, {binary_bytes_per_sec}, {eta} left");
    bar.set_length(reader.manifest().octets);
    for number in 0..reader.stretches(PIECES) {
        let (mut pieces, mut octets) = (Vec::new(), 0);
        for (key, piece) in reader.pieces(number)? {
            let Some(piece) = piece else { continue };
            let piece = reader.piece(piece)?;
            octets += piece.len();
            pieces.push((key, piece.into()));
            if octets >= OCTETS {
                bar.inc(octets as u64);
                store.put_pieces(std::mem::take(&mut pieces)).await?;
                octets = 0;
            }
        }
        bar.inc(octets as u64);
        store.put_pieces(pieces).await?;
    }
    let tables: Vec<_> = reader.manifest().tables().map(str::to_owned).collect();
    for table in tables.iter().filter(|table| *table != PIECES) {
        for number in 0..reader.stretches(table) {
            let rows = reader.rows(table, number)?;
            store.put_rows(table, rows, None).await?;
        }
    }
    bar.finish_and_clear();
    Ok(())
}
