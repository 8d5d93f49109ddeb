//! Logins that did not succeed: whose, and why.

use posta_store::StoreError;

/// Octets of a name that are kept: its client chose it.
const NAME: usize = 100;

/// A login did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum LoginError {
    /// Name or password are wrong.
    #[error("name or password is wrong")]
    Credentials(Denied),
    /// Too many were wrong of late.
    #[error("too many failed logins")]
    Locked(Denied),
    /// They are right, but the operator has disabled the account.
    #[error("the account is disabled")]
    Disabled(Denied),
    /// It could not be found out.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Nor could what a token says.
    #[error("{0}")]
    Tokens(String),
}

/// Who tried to log in, and why in vain: for the operator. The client is told less.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denied {
    /// The account's address, or what one of that name would have; empty where none was said.
    pub name: String,
    /// Why, in words.
    pub why: &'static str,
}

impl Denied {
    /// A login with this name.
    pub(crate) fn new(name: &str, why: &'static str) -> Self {
        Self { name: name[..name.floor_char_boundary(NAME)].to_owned(), why }
    }

    /// A login of which no name is known.
    pub(crate) const fn unnamed(why: &'static str) -> Self {
        Self { name: String::new(), why }
    }
}

impl LoginError {
    /// What the client said proves nothing, whoever it is.
    pub(crate) const fn malformed() -> Self {
        Self::Credentials(Denied::unnamed("what the client said makes no sense"))
    }

    /// Returns who was denied what, unless it could not be found out.
    #[must_use]
    pub const fn denied(&self) -> Option<&Denied> {
        match self {
            Self::Credentials(denied) | Self::Locked(denied) | Self::Disabled(denied) => {
                Some(denied)
            }
            Self::Store(_) | Self::Tokens(_) => None,
        }
    }
}
