//! Damage that a start finds: contents that the log no longer has, and a journal of the tables that cannot be read.

mod journal;

use crate::{
    closed,
    error::io_failed,
    log::{Missing, Position, SEGMENT, Segments},
    tables::{
        key_and_value,
        schema::{self, Schema, earlier},
    },
};
use fjall::Database;
use posta_mail::{MailId, Timestamp};
use posta_store::{AccountId, StoreError};
use std::{
    collections::{BTreeMap, HashSet},
    fs::{self, File},
    panic::{self, AssertUnwindSafe},
    path::{Path, PathBuf},
    sync::Mutex,
};

/// The most accounts that are named in the log: nobody reads a longer list.
const NAMED: usize = 20;

/// The name of the directory for a damaged journal, to which a number is appended.
const SET_ASIDE: &str = "damaged-journal";

/// Contents that were found unreadable.
#[derive(Debug, Default)]
pub(crate) struct Lost {
    contents: HashSet<MailId>,
    /// The segments that they should be in, and the damage of these.
    segments: BTreeMap<u64, &'static str>,
    /// The segments that are damaged inside, each with the position up to which it is whole.
    pub(crate) inside: BTreeMap<u64, u64>,
    /// Whether the log has to go on in another segment: there are contents behind its end, lost or not,
    /// or its last file is damaged, which the next start has to see too.
    pub(crate) is_at_end: bool,
}

/// Finds out whether the log's end is missing, and tells of it. What the tables know of is told of by
/// [`tell`]; here it is about what only their journal knew, which was set aside, or nobody, if the file was
/// cut in the middle of something.
pub(crate) fn missing(
    schema: &Schema,
    set_aside: Option<&Path>,
    sound: &BTreeMap<u64, u64>,
    end: Position,
    is_cut: bool,
) -> Result<Option<Missing>, StoreError> {
    let mut told = journal::Told::default();
    let mut lost = HashSet::new();
    if let Some(aside) = set_aside {
        told = journal::read(aside, schema).map_err(io_failed)?;
        for (key, place) in &told.contents {
            let reach = u64::from(place.offset) + place.octets();
            let is_lost = (place.segment, reach) > (end.segment, end.offset)
                || sound.get(&place.segment).is_some_and(|&whole| reach > whole);
            if is_lost && schema.place(*key)?.is_none() {
                lost.insert(schema::content_of(key)?);
            }
        }
    }
    let last = schema.place.iter().next_back().map(key_and_value).transpose()?;
    let last = last.map(|(key, _)| schema::content_of(&key)).transpose()?;
    let after = last.and_then(accepted);
    let since = after.map_or_else(|| "any time".to_owned(), |after| after.to_string());
    let is_short = told.reach.is_some_and(|it| (it.segment, it.offset) > (end.segment, end.offset));
    if is_short || !lost.is_empty() {
        let messages = lost.len() as u64;
        tracing::error!(
            "the end of the log is missing: up to {messages} messages that were accepted after {since} are lost, \
             and so is what was changed since then. Bring the store back from a backup while the server is \
             stopped, or have their senders send them again"
        );
        return Ok(Some(Missing { messages: Some(messages), after }));
    }
    if is_cut {
        tracing::error!(
            "the log was cut: messages that were accepted after {since} may be missing, and nobody knows how \
             many. Bring the store back from a backup while the server is stopped"
        );
        return Ok(Some(Missing { messages: None, after }));
    }
    if set_aside.is_some() {
        match told.reach {
            Some(_) => tracing::info!("the log reaches as far as that journal tells"),
            None => tracing::warn!(
                "that journal does not tell how far the log reached: if the log was damaged with it, messages \
                 that were accepted after {since} are missing"
            ),
        }
    }
    Ok(None)
}

/// Returns the time at which a message was accepted, from its id.
pub(crate) fn accepted(id: MailId) -> Option<Timestamp> {
    let mut octets = [0; 8];
    octets[2..].copy_from_slice(id.to_bytes().first_chunk::<6>()?);
    Timestamp::from_millisecond(i64::from_be_bytes(octets)).ok()
}

/// Looks for contents whose place is behind the end of the log, of the file that it is in, or of what is whole
/// of it, as `sound` has it of some. Unless `is_suspicious`, all of them are looked at only if a file is
/// missing or shorter than it was when the log went on in the next: so a start after a stop costs a look at
/// each file.
pub(crate) fn look(
    schema: &Schema,
    segments: &Segments,
    end: Position,
    sound: &BTreeMap<u64, u64>,
    mut is_suspicious: bool,
) -> Result<Lost, StoreError> {
    let mut lengths = BTreeMap::new();
    for guard in schema.segment.iter() {
        let (key, _) = key_and_value(guard)?;
        let number = schema::Reader(&key).u64()?;
        let length = segments.length(number).map_err(io_failed)?;
        let least = if number < end.segment { SEGMENT } else { end.offset };
        is_suspicious |= length.is_none_or(|length| length < least);
        lengths.insert(number, length);
    }
    let mut lost = Lost::default();
    if !is_suspicious {
        return Ok(lost);
    }
    for guard in schema.place.iter() {
        let (key, value) = key_and_value(guard)?;
        let place = schema::decode_place(&value)?;
        let reach = u64::from(place.offset) + place.octets();
        let is_behind_end = (place.segment, reach) > (end.segment, end.offset);
        lost.is_at_end |= is_behind_end;
        let whole = sound.get(&place.segment).copied().unwrap_or(u64::MAX);
        let is_doubtful = is_behind_end || reach > whole;
        let what = match lengths.get(&place.segment).copied().flatten() {
            None => "is missing",
            Some(length) if length < reach => "is cut off",
            _ if is_doubtful && segments.read(place, schema::chunk_of(&key)?)?.is_none() => {
                lost.inside.insert(place.segment, whole.min(reach - place.octets()));
                if is_behind_end { "ends too soon" } else { "is damaged" }
            }
            _ => continue,
        };
        // Nor may the file be lengthened, or made anew.
        lost.is_at_end |= place.segment == end.segment;
        lost.contents.insert(schema::content_of(&key)?);
        lost.segments.insert(place.segment, what);
    }
    Ok(lost)
}

/// Logs which messages cannot be read. Returns the accounts and the number of messages of each, the largest first.
pub(crate) fn tell(schema: &Schema, lost: &Lost) -> Result<Vec<(String, u64)>, StoreError> {
    if lost.contents.is_empty() {
        return Ok(Vec::new());
    }
    let mut counts: BTreeMap<AccountId, u64> = BTreeMap::new();
    for guard in schema.entry.iter() {
        let (key, value) = key_and_value(guard)?;
        if lost.contents.contains(&schema::decode_entry(&key, &value)?.content) {
            *counts.entry(schema::names_of(&key)?.0).or_default() += 1;
        }
    }
    for guard in schema.mailbox.iter() {
        let (key, value) = key_and_value(guard)?;
        let entry = earlier::decode_entry(&value)?;
        if entry.is_some_and(|entry| lost.contents.contains(&entry.content)) {
            *counts.entry(earlier::decode_key(&key)?.0).or_default() += 1;
        }
    }
    let mut names = BTreeMap::new();
    for account in schema.all_accounts() {
        let account = account?;
        if counts.contains_key(&account.id) {
            names.insert(account.id, account.address);
        }
    }
    let name = |id: AccountId| names.get(&id).map_or_else(|| "?".to_owned(), ToString::to_string);
    let mut whose: Vec<_> = counts.into_iter().map(|(id, count)| (name(id), count)).collect();
    whose.sort_by(|one, other| (other.1, &one.0).cmp(&(one.1, &other.0)));
    for (number, what) in &lost.segments {
        tracing::error!("segment {number} of the log {what}");
    }
    let mut waiting = 0;
    for guard in schema.queue.iter() {
        let (key, _) = key_and_value(guard)?;
        waiting += u64::from(lost.contents.contains(&schema::content_of(&key)?));
    }
    if waiting > 0 {
        tracing::error!("{waiting} messages of the queue cannot be read: their senders are told");
    }
    let messages: u64 = whose.iter().map(|(_, count)| count).sum();
    if messages == 0 {
        return Ok(whose);
    }
    let mut told: Vec<_> =
        whose.iter().take(NAMED).map(|(name, count)| format!("{name} ({count})")).collect();
    if whose.len() > NAMED {
        told.push(format!("{} others", whose.len() - NAMED));
    }
    tracing::error!(
        "{messages} messages cannot be read, of {}: bring the segments back from a backup while the server \
         is stopped; POP3 says so of each, and it can be removed",
        told.join(", ")
    );
    Ok(whose)
}

/// Sets the journal of the tables aside, and empties it: the log has all changes in it that the tables lack. The
/// tables must be closed. Returns the directory of the copy.
pub(crate) fn set_journal_aside(directory: &Path) -> Result<PathBuf, StoreError> {
    let free = |number: &u32| !directory.join(format!("{SET_ASIDE}-{number}")).exists();
    let number = (1..=u32::MAX).find(free).unwrap_or(u32::MAX);
    let aside = directory.join(format!("{SET_ASIDE}-{number}"));
    fs::create_dir(&aside).map_err(io_failed)?;
    for path in journal::files(directory).map_err(io_failed)? {
        if let Some(name) = path.file_name() {
            fs::copy(&path, aside.join(name)).map_err(io_failed)?;
        }
    }
    File::open(&aside).and_then(|aside| aside.sync_all()).map_err(io_failed)?;
    empty_journals(directory)?;
    Ok(aside)
}

/// Opens the engine. Returns none if its journal cannot be read, which it reports by an error or a panic, or cannot be
/// trusted.
pub(crate) fn open_engine(
    directory: &Path,
    open: impl Fn() -> fjall::Result<Database>,
) -> Option<fjall::Result<Database>> {
    use fjall::Error::{Decompress, InvalidTag, InvalidTrailer, JournalRecovery, Unrecoverable};
    // The engine tells of a directory that cannot be read, or that another process has open.
    let lock = closed::lock(directory);
    if lock.is_ok() && !journal::is_in_order(directory).unwrap_or(true) {
        return None;
    }
    drop(lock);
    // One at a time: the program has one place for what a panic says.
    static OPENING: Mutex<()> = Mutex::new(());
    let opening = OPENING.lock();
    let hook = panic::take_hook();
    // A panic is reported by the error instead.
    panic::set_hook(Box::new(|_| {}));
    let opened = panic::catch_unwind(AssertUnwindSafe(&open));
    panic::set_hook(hook);
    drop(opening);
    let is_of_journal = |error: &fjall::Error| {
        matches!(
            error,
            JournalRecovery(_) | InvalidTrailer | InvalidTag(_) | Decompress(_) | Unrecoverable
        )
    };
    match opened {
        Err(_) => None,
        Ok(Err(error)) if is_of_journal(&error) => None,
        Ok(opened) => Some(opened),
    }
}

/// Names where the damage is that keeps a store from being opened, and what helps. The log gives its oldest
/// segments back, so the tables cannot be made anew from it.
pub(crate) fn with_cure(directory: &Path, error: StoreError) -> StoreError {
    let StoreError::Damaged(what) = error else { return error };
    let directory = directory.display();
    StoreError::Damaged(format!(
        "{what}. `posta store check` says what is damaged in {directory}, `posta store repair` makes a new store of what \
         is whole and keeps this one, and `posta restore` brings everything back from a backup"
    ))
}

/// Empties the engine's journal, whose records are all in the tables. Only while it is closed. The newest
/// file stays: without one the engine forgets how far it has counted.
pub(crate) fn empty_journals(directory: &Path) -> Result<(), StoreError> {
    let mut journals = journal::files(directory).map_err(io_failed)?;
    let Some(newest) = journals.pop() else { return Ok(()) };
    for path in journals {
        fs::remove_file(path).map_err(io_failed)?;
    }
    let newest = File::options().write(true).open(newest).map_err(io_failed)?;
    newest.set_len(0).and_then(|()| newest.sync_all()).map_err(io_failed)
}
