//! Encryption as the program age does it (<https://age-encryption.org/v1>), for the recipients that age itself
//! recommends: X25519 keys, written `age1…`. Files that this makes can be opened by any program for age with the private
//! key, `AGE-SECRET-KEY-1…`.
//!
//! A file key of 16 octets, at random, encrypts the content in chunks of 64 KiB (ChaCha20-Poly1305). The header holds the
//! file key once for each recipient, encrypted with a key that follows from an X25519 agreement, and a MAC.
//!
//! The crate `age` does the same, but brings 60 other crates along, for translations, passphrases, SSH keys and armour;
//! the primitives are those of aws-lc-rs, which the program has anyway.

mod bech32;

use aws_lc_rs::{
    aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    agreement::{PrivateKey, UnparsedPublicKey, X25519, agree},
    constant_time, hkdf, hmac, rand,
};
use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD as BASE64};
use std::{fmt, str::FromStr};
use zeroize::Zeroizing;

const VERSION: &[u8] = b"age-encryption.org/v1\n";
const STANZA: &str = "-> X25519 ";
const MAC: &[u8] = b"---";
const WRAPPED_FOR: &[u8] = b"age-encryption.org/v1/X25519";

const PUBLIC: &str = "age";
const PRIVATE: &str = "age-secret-key-";

/// Octets of a key for X25519.
const KEY: usize = 32;

/// Octets of a file key.
const FILE_KEY: usize = 16;

/// Octets of content in a chunk, and those that its tag adds.
const CHUNK: usize = 64 * 1024;
const TAG: usize = 16;

/// The most octets of a header that are looked through.
const HEADER: usize = 64 * 1024;

/// A public key, to which a backup is encrypted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgeRecipient([u8; KEY]);

/// A private key, which opens what was encrypted to its public key.
pub struct Identity {
    secret: PrivateKey,
    text: Zeroizing<String>,
    recipient: AgeRecipient,
}

/// A text is no key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AgeKeyError {
    /// It is no public key.
    #[error(
        "a recipient is a public key of age, `age1…`: `posta backup --new-key FILE` or `age-keygen` makes one"
    )]
    Recipient,
    /// It is no private key.
    #[error("a private key of age begins with `AGE-SECRET-KEY-1`")]
    Identity,
}

impl FromStr for AgeRecipient {
    type Err = AgeKeyError;

    fn from_str(text: &str) -> Result<Self, AgeKeyError> {
        let key = bech32::decode(PUBLIC, text).and_then(|key| key.try_into().ok());
        key.map(Self).ok_or(AgeKeyError::Recipient)
    }
}

impl fmt::Display for AgeRecipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&bech32::encode(PUBLIC, &self.0))
    }
}

impl FromStr for Identity {
    type Err = AgeKeyError;

    fn from_str(text: &str) -> Result<Self, AgeKeyError> {
        let lower = Zeroizing::new(text.to_ascii_lowercase());
        let is_one_case = text == *lower || text == lower.to_ascii_uppercase();
        let key = bech32::decode(PRIVATE, &lower).filter(|_| is_one_case).map(Zeroizing::new);
        let key = key.ok_or(AgeKeyError::Identity)?;
        Self::of(&key).ok_or(AgeKeyError::Identity)
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({})", self.recipient)
    }
}

impl Identity {
    /// Makes a key; none if the system has no randomness.
    #[must_use]
    pub fn generate() -> Option<Self> {
        let mut key = Zeroizing::new([0; KEY]);
        rand::fill(&mut *key).ok()?;
        Self::of(&*key)
    }

    fn of(key: &[u8]) -> Option<Self> {
        let secret = PrivateKey::from_private_key(&X25519, key).ok()?;
        let public = secret.compute_public_key().ok()?;
        let recipient = AgeRecipient(public.as_ref().try_into().ok()?);
        let text = Zeroizing::new(bech32::encode(PRIVATE, key).to_ascii_uppercase());
        Some(Self { secret, text, recipient })
    }

    /// Returns the public key.
    #[must_use]
    pub const fn recipient(&self) -> &AgeRecipient {
        &self.recipient
    }

    /// Returns the text form, which is secret.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.text
    }

    /// Reads the keys in a file of age: one a line, among comments.
    ///
    /// # Errors
    /// [`AgeKeyError::Identity`] if a line is something else, or there is no key.
    pub fn read_all(file: &str) -> Result<Vec<Self>, AgeKeyError> {
        let lines = file.lines().map(str::trim);
        let keys = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
        let keys = keys.map(str::parse).collect::<Result<Vec<_>, _>>()?;
        if keys.is_empty() { Err(AgeKeyError::Identity) } else { Ok(keys) }
    }

    /// Opens a stanza of a header.
    fn unwrap(&self, share: &[u8], body: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let key = wrapping_key(&self.secret, share, share, &self.recipient)?;
        let mut file_key = Zeroizing::new(body.to_vec());
        let opened = cipher(&*key)?.open_in_place(zeros(), Aad::empty(), &mut file_key).ok()?;
        (opened.len() == FILE_KEY).then(|| Zeroizing::new(opened.to_vec()))
    }
}

/// Encrypts octets to recipients; none if the system has no randomness.
pub(crate) fn seal(recipients: &[AgeRecipient], plain: &[u8]) -> Option<Vec<u8>> {
    let mut file_key = Zeroizing::new([0; FILE_KEY]);
    rand::fill(&mut *file_key).ok()?;
    let chunks = plain.len().div_ceil(CHUNK).max(1);
    let mut sealed = Vec::with_capacity(512 + plain.len() + chunks * TAG);
    sealed.extend_from_slice(VERSION);
    for recipient in recipients {
        let mut ours = Zeroizing::new([0; KEY]);
        rand::fill(&mut *ours).ok()?;
        let ours = PrivateKey::from_private_key(&X25519, &*ours).ok()?;
        let share = ours.compute_public_key().ok()?;
        let key = wrapping_key(&ours, &recipient.0, share.as_ref(), recipient)?;
        let mut body = file_key.to_vec();
        cipher(&*key)?.seal_in_place_append_tag(zeros(), Aad::empty(), &mut body).ok()?;
        let stanza =
            format!("{STANZA}{}\n{}\n", BASE64.encode(share.as_ref()), BASE64.encode(body));
        sealed.extend_from_slice(stanza.as_bytes());
    }
    sealed.extend_from_slice(MAC);
    let mac = hmac::sign(&hmac_key(&*file_key)?, &sealed);
    sealed.extend_from_slice(format!(" {}\n", BASE64.encode(mac.as_ref())).as_bytes());
    let mut nonce = [0; FILE_KEY];
    rand::fill(&mut nonce).ok()?;
    sealed.extend_from_slice(&nonce);
    let payload = cipher(&*derived(&*file_key, &nonce, b"payload")?)?;
    for index in 0..chunks {
        let end = plain.len().min((index + 1) * CHUNK);
        let mut chunk = plain.get(index * CHUNK..end)?.to_vec();
        let nonce = chunk_nonce(index as u64, index + 1 == chunks);
        payload.seal_in_place_append_tag(nonce, Aad::empty(), &mut chunk).ok()?;
        sealed.extend_from_slice(&chunk);
    }
    Some(sealed)
}

/// Why a file cannot be opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NotOpened {
    /// None of the keys is one to which it is encrypted.
    Keys,
    /// It is not as it was written.
    Damaged,
}

/// Decrypts a file of age with whichever of the private keys fits.
pub(crate) fn open(identities: &[Identity], sealed: &[u8]) -> Result<Vec<u8>, NotOpened> {
    let (stanzas, header, rest) = read_header(sealed).ok_or(NotOpened::Damaged)?;
    let mut keys = identities.iter().flat_map(|identity| {
        stanzas.iter().filter_map(move |(share, body)| identity.unwrap(share, body))
    });
    let file_key = keys.next().ok_or(NotOpened::Keys)?;
    read_payload(&file_key, header, rest).ok_or(NotOpened::Damaged)
}

/// The X25519 stanzas of a header, the header up to the MAC, and what follows the word before the MAC.
type Header<'s> = (Vec<(Vec<u8>, Vec<u8>)>, &'s [u8], &'s [u8]);

fn read_header(sealed: &[u8]) -> Option<Header<'_>> {
    let mut rest = sealed.strip_prefix(VERSION)?;
    let mut stanzas = Vec::new();
    loop {
        let within = &rest[..rest.len().min(HEADER)];
        if rest.starts_with(MAC) {
            let header = sealed.len() - rest.len() + MAC.len();
            return Some((stanzas, &sealed[..header], &rest[MAC.len()..]));
        }
        let (first, after) = split_line(within)?;
        let (body, after) = split_line(after)?;
        rest = &rest[within.len() - after.len()..];
        // Stanzas of other kinds of recipients are passed over; their bodies may have several lines.
        let Some(share) = first.strip_prefix(STANZA) else {
            let mut line = body;
            while line.len() == 64 {
                let (next, after) = split_line(rest)?;
                (line, rest) = (next, after);
            }
            continue;
        };
        let (share, body) = (BASE64.decode(share).ok()?, BASE64.decode(body).ok()?);
        if share.len() != KEY || body.len() != FILE_KEY + TAG {
            return None;
        }
        stanzas.push((share, body));
    }
}

fn split_line(octets: &[u8]) -> Option<(&str, &[u8])> {
    let end = octets.iter().position(|&octet| octet == b'\n')?;
    Some((str::from_utf8(&octets[..end]).ok()?, &octets[end + 1..]))
}

fn read_payload(file_key: &[u8], header: &[u8], rest: &[u8]) -> Option<Vec<u8>> {
    let (mac, rest) = split_line(rest)?;
    let mac = BASE64.decode(mac.strip_prefix(' ')?).ok()?;
    let expected = hmac::sign(&hmac_key(file_key)?, header);
    constant_time::verify_slices_are_equal(expected.as_ref(), &mac).ok()?;
    let (nonce, rest) = rest.split_at_checked(FILE_KEY)?;
    let payload = cipher(&*derived(file_key, nonce, b"payload")?)?;
    let chunks = rest.len().div_ceil(CHUNK + TAG);
    let mut plain = Vec::with_capacity(rest.len());
    for (index, chunk) in rest.chunks(CHUNK + TAG).enumerate() {
        let is_last = index + 1 == chunks;
        let mut chunk = chunk.to_vec();
        let nonce = chunk_nonce(index as u64, is_last);
        let opened = payload.open_in_place(nonce, Aad::empty(), &mut chunk).ok()?;
        if opened.is_empty() && index > 0 {
            return None;
        }
        plain.extend_from_slice(opened);
    }
    (chunks > 0).then_some(plain)
}

fn chunk_nonce(index: u64, is_last: bool) -> Nonce {
    let mut nonce = [0; NONCE_LEN];
    nonce[3..11].copy_from_slice(&index.to_be_bytes());
    nonce[11] = u8::from(is_last);
    Nonce::assume_unique_for_key(nonce)
}

/// Each of the keys that this is used with encrypts one thing only.
fn zeros() -> Nonce {
    Nonce::assume_unique_for_key([0; NONCE_LEN])
}

fn cipher(key: &[u8]) -> Option<LessSafeKey> {
    UnboundKey::new(&CHACHA20_POLY1305, key).ok().map(LessSafeKey::new)
}

/// Returns the key that encrypts the file key, from an agreement of one key pair with the other's public key.
fn wrapping_key(
    ours: &PrivateKey,
    theirs: &[u8],
    share: &[u8],
    recipient: &AgeRecipient,
) -> Option<Zeroizing<[u8; KEY]>> {
    let theirs = UnparsedPublicKey::new(&X25519, theirs);
    let salt = [share, &recipient.0].concat();
    agree(ours, theirs, (), |shared| derived(shared, &salt, WRAPPED_FOR).ok_or(())).ok()
}

fn hmac_key(file_key: &[u8]) -> Option<hmac::Key> {
    let key = derived(file_key, b"", b"header")?;
    Some(hmac::Key::new(hmac::HMAC_SHA256, &*key))
}

fn derived(secret: &[u8], salt: &[u8], info: &[u8]) -> Option<Zeroizing<[u8; KEY]>> {
    let mut key = Zeroizing::new([0; KEY]);
    let extracted = hkdf::Salt::new(hkdf::HKDF_SHA256, salt).extract(secret);
    extracted.expand(&[info], hkdf::HKDF_SHA256).ok()?.fill(&mut *key).ok()?;
    Some(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_opens_for_its_recipients_only() {
        let [ana, bob, eve] = [(); 3].map(|()| Identity::generate().unwrap());
        let to = [ana.recipient().clone(), bob.recipient().clone()];
        for length in [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK] {
            let plain = vec![b'x'; length];
            let sealed = seal(&to, &plain).unwrap();
            for identity in [&ana, &bob] {
                let again: Identity = identity.expose().parse().unwrap();
                assert_eq!(open(&[again], &sealed), Ok(plain.clone()), "{length}");
            }
            assert_eq!(open(std::slice::from_ref(&eve), &sealed), Err(NotOpened::Keys));
        }
    }

    #[test]
    fn what_was_changed_does_not_open() {
        let ana = Identity::generate().unwrap();
        let sealed = seal(&[ana.recipient().clone()], &[7; 1_000]).unwrap();
        let identities = [ana];
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert!(open(&identities, &changed).is_err(), "octet {at}");
            assert!(open(&identities, &sealed[..at]).is_err(), "cut at {at}");
        }
    }

    /// What the program age 1.1.1 made of the octets "posta\n".
    #[test]
    fn a_file_of_the_program_age_opens() {
        let identity: Identity = AGE_KEY.parse().unwrap();
        assert_eq!(identity.recipient().to_string(), AGE_RECIPIENT);
        let file = base64::engine::general_purpose::STANDARD.decode(AGE_FILE).unwrap();
        assert_eq!(open(&[identity], &file), Ok(b"posta\n".to_vec()));
    }

    const AGE_KEY: &str =
        "AGE-SECRET-KEY-18D4CDK6E43PJKTZPPT7WV9ZFVZ6H4D774DPJVD2DSV2QPZ96TL4SAQ6VF5";
    const AGE_RECIPIENT: &str = "age1vsjeh567y4q782p6x7lsmd20ju7t733uf0lknd95f3l3y6nd9yeqjfh5f7";
    const AGE_FILE: &str = "YWdlLWVuY3J5cHRpb24ub3JnL3YxCi0+IFgyNTUxOSBUZ0RTMUIvQzZOYll2OS9MaXE5ckg1dUhX\
        Z2RpeVl6ZkVHZDBHUlBoOUc4CnlsQ0YydGZJTVhqdURVNUpzME5FRVZEaFJZdGpHZWFPcWtaS2U5bXAzWjgKLS0tIGRiczlW\
        VmhDbjRVYzlRbjNUNWhEK3JwT1FpcEVoRFUwbTI1cmZpcjZMU00KBuBPaBNfN6BKJgIu3WVwhi+yUTmG+Do1k5Fpo2tkQzxP\
        7/k5tvQ=";

    #[test]
    fn what_is_no_key_is_refused() {
        let key = Identity::generate().unwrap();
        let text = key.recipient().to_string();
        assert_eq!(text.parse::<AgeRecipient>().as_ref(), Ok(key.recipient()));
        for wrong in [&text[1..], &text[..60], "age1", "", &text.to_uppercase(), key.expose()] {
            assert_eq!(wrong.parse::<AgeRecipient>(), Err(AgeKeyError::Recipient), "{wrong}");
        }
        assert!(Identity::read_all("# made today\n\n").is_err());
        let file = format!("# public key: {text}\n{}\n", key.expose());
        assert_eq!(Identity::read_all(&file).unwrap().len(), 1);
    }
}
