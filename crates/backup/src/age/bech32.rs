//! Bech32 (BIP 173), the text form of age's keys, with a checksum that finds mistyped characters.

const ALPHABET: &[u8; 32] = b"qpzry9x8gf2tvdw0s3jn54khce6mua7l";
const GENERATOR: [u32; 5] = [0x3b6a_57b2, 0x2650_8e6d, 0x1ea1_19fa, 0x3d42_33dd, 0x2a14_62b3];
const SEPARATOR: char = '1';

/// Characters of the checksum.
const SUM: usize = 6;

/// Returns octets as text behind a prefix, in lower case.
pub(super) fn encode(prefix: &str, octets: &[u8]) -> String {
    let mut values = convert(octets, 8, 5, true).unwrap_or_default();
    let sum = polymod(expanded(prefix).chain(values.iter().copied()).chain([0; SUM])) ^ 1;
    values.extend((0..SUM).map(|at| (sum >> (5 * (SUM - 1 - at)) & 31) as u8));
    let text = values.into_iter().map(|value| char::from(ALPHABET[usize::from(value)]));
    format!("{prefix}{SEPARATOR}{}", text.collect::<String>())
}

/// Returns the octets of a text in lower case with this prefix; none if it is not one.
pub(super) fn decode(prefix: &str, text: &str) -> Option<Vec<u8>> {
    let data = text.strip_prefix(prefix)?.strip_prefix(SEPARATOR)?;
    let value = |octet| ALPHABET.iter().position(|&known| known == octet).map(|at| at as u8);
    let values = data.bytes().map(value).collect::<Option<Vec<u8>>>()?;
    let (data, _) = values.split_last_chunk::<SUM>()?;
    if polymod(expanded(prefix).chain(values.iter().copied())) != 1 {
        return None;
    }
    convert(data, 5, 8, false)
}

fn expanded(prefix: &str) -> impl Iterator<Item = u8> {
    prefix.bytes().map(|octet| octet >> 5).chain([0]).chain(prefix.bytes().map(|octet| octet & 31))
}

fn polymod(values: impl Iterator<Item = u8>) -> u32 {
    values.fold(1, |sum, value| {
        let top = sum >> 25;
        let next = (sum & 0x1ff_ffff) << 5 ^ u32::from(value);
        let bits = GENERATOR.iter().enumerate().filter(|(bit, _)| top >> bit & 1 == 1);
        bits.fold(next, |next, (_, generator)| next ^ generator)
    })
}

/// Regroups bits. Without padding, bits that are left must be zeros, and fewer than in a group.
fn convert(values: &[u8], from: u32, to: u32, pads: bool) -> Option<Vec<u8>> {
    let (mut held, mut bits, mut out) = (0_u32, 0, Vec::new());
    let mask = (1 << to) - 1;
    for &value in values {
        held = held << from | u32::from(value);
        bits += from;
        while bits >= to {
            bits -= to;
            out.push((held >> bits & mask) as u8);
        }
        held &= (1 << bits) - 1;
    }
    if pads && bits > 0 {
        out.push((held << (to - bits) & mask) as u8);
    } else if bits >= from || held != 0 {
        return None;
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_reversible_and_mistakes_are_found() {
        for length in 0..40_u8 {
            let octets: Vec<u8> = (0..length).map(|at| at.wrapping_mul(37)).collect();
            let text = encode("age", &octets);
            assert_eq!(decode("age", &text), Some(octets), "{text}");
            for at in 4..text.len() {
                let other = if text.as_bytes()[at] == b'q' { 'p' } else { 'q' };
                let mut wrong = text.clone();
                wrong.replace_range(at..=at, &other.to_string());
                assert_eq!(decode("age", &wrong), None, "{wrong}");
            }
        }
        // BIP 173's own.
        assert_eq!(decode("a", "a12uel5l"), Some(Vec::new()));
        assert_eq!(decode("a", "a12uel5m"), None);
    }
}
