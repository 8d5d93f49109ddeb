//! The files of other mail servers, as `posta import` reads them from octets, for the fuzzer.

use crate::command::mail::{import::maildir, mbox};
use std::{
    fs::File,
    io::{self, Read as _},
};

/// A message of an mbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MboxMessage {
    /// The offsets of its line `From ` and of its end.
    pub place: (u64, u64),
    /// The flags and keywords.
    pub flags: Vec<String>,
    /// The unique-id that the file tells.
    pub unique_id: Option<String>,
    /// The content, with CRLF as line ends.
    pub content: Vec<u8>,
}

/// Reads the messages of an mbox; none if the file is no mbox.
///
/// # Errors
/// When the file cannot be read.
pub fn mbox(file: &File) -> io::Result<Option<Vec<MboxMessage>>> {
    let Some(index) = mbox::index(file)? else { return Ok(None) };
    let mut messages = Vec::with_capacity(index.parts.len());
    for part in index.parts {
        let (metadata, mut reader) = mbox::open(file.try_clone()?, &part, index.is_quoted)?;
        let mut content = Vec::new();
        reader.read_to_end(&mut content)?;
        let (flags, unique_id) = (metadata.flags, metadata.unique_id);
        messages.push(MboxMessage { place: (part.from, part.end), flags, unique_id, content });
    }
    Ok(Some(messages))
}

/// Reads Dovecot's or Courier's list of unique-ids. Returns the names of the files in it, each with its unique-id.
#[must_use]
pub fn unique_ids(list: &[u8]) -> Vec<(Vec<u8>, String)> {
    maildir::listed(list)
}
