//! The file that `posta fetch --accounts` reads: an `[[account]]` for each mailbox, with the keys that
//! are options of the command.

use super::{Files, Lmtp, Target, Task, Tls, default_state};
use crate::fault::{demand, fail, fault};
use anyhow::{Context, Result};
use posta_mail::{Address, Secret};
use posta_store::{Keep, Login};
use serde::Deserialize;
use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Accounts {
    account: Vec<Account>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Account {
    server: String,
    user: String,
    password: Option<String>,
    password_file: Option<PathBuf>,
    #[serde(default = "automatic")]
    tls: Tls,
    #[serde(default)]
    any_certificate: bool,
    /// What stays on the server: `nothing`, `all`, or messages of the last days, such as `7d`.
    #[serde(default)]
    keep: Option<String>,
    /// Whether only new messages are fetched; default: unless nothing stays on the server.
    only_new: Option<bool>,
    maildir: Option<PathBuf>,
    mbox: Option<PathBuf>,
    lmtp: Option<String>,
    to: Option<String>,
    account: Option<String>,
}

const fn automatic() -> Tls {
    Tls::Auto
}

/// Reads the file of accounts.
pub(super) fn read(path: &Path) -> Result<Vec<Task>> {
    let about = || format!("in {}", path.display());
    let text = fs::read_to_string(path).with_context(about)?;
    let accounts: Accounts = toml::from_str(&text).with_context(about)?;
    let others_may_read = fs::metadata(path)?.permissions().mode() & 0o077 != 0;
    if others_may_read && accounts.account.iter().any(|account| account.password.is_some()) {
        eprintln!("posta: others can read the passwords in {0}: `chmod 600 {0}`", path.display());
    }
    demand!(!accounts.account.is_empty(), "no-accounts", "{} names no [[account]]", path.display());
    accounts.account.into_iter().map(|account| account.task().with_context(about)).collect()
}

impl Account {
    fn task(self) -> Result<Task> {
        let password = match (self.password, self.password_file) {
            (Some(password), None) => password,
            (None, Some(file)) => {
                let text = fs::read_to_string(&file);
                let text = text.with_context(|| format!("{} cannot be read", file.display()))?;
                text.lines().next().unwrap_or_default().to_owned()
            }
            _ => fail!(
                "password-needed",
                "{}: password or password-file is needed, one of them",
                self.user
            ),
        };
        let login = Login {
            tls: self.tls.with(&self.server),
            server: self.server,
            user: self.user,
            any_certificate: self.any_certificate,
        };
        let address = |text: String| {
            let parsed = text.parse::<Address>();
            parsed.with_context(|| format!("{text:?} is no address"))
        };
        let target = match (self.maildir, self.mbox, self.lmtp, self.account) {
            (Some(directory), None, None, None) => Target::Files(Files::maildir(&directory)?),
            (None, Some(file), None, None) => Target::Files(Files::mbox(&file)?),
            (None, None, Some(server), None) => {
                let to = self.to.with_context(|| format!("{}: lmtp needs to", login.user))?;
                Target::Lmtp(Lmtp::new(server, address(to)?))
            }
            (None, None, None, Some(account)) => Target::Account(address(account)?),
            _ => fail!(
                "no-target",
                "{}: one of maildir, mbox, lmtp and account is needed",
                login.user
            ),
        };
        let keep = self.keep.as_deref().map_or(Ok(Keep::All), str::parse);
        let keep = keep.map_err(|words| fault("invalid-keep", format!("keep: {words}")))?;
        let only_new = self.only_new.unwrap_or(keep != Keep::Nothing);
        let state = if only_new { default_state(&login, &target)? } else { None };
        let password = Secret::new(password.as_bytes());
        Ok(Task { login, password, keep, target, state })
    }
}
