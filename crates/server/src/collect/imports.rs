//! Importing mail that another server kept in files. The command `posta import` reads the files, since only its user
//! may be allowed to, and sends their messages; `admin` passes them on to this module.
//!
//! The name under which a message is remembered is recorded in the transaction that stores the message. So an import
//! that is interrupted at any moment, and run again, goes on where it was: no message is lost, and none comes twice.
//! The record stays when the message is removed, so a later import does not bring it back.

use crate::{
    collect::{
        Destination, Purpose, StoreDestination,
        unique_ids::{HeldMailbox, UniqueIdsInUse},
    },
    deliver::Placement,
};
use bytes::Bytes;
use parking_lot::Mutex;
use posta_mail::MailId;
use posta_net::clock::Clock;
use posta_store::{Account, AccountId, Collected, SourceId, Store, StoreError};
use std::{collections::HashSet, future::Future, io, pin::Pin, sync::Arc, task::Poll};

/// The most messages that may arrive in pieces at the same time. Whoever begins another one makes the server drop the
/// one that has waited longest, which a command that was killed may have left.
const UPLOADS: usize = 64;

/// A message to be imported.
#[derive(Debug, Clone)]
pub struct ImportedMessage {
    /// The name under which it is remembered for its account.
    pub name: String,
    /// Where it goes, and what it brings along.
    pub placement: Placement,
    /// Its content, with CRLF as line ends.
    pub content: ImportedContent,
}

/// The content of a message to be imported.
#[derive(Debug, Clone)]
pub enum ImportedContent {
    /// All of it.
    Whole(Bytes),
    /// What came in pieces ([`Imports::piece`]).
    Pieces(MailId),
}

/// What became of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ImportOutcome {
    /// It is in the mailbox now.
    New,
    /// It had been imported before.
    Known,
    /// It was refused, for this reason.
    Refused(String),
}

/// The files that messages come from, for their history.
#[derive(Debug, Clone)]
pub struct ImportOrigin {
    /// The path of the mailbox that was imported.
    pub path: String,
    /// The format of the files.
    pub format: &'static str,
}

/// Imports messages into mailboxes.
pub struct Imports {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    unique_ids: Arc<UniqueIdsInUse>,
    /// The messages that arrive in pieces; the last one used comes last.
    uploads: Mutex<Vec<Upload>>,
}

/// A message that arrives in pieces.
struct Upload {
    id: MailId,
    account: AccountId,
    destination: StoreDestination,
}

impl Imports {
    /// Returns a way into the mailboxes of a store.
    pub fn new(
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        unique_ids: Arc<UniqueIdsInUse>,
    ) -> Self {
        Self { store, clock, unique_ids, uploads: Mutex::default() }
    }

    /// Waits until nobody else brings messages with unique-ids into a mailbox, and holds it.
    pub async fn hold(&self, account: AccountId) -> HeldMailbox {
        self.unique_ids.hold(account).await
    }

    /// Returns, for each of these names, whether the message was imported into the account's mailbox before.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn known(
        &self,
        account: AccountId,
        names: Vec<String>,
    ) -> Result<Vec<bool>, StoreError> {
        self.store.has_collected(SourceId::imports_of(account), names).await
    }

    /// Takes a piece of a message that is too large for one request: of a new one, or of the one with this id. Returns
    /// its id.
    ///
    /// # Errors
    /// When the store fails, the mailbox has no room, or the server does not know the message.
    pub async fn piece(
        &self,
        account: &Account,
        origin: &ImportOrigin,
        id: Option<MailId>,
        octets: &[u8],
    ) -> io::Result<MailId> {
        let mut upload = match id {
            Some(id) => self.upload(account.id, id)?,
            None => {
                let mut destination = self.destination(account, origin);
                destination.begin(None).await?;
                Upload { id: self.clock.mail_id(), account: account.id, destination }
            }
        };
        if let Err(error) = upload.destination.write(octets).await {
            upload.destination.abandon().await?;
            return Err(error);
        }
        let id = upload.id;
        let oldest = {
            let mut uploads = self.uploads.lock();
            uploads.push(upload);
            (uploads.len() > UPLOADS).then(|| uploads.remove(0))
        };
        if let Some(mut oldest) = oldest {
            oldest.destination.abandon().await?;
        }
        Ok(id)
    }

    /// Takes a message that arrives in pieces out of those that wait.
    fn upload(&self, account: AccountId, id: MailId) -> io::Result<Upload> {
        let mut uploads = self.uploads.lock();
        let at = uploads.iter().position(|upload| upload.id == id && upload.account == account);
        let gone = || io::Error::other("the server has no earlier pieces of the message");
        at.map(|at| uploads.remove(at)).ok_or_else(gone)
    }

    /// Drops a message that arrives in pieces and will not be completed.
    ///
    /// # Errors
    /// When the store fails, or the server does not know the message.
    pub async fn abandon(&self, account: AccountId, id: MailId) -> io::Result<()> {
        let mut upload = self.upload(account, id)?;
        upload.destination.abandon().await
    }

    /// Imports messages into a mailbox, in their order. They wait for the disk together.
    ///
    /// # Errors
    /// When the store fails. Some of the messages may be in the mailbox then; to import all of them again is right.
    pub async fn take(
        &self,
        account: &Account,
        origin: &ImportOrigin,
        messages: Vec<ImportedMessage>,
    ) -> io::Result<Vec<ImportOutcome>> {
        // Until they are stored, so that another import sees which names are known, and which unique-ids in use.
        let mut mailbox = self.hold(account.id).await;
        let mut batch = Batch { outcomes: Vec::new(), complete: Vec::new() };
        let prepared = self.prepare(account, origin, messages, &mut mailbox, &mut batch).await;
        let Batch { outcomes, mut complete } = batch;
        if let Err(error) = prepared {
            for mut destination in complete {
                destination.abandon().await?;
            }
            mailbox.forget();
            return Err(error);
        }
        let ends = complete.iter_mut().map(|destination| Box::pin(destination.end()) as Ending<'_>);
        let ended = in_order(ends.collect()).await.into_iter().try_for_each(|end| end.map(drop));
        ended.inspect_err(|_| mailbox.forget())?;
        Ok(outcomes)
    }

    /// Prepares the messages that are not known yet.
    async fn prepare(
        &self,
        account: &Account,
        origin: &ImportOrigin,
        messages: Vec<ImportedMessage>,
        mailbox: &mut HeldMailbox,
        batch: &mut Batch,
    ) -> io::Result<()> {
        let source = SourceId::imports_of(account.id);
        let names = messages.iter().map(|message| message.name.clone()).collect();
        let known = self.known(account.id, names).await.map_err(io::Error::other)?;
        let mut room = match account.quota {
            Some(quota) => {
                let usage = self.store.usage(account.id).await.map_err(io::Error::other)?;
                quota.saturating_sub(usage.octets)
            }
            None => u64::MAX,
        };
        let mut seen = HashSet::new();
        for (message, known) in messages.into_iter().zip(known) {
            let ImportedMessage { name, mut placement, content } = message;
            if known || !seen.insert(name.clone()) {
                if let ImportedContent::Pieces(id) = content {
                    self.abandon(account.id, id).await?;
                }
                batch.outcomes.push(ImportOutcome::Known);
                continue;
            }
            let mut destination = match content {
                ImportedContent::Whole(octets) => {
                    let mut destination = self.destination(account, origin);
                    destination.limit(room);
                    if let Err(error) = destination.write(&octets).await {
                        destination.abandon().await?;
                        batch.outcomes.push(ImportOutcome::Refused(error.to_string()));
                        continue;
                    }
                    destination
                }
                ImportedContent::Pieces(id) => self.upload(account.id, id)?.destination,
            };
            room = room.saturating_sub(destination.octets());
            if let Some(unique_id) = placement.unique_id.take() {
                match mailbox.take_one(unique_id).await {
                    Ok(unique_id) => placement.unique_id = Some(unique_id),
                    Err(error) => {
                        destination.abandon().await?;
                        return Err(io::Error::other(error));
                    }
                }
            }
            destination.place(placement, Collected { source, unique_id: name });
            batch.outcomes.push(ImportOutcome::New);
            batch.complete.push(destination);
        }
        Ok(())
    }

    fn destination(&self, account: &Account, origin: &ImportOrigin) -> StoreDestination {
        let (store, clock) = (self.store.clone(), self.clock.clone());
        let from = origin.path.clone();
        StoreDestination::new(store, clock, account.clone(), from, Purpose::Move)
            .of_files(origin.format)
    }
}

/// The messages of one request.
struct Batch {
    outcomes: Vec<ImportOutcome>,
    /// Those that are complete, and can be stored.
    complete: Vec<StoreDestination>,
}

/// The acceptance of a message.
type Ending<'a> =
    Pin<Box<dyn Future<Output = io::Result<crate::collect::FetchOutcome>> + Send + 'a>>;

/// Runs futures together. Each is begun in its turn, so the store gets the messages in their order.
async fn in_order<T>(mut futures: Vec<Pin<Box<dyn Future<Output = T> + Send + '_>>>) -> Vec<T> {
    let mut outcomes: Vec<Option<T>> = futures.iter().map(|_| None).collect();
    std::future::poll_fn(|context| {
        let mut is_done = true;
        for (future, outcome) in futures.iter_mut().zip(&mut outcomes) {
            if outcome.is_none() {
                match future.as_mut().poll(context) {
                    Poll::Ready(ready) => *outcome = Some(ready),
                    Poll::Pending => is_done = false,
                }
            }
        }
        if is_done { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    outcomes.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use posta_net::clock::SystemClock;
    use posta_store::{
        CHUNK, Contents as _, Credentials, Directory as _, FolderId, Mailboxes as _, MemoryStore,
        Uid,
    };

    fn message(name: &str, content: ImportedContent) -> ImportedMessage {
        ImportedMessage { name: name.to_owned(), placement: Placement::default(), content }
    }

    fn whole(name: &str, octets: &str) -> ImportedMessage {
        message(name, ImportedContent::Whole(Bytes::copy_from_slice(octets.as_bytes())))
    }

    async fn account(store: &MemoryStore) -> Account {
        store.account(&"ana@x.test".parse().unwrap()).await.unwrap().unwrap()
    }

    async fn case() -> (Arc<MemoryStore>, Imports, Account, ImportOrigin) {
        let store = Arc::new(MemoryStore::new());
        let address = "ana@x.test".parse().unwrap();
        store.add_account(&address, Credentials::default()).await.unwrap();
        let account = account(&store).await;
        let unique_ids = UniqueIdsInUse::new(store.clone());
        let imports = Imports::new(store.clone(), Arc::new(SystemClock), unique_ids);
        let origin = ImportOrigin { path: "/Maildir".to_owned(), format: "Maildir" };
        (store, imports, account, origin)
    }

    /// Messages keep their order. What was imported before is not imported again, even after it was removed.
    #[tokio::test]
    async fn messages_are_imported_once_and_in_order() {
        let (store, imports, account, origin) = case().await;
        let messages: Vec<_> =
            (0..300).map(|at| whole(&at.to_string(), &format!("Subject: {at}\r\n\r\n"))).collect();
        let taken = imports.take(&account, &origin, messages[..200].to_vec()).await.unwrap();
        assert!(taken.iter().all(|outcome| *outcome == ImportOutcome::New));
        let now = SystemClock.now();
        let uids = vec![Uid(1), Uid(2)];
        store.remove(account.id, FolderId::INBOX, uids, now, now).await.unwrap();
        let taken = imports.take(&account, &origin, messages).await.unwrap();
        let new = taken.iter().filter(|outcome| **outcome == ImportOutcome::New).count();
        assert_eq!(new, 100);
        let entries = store.entries(account.id, FolderId::INBOX, Uid(0), 999).await.unwrap();
        assert_eq!(entries.len(), 298);
        for (entry, at) in entries.iter().zip(2..) {
            let content = store.chunk(entry.content, 0).await.unwrap().unwrap();
            assert_eq!(content, format!("Subject: {at}\r\n\r\n"));
        }
    }

    /// The quota counts for each message of a batch.
    #[tokio::test]
    async fn a_full_mailbox_is_told_message_by_message() {
        let (store, imports, ana, origin) = case().await;
        store.set_quota(&ana.address, Some(25)).await.unwrap();
        let ana = account(&store).await;
        let messages = ["1", "2", "3"].map(|name| whole(name, "0123456789\r\n")).to_vec();
        let taken = imports.take(&ana, &origin, messages).await.unwrap();
        assert_eq!(taken[..2], [ImportOutcome::New, ImportOutcome::New]);
        assert!(matches!(&taken[2], ImportOutcome::Refused(why) if why.contains("no room")));
    }

    /// A large message comes in pieces of any size. Those that nobody completes are dropped.
    #[tokio::test]
    async fn large_messages_come_in_pieces() {
        let (store, imports, ana, origin) = case().await;
        let mut first = None;
        for _ in 0..=UPLOADS {
            let id = imports.piece(&ana, &origin, None, &vec![b'x'; CHUNK + 9]).await.unwrap();
            first.get_or_insert(id);
        }
        let dropped = imports.piece(&ana, &origin, first, b"x").await.unwrap_err();
        assert!(dropped.to_string().contains("no earlier pieces"), "{dropped}");
        let id = imports.piece(&ana, &origin, None, &vec![b'a'; CHUNK + 9]).await.unwrap();
        assert_eq!(imports.piece(&ana, &origin, Some(id), b"end\r\n").await.unwrap(), id);
        let large = message("large", ImportedContent::Pieces(id));
        let taken = imports.take(&ana, &origin, vec![large]).await.unwrap();
        assert_eq!(taken, [ImportOutcome::New]);
        let maildrop = store.maildrop(ana.id).await.unwrap();
        assert_eq!((maildrop.len(), maildrop.octets()), (1, CHUNK as u64 + 14));
    }

    /// Two commands that import at the same moment took the same unique-id for free.
    #[tokio::test]
    async fn imports_at_the_same_moment_give_a_unique_id_once() {
        let (store, imports, ana, origin) = case().await;
        let with_id = |name: &str, unique_id: &str| {
            let mut message = whole(name, &format!("Subject: {name}\r\n\r\n"));
            message.placement.unique_id = Some(unique_id.to_owned());
            message
        };
        let batch = |of: &str| {
            let own = (0..20).map(|at| with_id(&format!("{of} {at}"), &format!("id{at}")));
            // The same message of the same Maildir, and one that is there twice.
            let same = ["same", "same"].map(|name| with_id(name, "id"));
            own.chain(same).collect::<Vec<_>>()
        };
        let (one, other) = tokio::join!(
            imports.take(&ana, &origin, batch("one")),
            imports.take(&ana, &origin, batch("other")),
        );
        let new = [one.unwrap(), other.unwrap()].concat();
        let new = new.iter().filter(|outcome| **outcome == ImportOutcome::New).count();
        let entries = store.entries(ana.id, FolderId::INBOX, Uid(0), 999).await.unwrap();
        assert_eq!((new, entries.len()), (41, 41));
        let ids: HashSet<_> = entries.iter().map(|entry| entry.unique_id.to_string()).collect();
        assert_eq!(ids.len(), 41, "each its own");
        for known in ["id", "id0", "id19"] {
            assert!(ids.contains(known), "{known}");
        }
    }

    /// What cannot be stored leaves nothing behind, whatever else came with it.
    #[tokio::test]
    async fn a_batch_that_fails_leaves_nothing_behind() {
        let (store, imports, ana, origin) = case().await;
        let large = || message("large", ImportedContent::Pieces(MailId::from_bytes([1; 12])));
        let id = imports.piece(&ana, &origin, None, &vec![b'x'; CHUNK * 2]).await.unwrap();
        let pieces = message("pieces", ImportedContent::Pieces(id));
        let again = message("again", ImportedContent::Pieces(id));
        for batch in [vec![pieces, again], vec![whole("a", "x\r\n"), large()]] {
            let failed = imports.take(&ana, &origin, batch).await.unwrap_err();
            assert!(failed.to_string().contains("no earlier pieces"), "{failed}");
        }
        assert_eq!(store.maildrop(ana.id).await.unwrap().len(), 0);
        assert_eq!(store.contents(), 0, "no piece is left");
    }
}
