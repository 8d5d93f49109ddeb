//! Large removals: each is decided in one transaction, which names what goes, and carried out in pieces later.
//!
//! The table `removing` holds the decision until it is carried out wholly, so a restart goes on with it. Until then
//! the entries stand in their table, and everybody who reads asks here which of them are gone. A name that is
//! gone is never given again, so it does no harm to ask about one whose entry has been taken out meanwhile.

use super::{
    key_and_value,
    schema::{self, Schema},
};
use parking_lot::RwLock;
use posta_mail::Timestamp;
use posta_store::{AccountId, FolderId, ModSeq, StoreError, Uid};
use roaring::RoaringBitmap;
use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

/// UIDs whose names stand in one record at most: 512 KiB, whichever they are.
const WINDOW: u32 = 1 << 22;

/// A removal that was decided.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Removal {
    pub(crate) account: AccountId,
    pub(crate) folder: FolderId,
    pub(crate) time: Timestamp,
    pub(crate) purge: Timestamp,
    /// The mod-sequence of the first message that goes; those of the others follow it, in the order of their UIDs.
    /// No other removal has the same, so it names this one.
    pub(crate) first: ModSeq,
    pub(crate) names: Names,
}

/// What is removed from a folder.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Names {
    /// Everything that has a smaller UID: the account is removed.
    Below(Uid),
    /// These UIDs, in which something stood when it was decided.
    These(RoaringBitmap),
}

impl Names {
    pub(crate) fn contains(&self, uid: Uid) -> bool {
        match self {
            Self::Below(next) => uid < *next,
            Self::These(uids) => uids.contains(uid.0),
        }
    }

    /// Returns the first of the names that is not before a UID.
    pub(crate) fn next(&self, from: Uid) -> Option<Uid> {
        match self {
            Self::Below(next) => (from < *next).then_some(from),
            Self::These(uids) => uids.range(from.0..).next().map(Uid),
        }
    }
}

/// How far a removal is carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Progress {
    /// What is below is out of its table.
    pub(crate) next: Uid,
    /// The mod-sequence of the message that goes next.
    pub(crate) mod_seq: ModSeq,
}

/// The removals that are decided and not carried out. Only the committing thread changes them.
#[derive(Debug, Default)]
pub(crate) struct Removals {
    all: RwLock<Vec<Arc<Removal>>>,
    /// Counts the decisions.
    decided: AtomicU64,
}

impl Removals {
    pub(crate) fn add(&self, removal: Arc<Removal>) {
        let mut all = self.all.write();
        all.push(removal);
        self.decided.fetch_add(1, Ordering::SeqCst);
    }

    /// Forgets a removal that is carried out.
    pub(crate) fn done(&self, first: ModSeq) {
        self.all.write().retain(|removal| removal.first != first);
    }

    /// Returns what is gone of an account. For the committing thread: others ask by [`Removals::with`].
    pub(crate) fn of(&self, account: AccountId) -> Gone {
        let all = self.all.read();
        Gone(all.iter().filter(|removal| removal.account == account).cloned().collect())
    }

    /// Begins to read, and returns what is gone of an account at the same moment. What is begun, an iterator or
    /// a snapshot, must read what stood when it was made: else it might see a removal that was decided since
    /// half carried out.
    pub(crate) fn with<T>(&self, account: AccountId, begin: impl Fn() -> T) -> (T, Gone) {
        loop {
            let decided = self.decided.load(Ordering::SeqCst);
            // Before the reading: one that is carried out wholly between the two is not seen in the tables.
            let gone = self.of(account);
            let begun = begin();
            if self.decided.load(Ordering::SeqCst) == decided {
                return (begun, gone);
            }
        }
    }
}

/// What is gone of an account, though its entries may stand in their table.
#[derive(Debug, Clone, Default)]
pub(crate) struct Gone(pub(crate) Vec<Arc<Removal>>);

impl Gone {
    pub(crate) fn has(&self, folder: FolderId, uid: Uid) -> bool {
        self.0.iter().any(|removal| removal.folder == folder && removal.names.contains(uid))
    }
}

/// The records of a removal that is decided: one that tells how far it is, then the names.
pub(crate) fn encode(removal: &Removal) -> Result<Vec<(schema::RemovingKey, Vec<u8>)>, StoreError> {
    let next = Progress { next: Uid(0), mod_seq: removal.first };
    let mut records = vec![(schema::removing_key(removal.first, 0), encode_head(removal, next))];
    let Names::These(uids) = &removal.names else { return Ok(records) };
    let mut rest = uids.iter().peekable();
    while let Some(&first) = rest.peek() {
        let last = first | (WINDOW - 1);
        let some = std::iter::from_fn(|| rest.next_if(|&uid| uid <= last));
        let mut part: RoaringBitmap = some.collect();
        part.optimize();
        let mut value = Vec::with_capacity(part.serialized_size());
        let failed = |error: std::io::Error| StoreError::Failed(error.to_string());
        part.serialize_into(&mut value).map_err(failed)?;
        records.push((schema::removing_key(removal.first, records.len() as u16), value));
    }
    Ok(records)
}

/// The record that tells of a removal and how far it is.
pub(crate) fn encode_head(removal: &Removal, progress: Progress) -> Vec<u8> {
    let below = match removal.names {
        Names::Below(below) => below,
        Names::These(_) => Uid(0),
    };
    let mut value = vec![schema::RECORD_VERSION];
    value.extend_from_slice(&removal.account.0.to_be_bytes());
    value.extend_from_slice(&removal.folder.0.to_be_bytes());
    value.extend_from_slice(&schema::encode_time(removal.time));
    value.extend_from_slice(&schema::encode_time(removal.purge));
    value.extend_from_slice(&below.0.to_be_bytes());
    value.extend_from_slice(&progress.next.0.to_be_bytes());
    value.extend_from_slice(&progress.mod_seq.0.to_be_bytes());
    value
}

fn decode_head(first: ModSeq, value: &[u8]) -> Result<(Removal, Progress), StoreError> {
    let mut reader = schema::Reader(value);
    reader.version()?;
    let (account, folder) = (AccountId(reader.u64()?), FolderId(reader.u32()?));
    let mut time = || schema::decode_time(&reader.take::<8>()?);
    let (time, purge) = (time()?, time()?);
    let names = match Uid(reader.u32()?) {
        Uid(0) => Names::These(RoaringBitmap::new()),
        below => Names::Below(below),
    };
    let progress = Progress { next: Uid(reader.u32()?), mod_seq: ModSeq(reader.u64()?) };
    Ok((Removal { account, folder, time, purge, first, names }, progress))
}

impl Schema {
    /// Reads the removals that the last run decided and did not carry out, in the order of the decisions.
    pub(crate) fn removals(&self) -> Result<Vec<(Removal, Progress)>, StoreError> {
        let mut found: Vec<(Removal, Progress)> = Vec::new();
        for guard in self.removing.iter() {
            let (key, value) = key_and_value(guard)?;
            let (first, part) = schema::decode_removing_key(&key)?;
            if part == 0 {
                found.push(decode_head(first, &value)?);
                continue;
            }
            let damaged = || StoreError::Damaged("the names of a removal".to_owned());
            let names = RoaringBitmap::deserialize_from(&value[..]).map_err(|_| damaged())?;
            match found.last_mut() {
                Some((Removal { first: of, names: Names::These(all), .. }, _)) if *of == first => {
                    *all |= names;
                }
                _ => return Err(damaged()),
            }
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn removal(names: Names) -> Removal {
        Removal {
            account: AccountId(7),
            folder: FolderId(3),
            time: Timestamp::from_second(1_700_000_000).unwrap(),
            purge: Timestamp::from_second(1_700_600_000).unwrap(),
            first: ModSeq(1_700_000_000_000_000),
            names,
        }
    }

    /// A million names take little, whichever they are, and no record is large.
    #[test]
    fn names_are_packed() {
        let every = |step: u32| (1..=1_000_000_u32).map(move |at| at * step).collect();
        for (step, at_most) in [(1, 150_000), (2, 300_000), (1_000, 2_200_000), (4_000, 4_000_000)]
        {
            let uids: RoaringBitmap = every(step);
            let records = encode(&removal(Names::These(uids.clone()))).unwrap();
            let octets: usize = records.iter().map(|(_, value)| value.len()).sum();
            assert!(octets < at_most, "{step}: {octets}");
            assert!(records.iter().all(|(_, value)| value.len() < 600_000), "{step}");
            let parts =
                records[1..].iter().map(|(_, value)| RoaringBitmap::deserialize_from(&value[..]));
            let all = parts.fold(RoaringBitmap::new(), |all, part| all | part.unwrap());
            assert_eq!(all, uids, "{step}");
        }
    }

    #[test]
    fn a_removal_is_read_as_it_was_written() {
        let progress = Progress { next: Uid(5), mod_seq: ModSeq(1_700_000_000_000_009) };
        let all = removal(Names::Below(Uid(9)));
        let read = decode_head(all.first, &encode_head(&all, progress)).unwrap();
        assert_eq!(read, (all, progress));
        let some = removal(Names::These(RoaringBitmap::new()));
        let value = encode_head(&some, progress);
        assert_eq!(decode_head(some.first, &value).unwrap(), (some.clone(), progress));
        for length in 0..value.len() {
            assert!(decode_head(some.first, &value[..length]).is_err(), "{length}");
        }
    }

    /// A reader that begins while a removal is decided begins anew.
    #[test]
    fn what_is_gone_belongs_to_what_is_read() {
        let removals = Removals::default();
        let added = std::cell::Cell::new(0);
        let ((), gone) = removals.with(AccountId(7), || {
            if added.replace(added.get() + 1) == 0 {
                removals.add(Arc::new(removal(Names::Below(Uid(9)))));
            }
        });
        assert_eq!(added.get(), 2);
        assert!(gone.has(FolderId(3), Uid(8)) && !gone.has(FolderId(3), Uid(9)));
        assert!(!gone.has(FolderId(2), Uid(8)));
        assert!(!removals.of(AccountId(6)).has(FolderId(3), Uid(8)));
        removals.done(ModSeq(1_700_000_000_000_000));
        assert!(!removals.of(AccountId(7)).has(FolderId(3), Uid(8)));
    }
}
