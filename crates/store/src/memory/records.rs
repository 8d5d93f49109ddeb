//! The small records of the reference store.

use super::{Inner, MemoryStore};
use crate::{
    error::Pending,
    records::{Records, SecretOf, check_name, is_of_directory},
    watch::Subject,
};
use posta_mail::Secret;
use std::ops::Bound;

impl Records for MemoryStore {
    fn keep(&self, kind: &'static str, name: &str, record: Option<Vec<u8>>) -> Pending<'_, ()> {
        let key = (kind, name.to_owned());
        self.changing(subject(kind), |inner| {
            check_name(&key.1)?;
            inner.keep(key, record);
            Ok(())
        })
    }

    fn kept(&self, kind: &'static str) -> Pending<'_, Vec<(String, Vec<u8>)>> {
        self.with(|inner| {
            let kept = inner.kept.range((kind, String::new())..);
            let kept = kept.take_while(|((other, _), _)| *other == kind);
            Ok(kept.map(|((_, name), record)| (name.clone(), record.clone())).collect())
        })
    }

    fn kept_page(
        &self,
        kind: &'static str,
        prefix: &str,
        after: Option<&str>,
        most: usize,
    ) -> Pending<'_, Vec<(String, Vec<u8>)>> {
        let first = Bound::Included((kind, prefix.to_owned()));
        let after = after.filter(|after| *after >= prefix);
        let first = after.map_or(first, |after| Bound::Excluded((kind, after.to_owned())));
        self.with(|inner| {
            let kept = inner.kept.range((first, Bound::Unbounded));
            let kept = kept
                .take_while(|((other, name), _)| *other == kind && name.starts_with(prefix))
                .take(most);
            Ok(kept.map(|((_, name), record)| (name.clone(), record.clone())).collect())
        })
    }

    fn kept_one(&self, kind: &'static str, name: &str) -> Pending<'_, Option<Vec<u8>>> {
        let key = (kind, name.to_owned());
        self.with(|inner| Ok(inner.kept.get(&key).cloned()))
    }

    fn keep_with_secrets(
        &self,
        kind: &'static str,
        name: &str,
        expected: Option<Vec<u8>>,
        record: Option<Vec<u8>>,
        secrets: Vec<(SecretOf, Option<Secret>)>,
    ) -> Pending<'_, Option<Vec<u8>>> {
        let key = (kind, name.to_owned());
        self.changing(subject(kind), |inner| {
            check_name(&key.1)?;
            let there = inner.kept.get(&key);
            if there != expected.as_ref() {
                return Ok(there.cloned());
            }
            inner.keep(key, record.clone());
            for (of, secret) in secrets {
                match secret {
                    Some(secret) => inner.secrets.insert(of, secret),
                    None => inner.secrets.remove(&of),
                };
            }
            Ok(record)
        })
    }

    fn check_seals(&self) -> Pending<'_, ()> {
        self.with(|_| Ok(()))
    }

    fn secret(&self, of: SecretOf) -> Pending<'_, Option<Secret>> {
        self.with(|inner| Ok(inner.secrets.get(&of).cloned()))
    }
}

impl Inner {
    pub(super) fn keep(&mut self, key: (&'static str, String), record: Option<Vec<u8>>) {
        match record {
            Some(record) => self.kept.insert(key, record),
            None => self.kept.remove(&key),
        };
    }
}

/// Returns who hears of changes to records of a kind.
fn subject(kind: &str) -> Option<Subject> {
    is_of_directory(kind).then_some(Subject::Directory)
}
