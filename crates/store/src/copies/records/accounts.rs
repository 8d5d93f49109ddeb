//! Accounts, with their folders.

use super::{json, number, time, to_json, wrong};
use crate::{Account, AccountId, Credentials, Folder, FolderId, ModSeq, Rows, StoreError, Uid};
use posta_mail::{Address, Timestamp};
use serde::{Deserialize, Serialize};

/// An account with its mailbox.
#[derive(Debug, Clone)]
pub struct AccountRecord {
    /// The account. The password for APOP is among the secrets.
    pub account: Account,
    /// When it was removed, and when it is purged.
    pub removed: Option<(Timestamp, Timestamp)>,
    /// The id of the folder that is added next.
    pub next_folder: FolderId,
    /// The greatest UIDVALIDITY that was given to a folder that was added.
    pub uid_validity: u32,
    /// The mod-sequence up to which vanished names are no longer known.
    pub horizon: ModSeq,
    /// The folders, by their ids.
    pub folders: Vec<Folder>,
}

#[derive(Serialize, Deserialize)]
struct AccountForm {
    address: String,
    password_hash: String,
    scram: Option<String>,
    quota: Option<u64>,
    send_as: Vec<String>,
    forwards: bool,
    disabled: bool,
    marks_junk: bool,
    send_only: bool,
    removed: Option<(i64, i64)>,
    next_folder: u32,
    uid_validity: u32,
    horizon: u64,
    folders: Vec<FolderForm>,
}

#[derive(Serialize, Deserialize)]
struct FolderForm {
    id: u32,
    name: String,
    role: Option<String>,
    uid_validity: u32,
    uid_next: u32,
    mod_seq: u64,
    messages: u64,
    octets: u64,
    unseen: u64,
}

const ACCOUNTS: &str = "accounts";

impl AccountRecord {
    /// Adds the record to rows.
    ///
    /// # Errors
    /// None that a record of a store has.
    pub fn push(&self, rows: &mut Rows) -> Result<(), StoreError> {
        let Self { account, removed, next_folder, uid_validity, horizon, folders } = self;
        let form = AccountForm {
            address: account.address.to_string(),
            password_hash: account.credentials.password_hash.clone(),
            scram: account.credentials.scram.clone(),
            quota: account.quota,
            send_as: account.send_as.iter().map(ToString::to_string).collect(),
            forwards: account.forwards,
            disabled: account.disabled,
            marks_junk: account.marks_junk,
            send_only: account.send_only,
            removed: removed.map(|(time, purge)| (time.as_microsecond(), purge.as_microsecond())),
            next_folder: next_folder.0,
            uid_validity: *uid_validity,
            horizon: horizon.0,
            folders: folders.iter().map(FolderForm::new).collect(),
        };
        rows.push(&account.id.0.to_be_bytes(), &to_json(&form)?);
        Ok(())
    }

    /// Reads a row.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] if it is no row of this part, as all functions that read rows.
    pub fn decode(mut key: &[u8], value: &[u8]) -> Result<Self, StoreError> {
        let id = AccountId(number(&mut key, ACCOUNTS)?);
        let form: AccountForm = json(value, ACCOUNTS)?;
        let is_wrong = |_| wrong(ACCOUNTS);
        let address: Address = form.address.parse().map_err(is_wrong)?;
        let (password_hash, scram) = (form.password_hash, form.scram);
        let send_as = form.send_as.iter().map(|text| text.parse().map_err(is_wrong));
        let removed = match form.removed {
            Some((removed, purge)) => Some((time(removed, ACCOUNTS)?, time(purge, ACCOUNTS)?)),
            None => None,
        };
        let account = Account {
            quota: form.quota,
            send_as: send_as.collect::<Result<_, _>>()?,
            forwards: form.forwards,
            disabled: form.disabled,
            marks_junk: form.marks_junk,
            send_only: form.send_only,
            ..Account::new(id, address, Credentials { password_hash, scram, apop: None })
        };
        Ok(Self {
            account,
            removed,
            next_folder: FolderId(form.next_folder),
            uid_validity: form.uid_validity,
            horizon: ModSeq(form.horizon),
            folders: form.folders.into_iter().map(FolderForm::read).collect::<Result<_, _>>()?,
        })
    }
}

impl FolderForm {
    fn new(folder: &Folder) -> Self {
        Self {
            id: folder.id.0,
            name: folder.name.as_str().to_owned(),
            role: folder.role.map(|role| role.name().to_owned()),
            uid_validity: folder.uid_validity,
            uid_next: folder.uid_next.0,
            mod_seq: folder.mod_seq.0,
            messages: folder.messages,
            octets: folder.octets,
            unseen: folder.unseen,
        }
    }

    fn read(self) -> Result<Folder, StoreError> {
        let role = self.role.map(|role| role.parse().map_err(|_| wrong(ACCOUNTS)));
        Ok(Folder {
            id: FolderId(self.id),
            name: self.name.parse().map_err(|_| wrong(ACCOUNTS))?,
            role: role.transpose()?,
            uid_validity: self.uid_validity,
            uid_next: Uid(self.uid_next),
            mod_seq: ModSeq(self.mod_seq),
            messages: self.messages,
            octets: self.octets,
            unseen: self.unseen,
        })
    }
}
