//! The operator's requests about mail in an account's folders.

mod transfer;

pub use transfer::{
    Octets, Taken, TransferContent, TransferFormat, TransferLine, TransferMessage, TransferRequest,
    TransferResponse, TransferSource,
};

use super::{Admin, AdminError, Response};
use crate::access::maildrop::PURGE_AFTER;
use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use bytes::Bytes;
use mail_parser::MessageParser;
use posta_store::{
    AccountId, Entry, FlagChange, Flags, Folder, FolderId, FolderName, Keyword, Role, StoreError,
    Uid,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The messages in a page of a list. The beginning of each is read.
const PAGE: usize = 50;

/// The octets of a message in which a list looks for header fields.
const BEGINNING: usize = 64 * 1024;

/// The most characters of an author or a subject that a list shows.
const TOLD: usize = 200;

/// An action on the mail in a folder of an account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum MailRequest {
    /// Lists the messages, one page at a time.
    List {
        /// Only messages with a higher UID.
        #[serde(default)]
        after: u32,
    },
    /// Reads a piece of a message, from an offset on.
    Read {
        /// The message's UID.
        uid: u32,
        /// The offset at which to begin.
        offset: u64,
    },
    /// Moves messages to another folder.
    Move {
        /// The messages' UIDs, at most 1,000.
        uids: Vec<u32>,
        /// The name of the other folder.
        to: String,
    },
    /// Sets and clears flags and keywords.
    Flag {
        /// The messages' UIDs, at most 1,000.
        uids: Vec<u32>,
        /// Flags to set: `seen`, `answered`, `flagged`, `deleted`, `draft`, or a keyword.
        #[serde(default)]
        add: Vec<String>,
        /// Flags to clear.
        #[serde(default)]
        remove: Vec<String>,
    },
    /// Removes messages; they can be brought back for a week.
    Delete {
        /// The messages' UIDs, at most 1,000.
        uids: Vec<u32>,
    },
}

impl MailRequest {
    /// The most messages that one request moves, flags or removes, which is one transaction: others would feel a larger
    /// one. A client that has more to change sends several requests.
    pub const UIDS: usize = 1_000;

    /// Returns the messages that are to be changed.
    fn uids(&self) -> &[u32] {
        match self {
            Self::Move { uids, .. } | Self::Flag { uids, .. } | Self::Delete { uids } => uids,
            Self::List { .. } | Self::Read { .. } => &[],
        }
    }

    /// Returns the requests that do the same to [`Self::UIDS`] messages each; one for a request that changes nothing.
    #[must_use]
    pub fn pieces(self) -> Vec<Self> {
        if self.uids().len() <= Self::UIDS {
            return vec![self];
        }
        let some = |uids: &[u32]| match &self {
            Self::Move { to, .. } => Self::Move { uids: uids.to_vec(), to: to.clone() },
            Self::Flag { add, remove, .. } => {
                Self::Flag { uids: uids.to_vec(), add: add.clone(), remove: remove.clone() }
            }
            Self::Delete { .. } => Self::Delete { uids: uids.to_vec() },
            other => other.clone(),
        };
        self.uids().chunks(Self::UIDS).map(some).collect()
    }
}

/// An action on the folders of an account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum FolderRequest {
    /// Lists the folders.
    List,
    /// Adds a folder.
    Add {
        /// The name; `/` separates levels.
        name: String,
        /// The role (RFC 6154), if the folder has one.
        #[serde(default)]
        role: Option<String>,
    },
    /// Renames a folder.
    Rename {
        /// The present name.
        name: String,
        /// The new name.
        new: String,
    },
    /// Removes an empty folder.
    Remove {
        /// The name.
        name: String,
    },
}

/// A message in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct MailLine {
    /// The UID, which names the message in the folder.
    pub uid: u32,
    /// The unique-id of the message in POP3.
    pub unique_id: String,
    /// The id under which the message was accepted; `posta trace` accepts it.
    pub id: String,
    /// The conversation that it belongs to.
    pub thread: String,
    /// The time of acceptance.
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub time: posta_mail::Timestamp,
    /// The number of octets that a reader gets.
    pub octets: u64,
    /// The flags and keywords.
    pub flags: Vec<String>,
    /// The author, according to the header section.
    pub from: Option<String>,
    /// The subject.
    pub subject: Option<String>,
}

/// A folder in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct FolderLine {
    /// The name.
    pub name: String,
    /// The role.
    pub role: Option<String>,
    /// The number of messages.
    pub messages: u64,
    /// The number of messages that have not been seen.
    pub unseen: u64,
    /// The number of octets in the messages.
    pub octets: u64,
    /// The UIDVALIDITY of IMAP.
    pub uid_validity: u32,
    /// The UID that the next message gets.
    pub uid_next: u32,
}

impl From<Folder> for FolderLine {
    fn from(folder: Folder) -> Self {
        Self {
            name: folder.name.to_string(),
            role: folder.role.map(|role| role.to_string()),
            messages: folder.messages,
            unseen: folder.unseen,
            octets: folder.octets,
            uid_validity: folder.uid_validity,
            uid_next: folder.uid_next.0,
        }
    }
}

impl Admin {
    pub(super) async fn mail(
        &self,
        address: String,
        folder: Option<String>,
        request: MailRequest,
    ) -> Result<Response, AdminError> {
        let account = self.account(address).await?.id;
        let folder = match folder {
            Some(name) => self.folder(account, &name).await?,
            None => FolderId::INBOX,
        };
        let now = self.clock.now();
        if request.uids().len() > MailRequest::UIDS {
            let words =
                format!("one request may name {} messages: send several", MailRequest::UIDS);
            return Err(AdminError::Mail(words));
        }
        let changed = match request {
            MailRequest::List { after } => return self.list(account, folder, after).await,
            MailRequest::Read { uid, offset } => {
                return self.read(account, folder, uid, offset).await;
            }
            MailRequest::Move { uids, to } => {
                let to = self.folder(account, &to).await?;
                let (uids, purge) = (named(uids), now + PURGE_AFTER);
                self.store.move_entries(account, folder, to, uids, now, purge).await?.len()
            }
            MailRequest::Flag { uids, add, remove } => {
                let change = flag_change(&add, &remove)?;
                let flags = self.store.set_flags(account, folder, named(uids), change, None, now);
                flags.await?.changed.len()
            }
            MailRequest::Delete { uids } => {
                self.store.remove(account, folder, named(uids), now, now + PURGE_AFTER).await?
            }
        };
        Ok(Response::Count(changed))
    }

    pub(super) async fn folders(
        &self,
        address: String,
        request: FolderRequest,
    ) -> Result<Response, AdminError> {
        let account = self.account(address).await?.id;
        let now = self.clock.now();
        match request {
            FolderRequest::List => {
                let folders = self.store.folders(account).await?;
                return Ok(Response::Folders(folders.into_iter().map(FolderLine::from).collect()));
            }
            FolderRequest::Add { name, role } => {
                let role = role.map(|role| role.parse::<Role>()).transpose();
                let role = role.map_err(|error| AdminError::Mail(error.to_string()))?;
                self.store.add_folder(account, folder_name(&name)?, role, now).await?;
            }
            FolderRequest::Rename { name, new } => {
                let folder = self.folder(account, &name).await?;
                self.store.rename_folder(account, folder, folder_name(&new)?, now).await?;
            }
            FolderRequest::Remove { name } => {
                let folder = self.folder(account, &name).await?;
                self.store.remove_folder(account, folder).await?;
            }
        }
        Ok(Response::Done)
    }

    async fn folder(&self, account: AccountId, name: &str) -> Result<FolderId, AdminError> {
        let wanted = folder_name(name)?;
        let folders = self.store.folders(account).await?;
        let found = folders.iter().find(|folder| folder.name == wanted);
        found.map(|folder| folder.id).ok_or_else(|| {
            AdminError::Mail(format!("there is no folder {name:?}; `posta folder list` names them"))
        })
    }

    async fn list(
        &self,
        account: AccountId,
        folder: FolderId,
        after: u32,
    ) -> Result<Response, AdminError> {
        let from = Uid(after.saturating_add(1));
        let entries = self.store.entries(account, folder, from, PAGE).await?;
        let next = entries.last().filter(|_| entries.len() == PAGE).map(|last| last.uid.0);
        let mut lines = Vec::with_capacity(entries.len());
        for entry in entries {
            lines.push(self.line(entry).await?);
        }
        Ok(Response::Mail { lines, next })
    }

    async fn line(&self, entry: Entry) -> Result<MailLine, AdminError> {
        let beginning = match self.piece(&entry, u64::from(entry.head)).await {
            // A list contains what can be read; `posta mail show` reports damage.
            Err(StoreError::Damaged(_)) => Bytes::new(),
            beginning => beginning?,
        };
        let (from, subject) = author_and_subject(&beginning);
        let is_set = |flag: &&(Flags, &str)| entry.flags.has(flag.0);
        let flags = Flags::NAMES.iter().filter(is_set).map(|(_, name)| word(name));
        let flags = flags.chain(entry.keywords.iter().map(ToString::to_string)).collect();
        Ok(MailLine {
            uid: entry.uid.0,
            unique_id: entry.unique_id.to_string(),
            id: entry.content.to_string(),
            thread: entry.thread.to_string(),
            time: entry.time,
            octets: entry.octets,
            flags,
            from,
            subject,
        })
    }

    /// Returns octets of the head and content from an offset on, up to the end of a piece of the store.
    async fn piece(&self, entry: &Entry, offset: u64) -> Result<Bytes, StoreError> {
        let layout = entry.layout();
        if offset >= layout.octets() {
            return Ok(Bytes::new());
        }
        let (index, within) = layout.at(offset);
        let piece = self.store.chunk(entry.content, index).await?;
        let piece = piece.filter(|piece| within < piece.len());
        let missing = || StoreError::Damaged("a piece of the message is missing".to_owned());
        Ok(piece.ok_or_else(missing)?.slice(within..))
    }

    async fn read(
        &self,
        account: AccountId,
        folder: FolderId,
        uid: u32,
        offset: u64,
    ) -> Result<Response, AdminError> {
        let entry = self.store.entry(account, folder, Uid(uid)).await?;
        let entry = entry.ok_or_else(|| {
            let words =
                "there is no message of that UID in the folder; `posta mail list` names them";
            AdminError::Mail(words.to_owned())
        })?;
        let prefix = entry.prefix.len() as u64;
        let piece = match offset.checked_sub(prefix) {
            None => {
                Bytes::copy_from_slice(&entry.prefix[usize::try_from(offset).unwrap_or_default()..])
            }
            Some(offset) => self.piece(&entry, offset).await?,
        };
        let next = offset + piece.len() as u64;
        let next = Some(next).filter(|next| *next < entry.kept());
        Ok(Response::Piece { octets: BASE64.encode(&piece), next })
    }
}

/// Returns the author and the subject in the header section that a message begins with.
pub(super) fn author_and_subject(beginning: &[u8]) -> (Option<String>, Option<String>) {
    let beginning = &beginning[..beginning.len().min(BEGINNING)];
    let header = MessageParser::new().parse_headers(beginning);
    let author = header.as_ref().and_then(|header| header.from()?.first());
    let from = author.and_then(|from| from.address().or_else(|| from.name()));
    let subject = header.as_ref().and_then(|header| header.subject());
    let told = |text: &str| text.chars().take(TOLD).collect::<String>();
    (from.map(told), subject.map(told))
}

fn named(uids: Vec<u32>) -> Vec<Uid> {
    uids.into_iter().map(Uid).collect()
}

fn folder_name(name: &str) -> Result<FolderName, AdminError> {
    name.parse().map_err(|error: posta_store::FolderNameError| AdminError::Mail(error.to_string()))
}

/// Returns a flag's name as an operator writes it: `seen` for `\Seen`.
fn word(name: &str) -> String {
    name.trim_start_matches('\\').to_ascii_lowercase()
}

fn flag_change(add: &[String], remove: &[String]) -> Result<FlagChange, AdminError> {
    let mut change = FlagChange::default();
    for (words, flags, keywords) in [
        (add, &mut change.add, &mut change.add_keywords),
        (remove, &mut change.remove, &mut change.remove_keywords),
    ] {
        for text in words {
            match Flags::NAMES.iter().find(|(_, name)| word(name) == word(text)) {
                Some((flag, _)) => *flags = *flags | *flag,
                None => {
                    let keyword = text.parse::<Keyword>();
                    keywords.push(keyword.map_err(|error| AdminError::Mail(error.to_string()))?);
                }
            }
        }
    }
    Ok(change)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_messages_are_changed_in_pieces() {
        let uids: Vec<u32> = (1..=2_500).collect();
        for request in [
            MailRequest::Move { uids: uids.clone(), to: "Work".to_owned() },
            MailRequest::Flag { uids: uids.clone(), add: vec!["seen".to_owned()], remove: vec![] },
            MailRequest::Delete { uids: uids.clone() },
        ] {
            let pieces = request.clone().pieces();
            assert_eq!(
                pieces.iter().map(|piece| piece.uids().len()).collect::<Vec<_>>(),
                [1_000, 1_000, 500]
            );
            assert_eq!(
                pieces.iter().flat_map(MailRequest::uids).copied().collect::<Vec<_>>(),
                uids
            );
            let same = |piece: &MailRequest| {
                std::mem::discriminant(piece) == std::mem::discriminant(&request)
            };
            assert!(pieces.iter().all(same));
        }
        let list = MailRequest::List { after: 7 };
        assert_eq!(list.clone().pieces(), [list]);
    }

    #[test]
    fn flags_and_keywords_are_told_apart() {
        let words =
            |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        let change = flag_change(&words(&["seen", "\\Flagged", "$Forwarded"]), &words(&["draft"]));
        let change = change.unwrap();
        assert_eq!(change.add, Flags::SEEN | Flags::FLAGGED);
        assert_eq!(change.remove, Flags::DRAFT);
        assert_eq!(change.add_keywords, ["$forwarded".parse().unwrap()]);
        assert!(flag_change(&words(&["two words"]), &[]).is_err());
    }
}
