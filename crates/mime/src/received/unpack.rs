//! Unpacking what a stranger packed: gzip, and archives (ZIP) with one file, as a stream with limits.
//!
//! An archive is read by its only local file header, without its directory: what a report needs of the format is little,
//! and the `zip` crate, which was looked at, brings a dozen formats along and reads an archive by its directory, which
//! may say something else than the files do. Sizes that an archive declares are never relied on, only compared.

use super::ReportError;
use flate2::{
    Crc,
    bufread::{DeflateDecoder, GzDecoder},
};
use std::io::{self, Read};

/// The maximal number of octets that a file unpacks to.
const UNPACKED: u64 = 32 << 20;

/// The number of octets that any file may unpack to, however small it is.
const FREE: u64 = 1 << 20;

/// The maximal number of octets that one octet of a file unpacks to, beyond [`FREE`]. Reports reach 60; the format
/// would allow 1,032.
const RATIO: u64 = 200;

/// The size of a local file header without its name and extra field.
const HEADER: usize = 30;

/// A file as it is unpacked.
pub(super) struct Unpacker<'a> {
    source: Source<'a>,
    unpacked: u64,
    packed: u64,
}

enum Source<'a> {
    Plain(&'a [u8]),
    Gzip(Box<GzDecoder<&'a [u8]>>),
    Zip(Box<ZipFile<'a>>),
}

impl<'a> Unpacker<'a> {
    /// Begins to unpack a file; one that is not packed is read as it is.
    ///
    /// # Errors
    /// When the file is an archive that cannot be a report.
    pub(super) fn new(file: &'a [u8]) -> Result<Self, ReportError> {
        let source = match file {
            [0x1f, 0x8b, ..] => Source::Gzip(Box::new(GzDecoder::new(file))),
            [b'P', b'K', 3, 4, ..] => Source::Zip(Box::new(ZipFile::new(file)?)),
            _ => Source::Plain(file),
        };
        Ok(Self { source, unpacked: 0, packed: file.len() as u64 })
    }
}

impl Read for Unpacker<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = match &mut self.source {
            Source::Plain(rest) => rest.read(buffer),
            Source::Gzip(decoder) => decoder.read(buffer),
            Source::Zip(file) => file.read(buffer),
        }?;
        self.unpacked += read as u64;
        if self.unpacked > UNPACKED {
            return Err(ReportError::Bomb("it has more than 32 MiB").into());
        }
        if self.unpacked > FREE + self.packed * RATIO {
            return Err(ReportError::Bomb("it is packed more than 200 times").into());
        }
        Ok(read)
    }
}

/// The only file of an archive.
struct ZipFile<'a> {
    data: ZipData<'a>,
    crc: Crc,
    read: u64,
    /// What the header declares; none if that follows the data.
    declared: Option<ZipSizes>,
}

enum ZipData<'a> {
    Stored {
        rest: &'a [u8],
        after: &'a [u8],
    },
    Deflated {
        decoder: DeflateDecoder<&'a [u8]>,
        octets: &'a [u8],
    },
    /// Everything has been read and compared.
    Done,
}

/// The sizes and the checksum of a file in an archive.
#[derive(Clone, Copy, PartialEq, Eq)]
struct ZipSizes {
    crc: u32,
    packed: u64,
    unpacked: u64,
}

impl ZipSizes {
    fn read(octets: &[u8]) -> Option<Self> {
        let number = |at| Some(u32::from_le_bytes(*octets.get(at..)?.first_chunk()?));
        Some(Self { crc: number(0)?, packed: number(4)?.into(), unpacked: number(8)?.into() })
    }
}

impl<'a> ZipFile<'a> {
    fn new(archive: &'a [u8]) -> Result<Self, ReportError> {
        let damaged = ReportError::Archive("it is cut off");
        let short = |at: usize| {
            archive.get(at..).and_then(<[u8]>::first_chunk).map(|two| u16::from_le_bytes(*two))
        };
        let (Some(flags), Some(method), Some(name), Some(extra)) =
            (short(6), short(8), short(26), short(28))
        else {
            return Err(damaged);
        };
        // Bits 0, 6 and 13: encrypted in one way or another.
        if flags & 0b0010_0000_0100_0001 != 0 {
            return Err(ReportError::Archive("it is encrypted"));
        }
        let follows = flags & 8 != 0;
        let declared = ZipSizes::read(&archive[14..HEADER]).ok_or(damaged.clone())?;
        let begin = HEADER + usize::from(name) + usize::from(extra);
        let octets = archive.get(begin..).ok_or(damaged.clone())?;
        let data = match method {
            8 => ZipData::Deflated { decoder: DeflateDecoder::new(octets), octets },
            // Where the end of stored data is not declared, it could only be guessed.
            0 if follows => return Err(ReportError::Archive("its size is not declared")),
            0 => {
                let size = usize::try_from(declared.packed).unwrap_or(usize::MAX);
                let (rest, after) = octets.split_at_checked(size).ok_or(damaged)?;
                ZipData::Stored { rest, after }
            }
            _ => return Err(ReportError::Archive("it is compressed in an unusual way")),
        };
        let declared = (!follows).then_some(declared);
        Ok(Self { data, crc: Crc::new(), read: 0, declared })
    }

    /// Compares what was read with what the archive declares, and looks that nothing but its directory follows.
    fn check_end(&mut self) -> Result<(), ReportError> {
        let (packed, mut after) = match std::mem::replace(&mut self.data, ZipData::Done) {
            ZipData::Stored { after, .. } => (self.read, after),
            ZipData::Deflated { decoder, octets } => {
                let packed = decoder.total_in();
                let end = usize::try_from(packed).unwrap_or(usize::MAX);
                (packed, octets.get(end..).unwrap_or_default())
            }
            ZipData::Done => return Ok(()),
        };
        let found = ZipSizes { crc: self.crc.sum(), packed, unpacked: self.read };
        let declared = match self.declared {
            Some(declared) => Some(declared),
            None => {
                // The signature of this record is optional.
                after = after.strip_prefix(b"PK\x07\x08").unwrap_or(after);
                let follows = ZipSizes::read(after);
                after = after.get(12..).unwrap_or_default();
                follows
            }
        };
        if declared != Some(found) {
            return Err(ReportError::Archive("its sizes or its checksum are wrong"));
        }
        match after.starts_with(b"PK\x01\x02") {
            true => Ok(()),
            false if after.starts_with(b"PK\x03\x04") => {
                Err(ReportError::Archive("it has more than one file"))
            }
            false => Err(ReportError::Archive("it has no directory")),
        }
    }
}

impl Read for ZipFile<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = match &mut self.data {
            ZipData::Stored { rest, .. } => rest.read(buffer),
            ZipData::Deflated { decoder, .. } => decoder.read(buffer),
            ZipData::Done => Ok(0),
        }?;
        self.crc.update(&buffer[..read]);
        self.read += read as u64;
        if read == 0 && !buffer.is_empty() {
            self.check_end()?;
        }
        Ok(read)
    }
}

#[cfg(test)]
mod tests;
