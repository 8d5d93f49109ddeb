//! What a journal of the tables that was set aside tells of the log, wherever it can still be read.
//!
//! The journal notes, with each group of changes, where the group ends in the log and where its contents
//! lie. It is searched for these records rather than read from its beginning, for what stands behind a
//! damaged octet is as good as before: so a log that was cut as well is not taken for whole.

use crate::{
    log::{ContentKey, Place, Position},
    tables::{
        schema::{self, Schema},
        table::Table,
    },
};
use std::{fs, io, path::Path};

/// How the engine writes the lengths before a key and its value: the key's, the value's, and the value's as it
/// is stored, which is not compressed.
type Lengths = [u8; 2 + 4 + 4];

const fn lengths(key: u8, value: u8) -> Lengths {
    [key, 0, value, 0, 0, 0, value, 0, 0, 0]
}

/// What was found.
#[derive(Debug, Default)]
pub(crate) struct Told {
    /// Up to where the log reached, at least.
    pub(crate) reach: Option<Position>,
    /// Contents, and where they were written.
    pub(crate) contents: Vec<(ContentKey, Place)>,
}

/// Searches the journals of a directory.
pub(crate) fn read(directory: &Path, schema: &Schema) -> io::Result<Told> {
    let mut told = Told::default();
    for entry in fs::read_dir(directory)? {
        let journal = fs::read(entry?.path())?;
        for (_, value) in items::<7, 24>(&journal, &schema.meta) {
            let reach = schema::decode_position(value).ok();
            let is_later = |reach: &Position| {
                told.reach.is_none_or(|it| (it.segment, it.offset) < (reach.segment, reach.offset))
            };
            told.reach = reach.filter(is_later).or(told.reach);
        }
        let places = items::<16, 16>(&journal, &schema.place);
        let place =
            |(key, value): (ContentKey, &[u8])| Some((key, schema::decode_place(value).ok()?));
        told.contents.extend(places.filter_map(place));
    }
    Ok(told)
}

/// The items of a table whose keys and values have these lengths. Of `meta`, that is where a group ends.
fn items<'j, const KEY: usize, const VALUE: usize>(
    journal: &'j [u8],
    table: &Table,
) -> impl Iterator<Item = ([u8; KEY], &'j [u8])> {
    let mut before = table.id().to_le_bytes().to_vec();
    before.extend_from_slice(&lengths(KEY as u8, VALUE as u8));
    let is_applied = schema::APPLIED.len() == KEY;
    let header = before.len();
    journal.windows(header + KEY + VALUE).filter_map(move |item| {
        if item.first() != before.first() || !item.starts_with(&before) {
            return None;
        }
        let (key, value) = item[header..].split_first_chunk::<KEY>()?;
        (!is_applied || key == schema::APPLIED.as_bytes()).then_some((*key, value))
    })
}
