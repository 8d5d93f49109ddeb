//! The operator's requests that move mailboxes in and out. The command reads and writes the files; messages travel in
//! batches, and large ones in pieces.

use super::{flag_change, word};
use crate::{
    admin::{Admin, AdminError, Response},
    collect::imports::{ImportOrigin, ImportOutcome, ImportedContent, ImportedMessage},
    deliver::Placement,
};
use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use bytes::{Bytes, BytesMut};
use posta_mail::{MailId, Timestamp, id::is_unique_id};
use posta_store::{Account, Entry, Flags, FolderId, StoreError, Uid};
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::fmt;

/// The messages in a page of a list.
const PAGE: usize = 1_000;

/// A step of moving a mailbox in or out.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum TransferRequest {
    /// Adds the account, with the password that it has on another server.
    Account {
        /// The password as that server keeps it: `{SCHEME}text`, or a hash of crypt(3).
        password: String,
        /// The quota in octets; `None` means no limit.
        #[serde(default)]
        quota: Option<u64>,
    },
    /// Asks which messages were imported before.
    Known {
        /// The names of the messages ([`TransferMessage::name`]), at most [`TransferRequest::MESSAGES`].
        #[schemars(
            length(max = TransferRequest::MESSAGES),
            inner(length(min = 1, max = TransferRequest::NAME))
        )]
        names: Vec<String>,
    },
    /// Sends a piece of a message that is too large for one request.
    Piece {
        /// Where the message comes from.
        from: TransferSource,
        /// The message, if this is not its first piece.
        #[serde(default)]
        upload: Option<String>,
        /// The octets, at most [`TransferRequest::OCTETS`].
        octets: Octets,
    },
    /// Drops the pieces of a message that will not be completed.
    Abandon {
        /// The message.
        upload: String,
    },
    /// Imports messages into a folder.
    Take {
        /// Where they come from.
        from: TransferSource,
        /// The folder's name; default: the inbox.
        #[serde(default)]
        folder: Option<String>,
        /// The messages, at most [`TransferRequest::MESSAGES`].
        #[schemars(length(max = TransferRequest::MESSAGES))]
        messages: Vec<TransferMessage>,
    },
    /// Lists the messages of a folder, one page at a time.
    List {
        /// The folder's name; default: the inbox.
        #[serde(default)]
        folder: Option<String>,
        /// Only messages with a higher UID.
        #[serde(default)]
        after: u32,
    },
    /// Reads whole messages, which have at most [`TransferRequest::OCTETS`] octets together, as lists tell.
    Read {
        /// The folder's name; default: the inbox.
        #[serde(default)]
        folder: Option<String>,
        /// The messages' UIDs.
        uids: Vec<u32>,
    },
}

impl TransferRequest {
    /// The most messages in one request.
    pub const MESSAGES: usize = 1_000;

    /// The most octets of messages in one request or response.
    pub const OCTETS: usize = 1024 * 1024;

    /// The most octets in a name under which a message is remembered.
    pub const NAME: usize = 255;

    /// The most octets in the path that a message came from, which the history has for each message.
    pub const PATH: usize = 4_096;

    /// Refuses texts that are kept for each message, where they are too long.
    fn check_texts(&self) -> Result<(), AdminError> {
        let (path, names): (_, Vec<&String>) = match self {
            Self::Known { names } => (None, names.iter().collect()),
            Self::Piece { from, .. } => (Some(&from.path), Vec::new()),
            Self::Take { from, messages, .. } => {
                (Some(&from.path), messages.iter().map(|message| &message.name).collect())
            }
            Self::Account { .. } | Self::Abandon { .. } | Self::List { .. } | Self::Read { .. } => {
                (None, Vec::new())
            }
        };
        if path.is_some_and(|path| path.len() > Self::PATH) {
            let words = format!("a path has {} octets at most", Self::PATH);
            return Err(AdminError::Mail(words));
        }
        if names.iter().any(|name| name.is_empty() || name.len() > Self::NAME) {
            let words = format!("the name of a message has 1 to {} octets", Self::NAME);
            return Err(AdminError::Mail(words));
        }
        Ok(())
    }
}

/// The response to a [`TransferRequest`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum TransferResponse {
    /// For each name, whether the message was imported before.
    Known(Vec<bool>),
    /// The message that the next pieces belong to.
    Upload(String),
    /// The pieces were dropped.
    Abandoned,
    /// What became of each message: none if it had been imported before.
    Taken(Vec<Option<Taken>>),
    /// A page of messages.
    Messages {
        /// The entries of the page.
        lines: Vec<TransferLine>,
        /// The last UID of the page; none if there are no more messages.
        next: Option<u32>,
    },
    /// The messages; none for one that no longer exists.
    Contents(Vec<Option<Octets>>),
}

/// What became of a message that was not imported before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Taken {
    /// It is in the mailbox now.
    New,
    /// It was refused, for this reason.
    Refused(String),
}

/// The files that messages come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct TransferSource {
    /// The path of the mailbox, for the history. At most 4,096 octets.
    #[schemars(length(max = TransferRequest::PATH))]
    pub path: String,
    /// The format of its files.
    pub format: TransferFormat,
}

/// A format of mailboxes in files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum TransferFormat {
    /// A directory with a file for each message.
    Maildir,
    /// A file with all messages (RFC 4155).
    Mbox,
}

impl From<TransferSource> for ImportOrigin {
    fn from(source: TransferSource) -> Self {
        let format = match source.format {
            TransferFormat::Maildir => "Maildir",
            TransferFormat::Mbox => "mbox",
        };
        Self { path: source.path, format }
    }
}

/// A message to be imported.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct TransferMessage {
    /// The name under which it is remembered for its account, so that it is imported once. At most 255 octets.
    #[schemars(length(min = 1, max = TransferRequest::NAME))]
    pub name: String,
    /// The unique-id by which POP3 clients know it, if there is one.
    #[serde(default)]
    pub unique_id: Option<String>,
    /// The time of its arrival at the server before, if that is known.
    #[serde(default)]
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub date: Option<Timestamp>,
    /// Its flags and keywords, as [`MailRequest::Flag`](super::MailRequest::Flag) takes them.
    #[serde(default)]
    pub flags: Vec<String>,
    /// Its content.
    pub content: TransferContent,
}

/// The content of a message to be imported.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum TransferContent {
    /// All of it, with CRLF as line ends.
    Whole(Octets),
    /// What came in pieces.
    Upload(String),
}

/// A message in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct TransferLine {
    /// The UID.
    pub uid: u32,
    /// The unique-id in POP3.
    pub unique_id: String,
    /// The id under which the message was accepted.
    pub id: String,
    /// The time of its arrival.
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub time: Timestamp,
    /// The octets that a POP3 client gets.
    pub octets: u64,
    /// The octets that are kept; others if not all of its lines end in CRLF.
    pub kept: u64,
    /// The flags and keywords.
    pub flags: Vec<String>,
}

/// Octets, which travel as base64.
#[derive(Clone, PartialEq, Eq, JsonSchema)]
#[schemars(example = "", extend("contentEncoding" = "base64"))]
pub struct Octets(#[schemars(with = "String")] pub Bytes);

impl fmt::Debug for Octets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} octets", self.0.len())
    }
}

impl Serialize for Octets {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&BASE64.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Octets {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl de::Visitor<'_> for Text {
            type Value = Octets;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("octets in base64")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Octets, E> {
                let octets = BASE64.decode(text);
                octets.map(|octets| Octets(octets.into())).map_err(|_| E::custom("no base64"))
            }
        }
        deserializer.deserialize_str(Text)
    }
}

impl Admin {
    pub(in crate::admin) async fn transfer(
        &self,
        address: String,
        request: TransferRequest,
    ) -> Result<Response, AdminError> {
        if let TransferRequest::Account { password, quota } = request {
            self.import_account(address, &password, quota).await?;
            return Ok(Response::Done);
        }
        request.check_texts()?;
        let account = self.account(address).await?;
        let response = match request {
            TransferRequest::Account { .. } => return Ok(Response::Done),
            TransferRequest::Known { names } => {
                within(names.len(), TransferRequest::MESSAGES)?;
                TransferResponse::Known(self.imports.known(account.id, names).await?)
            }
            TransferRequest::Piece { from, upload, octets } => {
                within(octets.0.len(), TransferRequest::OCTETS)?;
                let upload = upload.map(parse_id).transpose()?;
                let id = self.imports.piece(&account, &from.into(), upload, &octets.0).await?;
                TransferResponse::Upload(id.to_string())
            }
            TransferRequest::Abandon { upload } => {
                self.imports.abandon(account.id, parse_id(upload)?).await?;
                TransferResponse::Abandoned
            }
            TransferRequest::Take { from, folder, messages } => {
                let folder = self.folder_or_inbox(&account, folder).await?;
                within(messages.len(), TransferRequest::MESSAGES)?;
                let placed = messages.into_iter().map(|message| message.placed(folder));
                let messages = placed.collect::<Result<_, _>>()?;
                let taken = self.imports.take(&account, &from.into(), messages).await?;
                let told = |outcome| match outcome {
                    ImportOutcome::Known => None,
                    ImportOutcome::New => Some(Taken::New),
                    ImportOutcome::Refused(why) => Some(Taken::Refused(why)),
                };
                TransferResponse::Taken(taken.into_iter().map(told).collect())
            }
            TransferRequest::List { folder, after } => {
                let folder = self.folder_or_inbox(&account, folder).await?;
                let from = Uid(after.saturating_add(1));
                let entries = self.store.entries(account.id, folder, from, PAGE).await?;
                let next = entries.last().filter(|_| entries.len() == PAGE).map(|last| last.uid.0);
                let lines = entries.into_iter().map(TransferLine::from).collect();
                TransferResponse::Messages { lines, next }
            }
            TransferRequest::Read { folder, uids } => {
                let folder = self.folder_or_inbox(&account, folder).await?;
                TransferResponse::Contents(self.read_whole(&account, folder, uids).await?)
            }
        };
        Ok(Response::Transfer(response))
    }

    async fn folder_or_inbox(
        &self,
        account: &Account,
        name: Option<String>,
    ) -> Result<FolderId, AdminError> {
        match name {
            Some(name) => self.folder(account.id, &name).await,
            None => Ok(FolderId::INBOX),
        }
    }

    /// Reads messages whole.
    async fn read_whole(
        &self,
        account: &Account,
        folder: FolderId,
        uids: Vec<u32>,
    ) -> Result<Vec<Option<Octets>>, AdminError> {
        within(uids.len(), TransferRequest::MESSAGES)?;
        let (mut contents, mut total) = (Vec::with_capacity(uids.len()), 0);
        for uid in uids {
            let Some(entry) = self.store.entry(account.id, folder, Uid(uid)).await? else {
                contents.push(None);
                continue;
            };
            total += entry.kept();
            within(usize::try_from(total).unwrap_or(usize::MAX), TransferRequest::OCTETS)?;
            contents.push(Some(self.whole(&entry).await?));
        }
        Ok(contents)
    }

    async fn whole(&self, entry: &Entry) -> Result<Octets, StoreError> {
        let mut octets = BytesMut::from(&entry.prefix[..]);
        let layout = entry.layout();
        let mut offset = 0;
        while offset < layout.octets() {
            let piece = self.piece(entry, offset).await?;
            offset += piece.len() as u64;
            octets.extend_from_slice(&piece);
        }
        Ok(Octets(octets.freeze()))
    }
}

impl TransferMessage {
    fn placed(self, folder: FolderId) -> Result<ImportedMessage, AdminError> {
        let Self { name, unique_id, date, flags, content } = self;
        if let Some(wrong) = unique_id.as_ref().filter(|id| !is_unique_id(id)) {
            return Err(AdminError::Mail(format!("{wrong:?} is no unique-id (RFC 1939 §7)")));
        }
        let change = flag_change(&flags, &[])?;
        let (mut flags, mut keywords) = (Flags::NONE, Vec::new());
        if change.apply(&mut flags, &mut keywords).is_none() {
            return Err(StoreError::TooManyKeywords.into());
        }
        let content = match content {
            TransferContent::Whole(octets) => ImportedContent::Whole(octets.0),
            TransferContent::Upload(id) => ImportedContent::Pieces(parse_id(id)?),
        };
        let placement = Placement { folder, unique_id, date, flags, keywords };
        Ok(ImportedMessage { name, placement, content })
    }
}

impl From<Entry> for TransferLine {
    fn from(entry: Entry) -> Self {
        let is_set = |flag: &&(Flags, &str)| entry.flags.has(flag.0);
        let flags = Flags::NAMES.iter().filter(is_set).map(|(_, name)| word(name));
        let flags = flags.chain(entry.keywords.iter().map(ToString::to_string)).collect();
        Self {
            uid: entry.uid.0,
            unique_id: entry.unique_id.to_string(),
            id: entry.content.to_string(),
            time: entry.time,
            octets: entry.octets,
            kept: entry.kept(),
            flags,
        }
    }
}

/// Refuses a request that is too large.
fn within(count: usize, most: usize) -> Result<(), AdminError> {
    match count > most {
        true => Err(AdminError::Mail(format!("one request may have {most} at most: send several"))),
        false => Ok(()),
    }
}

fn parse_id(text: String) -> Result<MailId, AdminError> {
    text.parse().map_err(|_| AdminError::Mail(format!("{text:?} names no message")))
}
