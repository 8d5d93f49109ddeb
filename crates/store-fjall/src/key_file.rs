//! The key file: a key of its own for each secret that the store keeps sealed.
//!
//! Tables and logs never overwrite: what was written once stands in older files, in backups and in
//! copies for as long as these exist. So a secret is written there only sealed, and its key stands
//! here alone, where it can be overwritten: without the key every copy of the sealed secret, however old, is
//! noise. A copy of the store without the key file shows no secret, and a key file without the store
//! opens nothing.
//!
//! | octets  | field |
//! |---------|-------|
//! | 16      | [`MAGIC`] |
//! | 16      | the file's id, at random |
//! | 32      | zeros |
//! | 32 each | slots: a key for AES-256-GCM, or zeros where there is none |
//!
//! A slot lies within one sector of the disk, so that a write of it happens wholly or not at all. The
//! file is opened anew each time: a file that an operator puts back is used at once.

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey},
    rand,
};
use posta_mail::Secret;
use rustix::{
    fs::{Mode, OFlags},
    io::Errno,
    process::geteuid,
};
use std::{
    collections::BTreeSet,
    ffi::OsString,
    fs::{self, File},
    io::{self, Read as _, Write},
    os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
};
use zeroize::Zeroizing;

const MAGIC: &[u8; 16] = b"posta key file 1";

/// Octets before the first slot.
const HEADER: u64 = 64;

/// Octets of a key, and so of a slot.
const KEY: usize = 32;

/// Octets that are read at a time where slots are looked through.
const PIECE: usize = 64 * 1024;

/// What users other than the owner may do.
const OTHERS: u32 = 0o077;

/// Tells one key file from another.
pub(crate) type FileId = [u8; 16];

/// Why a key cannot be had. Each tells what would help.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeyFileError {
    #[error("the key file {0} is missing: put it back, as from a backup")]
    Missing(PathBuf),
    #[error(
        "other users of this machine can read the key file {0}: `chmod 600 {0}` keeps them out"
    )]
    Exposed(PathBuf),
    #[error(
        "the key file {0} belongs to user {1}, but this program runs as user {2}: `chown {2} {0}`"
    )]
    Owner(PathBuf, u32, u32),
    #[error("{0} is no key file: put the right one there, as from a backup, or move this one away")]
    Kind(PathBuf),
    #[error(
        "the key file {0} is of another store, or was made after the right one was lost: put the right \
         one there, as from a backup, or move this one away"
    )]
    Foreign(PathBuf),
    #[error("the key file {0} does not hold the key any more")]
    Gone(PathBuf),
    #[error("the key file {0} cannot be used: {1}")]
    Io(PathBuf, io::Error),
    #[error("the system has no randomness for a key")]
    Randomness,
}

/// A secret as the store keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sealed {
    /// The file that holds the key, and where in it.
    pub(crate) file: FileId,
    pub(crate) slot: u32,
    pub(crate) nonce: [u8; NONCE_LEN],
    /// The ciphertext, with its tag.
    pub(crate) octets: Vec<u8>,
}

/// Where the key file is, or will be with the first secret.
#[derive(Debug)]
pub(crate) struct KeyFile {
    path: PathBuf,
    /// No slot before this is free.
    next: AtomicU32,
}

impl KeyFile {
    pub(crate) fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), next: AtomicU32::new(0) }
    }

    /// Returns the id of the file that is there for the store that knows the id `known`; makes one
    /// if there is none. A file with keys of another store is refused.
    pub(crate) fn claim(&self, known: Option<FileId>) -> Result<FileId, KeyFileError> {
        let file = match self.open(OFlags::RDONLY) {
            Ok(file) => file,
            Err(KeyFileError::Missing(path)) => {
                if known.is_some() {
                    tracing::warn!(
                        "the key file {} is missing, and a new one is made: what was sealed with the \
                         lost one has to be given again",
                        path.display()
                    );
                }
                return self.create();
            }
            Err(error) => return Err(error),
        };
        self.refuse_exposed(&file)?;
        let id = self.read_id(&file)?;
        // One without keys is nobody's yet: a crash came between making it and noting it.
        if known == Some(id) || self.is_empty(&file)? { Ok(id) } else { Err(self.foreign()) }
    }

    /// Checks that this file is there and can be used.
    pub(crate) fn check(&self, id: FileId) -> Result<(), KeyFileError> {
        let file = self.open(OFlags::RDONLY)?;
        self.refuse_exposed(&file)?;
        if self.read_id(&file)? == id { Ok(()) } else { Err(self.foreign()) }
    }

    fn foreign(&self) -> KeyFileError {
        KeyFileError::Foreign(self.path.clone())
    }

    fn is_empty(&self, file: &File) -> Result<bool, KeyFileError> {
        let mut used = false;
        self.each_slot(file, 0, |_, key| {
            used |= is_key(key);
            !used
        })?;
        Ok(!used)
    }

    /// Makes a file without keys, whole or not at all.
    fn create(&self) -> Result<FileId, KeyFileError> {
        let mut id = FileId::default();
        rand::fill(&mut id).map_err(|_| KeyFileError::Randomness)?;
        let mut header = [0; HEADER as usize];
        header[..16].copy_from_slice(MAGIC);
        header[16..32].copy_from_slice(&id);
        self.next.store(0, Ordering::Relaxed);
        self.write_new(&header).map_err(|error| self.failed(error))?;
        Ok(id)
    }

    fn write_new(&self, header: &[u8]) -> io::Result<()> {
        let mut new = OsString::from(&self.path);
        new.push(".new");
        // A crash may have left one behind.
        match fs::remove_file(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = File::options().write(true).create_new(true).mode(0o600).open(&new)?;
        file.write_all(header)?;
        file.sync_all()?;
        fs::rename(&new, &self.path)?;
        let parent = self.path.parent().filter(|parent| !parent.as_os_str().is_empty());
        File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
    }

    /// Returns the file as it is, for a backup; none if there is none.
    pub(crate) fn copy(&self) -> Result<Option<Vec<u8>>, KeyFileError> {
        let mut file = match self.open(OFlags::RDONLY) {
            Ok(file) => file,
            Err(KeyFileError::Missing(_)) => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut octets = Vec::new();
        file.read_to_end(&mut octets).map_err(|error| self.failed(error))?;
        Ok(Some(octets))
    }

    /// Seals a secret with a new key, which is durable afterwards. `bound` is what the secret
    /// belongs to: it opens for nothing else.
    pub(crate) fn seal(&self, bound: &[u8], secret: &Secret) -> Result<Sealed, KeyFileError> {
        let file = self.open(OFlags::RDWR)?;
        self.refuse_exposed(&file)?;
        let id = self.read_id(&file)?;
        let mut key = Zeroizing::new([0; KEY]);
        rand::fill(&mut *key).map_err(|_| KeyFileError::Randomness)?;
        let mut octets = secret.expose().to_vec();
        let nonce = RandomizedNonceKey::new(&AES_256_GCM, &*key)
            .and_then(|key| key.seal_in_place_append_tag(Aad::from(bound), &mut octets))
            .map_err(|_| KeyFileError::Randomness)?;
        let slot = self.free_slot(&file)?;
        let written = file.write_all_at(&*key, place(slot)).and_then(|()| file.sync_all());
        written.map_err(|error| self.failed(error))?;
        self.next.store(slot + 1, Ordering::Relaxed);
        Ok(Sealed { file: id, slot, nonce: *nonce.as_ref(), octets })
    }

    /// Opens a secret.
    pub(crate) fn unseal(&self, bound: &[u8], sealed: &Sealed) -> Result<Secret, KeyFileError> {
        let file = self.open(OFlags::RDONLY)?;
        self.refuse_exposed(&file)?;
        self.unseal_with(&file, bound, sealed)
    }

    fn unseal_with(
        &self,
        file: &File,
        bound: &[u8],
        sealed: &Sealed,
    ) -> Result<Secret, KeyFileError> {
        if self.read_id(file)? != sealed.file {
            return Err(self.foreign());
        }
        let gone = || KeyFileError::Gone(self.path.clone());
        let mut key = Zeroizing::new([0; KEY]);
        match file.read_exact_at(&mut *key, place(sealed.slot)) {
            Ok(()) if is_key(&*key) => {}
            Ok(()) => return Err(gone()),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Err(gone()),
            Err(error) => return Err(self.failed(error)),
        }
        let mut octets = Zeroizing::new(sealed.octets.clone());
        let nonce = Nonce::assume_unique_for_key(sealed.nonce);
        let key = RandomizedNonceKey::new(&AES_256_GCM, &*key).map_err(|_| gone())?;
        let opened = key.open_in_place(nonce, Aad::from(bound), &mut octets);
        opened.map(|secret| Secret::new(secret)).map_err(|_| gone())
    }

    /// Overwrites the key of a secret that is not needed any more: no copy of it opens afterwards. A slot
    /// that holds another key by now, as in a file from a backup, is left alone.
    pub(crate) fn wipe(&self, bound: &[u8], sealed: &Sealed) -> Result<(), KeyFileError> {
        let file = self.open(OFlags::RDWR)?;
        match self.unseal_with(&file, bound, sealed) {
            Ok(_) => {}
            Err(KeyFileError::Gone(_)) => return Ok(()),
            Err(error) => return Err(error),
        }
        self.clear(&file, sealed.slot)?;
        file.sync_all().map_err(|error| self.failed(error))
    }

    /// Overwrites the keys in all slots but `used`: a crash left them behind between a change of the
    /// store and that of the key file. Returns how many.
    pub(crate) fn sweep(&self, id: FileId, used: &BTreeSet<u32>) -> Result<usize, KeyFileError> {
        let file = self.open(OFlags::RDWR)?;
        if self.read_id(&file)? != id {
            return Err(self.foreign());
        }
        let mut unused = Vec::new();
        self.each_slot(&file, 0, |slot, key| {
            if is_key(key) && !used.contains(&slot) {
                unused.push(slot);
            }
            true
        })?;
        for &slot in &unused {
            self.clear(&file, slot)?;
        }
        if !unused.is_empty() {
            file.sync_all().map_err(|error| self.failed(error))?;
        }
        Ok(unused.len())
    }

    fn clear(&self, file: &File, slot: u32) -> Result<(), KeyFileError> {
        self.next.fetch_min(slot, Ordering::Relaxed);
        file.write_all_at(&[0; KEY], place(slot)).map_err(|error| self.failed(error))
    }

    fn free_slot(&self, file: &File) -> Result<u32, KeyFileError> {
        let mut free = self.next.load(Ordering::Relaxed);
        self.each_slot(file, free, |slot, key| {
            free = slot + u32::from(is_key(key));
            is_key(key)
        })?;
        Ok(free)
    }

    /// Shows the slots from one on, until it is told to stop.
    fn each_slot(
        &self,
        file: &File,
        mut slot: u32,
        mut show: impl FnMut(u32, &[u8]) -> bool,
    ) -> Result<(), KeyFileError> {
        let mut piece = Zeroizing::new(vec![0; PIECE]);
        loop {
            let read = file.read_at(&mut piece, place(slot)).map_err(|error| self.failed(error))?;
            let keys = piece[..read].chunks_exact(KEY);
            if keys.len() == 0 {
                return Ok(());
            }
            for key in keys {
                if !show(slot, key) {
                    return Ok(());
                }
                slot += 1;
            }
        }
    }

    fn open(&self, flags: OFlags) -> Result<File, KeyFileError> {
        let path = || self.path.clone();
        let flags = flags | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = match rustix::fs::open(&self.path, flags, Mode::empty()) {
            Ok(file) => File::from(file),
            Err(Errno::NOENT) => return Err(KeyFileError::Missing(path())),
            Err(Errno::LOOP | Errno::ISDIR) => return Err(KeyFileError::Kind(path())),
            Err(error) => return Err(self.failed(error.into())),
        };
        let metadata = file.metadata().map_err(|error| self.failed(error))?;
        if !metadata.is_file() {
            return Err(KeyFileError::Kind(path()));
        }
        let us = geteuid().as_raw();
        if metadata.uid() != us {
            return Err(KeyFileError::Owner(path(), metadata.uid(), us));
        }
        Ok(file)
    }

    fn refuse_exposed(&self, file: &File) -> Result<(), KeyFileError> {
        let metadata = file.metadata().map_err(|error| self.failed(error))?;
        if metadata.mode() & OTHERS != 0 {
            return Err(KeyFileError::Exposed(self.path.clone()));
        }
        Ok(())
    }

    fn read_id(&self, file: &File) -> Result<FileId, KeyFileError> {
        let mut header = [0; 32];
        let kind = || KeyFileError::Kind(self.path.clone());
        match file.read_exact_at(&mut header, 0) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Err(kind()),
            Err(error) => return Err(self.failed(error)),
        }
        let (magic, id) = header.split_at(16);
        if magic != MAGIC {
            return Err(kind());
        }
        id.try_into().map_err(|_| kind())
    }

    fn failed(&self, error: io::Error) -> KeyFileError {
        KeyFileError::Io(self.path.clone(), error)
    }
}

fn place(slot: u32) -> u64 {
    HEADER + u64::from(slot) * KEY as u64
}

fn is_key(slot: &[u8]) -> bool {
    slot.iter().any(|&octet| octet != 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn made() -> (tempfile::TempDir, KeyFile) {
        let directory = tempfile::tempdir().unwrap();
        let keys = KeyFile::new(&directory.path().join("keys"));
        keys.create().unwrap();
        (directory, keys)
    }

    fn set_mode(keys: &KeyFile, mode: u32) {
        fs::set_permissions(&keys.path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn a_secret_opens_for_what_it_belongs_to() {
        let (_directory, keys) = made();
        let secret = Secret::new(b"secret");
        let sealed = keys.seal(b"one", &secret).unwrap();
        assert!(!sealed.octets.windows(6).any(|at| at == b"secret"));
        assert_eq!(keys.unseal(b"one", &sealed).unwrap(), secret);
        assert!(matches!(keys.unseal(b"two", &sealed), Err(KeyFileError::Gone(_))));
        let mut changed = sealed.clone();
        changed.octets[0] ^= 1;
        assert!(matches!(keys.unseal(b"one", &changed), Err(KeyFileError::Gone(_))));
    }

    /// Slots are used again, and what a copy tells of an old use opens nothing and wipes nothing.
    #[test]
    fn a_wiped_key_is_gone() {
        let (_directory, keys) = made();
        let sealed: Vec<_> =
            (0..5u8).map(|number| keys.seal(&[number], &Secret::new(b"x")).unwrap()).collect();
        assert_eq!(sealed.iter().map(|sealed| sealed.slot).collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
        keys.wipe(&[1], &sealed[1]).unwrap();
        assert!(matches!(keys.unseal(&[1], &sealed[1]), Err(KeyFileError::Gone(_))));
        let again = keys.seal(&[9], &Secret::new(b"y")).unwrap();
        assert_eq!(again.slot, 1);
        keys.wipe(&[1], &sealed[1]).unwrap();
        assert_eq!(keys.unseal(&[9], &again).unwrap(), Secret::new(b"y"));
        assert_eq!(keys.seal(&[7], &Secret::new(b"z")).unwrap().slot, 5);
        assert_eq!(keys.sweep(sealed[0].file, &[0, 2, 4].into()).unwrap(), 3);
        for (number, opens) in [(0, true), (2, true), (3, false), (4, true)] {
            assert_eq!(keys.unseal(&[number], &sealed[usize::from(number)]).is_ok(), opens);
        }
    }

    #[test]
    fn a_file_that_others_can_read_is_refused() {
        let (_directory, keys) = made();
        let sealed = keys.seal(b"one", &Secret::new(b"x")).unwrap();
        assert_eq!(fs::metadata(&keys.path).unwrap().mode() & 0o777, 0o600);
        for open in [0o604, 0o640, 0o666, 0o602] {
            set_mode(&keys, open);
            let refused = keys.unseal(b"one", &sealed).unwrap_err().to_string();
            assert!(refused.contains(&format!("`chmod 600 {}`", keys.path.display())), "{refused}");
            assert!(matches!(keys.seal(b"two", &Secret::new(b"x")), Err(KeyFileError::Exposed(_))));
        }
        set_mode(&keys, 0o600);
        assert_eq!(keys.unseal(b"one", &sealed).unwrap(), Secret::new(b"x"));
    }

    #[test]
    fn the_wrong_file_is_named() {
        let (directory, keys) = made();
        let sealed = keys.seal(b"one", &Secret::new(b"x")).unwrap();
        let right = directory.path().join("right");
        fs::rename(&keys.path, &right).unwrap();
        assert!(matches!(keys.unseal(b"one", &sealed), Err(KeyFileError::Missing(_))));
        keys.create().unwrap();
        assert!(matches!(keys.unseal(b"one", &sealed), Err(KeyFileError::Foreign(_))));
        assert!(matches!(keys.wipe(b"one", &sealed), Err(KeyFileError::Foreign(_))));
        fs::write(&keys.path, "something else").unwrap();
        assert!(matches!(keys.unseal(b"one", &sealed), Err(KeyFileError::Kind(_))));
        fs::remove_file(&keys.path).unwrap();
        std::os::unix::fs::symlink(&right, &keys.path).unwrap();
        assert!(matches!(keys.unseal(b"one", &sealed), Err(KeyFileError::Kind(_))));
        fs::rename(&right, &keys.path).unwrap();
        assert_eq!(keys.unseal(b"one", &sealed).unwrap(), Secret::new(b"x"));
    }
}
