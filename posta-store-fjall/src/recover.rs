//! What a start does with the log: it replays what the tables may lack.

use crate::{
    batch::Batch,
    failed, io_failed,
    log::{Kind, Log, Position, Segments, Walk},
    schema::{self, Schema},
};
use posta_store::StoreError;
use std::sync::Arc;

/// Replays the log from the last checkpoint on, and opens it behind its last whole group.
pub(crate) fn log(schema: &Schema, segments: Arc<Segments>) -> Result<Log, StoreError> {
    let numbers = segments.numbers()?;
    let beginning =
        Position { segment: numbers.first().copied().unwrap_or(1), offset: 0, previous: 0 };
    let start = match schema.meta.get(schema::CHECKPOINT).map_err(failed)? {
        Some(value) => schema::decode_position(&value)?,
        None => beginning,
    };
    let mut end = start;
    for &number in numbers.range(start.segment..) {
        // Each segment but the last was synced before the next was begun.
        let from = Position { segment: number, offset: 0, previous: 0 };
        let from = if number == start.segment { start } else { from };
        if let Some(last) = replay(schema, &segments, from)? {
            end = last;
        }
    }
    schema.checkpoint(end)?;
    let tables = schema.clone();
    Log::new(segments, end, Box::new(move |at| tables.checkpoint(at)))
}

/// Replays one segment. Answers where its last whole group ends, if it has any.
fn replay(
    schema: &Schema,
    segments: &Segments,
    from: Position,
) -> Result<Option<Position>, StoreError> {
    let file = segments.writer(from.segment).map_err(io_failed)?;
    let Position { segment: number, offset: position, previous } = from;
    let mut walk = Walk { file, number, position, previous };
    let mut end = None;
    while let Some((kind, _, piece)) = walk.next()? {
        if kind == Kind::Records {
            Batch::replay(schema, Walk::body(&piece))?.apply().map_err(failed)?;
            end = Some(Position { offset: walk.position, previous: walk.previous, ..from });
        }
    }
    Ok(end)
}
