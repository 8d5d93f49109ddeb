//! What a start does with the log: it replays what the tables may lack.

use crate::{
    batch::Batch,
    damage, failed, io_failed, lock,
    log::{Kind, Log, Position, Segments, Walk},
    schema::{self, Schema},
};
use posta_store::StoreError;
use std::{collections::BTreeSet, sync::Arc};

/// Replays the log from the last checkpoint on, and opens it behind its last whole group.
pub(crate) fn log(schema: &Schema, segments: Arc<Segments>) -> Result<Log, StoreError> {
    let numbers = segments.numbers()?;
    let beginning =
        Position { segment: numbers.first().copied().unwrap_or(1), offset: 0, previous: 0 };
    let noted = |name| -> Result<Position, StoreError> {
        let value = schema.meta.get(name).map_err(failed)?;
        value.map_or(Ok(beginning), |value| schema::decode_position(&value))
    };
    let (start, applied) = (noted(schema::CHECKPOINT)?, noted(schema::APPLIED)?);
    let mut end = walk(&segments, &numbers, start, |_| Ok(()))?;
    if (applied.segment, applied.offset) > (end.segment, end.offset) {
        // The log was cut: the tables have what it lacks, and must not go back to what it has.
        end = applied;
    } else {
        let apply = |records: &[u8]| Batch::replay(schema, records)?.apply().map_err(failed);
        end = walk(&segments, &numbers, start, apply)?;
    }
    // Before a file is made where one is missing, or lengthened where it is cut off.
    let lost = damage::look(schema, &segments, end, end != start)?;
    *lock(&segments.unreadable) = damage::tell(schema, &lost)?;
    if lost.is_at_end {
        // What is written over cannot be found to be missing the next time.
        end = Position { segment: end.segment + 1, offset: 0, previous: 0 };
    }
    schema.checkpoint(end)?;
    let tables = schema.clone();
    Log::new(segments, end, Box::new(move |at| tables.checkpoint(at)))
}

/// Walks over the log from a position on, and hands on the records of each whole group. Returns where the
/// last one ends.
fn walk(
    segments: &Segments,
    numbers: &BTreeSet<u64>,
    start: Position,
    mut take: impl FnMut(&[u8]) -> Result<(), StoreError>,
) -> Result<Position, StoreError> {
    let mut end = start;
    for &number in numbers.range(start.segment..) {
        // Each segment but the last was synced before the next was begun.
        let from = Position { segment: number, offset: 0, previous: 0 };
        let from = if number == start.segment { start } else { from };
        let file = segments.writer(number).map_err(io_failed)?;
        let mut walk = Walk { file, number, position: from.offset, previous: from.previous };
        while let Some((kind, _, piece)) = walk.next()? {
            if kind == Kind::Records {
                take(Walk::body(&piece))?;
                end = Position { offset: walk.position, previous: walk.previous, ..from };
            }
        }
    }
    Ok(end)
}
