//! Reading the parts of a backup from octets, whoever wrote them: a backup may lie where others can write.

use crate::{
    BackupError, Identity, Manifest, PieceAt,
    age::{self, NotOpened},
    damaged, pack,
};

/// Reads a snapshot's file without its checksum, which whoever writes one can make.
///
/// # Errors
/// When it is none.
pub fn snapshot(octets: &[u8]) -> Result<Manifest, BackupError> {
    serde_json::from_slice(octets).map_err(|error| damaged(error.to_string()))
}

/// Reads the value of a row of the list of pieces. Returns the octets that the piece has, and those that it takes.
///
/// # Errors
/// When it is none.
pub fn piece(value: &[u8]) -> Result<Option<(u32, u32)>, BackupError> {
    Ok(PieceAt::read(value)?.map(|piece| (piece.place.octets, piece.place.stored)))
}

/// Takes the blob at a place, which a row of the list of pieces names, out of the octets of a pack.
///
/// # Errors
/// When there is none.
pub fn blob(pack: &[u8], place: &[u8]) -> Result<Vec<u8>, BackupError> {
    let found = PieceAt::read(place)?.and_then(|piece| pack::blob_in(pack, piece.place));
    found.ok_or_else(|| damaged("there is no blob"))
}

/// Opens an encrypted pack.
///
/// # Errors
/// When it is none, or encrypted to others.
pub fn sealed(identities: &[Identity], file: &[u8]) -> Result<Vec<u8>, BackupError> {
    age::open(identities, file).map_err(|why| match why {
        NotOpened::Keys => BackupError::WrongIdentity("others".to_owned()),
        NotOpened::Damaged => damaged("the pack does not open"),
    })
}
