//! Looking up the keys of signatures while content is still arriving.

use super::{DkimKey, KeyError, KnownKeys};
use crate::dns::{Lookup, LookupError, Query};
use std::{collections::BTreeMap, future::poll_fn, sync::Arc, task::Poll};

/// The maximal number of texts under one name that are tried as key records. There should be one (RFC
/// 6376 §3.6.2.2).
pub const KEY_RECORDS: usize = 8;

/// The answers of DNS about keys, by the names of their records.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Keys {
    keys: BTreeMap<String, Result<Arc<DkimKey>, KeyLookupError>>,
}

/// The reason why there is no key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum KeyLookupError {
    Key(KeyError),
    /// DNS did not answer, or was not asked.
    Temporary,
}

impl Keys {
    /// Looks up the records with these names, all at once.
    pub async fn look_up(lookup: &dyn Lookup, names: &[String]) -> Self {
        Self::look_up_known(lookup, names, &KnownKeys::default()).await
    }

    /// Looks up the records with these names, all at once. Those that were read before are taken from `known`.
    pub async fn look_up_known(lookup: &dyn Lookup, names: &[String], known: &KnownKeys) -> Self {
        let mut names: Vec<_> = names.iter().map(String::as_str).collect();
        names.sort_unstable();
        names.dedup();
        let answers = all(names.iter().map(|name| lookup.txt(name)).collect()).await;
        let keys = answers.into_iter().map(|answer| read_key(answer, known));
        Self { keys: names.into_iter().map(str::to_owned).zip(keys).collect() }
    }

    pub(super) fn get(&self, name: &str) -> Result<&DkimKey, KeyLookupError> {
        match self.keys.get(name) {
            Some(Ok(key)) => Ok(key),
            Some(Err(error)) => Err(*error),
            None => Err(KeyLookupError::Temporary),
        }
    }
}

/// Returns the first text that is a key. If there is none, returns the fault of the first that claims to
/// be one.
fn read_key(
    answer: Result<Vec<String>, LookupError>,
    known: &KnownKeys,
) -> Result<Arc<DkimKey>, KeyLookupError> {
    let texts = match answer {
        Ok(texts) => texts,
        Err(LookupError::Nothing) => return Err(KeyLookupError::Key(KeyError::NoKey)),
        Err(LookupError::Temporary) => return Err(KeyLookupError::Temporary),
    };
    let mut error = KeyError::NoKey;
    for text in texts.iter().take(KEY_RECORDS) {
        match known.read(text) {
            Ok(key) => return Ok(key),
            Err(other) if error == KeyError::NoKey => error = other,
            Err(_) => {}
        }
    }
    Err(KeyLookupError::Key(error))
}

/// Waits for all look-ups concurrently.
async fn all<T>(mut queries: Vec<Query<'_, T>>) -> Vec<Result<Vec<T>, LookupError>> {
    let mut answers: Vec<_> = queries.iter().map(|_| None).collect();
    poll_fn(|context| {
        let mut is_pending = false;
        for (query, answer) in queries.iter_mut().zip(&mut answers) {
            if answer.is_none() {
                match query.as_mut().poll(context) {
                    Poll::Ready(found) => *answer = Some(found),
                    Poll::Pending => is_pending = true,
                }
            }
        }
        if is_pending { Poll::Pending } else { Poll::Ready(()) }
    })
    .await;
    // Every look-up has ended.
    answers.into_iter().map(|answer| answer.unwrap_or(Err(LookupError::Temporary))).collect()
}
