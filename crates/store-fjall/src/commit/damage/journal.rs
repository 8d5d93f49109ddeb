//! The journal of the tables: whether its groups stand in their order, and what one that was set aside tells of the log,
//! wherever it can still be read.
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
use memchr::memmem;
use std::{
    fs::{self, File},
    io::{self, BufReader, Read},
    path::{Path, PathBuf},
};

/// What the engine writes before each part of a journal.
const GROUP: u8 = 1;
const ITEM: u8 = 2;
const END: u8 = 3;
const CLEARED: u8 = 4;

/// The octets of the parts whose length does not vary, without that mark: the number of a group's items and the group's
/// number; the checksum of a group and the mark of its end; the table that is cleared.
const GROUP_OCTETS: usize = 4 + 8;
const END_OCTETS: i64 = 8 + 4;
const CLEARED_OCTETS: i64 = 8;

/// The octets before the key of an item: kind, compression, table, and the lengths.
const ITEM_OCTETS: usize = 1 + 1 + 8 + LENGTHS;

/// The number from which on the engine gives none.
const TOO_HIGH: u64 = 1 << 63;

/// How the engine writes the lengths before a key and its value: the key's, the value's, and the value's as it
/// is stored, which is not compressed.
type Lengths = [u8; LENGTHS];

const LENGTHS: usize = 2 + 4 + 4;

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

/// Returns the journals in a directory, the oldest first.
pub(super) fn files(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut journals = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        let number = path.file_stem().and_then(|stem| stem.to_str()?.parse::<u64>().ok());
        if path.extension().is_some_and(|extension| extension == "jnl") {
            journals.extend(number.map(|number| (number, path)));
        }
    }
    journals.sort();
    Ok(journals.into_iter().map(|(_, path)| path).collect())
}

/// Returns whether the groups in the journals of a directory have the numbers in whose order they were written. The
/// engine's checksums do not cover a group's number, and with a higher one an old group would go over everything newer:
/// a message that was purged would be back, or a password that was changed. What cannot be read ends a journal, for the
/// engine too: the log has what comes behind it.
pub(super) fn is_in_order(directory: &Path) -> io::Result<bool> {
    let mut last = None;
    for path in files(directory)? {
        let mut journal = BufReader::with_capacity(256 * 1024, File::open(path)?);
        while let Some(number) = next_number(&mut journal)? {
            if last.is_some_and(|last| number <= last) || number >= TOO_HIGH {
                return Ok(false);
            }
            last = Some(number);
        }
    }
    Ok(true)
}

/// Returns the number of the next group; none at the end of what can be read.
fn next_number(journal: &mut BufReader<File>) -> io::Result<Option<u64>> {
    loop {
        let Some([mark]) = octets(journal)? else { return Ok(None) };
        match mark {
            GROUP => {
                let group: Option<[u8; GROUP_OCTETS]> = octets(journal)?;
                let number = group.and_then(|group| group.last_chunk().copied());
                return Ok(number.map(u64::from_le_bytes));
            }
            ITEM => {
                let item: Option<[u8; ITEM_OCTETS]> = octets(journal)?;
                let lengths: Option<Lengths> = item.and_then(|item| item.last_chunk().copied());
                let Some([key, more, _, _, _, _, stored @ ..]) = lengths else { return Ok(None) };
                let key = u16::from_le_bytes([key, more]);
                journal.seek_relative(i64::from(key) + i64::from(u32::from_le_bytes(stored)))?;
            }
            END => journal.seek_relative(END_OCTETS)?,
            CLEARED => journal.seek_relative(CLEARED_OCTETS)?,
            _ => return Ok(None),
        }
    }
}

fn octets<const COUNT: usize>(journal: &mut impl Read) -> io::Result<Option<[u8; COUNT]>> {
    let mut octets = [0; COUNT];
    match journal.read_exact(&mut octets) {
        Ok(()) => Ok(Some(octets)),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
        Err(error) => Err(error),
    }
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
    let (header, search) = (before.len(), memmem::Finder::new(&before).into_owned());
    let mut rest = journal;
    let found = std::iter::from_fn(move || {
        let item = rest.get(search.find(rest)?..)?;
        // One may begin within another.
        rest = item.get(1..)?;
        Some(item)
    });
    found.filter_map(move |item| {
        let (key, value) = item.get(header..header + KEY + VALUE)?.split_first_chunk::<KEY>()?;
        (!is_applied || key == schema::APPLIED.as_bytes()).then_some((*key, value))
    })
}
