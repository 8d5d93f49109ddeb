//! Recovery: a start replays the changes in the log that the tables may lack.

mod restored;

use super::damage;
use crate::{
    error::{failed, io_failed},
    log::{Kind, Log, Position, Segments, Walk},
    tables::{
        batch::Batch,
        schema::{self, Schema},
    },
};
use posta_store::StoreError;
use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::Arc,
};

/// Replays the log from the last checkpoint on, and opens it behind its last whole group. Reports the messages that
/// it lacks, as far as the tables, or their journal that was set aside, know of them.
pub(crate) fn log(
    schema: &Schema,
    segments: Arc<Segments>,
    set_aside: Option<&Path>,
) -> Result<Log, StoreError> {
    let numbers = segments.numbers()?;
    let beginning =
        Position { segment: numbers.first().copied().unwrap_or(1), offset: 0, previous: 0 };
    let noted = |name| -> Result<Position, StoreError> {
        let value = schema.meta.get(name).map_err(failed)?;
        value.map_or(Ok(beginning), |value| schema::decode_position(&value))
    };
    let (start, applied) = (noted(schema::CHECKPOINT)?, noted(schema::APPLIED)?);
    let known = schema.damaged_segments()?;
    let before = before(&segments, &numbers, start)?;
    let Walked { mut end, mut sound, is_cut } = walk(&segments, &numbers, start, |_| Ok(()))?;
    for (segment, whole) in known.iter().map(|(&segment, &whole)| (segment, whole)).chain(before) {
        sound.entry(segment).and_modify(|it| *it = whole.min(*it)).or_insert(whole);
    }
    let is_ahead = (applied.segment, applied.offset) > (end.segment, end.offset);
    if is_ahead {
        // The log was cut: the tables are ahead of it, and must not go back.
        end = applied;
    } else {
        let apply = |records: &[u8]| Batch::replay(schema, records)?.apply().map_err(failed);
        end = walk(&segments, &numbers, start, apply)?.end;
    }
    let missing = damage::missing(schema, set_aside, &sound, end, is_cut && !is_ahead)?;
    // Before a file is made where one is missing, or lengthened where it is cut off.
    let is_suspicious = end != start || before.is_some() || !known.is_empty();
    let lost = damage::look(schema, &segments, end, &sound, is_suspicious)?;
    *segments.unreadable.lock() = damage::tell(schema, &lost)?;
    if lost.inside != known {
        schema.note_damaged_segments(&lost.inside)?;
    }
    if lost.is_at_end || is_ahead || before.is_some() || missing.is_some() {
        // Writing over the damage would hide it from the next start.
        let last = numbers.last().copied().unwrap_or_default().max(end.segment);
        end = Position { segment: last + 1, offset: 0, previous: 0 };
    }
    if set_aside.is_some() || lost.is_at_end || is_ahead || missing.is_some() {
        // They may list entries that are missing.
        schema.forget_listings()?;
    }
    *segments.missing.lock() = missing;
    schema.checkpoint(end)?;
    let tables = schema.clone();
    Log::new(segments, end, Box::new(move |at| tables.checkpoint(at)))
}

/// Checks whether a checkpoint's segment is whole up to the checkpoint, since a disk loses what was written last
/// before a stop. Returns the segment and the position up to which it is whole, if it is not. Reads one segment at
/// most.
fn before(
    segments: &Segments,
    numbers: &BTreeSet<u64>,
    checkpoint: Position,
) -> Result<Option<(u64, u64)>, StoreError> {
    let number = checkpoint.segment;
    if checkpoint.offset == 0 || !numbers.contains(&number) {
        return Ok(None);
    }
    let file = segments.writer(number).map_err(io_failed)?;
    let mut walk = Walk { file, number, position: 0, previous: 0 };
    while walk.position < checkpoint.offset && walk.next()?.is_some() {}
    let is_there = (walk.position, walk.previous) == (checkpoint.offset, checkpoint.previous);
    Ok((!is_there).then_some((number, walk.position.min(checkpoint.offset))))
}

/// The result of a walk over the log.
struct Walked {
    /// The end of the last whole group.
    end: Position,
    /// The position up to which each segment is whole.
    sound: BTreeMap<u64, u64>,
    /// Whether the last file was cut within a write.
    is_cut: bool,
}

/// Walks over the log from a position on, and calls `take` with the records of each whole group.
fn walk(
    segments: &Segments,
    numbers: &BTreeSet<u64>,
    start: Position,
    mut take: impl FnMut(&[u8]) -> Result<(), StoreError>,
) -> Result<Walked, StoreError> {
    let mut walked = Walked { end: start, sound: BTreeMap::new(), is_cut: false };
    for &number in numbers.range(start.segment..) {
        // Each segment but the last was synced before the next was begun.
        let from = Position { segment: number, offset: 0, previous: 0 };
        let from = if number == start.segment { start } else { from };
        let file = segments.writer(number).map_err(io_failed)?;
        let mut walk = Walk { file, number, position: from.offset, previous: from.previous };
        while let Some((kind, _, piece)) = walk.next()? {
            if kind == Kind::Records {
                take(Walk::body(&piece))?;
                walked.end = Position { offset: walk.position, previous: walk.previous, ..from };
            }
        }
        walked.sound.insert(number, walk.position);
        walked.is_cut = walk.is_cut()?;
    }
    Ok(walked)
}
