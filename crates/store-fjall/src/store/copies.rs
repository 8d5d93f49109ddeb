//! Copies of whole stores, from this one and into it (`posta_store::copies`).
//!
//! The tables are read as they are: nobody changes them meanwhile. Derived records (the index of what is due, of changes,
//! of accounts) are made anew by the target.

mod filling;
mod reading;

use super::FjallStore;
use crate::{
    commit::removals::Until,
    tables::schema::{self, Reader},
};
use bytes::Bytes;
use posta_mail::{Secret, Timestamp};
use posta_store::{
    Pending, PieceKey, Rows, SecretOf,
    copies::{Copies, CopyPlace, LastNumbers, Page, Part, history_page, sources_page},
};

impl Copies for FjallStore {
    fn page(&self, part: Part, after: Option<Vec<u8>>, octets: usize) -> Pending<'_, Page> {
        match part {
            Part::Accounts => {
                self.alone(move |committer| committer.copied_accounts(after.as_deref(), octets))
            }
            Part::History => Box::pin(history_page(self, after)),
            Part::Sources => Box::pin(sources_page(self)),
            _ => {
                let segments = self.segments.clone();
                self.read(move |schema| {
                    reading::page(schema, &segments, part, after.as_deref(), octets)
                })
            }
        }
    }

    fn last_numbers(&self) -> Pending<'_, LastNumbers> {
        // Behind the removals that are decided, which are carried out first.
        self.after(Until::Due(Timestamp::MAX), |committer| {
            let tables = &committer.schema;
            let number = |name| tables.number(name).map(Option::unwrap_or_default);
            let mut numbers = LastNumbers {
                account: number(schema::LAST_ACCOUNT)?,
                source: number(schema::LAST_SOURCE)?,
                mod_seq: number(schema::UID_CEILING)?,
                octets: 0,
            };
            for guard in tables.segment.iter() {
                let (_, value) = crate::tables::key_and_value(guard)?;
                numbers.octets += Reader(&value).u64()?;
            }
            Ok(numbers)
        })
    }

    fn begin_copy(&self, of: &str) -> Pending<'_, Option<CopyPlace>> {
        let of = of.to_owned();
        self.alone(move |committer| committer.begin_copy(&of))
    }

    fn put_page(&self, part: Part, rows: Rows, behind: CopyPlace) -> Pending<'_, ()> {
        self.alone(move |committer| committer.put_page(part, &rows, &behind))
    }

    fn put_piece(&self, key: PieceKey, octets: Bytes) -> Pending<'_, ()> {
        self.alone(move |committer| committer.put_copied_piece(key, &octets))
    }

    fn put_secret(&self, of: SecretOf, secret: Secret) -> Pending<'_, ()> {
        self.alone(move |committer| committer.put_copied_secret(of, &secret))
    }

    fn end_copy(&self, numbers: LastNumbers) -> Pending<'_, ()> {
        self.alone(move |committer| committer.end_copy(numbers))
    }

    fn complete_copy(&self) -> Pending<'_, ()> {
        self.alone(|committer| committer.complete_copy())
    }
}
