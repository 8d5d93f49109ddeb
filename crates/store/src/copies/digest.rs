//! What a whole store has, as counts and checksums that are the same for the same things in any engine.

use super::{ContentRecord, Copies, PAGE, Page, Part, decode_secret, filling::PieceReader};
use crate::StoreError;
use xxhash_rust::xxh3::Xxh3;

/// What a part of a store has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PartDigest {
    /// The number of rows.
    pub rows: u64,
    /// The sum of the rows' checksums (XXH3, 128 bits), so that their order does not matter.
    pub sum: u128,
}

/// What a store has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Digest(pub Vec<(Part, PartDigest)>);

impl Digest {
    /// Returns the number of rows of a part.
    #[must_use]
    pub fn rows(&self, part: Part) -> u64 {
        self.0.iter().find(|(it, _)| *it == part).map_or(0, |(_, of_part)| of_part.rows)
    }

    /// Returns the parts in which two stores differ.
    #[must_use]
    pub fn differences(&self, other: &Self) -> Vec<Part> {
        let both = self.0.iter().zip(&other.0);
        both.filter(|(one, other)| one != other).map(|((part, _), _)| *part).collect()
    }
}

/// Reads a whole store, each message with all its octets. `told` is told the part, and the octets of every page and
/// piece.
///
/// # Errors
/// As the methods of [`Copies`].
pub async fn digest(
    store: &dyn Copies,
    told: &mut (dyn FnMut(Part, u64) + Send),
) -> Result<Digest, StoreError> {
    let mut all = Vec::with_capacity(Part::ALL.len());
    for part in Part::ALL {
        let (mut of_part, mut after) = (PartDigest::default(), None);
        loop {
            let Page { rows, next } = store.page(part, after, PAGE).await?;
            for (key, value) in rows.iter() {
                let sum = match part {
                    Part::Contents => content(store, key, value, told).await?,
                    Part::Secrets => secret(store, key).await?,
                    _ => sum(&[key, value]),
                };
                of_part.rows += 1;
                of_part.sum = of_part.sum.wrapping_add(sum);
            }
            told(part, rows.octets().len() as u64);
            after = next;
            if after.is_none() {
                break;
            }
        }
        all.push((part, of_part));
    }
    Ok(Digest(all))
}

/// Returns a checksum of some fields, each with its length.
fn sum(fields: &[&[u8]]) -> u128 {
    let mut hash = Xxh3::new();
    fields.iter().for_each(|field| update(&mut hash, field));
    hash.digest128()
}

fn update(hash: &mut Xxh3, field: &[u8]) {
    hash.update(&(field.len() as u64).to_be_bytes());
    hash.update(field);
}

/// Returns the checksum of a content, however an engine divides it into rows.
async fn content(
    store: &dyn Copies,
    key: &[u8],
    value: &[u8],
    told: &mut (dyn FnMut(Part, u64) + Send),
) -> Result<u128, StoreError> {
    let record = ContentRecord::decode(key, value)?;
    let mut hash = Xxh3::new();
    update(&mut hash, key);
    update(&mut hash, &record.refs.to_be_bytes());
    if let Some(whole) = &record.whole {
        update(&mut hash, &0_u32.to_be_bytes());
        update(&mut hash, whole);
        return Ok(hash.digest128());
    }
    let mut pieces = PieceReader::new(store, &record);
    while let Some((key, octets)) = pieces.next().await? {
        update(&mut hash, &key.index.to_be_bytes());
        update(&mut hash, &octets);
        told(Part::Contents, octets.len() as u64);
    }
    Ok(hash.digest128())
}

async fn secret(store: &dyn Copies, key: &[u8]) -> Result<u128, StoreError> {
    let secret = store.secret(decode_secret(key)?).await?;
    Ok(sum(&[key, secret.as_ref().map_or(&[][..], |secret| secret.expose())]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checksum_knows_where_fields_end() {
        assert_ne!(sum(&[b"ab", b"c"]), sum(&[b"a", b"bc"]));
        assert_ne!(sum(&[b"a", b"b"]), sum(&[b"b", b"a"]));
        assert_eq!(sum(&[b"a", b"b"]), sum(&[b"a", b"b"]));
    }

    #[test]
    fn differences_are_named() {
        let of = |sum| Digest(vec![(Part::Items, PartDigest { rows: 1, sum })]);
        assert_eq!(of(1).differences(&of(2)), [Part::Items]);
        assert!(of(1).differences(&of(1)).is_empty());
    }
}
