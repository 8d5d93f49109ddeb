//! The spool: how programs of this machine hand messages over without a password, whether the server runs or not.
//!
//! `posta sendmail` writes each message into a directory as a file of its user, and is done once the file is on the disk.
//! The server takes the files up: at its start, as soon as one comes (inotify), and once a minute.
//!
//! **Who may do what.** Every user may put files into the directory, and nobody but the server sees or takes what others
//! have put there. Its mode ([`MODE`]) does that, without a program that has rights of its own:
//!
//! - Others may write and enter, but not read: nobody can list the names.
//! - *setgid*: what is made in the directory has the server's group, so a file of mode 0640 can be read by the server and
//!   by its user alone. It also proves that a file was made here: a hard link to somebody else's file, or one that was
//!   moved here, has another group. `entry.rs` takes no such file, nor one with a second link.
//! - *sticky*: only its user, and the server as the owner of the directory, may rename or remove a file.
//!
//! The owner of a file is the user whom the kernel knows, so a message is always that user's, whatever it says. Postfix's
//! `maildrop` rests on the same, behind a program with a group's rights (postdrop); such a program is useless to whoever
//! runs with *NoNewPrivileges*, and would be all of Posta here. A socket with SO_PEERCRED would know the user as well, but
//! is not there while the server is down. Who fills the disk fills it in their own name, so quotas of the file system
//! hold.
//!
//! **What a crash leaves.** A file is complete when it has its name: it is written under another one, synced, renamed, and
//! synced again. A message and the record that it was taken are one transaction of the store; then the file is removed,
//! the directory synced, and the record removed. So a file that is met again is known by its record, and no message is
//! lost or comes twice.
//!
//! Whoever handed a message over is gone when the server looks at it. Recipients who are refused are told of in a report
//! to the sender (RFC 5321 §6.1); what fails for now stays in the spool; what is no message is set aside.

mod acceptance;
mod directory;
mod entry;
mod watcher;

pub use directory::MODE;
pub use entry::{RECIPIENTS, SpoolEnvelope, SpoolWriter};

use crate::{limits::adjustable::Adjustable, receive::session::Acceptor};
use acceptance::Hindrance;
use directory::SpoolDirectory;
use entry::{SpoolFile, Unusable};
use posta_mail::{MailId, Timestamp};
use posta_store::StoreError;
use std::{
    collections::HashMap,
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tokio::{
    sync::{mpsc, watch},
    task::{JoinSet, spawn_blocking},
    time::sleep,
};
use watcher::Watcher;

/// The messages that are taken at the same time. They share the syncs of the disk.
const BATCH: usize = 16;

/// The interval at which everything in the spool is looked at, and what failed for now is tried again.
const EVERY: Duration = Duration::from_secs(60);

/// The most files that are known to wait. Further ones are tried at each look.
const WAITING: usize = 4_096;

/// The kind of the records of messages that were taken, by the name of the file.
const TAKEN: &str = "spool";

/// The time after which a record without a file is removed, and an incomplete file: whoever wrote it is gone.
const ABANDONED: Duration = Duration::from_secs(24 * 60 * 60);

/// What takes messages, by the current settings.
#[derive(Clone)]
pub struct Intake {
    /// What accepts them.
    pub acceptor: Arc<Acceptor>,
    /// The largest content of a message, in octets.
    pub message_size: u64,
}

/// Takes the messages from a spool.
pub struct PickUp {
    directory: Arc<SpoolDirectory>,
    intake: Arc<Adjustable<Intake>>,
    /// The files that wait, and until when.
    waiting: HashMap<MailId, Timestamp>,
}

/// What became of a file.
enum Fate {
    /// The message is in the store, or was before.
    Taken,
    /// It is tried again later, for this reason.
    Waits(String),
    /// The file is no message, for this reason.
    Foreign(String),
    /// The file is not there any more.
    Gone,
}

impl PickUp {
    /// Opens the spool in a directory, which is made if it is not there.
    ///
    /// # Errors
    /// When the directory cannot be used; the words name the cure.
    pub fn open(path: &Path, intake: Arc<Adjustable<Intake>>) -> Result<Self, String> {
        let directory = Arc::new(SpoolDirectory::open(path)?);
        Ok(Self { directory, intake, waiting: HashMap::new() })
    }

    /// Takes messages until the server stops.
    pub async fn run(mut self, mut stopping: watch::Receiver<bool>) {
        let path = self.directory.path().to_owned();
        let watcher = Watcher::new(&path);
        if let Err(error) = &watcher {
            tracing::warn!(%error, "the spool {} is looked at once a minute only", path.display());
        }
        self.forget_taken().await;
        loop {
            self.look(&stopping).await;
            let is_due = tokio::select! {
                () = changed(watcher.as_ref().ok()) => false,
                () = sleep(EVERY) => true,
                _ = stopping.wait_for(|&stopping| stopping) => return,
            };
            if is_due {
                self.clear().await;
            }
        }
    }

    /// Takes everything that is in the spool and does not wait.
    async fn look(&mut self, stopping: &watch::Receiver<bool>) {
        let now = self.intake.get().acceptor.clock.now();
        self.waiting.retain(|_, until| *until > now);
        let mut names = self.list();
        let (mut batch, mut reason, mut kept) = (Vec::new(), None, 0_usize);
        while names.recv_many(&mut batch, BATCH).await > 0 {
            if *stopping.borrow() {
                return;
            }
            batch.retain(|name| !self.waiting.contains_key(name));
            let (mut taken, mut taking) = (Vec::new(), JoinSet::new());
            for name in batch.drain(..) {
                let (intake, directory) = (self.intake.get(), self.directory.clone());
                taking.spawn(async move { (name, take(&intake, directory, name).await) });
            }
            while let Some(Ok((name, fate))) = taking.join_next().await {
                match fate {
                    Fate::Taken => taken.push(name),
                    Fate::Gone => {}
                    Fate::Waits(why) => {
                        self.wait(name, now);
                        kept += 1;
                        reason = Some(why);
                    }
                    Fate::Foreign(why) => self.set_aside(name, &why, now).await,
                }
            }
            if !taken.is_empty() {
                self.finish(taken, now).await;
            }
        }
        if let Some(reason) = reason {
            tracing::warn!(messages = kept, reason, "messages wait in the spool");
        }
    }

    fn wait(&mut self, name: MailId, now: Timestamp) {
        if self.waiting.len() < WAITING {
            self.waiting.insert(name, now + EVERY);
        }
    }

    /// Returns the names of the messages, as they are read from the directory. What has no such name is set aside.
    fn list(&self) -> mpsc::Receiver<MailId> {
        let (sender, names) = mpsc::channel(BATCH);
        let directory = self.directory.clone();
        spawn_blocking(move || {
            let listed = directory.each_name(|name| sender.blocking_send(name).is_ok());
            if let Err(error) = listed {
                let path = directory.path().display();
                tracing::error!(%error, "the spool {path} cannot be read");
            }
        });
        names
    }

    /// Removes the files of messages that are in the store, and then their records.
    async fn finish(&mut self, taken: Vec<MailId>, now: Timestamp) {
        let directory = self.directory.clone();
        let removed = spawn_blocking(move || {
            let mut gone = Vec::new();
            for name in taken {
                gone.push((name, directory.remove(name).err()));
            }
            // Before the records go: a file that comes back after a crash must be known.
            directory.sync().map(|()| gone)
        });
        let gone = match removed.await {
            Ok(Ok(gone)) => gone,
            Ok(Err(error)) => {
                let path = self.directory.path().display();
                tracing::error!(%error, "the spool {path} cannot be synced: its files are looked at again");
                return;
            }
            Err(_) => return,
        };
        for (name, error) in gone {
            if let Some(error) = error {
                tracing::error!(%error, %name, "a message that was taken cannot be removed from the spool");
                self.wait(name, now);
            } else if let Err(error) = self.forget(name).await {
                tracing::error!(%error, "the store failed");
            }
        }
    }

    async fn forget(&self, name: MailId) -> Result<(), StoreError> {
        self.intake.get().acceptor.store.keep(TAKEN, &name.to_string(), None).await
    }

    async fn set_aside(&mut self, name: MailId, why: &str, now: Timestamp) {
        let directory = self.directory.clone();
        let aside = spawn_blocking(move || directory.set_aside(name)).await;
        match aside {
            Ok(Ok(path)) => {
                let path = path.display();
                tracing::warn!(
                    why,
                    "a file in the spool is no message that can be taken, and is now {path}"
                );
            }
            _ => {
                tracing::warn!(why, %name, "a file in the spool is no message, and cannot be renamed");
                self.wait(name, now);
            }
        }
    }

    /// Removes the records that a crash left, whose files are gone.
    async fn forget_taken(&self) {
        let acceptor = self.intake.get().acceptor.clone();
        let before = acceptor.clock.now() - ABANDONED;
        let records = acceptor.store.kept(TAKEN).await.unwrap_or_default();
        let names = records.iter().filter_map(|(name, _)| name.parse::<MailId>().ok());
        // Several servers may share a store, each with a spool of its own.
        for name in names.filter(|name| *name < MailId::new(before, 0)) {
            if !self.directory.has(name) && self.forget(name).await.is_err() {
                return;
            }
        }
    }

    /// Removes what programs that ended before they were done have left.
    async fn clear(&self) {
        let before = self.intake.get().acceptor.clock.now() - ABANDONED;
        let directory = self.directory.clone();
        // What cannot be removed is tried again.
        let _ = spawn_blocking(move || directory.remove_incomplete(before)).await;
    }
}

/// Returns when something has come into the directory.
async fn changed(watcher: Option<&Watcher>) {
    let is_watched = match watcher {
        Some(watcher) => watcher.changed().await.is_ok(),
        None => false,
    };
    if !is_watched {
        std::future::pending::<()>().await;
    }
}

/// Takes a message.
async fn take(intake: &Intake, directory: Arc<SpoolDirectory>, name: MailId) -> Fate {
    let most = intake.message_size;
    let opened = spawn_blocking(move || SpoolFile::open(&directory, name, most)).await;
    let file = match opened {
        Ok(Ok(file)) => file,
        Ok(Err(Unusable::Gone)) => return Fate::Gone,
        Ok(Err(Unusable::Foreign(why))) => return Fate::Foreign(why),
        Ok(Err(Unusable::Failed(error))) => return Fate::Waits(error.to_string()),
        Err(error) => return Fate::Waits(error.to_string()),
    };
    match intake.acceptor.store.kept_one(TAKEN, &name.to_string()).await {
        // It is this very file, not another of the same name.
        Ok(Some(stamp)) if stamp == file.stamp => return Fate::Taken,
        Ok(_) => {}
        Err(error) => return Fate::Waits(error.to_string()),
    }
    match Box::pin(acceptance::accept(intake, name, file)).await {
        Ok(()) => Fate::Taken,
        Err(Hindrance::Waits(why)) => Fate::Waits(why),
        Err(Hindrance::Foreign(why)) => Fate::Foreign(why),
    }
}

/// Returns the files in a spool that nobody has taken yet, and those that were set aside, for whoever may look: the name,
/// the octets and the user of each, at most `most`.
///
/// # Errors
/// When the directory cannot be read.
pub fn look_into(path: &Path, most: usize) -> io::Result<Vec<(PathBuf, u64, u32)>> {
    directory::files(path, most)
}
