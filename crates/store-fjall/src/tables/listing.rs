//! The lists of maildrops, packed: a block holds the lines of one range of 4,096 UIDs of an inbox.
//!
//! A first login on a million messages would read a million entries, which takes 0.4 s; from packed blocks it takes
//! a tenth of that. Blocks are derived from the entries: a block is right or missing, and where it is missing or
//! damaged the entries are read. A block is written once UIDNEXT has passed its range, so that no message can enter
//! the range any more. It goes into the tables only, since the log has the entries. A transaction that takes an
//! entry out of an inbox also drops the block of its range. The log records that, so a start that replays the log
//! after a crash drops the block, too.

use super::{
    key_and_value,
    removals::{Gone, Names},
    schema::{self, AccountFolder, Listed, Schema},
};
use crate::error::failed;
use fjall::{Readable, Snapshot};
use posta_store::{AccountId, Block, FolderId, StoreError, Summary, Uid};
use std::{mem, ops::RangeInclusive, sync::Arc};
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// First octet of each block.
const VERSION: u8 = 1;

/// The fewest messages for which packing a block pays, unless it has none.
pub(crate) const WORTH_IT: usize = 256;

/// Octets of the checksum at a block's end.
const CHECKSUM: usize = 8;

/// The part of an inbox that was read so far.
#[derive(Default)]
pub(crate) struct Reading {
    /// The blocks in the order of their ranges. None is empty.
    pub(crate) blocks: Vec<Arc<Block>>,
    /// The first UID that was not read.
    pub(crate) next: Uid,
    /// The ranges that should be packed, if they are closed.
    pub(crate) unpacked: Vec<u32>,
    /// The removals whose entries are passed over.
    pub(crate) gone: Gone,
}

impl Reading {
    fn push(&mut self, mut block: Block, is_packed: bool) {
        block.close();
        if !is_packed && block.len() >= WORTH_IT {
            self.unpacked.push(block.covers());
        }
        if !block.is_empty() {
            self.blocks.push(Arc::new(block));
        }
    }
}

impl Schema {
    /// Reads a whole folder from a snapshot. Only inboxes have packed blocks.
    pub(crate) fn read_folder(
        &self,
        snapshot: &Snapshot,
        folder: AccountFolder,
        gone: Gone,
    ) -> Result<Reading, StoreError> {
        let mut reading = Reading { gone, ..Reading::default() };
        if folder.1 == FolderId::INBOX {
            self.read_packed(snapshot, folder, &mut reading)?;
        }
        let rest = reading.next..=Uid(u32::MAX);
        self.read_entries(snapshot, folder, rest, &mut reading)?;
        Ok(reading)
    }

    /// Reads an inbox up to the end of its last packed block.
    fn read_packed(
        &self,
        snapshot: &Snapshot,
        inbox: AccountFolder,
        reading: &mut Reading,
    ) -> Result<(), StoreError> {
        let (account, _) = inbox;
        for guard in snapshot.prefix(&self.listing, account.0.to_be_bytes()) {
            // The entries have what damaged blocks held.
            let Ok((key, value)) = guard.into_inner() else { break };
            let Some(range) = range_of(&key).filter(|&it| it >= Block::range(reading.next)) else {
                continue;
            };
            let Some(block) = decode(account, range, &value) else {
                reading.unpacked.push(range);
                continue;
            };
            let uids = Block::uids(range);
            if reading.next < *uids.start() {
                let before = reading.next..=Uid(uids.start().0 - 1);
                self.read_entries(snapshot, inbox, before, reading)?;
            }
            reading.push(block, true);
            reading.next = Uid(uids.end().0.saturating_add(1));
        }
        Ok(())
    }

    /// Reads the entries of some UIDs, and appends them to a reading.
    pub(crate) fn read_entries(
        &self,
        snapshot: &Snapshot,
        (account, folder): AccountFolder,
        uids: RangeInclusive<Uid>,
        reading: &mut Reading,
    ) -> Result<(), StoreError> {
        let key = |uid| schema::entry_key(account, folder, uid);
        let mut block = Block::new(Block::range(*uids.start()));
        for guard in snapshot.range(&self.entry, key(*uids.start())..=key(*uids.end())) {
            let (key, value) = key_and_value(guard)?;
            let (.., uid) = schema::names_of(&key)?;
            let range = Block::range(uid);
            if block.covers() != range {
                reading.push(mem::replace(&mut block, Block::new(range)), false);
            }
            reading.next = Uid(uid.0.saturating_add(1));
            if reading.gone.has(folder, uid) {
                continue;
            }
            let Listed { octets, number, is_imported } = schema::listed(&value)?;
            let imported = match is_imported {
                true => schema::decode_entry(&key, &value)?.unique_id.imported,
                false => None,
            };
            block.push(Summary { number, octets, uid }, imported.as_deref());
        }
        reading.push(block, false);
        Ok(())
    }

    /// Returns the packed form of a closed range of an inbox, of which no change may be pending; none if packing does not pay.
    /// An empty range is packed, too: the engine keeps removed entries for a while, and a login would walk over
    /// them.
    pub(crate) fn pack(
        &self,
        account: AccountId,
        range: u32,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        let (snapshot, gone) = self.gone.with(account, || self.database.snapshot());
        let mut reading = Reading { gone, ..Reading::default() };
        let inbox = (account, FolderId::INBOX);
        self.read_entries(&snapshot, inbox, Block::uids(range), &mut reading)?;
        Ok(match reading.blocks.pop() {
            None => Some(encode(account, &Block::new(range))),
            Some(block) => (block.len() >= WORTH_IT).then(|| encode(account, &block)),
        })
    }

    /// Forgets all blocks: for a store whose blocks may list more than its entries.
    pub(crate) fn forget_listings(&self) -> Result<(), StoreError> {
        let mut batch = self.database.batch();
        for guard in self.listing.iter() {
            // No login reads beyond a damaged key, either.
            let Ok(key) = guard.key() else { break };
            batch.remove(&self.listing, key);
        }
        batch.commit().map_err(failed)
    }
}

/// Returns the ranges of UIDs that a removal takes messages out of. The decision drops their blocks without looking
/// whether they exist, so that a damaged table of blocks cannot make a removal fail.
pub(crate) fn ranges_of(names: &Names) -> impl Iterator<Item = u32> {
    let mut from = Some(Uid(0));
    std::iter::from_fn(move || {
        let range = Block::range(names.next(from?)?);
        from = Block::uids(range).end().0.checked_add(1).map(Uid);
        Some(range)
    })
}

pub(crate) fn listing_key(account: AccountId, range: u32) -> [u8; 12] {
    let mut key = [0; 12];
    key[..8].copy_from_slice(&account.0.to_be_bytes());
    key[8..].copy_from_slice(&range.to_be_bytes());
    key
}

fn range_of(key: &[u8]) -> Option<u32> {
    key.get(8..)?.try_into().ok().map(u32::from_be_bytes)
}

fn encode(account: AccountId, block: &Block) -> Vec<u8> {
    let mut value = Vec::with_capacity(16 + 10 * block.len());
    value.push(VERSION);
    push(block.len() as u64, &mut value);
    let (mut next, mut last) = (block_start(block.covers()), 0);
    for Summary { number, octets, uid } in block.iter() {
        push(u64::from(uid.0 - next), &mut value);
        push(octets, &mut value);
        push(zigzag(number.wrapping_sub(last) as i64), &mut value);
        (next, last) = (uid.0.wrapping_add(1), number);
    }
    for at in 0..block.len() {
        if let Some(imported) = block.imported(at) {
            push(at as u64, &mut value);
            push(imported.len() as u64, &mut value);
            value.extend_from_slice(imported.as_bytes());
        }
    }
    let checksum = checksum(account, block.covers(), &value);
    value.extend_from_slice(&checksum.to_be_bytes());
    value
}

/// Returns the block of a value that [`encode`] made, or none for any other value.
fn decode(account: AccountId, range: u32, value: &[u8]) -> Option<Block> {
    let (mut value, sum) = value.split_last_chunk::<CHECKSUM>()?;
    if checksum(account, range, value) != u64::from_be_bytes(*sum) {
        return None;
    }
    if *value.split_off_first()? != VERSION {
        return None;
    }
    let (count, uids) = (take(&mut value)?, Block::uids(range));
    let mut messages = Vec::with_capacity(usize::try_from(count).ok()?.min(value.len()));
    let (mut next, mut last) = (uids.start().0, 0_u64);
    for _ in 0..count {
        let uid = Uid(next.checked_add(u32::try_from(take(&mut value)?).ok()?)?);
        let octets = take(&mut value)?;
        let number = last.wrapping_add(unzigzag(take(&mut value)?) as u64);
        if !uids.contains(&uid) {
            return None;
        }
        messages.push(Summary { number, octets, uid });
        (next, last) = (uid.0.wrapping_add(1), number);
    }
    let mut block = Block::with_capacity(range, messages.len());
    let mut imported = take_imported(&mut value)?;
    for (at, message) in messages.into_iter().enumerate() {
        match imported.take_if(|(of, _)| *of == at as u64) {
            Some((_, id)) => {
                block.push(message, Some(id));
                imported = take_imported(&mut value)?;
            }
            None => block.push(message, None),
        }
    }
    imported.is_none().then_some(block)
}

/// Takes the next imported unique-id and the place of its message, or `Some(None)` at the end. Returns none if the
/// value is damaged.
fn take_imported<'v>(value: &mut &'v [u8]) -> Option<Option<(u64, &'v str)>> {
    if value.is_empty() {
        return Some(None);
    }
    let (at, length) = (take(value)?, usize::try_from(take(value)?).ok()?);
    let id = std::str::from_utf8(value.split_off(..length)?).ok()?;
    Some(Some((at, id)))
}

fn block_start(range: u32) -> u32 {
    Block::uids(range).start().0
}

/// Returns the checksum of a block, which covers the account and the range, so that a misplaced block is detected.
fn checksum(account: AccountId, range: u32, value: &[u8]) -> u64 {
    xxh3_64_with_seed(value, account.0.rotate_left(32) ^ u64::from(range))
}

/// Appends a number, seven bits an octet, the least first.
fn push(mut number: u64, value: &mut Vec<u8>) {
    while number >= 0x80 {
        value.push(number as u8 | 0x80);
        number >>= 7;
    }
    value.push(number as u8);
}

fn take(value: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..u64::BITS).step_by(7) {
        let octet = *value.split_off_first()?;
        number |= u64::from(octet & 0x7f) << shift;
        if octet < 0x80 {
            return Some(number);
        }
    }
    None
}

/// Maps numbers of either sign to unsigned ones, small to small.
const fn zigzag(number: i64) -> u64 {
    ((number << 1) ^ (number >> 63)) as u64
}

const fn unzigzag(number: u64) -> i64 {
    (number >> 1) as i64 ^ -((number & 1) as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ACCOUNT: AccountId = AccountId(7);

    fn lines(block: &Block) -> Vec<(Summary, Option<String>)> {
        let line = |(at, summary)| (summary, block.imported(at).map(str::to_owned));
        block.iter().enumerate().map(line).collect()
    }

    fn block() -> Block {
        let mut block = Block::new(3);
        for (at, uid) in Block::uids(3).step().filter(|uid| uid.0 % 5 != 1).enumerate() {
            let number = match at % 11 {
                0 => u64::MAX - at as u64,
                _ => 1_700_000_000_000_000 + at as u64 * 1_000_003,
            };
            let octets = if at % 13 == 0 { u64::MAX / 10_000 } else { at as u64 };
            let imported = (at % 7 == 3).then(|| format!("{at}.x"));
            block.push(Summary { number, octets, uid }, imported.as_deref());
        }
        block
    }

    trait Step {
        fn step(self) -> impl Iterator<Item = Uid>;
    }

    impl Step for RangeInclusive<Uid> {
        fn step(self) -> impl Iterator<Item = Uid> {
            (self.start().0..=self.end().0).map(Uid)
        }
    }

    #[test]
    fn a_block_is_read_as_it_was_written() {
        let block = block();
        let value = encode(ACCOUNT, &block);
        let read = decode(ACCOUNT, 3, &value).unwrap();
        assert_eq!((read.covers(), lines(&read)), (3, lines(&block)));
        let last = Block::range(Uid(u32::MAX));
        let mut block = Block::new(last);
        block.push(Summary { number: 0, octets: 0, uid: Uid(u32::MAX) }, Some("last"));
        let value = encode(ACCOUNT, &block);
        assert_eq!(lines(&decode(ACCOUNT, last, &value).unwrap()), lines(&block));
    }

    #[test]
    fn what_is_damaged_or_elsewhere_is_no_block() {
        let value = encode(ACCOUNT, &block());
        assert!(decode(AccountId(8), 3, &value).is_none());
        assert!(decode(ACCOUNT, 4, &value).is_none());
        for at in (0..value.len()).step_by(97) {
            assert!(decode(ACCOUNT, 3, &value[..at]).is_none(), "cut at {at}");
            let mut other = value.clone();
            other[at] ^= 0x10;
            assert!(decode(ACCOUNT, 3, &other).is_none(), "changed at {at}");
        }
    }

    /// Even with a checksum that is right.
    #[test]
    fn nonsense_is_no_block() {
        for body in [&[2, 0][..], &[1], &[1, 1, 0], &[1, 1, 0xff, 0x20, 0, 0], &[1, 0, 0, 0]] {
            let mut value = body.to_vec();
            value.extend_from_slice(&checksum(ACCOUNT, 3, body).to_be_bytes());
            assert!(decode(ACCOUNT, 3, &value).is_none(), "{body:?}");
        }
    }
}
