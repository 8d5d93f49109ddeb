//! Checks the data directory before it is used: it must hold nothing else, since everything in it is made
//! inaccessible to other users.

use crate::fault::fail;
use anyhow::Result;
use std::{fs, path::Path};

/// Names of which every store has at least one, even if its creation was interrupted.
const STORE: [&str; 4] = ["version", "keyspaces", "log", "lock"];

/// Checks that a directory holds a store or can be used for one.
///
/// # Errors
/// Fails when the directory holds something else.
pub(crate) fn check(data: &Path) -> Result<()> {
    let shown = data.display();
    if data.is_file() {
        fail!(
            "not-a-store",
            "the data directory {shown} is a file: name a directory, which is made if it is not there"
        );
    }
    if data.join("store").is_file() {
        fail!(
            "not-a-store",
            "{shown}/store is a file, and no store: name another data directory, or remove it"
        );
    }
    // The engine below would put its files beside whatever is there.
    let within: Vec<_> = fs::read_dir(data.join("store")).into_iter().flatten().flatten().collect();
    if !within.is_empty()
        && !within.iter().any(|entry| STORE.iter().any(|ours| entry.file_name() == *ours))
    {
        fail!(
            "not-a-store",
            "{shown}/store holds no store of Posta, but other files: name another data directory"
        );
    }
    // What cannot be read is told of when it is used.
    let Ok(entries) = fs::read_dir(data) else { return Ok(()) };
    // A certificate and what a user's home begins with may be there, and so may the root of a disk.
    let is_other = |entry: &fs::DirEntry| {
        let name = entry.file_name();
        let is_hidden = name.as_encoded_bytes().starts_with(b".");
        entry.file_type().is_ok_and(|kind| kind.is_dir()) && !is_hidden && name != "lost+found"
    };
    let other = entries.flatten().filter(is_other).min_by_key(fs::DirEntry::file_name);
    match other {
        Some(other) if !data.join("store").is_dir() => fail!(
            "not-a-store",
            "the data directory {shown} holds no store, but other directories, such as {}: name one of its \
             own, which is made if it is not there",
            other.file_name().display()
        ),
        _ => Ok(()),
    }
}
