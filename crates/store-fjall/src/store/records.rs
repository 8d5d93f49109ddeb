//! The small records of the server's own, and the secrets.

use super::{FjallStore, now};
use posta_mail::Secret;
use posta_store::{Pending, Records, SecretOf, check_name};
use std::future::ready;

impl Records for FjallStore {
    fn keep(&self, kind: &'static str, name: &str, record: Option<Vec<u8>>) -> Pending<'_, ()> {
        if let Err(error) = check_name(name) {
            return Box::pin(ready(Err(error)));
        }
        let key = format!("{kind}\0{name}");
        self.alone(move |committer| committer.keep(key, record))
    }

    fn kept(&self, kind: &'static str) -> Pending<'_, Vec<(String, Vec<u8>)>> {
        self.read(move |schema| schema.kept(kind))
    }

    fn kept_page(
        &self,
        kind: &'static str,
        prefix: &str,
        after: Option<&str>,
        most: usize,
    ) -> Pending<'_, Vec<(String, Vec<u8>)>> {
        let (prefix, after) = (prefix.to_owned(), after.map(str::to_owned));
        self.read(move |schema| schema.kept_page(kind, &prefix, after.as_deref(), most))
    }

    fn kept_one(&self, kind: &'static str, name: &str) -> Pending<'_, Option<Vec<u8>>> {
        let key = format!("{kind}\0{name}");
        now(|| match check_name(name) {
            Ok(()) => self.schema()?.kept_one(&key),
            Err(_) => Ok(None),
        })
    }

    fn keep_with_secrets(
        &self,
        kind: &'static str,
        name: &str,
        expected: Option<Vec<u8>>,
        record: Option<Vec<u8>>,
        secrets: Vec<(SecretOf, Option<Secret>)>,
    ) -> Pending<'_, Option<Vec<u8>>> {
        if let Err(error) = check_name(name) {
            return Box::pin(ready(Err(error)));
        }
        let key = format!("{kind}\0{name}");
        self.alone(move |committer| committer.keep_if(key, expected.as_deref(), record, secrets))
    }

    fn check_seals(&self) -> Pending<'_, ()> {
        let keys = self.keys.clone();
        self.read(move |schema| schema.check_seals(&keys))
    }

    fn secret(&self, of: SecretOf) -> Pending<'_, Option<Secret>> {
        let keys = self.keys.clone();
        self.read(move |schema| schema.secret(&keys, of))
    }
}
