//! Importing a Maildir: the messages of another server, with the unique-ids under which mail programs
//! know them, so that no program collects any message twice. `admin` calls it for `posta account
//! import`.
//!
//! Dovecot and Courier keep lists of unique-ids (`lists.rs`). The unique-id of a message that is in no
//! list is its file name, as with qmail and Courier, or a digest of that name if it is not a valid
//! unique-id (RFC 1939 §7). An account has one mailbox, into which the messages of the Maildir's folders
//! are imported as well (`folders.rs`). POP3 never served these, so their unique-ids are digests of the
//! folder's and the file's names.
//!
//! Nothing is skipped silently: everything that is not imported is counted, and named up to a limit.

mod folders;
mod listing;
mod lists;
mod message_file;

pub use folders::Folders;

use crate::collect::{Destination, StoreDestination, derived, plain_files::OpenDirectory};
use folders::{WITH_MESSAGES, is_set_aside, name_of};
use listing::{FoundMessage, Listing, list_folder};
use lists::UniqueIds;
use message_file::{NotTaken, arrived, take};
use serde::{Deserialize, Serialize};
use std::{
    collections::HashSet,
    ffi::{OsStr, OsString},
    io,
    path::Path,
    sync::Arc,
};
use tokio::task::spawn_blocking;

/// The maximal number of skipped names that are reported: nobody reads a longer list.
const REPORTED: usize = 20;

/// The number of times that a folder is listed if messages move meanwhile, as mail programs move them
/// from `new` to `cur`.
const LISTINGS: usize = 3;

/// The parameters of an import.
#[derive(Debug, Clone, Copy)]
pub struct Import<'i> {
    /// The path of the Maildir.
    pub maildir: &'i Path,
    /// The path of the list of unique-ids, if it is not in the Maildir.
    pub unique_ids: Option<&'i Path>,
    /// The folders to import.
    pub folders: Folders,
}

/// The result of an import.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Imported {
    /// The number of new messages.
    pub messages: usize,
    /// The number of new messages that came from folders.
    pub in_folders: usize,
    /// The number of messages that their owner had thrown away (flag T), which are not imported.
    pub thrown_away: usize,
    /// The folders with messages that were not requested, and the number of messages in each.
    pub left_out: Vec<(String, usize)>,
    /// The number of names skipped, because they are not regular files or could not be read, and of
    /// lines of a list that could not be understood.
    pub skipped: usize,
    /// The first of the skipped names, each with the reason.
    pub skipped_names: Vec<String>,
}

impl Imported {
    fn skip(&mut self, words: String) {
        self.skipped += 1;
        if self.skipped_names.len() < REPORTED {
            self.skipped_names.push(words);
        }
    }
}

/// Imports a Maildir. Messages whose unique-id is already in the mailbox are not new. Only regular files
/// are messages: all else in the Maildir is skipped and reported.
///
/// # Errors
/// When the Maildir or its list cannot be read, or a message cannot be stored; messages imported before
/// remain.
pub async fn maildir(
    import: Import<'_>,
    destination: &mut StoreDestination,
) -> io::Result<Imported> {
    let (path, list) = (import.maildir.to_owned(), import.unique_ids.map(Path::to_owned));
    let opened = off_thread(move || {
        let maildir = OpenDirectory::open(&path).map_err(|error| with_path(error, &path))?;
        let unique_ids = UniqueIds::read(&path, &maildir, list.as_deref())?;
        let walk = folders::walk(&maildir);
        let inbox = list_folder(&maildir, &[], &unique_ids).map_err(|error| {
            // The error begins with the name of one of the two directories.
            io::Error::new(error.kind(), format!("{}/{error}", path.display()))
        })?;
        if inbox.directories.iter().all(Option::is_none) && walk.folders.is_empty() {
            let words = "no Maildir: neither it nor what is in it has a directory `cur` or `new`";
            return Err(with_path(io::Error::new(io::ErrorKind::NotFound, words), &path));
        }
        Ok((Arc::new(maildir), unique_ids, walk, inbox))
    });
    let (maildir, unique_ids, walk, inbox) = opened.await?;
    let mut imported = Imported::default();
    for line in &unique_ids.odd {
        let path = unique_ids.path.display();
        imported.skip(format!("{path}, line {line}: names no file and its unique-id"));
    }
    for words in walk.skipped {
        imported.skip(words);
    }
    let known = destination.known().await?.into_keys().collect();
    let mut run =
        ImportRun { maildir, unique_ids: Arc::new(unique_ids), known, destination, imported };
    run.take_folder(&[], inbox).await?;
    let of_inbox = run.imported.messages;
    for folder in walk.folders {
        let is_taken = match import.folders {
            Folders::None => false,
            Folders::Usual => !is_set_aside(&folder),
            Folders::All => true,
        };
        match run.list(&folder).await {
            Ok(listing) if is_taken => run.take_folder(&folder, listing).await?,
            Ok(listing) if listing.found.is_empty() => {}
            Ok(listing) => run.imported.left_out.push((name_of(&folder), listing.found.len())),
            Err(error) => run.imported.skip(format!("{}/{error}", name_of(&folder))),
        }
    }
    let mut imported = run.imported;
    imported.in_folders = imported.messages - of_inbox;
    Ok(imported)
}

/// An import in progress.
struct ImportRun<'d> {
    maildir: Arc<OpenDirectory>,
    unique_ids: Arc<UniqueIds>,
    /// The unique-ids of all messages in the mailbox.
    known: HashSet<String>,
    destination: &'d mut StoreDestination,
    imported: Imported,
}

impl ImportRun<'_> {
    /// Lists a folder.
    async fn list(&self, folder: &[OsString]) -> io::Result<Listing> {
        let (maildir, unique_ids) = (self.maildir.clone(), self.unique_ids.clone());
        let folder = folder.to_vec();
        off_thread(move || list_folder(&maildir, &folder, &unique_ids)).await
    }

    /// Imports the messages of a folder.
    async fn take_folder(&mut self, folder: &[OsString], listing: Listing) -> io::Result<()> {
        let prefix = if folder.is_empty() { String::new() } else { name_of(folder) + "/" };
        self.imported.thrown_away += listing.thrown_away;
        for name in &listing.hidden {
            let words = "a message's name does not begin with a dot";
            self.imported.skip(format!("{prefix}{name}: {words}"));
        }
        let mut moved = self.take_listed(&prefix, listing).await?;
        for _ in 1..LISTINGS {
            if moved.is_empty() {
                break;
            }
            match self.list(folder).await {
                Ok(listing) => moved = self.take_listed(&prefix, listing).await?,
                Err(error) => {
                    self.imported.skip(format!("{prefix}{error}"));
                    break;
                }
            }
        }
        for name in moved {
            let words = "it is being moved: import again when no other program uses the Maildir";
            self.imported.skip(format!("{name}: {words}"));
        }
        Ok(())
    }

    /// Imports the messages of a listing. Returns the names of those that no longer exist, because a
    /// mail program has moved or removed them or changed their flags.
    async fn take_listed(&mut self, prefix: &str, listing: Listing) -> io::Result<Vec<String>> {
        let (mut seen, mut moved) = (HashSet::new(), Vec::new());
        for FoundMessage { name, place, mut unique_id, .. } in listing.found {
            // Two files may have the same unique-id, such as copies in `new` and in `cur`: neither is
            // lost.
            while seen.contains(&unique_id) {
                unique_id = derived(unique_id.as_bytes());
            }
            if !self.known.contains(&unique_id) {
                let about = format!("{prefix}{}/{}", WITH_MESSAGES[place], displayed(&name));
                let directories = listing.directories.clone();
                let opened = off_thread(move || match &directories[place] {
                    Some(directory) => {
                        let file = directory.file(&name)?;
                        let date = arrived(&name, &file);
                        Ok((file, date))
                    }
                    None => Err(io::ErrorKind::NotFound.into()),
                });
                let taken = match opened.await {
                    Ok((file, date)) => take(file, &unique_id, date, self.destination).await,
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {
                        moved.push(about);
                        continue;
                    }
                    Err(error) => Err(NotTaken::Unread(error)),
                };
                match taken {
                    Ok(()) => {
                        self.imported.messages += 1;
                        self.known.insert(unique_id.clone());
                    }
                    Err(NotTaken::Unread(error)) => {
                        self.imported.skip(format!("{about}: {error}"));
                    }
                    Err(NotTaken::Unkept(error)) => {
                        let about = format!("after {} messages, {about}", self.imported.messages);
                        return Err(with_path(error, Path::new(&about)));
                    }
                }
            }
            seen.insert(unique_id);
        }
        Ok(moved)
    }
}

/// Runs file operations on another thread, since the files may be on a disk that does not respond.
async fn off_thread<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    spawn_blocking(work).await.unwrap_or_else(|error| Err(io::Error::other(error)))
}

/// Returns the error with the path of the file in front.
fn with_path(error: io::Error, path: &Path) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

/// Returns a name as displayed to people. Its owner chose it, and it may contain a line end.
fn displayed(name: &OsStr) -> String {
    name.to_string_lossy().escape_debug().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collect::Purpose;
    use posta_mail::Timestamp;
    use posta_net::clock::{Clock as _, SystemClock};
    use posta_store::{Credentials, Directory as _, FolderId, Mailboxes as _, MemoryStore, Uid};
    use std::{fs::File, time::Duration};

    async fn mailbox(store: &Arc<MemoryStore>) -> StoreDestination {
        let address = "ana@x.test".parse().unwrap();
        store.add_account(&address, Credentials::default()).await.unwrap();
        let account = store.account(&address).await.unwrap().unwrap();
        let from = "Maildir".to_owned();
        StoreDestination::new(store.clone(), Arc::new(SystemClock), account, from, Purpose::Move)
    }

    /// A mail program reads the Maildir meanwhile: what it moves comes, once, and what it removes is gone.
    #[tokio::test]
    async fn what_is_moved_meanwhile_comes_all_the_same() {
        let place = tempfile::tempdir().unwrap();
        let at = |name: &str| place.path().join(name);
        for name in ["new", "cur"] {
            std::fs::create_dir(at(name)).unwrap();
        }
        for name in ["new/1.M1", "cur/2.M1:2,", "cur/3.M1:2,"] {
            std::fs::write(at(name), "Subject: x\n\n").unwrap();
        }
        let store = Arc::new(MemoryStore::new());
        let mut destination = mailbox(&store).await;
        let mut run = ImportRun {
            maildir: Arc::new(OpenDirectory::open(place.path()).unwrap()),
            unique_ids: Arc::default(),
            known: HashSet::new(),
            destination: &mut destination,
            imported: Imported::default(),
        };
        let listing = run.list(&[]).await.unwrap();
        std::fs::rename(at("new/1.M1"), at("cur/1.M1:2,S")).unwrap();
        std::fs::rename(at("cur/2.M1:2,"), at("cur/2.M1:2,RS")).unwrap();
        std::fs::remove_file(at("cur/3.M1:2,")).unwrap();
        run.take_folder(&[], listing).await.unwrap();
        assert_eq!(run.imported, Imported { messages: 2, ..Imported::default() });
        let mut known: Vec<_> = run.known.into_iter().collect();
        known.sort();
        assert_eq!(known, ["1.M1", "2.M1"], "under the names by which they are known again");
    }

    /// What arrived elsewhere long ago has that time here, too (RFC 9051 §2.3.3).
    #[tokio::test]
    async fn messages_keep_the_time_of_their_arrival() {
        let place = tempfile::tempdir().unwrap();
        std::fs::create_dir(place.path().join("cur")).unwrap();
        let soon = SystemClock.now().as_second() + 1_000_000;
        // The second in the name, that of the file, and the earlier one of those that can be.
        for (name, modified) in [
            ("1400000000.M1.x:2,S".to_owned(), 1_500_000_000),
            ("1600000000.M2.x:2,S".to_owned(), 1_500_000_001),
            ("3.M3.x".to_owned(), 1_500_000_002),
            ("x".to_owned(), 1_500_000_003),
            ("1500000004".to_owned(), 4),
            ("5.M5.x".to_owned(), soon),
        ] {
            let file = File::create(place.path().join("cur").join(name)).unwrap();
            std::io::Write::write_all(&mut &file, b"Subject: x\n\n").unwrap();
            let modified = std::time::UNIX_EPOCH + Duration::from_secs(modified as u64);
            file.set_modified(modified).unwrap();
        }
        let store = Arc::new(MemoryStore::new());
        let mut mailbox = mailbox(&store).await;
        let began = SystemClock.now();
        let import = Import { maildir: place.path(), unique_ids: None, folders: Folders::None };
        assert_eq!(maildir(import, &mut mailbox).await.unwrap().messages, 6);
        let account = store.account(&"ana@x.test".parse().unwrap()).await.unwrap().unwrap();
        let entries = store.entries(account.id, FolderId::INBOX, Uid(0), 99).await.unwrap();
        let mut times: Vec<_> = entries.into_iter().map(|entry| entry.time).collect();
        times.sort();
        // Nothing has arrived in the future.
        assert!(times.pop().is_some_and(|time| began <= time && time <= SystemClock.now()));
        let times: Vec<_> = times.into_iter().map(Timestamp::as_second).collect();
        let all = [1_400_000_000, 1_500_000_001, 1_500_000_002, 1_500_000_003, 1_500_000_004];
        assert_eq!(times, all);
    }

    /// A file whose disk fails costs itself, and leaves nothing of itself in the next message.
    #[tokio::test]
    async fn a_file_that_cannot_be_read_is_passed_over() {
        let place = tempfile::tempdir().unwrap();
        let store = Arc::new(MemoryStore::new());
        let mut mailbox = mailbox(&store).await;
        // The nearest to a disk that fails: a file that is open for writing only.
        let unread = File::create(place.path().join("1")).unwrap();
        assert!(matches!(take(unread, "1", None, &mut mailbox).await, Err(NotTaken::Unread(_))));
        std::fs::write(place.path().join("2"), "two\n").unwrap();
        let read = File::open(place.path().join("2")).unwrap();
        assert!(take(read, "2", None, &mut mailbox).await.is_ok());
        let account = store.account(&"ana@x.test".parse().unwrap()).await.unwrap().unwrap();
        let maildrop = store.maildrop(account.id).await.unwrap();
        assert_eq!((maildrop.len(), maildrop.octets()), (1, 5));
    }
}
