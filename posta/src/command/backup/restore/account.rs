//! Bringing back one account, or one message.

use crate::{
    Place,
    fault::{demand, fail},
    operator::{AdminSession, UNEXPECTED},
    output::say,
    wiring::ScratchStore,
};
use anyhow::{Result, bail};
use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use posta_backup::SnapshotReader;
use posta_mail::{Address, MailId};
use posta_server::admin::{
    BackupResponse, Request, Response, RestoreRequest, RestoredAccount, RestoredMessage,
};
use posta_store::{Account, CHUNK, Entry, Folder, HEAD, PieceKey, Restores, Store, Uid};
use std::sync::Arc;

/// The messages that are looked at at a time.
const PAGE: usize = 500;

/// The tables from which an account is read, and those with its mail.
const OF_ACCOUNTS: [&str; 4] = ["meta", "account", "domain", "kept"];
const OF_MAIL: [&str; 4] = ["folder", "entry", "changed", "removing"];

/// What is to be brought back.
pub(super) struct Wanted<'a> {
    pub(super) address: &'a str,
    /// One message only, by its id or its unique-id.
    pub(super) message: Option<&'a str>,
    /// The backup, for the history.
    pub(super) from: String,
}

/// Brings an account back, or one message of it.
pub(super) async fn restore(
    place: &Place,
    mut reader: SnapshotReader,
    wanted: Wanted<'_>,
) -> Result<()> {
    let address: Address = wanted.address.parse()?;
    let scratch = ScratchStore::new(reader.key_file()?)?;
    let account = {
        let (restores, store) = scratch.open()?;
        put(&mut reader, &restores, &OF_ACCOUNTS, None).await?;
        let Some(account) = store.account(&address).await? else {
            fail!(
                "not-in-backup",
                "the backup of {:.0} has no account {address}",
                reader.manifest().at
            )
        };
        put(&mut reader, &restores, &OF_MAIL, Some(&account)).await?;
        account
    };
    // Opened again, it is of this program's format.
    let (_, store) = scratch.open()?;
    let mut session = AdminSession::open(place).await?;
    let request = RestoreRequest::Account(restored_account(&account));
    session.order(Request::Restore { request }).await?;
    let (found, restored, lost) = (0, 0, 0);
    let mut run = AccountRun { reader, store, session, wanted, account, found, restored, lost };
    run.all_folders().await?;
    let AccountRun { found, restored, lost, wanted, .. } = run;
    if let Some(message) = wanted.message {
        demand!(
            found > 0,
            "not-in-backup",
            "the backup has no message {message} in the mailbox of {address}"
        );
    }
    let there = found - restored - lost;
    match restored {
        1 => say!("1 message brought back, {there} there already"),
        count => say!("{count} messages brought back, {there} there already"),
    }
    demand!(
        lost == 0,
        "backup-incomplete",
        "{lost} messages were unreadable when the backup was made"
    );
    Ok(())
}

async fn put(
    reader: &mut SnapshotReader,
    store: &Arc<dyn Restores>,
    tables: &[&str],
    of: Option<&Account>,
) -> Result<()> {
    for table in tables {
        for number in 0..reader.stretches(table) {
            let rows = reader.rows(table, number)?;
            store.put_rows(table, rows, of.map(|account| account.id)).await?;
        }
    }
    Ok(())
}

fn restored_account(account: &Account) -> RestoredAccount {
    RestoredAccount {
        address: account.address.to_string(),
        password_hash: account.credentials.password_hash.clone(),
        scram: account.credentials.scram.clone(),
        quota: account.quota,
        send_as: account.send_as.iter().map(ToString::to_string).collect(),
        disabled: account.disabled,
        marks_junk: account.marks_junk,
        send_only: account.send_only,
    }
}

/// The restore of an account in progress.
struct AccountRun<'a> {
    reader: SnapshotReader,
    /// The account's records in the backup.
    store: Arc<dyn Store>,
    session: AdminSession,
    wanted: Wanted<'a>,
    account: Account,
    /// Messages of the backup that are wanted, those that were brought back, and those that the backup lacks.
    found: usize,
    restored: usize,
    lost: usize,
}

impl AccountRun<'_> {
    async fn all_folders(&mut self) -> Result<()> {
        for folder in self.store.folders(self.account.id).await? {
            let mut from = Uid(0);
            loop {
                let mut entries =
                    self.store.entries(self.account.id, folder.id, from, PAGE).await?;
                let Some(last) = entries.last() else { break };
                from = Uid(last.uid.0.saturating_add(1));
                if let Some(message) = self.wanted.message {
                    let is_it = |entry: &Entry| {
                        entry.content.to_string() == message
                            || entry.unique_id.to_string() == message
                    };
                    entries.retain(is_it);
                }
                self.some(&folder, entries).await?;
            }
        }
        Ok(())
    }

    /// Brings back those of some messages that are not in the mailbox.
    async fn some(&mut self, folder: &Folder, entries: Vec<Entry>) -> Result<()> {
        if entries.is_empty() {
            return Ok(());
        }
        self.found += entries.len();
        let address = self.account.address.to_string();
        let unique_ids = entries.iter().map(|entry| entry.unique_id.to_string()).collect();
        let request = RestoreRequest::Absent { address, unique_ids };
        let Response::Backup(BackupResponse::Absent(absent)) =
            self.session.restore(request).await?
        else {
            bail!(UNEXPECTED)
        };
        for entry in entries {
            if absent.contains(&entry.unique_id.to_string()) {
                match self.message(folder, &entry).await? {
                    true => self.restored += 1,
                    false => self.lost += 1,
                }
            }
        }
        Ok(())
    }

    fn piece(&mut self, content: MailId, index: u32) -> Result<Option<Vec<u8>>> {
        let Some(piece) = self.reader.find(PieceKey { content, index })? else { return Ok(None) };
        Ok(Some(self.reader.piece(piece)?))
    }

    /// Brings a message back. Returns whether the backup has it.
    async fn message(&mut self, folder: &Folder, entry: &Entry) -> Result<bool> {
        let layout = entry.layout();
        let last = layout.chunks().saturating_sub(1);
        let (mut id, mut head) = (None, Vec::new());
        if layout.has_own_head() {
            let Some(found) = self.piece(entry.content, HEAD)? else { return Ok(false) };
            head = found;
        }
        for index in 0..last {
            let Some(piece) = self.piece(entry.content, index)? else { return Ok(false) };
            demand!(
                piece.len() == CHUNK,
                "backup-damaged",
                "the backup has a chunk of {} octets",
                piece.len()
            );
            let id = match id {
                Some(id) => id,
                None => *id.insert(self.new_id().await?),
            };
            let request = RestoreRequest::Piece { id, index, octets: BASE64.encode(piece) };
            self.session.order(Request::Restore { request }).await?;
        }
        let Some(mut rest) = self.piece(entry.content, last)? else { return Ok(false) };
        if !layout.has_own_head() {
            let content = rest.split_off(rest.len().min(layout.head() as usize));
            head = std::mem::replace(&mut rest, content);
        }
        let message = RestoredMessage {
            address: self.account.address.to_string(),
            folder: folder.name.to_string(),
            role: folder.role.map(|role| role.to_string()),
            uid: entry.uid.0,
            id,
            chunks: last,
            rest: BASE64.encode(rest),
            head: BASE64.encode(head),
            prefix: BASE64.encode(&entry.prefix),
            added: entry.added,
            thread: entry.thread,
            unique_id: entry.unique_id.to_string(),
            date: entry.time,
            flags: entry.flags.0,
            keywords: entry.keywords.iter().map(ToString::to_string).collect(),
            from: self.wanted.from.clone(),
        };
        let request = RestoreRequest::Message(Box::new(message));
        self.session.order(Request::Restore { request }).await?;
        Ok(true)
    }

    async fn new_id(&mut self) -> Result<MailId> {
        match self.session.restore(RestoreRequest::Id).await? {
            Response::Backup(BackupResponse::Id(id)) => Ok(id),
            _ => bail!(UNEXPECTED),
        }
    }
}
