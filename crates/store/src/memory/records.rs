//! The small records of the reference store.

use super::MemoryStore;
use crate::{
    error::Pending,
    records::{Records, SecretOf},
};
use posta_mail::Secret;

impl Records for MemoryStore {
    fn keep(&self, kind: &'static str, name: &str, record: Option<Vec<u8>>) -> Pending<'_, ()> {
        let key = (kind, name.to_owned());
        self.with(|inner| {
            match record {
                Some(record) => inner.kept.insert(key, record),
                None => inner.kept.remove(&key),
            };
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

    fn kept_one(&self, kind: &'static str, name: &str) -> Pending<'_, Option<Vec<u8>>> {
        let key = (kind, name.to_owned());
        self.with(|inner| Ok(inner.kept.get(&key).cloned()))
    }

    fn keep_if(
        &self,
        kind: &'static str,
        name: &str,
        expected: Option<Vec<u8>>,
        record: Option<Vec<u8>>,
    ) -> Pending<'_, Option<Vec<u8>>> {
        let key = (kind, name.to_owned());
        self.with(|inner| {
            let there = inner.kept.get(&key);
            if there != expected.as_ref() {
                return Ok(there.cloned());
            }
            match record.clone() {
                Some(record) => inner.kept.insert(key, record),
                None => inner.kept.remove(&key),
            };
            Ok(record)
        })
    }

    fn secret(&self, of: SecretOf) -> Pending<'_, Option<Secret>> {
        self.with(|inner| Ok(inner.secrets.get(&of).cloned()))
    }
}
