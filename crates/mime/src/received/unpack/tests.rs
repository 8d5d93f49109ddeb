//! Archives as reporters make them, and as attackers do.

use super::{super::read_file, *};
use flate2::{
    Compression,
    write::{DeflateEncoder, GzEncoder},
};
use std::io::Write as _;

fn deflated(content: &[u8]) -> Vec<u8> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

fn gzipped(content: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

fn crc(content: &[u8]) -> u32 {
    let mut crc = Crc::new();
    crc.update(content);
    crc.sum()
}

/// A file of an archive: its flags, method, checksum, sizes and data, all as told.
struct Entry {
    flags: u16,
    method: u16,
    crc: u32,
    packed: u32,
    unpacked: u32,
    data: Vec<u8>,
}

impl Entry {
    fn deflated(content: &[u8]) -> Self {
        let data = deflated(content);
        let (packed, unpacked) = (data.len() as u32, content.len() as u32);
        Self { flags: 0, method: 8, crc: crc(content), packed, unpacked, data }
    }

    fn stored(content: &[u8]) -> Self {
        let size = content.len() as u32;
        let (crc, data) = (crc(content), content.to_vec());
        Self { flags: 0, method: 0, crc, packed: size, unpacked: size, data }
    }

    fn write(&self, archive: &mut Vec<u8>) {
        archive.extend_from_slice(b"PK\x03\x04\x14\0");
        archive.extend_from_slice(&self.flags.to_le_bytes());
        archive.extend_from_slice(&self.method.to_le_bytes());
        archive.extend_from_slice(&[0; 4]);
        let follows = self.flags & 8 != 0;
        let told = [self.crc, self.packed, self.unpacked];
        for number in told {
            archive.extend_from_slice(&if follows { 0 } else { number }.to_le_bytes());
        }
        archive.extend_from_slice(b"\x05\0\0\0r.xml");
        archive.extend_from_slice(&self.data);
        if follows {
            archive.extend_from_slice(b"PK\x07\x08");
            told.iter().for_each(|number| archive.extend_from_slice(&number.to_le_bytes()));
        }
    }
}

/// An archive with a directory that nobody reads.
fn zip(entries: &[Entry]) -> Vec<u8> {
    let mut archive = Vec::new();
    entries.iter().for_each(|entry| entry.write(&mut archive));
    archive.extend_from_slice(b"PK\x01\x02");
    archive.extend_from_slice(&[0; 42]);
    archive.extend_from_slice(b"PK\x05\x06");
    archive
}

fn unpacked(file: &[u8]) -> Result<Vec<u8>, ReportError> {
    let mut content = Vec::new();
    match Unpacker::new(file)?.read_to_end(&mut content) {
        Ok(_) => Ok(content),
        Err(error) => Err(ReportError::from(&error)),
    }
}

#[test]
fn usual_files_are_unpacked() {
    let content = "<feedback>ă</feedback>".repeat(1_000).into_bytes();
    let mut with_descriptor = Entry::deflated(&content);
    with_descriptor.flags = 8;
    for file in [
        content.clone(),
        gzipped(&content),
        zip(&[Entry::deflated(&content)]),
        zip(&[Entry::stored(&content)]),
        zip(&[with_descriptor]),
    ] {
        assert_eq!(unpacked(&file).unwrap(), content);
    }
    assert_eq!(unpacked(b"").unwrap(), b"");
}

#[test]
fn bombs_are_refused() {
    let zeros = vec![b' '; 8 << 20];
    for bomb in [gzipped(&zeros), zip(&[Entry::deflated(&zeros)])] {
        assert!(bomb.len() < 20_000);
        assert_eq!(unpacked(&bomb), Err(ReportError::Bomb("it is packed more than 200 times")));
        assert!(matches!(read_file(&bomb), Err(ReportError::Malformed(_) | ReportError::Bomb(_))));
    }
    // Packed less, it is just too large.
    let large = zip(&[Entry::stored(&vec![b' '; 33 << 20])]);
    assert_eq!(unpacked(&large), Err(ReportError::Bomb("it has more than 32 MiB")));
}

/// XML that unpacks for ever is left as soon as a limit is reached.
#[test]
fn bombs_of_xml_are_refused() {
    let mut text = b"<feedback><version>".to_vec();
    text.resize(1 << 20, b'1');
    assert_eq!(
        read_file(&gzipped(&text)),
        Err(ReportError::Malformed("a tag or text is too long"))
    );
    let text = format!("<feedback>{}", "<version>1</version>".repeat(400_000));
    assert!(matches!(read_file(&gzipped(text.as_bytes())), Err(ReportError::Bomb(_))));
}

/// Archives in archives are refused at the first, and so is one that unpacks to itself.
#[test]
fn archives_in_archives_are_refused() {
    let report = b"<feedback/>";
    let inner = zip(&[Entry::deflated(report)]);
    for file in [
        gzipped(&gzipped(report)),
        gzipped(&inner),
        zip(&[Entry::deflated(&inner)]),
        zip(&[Entry::stored(&gzipped(report))]),
    ] {
        assert_eq!(read_file(&file), Err(ReportError::Malformed("it is neither XML nor JSON")));
    }
}

#[test]
fn archives_that_lie_are_refused() {
    let content = b"<feedback>some content of a file</feedback>";
    let (deflated, stored) = (|| Entry::deflated(content), || Entry::stored(content));
    let wrong = ReportError::Archive("its sizes or its checksum are wrong");
    let several = ReportError::Archive("it has more than one file");
    let many: Vec<_> = (0..10_000).map(|_| stored()).collect();
    for (name, archive, expected) in [
        ("size", zip(&[Entry { unpacked: 5, ..deflated() }]), wrong.clone()),
        ("packed size", zip(&[Entry { packed: 5, ..deflated() }]), wrong.clone()),
        ("huge size", zip(&[Entry { unpacked: u32::MAX, ..deflated() }]), wrong.clone()),
        ("checksum", zip(&[Entry { crc: 1, ..deflated() }]), wrong.clone()),
        ("descriptor", zip(&[Entry { flags: 8, crc: 1, ..deflated() }]), wrong.clone()),
        ("stored size", zip(&[Entry { unpacked: 5, ..stored() }]), wrong.clone()),
        ("two files", zip(&[deflated(), deflated()]), several.clone()),
        ("many files", zip(&many), several),
        (
            "beyond its end",
            zip(&[Entry { packed: 1 << 30, unpacked: 1 << 30, ..stored() }]),
            ReportError::Archive("it is cut off"),
        ),
        (
            "encrypted",
            zip(&[Entry { flags: 1, ..deflated() }]),
            ReportError::Archive("it is encrypted"),
        ),
        (
            "stored without a size",
            zip(&[Entry { flags: 8, ..stored() }]),
            ReportError::Archive("its size is not declared"),
        ),
        (
            "method",
            zip(&[Entry { method: 14, ..deflated() }]),
            ReportError::Archive("it is compressed in an unusual way"),
        ),
    ] {
        assert_eq!(unpacked(&archive), Err(expected), "{name}");
    }
}

#[test]
fn damaged_files_are_refused() {
    let content = b"<feedback>some content of a file</feedback>".repeat(10);
    for whole in [gzipped(&content), zip(&[Entry::deflated(&content)])] {
        let ends = whole.len().min(200);
        for end in 4..ends {
            let cut = &whole[..end];
            if let Ok(read) = unpacked(cut) {
                // A cut within the directory, which is not read, changes nothing.
                assert_eq!((read, cut.starts_with(b"PK")), (content.clone(), true), "{end}");
            }
        }
        for at in 0..ends {
            let mut changed = whole.clone();
            changed[at] ^= 0x55;
            // It may be read or not; what was read is what was packed, or not packed at all.
            let _ = unpacked(&changed);
        }
    }
}
