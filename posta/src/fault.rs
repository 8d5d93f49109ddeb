//! Errors with codes. A code is a word that names the cause: the same in all later versions, whatever the words around
//! it become, so that a script can tell causes apart and a person can look one up (`posta explain CODE`).
//!
//! A command makes such an error with [`fail!`] or [`demand!`], or gives another one a code with [`Coded::code`].
//! `main` prints the code after the words. `codes/` lists all of them.

mod codes;
mod foreign;
pub(crate) mod usage;

pub(crate) use codes::{Code, find_code};

use crate::output;
use std::fmt;

/// The error for a response that does not fit the request.
pub(crate) const UNEXPECTED: &str = "the server's response does not fit the request: it may be of another version than \
    this command; restart it";

/// An error with its code.
#[derive(Debug)]
pub(crate) struct Fault {
    code: String,
    words: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.words)
    }
}

impl std::error::Error for Fault {}

/// Returns an error with a code.
pub(crate) fn fault(code: impl Into<String>, words: impl Into<String>) -> anyhow::Error {
    anyhow::Error::new(Fault { code: code.into(), words: words.into() })
}

/// Returns from a function with an error: `fail!("no-such-account", "there is no account {address}")`.
macro_rules! fail {
    ($code:literal, $($words:tt)*) => {
        return Err($crate::fault::fault($code, format!($($words)*)))
    };
}
pub(crate) use fail;

/// Returns from a function with an error, unless a condition holds.
macro_rules! demand {
    ($holds:expr, $code:literal, $($words:tt)*) => {
        if !$holds {
            $crate::fault::fail!($code, $($words)*);
        }
    };
}
pub(crate) use demand;

/// Gives errors a code.
pub(crate) trait Coded<T> {
    /// Gives the error a code. Its words and causes stay.
    fn code(self, code: &'static str) -> anyhow::Result<T>;
}

impl<T, E: Into<anyhow::Error>> Coded<T> for Result<T, E> {
    fn code(self, code: &'static str) -> anyhow::Result<T> {
        self.map_err(|error| fault(code, output::chain(&error.into())))
    }
}

/// Returns the code of an error: its own, or that of the error of a library behind it.
pub(crate) fn code_of(error: &anyhow::Error) -> &str {
    let own = error.chain().find_map(|cause| cause.downcast_ref::<Fault>());
    if let Some(fault) = own {
        return &fault.code;
    }
    if error.downcast_ref::<&str>().is_some_and(|words| *words == UNEXPECTED) {
        return "other-version";
    }
    error.chain().find_map(foreign::code).unwrap_or("failed")
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context as _;

    #[test]
    fn a_code_outlives_what_is_said_around_it() {
        let refuse = || -> anyhow::Result<()> { fail!("no-such-account", "there is no {}", "ana") };
        let error = refuse().context("it was not done").unwrap_err();
        assert_eq!(code_of(&error), "no-such-account");
        assert_eq!(output::chain(&error), "it was not done: there is no ana");
        let denied = std::io::Error::from(std::io::ErrorKind::PermissionDenied);
        let error = Err::<(), _>(denied).context("the file").unwrap_err();
        assert_eq!(code_of(&error), "permission-denied");
        assert_eq!(code_of(&anyhow::anyhow!("oh")), "failed");
        let coded = Err::<(), _>(anyhow::anyhow!("oh")).code("no-such-key").unwrap_err();
        assert_eq!((code_of(&coded), output::chain(&coded)), ("no-such-key", "oh".to_owned()));
    }
}
