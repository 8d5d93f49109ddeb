//! Opening the store: at the start, and again while it runs, after a change that is in the log could
//! not be put into the tables.
//!
//! The engine takes no changes after one of its writes failed, as on a disk that another program filled. The log has
//! everything, so the tables are closed, opened again and brought up to date from it, as a restart would do.

use super::{Committer, Request, damage};
use crate::{
    disk::Disk,
    error::{damaged, io_failed, tables_failed},
    key_file::KeyFile,
    log::Segments,
    meters::Meters,
    tables::{lanes::Lanes, schema::Schema, usage::Usages, views::Views},
};
use fjall::Database;
use parking_lot::{Mutex, RwLock};
use posta_store::{Leases, SourceId, StoreError, Watchers};
use std::{
    path::PathBuf,
    sync::{Arc, mpsc},
    thread,
    time::Duration,
};

/// Octets of the engine's cache.
const CACHE: u64 = 8 * 1024 * 1024;

/// Octets of the engine's journal.
const JOURNAL: u64 = 64 * 1024 * 1024;

/// How long to wait before trying again to open the store.
const AGAIN: Duration = Duration::from_secs(1);

/// How often to check whether the last reader is done.
const READERS: Duration = Duration::from_millis(1);

/// The tables, unless they are being opened again.
#[derive(Debug, Default)]
pub(crate) struct Tables(RwLock<Option<Arc<Schema>>>);

impl Tables {
    pub(crate) fn get(&self) -> Result<Arc<Schema>, StoreError> {
        let schema = self.0.read();
        schema.clone().ok_or_else(|| StoreError::Failed("its tables are being mended".to_owned()))
    }

    fn set(&self, schema: Schema) {
        *self.0.write() = Some(Arc::new(schema));
    }

    /// Closes the tables, once all readers are done.
    fn close(&self) {
        let mut schema = self.0.write().take();
        while let Some(shared) = schema.take() {
            // A read lasts no longer than its call.
            schema = Arc::try_unwrap(shared).err();
            thread::sleep(READERS);
        }
    }
}

/// The parameters of opening the store, and the state that the committing thread shares with readers.
#[derive(Clone)]
pub(crate) struct Opener {
    pub(crate) directory: PathBuf,
    pub(crate) segments: Arc<Segments>,
    pub(crate) tables: Arc<Tables>,
    pub(crate) usages: Arc<Usages>,
    pub(crate) views: Arc<Views>,
    pub(crate) lanes: Arc<Mutex<Lanes>>,
    /// The leases on sources that are being visited.
    pub(crate) visitors: Arc<Mutex<Leases<SourceId>>>,
    pub(crate) watchers: Watchers,
    pub(crate) keys: Arc<KeyFile>,
    pub(crate) meters: Arc<Meters>,
    /// The most messages that one piece removes or brings back.
    pub(crate) piece: usize,
    /// The directory of a damaged journal of the tables that was set aside, until the log is open.
    pub(crate) set_aside: Arc<Mutex<Option<PathBuf>>>,
}

impl Opener {
    /// Opens the tables and the log, and finishes what an earlier format left.
    pub(crate) fn open(&self) -> Result<Committer, StoreError> {
        let opened = self.open_sealed();
        let (schema, mut committer) =
            opened.map_err(|error| damage::with_cure(&self.directory, error))?;
        let mut lanes = committer.lanes()?;
        lanes.take_leases(&mut self.lanes.lock());
        *self.lanes.lock() = lanes;
        self.usages.forget();
        self.views.forget_all();
        committer.let_time_pass(0);
        self.tables.set(schema);
        self.watchers.tell_all();
        Ok(committer)
    }

    /// Opens the log, and brings the tables up to date from it and to the format of this program.
    pub(crate) fn recover(&self, schema: &Schema) -> Result<Committer, StoreError> {
        let mut committer = self.replay(schema)?;
        committer.settle_in()?;
        Ok(committer)
    }

    /// Opens the log, and brings the tables up to date from it.
    pub(crate) fn replay(&self, schema: &Schema) -> Result<Committer, StoreError> {
        let disk = Disk::open(&self.directory).map_err(io_failed)?;
        Committer::new(schema.clone(), self, disk)
    }

    /// Opens the tables. If their journal cannot be read, it is set aside.
    pub(crate) fn open_tables(&self) -> Result<Schema, StoreError> {
        let open = || {
            Database::builder(&self.directory)
                .cache_size(CACHE)
                .max_journaling_size(JOURNAL)
                .journal_compression(fjall::CompressionType::None)
                // The log is what makes changes durable.
                .manual_journal_persist(true)
                .open()
        };
        let opened = damage::open_engine(&self.directory, open);
        let opened = match opened {
            Some(opened) => opened,
            None => {
                let aside = damage::set_journal_aside(&self.directory)?;
                tracing::error!(
                    "the journal of the tables cannot be read: it is set aside in {}, and the tables are \
                     brought up to date from the log",
                    aside.display()
                );
                *self.set_aside.lock() = Some(aside);
                damage::open_engine(&self.directory, open).ok_or_else(|| damaged("a table"))?
            }
        };
        let database = match opened {
            Ok(database) => database,
            Err(fjall::Error::Locked) => return Err(StoreError::InUse(self.directory.clone())),
            Err(error) => return Err(tables_failed(error)),
        };
        Schema::open(database)
    }

    /// Serves requests until all senders are gone.
    pub(crate) fn serve(self, committer: Committer, requests: &mpsc::Receiver<Request>) {
        let mut committer = Some(committer);
        while let Some(working) = committer.take() {
            if working.run(requests) {
                tracing::error!("the tables did not take a change: they are opened anew");
                self.tables.close();
                committer = self.open_again(requests);
            }
        }
    }

    /// Tries to open the store until that succeeds, and refuses requests meanwhile. Returns none if all
    /// senders are gone.
    fn open_again(&self, requests: &mpsc::Receiver<Request>) -> Option<Committer> {
        loop {
            let error = match self.open() {
                Ok(committer) => {
                    tracing::info!("the tables are open again");
                    return Some(committer);
                }
                Err(error) => error,
            };
            tracing::error!(%error, "the tables cannot be opened yet");
            thread::sleep(AGAIN);
            loop {
                match requests.try_recv() {
                    Ok(request) => request.refuse(error.clone()),
                    Err(mpsc::TryRecvError::Empty) => break,
                    Err(mpsc::TryRecvError::Disconnected) => return None,
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::{FjallStore, tables::batch::Batch};
    use posta_mail::Timestamp;
    use posta_store::{
        CHUNK, Contents, Credentials, Directory, Mailboxes, Queue,
        conformance::{block_on, item, message, read},
    };
    use std::{thread::sleep, time::Duration};

    fn second(second: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + second).unwrap()
    }

    /// The engine takes no more changes, one of which is in the log already: nothing is lost of what
    /// was acknowledged, of what is arriving, or of the leases that somebody holds.
    #[test]
    fn tables_that_took_no_change_are_opened_anew() {
        let directory = tempfile::tempdir().unwrap();
        let store = FjallStore::open(directory.path()).unwrap();
        let address = "ana@x.test".parse().unwrap();
        let account = block_on(store.add_account(&address, Credentials::default())).unwrap();
        let mut first = message(1, second(0), b"one\r\n", &[account]);
        first.items = vec![item(1, 0, second(0), 0)];
        block_on(store.accept(first)).unwrap();
        assert_eq!(block_on(store.claim(second(1), second(300), 9, 9)).unwrap().len(), 1);
        let mut arriving = message(2, second(0), b"two\r\n", &[account]);
        block_on(store.append(arriving.id, 0, &[b'x'; CHUNK])).unwrap();
        arriving.chunks = 1;

        let broken = store.alone(|committer| {
            committer.begin()?;
            let mut batch = Batch::new(&committer.schema);
            batch.insert(&committer.schema.kept, "only in the log", "x");
            committer.log.write(batch.records(), true)?;
            committer.log.fail();
            Ok(())
        });
        block_on(broken).unwrap();

        let mut tries = 0;
        while let Err(error) =
            block_on(store.accept(message(3, second(0), b"three\r\n", &[account])))
        {
            assert!(tries < 1_000, "{error}");
            tries += 1;
            sleep(Duration::from_millis(10));
        }
        block_on(store.accept(arriving)).unwrap();
        let schema = store.schema().unwrap();
        assert!(schema.kept.contains_key("only in the log").unwrap());
        let maildrop = block_on(store.maildrop(account)).unwrap();
        let whole = maildrop.iter().map(|it| block_on(read(&store, account, it.uid)));
        let ends: Vec<_> = whole.map(|whole| whole[whole.len() - 5..].to_vec()).collect();
        assert_eq!(ends, [b"one\r\n", b"ree\r\n", b"two\r\n"]);
        assert_eq!(block_on(store.claim(second(2), second(300), 9, 9)).unwrap().len(), 0);
    }
}
