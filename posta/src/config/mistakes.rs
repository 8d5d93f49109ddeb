//! The mistakes in a configuration file. All of them are told at once, in the order of the file: each with its line,
//! its cause and its cure.

use crate::fault::fault;
use anyhow::Error;
use std::{fmt::Write as _, ops::Range};

/// A mistake, or a remark that is no mistake, and its offset in the file.
#[derive(Debug)]
pub(super) struct Mistake {
    pub(super) at: usize,
    pub(super) words: String,
    /// The kind of mistake, as `posta explain` knows it.
    pub(super) code: &'static str,
}

/// The code of a value that cannot be.
const VALUE: &str = "config-value";

/// The mistakes in a file or a part of it, in any order.
///
/// A value that is refused can have none: what is wrong with it is told elsewhere.
#[derive(Debug, Default)]
pub(super) struct Mistakes(Vec<Mistake>);

/// The value, or the mistakes in it.
pub(super) type Read<T> = Result<T, Mistakes>;

/// Returns a mistake in place of a value.
pub(super) fn mistake<T>(at: &Range<usize>, words: String) -> Read<T> {
    Err(Mistakes(vec![Mistake { at: at.start, words, code: VALUE }]))
}

impl Mistakes {
    /// Adds values that do not go together.
    pub(super) fn conflict(&mut self, at: &Range<usize>, words: impl Into<String>) {
        self.add_coded(at, "config-conflict", words);
    }

    /// Adds a mistake.
    pub(super) fn add_coded(
        &mut self,
        at: &Range<usize>,
        code: &'static str,
        words: impl Into<String>,
    ) {
        self.0.push(Mistake { at: at.start, words: words.into(), code });
    }

    /// Returns the value, or adds the mistakes in it and returns `None`.
    pub(super) fn keep<T>(&mut self, read: Read<T>) -> Option<T> {
        read.map_err(|mut more| self.0.append(&mut more.0)).ok()
    }

    /// Returns the value if there is one and no mistake.
    pub(super) fn unless_any<T>(self, value: Option<T>) -> Read<T> {
        match value {
            Some(value) if self.0.is_empty() => Ok(value),
            _ => Err(self),
        }
    }

    /// Returns the error that a person reads: a line for each mistake.
    pub(super) fn into_error(mut self, text: &str) -> Error {
        self.0.sort_by_key(|mistake| mistake.at);
        match &self.0[..] {
            [only] => fault(only.code, only.with_line(text)),
            all => {
                let mut words = format!("{} mistakes:", all.len());
                for mistake in all {
                    // Writing to a string cannot fail.
                    let _ = write!(words, "\n  {} [{}]", mistake.with_line(text), mistake.code);
                }
                fault("config-mistakes", words)
            }
        }
    }
}

impl Mistake {
    /// Returns the words after the number of the line.
    pub(super) fn with_line(&self, text: &str) -> String {
        format!("line {}: {}", line(text, self.at), self.words)
    }
}

/// Returns the number of the line that contains an offset.
pub(super) fn line(text: &str, at: usize) -> usize {
    text[..at].matches('\n').count() + 1
}
