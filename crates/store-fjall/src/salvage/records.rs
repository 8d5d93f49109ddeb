//! The changes in the log.

use crate::{
    error::failed,
    log::{Found, Kind, Position, Segments, scan},
    tables::{
        batch::Batch,
        schema::{self, Schema},
    },
};
use posta_store::StoreError;

/// Applies the changes that the log still has to tables, which are named by their numbers.
pub(super) fn apply_all(
    segments: &Segments,
    schema: &Schema,
    is_wanted: &dyn Fn(u8) -> bool,
) -> Result<(), StoreError> {
    for number in segments.numbers()? {
        let mut apply = |found: Found<'_>| apply(schema, &found, is_wanted);
        scan(segments, number, (0, 0), &mut apply)?;
    }
    Ok(())
}

/// Applies the changes since the last checkpoint, which the tables lack after a crash. Returns what is wrong with the log,
/// in words.
pub(super) fn apply_since_checkpoint(
    segments: &Segments,
    schema: &Schema,
) -> Result<Vec<String>, StoreError> {
    let numbers = segments.numbers()?;
    let first = numbers.first().copied().unwrap_or(1);
    let beginning = Position { segment: first, offset: 0, previous: 0 };
    let noted = |name| -> Result<Option<Position>, StoreError> {
        let value = schema.meta.get(name).map_err(failed)?;
        value.map(|value| schema::decode_position(&value)).transpose()
    };
    let start = noted(schema::CHECKPOINT)?.unwrap_or(beginning);
    let (mut damage, mut end) = (Vec::new(), start);
    for &number in numbers.range(start.segment..) {
        let from = if number == start.segment { (start.offset, start.previous) } else { (0, 0) };
        let mut apply = |found: Found<'_>| {
            end = Position { segment: number, offset: 0, previous: 0 };
            apply(schema, &found, &|_| true)
        };
        let scanned = scan(segments, number, from, &mut apply)?;
        if let Some(at) = scanned.damage {
            damage.push(format!("log/{number:012} is damaged at octet {at}: changes are missing"));
        }
        if number == end.segment {
            end.offset = scanned.end;
        }
    }
    if let Some(applied) = noted(schema::APPLIED)?
        && (applied.segment, applied.offset) > (end.segment, end.offset)
    {
        damage.push("the end of the log is missing".to_owned());
    }
    Ok(damage)
}

fn apply(
    schema: &Schema,
    found: &Found<'_>,
    is_wanted: &dyn Fn(u8) -> bool,
) -> Result<(), StoreError> {
    if found.kind != Kind::Records || !found.is_proven {
        return Ok(());
    }
    // Records that are whole and are none were written by another program.
    match Batch::replay_some(schema, found.body, is_wanted) {
        Ok(batch) => batch.apply().map_err(failed),
        Err(_) => Ok(()),
    }
}
