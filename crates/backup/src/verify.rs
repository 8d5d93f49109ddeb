//! Verifying a backup: every pack is read, and everything in it is compared with what was written.

use crate::{
    BackupError, Identity, Manifest, Repository, disk,
    pack::{self, PackId, PackInfo},
};
use posta_store::PIECES;
use std::collections::BTreeSet;

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verified {
    /// Snapshots that were looked at.
    pub snapshots: usize,
    /// Packs that were read.
    pub packs: usize,
    /// The octets of the packs on the disk.
    pub octets: u64,
    /// Pieces of messages that were read; those of an encrypted backup only with the private key.
    pub pieces: u64,
    /// What is wrong, in words.
    pub problems: Vec<String>,
}

/// The most problems that are told.
const TOLD: usize = 100;

impl Verified {
    fn problem(&mut self, words: String) {
        if self.problems.len() < TOLD && !self.problems.contains(&words) {
            self.problems.push(words);
        }
    }
}

impl Repository {
    /// Verifies all snapshots and their packs. Calls `told` before each pack, with the number of packs that were read
    /// and that of all.
    ///
    /// # Errors
    /// When a private key is needed that was not given with others, or the directory cannot be read.
    pub fn verify(
        &self,
        identities: Vec<Identity>,
        mut told: impl FnMut(usize, usize),
    ) -> Result<Verified, BackupError> {
        let mut verified = Verified::default();
        let (mut manifests, mut packs) = (Vec::new(), Vec::<PackInfo>::new());
        let mut named = BTreeSet::new();
        for time in self.snapshots()? {
            verified.snapshots += 1;
            match self.manifest(time) {
                Ok(manifest) => {
                    let new = manifest.packs.iter().filter(|pack| named.insert(pack.id));
                    packs.extend(new.cloned());
                    manifests.push(manifest);
                }
                Err(error) => verified.problem(error.to_string()),
            }
        }
        let mut wrong = BTreeSet::new();
        let count = packs.len();
        for (number, pack) in packs.into_iter().enumerate() {
            told(number, count);
            if let Err(words) = self.verify_pack(&pack) {
                wrong.insert(pack.id);
                verified.problem(words);
            }
            verified.packs += 1;
            verified.octets += pack.octets;
        }
        // Later snapshots share most of what the last one has: only what differs is read again.
        if let Some(last) = manifests.pop()
            && (!self.is_encrypted() || !identities.is_empty())
        {
            self.verify_within(last, identities, &wrong, &mut verified)?;
        }
        Ok(verified)
    }

    fn verify_pack(&self, pack: &PackInfo) -> Result<(), String> {
        let path = self.packs_directory().join(pack.name());
        let octets = disk::read_back(&path, pack::FILE).map_err(|error| error.to_string())?;
        if octets.len() as u64 == pack.octets && disk::sha256(&octets) == pack.sha256 {
            return Ok(());
        }
        Err(format!("{} is not as it was written", path.display()))
    }

    /// Reads every blob of a snapshot.
    fn verify_within(
        &self,
        manifest: Manifest,
        identities: Vec<Identity>,
        wrong: &BTreeSet<PackId>,
        verified: &mut Verified,
    ) -> Result<(), BackupError> {
        let unreadable = manifest.unreadable;
        let mut snapshot = self.read(manifest, identities);
        let tables: Vec<_> = snapshot.manifest().tables().map(str::to_owned).collect();
        for table in tables {
            for number in 0..snapshot.stretches(&table) {
                if table != PIECES {
                    match snapshot.rows(&table, number) {
                        Err(BackupError::WrongIdentity(to)) => {
                            return Err(BackupError::WrongIdentity(to));
                        }
                        Err(error) if wrong.is_empty() => verified.problem(error.to_string()),
                        _ => {}
                    }
                    continue;
                }
                let pieces = match snapshot.pieces(number) {
                    Ok(pieces) => pieces,
                    Err(error) => {
                        verified.problem(error.to_string());
                        continue;
                    }
                };
                for piece in pieces.into_iter().filter_map(|(_, piece)| piece) {
                    if wrong.contains(&piece.place.pack) {
                        continue;
                    }
                    match snapshot.piece(piece) {
                        Ok(_) => verified.pieces += 1,
                        Err(error) => verified.problem(error.to_string()),
                    }
                }
            }
        }
        if let Err(error) = snapshot.key_file() {
            verified.problem(error.to_string());
        }
        if unreadable > 0 {
            verified.problem(format!(
                "{unreadable} pieces of messages could not be read when the backup was made: `posta store check` \
                 names the messages"
            ));
        }
        Ok(())
    }
}
