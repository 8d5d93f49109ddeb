//! Messages that come back from a backup, as they were in a mailbox: with their head, prefix, flags and unique-id.

use posta_mail::{MailId, ThreadId, Timestamp};
use posta_store::{
    Acceptance, Account, Delivery, Event, FlagChange, Flags, FolderId, Origin, Store, StoreError,
    Uid, What,
};

/// The protocol of the history's events about such messages.
pub const PROTOCOL: &str = "backup";

/// A message from a backup.
pub(crate) struct Restored {
    /// Its new id, under which its chunks were stored.
    pub(crate) id: MailId,
    pub(crate) now: Timestamp,
    pub(crate) folder: FolderId,
    pub(crate) head: Vec<u8>,
    pub(crate) chunks: u32,
    pub(crate) rest: Vec<u8>,
    pub(crate) added: u64,
    pub(crate) thread: ThreadId,
    pub(crate) prefix: Vec<u8>,
    /// The unique-id that it had; none if another message may have it.
    pub(crate) unique_id: Option<String>,
    pub(crate) date: Timestamp,
    pub(crate) flags: FlagChange,
    /// The backup, in words, for the history.
    pub(crate) from: String,
}

/// Puts a message into a folder. Returns the unique-id that it has there; none if it is gone already.
pub(crate) async fn put_back(
    store: &dyn Store,
    account: &Account,
    restored: Restored,
) -> Result<Option<String>, StoreError> {
    let Restored { id, now, folder, head, chunks, rest, added, thread, prefix, .. } = restored;
    let Restored { unique_id, date, flags, from, .. } = restored;
    let origin = Origin {
        hello: from,
        protocol: PROTOCOL.to_owned(),
        account: Some(account.address.clone()),
        ..Origin::default()
    };
    let octets = u64::from(chunks) * posta_store::CHUNK as u64 + rest.len() as u64;
    let what = What::Accepted {
        origin,
        from: posta_mail::ReversePath::Null,
        to: vec![account.address.clone()],
        message_id: None,
        octets,
        mailboxes: vec![posta_store::InMailbox::Own(account.address.clone())],
        refused: Vec::new(),
    };
    let date = Some(date.min(now));
    let folders = store.folders(account.id).await?;
    let next = folders.iter().find(|it| it.id == folder).map_or(Uid(1), |folder| folder.uid_next);
    let delivery = Delivery {
        account: account.id,
        folder,
        prefix,
        unique_id,
        date,
        flags: Flags::NONE,
        keywords: Vec::new(),
    };
    let acceptance = Acceptance {
        id,
        time: now,
        head,
        chunks,
        rest,
        added,
        thread,
        deliveries: vec![delivery],
        items: Vec::new(),
        events: vec![Event { id, time: now, what }],
        collected: None,
        reports: Vec::new(),
        records: Vec::new(),
    };
    store.accept(acceptance).await?;
    let mut from = next;
    loop {
        let entries = store.entries(account.id, folder, from, 100).await?;
        let Some(last) = entries.last() else { return Ok(None) };
        from = Uid(last.uid.0.saturating_add(1));
        if let Some(entry) = entries.iter().find(|entry| entry.content == id) {
            if flags != FlagChange::default() {
                store.set_flags(account.id, folder, vec![entry.uid], flags, None, now).await?;
            }
            return Ok(Some(entry.unique_id.to_string()));
        }
    }
}
