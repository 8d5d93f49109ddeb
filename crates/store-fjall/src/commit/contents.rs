//! The places of contents in the log, and the reuse of segments as contents are dropped; committing a batch.
//!
//! `place` has the place of each chunk, `segment` the octets of each segment that are in use. A segment with less
//! than half of its octets in use is emptied: the contents that are left are written again, at the log's end. A
//! segment without octets in use is written over, once no restart needs its records.

use super::Committer;
use crate::{
    disk::Room,
    error::{failed, io_failed},
    log::{ContentKey, Kind, Place, SEGMENT, Segments, Walk},
    tables::{
        batch::Batch,
        key_and_value,
        schema::{self, Schema},
    },
};
use bytes::Bytes;
use posta_mail::MailId;
use posta_store::{Layout, StoreError};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Display,
    mem::take,
    sync::Arc,
};

/// About the octets that are walked over at a time, so that other changes do not wait long.
const MOVE: u64 = 256 * 1024;

/// The state of the segments.
pub(crate) struct Contents {
    pub(crate) segments: Arc<Segments>,
    /// The octets of each segment that are in use, if any.
    shown: BTreeMap<u64, u64>,
    /// The segments that exist, except for the one that is being written.
    pub(crate) kept: BTreeSet<u64>,
    /// The segment that is being emptied.
    moving: Option<Walk>,
    /// The segments that could not be emptied: a damaged piece ends the walk, though each content behind it can
    /// still be read.
    stuck: BTreeSet<u64>,
}

impl Contents {
    pub(crate) fn new(
        schema: &Schema,
        segments: Arc<Segments>,
        current: u64,
    ) -> Result<Self, StoreError> {
        let mut shown = BTreeMap::new();
        for guard in schema.segment.iter() {
            let (key, value) = key_and_value(guard)?;
            shown.insert(schema::Reader(&key).u64()?, schema::Reader(&value).u64()?);
        }
        let mut kept = segments.numbers()?;
        kept.retain(|&number| number < current);
        Ok(Self { segments, shown, kept, moving: None, stuck: BTreeSet::new() })
    }

    /// Reads a chunk; none if its place has been written over.
    pub(crate) fn read(&self, place: Place, key: ContentKey) -> Result<Option<Bytes>, StoreError> {
        self.segments.read(place, key)
    }

    /// Returns the octets of a segment that are in use.
    pub(crate) fn of(&self, number: u64) -> u64 {
        self.shown.get(&number).copied().unwrap_or_default()
    }

    /// Returns the octets in use, after a batch, of the segments that it changes.
    fn after(&self, batch: &Batch) -> BTreeMap<u64, u64> {
        let mut after = BTreeMap::new();
        for place in &batch.shown {
            *after.entry(place.segment).or_insert_with(|| self.of(place.segment)) += place.octets();
        }
        for place in &batch.hidden {
            let octets = after.entry(place.segment).or_insert_with(|| self.of(place.segment));
            *octets = octets.saturating_sub(place.octets());
        }
        after
    }

    /// Returns a walk over a segment from its beginning.
    pub(crate) fn walk(&self, number: u64) -> Result<Walk, StoreError> {
        let file = self.segments.writer(number).map_err(io_failed)?;
        Ok(Walk { file, number, position: 0, previous: 0 })
    }

    /// Begins to empty a segment, if one has few octets in use.
    fn begin_to_move(&mut self) {
        let sparse = self.kept.iter().copied().find(|number| {
            let octets = self.of(*number);
            0 < octets && octets < SEGMENT / 2 && !self.stuck.contains(number)
        });
        let Some(number) = sparse else { return };
        match self.walk(number) {
            Ok(walk) => self.moving = Some(walk),
            Err(error) => self.give_up(number, &error),
        }
    }

    fn give_up(&mut self, number: u64, error: &dyn Display) {
        tracing::error!("segment {number} of the log cannot be emptied: {error}");
        self.stuck.insert(number);
    }
}

impl Committer {
    /// Begins a group of changes.
    pub(crate) fn begin(&mut self) -> Result<(), StoreError> {
        self.folders.trim();
        self.look_at_disk();
        if self.room == Room::Nothing {
            return Err(StoreError::Full);
        }
        let before = self.log.segment();
        self.log.begin()?;
        if self.log.segment() != before {
            self.contents.kept.insert(before);
            self.release_segments();
        }
        Ok(())
    }

    /// Writes a batch to the log, with `sync` makes it durable, and then applies it to the tables, where readers
    /// see it.
    pub(crate) fn write(&mut self, mut batch: Batch, sync: bool) -> Result<(), StoreError> {
        self.reserve_mod_seqs(&mut batch);
        self.drop_listings(&mut batch);
        let shown = self.contents.after(&batch);
        for (number, &octets) in &shown {
            match octets {
                0 => batch.remove(&self.schema.segment, number.to_be_bytes()),
                _ => batch.insert(&self.schema.segment, number.to_be_bytes(), octets.to_be_bytes()),
            }
        }
        self.log.write(batch.records(), sync)?;
        self.held.count(batch.records().len());
        self.contents.shown.extend(shown);
        self.contents.shown.retain(|_, octets| *octets > 0);
        batch.ends_at(&self.schema, self.log.position());
        let subjects = batch.subjects();
        let (effects, told) = (take(&mut batch.effects), take(&mut batch.told));
        let (arrived, left) = (take(&mut batch.arrived), take(&mut batch.left));
        batch.apply().map_err(failed).inspect_err(|_| self.log.fail())?;
        self.is_buffered |= sync;
        self.views.change(arrived, left);
        if !effects.is_empty() {
            self.lanes.lock().apply(effects);
        }
        subjects.into_iter().for_each(|subject| self.watchers.tell(subject));
        self.watchers.tell_events(told);
        Ok(())
    }

    /// Puts a chunk of a message, which is given in parts, into the log's group and its place into a batch.
    pub(crate) fn put_content(&mut self, key: ContentKey, parts: &[&[u8]], batch: &mut Batch) {
        let place = self.log.content(key, parts);
        batch.shown.push(place);
        batch.insert(&self.schema.place, key, schema::encode_place(place));
    }

    /// Returns the places of a message's chunks.
    pub(crate) fn places(
        &self,
        content: MailId,
        layout: Layout,
    ) -> Result<Vec<(ContentKey, Place)>, StoreError> {
        let mut places = Vec::new();
        for index in layout.pieces() {
            let key = schema::content_key(content, index);
            places.extend(self.schema.place(key)?.map(|place| (key, place)));
        }
        Ok(places)
    }

    /// Drops chunks.
    pub(crate) fn drop_places(&self, places: Vec<(ContentKey, Place)>, batch: &mut Batch) {
        for (key, place) in places {
            batch.hidden.push(place);
            batch.remove(&self.schema.place, key);
        }
    }

    /// Drops all chunks of a message that was not accepted.
    pub(crate) fn drop_content(
        &self,
        content: MailId,
        batch: &mut Batch,
    ) -> Result<(), StoreError> {
        for guard in self.schema.place.prefix(content.to_bytes()) {
            let (key, value) = key_and_value(guard)?;
            batch.hidden.push(schema::decode_place(&value)?);
            batch.remove(&self.schema.place, key);
        }
        batch.remove(&self.schema.arriving, content.to_bytes());
        Ok(())
    }

    /// Moves some contents out of a segment that has few octets in use. Returns whether there was one.
    pub(crate) fn move_some(&mut self) -> bool {
        if self.contents.moving.is_none() {
            self.contents.begin_to_move();
        }
        let Some(mut walk) = self.contents.moving.take() else { return false };
        match self.move_from(&mut walk) {
            Ok(true) => self.contents.moving = Some(walk),
            Ok(false) if self.contents.of(walk.number) > 0 => {
                self.contents.give_up(walk.number, &"it is damaged");
            }
            Ok(false) => self.release_segments(),
            Err(error) => self.contents.give_up(walk.number, &error),
        }
        true
    }

    /// Moves some contents out of a segment. Returns whether there may be more.
    pub(crate) fn move_from(&mut self, walk: &mut Walk) -> Result<bool, StoreError> {
        let mut batch = Batch::new(&self.schema);
        self.begin()?;
        let mut read = 0;
        while read < MOVE {
            let Some((kind, place, piece)) = walk.next()? else {
                return self.write(batch, false).map(|()| false);
            };
            read += place.octets();
            let Kind::Content(key) = kind else { continue };
            if self.schema.place(key)? == Some(place) {
                batch.hidden.push(place);
                self.put_content(key, &[Walk::body(&piece)], &mut batch);
            }
        }
        self.write(batch, false).map(|()| true)
    }

    /// Takes back the files of segments without octets in use that no restart needs. A backup that is under way may
    /// still need them, but not at the price of a full disk.
    pub(crate) fn release_segments(&mut self) {
        if self.contents.segments.is_pinned() && self.room == Room::Everything {
            return;
        }
        let end = self.log.checkpointed();
        let empty = |number: &u64| *number < end && self.contents.of(*number) == 0;
        let empty: Vec<_> = self.contents.kept.iter().copied().filter(empty).collect();
        for number in empty {
            self.contents.kept.remove(&number);
            if let Err(error) = self.log.release(number) {
                tracing::error!("segment {number} of the log cannot be given back: {error}");
            }
        }
    }
}
