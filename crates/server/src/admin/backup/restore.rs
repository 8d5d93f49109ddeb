//! Bringing accounts and messages back from a backup, into a store that is in use.

use super::{Admin, AdminError, BackupResponse, Response, octets};
use crate::{
    admin::parse_address,
    collect::unique_ids::HeldMailbox,
    deliver::restored::{self, Restored},
};
use posta_mail::{MailId, ThreadId, Timestamp, id::is_unique_id};
use posta_store::{
    Account, CHUNK, Credentials, FlagChange, Flags, FolderId, FolderName, Keyword, Role, SendAs,
    StoreError, Uid, check_name,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::{HashMap, HashSet};

/// The most unique-ids that one request asks about.
const ASKED: usize = 1_000;

/// The kind of the records with the unique-ids of messages that came back under another.
pub(in crate::admin) const IN_PLACE: &str = "restored-as";

/// Returns the name of such a record.
fn in_place_of(account: &Account, unique_id: &str) -> String {
    format!("{} {unique_id}", account.id.0)
}

/// An action that brings something back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum RestoreRequest {
    /// Adds an account, unless there is one of this address.
    Account(RestoredAccount),
    /// Tells which of some unique-ids no message of an account has.
    Absent {
        /// The account's address.
        address: String,
        /// The unique-ids, at most 1,000.
        unique_ids: Vec<String>,
    },
    /// Returns an id for a message of several pieces.
    Id,
    /// Stores a piece of a message.
    Piece {
        /// The message's new id.
        id: MailId,
        /// The index of the chunk.
        index: u32,
        /// The octets, in base64.
        octets: String,
    },
    /// Puts a message into an account's mailbox.
    Message(Box<RestoredMessage>),
}

/// An account in a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct RestoredAccount {
    /// The address.
    pub address: String,
    /// The password's hash, as a PHC string.
    pub password_hash: String,
    /// The password's SCRAM verifier.
    pub scram: Option<String>,
    /// The maximal number of octets in the mailbox.
    pub quota: Option<u64>,
    /// What the account may send as.
    pub send_as: Vec<String>,
    /// Whether logins are refused.
    pub disabled: bool,
    /// Whether POP3 shows junk among the messages of the inbox.
    pub marks_junk: bool,
    /// Whether it only sends mail.
    #[serde(default)]
    pub send_only: bool,
}

/// A message in a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct RestoredMessage {
    /// The account's address.
    pub address: String,
    /// The folder's name, its role, and the message's UID there.
    pub folder: String,
    /// The folder's role.
    pub role: Option<String>,
    /// The message's UID in the folder, at the time of the backup.
    pub uid: u32,
    /// The message's new id, if it has chunks that were stored before.
    pub id: Option<MailId>,
    /// The number of those chunks.
    pub chunks: u32,
    /// The rest of the content, in base64.
    pub rest: String,
    /// The fields above the content for all recipients, and for this one, in base64.
    pub head: String,
    /// The fields for this recipient only.
    pub prefix: String,
    /// The number of octets that the content gains as lines.
    pub added: u64,
    /// The conversation.
    pub thread: ThreadId,
    /// The unique-id in POP3.
    pub unique_id: String,
    /// The time of arrival.
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub date: Timestamp,
    /// The flags.
    pub flags: u32,
    /// The keywords.
    pub keywords: Vec<String>,
    /// The backup, in words.
    pub from: String,
}

impl Admin {
    pub(in crate::admin) async fn restore(
        &self,
        request: RestoreRequest,
    ) -> Result<Response, AdminError> {
        match request {
            RestoreRequest::Account(account) => self.restore_account(account).await?,
            RestoreRequest::Absent { address, unique_ids } => {
                let absent = self.absent(address, unique_ids).await?;
                return Ok(Response::Backup(BackupResponse::Absent(absent)));
            }
            RestoreRequest::Id => {
                return Ok(Response::Backup(BackupResponse::Id(self.clock.mail_id())));
            }
            RestoreRequest::Piece { id, index, octets: piece } => {
                let piece = octets(&piece)?;
                if piece.len() != CHUNK {
                    return Err(AdminError::Backup(format!("a chunk has {CHUNK} octets")));
                }
                // Nothing is put in the place of what is there.
                let before = index.checked_sub(1);
                let is_next = match before {
                    Some(before) => self.store.chunk(id, before).await?.is_some(),
                    None => true,
                };
                if !is_next || self.store.chunk(id, index).await?.is_some() {
                    let words = "the pieces of a message come one after the other, once each";
                    return Err(AdminError::Backup(words.to_owned()));
                }
                self.store.append(id, index, &piece).await?;
            }
            RestoreRequest::Message(message) => self.restore_message(*message).await?,
        }
        Ok(Response::Done)
    }

    async fn restore_account(&self, restored: RestoredAccount) -> Result<(), AdminError> {
        let _changing = self.changing.lock().await;
        let address = parse_address(restored.address)?;
        if self.store.account(&address).await?.is_some() {
            return Ok(());
        }
        let RestoredAccount { password_hash, scram, quota, disabled, marks_junk, .. } = restored;
        let credentials = Credentials { password_hash, scram, apop: None };
        self.store.add_account(&address, credentials).await?;
        self.store.set_quota(&address, quota).await?;
        let send_as = restored.send_as.iter().map(|text| text.parse::<SendAs>());
        let send_as = send_as.collect::<Result<Vec<_>, _>>();
        let send_as = send_as.map_err(|error| AdminError::Backup(error.to_string()))?;
        self.store.set_send_as(&address, send_as).await?;
        self.store.set_disabled(&address, disabled).await?;
        self.store.set_marks_junk(&address, marks_junk).await?;
        self.store.set_send_only(&address, restored.send_only).await?;
        Ok(())
    }

    /// Returns those of some unique-ids that no message of an account has, nor one that was brought back in its place.
    async fn absent(
        &self,
        address: String,
        unique_ids: Vec<String>,
    ) -> Result<Vec<String>, AdminError> {
        let account = self.account(address).await?;
        let mut looked_for = HashMap::new();
        for unique_id in unique_ids.iter().take(ASKED) {
            let name = in_place_of(&account, unique_id);
            let later = self.store.kept_one(IN_PLACE, &name).await?;
            let later = later.and_then(|later| String::from_utf8(later).ok());
            looked_for.extend(later.map(|later| (later, unique_id)));
            looked_for.insert(unique_id.clone(), unique_id);
        }
        let mut present = HashSet::<&String>::new();
        let mut text = String::new();
        for folder in self.store.folders(account.id).await? {
            let listed = self.store.listed(account.id, folder.id).await?;
            for index in 0..listed.len() {
                text.clear();
                listed.write_unique_id(index, &mut text);
                present.extend(looked_for.get(&text).copied());
            }
        }
        Ok(unique_ids.iter().filter(|unique_id| !present.contains(unique_id)).cloned().collect())
    }

    async fn restore_message(&self, message: RestoredMessage) -> Result<(), AdminError> {
        let account = self.account(message.address.clone()).await?;
        let now = self.clock.now();
        let foreign = || AdminError::Backup("the message is not one of a backup".to_owned());
        check_name(&in_place_of(&account, &message.unique_id)).map_err(|_| foreign())?;
        let id = self.id_of(&message).await?.ok_or_else(foreign)?;
        // Another restore of the account may be under way, and has perhaps brought the message back meanwhile.
        let mut mailbox = self.imports.hold(account.id).await;
        if self.is_there(&account, &message.unique_id, &mut mailbox).await? {
            if message.chunks > 0 {
                self.store.discard(id).await?;
            }
            return Ok(());
        }
        let folder = self.folder_of(&account, &message.folder, message.role.as_deref()).await?;
        // A removed message that can still be brought back may have it.
        let before = self.store.entry(account.id, folder, Uid(message.uid)).await?;
        let is_taken = before.is_some_and(|it| it.unique_id.to_string() == message.unique_id);
        let unique_id = Some(message.unique_id.clone());
        let unique_id = unique_id.filter(|id| !is_taken && is_unique_id(id));
        let keywords = message.keywords.iter().map(|text| text.parse::<Keyword>());
        let add_keywords = keywords.collect::<Result<_, _>>();
        let add_keywords = add_keywords.map_err(|error| AdminError::Backup(error.to_string()))?;
        // It will be retrieved again.
        let add = Flags(message.flags).without(Flags::RETRIEVED);
        let restored = Restored {
            id,
            now,
            folder,
            head: octets(&message.head)?,
            chunks: message.chunks,
            rest: octets(&message.rest)?,
            added: message.added,
            thread: message.thread,
            prefix: octets(&message.prefix)?,
            unique_id,
            date: message.date,
            flags: FlagChange { add, add_keywords, ..FlagChange::default() },
            from: message.from,
        };
        let octets = u64::from(restored.chunks) * CHUNK as u64 + restored.rest.len() as u64;
        if restored.rest.is_empty()
            || restored.rest.len() > CHUNK
            || restored.head.len() > CHUNK
            || restored.prefix.len() > CHUNK
            // A line end for each octet, and one at the end.
            || restored.added > octets + 2
        {
            return Err(foreign());
        }
        let has = restored::put_back(&*self.store, &account, restored).await;
        let has = has.inspect_err(|_| mailbox.forget())?;
        if let Some(has) = &has {
            mailbox.take(has);
        }
        if let Some(has) = has.filter(|has| *has != message.unique_id) {
            // So that another restore knows it.
            let name = in_place_of(&account, &message.unique_id);
            self.store.keep(IN_PLACE, &name, Some(has.into_bytes())).await?;
        }
        Ok(())
    }

    /// Returns the id of a message; none if it does not have the chunks that it should.
    async fn id_of(&self, message: &RestoredMessage) -> Result<Option<MailId>, StoreError> {
        let Some(last) = message.chunks.checked_sub(1) else {
            return Ok(Some(self.clock.mail_id()));
        };
        let Some(id) = message.id else { return Ok(None) };
        let has_all = self.store.chunk(id, last).await?.is_some()
            && self.store.chunk(id, message.chunks).await?.is_none();
        Ok(Some(id).filter(|_| has_all))
    }

    /// Returns whether a message with a unique-id, or one that came back in its place, is in a mailbox.
    async fn is_there(
        &self,
        account: &Account,
        unique_id: &str,
        mailbox: &mut HeldMailbox,
    ) -> Result<bool, StoreError> {
        if !mailbox.is_free(unique_id).await? {
            return Ok(true);
        }
        let later = self.store.kept_one(IN_PLACE, &in_place_of(account, unique_id)).await?;
        match later.and_then(|later| String::from_utf8(later).ok()) {
            Some(later) => Ok(!mailbox.is_free(&later).await?),
            None => Ok(false),
        }
    }

    /// Returns the folder of a name, which is made if it is not there.
    async fn folder_of(
        &self,
        account: &Account,
        name: &str,
        role: Option<&str>,
    ) -> Result<FolderId, AdminError> {
        let wrong = |error: &dyn std::fmt::Display| AdminError::Backup(error.to_string());
        let name: FolderName = name.parse().map_err(|error| wrong(&error))?;
        let folders = self.store.folders(account.id).await?;
        if let Some(found) = folders.iter().find(|folder| folder.name == name) {
            return Ok(found.id);
        }
        let role: Option<Role> = role.map(str::parse).transpose().map_err(|error| wrong(&error))?;
        let role = role.filter(|role| folders.iter().all(|folder| folder.role != Some(*role)));
        let mut missing = vec![name.clone()];
        let mut above = name.parent();
        while let Some(parent) = above {
            above = parent.parent();
            missing.push(parent);
        }
        let (mut id, now) = (FolderId::INBOX, self.clock.now());
        for level in missing.into_iter().rev() {
            let role = role.filter(|_| level == name);
            match self.store.add_folder(account.id, level, role, now).await {
                Ok(added) => id = added,
                Err(StoreError::FolderExists(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(id)
    }
}
