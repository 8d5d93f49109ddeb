//! Maildrops that were opened lately, so that a login does not read the whole mailbox again.
//!
//! The committing thread says which inboxes its changes touch. A view that nothing has touched since is handed
//! out as it is, without a look at the tables. What comes into an inbox has a greater UID than all before it, so
//! a view is brought up to date by reading what is behind its end, and, where messages left, the ranges that
//! they were in. All logins on a mailbox that wait at the same moment share one reading; whoever comes while it
//! goes on is served by the next, which finds what was committed meanwhile.

use super::{listing::Reading, schema::Schema};
use futures_channel::oneshot;
use parking_lot::{Mutex, MutexGuard};
use posta_store::{AccountId, Block, Maildrop, StoreError, Uid};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap, hash_map::Entry},
    mem,
    sync::Arc,
};

/// Messages in all views: 18 octets each. The view that was opened last may have more.
const MESSAGES: usize = 2_000_000;

/// What a view takes besides its messages, counted in messages.
const OVERHEAD: usize = 32;

/// Seconds after which a view is given up that nobody has used.
const UNUSED: u64 = 180;

/// Ranges that wait to be packed at most. Others are asked for again at the next login.
const TO_PACK: usize = 4_096;

/// A login that waits for a maildrop.
type Waiting = oneshot::Sender<Result<Arc<Maildrop>, StoreError>>;

/// What is to be waited for.
pub(crate) type Reader = oneshot::Receiver<Result<Arc<Maildrop>, StoreError>>;

#[derive(Debug, Default)]
pub(crate) struct Views(Mutex<Known>);

/// What becomes of a login.
pub(crate) enum Opening {
    /// The maildrop is known as it is now.
    Known(Arc<Maildrop>),
    /// Somebody reads it. If nobody did so before, the caller has [`Views::read`] called.
    Reading { outcome: Reader, is_first: bool },
}

#[derive(Debug, Default)]
struct Known {
    views: HashMap<AccountId, View>,
    /// The views, those first that were not used for the longest time.
    by_use: BTreeMap<u64, AccountId>,
    /// Counts uses.
    uses: u64,
    /// Messages in all views, and what counts as such.
    messages: usize,
    readings: HashMap<AccountId, Ongoing>,
    /// Ranges of UIDs to be packed.
    to_pack: BTreeSet<(AccountId, u32)>,
    /// About when it is, in seconds.
    second: u64,
}

#[derive(Debug, Clone, Default)]
struct View {
    maildrop: Arc<Maildrop>,
    /// The UID behind the last that was read.
    next: Uid,
    changes: Changes,
    /// Its place in the order of uses, and when that was.
    last_use: u64,
    second: u64,
}

/// What a view lacks.
#[derive(Debug, Clone, Default)]
struct Changes {
    /// Whether messages arrived.
    arrived: bool,
    /// Ranges that messages have left.
    left: BTreeSet<u32>,
    /// Whether it is of no use any more.
    is_void: bool,
}

/// A reading that goes on.
#[derive(Debug, Default)]
struct Ongoing {
    /// Those who came after it began.
    waiting: Vec<Waiting>,
    /// What has changed since then.
    changes: Changes,
}

impl Views {
    /// Opens a maildrop.
    pub(crate) fn open(&self, account: AccountId) -> Opening {
        let mut known = self.lock();
        if let Some(view) = known.views.get(&account)
            && view.changes.is_none()
        {
            let maildrop = view.maildrop.clone();
            known.use_view(account);
            return Opening::Known(maildrop);
        }
        let (waiting, outcome) = oneshot::channel();
        let is_first = match known.readings.entry(account) {
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

    /// Reads a maildrop for all who wait for it, until nobody does.
    pub(crate) fn read(
        &self,
        schema: impl Fn() -> Result<Arc<Schema>, StoreError>,
        account: AccountId,
    ) {
        // Even after a panic somebody must be the first again.
        let ending = Ending { views: self, account };
        while let Some((waiting, before)) = self.begin(account) {
            // Kept until the view is: the tables are not opened anew before that.
            let schema = schema();
            let read = schema.as_ref().map_err(Clone::clone);
            let read = read.and_then(|schema| bring_up_to_date(schema, account, before));
            let outcome = read.map(|(view, unpacked)| {
                let maildrop = view.maildrop.clone();
                self.keep(account, view);
                self.want_packed(account, unpacked);
                maildrop
            });
            for waiting in waiting {
                // Whoever asked may be gone.
                let _ = waiting.send(outcome.clone());
            }
        }
        mem::forget(ending);
    }

    /// Begins a reading: takes those who wait, and the view that there is. Ends if nobody waits any more.
    fn begin(&self, account: AccountId) -> Option<(Vec<Waiting>, View)> {
        let mut known = self.lock();
        let ongoing = known.readings.get_mut(&account)?;
        ongoing.waiting.retain(|waiting| !waiting.is_canceled());
        if ongoing.waiting.is_empty() {
            known.readings.remove(&account);
            return None;
        }
        ongoing.changes = Changes::default();
        let waiting = mem::take(&mut ongoing.waiting);
        Some((waiting, known.views.get(&account).cloned().unwrap_or_default()))
    }

    /// Keeps a view that was read, with what has changed while it was.
    fn keep(&self, account: AccountId, view: View) {
        let mut known = self.lock();
        let changes = known.readings.get_mut(&account).map(|it| mem::take(&mut it.changes));
        let changes = changes.unwrap_or_default();
        known.remove(account);
        if changes.is_void {
            return;
        }
        known.messages += view.cost();
        known.views.insert(account, View { changes, ..view });
        known.use_view(account);
        known.make_room();
    }

    /// Says what a batch has changed: the inboxes that messages came into, and the ranges of UIDs of inboxes
    /// that messages left. Before anybody is told that it is committed.
    pub(crate) fn change(&self, arrived: Vec<AccountId>, left: BTreeSet<(AccountId, u32)>) {
        if arrived.is_empty() && left.is_empty() {
            return;
        }
        let mut known = self.lock();
        for account in arrived {
            known.change(account, |changes| changes.arrived = true);
        }
        for (account, range) in left {
            known.change(account, |changes| {
                changes.left.insert(range);
            });
        }
    }

    /// Forgets a mailbox.
    pub(crate) fn forget(&self, account: AccountId) {
        let mut known = self.lock();
        known.change(account, |changes| changes.is_void = true);
        known.remove(account);
    }

    /// Forgets all mailboxes.
    pub(crate) fn forget_all(&self) {
        let mut known = self.lock();
        let Known { readings, second, .. } = mem::take(&mut *known);
        (known.readings, known.second) = (readings, second);
        known.readings.values_mut().for_each(|ongoing| ongoing.changes.is_void = true);
    }

    /// Gives up the views that nobody has used for a while, except for those that sessions have: what these
    /// take is in memory anyway.
    pub(crate) fn give_up_unused(&self, second: u64) {
        let mut known = self.lock();
        known.second = second;
        while let Some((_, &account)) = known.by_use.first_key_value()
            && let Some(view) = known.views.get(&account)
            && view.second.saturating_add(UNUSED) <= second
        {
            match Arc::strong_count(&view.maildrop) {
                1 => known.remove(account),
                _ => known.use_view(account),
            }
        }
    }

    /// Asks for ranges of UIDs to be packed once they are closed, when there is time for that.
    pub(crate) fn want_packed(&self, account: AccountId, ranges: impl IntoIterator<Item = u32>) {
        let mut known = self.lock();
        for range in ranges {
            if known.to_pack.len() < TO_PACK {
                known.to_pack.insert((account, range));
            }
        }
    }

    /// Takes a range that is to be packed.
    pub(crate) fn next_to_pack(&self) -> Option<(AccountId, u32)> {
        self.lock().to_pack.pop_first()
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.lock()
    }
}

/// Ends a reading that a panic breaks off: those who wait hear that nobody reads.
struct Ending<'v> {
    views: &'v Views,
    account: AccountId,
}

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.views.lock().readings.remove(&self.account);
    }
}

impl Known {
    /// Notes a change of a mailbox, wherever that matters.
    fn change(&mut self, account: AccountId, change: impl Fn(&mut Changes)) {
        if let Some(view) = self.views.get_mut(&account) {
            change(&mut view.changes);
        }
        if let Some(ongoing) = self.readings.get_mut(&account) {
            change(&mut ongoing.changes);
        }
    }

    /// Makes a view the one that was used last.
    fn use_view(&mut self, account: AccountId) {
        let Some(view) = self.views.get_mut(&account) else { return };
        self.by_use.remove(&view.last_use);
        self.uses += 1;
        (view.last_use, view.second) = (self.uses, self.second);
        self.by_use.insert(self.uses, account);
    }

    fn remove(&mut self, account: AccountId) {
        if let Some(view) = self.views.remove(&account) {
            self.messages -= view.cost();
            self.by_use.remove(&view.last_use);
        }
    }

    /// Gives up views that were not used for the longest time, until there is room, or one is left.
    fn make_room(&mut self) {
        while self.messages > MESSAGES
            && self.views.len() > 1
            && let Some((_, &account)) = self.by_use.first_key_value()
        {
            self.remove(account);
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

/// Reads what a view lacks, of one that was never read all. Returns the ranges that should be packed, too.
fn bring_up_to_date(
    schema: &Schema,
    account: AccountId,
    before: View,
) -> Result<(View, Vec<u32>), StoreError> {
    let View { mut maildrop, next, changes, .. } = before;
    let (snapshot, gone) = schema.gone.with(account, || schema.database.snapshot());
    if next == Uid(0) {
        let Reading { blocks, next, unpacked, .. } = schema.read_inbox(&snapshot, account, gone)?;
        let unpacked = closed(unpacked, next);
        let maildrop = Arc::new(Maildrop::from_blocks(blocks));
        return Ok((View { maildrop, next, ..View::default() }, unpacked));
    }
    let mut reading = Reading { gone: gone.clone(), ..Reading::default() };
    let mut behind = Reading { next, gone, ..Reading::default() };
    for &range in changes.left.range(..=Block::range(next)) {
        let uids = Block::uids(range);
        let read = *uids.start()..=Uid(next.0 - 1).min(*uids.end());
        if !read.is_empty() {
            schema.read_entries(&snapshot, account, read, &mut reading)?;
        }
    }
    if !changes.left.is_empty() {
        let mut blocks: BTreeMap<u32, Arc<Block>> =
            maildrop.blocks().map(|block| (block.covers(), block.clone())).collect();
        blocks.retain(|range, _| !changes.left.contains(range));
        blocks.extend(reading.blocks.into_iter().map(|block| (block.covers(), block)));
        maildrop = Arc::new(Maildrop::from_blocks(blocks.into_values()));
    }
    schema.read_entries(&snapshot, account, next..=Uid(u32::MAX), &mut behind)?;
    if !behind.blocks.is_empty() {
        let mut whole = Maildrop::clone(&maildrop);
        let blocks = behind.blocks.iter();
        let lines = blocks.flat_map(|it| (0..it.len()).map(|at| (it.get(at), it.imported(at))));
        whole.extend(lines.filter_map(|(message, imported)| Some((message?, imported))));
        maildrop = Arc::new(whole);
    }
    let unpacked = closed(reading.unpacked, behind.next);
    Ok((View { maildrop, next: behind.next, ..View::default() }, unpacked))
}

/// Those of some ranges that are closed, as far as a reader can know.
fn closed(mut ranges: Vec<u32>, next: Uid) -> Vec<u32> {
    ranges.retain(|&range| range < Block::range(next));
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

    fn view(maildrop: &Arc<Maildrop>) -> View {
        let next = Uid(maildrop.len() as u32 + 1);
        View { maildrop: maildrop.clone(), next, ..View::default() }
    }

    fn known(views: &Views) -> Vec<u64> {
        let mut known: Vec<_> = views.lock().views.keys().map(|account| account.0).collect();
        known.sort_unstable();
        known
    }

    #[test]
    fn the_view_that_was_not_used_for_the_longest_time_goes_first() {
        let (views, half) = (Views::default(), maildrop(MESSAGES / 2 - OVERHEAD));
        views.keep(AccountId(1), view(&half));
        views.keep(AccountId(2), view(&half));
        assert!(matches!(views.open(AccountId(1)), Opening::Known(_)));
        views.keep(AccountId(3), view(&half));
        assert_eq!(known(&views), [1, 3]);
        // One that is read again is not counted twice.
        views.keep(AccountId(3), view(&half));
        assert_eq!(known(&views), [1, 3]);
        // One that is larger than all may be has the place for itself.
        views.keep(AccountId(4), view(&maildrop(MESSAGES + 1)));
        assert_eq!(known(&views), [4]);
        assert_eq!(views.lock().by_use.len(), 1);
        views.forget(AccountId(4));
        let known = views.lock();
        assert_eq!((known.messages, known.by_use.len()), (0, 0));
    }

    #[test]
    fn a_view_that_nobody_uses_is_given_up() {
        let views = Views::default();
        views.give_up_unused(1_000);
        let held = maildrop(3);
        views.keep(AccountId(1), view(&held));
        views.keep(AccountId(2), view(&maildrop(5)));
        views.keep(AccountId(3), view(&maildrop(7)));
        views.give_up_unused(1_000 + UNUSED - 1);
        assert!(matches!(views.open(AccountId(3)), Opening::Known(_)));
        views.give_up_unused(1_000 + UNUSED);
        assert_eq!(known(&views), [1, 3], "one is held by a session, one was used since");
        drop(held);
        views.give_up_unused(1_000 + 2 * UNUSED);
        assert_eq!(known(&views).len(), 0);
        assert_eq!(views.lock().messages, 0);
    }

    #[test]
    fn what_changes_during_a_reading_is_not_forgotten() {
        let (views, ana) = (Views::default(), AccountId(1));
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
