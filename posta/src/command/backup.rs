//! `posta backup`.

pub(crate) mod restore;
pub(crate) mod store;

use crate::{
    Place,
    fault::demand,
    operator::{self, AdminSession},
    output::{self, counted, say},
    runtime::block_on,
    wiring::{self, OnFiles},
};
use anyhow::{Context, Result, bail, ensure};
use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use posta_backup::{AgeRecipient, Identity, Repository, SnapshotWriter, Written};
use posta_mail::Timestamp;
use posta_server::admin::{BackupRequest, BackupResponse, LastBackup, Request};
use posta_store::{PIECES, PieceKey, Rows};
use serde::Serialize;
use std::{
    fs,
    io::Write as _,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

/// The most pieces that are asked for at a time.
const ASKED: usize = 4_096;

/// Back everything up: mail, accounts, queue, keys. The server may run meanwhile.
///
/// The first run copies everything; later runs into the same directory copy what is new. Each leaves a snapshot, from
/// which `posta restore` brings back everything, an account or a message. What was written is read back and compared. The
/// backup holds the keys that sign mail and open stored passwords: protect it, or encrypt it.
#[derive(Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    place: Place,
    /// The directory of the backup, made if it is not there.
    #[arg(required_unless_present = "new_key")]
    directory: Option<PathBuf>,
    /// Encrypt a new backup to this public key of age (age1…); later runs need not repeat it. Repeatable.
    #[arg(long, value_name = "RECIPIENT")]
    encrypt: Vec<AgeRecipient>,
    /// Make a pair of keys: the private key in this file, to be kept elsewhere; the public one is printed.
    #[arg(long, value_name = "FILE", exclusive = true)]
    new_key: Option<PathBuf>,
    /// Afterwards remove all but the last N snapshots, and what none of these needs.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    keep: Option<u16>,
    /// Back nothing up: read the backup and compare it with what was written.
    #[arg(long, conflicts_with_all = ["encrypt", "keep", "list"])]
    verify: bool,
    /// Back nothing up: list the snapshots.
    #[arg(long, conflicts_with_all = ["encrypt", "keep"])]
    list: bool,
    /// The file with the private key, with which --verify looks into an encrypted backup.
    #[arg(long, value_name = "FILE", requires = "verify")]
    identity: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    if let Some(path) = &arguments.new_key {
        return new_key(path);
    }
    let directory = arguments.directory.as_deref().context("a directory is needed")?;
    if arguments.verify {
        return verify(directory, arguments);
    }
    if arguments.list {
        return list(directory, arguments.json);
    }
    block_on(make(directory, arguments))
}

/// Reads private keys.
fn identities(path: Option<&Path>) -> Result<Vec<Identity>> {
    let Some(path) = path else { return Ok(Vec::new()) };
    let words = || format!("--identity {}", path.display());
    let text = fs::read_to_string(path).with_context(words)?;
    Identity::read_all(&text).with_context(words)
}

fn new_key(path: &Path) -> Result<()> {
    let identity = Identity::generate().context("the system has no randomness")?;
    let file = fs::File::options().write(true).create_new(true).mode(0o600).open(path);
    let words =
        || format!("the file for the private key, {} (which must not exist yet)", path.display());
    let mut file = file.with_context(words)?;
    let text = format!("# public key: {}\n{}\n", identity.recipient(), identity.expose());
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).with_context(words)?;
    say!("{}", identity.recipient());
    Ok(())
}

/// A snapshot in a list.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Line {
    at: Timestamp,
    /// Octets of messages.
    octets: u64,
    /// Octets of the files that the snapshot needs.
    size: u64,
    /// Pieces of messages that could not be read.
    unreadable: u64,
}

fn list(directory: &Path, json: bool) -> Result<()> {
    let repository = Repository::open(directory)?;
    let mut lines = Vec::new();
    for at in repository.snapshots()? {
        let manifest = repository.snapshot(Some(at))?;
        let (octets, unreadable) = (manifest.octets, manifest.unreadable);
        lines.push(Line { at, octets, size: manifest.size(), unreadable });
    }
    super::show(&lines, json, |lines| {
        for Line { at, octets, size, .. } in lines {
            say!(
                "{at:.0}  {:>10} of mail, {:>10} on disk",
                super::size(*octets),
                super::size(*size)
            );
        }
    })
}

fn verify(directory: &Path, arguments: &Arguments) -> Result<()> {
    let repository = Repository::open(directory)?;
    let identities = identities(arguments.identity.as_deref())?;
    let is_shallow = repository.is_encrypted() && identities.is_empty();
    let bar = bar("{bar:30} {pos}/{len} packs, {eta} left");
    let verified = repository.verify(identities, |number, count| {
        bar.set_length(count as u64);
        bar.set_position(number as u64);
    });
    bar.finish_and_clear();
    let verified = verified?;
    for problem in &verified.problems {
        output::complain(format_args!("{problem}"));
    }
    demand!(verified.problems.is_empty(), "backup-damaged", "the backup is not as it should be");
    demand!(
        verified.snapshots > 0,
        "no-snapshot",
        "there is no snapshot in {} yet",
        directory.display()
    );
    let size = super::size(verified.octets);
    say!(
        "{}, {}, {size}: all as they were written",
        counted(verified.snapshots, "snapshot"),
        counted(verified.packs, "pack")
    );
    if is_shallow {
        say!("what is encrypted was not looked into: --identity FILE does that");
    }
    Ok(())
}

fn bar(template: &str) -> ProgressBar {
    let bar = ProgressBar::no_length();
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar
}

/// What a run tells.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Made {
    at: Timestamp,
    new_pieces: u64,
    written: u64,
    size: u64,
    unreadable: u64,
    removed_snapshots: usize,
}

async fn make(directory: &Path, arguments: &Arguments) -> Result<()> {
    // Before the directory is made.
    wiring::expect_embedded(&wiring::config(&arguments.place)?, OnFiles::Backup)?;
    let repository = Repository::open_or_begin(directory, &arguments.encrypt)?;
    let mut session = AdminSession::open(&arguments.place).await?;
    let begun = session.backup(BackupRequest::Begin).await?;
    let BackupResponse::Begun { snapshot, at, format, tables, key_file, octets } = begun else {
        bail!(operator::UNEXPECTED)
    };
    let bar = bar("{bar:30} {bytes}/{total_bytes}, {binary_bytes_per_sec}, {eta} left");
    bar.set_length(octets);
    let key_file = key_file.map(|file| BASE64.decode(file)).transpose();
    let mut run = Run { session, snapshot, writer: repository.write(at, format)?, bar };
    let copied = async {
        if let Some(key_file) = key_file.context(operator::UNEXPECTED)? {
            run.writer.key_file(&key_file)?;
        }
        for table in &tables {
            run.table(table).await?;
        }
        run.pieces().await
    };
    let copied = copied.await;
    run.bar.finish_and_clear();
    let Run { mut session, writer, .. } = run;
    // The server gives it up by itself if this does not reach it.
    let _ = session.order(Request::Backup { request: BackupRequest::End { snapshot } }).await;
    copied?;
    let written = repository.complete(writer)?;
    let to = std::path::absolute(directory)?;
    let request = BackupRequest::Made(LastBackup { at, to });
    session.order(Request::Backup { request }).await?;
    let removed = arguments.keep.map_or(Ok((0, 0)), |keep| repository.keep_last(keep.into()))?;
    tell(at, written, removed, arguments.json)?;
    if !repository.is_encrypted() && !arguments.json {
        say!(
            "it is not encrypted and holds passwords' hashes and private keys: only its owner can read it"
        );
    }
    demand!(
        written.unreadable == 0,
        "backup-incomplete",
        "what cannot be read is missing from the backup, {}: `posta store check` names the messages",
        counted(written.unreadable, "piece")
    );
    Ok(())
}

fn tell(at: Timestamp, written: Written, removed: (usize, u64), json: bool) -> Result<()> {
    let Written { new_pieces, octets, size, unreadable, .. } = written;
    let (removed_snapshots, _) = removed;
    if json {
        let made = Made { at, new_pieces, written: octets, size, unreadable, removed_snapshots };
        say!("{}", output::json(&made)?);
        return Ok(());
    }
    let (octets, size) = (super::size(octets), super::size(size));
    say!(
        "snapshot of {at:.0}: {} of messages, {octets} written and read back, {size} in all",
        counted(new_pieces, "new piece")
    );
    if removed_snapshots > 0 {
        let freed = super::size(removed.1);
        say!("{} removed, {freed} freed", counted(removed_snapshots, "older snapshot"));
    }
    Ok(())
}

/// A run in progress.
struct Run {
    session: AdminSession,
    snapshot: u64,
    writer: SnapshotWriter,
    bar: ProgressBar,
}

impl Run {
    /// Returns the rows of a table after a key; none if there are no more.
    async fn rows(&mut self, table: &str, after: Option<&[u8]>) -> Result<Rows> {
        let (snapshot, table) = (self.snapshot, table.to_owned());
        let after = after.map(|after| BASE64.encode(after));
        let request = BackupRequest::Rows { snapshot, table, after };
        let BackupResponse::Rows(rows) = self.session.backup(request).await? else {
            bail!(operator::UNEXPECTED)
        };
        Ok(Rows::new(BASE64.decode(rows).context(operator::UNEXPECTED)?)?)
    }

    async fn table(&mut self, table: &str) -> Result<()> {
        self.writer.begin_table(table)?;
        let mut after: Option<Vec<u8>> = None;
        loop {
            let rows = self.rows(table, after.as_deref()).await?;
            for (key, value) in rows.iter() {
                self.writer.row(key, value)?;
            }
            match rows.iter().last() {
                Some((last, _)) => after = Some(last.to_vec()),
                None => return Ok(()),
            }
        }
    }

    /// Copies the pieces that the last snapshot does not have.
    async fn pieces(&mut self) -> Result<()> {
        self.writer.begin_table(PIECES)?;
        let mut after: Option<Vec<u8>> = None;
        loop {
            let rows = self.rows(PIECES, after.as_deref()).await?;
            let mut new = Vec::new();
            for (key, length) in rows.iter() {
                let key = PieceKey::from_bytes(key.try_into().context(operator::UNEXPECTED)?);
                match self.writer.known_piece(key)? {
                    Some(piece) => {
                        self.copy(&mut new).await?;
                        self.writer.old_piece(key, piece)?;
                        let length = length.first_chunk().map(|it| u32::from_be_bytes(*it));
                        self.bar.inc(length.unwrap_or_default().into());
                    }
                    None => new.push(key),
                }
                if new.len() >= ASKED {
                    self.copy(&mut new).await?;
                }
            }
            self.copy(&mut new).await?;
            match rows.iter().last() {
                Some((last, _)) => after = Some(last.to_vec()),
                None => return Ok(()),
            }
        }
    }

    /// Copies pieces, all of which are new.
    async fn copy(&mut self, keys: &mut Vec<PieceKey>) -> Result<()> {
        let mut keys = std::mem::take(keys);
        while !keys.is_empty() {
            let named = keys.iter().flat_map(|key| key.to_bytes()).collect::<Vec<_>>();
            let (snapshot, named) = (self.snapshot, BASE64.encode(named));
            let request = BackupRequest::Pieces { snapshot, keys: named };
            let BackupResponse::Pieces { lengths, octets } = self.session.backup(request).await?
            else {
                bail!(operator::UNEXPECTED)
            };
            let octets = BASE64.decode(octets).context(operator::UNEXPECTED)?;
            let mut rest = &octets[..];
            ensure!(!lengths.is_empty() && lengths.len() <= keys.len(), operator::UNEXPECTED);
            for (key, length) in keys.drain(..lengths.len()).zip(lengths) {
                let Some(length) = length else {
                    self.writer.unreadable_piece(key)?;
                    continue;
                };
                let piece = rest.split_off(..length as usize).context(operator::UNEXPECTED)?;
                self.writer.new_piece(key, piece)?;
                self.bar.inc(length.into());
            }
        }
        Ok(())
    }
}
