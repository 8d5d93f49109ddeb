//! `posta store copy`.

use super::super::bar;
use crate::{
    Place,
    output::{self, say},
    runtime::block_on,
    wiring::{self, CopyTarget, Side, StoreName},
};
use anyhow::{Result, ensure};
use clap::Args;
use indicatif::ProgressBar;
use posta_store::copies::{Copies, Digest, LastNumbers, Part, digest, fill};
use serde::Serialize;
use std::{path::PathBuf, sync::Arc};
use tokio::task::JoinHandle;

/// Make a store of another: from files to PostgreSQL, or back, with everything and every name kept.
///
/// Nothing else may use either store meanwhile. If it is broken off, the same command goes on. At the end both stores
/// are read whole and compared; the old one stays as it is.
#[derive(Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    place: Place,
    /// The store to copy: embedded:DIR (a data directory) or postgresql://USER@HOST/DATABASE; default: the configured one.
    #[arg(long, value_name = "STORE")]
    from: Option<StoreName>,
    /// The store to make of it, named in the same way; it must be empty.
    #[arg(long, value_name = "STORE", required_unless_present = "to_config")]
    to: Option<StoreName>,
    /// The configuration that names the store to make, instead of --to.
    #[arg(long, value_name = "FILE", conflicts_with = "to")]
    to_config: Option<PathBuf>,
    /// The file with the password of the database to copy.
    #[arg(long, value_name = "FILE", requires = "from")]
    from_password_file: Option<PathBuf>,
    /// The file with the password of the database to fill.
    #[arg(long, value_name = "FILE", requires = "to")]
    to_password_file: Option<PathBuf>,
    /// The key file of the store to copy; default: DIR/store.keys, or the configured one.
    #[arg(long, value_name = "FILE", requires = "from")]
    from_keys: Option<PathBuf>,
    /// The key file of the store to make; default: DIR/store.keys, or cluster.keys in the configured data directory.
    #[arg(long, value_name = "FILE", requires = "to")]
    to_keys: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(arguments: Arguments) -> Result<()> {
    block_on(copy(arguments))
}

/// What a copy tells of a part of the store.
#[derive(Serialize)]
struct Told {
    part: &'static str,
    rows: u64,
    checksum: String,
}

/// What a copy tells.
#[derive(Serialize)]
struct Copied {
    from: String,
    to: String,
    parts: Vec<Told>,
}

async fn copy(arguments: Arguments) -> Result<()> {
    let Arguments { place, from, to, to_config, json, .. } = arguments;
    let config = wiring::config(&place)?;
    let target = match (to, to_config) {
        (Some(name), _) => {
            let (keys, password) = (arguments.to_keys, arguments.to_password_file);
            Side::named(name, wiring::config(&place)?, keys, password)
        }
        (None, path) => Side::configured(wiring::config(&Place { config: path, data: None })?),
    };
    let source = match from {
        Some(name) => Side::named(name, config, arguments.from_keys, arguments.from_password_file),
        None => Side::configured(config),
    };
    let files = CopyTarget::begin(&target, &source)?;
    let opened = source.open().await?;
    let copied = match carry_over(&*opened, &source.name(), &files).await? {
        Outcome::Same(copied) => copied,
        Outcome::Other { went_on: true, parts } => {
            let parts = parts.join(", ");
            output::complain(format_args!(
                "what an earlier try copied is no longer what there is ({parts}): the copy begins anew"
            ));
            files.empty().await?;
            match carry_over(&*opened, &source.name(), &files).await? {
                Outcome::Same(copied) => copied,
                Outcome::Other { parts, .. } => return wiring::differ(&parts),
            }
        }
        Outcome::Other { parts, .. } => {
            // What is wrong must not be gone on with.
            files.empty().await?;
            return wiring::differ(&parts);
        }
    };
    drop(opened);
    files.complete()?;
    tell(&source, &target, &copied, json)
}

/// The end of a copy.
enum Outcome {
    /// Both stores have the same.
    Same(Digest),
    /// They differ in some parts.
    Other {
        /// Whether an earlier copy was gone on with.
        went_on: bool,
        parts: Vec<&'static str>,
    },
}

/// Copies a store, and compares both.
async fn carry_over(from: &dyn Copies, name: &str, files: &CopyTarget<'_>) -> Result<Outcome> {
    let LastNumbers { octets, .. } = from.last_numbers().await?;
    let to = files.open().await?;
    let shown = progress("copying", octets);
    let filled = fill(from, &*to, name, &mut |part, octets| show(&shown, part, octets)).await;
    shown.finish_and_clear();
    let filled = filled?;
    drop(to);
    // As the next program will find it.
    let to = files.open().await?;
    let shown = progress("comparing", octets.saturating_mul(2));
    let compared = compare(from, &to, &shown).await;
    shown.finish_and_clear();
    let (there, here) = compared?;
    let parts: Vec<_> = there.differences(&here).into_iter().map(Part::name).collect();
    if !parts.is_empty() {
        return Ok(Outcome::Other { went_on: filled.went_on, parts });
    }
    let numbers = to.last_numbers().await?;
    let is_behind = numbers.account < filled.numbers.account
        || numbers.source < filled.numbers.source
        || (numbers.mod_seq < filled.numbers.mod_seq && there.rows(Part::Accounts) > 0);
    ensure!(!is_behind, "the new store would give out names again that the old one gave out");
    to.complete_copy().await?;
    Ok(Outcome::Same(here))
}

/// Reads both stores at the same time.
async fn compare(
    from: &dyn Copies,
    to: &Arc<dyn Copies>,
    shown: &ProgressBar,
) -> Result<(Digest, Digest)> {
    let (to, bar) = (to.clone(), shown.clone());
    let here: JoinHandle<_> =
        tokio::spawn(
            async move { digest(&*to, &mut |part, octets| show(&bar, part, octets)).await },
        );
    let there = digest(from, &mut |part, octets| show(shown, part, octets)).await;
    Ok((there?, here.await??))
}

fn progress(what: &'static str, octets: u64) -> ProgressBar {
    let bar = bar("{msg} {bar:30} {bytes}/{total_bytes}, {binary_bytes_per_sec}, {eta} left");
    bar.set_length(octets);
    bar.set_message(what);
    bar
}

/// The octets of messages are nearly all that there is, and what is known before.
fn show(bar: &ProgressBar, part: Part, octets: u64) {
    if part == Part::Contents {
        bar.inc(octets);
    }
}

fn tell(source: &Side, target: &Side, copied: &Digest, json: bool) -> Result<()> {
    let parts = copied.0.iter().map(|(part, of_part)| Told {
        part: part.name(),
        rows: of_part.rows,
        checksum: format!("{:032x}", of_part.sum),
    });
    let copied = Copied { from: source.name(), to: target.name(), parts: parts.collect() };
    if json {
        say!("{}", output::json(&copied)?);
        return Ok(());
    }
    for Told { part, rows, checksum } in &copied.parts {
        say!("{part:12} {rows:>10}  {checksum}");
    }
    say!("{} is as {}: counts and checksums of both are the same.", copied.to, copied.from);
    say!("\nBefore a server uses it, the configuration of each has to say:\n");
    say!("{}", target.as_configured());
    say!("Start no server with the old one any more: it would send what is in the queue again.");
    Ok(())
}
