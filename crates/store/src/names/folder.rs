//! The names and roles of folders.

use std::{fmt, str::FromStr};

/// The maximal number of folders of an account.
pub const FOLDERS: usize = 1_000;

/// The maximal number of octets in the name of a folder.
pub const FOLDER_NAME: usize = 255;

/// The id of a folder within its account; never used for another folder, even after the folder is
/// removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FolderId(pub u32);

impl FolderId {
    /// The inbox, where mail arrives and which POP3 serves.
    pub const INBOX: Self = Self(0);
    /// The folder for suspicious mail.
    pub const JUNK: Self = Self(1);
}

/// The role of a folder (RFC 6154 §2; `inbox` is that of RFC 8621). An account has at most one folder
/// for each role.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Role {
    /// Arriving mail.
    Inbox,
    /// Suspicious mail.
    Junk,
    /// Mail that is kept out of the way.
    Archive,
    /// Messages that are being written.
    Drafts,
    /// Sent messages.
    Sent,
    /// Messages that are to be removed.
    Trash,
}

impl Role {
    /// All roles.
    pub const ALL: [Self; 6] =
        [Self::Inbox, Self::Junk, Self::Archive, Self::Drafts, Self::Sent, Self::Trash];

    /// Returns the name of the role in lower case, as in RFC 8621.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Inbox => "inbox",
            Self::Junk => "junk",
            Self::Archive => "archive",
            Self::Drafts => "drafts",
            Self::Sent => "sent",
            Self::Trash => "trash",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// The text is not a [`Role`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a folder's role is inbox, junk, archive, drafts, sent or trash")]
pub struct RoleError;

impl FromStr for Role {
    type Err = RoleError;

    fn from_str(text: &str) -> Result<Self, RoleError> {
        Self::ALL.into_iter().find(|role| role.name() == text).ok_or(RoleError)
    }
}

/// The full name of a folder: UTF-8 without control characters, with the levels of the hierarchy
/// separated by `/`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FolderName(String);

impl FolderName {
    /// Returns the name of the inbox.
    #[must_use]
    pub fn inbox() -> Self {
        Self("INBOX".to_owned())
    }

    /// Returns the name of the folder for junk.
    #[must_use]
    pub fn junk() -> Self {
        Self("Junk".to_owned())
    }

    /// Returns the name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the name of the parent folder; none at the top.
    #[must_use]
    pub fn parent(&self) -> Option<Self> {
        self.0.rsplit_once('/').map(|(parent, _)| Self(parent.to_owned()))
    }

    /// Returns whether this is below another folder, directly or not.
    #[must_use]
    pub fn is_below(&self, other: &Self) -> bool {
        self.0.strip_prefix(&other.0).is_some_and(|rest| rest.starts_with('/'))
    }

    /// Returns the name of this folder after `old`, which it is below, is renamed to `new`; none if that
    /// is too long.
    #[must_use]
    pub fn moved_along(&self, old: &Self, new: &Self) -> Option<Self> {
        let rest = self.0.strip_prefix(&old.0)?;
        format!("{}{rest}", new.0).parse().ok()
    }
}

impl fmt::Display for FolderName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// The text cannot be a [`FolderName`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a folder's name has up to 255 octets, no control characters, and between each two `/` at least \
     one character"
)]
pub struct FolderNameError;

impl FromStr for FolderName {
    type Err = FolderNameError;

    /// Accepts a name unchanged, except that the inbox is recognised in any case (RFC 9051 §5.1).
    fn from_str(text: &str) -> Result<Self, FolderNameError> {
        let is_name = text.len() <= FOLDER_NAME
            && !text.chars().any(char::is_control)
            && text.split('/').all(|level| !level.trim().is_empty() && level.trim() == level);
        is_name.then_some(()).ok_or(FolderNameError)?;
        let (first, rest) = text.split_at(text.find('/').unwrap_or(text.len()));
        Ok(if first.eq_ignore_ascii_case("INBOX") {
            Self(format!("INBOX{rest}"))
        } else {
            Self(text.to_owned())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_told_from_what_is_none() {
        for (text, name) in [
            ("Work", "Work"),
            ("inbox", "INBOX"),
            ("InBox/Old mail", "INBOX/Old mail"),
            ("Inboxes", "Inboxes"),
            ("Lucru/Făcut", "Lucru/Făcut"),
        ] {
            assert_eq!(text.parse::<FolderName>().unwrap().as_str(), name);
        }
        let long = "x".repeat(FOLDER_NAME + 1);
        for wrong in ["", "/", "a/", "/a", "a//b", "a\nb", " a", "a/ b", &long] {
            assert_eq!(wrong.parse::<FolderName>(), Err(FolderNameError), "{wrong:?}");
        }
        let [a, ab, abc]: [FolderName; 3] = ["a", "a/b", "ab/c"].map(|it| it.parse().unwrap());
        assert!(ab.is_below(&a) && !abc.is_below(&a) && !a.is_below(&a));
        assert_eq!(ab.moved_along(&a, &abc).unwrap().as_str(), "ab/c/b");
        assert_eq!((ab.parent(), a.parent()), (Some(a), None));
    }
}
