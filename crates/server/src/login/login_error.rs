//! Failed logins: the name and the reason. The client learns less than the log.

use posta_store::StoreError;

/// The maximal number of octets of a name that are kept, since the client chose it.
const NAME: usize = 100;

/// The reason why a login failed.
#[derive(Debug, thiserror::Error)]
pub enum LoginError {
    /// The name or the password is wrong.
    #[error("name or password is wrong")]
    Credentials(FailedLogin),
    /// The client or the name is locked out after too many failures.
    #[error("too many failed logins")]
    Locked(FailedLogin),
    /// The password is right, but the operator has disabled the account.
    #[error("the account is disabled")]
    Disabled(FailedLogin),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The token could not be checked.
    #[error("{0}")]
    Tokens(String),
}

/// The name with which a client tried to log in, and the reason for the failure: for the operator, not
/// for the client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailedLogin {
    /// The account's address, or the address that an account of this name would have; empty if the
    /// client gave no name.
    pub name: String,
    /// The reason, in words.
    pub why: &'static str,
}

impl FailedLogin {
    /// Returns the failure of a login with this name.
    pub(crate) fn new(name: &str, why: &'static str) -> Self {
        Self { name: name[..name.floor_char_boundary(NAME)].to_owned(), why }
    }

    /// Returns the failure of a login whose name is not known.
    pub(crate) const fn unnamed(why: &'static str) -> Self {
        Self { name: String::new(), why }
    }
}

impl LoginError {
    /// Returns the error of a malformed message, which proves nothing.
    pub(crate) const fn malformed() -> Self {
        Self::Credentials(FailedLogin::unnamed("the client's message is malformed"))
    }

    /// Returns the name and the reason; `None` if the login could not be checked.
    #[must_use]
    pub const fn failed_login(&self) -> Option<&FailedLogin> {
        match self {
            Self::Credentials(failed) | Self::Locked(failed) | Self::Disabled(failed) => {
                Some(failed)
            }
            Self::Store(_) | Self::Tokens(_) => None,
        }
    }
}
