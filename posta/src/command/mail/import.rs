//! `posta import`.

mod account;
mod aliases;
mod asking;
mod batch;
pub(crate) mod maildir;
mod map;
mod mbox;
mod pop3;
mod records;
mod source;
mod users;

use super::{at_once::at_once, progress::TransferProgress};
use crate::{
    Place,
    fault::demand,
    operator::SharedSession,
    output::{self, counted, say},
    runtime::block_on,
};
use account::import as import_one;
use anyhow::{Context, Result};
use asking::{Asking, Counts};
use clap::{Args, Subcommand};
use maildir::{Maildir, UidlFormat};
use mbox::Mbox;
use posta_store::FolderName;
use source::MailSource;
use std::path::{Path, PathBuf};
use tokio::runtime::Handle;

/// Import mailboxes from another server, whether Posta's server runs or not.
///
/// An import that was interrupted goes on when it is run again, and one that is repeated takes only what is new.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Import Maildirs with their folders, flags and the POP3 unique-ids of Dovecot or Courier, so that mail programs
    /// collect nothing twice.
    ///
    /// Messages that their owner has marked as deleted are left out. Links are not followed. Everything that is
    /// skipped is named, and at the end the messages are counted on both sides.
    ///
    /// Example: posta import maildir --map '/var/vmail/%d/%n/Maildir'
    Maildir(MaildirArguments),
    /// Import mbox files of any dialect, with the flags in their fields Status and X-Status.
    ///
    /// The path is a file, or a directory with a file for each folder: Archive/2024.mbox becomes Archive/2024.
    ///
    /// Example: posta import mbox ana@example.test /var/mail/ana
    Mbox(MboxArguments),
    /// Move a mailbox here from a POP3 server, with its unique-ids. The messages stay there.
    ///
    /// Example: posta import pop3 ana@example.test --server pop.example.net:995 --user ana
    Pop3(pop3::Arguments),
    /// Add the accounts of another server with the passwords that they have: Dovecot's passwd-file, or /etc/shadow.
    ///
    /// Hashes are kept until their owners log in: SHA512-CRYPT, SHA256-CRYPT, BLF-CRYPT, yescrypt, ARGON2, SSHA, SSHA256,
    /// SSHA512 and others. Quotas of Dovecot are taken over. Accounts that exist stay as they are.
    ///
    /// Example: posta import users /etc/dovecot/users --domain example.test
    Users(users::Arguments),
    /// Add the aliases and forwards of another server: /etc/aliases, or the text of Postfix's virtual_alias_maps.
    ///
    /// Aliases that exist stay as they are. Programs and files among the members are left out, and named.
    ///
    /// Example: posta import aliases /etc/aliases --domain example.test
    Aliases(aliases::Arguments),
}

#[derive(Args)]
pub(crate) struct MaildirArguments {
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    which: Which,
    /// The file of unique-ids, if it is not in the Maildir: a dovecot-uidlist or a courierpop3dsizelist.
    #[arg(long, value_name = "FILE", conflicts_with = "map")]
    unique_ids: Option<PathBuf>,
    /// Dovecot's setting pop3_uidl_format, if it is another: the form of unique-ids that its lists do not have.
    #[arg(long, value_name = "FORMAT", default_value = "%08Xu%08Xv")]
    uidl_format: UidlFormat,
    /// Import messages that are marked as deleted, too.
    #[arg(long)]
    deleted: bool,
}

#[derive(Args)]
pub(crate) struct MboxArguments {
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    which: Which,
    /// The folder that the messages of a file go to; default: the inbox.
    #[arg(long, value_name = "NAME")]
    folder: Option<FolderName>,
    /// Import messages that are marked as deleted, too.
    #[arg(long)]
    deleted: bool,
}

/// The mailboxes to import.
#[derive(Args)]
struct Which {
    /// The account's address.
    #[arg(required_unless_present = "map", requires = "path")]
    address: Option<String>,
    /// The path of the mailbox. It is not changed.
    path: Option<PathBuf>,
    /// Import the mailboxes of all accounts: the path of each, with %n for the part of the address before the @, %d for
    /// the domain, %u for the whole address.
    #[arg(long, value_name = "PATTERN", conflicts_with_all = ["address", "path"])]
    map: Option<String>,
}

pub(crate) fn run(command: Command) -> Result<()> {
    match command {
        Command::Maildir(MaildirArguments { place, which, unique_ids, uidl_format, deleted }) => {
            import(&place, which, "Maildir", move |path| {
                let unique_ids = (unique_ids.as_deref(), &uidl_format);
                let maildir = Maildir::open(path, unique_ids, deleted)?;
                Ok(Box::new(maildir) as Box<dyn MailSource>)
            })
        }
        Command::Mbox(MboxArguments { place, which, folder, deleted }) => {
            import(&place, which, "mbox", move |path| {
                let mbox = Mbox::open(path, folder.clone(), deleted)?;
                Ok(Box::new(mbox) as Box<dyn MailSource>)
            })
        }
        Command::Pop3(arguments) => pop3::run(arguments),
        Command::Users(arguments) => users::run(arguments),
        Command::Aliases(arguments) => aliases::run(arguments),
    }
}

/// A mailbox to import.
struct Job {
    address: String,
    path: PathBuf,
}

/// What became of it.
struct Ended {
    job: Job,
    outcome: Result<Counts>,
}

/// Opens a mailbox in files.
type Open<'o> = &'o (dyn Fn(&Path) -> Result<Box<dyn MailSource>> + Sync);

/// Imports mailboxes, which `open` opens; `format` is the kind of their files, for people.
fn import(
    place: &Place,
    which: Which,
    format: &'static str,
    open: impl Fn(&Path) -> Result<Box<dyn MailSource>> + Send + Sync + 'static,
) -> Result<()> {
    let ended = block_on(async {
        let session = SharedSession::open(place).await?;
        let (jobs, skipped) = match which {
            Which { address: Some(address), path: Some(path), .. } => {
                // The history tells of the path, whose meaning must not depend on a working directory.
                let path = std::path::absolute(path)?;
                (vec![Job { address, path }], 0)
            }
            Which { map, .. } => map::jobs(&session, &map.unwrap_or_default()).await?,
        };
        let handle = Handle::current();
        let all = move || (import_all(&session, &handle, jobs, &open), skipped);
        Ok(tokio::task::spawn_blocking(all).await?)
    });
    let (ended, skipped) = ended?;
    tell(ended, skipped, format)
}

/// Counts the messages of all mailboxes, and imports them, several mailboxes at once.
fn import_all(
    session: &SharedSession,
    handle: &Handle,
    jobs: Vec<Job>,
    open: Open<'_>,
) -> Vec<Ended> {
    let (mut messages, mut octets) = (0, 0);
    for source in jobs.iter().filter_map(|job| open(&job.path).ok()) {
        for folder in source.folders(&mut Vec::new()).unwrap_or_default() {
            // What cannot be read is told of by the import itself.
            let listing = source.list(&folder).unwrap_or_default();
            messages += listing.messages.len() as u64;
            octets += listing.messages.iter().map(|message| message.octets).sum::<u64>();
        }
    }
    let progress = TransferProgress::new(messages, octets);
    let ended = at_once(jobs, |job| {
        let (progress, address) = (&progress, &*job.address);
        let asking = Asking { session, handle, progress, address };
        let outcome = open(&job.path).and_then(|source| import_one(&asking, &*source));
        Ended { job, outcome }
    });
    progress.end();
    ended
}

/// Tells what became of each mailbox, and of all.
fn tell(ended: Vec<Ended>, skipped: u64, format: &str) -> Result<()> {
    let (mut total, mut failed, count) = (Counts::default(), 0, ended.len());
    let mut missing = 0;
    let is_single = count == 1 && skipped == 0;
    for Ended { job: Job { address, path }, outcome } in ended {
        let counts = match outcome {
            Ok(counts) => counts,
            Err(error) if is_single => return Err(error).with_context(|| address),
            Err(error) => {
                output::complain(format_args!("{address}: {}", output::chain(&error)));
                failed += 1;
                continue;
            }
        };
        let there = counts.imported + counts.collected;
        say!(
            "{} came into the mailbox of {address}; it has {there} of the {} in {}",
            counted(counts.new, "message"),
            counts.found,
            path.display()
        );
        if counts.deleted > 0 {
            say!(
                "left out: {} marked as deleted (--deleted takes them)",
                counted(counts.deleted, "message")
            );
        }
        // What is neither there nor named would be a message that was lost.
        missing += (counts.found - counts.skipped_messages.min(counts.found)).saturating_sub(there);
        total.new += counts.new;
        total.found += counts.found;
        total.imported += there;
        total.skipped += counts.skipped;
    }
    if !is_single {
        say!(
            "{}: {} came; {} of {} are there",
            counted(count, "mailbox"),
            counted(total.new, "message"),
            total.imported,
            total.found
        );
    }
    demand!(
        failed == 0,
        "import-incomplete",
        "{} not imported, or not wholly: run this again",
        counted(failed, "mailbox")
    );
    demand!(
        missing == 0,
        "import-incomplete",
        "{} not there: moved while being read, or another program uses the {format}; run this again",
        match missing {
            1 => "1 message is".to_owned(),
            _ => format!("{missing} messages are"),
        }
    );
    let skipped = total.skipped + skipped;
    demand!(
        skipped == 0,
        "import-incomplete",
        "skipped {}, listed above",
        counted(skipped, "name")
    );
    Ok(())
}
