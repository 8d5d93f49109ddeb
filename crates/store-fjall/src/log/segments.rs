//! The files of the log: one for each segment, named by its number.

use super::{
    PAGE,
    piece::{self, ContentKey, HEADER, Kind},
};
use crate::error::{damaged, io_failed};
use bytes::Bytes;
use parking_lot::{Mutex, MutexGuard};
use posta_mail::Timestamp;
use posta_store::StoreError;
use rustix::io::{ReadWriteFlags, preadv2};
use std::{
    collections::{BTreeSet, HashMap},
    fs::{self, File},
    io::{self, IoSliceMut},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::Arc,
};

/// The most files that are kept open for reading.
const OPEN: usize = 128;

/// The position of a chunk of content in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) segment: u64,
    pub(crate) offset: u32,
    /// Octets of the content, without the header of its piece.
    pub(crate) length: u32,
}

impl Place {
    /// Returns the octets of the segment that the chunk takes, with its header.
    pub(crate) fn octets(self) -> u64 {
        HEADER as u64 + u64::from(self.length)
    }
}

/// A missing end of the log, with messages that are recorded nowhere else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Missing {
    /// The most messages that it can have held; none if that is unknown.
    pub messages: Option<u64>,
    /// The time at which the last message that is still there was accepted.
    pub after: Option<Timestamp>,
}

/// The directory of segments. Readers share it with the one writer.
#[derive(Debug)]
pub(crate) struct Segments {
    directory: PathBuf,
    open: Mutex<HashMap<u64, Arc<File>>>,
    /// The addresses of accounts with messages that the start found unreadable, and the number of these.
    pub(crate) unreadable: Mutex<Vec<(String, u64)>>,
    /// The missing end of the log, if the start found one.
    pub(crate) missing: Mutex<Option<Missing>>,
    /// Held by each reader of an earlier moment, for which no segment may be written over.
    pins: Arc<()>,
}

/// Keeps all segments from being given back for as long as it exists.
#[derive(Debug)]
pub(crate) struct Pin {
    _pinned: Arc<()>,
}

impl Segments {
    /// Opens the directory, and makes it if it does not exist.
    pub(crate) fn open(directory: &Path) -> Result<Self, StoreError> {
        fs::create_dir_all(directory).map_err(io_failed)?;
        // Its name must be as durable as the changes in it.
        let parent = directory.parent().unwrap_or(directory);
        File::open(parent).and_then(|parent| parent.sync_all()).map_err(io_failed)?;
        let (open, unreadable, missing, pins) = Default::default();
        Ok(Self { directory: directory.to_owned(), open, unreadable, missing, pins })
    }

    /// Returns the directory of a store that nobody has open, as it is.
    pub(crate) fn open_closed(directory: &Path) -> Self {
        let (open, unreadable, missing, pins) = Default::default();
        Self { directory: directory.to_owned(), open, unreadable, missing, pins }
    }

    /// Keeps all segments from being given back.
    pub(crate) fn pin(&self) -> Pin {
        Pin { _pinned: self.pins.clone() }
    }

    /// Returns whether a reader of an earlier moment needs the segments.
    pub(crate) fn is_pinned(&self) -> bool {
        Arc::strong_count(&self.pins) > 1
    }

    /// Returns the numbers of the segments that exist.
    pub(crate) fn numbers(&self) -> Result<BTreeSet<u64>, StoreError> {
        let mut numbers = BTreeSet::new();
        for entry in fs::read_dir(&self.directory).map_err(io_failed)? {
            let name = entry.map_err(io_failed)?.file_name();
            numbers.extend(name.to_str().and_then(|name| name.parse::<u64>().ok()));
        }
        Ok(numbers)
    }

    fn path(&self, number: u64) -> PathBuf {
        self.directory.join(format!("{number:012}"))
    }

    /// Returns the length of a segment's file in octets, or none if there is no such file.
    pub(crate) fn length(&self, number: u64) -> io::Result<Option<u64>> {
        match fs::metadata(self.path(number)) {
            Ok(file) => Ok(Some(file.len())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Opens a segment for reading and writing.
    pub(crate) fn writer(&self, number: u64) -> io::Result<File> {
        File::options().read(true).write(true).create(true).truncate(false).open(self.path(number))
    }

    /// Makes a segment, from one that is no longer needed if there is one: its blocks are allocated and written, so
    /// that a sync of new data writes nothing but these.
    pub(crate) fn make(&self, number: u64, from: Option<u64>) -> io::Result<File> {
        if let Some(old) = from {
            self.lock().remove(&old);
            fs::rename(self.path(old), self.path(number))?;
        }
        let file = self.writer(number)?;
        // The name must be as durable as the changes in it.
        File::open(&self.directory)?.sync_all()?;
        Ok(file)
    }

    /// Deletes a segment.
    pub(crate) fn delete(&self, number: u64) -> io::Result<()> {
        self.lock().remove(&number);
        fs::remove_file(self.path(number))
    }

    /// Reads a chunk of content; none if its place has been written over.
    pub(crate) fn read(&self, place: Place, key: ContentKey) -> Result<Option<Bytes>, StoreError> {
        let Some(file) = self.reader(place.segment)? else { return Ok(None) };
        let Some(piece) = read_piece(&file, u64::from(place.offset), place.length)? else {
            return Ok(None);
        };
        let there = is_content(&piece, place, key);
        if !there {
            // The file may have got another number while it was open under this one.
            self.lock().remove(&place.segment);
        }
        Ok(there.then(|| Bytes::from(piece).slice(HEADER..)))
    }

    /// Reads a chunk of content if the system has all of it in memory; none if it has to be read from the disk, or
    /// its place has been written over. Never waits for a disk: file systems that cannot promise that refuse such a
    /// read.
    pub(crate) fn read_at_hand(&self, place: Place, key: ContentKey) -> Option<Bytes> {
        let file = self.lock().get(&place.segment).cloned()?;
        let mut piece = vec![0; HEADER + place.length as usize];
        let into = &mut [IoSliceMut::new(&mut piece)];
        let read = preadv2(&*file, into, u64::from(place.offset), ReadWriteFlags::NOWAIT).ok()?;
        let is_it = read == piece.len() && is_content(&piece, place, key);
        is_it.then(|| Bytes::from(piece).slice(HEADER..))
    }

    /// Reads the first octets of a piece without verifying its checksum, for information only. Returns none if its
    /// place has been written over.
    pub(crate) fn beginning(
        &self,
        place: Place,
        key: ContentKey,
        octets: u32,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        let Some(file) = self.reader(place.segment)? else { return Ok(None) };
        let length = place.length.min(octets);
        let Some(mut piece) = read_piece(&file, u64::from(place.offset), length)? else {
            return Ok(None);
        };
        let header = piece.first_chunk().and_then(piece::Header::read);
        let is_it = header.is_some_and(|header| {
            header.segment == place.segment && header.kind == Kind::Content(key)
        });
        Ok(is_it.then(|| piece.split_off(HEADER)))
    }

    /// Opens a segment for reading; none if there is no such file.
    pub(crate) fn reader(&self, number: u64) -> Result<Option<Arc<File>>, StoreError> {
        if let Some(file) = self.lock().get(&number) {
            return Ok(Some(file.clone()));
        }
        let file = match File::open(self.path(number)) {
            Ok(file) => Arc::new(file),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(io_failed(error)),
        };
        let mut open = self.lock();
        if open.len() >= OPEN {
            open.clear();
        }
        open.insert(number, file.clone());
        Ok(Some(file))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Arc<File>>> {
        self.open.lock()
    }
}

/// Returns whether a piece is whole and holds the content of a key.
fn is_content(piece: &[u8], place: Place, key: ContentKey) -> bool {
    piece::whole(piece)
        .is_some_and(|header| header.segment == place.segment && header.kind == Kind::Content(key))
}

/// Walks over the pieces of one segment.
pub(crate) struct Walk {
    pub(crate) file: File,
    pub(crate) number: u64,
    /// The position of the next piece, and the checksum of the one before it.
    pub(crate) position: u64,
    pub(crate) previous: u64,
}

impl Walk {
    /// Returns whether the file was cut by something else: every write ends with a page, and the file ends within one
    /// behind the last piece.
    pub(crate) fn is_cut(&self) -> Result<bool, StoreError> {
        let length = self.file.metadata().map_err(io_failed)?.len();
        if length < self.position || length.is_multiple_of(PAGE as u64) {
            return Ok(false);
        }
        let mut header = [0; HEADER];
        let is_there = filled(self.file.read_exact_at(&mut header, self.position))?;
        // Only zeros that were written ahead are missing.
        Ok(!is_there || header != [0; HEADER])
    }

    /// Returns the body of a piece.
    pub(crate) fn body(piece: &[u8]) -> &[u8] {
        piece.get(HEADER..).unwrap_or_default()
    }

    /// Returns the next piece, with its header; none behind the last.
    pub(crate) fn next(&mut self) -> Result<Option<(Kind, Place, Vec<u8>)>, StoreError> {
        let mut header = [0; HEADER];
        if !filled(self.file.read_exact_at(&mut header, self.position))? {
            return Ok(None);
        }
        let Some(header) = piece::Header::read(&header)
            .filter(|header| (header.segment, header.previous) == (self.number, self.previous))
        else {
            return Ok(None);
        };
        // Behind the last piece is anything: a length is believed only up to the file's end.
        let left = self.file.metadata().map_err(io_failed)?.len().saturating_sub(self.position);
        if u64::from(header.length) > left {
            return Ok(None);
        }
        let piece = read_piece(&self.file, self.position, header.length)?;
        let Some(piece) = piece.filter(|piece| piece::whole(piece).is_some()) else {
            return Ok(None);
        };
        let offset = u32::try_from(self.position).map_err(|_| damaged("a segment's length"))?;
        let place = Place { segment: self.number, offset, length: header.length };
        self.position += place.octets();
        self.previous = header.checksum;
        Ok(Some((header.kind, place, piece)))
    }
}

/// Reads a piece with its header; none if the file is too short.
fn read_piece(file: &File, position: u64, length: u32) -> Result<Option<Vec<u8>>, StoreError> {
    let mut piece = vec![0; HEADER + length as usize];
    Ok(filled(file.read_exact_at(&mut piece, position))?.then_some(piece))
}

/// Returns whether a read got all octets that it asked for.
fn filled(read: io::Result<()>) -> Result<bool, StoreError> {
    match read {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(io_failed(error)),
    }
}
