//! Views of maildrops that were opened lately, so that a login does not read the whole mailbox again.
//!
//! The committing thread reports which folders its changes touch. A view that no change has touched is handed out
//! without a look at the tables. A message that arrives has a greater UID than all before it, so a view is brought up
//! to date by reading the entries behind its end and the ranges of UIDs that messages have left. All logins that wait
//! for one folder at the same moment share one reading. A login that comes during a reading is served by the next,
//! which includes all changes that were committed meanwhile.

use super::{
    listing::Reading,
    schema::{AccountFolder, Schema},
};
use futures_channel::oneshot;
use parking_lot::{Mutex, MutexGuard};
use posta_store::{AccountId, Block, FolderId, Maildrop, StoreError, Uid};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap, hash_map::Entry},
    mem,
    sync::Arc,
};

/// The most messages in all views, 18 octets each. The view that was opened last may have more.
const MESSAGES: usize = 2_000_000;

/// The memory of a view besides its messages, counted in messages.
const OVERHEAD: usize = 32;

/// Seconds without use after which a view is dropped.
const UNUSED: u64 = 180;

/// The most ranges that wait to be packed. The next login asks for others again.
const TO_PACK: usize = 4_096;

/// The answer to a login that waits for a maildrop.
type Waiting = oneshot::Sender<Result<Arc<Maildrop>, StoreError>>;

/// The maildrop that a login waits for.
pub(crate) type Reader = oneshot::Receiver<Result<Arc<Maildrop>, StoreError>>;

#[derive(Debug, Default)]
pub(crate) struct Views(Mutex<Known>);

/// The outcome of [`Views::open`].
pub(crate) enum Opening {
    /// The maildrop is known and up to date.
    Known(Arc<Maildrop>),
    /// The maildrop is being read. If `is_first`, the caller must have a thread call [`Views::read`].
    Reading { outcome: Reader, is_first: bool },
}

#[derive(Debug, Default)]
struct Known {
    views: HashMap<AccountFolder, View>,
    /// The views by their last use, the earliest first.
    by_use: BTreeMap<u64, AccountFolder>,
    /// The number of uses so far.
    uses: u64,
    /// The messages of all views, with [`OVERHEAD`] for each view.
    messages: usize,
    readings: HashMap<AccountFolder, Ongoing>,
    /// The ranges of UIDs of inboxes that are to be packed.
    to_pack: BTreeSet<(AccountId, u32)>,
    /// The time in seconds, roughly.
    second: u64,
}

#[derive(Debug, Clone, Default)]
struct View {
    maildrop: Arc<Maildrop>,
    /// The first UID that was not read.
    next: Uid,
    changes: Changes,
    /// The number of the last use, and its time in seconds.
    last_use: u64,
    second: u64,
}

/// The changes of a folder that a view does not include.
#[derive(Debug, Clone, Default)]
struct Changes {
    /// Whether messages arrived.
    arrived: bool,
    /// The ranges of UIDs that messages have left.
    left: BTreeSet<u32>,
    /// Whether the view is useless.
    is_void: bool,
}

/// A reading under way.
#[derive(Debug, Default)]
struct Ongoing {
    /// The logins that came after it began.
    waiting: Vec<Waiting>,
    /// The changes since it began.
    changes: Changes,
}

impl Views {
    /// Opens a maildrop.
    pub(crate) fn open(&self, folder: AccountFolder) -> Opening {
        let mut known = self.lock();
        if let Some(view) = known.views.get(&folder)
            && view.changes.is_none()
        {
            let maildrop = view.maildrop.clone();
            known.use_view(folder);
            return Opening::Known(maildrop);
        }
        let (waiting, outcome) = oneshot::channel();
        let is_first = match known.readings.entry(folder) {
            Entry::Occupied(mut ongoing) => {
                ongoing.get_mut().waiting.push(waiting);
                false
            }
            Entry::Vacant(none) => {
                none.insert(Ongoing { waiting: vec![waiting], ..Ongoing::default() });
                true
            }
        };
        Opening::Reading { outcome, is_first }
    }

    /// Reads a maildrop for all logins that wait for it, until none does.
    pub(crate) fn read(
        &self,
        schema: impl Fn() -> Result<Arc<Schema>, StoreError>,
        folder: AccountFolder,
    ) {
        // After a panic, the next login must be the first again.
        let ending = Ending { views: self, folder };
        while let Some((waiting, before)) = self.begin(folder) {
            // Held until the view is kept: the tables are not closed before that.
            let schema = schema();
            let read = schema.as_ref().map_err(Clone::clone);
            let read = read.and_then(|schema| bring_up_to_date(schema, folder, before));
            let outcome = read.map(|(view, unpacked)| {
                let maildrop = view.maildrop.clone();
                self.keep(folder, view);
                self.want_packed(folder.0, unpacked);
                maildrop
            });
            for waiting in waiting {
                // The caller may be gone.
                let _ = waiting.send(outcome.clone());
            }
        }
        mem::forget(ending);
    }

    /// Begins a reading. Returns the logins that wait and the view so far, or none if no login waits any more.
    fn begin(&self, folder: AccountFolder) -> Option<(Vec<Waiting>, View)> {
        let mut known = self.lock();
        let ongoing = known.readings.get_mut(&folder)?;
        ongoing.waiting.retain(|waiting| !waiting.is_canceled());
        if ongoing.waiting.is_empty() {
            known.readings.remove(&folder);
            return None;
        }
        ongoing.changes = Changes::default();
        let waiting = mem::take(&mut ongoing.waiting);
        Some((waiting, known.views.get(&folder).cloned().unwrap_or_default()))
    }

    /// Keeps a view, with the changes that were reported while it was read.
    fn keep(&self, folder: AccountFolder, view: View) {
        let mut known = self.lock();
        let changes = known.readings.get_mut(&folder).map(|it| mem::take(&mut it.changes));
        let changes = changes.unwrap_or_default();
        known.remove(folder);
        if changes.is_void {
            return;
        }
        known.messages += view.cost();
        known.views.insert(folder, View { changes, ..view });
        known.use_view(folder);
        known.make_room();
    }

    /// Reports the changes of a batch: the folders that messages arrived in, and the ranges of UIDs that messages
    /// left. Must be called before the callers learn that the batch is committed.
    pub(crate) fn change(&self, arrived: Vec<AccountFolder>, left: BTreeSet<(AccountFolder, u32)>) {
        if arrived.is_empty() && left.is_empty() {
            return;
        }
        let mut known = self.lock();
        for folder in arrived {
            known.change(folder, |changes| changes.arrived = true);
        }
        for (folder, range) in left {
            known.change(folder, |changes| {
                changes.left.insert(range);
            });
        }
    }

    /// Forgets the view of a folder.
    pub(crate) fn forget(&self, folder: AccountFolder) {
        let mut known = self.lock();
        known.change(folder, |changes| changes.is_void = true);
        known.remove(folder);
    }

    /// Forgets all views.
    pub(crate) fn forget_all(&self) {
        let mut known = self.lock();
        let Known { readings, second, .. } = mem::take(&mut *known);
        (known.readings, known.second) = (readings, second);
        known.readings.values_mut().for_each(|ongoing| ongoing.changes.is_void = true);
    }

    /// Drops the views without a use for [`UNUSED`] seconds, except for those that sessions hold, which are in memory
    /// anyway.
    pub(crate) fn give_up_unused(&self, second: u64) {
        let mut known = self.lock();
        known.second = second;
        while let Some((_, &folder)) = known.by_use.first_key_value()
            && let Some(view) = known.views.get(&folder)
            && view.second.saturating_add(UNUSED) <= second
        {
            match Arc::strong_count(&view.maildrop) {
                1 => known.remove(folder),
                _ => known.use_view(folder),
            }
        }
    }

    /// Asks for ranges of UIDs of an inbox to be packed once they are closed and the committing thread is idle.
    pub(crate) fn want_packed(&self, account: AccountId, ranges: impl IntoIterator<Item = u32>) {
        let mut known = self.lock();
        for range in ranges {
            if known.to_pack.len() < TO_PACK {
                known.to_pack.insert((account, range));
            }
        }
    }

    /// Takes the next range that is to be packed, with its account.
    pub(crate) fn next_to_pack(&self) -> Option<(AccountId, u32)> {
        self.lock().to_pack.pop_first()
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.lock()
    }
}

/// Ends a reading that a panic breaks off: the logins that wait get an error.
struct Ending<'v> {
    views: &'v Views,
    folder: AccountFolder,
}

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.views.lock().readings.remove(&self.folder);
    }
}

impl Known {
    /// Records a change of a folder with its view and with a reading under way.
    fn change(&mut self, folder: AccountFolder, change: impl Fn(&mut Changes)) {
        if let Some(view) = self.views.get_mut(&folder) {
            change(&mut view.changes);
        }
        if let Some(ongoing) = self.readings.get_mut(&folder) {
            change(&mut ongoing.changes);
        }
    }

    /// Records a use of a view.
    fn use_view(&mut self, folder: AccountFolder) {
        let Some(view) = self.views.get_mut(&folder) else { return };
        self.by_use.remove(&view.last_use);
        self.uses += 1;
        (view.last_use, view.second) = (self.uses, self.second);
        self.by_use.insert(self.uses, folder);
    }

    fn remove(&mut self, folder: AccountFolder) {
        if let Some(view) = self.views.remove(&folder) {
            self.messages -= view.cost();
            self.by_use.remove(&view.last_use);
        }
    }

    /// Drops views, the least recently used first, until there is room or one is left.
    fn make_room(&mut self) {
        while self.messages > MESSAGES
            && self.views.len() > 1
            && let Some((_, &folder)) = self.by_use.first_key_value()
        {
            self.remove(folder);
        }
    }
}

impl View {
    fn cost(&self) -> usize {
        self.maildrop.len() + OVERHEAD
    }
}

impl Changes {
    fn is_none(&self) -> bool {
        !self.arrived && self.left.is_empty() && !self.is_void
    }
}

/// Brings a view up to date; one without any reading so far is read whole. Returns the view, and the ranges that
/// should be packed: none of another folder than the inbox.
fn bring_up_to_date(
    schema: &Schema,
    folder: AccountFolder,
    before: View,
) -> Result<(View, Vec<u32>), StoreError> {
    let View { mut maildrop, next, changes, .. } = before;
    let (snapshot, gone) = schema.gone.with(folder.0, || schema.database.snapshot());
    if next == Uid(0) {
        let Reading { blocks, next, unpacked, .. } = schema.read_folder(&snapshot, folder, gone)?;
        let unpacked = closed(folder, unpacked, next);
        let maildrop = Arc::new(Maildrop::from_blocks(blocks));
        return Ok((View { maildrop, next, ..View::default() }, unpacked));
    }
    let mut reading = Reading { gone: gone.clone(), ..Reading::default() };
    let mut behind = Reading { next, gone, ..Reading::default() };
    for &range in changes.left.range(..=Block::range(next)) {
        let uids = Block::uids(range);
        let read = *uids.start()..=Uid(next.0 - 1).min(*uids.end());
        if !read.is_empty() {
            schema.read_entries(&snapshot, folder, read, &mut reading)?;
        }
    }
    if !changes.left.is_empty() {
        let mut blocks: BTreeMap<u32, Arc<Block>> =
            maildrop.blocks().map(|block| (block.covers(), block.clone())).collect();
        blocks.retain(|range, _| !changes.left.contains(range));
        blocks.extend(reading.blocks.into_iter().map(|block| (block.covers(), block)));
        maildrop = Arc::new(Maildrop::from_blocks(blocks.into_values()));
    }
    schema.read_entries(&snapshot, folder, next..=Uid(u32::MAX), &mut behind)?;
    if !behind.blocks.is_empty() {
        let mut whole = Maildrop::clone(&maildrop);
        let blocks = behind.blocks.iter();
        let lines = blocks.flat_map(|it| (0..it.len()).map(|at| (it.get(at), it.imported(at))));
        whole.extend(lines.filter_map(|(message, imported)| Some((message?, imported))));
        maildrop = Arc::new(whole);
    }
    let unpacked = closed(folder, reading.unpacked, behind.next);
    Ok((View { maildrop, next: behind.next, ..View::default() }, unpacked))
}

/// Returns the ranges of an inbox that are closed, as far as a reader can know.
fn closed((_, folder): AccountFolder, mut ranges: Vec<u32>, next: Uid) -> Vec<u32> {
    ranges.retain(|&range| folder == FolderId::INBOX && range < Block::range(next));
    ranges
}

#[cfg(test)]
mod tests {
    use super::*;
    use posta_store::Summary;

    fn maildrop(messages: usize) -> Arc<Maildrop> {
        let line = |uid| (Summary { number: uid, octets: 9, uid: Uid(uid as u32) }, None::<&str>);
        Arc::new((1..=messages as u64).map(line).collect())
    }

    const fn inbox(account: u64) -> AccountFolder {
        (AccountId(account), FolderId::INBOX)
    }

    fn view(maildrop: &Arc<Maildrop>) -> View {
        let next = Uid(maildrop.len() as u32 + 1);
        View { maildrop: maildrop.clone(), next, ..View::default() }
    }

    fn known(views: &Views) -> Vec<u64> {
        let mut known: Vec<_> = views.lock().views.keys().map(|(account, _)| account.0).collect();
        known.sort_unstable();
        known
    }

    #[test]
    fn the_view_that_was_not_used_for_the_longest_time_goes_first() {
        let (views, half) = (Views::default(), maildrop(MESSAGES / 2 - OVERHEAD));
        views.keep(inbox(1), view(&half));
        views.keep(inbox(2), view(&half));
        assert!(matches!(views.open(inbox(1)), Opening::Known(_)));
        views.keep(inbox(3), view(&half));
        assert_eq!(known(&views), [1, 3]);
        // One that is read again is not counted twice.
        views.keep(inbox(3), view(&half));
        assert_eq!(known(&views), [1, 3]);
        // One that is larger than all may be has the place for itself.
        views.keep(inbox(4), view(&maildrop(MESSAGES + 1)));
        assert_eq!(known(&views), [4]);
        assert_eq!(views.lock().by_use.len(), 1);
        views.forget(inbox(4));
        let known = views.lock();
        assert_eq!((known.messages, known.by_use.len()), (0, 0));
    }

    #[test]
    fn a_view_that_nobody_uses_is_given_up() {
        let views = Views::default();
        views.give_up_unused(1_000);
        let held = maildrop(3);
        views.keep(inbox(1), view(&held));
        views.keep(inbox(2), view(&maildrop(5)));
        views.keep(inbox(3), view(&maildrop(7)));
        views.give_up_unused(1_000 + UNUSED - 1);
        assert!(matches!(views.open(inbox(3)), Opening::Known(_)));
        views.give_up_unused(1_000 + UNUSED);
        assert_eq!(known(&views), [1, 3], "one is held by a session, one was used since");
        drop(held);
        views.give_up_unused(1_000 + 2 * UNUSED);
        assert_eq!(known(&views).len(), 0);
        assert_eq!(views.lock().messages, 0);
    }

    #[test]
    fn what_changes_during_a_reading_is_not_forgotten() {
        let (views, ana) = (Views::default(), inbox(1));
        let Opening::Reading { is_first: true, .. } = views.open(ana) else {
            panic!("it is known")
        };
        // Those who left need no reading.
        assert!(views.begin(ana).is_none());
        let Opening::Reading { outcome, is_first: true } = views.open(ana) else { panic!("known") };
        let (waiting, _) = views.begin(ana).unwrap();
        let Opening::Reading { outcome: other, is_first: false } = views.open(ana) else {
            panic!("known")
        };
        views.change(vec![ana], [(ana, 0)].into());
        views.keep(ana, view(&maildrop(3)));
        drop((waiting, outcome));
        let view = views.lock().views[&ana].clone();
        assert!(view.changes.arrived && view.changes.left.contains(&0));
        assert!(matches!(views.open(ana), Opening::Reading { is_first: false, .. }));
        // What is void is not kept at all.
        views.begin(ana).unwrap();
        drop(other);
        views.forget(ana);
        views.keep(ana, view);
        assert_eq!(known(&views).len(), 0);
    }
}
