//! The records of large removals.

use super::{RECORD_VERSION, Reader, damaged, decode_time, encode_time};
use crate::tables::removals::{Names, Progress, Removal};
use posta_store::{AccountId, FolderId, ModSeq, StoreError, Uid};
use roaring::RoaringBitmap;

/// UIDs whose names stand in one record at most: 512 KiB, whichever they are.
const WINDOW: u32 = 1 << 22;

/// The mod-sequence by which a removal is known, and the number of one of its records.
pub(crate) type RemovingKey = [u8; 10];

pub(crate) fn removing_key(first: ModSeq, part: u16) -> RemovingKey {
    let mut key = [0; 10];
    key[..8].copy_from_slice(&first.0.to_be_bytes());
    key[8..].copy_from_slice(&part.to_be_bytes());
    key
}

pub(crate) fn decode_removing_key(key: &[u8]) -> Result<(ModSeq, u16), StoreError> {
    let mut reader = Reader(key);
    Ok((ModSeq(reader.u64()?), reader.u16()?))
}

/// The records of a removal that is decided: one that tells how far it is, then the names.
pub(crate) fn encode_removal(removal: &Removal) -> Result<Vec<(RemovingKey, Vec<u8>)>, StoreError> {
    let next = Progress { next: Uid(0), mod_seq: removal.first };
    let mut records = vec![(removing_key(removal.first, 0), encode_progress(removal, next))];
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
        records.push((removing_key(removal.first, records.len() as u16), value));
    }
    Ok(records)
}

/// The record that tells of a removal and how far it is.
pub(crate) fn encode_progress(removal: &Removal, progress: Progress) -> Vec<u8> {
    let below = match removal.names {
        Names::Below(below) => below,
        Names::These(_) => Uid(0),
    };
    let mut value = vec![RECORD_VERSION];
    value.extend_from_slice(&removal.account.0.to_be_bytes());
    value.extend_from_slice(&removal.folder.0.to_be_bytes());
    value.extend_from_slice(&encode_time(removal.time));
    value.extend_from_slice(&encode_time(removal.purge));
    value.extend_from_slice(&below.0.to_be_bytes());
    value.extend_from_slice(&progress.next.0.to_be_bytes());
    value.extend_from_slice(&progress.mod_seq.0.to_be_bytes());
    value
}

pub(crate) fn decode_progress(
    first: ModSeq,
    value: &[u8],
) -> Result<(Removal, Progress), StoreError> {
    let mut reader = Reader(value);
    reader.version()?;
    let (account, folder) = (AccountId(reader.u64()?), FolderId(reader.u32()?));
    let mut time = || decode_time(&reader.take::<8>()?);
    let (time, purge) = (time()?, time()?);
    let names = match Uid(reader.u32()?) {
        Uid(0) => Names::These(RoaringBitmap::new()),
        below => Names::Below(below),
    };
    let progress = Progress { next: Uid(reader.u32()?), mod_seq: ModSeq(reader.u64()?) };
    Ok((Removal { account, folder, time, purge, first, names }, progress))
}

/// Reads the names in one of the other records.
pub(crate) fn decode_names(value: &[u8]) -> Result<RoaringBitmap, StoreError> {
    RoaringBitmap::deserialize_from(value).map_err(|_| damaged("the names of a removal"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use posta_mail::Timestamp;

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
            let records = encode_removal(&removal(Names::These(uids.clone()))).unwrap();
            let octets: usize = records.iter().map(|(_, value)| value.len()).sum();
            assert!(octets < at_most, "{step}: {octets}");
            assert!(records.iter().all(|(_, value)| value.len() < 600_000), "{step}");
            let parts = records[1..].iter().map(|(_, value)| decode_names(value));
            let all = parts.fold(RoaringBitmap::new(), |all, part| all | part.unwrap());
            assert_eq!(all, uids, "{step}");
        }
    }

    #[test]
    fn a_removal_is_read_as_it_was_written() {
        let progress = Progress { next: Uid(5), mod_seq: ModSeq(1_700_000_000_000_009) };
        let all = removal(Names::Below(Uid(9)));
        let read = decode_progress(all.first, &encode_progress(&all, progress)).unwrap();
        assert_eq!(read, (all, progress));
        let some = removal(Names::These(RoaringBitmap::new()));
        let value = encode_progress(&some, progress);
        assert_eq!(decode_progress(some.first, &value).unwrap(), (some.clone(), progress));
        for length in 0..value.len() {
            assert!(decode_progress(some.first, &value[..length]).is_err(), "{length}");
        }
    }
}
