//! Copies of the files of a store at work, as a crash would leave them.

use std::{
    collections::BTreeMap,
    fs,
    io::ErrorKind,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

/// Copies what the disk would hold if the process were killed now: no file changed while the files were copied. The engine
/// writes and removes files in its own time, and a copy with files of different moments is none that a crash leaves.
pub fn copy(from: &Path, to: &Path) {
    for _ in 0..1_000 {
        let before = state(from);
        // Later than the resolution of a file system's clock.
        thread::sleep(Duration::from_millis(20));
        if before != state(from) {
            continue;
        }
        copy_files(from, to);
        if before == state(from) {
            return;
        }
        fs::remove_dir_all(to).unwrap();
    }
    unreachable!("the files are never at rest");
}

/// The files below a directory, as they are now.
fn state(directory: &Path) -> BTreeMap<PathBuf, (u64, i64, i64)> {
    let mut state = BTreeMap::new();
    for path in files(directory) {
        // One that is gone is not in the state.
        if let Ok(file) = fs::metadata(&path) {
            state.insert(path, (file.len(), file.mtime(), file.mtime_nsec()));
        }
    }
    state
}

fn copy_files(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_files(&entry.path(), &to);
        } else if let Err(error) = fs::copy(entry.path(), to) {
            assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
        }
    }
}

/// Returns the files below a directory.
pub fn files(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    let entries = entries.map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}
