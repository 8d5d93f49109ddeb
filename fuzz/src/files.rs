//! Files that others wrote: another server's mailboxes, and a backup in a place where others can write.

use posta::foreign_files;
use posta_backup::{Identity, parts};
use posta_mail::id::is_unique_id;
use posta_store::{KEYWORDS, Rows};
use std::{fs::File, io::Write as _};

/// A private key.
const IDENTITY: &str = "AGE-SECRET-KEY-1QYPQXPQ9QCRSSZG2PVXQ6RS0ZQG3YYC5Z5TPWXQERGD3C8G7RUSQGPQYEE";

/// Reads the octets as an mbox, or as a list of unique-ids.
pub(crate) fn mailbox(octets: &[u8]) {
    let Some((&form, octets)) = octets.split_first() else { return };
    if form % 2 == 0 {
        for (file, _) in foreign_files::unique_ids(octets) {
            assert!(!file.contains(&b'\n'), "a line is a file");
        }
        return;
    }
    let Ok(file) = written(octets) else { return };
    let Ok(Some(messages)) = foreign_files::mbox(&file) else { return };
    let mut end = 0;
    for message in messages {
        assert!(message.place.0 >= end && message.place.1 >= message.place.0, "{message:?}");
        end = message.place.1;
        assert!(message.unique_id.as_deref().is_none_or(is_unique_id), "{message:?}");
        assert!(message.flags.len() <= KEYWORDS + 200, "{}", message.flags.len());
        // Each LF may become CRLF.
        assert!(message.content.len() as u64 <= 2 * (message.place.1 - message.place.0));
    }
    assert!(end <= octets.len() as u64);
}

fn written(octets: &[u8]) -> std::io::Result<File> {
    let mut file = tempfile::tempfile()?;
    file.write_all(octets)?;
    std::io::Seek::rewind(&mut file)?;
    Ok(file)
}

/// Reads the octets as each part of a backup.
pub(crate) fn backup(octets: &[u8]) {
    let Some((&form, octets)) = octets.split_first() else { return };
    match form % 4 {
        0 => {
            if let Ok(manifest) = parts::snapshot(octets) {
                let _ = manifest.size();
                assert!(manifest.tables().count() <= octets.len());
            }
        }
        1 => {
            if let Ok(rows) = Rows::new(octets.to_vec()) {
                for (_, value) in rows.iter() {
                    let _ = parts::piece(value);
                }
            }
        }
        2 => {
            let (place, pack) = octets.split_at(octets.len().min(28));
            if let (Ok(blob), Ok(Some((length, _)))) =
                (parts::blob(pack, place), parts::piece(place))
            {
                assert_eq!(blob.len(), length as usize);
            }
        }
        _ => {
            let identity: Option<Identity> = IDENTITY.parse().ok();
            let identities: Vec<_> = identity.into_iter().collect();
            if let Ok(plain) = parts::sealed(&identities, octets) {
                assert!(plain.len() < octets.len());
            }
        }
    }
}
